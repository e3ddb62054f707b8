"""Simulation settings to a dual EELS tilt series with everything that is true about it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_dipmtv.data import (
    F32,
    F64,
    Alignment,
    ChannelMaps,
    DualSpectrumImage,
    EnergyAxis,
    ReferenceSpectrum,
    Region,
    Segmentation,
    SpectrumImage,
    SpectrumSeries,
    Volume,
)
from napari_dipmtv.errors import InputError, expected
from napari_dipmtv.phantom import eels
from napari_dipmtv.phantom.dose import detect
from napari_dipmtv.phantom.scattering import Scattering
from napari_dipmtv.phantom.shapes import CORE, SHELL, SKIN, phase_paths
from napari_dipmtv.phantom.volumes import CHANNELS, make_segmentation, make_volume, true_measures
from napari_dipmtv.settings.simulation import SimulationSettings

BATCH_PIXELS = 2304  # bounds the memory of the transforms, about 200 MB


@dataclass(frozen=True, slots=True, eq=False)
class Simulation:
    """A simulated measurement and the truth behind it.

    Attributes
    ----------
    series : SpectrumSeries
        What the detector recorded.
    truth : Volume
        Fe atoms per nm³ of each oxide, in the ideal geometry.
    segmentation : Segmentation
    alignment : Alignment
        The drift, axis angle and offset that were planted. An alignment can find it only up to a displacement
        of the whole object: a constant in dy, and ``a cos θ + b sin θ`` in dx.
    energy_shifts_ev : float32 array (t, y, x)
        Planted position of the zero-loss peak.
    l_references, m_references : tuple of ReferenceSpectrum
        FeO and Fe3O4, for one Fe atom per nm² each: counts per pixel and channel at this dose, without plural
        scattering. Abundances of these references are Fe atoms per nm².
    fe_maps : ChannelMaps
        True Fe atoms per nm² of each oxide in every recorded (displaced) pixel.
    regions : mapping of str to Region
        What a person would draw at the tilt nearest to 0 deg: "FeO" over the core, "Fe3O4" over shell beside
        it.
    counts_per_fe : float
        Fe-M counts in the 30 eV of `eels.M_WINDOW_EV` for one Fe atom per nm². For references of any other
        scale: ``Fe per nm² = abundance * (sum of the reference over the window) / counts_per_fe``.
    settings : SimulationSettings
    """

    series: SpectrumSeries
    truth: Volume
    segmentation: Segmentation
    alignment: Alignment
    energy_shifts_ev: F32
    l_references: tuple[ReferenceSpectrum, ...]
    m_references: tuple[ReferenceSpectrum, ...]
    fe_maps: ChannelMaps
    regions: Mapping[str, Region]
    counts_per_fe: float
    settings: SimulationSettings

    def write(self, folder: Path) -> None:
        """Write one low-loss and one core-loss HyperSpy file per tilt, and the truth into ``folder/truth``.

        Raises
        ------
        WriteError
            When the folder cannot be written.
        """
        from napari_dipmtv.io.atomic import output_folder, write_bytes
        from napari_dipmtv.io.spectrum_images import save_series

        save_series(self.series, folder)
        truth = output_folder(Path(folder) / "truth")
        arrays: dict[str, NDArray[Any]] = {
            "volume": self.truth.data,
            "labels": self.segmentation.labels,
            "fe_maps": self.fe_maps.data,
            "energy_shifts_ev": self.energy_shifts_ev,
        }
        for name, array in arrays.items():
            buffer = BytesIO()
            np.save(buffer, array, allow_pickle=False)
            write_bytes(truth / f"{name}.npy", buffer.getvalue())
        write_bytes(truth / "truth.json", json.dumps(self.facts(), indent=2).encode())

    def facts(self) -> dict[str, Any]:
        """Settings and truth in plain numbers: what ``truth.json`` holds."""
        return {
            "settings": self.settings.model_dump(mode="json"),
            "axes": {
                "volume": "c z y x",
                "labels": "z y x",
                "fe_maps": "c t y x",
                "energy_shifts_ev": "t y x",
            },
            "channels": list(CHANNELS),
            "phases": {str(value): name for value, name in self.segmentation.phases.items()},
            "voxel_nm": self.truth.voxel_nm,
            "tilts_deg": list(self.settings.tilts_deg),
            "shifts_px": self.alignment.shifts_px.tolist(),
            "axis_angle_deg": self.alignment.axis_angle_deg,
            "axis_offset_px": self.alignment.axis_offset_px,
            "measures": asdict(true_measures(self.settings.phantom)),
            "counts_per_fe": self.counts_per_fe,
        }


def simulate(settings: SimulationSettings | None = None) -> Simulation:
    """Measure a known particle by dual EELS at every tilt.

    Each pixel's paths through FeO and Fe3O4 give its spectra: zero-loss peak, plasmons and Fe-M with all
    plural scattering in the low loss; background, O-K and Fe-L convolved with that low loss in the core loss.
    Then energy drift, Poisson noise for the dose, gain, read-out noise and spikes. Elastic losses, surface
    plasmons and the point spread of the detector are left out.

    Parameters
    ----------
    settings : SimulationSettings, optional

    Returns
    -------
    Simulation

    Raises
    ------
    InputError
        When the particle does not fit, or drift takes core or shell out of the view nearest to 0 deg.
    """
    settings = settings or SimulationSettings()
    stage, spectrometer, *detectors = np.random.SeedSequence(settings.seed).spawn(2 + len(settings.tilts_deg))
    alignment = _drift(settings, np.random.default_rng(stage))
    paths = np.stack([_paths(settings, alignment, t) for t in range(len(settings.tilts_deg))])
    shifts = _energy_drift(settings, np.random.default_rng(spectrometer))
    scattering = Scattering.of(settings)
    pairs = tuple(
        _record(settings, scattering, t, _oxides(paths[t]), shifts[t], np.random.default_rng(seed))
        for t, seed in enumerate(detectors)
    )
    references = _references(settings, scattering)
    window = scattering.low.window(*eels.M_WINDOW_EV)
    return Simulation(
        series=SpectrumSeries(pairs),
        truth=make_volume(settings.phantom),
        segmentation=make_segmentation(settings.phantom),
        alignment=alignment,
        energy_shifts_ev=shifts,
        l_references=references[1],
        m_references=references[0],
        fe_maps=_fe_maps(settings, paths),
        regions=_regions(settings, paths),
        counts_per_fe=float(references[0][0].intensity[window].sum()),
        settings=settings,
    )


def _drift(settings: SimulationSettings, random: np.random.Generator) -> Alignment:
    shifts = np.clip(random.standard_normal((len(settings.tilts_deg), 2)), -2, 2) * settings.image_drift_px
    return Alignment(shifts, settings.axis_angle_deg, settings.axis_offset_px)


def _paths(settings: SimulationSettings, alignment: Alignment, t: int) -> F64:
    dy, dx = alignment.shifts_px[t]
    displacement = (float(dy), float(dx) + alignment.axis_offset_px)
    return phase_paths(settings.phantom, settings.tilts_deg[t], displacement, alignment.axis_angle_deg)


def _oxides(paths_nm: F64) -> F64:
    """Paths (phase, y, x) to paths (y, x, oxide) in nm."""
    return np.stack([paths_nm[CORE] + paths_nm[SKIN], paths_nm[SHELL]], axis=-1)


def _energy_drift(settings: SimulationSettings, random: np.random.Generator) -> F32:
    """Zero-loss positions (t, y, x): one offset per tilt, and a slow wander along the scan."""
    from scipy.ndimage import gaussian_filter1d

    views, n = len(settings.tilts_deg), settings.phantom.field_voxels
    offset = settings.zlp_drift_ev * random.standard_normal((views, 1))
    wander = gaussian_filter1d(random.standard_normal((views, n * n)), n, axis=1, mode="wrap")
    wander *= settings.zlp_jitter_ev / wander.std(axis=1, keepdims=True)
    return np.asarray((offset + wander).reshape(views, n, n), np.float32)


def _record(
    settings: SimulationSettings,
    scattering: Scattering,
    t: int,
    paths_nm: F64,
    shift_ev: F32,
    random: np.random.Generator,
) -> DualSpectrumImage:
    """Record both ranges of one tilt; paths (y, x, oxide), shift (y, x)."""
    shape = shift_ev.shape
    pixels, shifts = paths_nm.reshape(-1, 2), shift_ev.reshape(-1).astype(np.float64)
    images = []
    expected_spectra = (scattering.low_loss, scattering.core_loss)
    for spectra, dose, axis, name in zip(
        expected_spectra,
        settings.electrons_per_pixel,
        (scattering.low, scattering.core),
        ("low", "core"),
        strict=True,
    ):
        counts = np.empty((len(pixels), axis.size), np.float32)
        for start in range(0, len(pixels), BATCH_PIXELS):
            part = slice(start, start + BATCH_PIXELS)
            counts[part] = detect(
                dose * spectra(pixels[part], shifts[part]),
                random,
                gain=settings.gain,
                readout_counts=settings.readout_counts,
                spikes_per_million=settings.spikes_per_million,
                spike_counts=settings.spike_counts,
            )
        images.append(_image(settings, t, counts.reshape(*shape, axis.size), axis, f"{name} loss"))
    return DualSpectrumImage(*images)


def _image(settings: SimulationSettings, t: int, counts: F32, axis: EnergyAxis, what: str) -> SpectrumImage:
    tilt = settings.tilts_deg[t]
    metadata = {"collection_mrad": eels.COLLECTION_MRAD, "gain": settings.gain, "simulated": True}
    title = f"Simulated {what} at {tilt:+.1f} deg"
    return SpectrumImage(counts, axis, settings.phantom.voxel_nm, tilt, eels.BEAM_KEV, title, metadata)


def _references(
    settings: SimulationSettings, scattering: Scattering
) -> tuple[tuple[ReferenceSpectrum, ...], tuple[ReferenceSpectrum, ...]]:
    """True M and L references for one Fe atom per nm²."""
    out = []
    ranges = (
        (scattering.m_references(), scattering.low, "M"),
        (scattering.l_references(), scattering.core, "L"),
    )
    for (spectra, axis, edge), dose in zip(ranges, settings.electrons_per_pixel, strict=True):
        scaled = spectra * dose * settings.gain
        source = f"simulated Fe-{edge}, 1 Fe per nm²"
        out.append(
            tuple(ReferenceSpectrum(*pair, axis, source) for pair in zip(CHANNELS, scaled, strict=True))
        )
    return out[0], out[1]


def _fe_maps(settings: SimulationSettings, paths_nm: F64) -> ChannelMaps:
    density = np.array([settings.phantom.feo_density, settings.phantom.fe3o4_density])
    areal = np.stack([_oxides(view) for view in paths_nm]) * density  # (t, y, x, c)
    data = np.moveaxis(areal, -1, 0).astype(np.float32)
    return ChannelMaps(data, CHANNELS, settings.tilts_deg, settings.phantom.voxel_nm)


def _regions(settings: SimulationSettings, paths_nm: F64) -> dict[str, Region]:
    t = int(np.argmin(np.abs(settings.tilts_deg)))
    core, shell = paths_nm[t, CORE], paths_nm[t, SHELL]
    masks = {
        "FeO": core > 0.8 * core.max(),
        "Fe3O4": (shell > 0.6 * shell.max()) & (core < 0.02 * core.max()),
    }
    for name, mask in masks.items():
        if not mask.any():
            raise InputError(
                expected(
                    f"{name} region at {settings.tilts_deg[t]:g} deg",
                    "pixels that show it",
                    "none",
                    "Reduce the image drift or thicken the layer",
                )
            )
    return {name: Region(settings.tilts_deg[t], mask) for name, mask in masks.items()}
