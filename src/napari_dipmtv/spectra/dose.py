"""Vacuum counts become the electron dose that the particle has seen."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from napari_dipmtv.data import Region, SpectrumSeries, positive
from napari_dipmtv.spectra.l_references import region_spectrum


@dataclass(frozen=True, slots=True)
class Dose:
    """Electron dose in e/Å²: of one tilt, and of all ``tilts`` together."""

    per_tilt: float
    total: float
    tilts: int


def dose(series: SpectrumSeries, vacuum: Region, *, gain: float = 1.0, core_to_low_time: float = 0.0) -> Dose:
    """Measure the dose from the low loss of a vacuum region, where every electron of the probe is counted.

    Parameters
    ----------
    series : SpectrumSeries
        Recorded (counts, with the detector gain) or prepared (electrons, gain 1).
    vacuum : Region
        Pixels beside the particle.
    gain : float
        Counts per electron.
    core_to_low_time : float
        Exposure of the core loss over that of the low loss (dual EELS): the specimen sees both.

    Returns
    -------
    Dose
        ``electrons per pixel / pixel area (Å²)``; as many electrons are taken for every tilt.
    """
    positive("detector gain", gain, "counts per electron")
    if core_to_low_time:
        positive("exposure ratio", core_to_low_time, "core-loss time per low-loss time")
    nearest = min(series.tilts, key=lambda pair: abs(pair.tilt_deg - vacuum.tilt_deg))
    used = vacuum.mask & np.isfinite(nearest.low_loss.counts).all(axis=2)
    electrons = (
        region_spectrum(series, Region(vacuum.tilt_deg, used), low_loss=True).sum() / gain / used.sum()
    )
    per_tilt = float(electrons * (1 + core_to_low_time) / (10 * series.pixel_nm) ** 2)
    return Dose(per_tilt, per_tilt * len(series.tilts), len(series.tilts))
