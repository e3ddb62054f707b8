"""Series, references and a region become what a plot of the fit draws."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from napari_dipmtv.data import F64, Region, SpectrumSeries
from napari_dipmtv.settings.spectra import UnmixSettings
from napari_dipmtv.spectra.l_references import region_plural, region_spectrum
from napari_dipmtv.spectra.references import LReferences, MixingRange, References
from napari_dipmtv.spectra.unmix import SpectrumFit, fit_spectrum


@dataclass(frozen=True, slots=True, eq=False)
class ReferenceOverlay:
    """References on their fit window: what a plot draws.

    Attributes
    ----------
    energy_ev : float array (e,)
    pure, mixed : float arrays (c, e)
        After and before purification; alike where there was none.
    condition : float
    ranges : tuple of MixingRange
        What the measurement leaves open.
    """

    names: tuple[str, ...]
    energy_ev: F64
    pure: F64
    mixed: F64
    condition: float
    ranges: tuple[MixingRange, ...]


def reference_overlay(references: References) -> ReferenceOverlay:
    """Lay references over each other, with those before purification where there were any."""
    window = references.energy.window(*references.window_ev)
    pure = np.stack([spectrum.intensity[window] for spectrum in references.spectra])
    mixed = pure
    ranges: tuple[MixingRange, ...] = ()
    if isinstance(references, LReferences):
        ranges = references.ranges
        if references.raw:
            mixed = np.stack([spectrum.intensity[window] for spectrum in references.raw])
    energy_ev = references.energy.values[window]
    return ReferenceOverlay(references.names, energy_ev, pure, mixed, references.condition, ranges)


def fit_region(
    series: SpectrumSeries, references: References, region: Region, settings: UnmixSettings | None = None
) -> SpectrumFit:
    """Fit the summed spectrum of a region, or of one pixel, as `unmix` fits pixels.

    The low loss for M references, the core loss for L references, with its plural scattering as a known part.
    """
    settings = UnmixSettings() if settings is None else settings
    low = not isinstance(references, LReferences)
    pair = min(series.tilts, key=lambda pair: abs(pair.tilt_deg - region.tilt_deg))
    energy = (pair.low_loss if low else pair.core_loss).energy
    known = region_plural(series, region, low) if settings.plural_scattering else None
    return fit_spectrum(region_spectrum(series, region, low_loss=low), energy, references, settings, known)
