"""Regions, or given spectra, become L references of equal metal content."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from napari_dipmtv.data import (
    F64,
    DualSpectrumImage,
    EnergyAxis,
    ReferenceSpectrum,
    Region,
    SpectrumImage,
    SpectrumSeries,
)
from napari_dipmtv.errors import GeometryError, InputError, expected
from napari_dipmtv.settings.spectra import ReferenceSettings
from napari_dipmtv.spectra.background import exponents_around, fit_power_law
from napari_dipmtv.spectra.deconvolve import core_plural
from napari_dipmtv.spectra.edge_plane import edge_plane
from napari_dipmtv.spectra.energy_offset import centred
from napari_dipmtv.spectra.plural import plural_scattering
from napari_dipmtv.spectra.purify import purified
from napari_dipmtv.spectra.references import LReferences, MReferences, condition_number, total_counts
from napari_dipmtv.spectra.regression import counting_variance, edges_of, learn_spectra
from napari_dipmtv.spectra.unmix import teaching_maps


def l_references(
    series: SpectrumSeries, regions: Mapping[str, Region], settings: ReferenceSettings | None = None
) -> LReferences:
    """Turn named regions into L references: all pixels used, background off, equal metal content, purified.

    The core loss of a region alone holds too few counts: a noisy reference makes the maps of two phases too
    alike. But the low loss of the same region shows the same mixture 50 times stronger. So each region only
    says where its low-loss edge lies in the plane of all edges (`edge_plane`), all pixels are unmixed with
    these edges, and the core loss of all pixels is regressed on the maps: the L references have the
    composition of the regions and the statistics of the whole series.

    Parameters
    ----------
    series : SpectrumSeries
        Prepared dual EELS.
    regions : mapping of str to Region
        The reduced phase first, e.g. ``{"FeO": core, "Fe3O4": shell}``; the names become the channels of the
        maps.
    settings : ReferenceSettings, optional

    Raises
    ------
    InputError, GeometryError
        When a region does not fit the images, holds no edge, or the regions look alike.
    """
    settings = ReferenceSettings() if settings is None else settings
    if not regions:
        raise InputError(expected("regions", "one for each phase", "none", "Draw a region on the particle"))
    common_energy(series)
    plane = edge_plane(series, settings, len(regions))
    window = series.tilts[0].low_loss.energy.window(*plane.window_ev)
    low_loss = [region_spectrum(series, region, low_loss=True) for region in regions.values()]
    if settings.plural_scattering:
        low_loss = [s - region_plural(series, r) for s, r in zip(low_loss, regions.values(), strict=True)]
    sources = tuple(f"{int(r.mask.sum())} pixels at {r.tilt_deg:g} deg" for r in regions.values())
    coordinates = np.stack([plane.coordinates(spectrum[window]) for spectrum in low_loss])
    return taught(series, plane.references(tuple(regions), coordinates, sources), settings)


def given_l_references(
    series: SpectrumSeries, spectra: Sequence[ReferenceSpectrum], settings: ReferenceSettings | None = None
) -> LReferences:
    """Turn spectra from files, background already removed, into L references on the axis of the series.

    Given spectra count as pure: they are only interpolated and brought to equal metal content.
    """
    settings = ReferenceSettings() if settings is None else settings
    energy, here = common_energy(series), []
    for s in spectra:
        if s.energy.start_ev > settings.core_edge_ev or s.energy.stop_ev < settings.core_high_ev:
            raise InputError(
                expected(
                    f"reference {s.name}",
                    f"{settings.core_edge_ev:g}-{settings.core_high_ev:g} eV",
                    f"{s.energy.start_ev:g}-{s.energy.stop_ev:g} eV",
                    "Load a longer spectrum or shorten the core-loss window",
                )
            )
        intensity = np.interp(energy.values, s.energy.values, s.intensity, left=0.0, right=0.0)
        content = metal_content(intensity, energy, settings, s.name)
        intensity = np.where(energy.values < settings.core_edge_ev, 0.0, intensity / content)
        here.append(ReferenceSpectrum(s.name, intensity, energy, s.source))
    if not here:
        raise InputError(expected("references", "one for each phase", "none", "Load a reference spectrum"))
    return checked(series, tuple(here), settings, ("The given references count as pure.",))


def taught(
    series: SpectrumSeries, low: MReferences, settings: ReferenceSettings, keep_purer: bool = True
) -> LReferences:
    """Learn the L references that belong to low-loss edges, bring them to equal metal content, purify them."""
    condition_number(np.stack([s.intensity for s in low.spectra]))
    maps = teaching_maps(series, low, settings.plural_scattering)
    energy = common_energy(series)
    window = energy.window(settings.core_low_ev, settings.core_high_ev)
    variances = [counting_variance(pair.core_loss.counts[..., window]) for pair in series.tilts]
    counts = [centred(single_core(pair, settings))[..., window] for pair in series.tilts]
    learnt = learn_spectra(counts, variances, maps)
    exponents = _core_exponents(series, settings)
    middle = exponents[
        len(exponents) // 2
    ]  # one law of its own exponent each: over 100 eV two would drift apart
    edges = np.zeros((len(low.spectra), energy.size))
    edges[:, window] = edges_of(learnt.spectra, energy.values[window], (middle,), settings.core_edge_ev)
    content = np.array([metal_content(e, energy, settings, n) for e, n in zip(edges, low.names, strict=True)])
    spectra = tuple(
        ReferenceSpectrum(s.name, edge, energy, s.source)
        for s, edge in zip(low.spectra, edges / content[:, None], strict=True)
    )
    condition = f"condition number of their maps {learnt.condition:.1f}"
    said = f"L references learnt from {learnt.pixels} pixels; {condition}.{learnt.note}"
    assert maps.covariance is not None
    content_maps = maps.replace(
        data=maps.data * content.astype(np.float32)[:, None, None, None],
        covariance=maps.covariance * np.outer(content, content).astype(np.float32)[:, :, None, None, None],
    )
    return purified(checked(series, spectra, settings, (said,)), content_maps, settings, keep_purer)


def region_spectrum(series: SpectrumSeries, region: Region, low_loss: bool = False) -> F64:
    """Sum the core-loss (or low-loss) spectra (e,) of a region in the tilt nearest to its; NaN left out."""
    pair = pair_of(series, region)
    counts = centred(pair.low_loss if low_loss else pair.core_loss)
    return np.asarray(np.nansum(counts[region.mask], axis=0, dtype=np.float64))


def region_plural(series: SpectrumSeries, region: Region, low_loss: bool = True) -> F64:
    """Sum the plural scattering (e,) in the low (or core) loss of a region: the known part for `fit_spectrum`."""
    pair = pair_of(series, region)
    y, x = np.nonzero(region.mask)
    low, core = (i.replace(counts=i.counts[y, x][None]) for i in (pair.low_loss, pair.core_loss))
    if low_loss:
        return np.asarray(np.nansum(plural_scattering(low, low.energy.size)[0], axis=0))
    return np.asarray(np.nansum(core_plural(DualSpectrumImage(low, core))[0], axis=0, dtype=np.float64))


def single_core(pair: DualSpectrumImage, settings: ReferenceSettings) -> SpectrumImage:
    """Give the core loss without plural scattering, or as it is where that is switched off."""
    if not settings.plural_scattering:
        return pair.core_loss
    return pair.core_loss.replace(counts=pair.core_loss.counts - core_plural(pair))


def pair_of(series: SpectrumSeries, region: Region) -> DualSpectrumImage:
    """Give the tilt nearest to that of a region, or raise `GeometryError` for a mask of other images."""
    nearest = min(series.tilts, key=lambda pair: abs(pair.tilt_deg - region.tilt_deg))
    grid = nearest.low_loss.counts.shape[:2]
    if region.mask.shape != grid:
        raise GeometryError(
            expected("region", f"a mask of {grid}", region.mask.shape, "Draw it on these maps")
        )
    return nearest


def common_energy(series: SpectrumSeries) -> EnergyAxis:
    """Give the core-loss axis of the series, or raise `InputError` when the tilts do not share their axes."""
    first = series.tilts[0]
    for pair in series.tilts[1:]:
        if pair.core_loss.energy != first.core_loss.energy or pair.low_loss.energy != first.low_loss.energy:
            raise InputError(
                expected(
                    "energy axes",
                    "one for all tilts",
                    f"another at {pair.tilt_deg:g} deg",
                    "Prepare the spectra",
                )
            )
    return first.core_loss.energy


def by_valence(
    spectra: tuple[ReferenceSpectrum, ...], settings: ReferenceSettings
) -> tuple[ReferenceSpectrum, ...]:
    """Sort L references from reduced to oxidised: the metal line moves up as electrons leave.

    By the mean energy of the first 10 eV of the edge, which hold its L3 line.
    """

    def centroid(reference: ReferenceSpectrum) -> float:
        window = reference.energy.window(settings.core_edge_ev, settings.core_edge_ev + 10.0)
        weight = np.maximum(reference.intensity[window], 0.0)
        return float((weight * reference.energy.values[window]).sum() / max(float(weight.sum()), 1e-12))

    return tuple(sorted(spectra, key=centroid))


def checked(
    series: SpectrumSeries,
    spectra: tuple[ReferenceSpectrum, ...],
    settings: ReferenceSettings,
    notes: tuple[str, ...],
) -> LReferences:
    """Put L references together with their fit window and background; refuses references all alike."""
    edge = spectra[0].energy.window(settings.core_edge_ev, settings.core_high_ev)
    condition = condition_number(np.stack([s.intensity[edge] for s in spectra]))
    limits = (settings.core_low_ev, settings.core_high_ev)
    return LReferences(
        spectra, limits, _core_exponents(series, settings), condition, notes, settings.background, raw=spectra
    )


def _core_exponents(series: SpectrumSeries, settings: ReferenceSettings) -> tuple[float, ...]:
    total, energy = total_counts([pair.core_loss for pair in series.tilts]), series.tilts[0].core_loss.energy
    exponent = float(fit_power_law(total[None], energy, settings.core_low_ev, settings.core_edge_ev)[1][0])
    return exponents_around(exponent, settings)


def metal_content(edge: F64, energy: EnergyAxis, settings: ReferenceSettings, name: str) -> float:
    """Sum the post-edge continuum: it counts metal atoms, whatever their valence."""
    content = float(edge[energy.window(settings.continuum_ev, settings.core_high_ev)].sum())
    if not content > 0:
        raise InputError(
            expected(
                f"reference {name}",
                f"an edge above the background at {settings.continuum_ev:g}-{settings.core_high_ev:g} eV",
                f"{content:.3g} counts",
                "Draw a larger region on the particle, or check the background window",
            )
        )
    return content
