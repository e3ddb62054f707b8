"""Series, references and a region become what a plot of the fit draws."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from napari_dipmtv.data import F64, Region, SpectrumSeries
from napari_dipmtv.errors import InputError, expected
from napari_dipmtv.settings.spectra import UnmixSettings
from napari_dipmtv.spectra.energy_offset import energy_offset_ev
from napari_dipmtv.spectra.l_references import pair_of, region_plural
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

    The low loss for M references, the core loss for L references, with its plural scattering as a known part. The
    spectra are added up as counted and the references follow their energies, so that chi-square is 1 where only
    noise is left.
    """
    settings = UnmixSettings() if settings is None else settings
    low = not isinstance(references, LReferences)
    pair = pair_of(series, region)
    image = pair.low_loss if low else pair.core_loss
    spectra = image.counts[region.mask]
    usable = np.isfinite(spectra).all(axis=1)
    if not usable.any():
        got = f"{int(region.mask.sum())} pixels, none of them usable"
        raise InputError(expected("region", "usable pixels", got, "Draw it on the particle"))
    known = region_plural(series, region, low) if settings.plural_scattering else None
    offsets_ev = energy_offset_ev(image)[region.mask][usable]
    total = spectra[usable].sum(axis=0, dtype=np.float64)
    return fit_spectrum(total, image.energy, references, settings, known, offsets_ev)
