"""Knobs of the simulated dual EELS measurement: tilts, dose, spectrometer, stage and detector."""

from __future__ import annotations

from typing import Self

import numpy as np
from pydantic import model_validator

from napari_dipmtv.settings.base import StageSettings, knob
from napari_dipmtv.settings.phantom import PhantomSettings


class SimulationSettings(StageSettings):
    """A dual EELS tilt series of a known particle, at 200 kV and 20 mrad."""

    phantom: PhantomSettings = knob(PhantomSettings(), "Particle", "The particle that is measured.")
    tilt_start_deg: float = knob(-70.0, "First tilt", "Tilt of the first view.", unit="deg", ge=-90, le=90)
    tilt_stop_deg: float = knob(
        70.0,
        "Last tilt",
        "Tilt of the last view. A wider range leaves a smaller missing wedge.",
        unit="deg",
        ge=-90,
        le=90,
    )
    tilt_step_deg: float = knob(
        17.5,
        "Tilt step",
        "Angle between views. Larger gives fewer views with more dose each.",
        unit="deg",
        gt=0,
        le=180,
    )
    dose_e_per_a2: float = knob(
        1e5,
        "Total dose",
        "Electrons per area over the whole series, low loss and core loss together. More lowers the noise.",
        unit="e/Å²",
        gt=0,
        le=1e9,
    )
    low_loss_share: float = knob(
        0.1,
        "Low-loss share of the dose",
        "Part of the exposure that the low loss gets; the core loss gets the rest. Larger gives better Fe-M "
        "maps and worse Fe-L references.",
        gt=0,
        lt=1,
    )
    zlp_fwhm_ev: float = knob(
        0.9,
        "Energy resolution",
        "Full width of the zero-loss peak. Larger blurs the edges.",
        unit="eV",
        ge=0.1,
        le=5,
    )
    zlp_drift_ev: float = knob(
        0.5,
        "Energy drift between tilts",
        "Standard deviation of the zero-loss position from tilt to tilt. Larger needs more correction.",
        unit="eV",
        ge=0,
        le=5,
    )
    zlp_jitter_ev: float = knob(
        0.1,
        "Energy drift between pixels",
        "Standard deviation of the slow wander of the zero-loss position during one scan. Larger needs more "
        "correction.",
        unit="eV",
        ge=0,
        le=5,
    )
    image_drift_px: float = knob(
        1.0,
        "Image drift between tilts",
        "Standard deviation of the displacement of a view along y and along x; cut off at twice this. "
        "Larger needs more alignment and may push the particle out of the field.",
        unit="px",
        ge=0,
    )
    axis_angle_deg: float = knob(
        0.0,
        "Tilt-axis angle",
        "Turn of every view in its plane, positive clockwise as displayed.",
        unit="deg",
        ge=-90,
        le=90,
    )
    axis_offset_px: float = knob(
        0.0,
        "Tilt-axis offset",
        "Distance of the tilt axis to the right of the centre of the views.",
        unit="px",
    )
    gain: float = knob(
        1.0, "Detector gain", "Counts per electron. Larger numbers, same information.", unit="counts/e", gt=0
    )
    readout_counts: float = knob(
        0.0,
        "Read-out noise",
        "Standard deviation of the detector noise per channel. 0 is an electron-counting detector; more "
        "drowns weak channels.",
        unit="counts",
        ge=0,
    )
    spikes_per_million: float = knob(
        0.0,
        "X-ray spikes",
        "Channels in a million hit by an X-ray. More tests the spike removal.",
        ge=0,
        le=1e5,
    )
    spike_counts: float = knob(
        500.0,
        "Spike height",
        "Mean height of a spike. Larger is easier to see.",
        unit="counts",
        gt=0,
        advanced=True,
    )
    dispersion_ev: float = knob(
        0.25,
        "Dispersion",
        "Energy per channel of both ranges. Larger gives fewer channels and coarser spectra.",
        unit="eV",
        gt=0.02,
        le=1,
        advanced=True,
    )
    core_binning: int = knob(
        2,
        "Core-loss binning",
        "Channels of the core loss added together. Larger gives smaller files and coarser Fe-L edges.",
        unit="channels",
        ge=1,
        le=8,
        advanced=True,
    )
    low_start_ev: float = knob(
        -10.0, "Low loss from", "First low-loss channel.", unit="eV", ge=-100, le=-3, advanced=True
    )
    low_stop_ev: float = knob(
        120.0,
        "Low loss up to",
        "Last low-loss channel; beyond the Fe-M edge.",
        unit="eV",
        ge=85,
        le=250,
        advanced=True,
    )
    core_start_ev: float = knob(
        500.0,
        "Core loss from",
        "First core-loss channel, below O-K or Fe-L.",
        unit="eV",
        ge=300,
        le=680,
        advanced=True,
    )
    core_stop_ev: float = knob(
        805.0,
        "Core loss up to",
        "Last core-loss channel, beyond Fe-L.",
        unit="eV",
        ge=760,
        le=840,
        advanced=True,
    )
    seed: int = knob(0, "Seed", "Start of the random numbers. The same seed gives the same series.", ge=0)

    @model_validator(mode="after")
    def _check_tilts(self) -> Self:
        if self.tilt_stop_deg < self.tilt_start_deg:
            raise ValueError("the last tilt must not lie below the first one; exchange them")
        return self

    @property
    def tilts_deg(self) -> tuple[float, ...]:
        """Tilts in degrees, ascending."""
        count = int(np.floor((self.tilt_stop_deg - self.tilt_start_deg) / self.tilt_step_deg + 1e-9)) + 1
        return tuple(self.tilt_start_deg + self.tilt_step_deg * i for i in range(count))

    @property
    def electrons_per_pixel(self) -> tuple[float, float]:
        """Electrons that reach one pixel of one view, ``(low loss, core loss)``."""
        pixel_a2 = (10 * self.phantom.voxel_nm) ** 2
        total = self.dose_e_per_a2 * pixel_a2 / len(self.tilts_deg)
        return total * self.low_loss_share, total * (1 - self.low_loss_share)
