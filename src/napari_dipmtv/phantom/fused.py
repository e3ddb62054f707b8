"""A decorated core-shell particle to its fused measurement: few noisy chemical tilts, many HAADF tilts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_dipmtv.data import F32, F64, TiltSeries, Volume
from napari_dipmtv.phantom.dose import count_series
from napari_dipmtv.phantom.shapes import sample_points
from napari_dipmtv.settings.fused import FusedPhantomSettings

CHANNELS = ("Cu", "Co", "Au")
# Metal atoms per nm³ of CuO (6.31 g/cm³), CoO (6.44 g/cm³) and Au (19.3 g/cm³), and the oxygen atoms beside each.
ATOMS_NM3 = (47.8, 51.8, 59.0)
OXYGEN_PER_METAL = (1, 1, 0)
ATOMIC_NUMBERS = (29, 27, 79)
OXYGEN = 8


@dataclass(frozen=True, slots=True, eq=False)
class FusedSimulation:
    """Truth (c, z, y, x) in metal atoms per nm³, and what was counted: ``chemical`` and ``haadf``, aligned."""

    truth: Volume
    chemical: TiltSeries
    haadf: TiltSeries


def simulate_fused(settings: FusedPhantomSettings | None = None) -> FusedSimulation:
    """Simulate both modalities of a CuO core in a CoO shell with Au particles on it.

    HAADF is incoherent: the signal is the sum over all atoms, oxygen included, of ``Z^power``. Both modalities are
    Poisson counts. The chemical maps keep the units of the truth (atoms per nm³ times pixels).
    """
    settings = settings or FusedPhantomSettings()
    truth = make_fused_volume(settings)
    views = (
        tuple(np.linspace(-settings.tilt_range_deg, settings.tilt_range_deg, n).round(6).tolist())
        for n in (settings.chemical_tilts, settings.haadf_tilts)
    )
    chemical_tilts, haadf_tilts = views
    signal = haadf_density(truth, settings.z_power)
    chemical = count_series(
        truth, chemical_tilts, counts_per_unit=_gain(truth, settings.chemical_counts), seed=settings.seed
    )
    haadf = count_series(
        signal, haadf_tilts, counts_per_unit=_gain(signal, settings.haadf_counts), seed=settings.seed + 1
    )
    return FusedSimulation(truth, chemical, haadf)


def make_fused_volume(settings: FusedPhantomSettings) -> Volume:
    """Draw the particle, anti-aliased: metal atoms per nm³ of each phase in every voxel."""
    n, s = settings.field_voxels, settings.supersampling
    points = sample_points(n, s, 2.0 / n)  # the field of view goes from -1 to 1
    data: F32 = np.empty((len(CHANNELS), n, n, n), np.float32)
    for i, slab in enumerate(points.reshape(n, s)):
        phase = _phase(points[None, None, :], points[None, :, None], slab[:, None, None])
        for c, atoms in enumerate(ATOMS_NM3):
            data[c, i] = atoms * (phase == c + 1).reshape(s, n, s, n, s).mean(axis=(0, 2, 4))
    return Volume(data, CHANNELS, settings.voxel_nm, {"phantom": settings.model_dump()})


def haadf_density(truth: Volume, z_power: float) -> Volume:
    """What each voxel scatters to high angles: ``sum n Z^power`` over metal and oxygen atoms; one channel "HAADF"."""
    weights = [
        z**z_power + oxygen * OXYGEN**z_power
        for z, oxygen in zip(ATOMIC_NUMBERS, OXYGEN_PER_METAL, strict=True)
    ]
    data = np.tensordot(np.array(weights, np.float32), truth.data, axes=1)[None]
    return Volume(data, ("HAADF",), truth.voxel_nm)


def _phase(x: F64, y: F64, z: F64) -> NDArray[np.uint8]:
    """0 vacuum, 1 CuO, 2 CoO, 3 Au at points of the field of view (-1 to 1)."""
    shell = (x / 0.62) ** 2 + (y / 0.70) ** 2 + (z / 0.55) ** 2 < 1
    core = ((x - 0.08) / 0.36) ** 2 + ((y + 0.05) / 0.42) ** 2 + ((z - 0.04) / 0.30) ** 2 < 1
    phase = np.where(core, 1, np.where(shell, 2, 0))
    for cx, cy, cz, r in ((0.55, 0.30, 0.20, 0.15), (-0.50, -0.45, 0.25, 0.12), (-0.05, 0.55, -0.42, 0.14)):
        phase = np.where((x - cx) ** 2 + (y - cy) ** 2 + (z - cz) ** 2 < r**2, 3, phase)
    return phase.astype(np.uint8)


def _gain(volume: Volume, counts: float) -> float:
    """Counts per unit with which the fullest pixel at 0 deg expects so many counts."""
    return float(counts / volume.data.sum(axis=1, dtype=np.float64).max())
