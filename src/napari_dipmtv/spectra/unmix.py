"""Spectrum images and references become channel maps with covariance, chi-square and signal to noise."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_dipmtv.data import (
    F32,
    F64,
    ChannelMaps,
    DualSpectrumImage,
    EnergyAxis,
    SpectrumImage,
    SpectrumSeries,
)
from napari_dipmtv.errors import InputError, expected
from napari_dipmtv.settings.spectra import UnmixSettings
from napari_dipmtv.spectra.decompose import DENOISED
from napari_dipmtv.spectra.deconvolve import core_plural
from napari_dipmtv.spectra.energy_offset import energy_offset_ev, offset_groups
from napari_dipmtv.spectra.linear_fit import PixelFits, fit_counts, mean_counts
from napari_dipmtv.spectra.plural import brightest_zero_loss, plural_scattering, zero_loss_counts
from napari_dipmtv.spectra.references import Basis, LReferences, References, condition_number
from napari_dipmtv.states import State, run

_SHARED_NOISE = (
    "The spectra were denoised, so that pixels share noise: the errors and the chi-square of these maps do not "
    "hold. Unmix the spectra as counted for anything but looking."
)


@dataclass(frozen=True, slots=True, eq=False)
class Unmixed:
    """Maps of the references and how far to trust them.

    Attributes
    ----------
    maps : ChannelMaps
        Abundances (c, t, y, x) with covariance and valid flags. With M references the unit is electrons in
        the M edge, with L references electrons in the post-edge continuum of the L edge.
    chi_square : float32 array (t, y, x)
        Reduced chi-square; 1 where the model explains the spectrum to the noise.
    background : float32 array (t, y, x)
        Electrons of background in the fit window.
    snr : float32 array (t, y, x)
        Sum of the abundances over its standard deviation.
    notes : tuple of str
        Plain sentences on what was assumed and what looks odd.
    """

    maps: ChannelMaps
    chi_square: F32
    background: F32
    snr: F32
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class SpectrumFit:
    """One spectrum and its parts on the fit window: what a plot draws.

    Attributes
    ----------
    energy_ev, data, background, residual : float arrays (e,)
    components : float array (c, e)
        Each reference times its abundance; ``data = background + components.sum(0) + residual``.
    abundances : float array (c,)
    covariance : float array (c, c)
    chi_square : float
        Reduced.
    """

    energy_ev: F64
    data: F64
    background: F64
    components: F64
    residual: F64
    names: tuple[str, ...]
    abundances: F64
    covariance: F64
    chi_square: float


@dataclass(frozen=True, slots=True, eq=False)
class _View:
    """The unmixing of one tilt."""

    tilt_deg: float
    data: F32  # (c, y, x)
    covariance: F32  # (c, c, y, x)
    valid: NDArray[np.bool_]  # (y, x)
    chi_square: F32  # (y, x)
    background: F32  # (y, x)


def unmix(
    series: SpectrumSeries, references: References, settings: UnmixSettings | None = None
) -> Iterator[State[Unmixed]]:
    """Split every pixel of every tilt into background and references; one step per tilt.

    The low loss is used with `MReferences`, the core loss with `LReferences`. Weights are those of the
    Poisson variance of the model (`linear_fit.fit_counts`). A snapshot holds the tilts done so far.

    Raises
    ------
    InputError
        When references are zero or collinear, their window is not on the axis, or no zero loss is there to
        correct plural scattering.
    """
    settings = UnmixSettings() if settings is None else settings
    condition_number(_reference_rows(references))
    if any(DENOISED in image.metadata for pair in series.tilts for image in (pair.low_loss, pair.core_loss)):
        references = replace(references, notes=(*references.notes, _SHARED_NOISE))
    brightest = brightest_zero_loss(series) if settings.plural_scattering else None
    return _views(series, references, settings, brightest)


def teaching_maps(series: SpectrumSeries, references: References, plural_scattering: bool) -> ChannelMaps:
    """Unmix for learning: unbiased abundances, linear in the counts of the pixel, with covariance."""
    settings = UnmixSettings(abundances="unbiased", plural_scattering=plural_scattering)
    return run(_views(series, references, settings, None)).value.maps


def _views(
    series: SpectrumSeries, references: References, settings: UnmixSettings, brightest: float | None
) -> Iterator[State[Unmixed]]:
    views: list[_View] = []
    for pair in series.tilts:
        views.append(_view(pair, references, settings, brightest))
        chi = views[-1].chi_square[views[-1].valid]
        yield State(
            iteration=len(views),
            total=len(series.tilts),
            losses={"chi_square": float(np.median(chi)) if chi.size else float("nan")},
            snapshot=lambda: _together(views, references, series.pixel_nm),
            stage=f"unmixing, {pair.tilt_deg:g} deg",
        )


def fit_spectrum(
    spectrum: ArrayLike,
    energy: EnergyAxis,
    references: References,
    settings: UnmixSettings | None = None,
    known: ArrayLike | None = None,
    offsets_ev: F64 | None = None,
) -> SpectrumFit:
    """Fit one spectrum (e,), e.g. the sum of a region, as `unmix` does, and give all parts of the fit.

    ``known`` (e,) is a part that is not fitted, such as the plural scattering that `region_plural` gives; it is
    counted to the background. ``offsets_ev`` (p,) is what to add to the axis in each pixel of a sum.
    """
    settings = UnmixSettings() if settings is None else settings
    basis = references.basis_of_sum(energy, np.zeros(1) if offsets_ev is None else offsets_ev)
    window = basis.window
    data = np.asarray(spectrum, dtype=np.float64)[window]
    if not np.isfinite(data).all():
        raise InputError(expected("spectrum", "finite counts", "NaN or inf", "Leave out unusable pixels"))
    beforehand = np.zeros(data.size) if known is None else np.asarray(known, dtype=np.float64)[window]
    free = _free(basis, settings)
    fits = fit_counts(data[None], basis.spectra, free, settings.readout_electrons, beforehand[None])
    parts, is_reference = fits.weights[0][:, None] * basis.spectra, basis.is_reference
    return SpectrumFit(
        energy_ev=energy.values[window],
        data=data,
        background=parts[~is_reference].sum(axis=0) + beforehand,
        components=parts[is_reference],
        residual=data - parts.sum(axis=0) - beforehand,
        names=references.names,
        abundances=fits.weights[0, is_reference],
        covariance=fits.covariance[0][np.ix_(is_reference, is_reference)],
        chi_square=float(fits.chi_square[0]),
    )


def _reference_rows(references: References) -> F64:
    return np.stack([s.intensity[s.energy.window(*references.window_ev)] for s in references.spectra])


def _free(basis: Basis, settings: UnmixSettings) -> NDArray[np.bool_]:
    """All components or none: a bound on the background alone would lift or lower what lies on it."""
    return basis.either_sign | (settings.abundances == "unbiased")


def _view(
    pair: DualSpectrumImage, references: References, settings: UnmixSettings, brightest: float | None
) -> _View:
    core = isinstance(references, LReferences)
    image = pair.core_loss if core else pair.low_loss
    basis = references.basis(image.energy)
    window = basis.window
    counts = image.counts[..., window].reshape(-1, basis.spectra.shape[1])
    known = None
    if settings.plural_scattering:
        plural = core_plural(pair) if core else plural_scattering(pair.low_loss, window.stop)
        known = plural[..., window].reshape(counts.shape)
    scale = np.ones(len(counts))
    if brightest is not None:
        left = zero_loss_counts(pair.low_loss).ravel()
        scale = brightest / np.where(left > 0, left, np.nan)
    valid = np.isfinite(counts).all(axis=1) & np.isfinite(scale)
    if known is not None:
        valid &= np.isfinite(known).all(axis=1)
    if not valid.any():
        raise InputError(
            expected(f"spectra at {image.tilt_deg:g} deg", "usable pixels", "none", "Leave this tilt out")
        )
    apart = None if known is None else known[valid]
    fits = _fit_groups(counts[valid], apart, image, references, settings, valid)
    return _as_view(image, fits, basis, valid, scale[valid])


def _fit_groups(
    counts: NDArray[np.floating],
    known: NDArray[np.floating] | None,
    image: SpectrumImage,
    references: References,
    settings: UnmixSettings,
    valid: NDArray[np.bool_],
) -> PixelFits:
    """Fit the valid pixels in groups of like energy offset, each with the references moved to it."""
    mean = mean_counts(counts, known)
    parts, order = [], []
    for offset_ev, pixels in offset_groups(energy_offset_ev(image).ravel()[valid], image.energy.step_ev):
        basis = references.basis(image.energy, offset_ev)
        apart = None if known is None else known[pixels]
        free, noise = _free(basis, settings), settings.readout_electrons
        parts.append(fit_counts(counts[pixels], basis.spectra, free, noise, apart, mean))
        order.append(pixels)
    back = np.argsort(np.concatenate(order))
    return PixelFits(
        np.concatenate([part.weights for part in parts])[back],
        np.concatenate([part.covariance for part in parts])[back],
        np.concatenate([part.chi_square for part in parts])[back],
    )


def _as_view(
    image: SpectrumImage,
    fits: PixelFits,
    basis: Basis,
    valid: NDArray[np.bool_],
    scale: F64,
) -> _View:
    """Put the fits of the valid pixels back on the grid (y, x); zeros elsewhere."""
    is_reference = basis.is_reference
    grid, channels = image.counts.shape[:2], int(is_reference.sum())
    data = np.zeros((channels, valid.size), dtype=np.float32)
    covariance = np.zeros((channels, channels, valid.size), dtype=np.float32)
    chi_square, background = np.zeros((2, valid.size), dtype=np.float32)
    data[:, valid] = (fits.weights[:, is_reference] * scale[:, None]).T
    block = fits.covariance[:, is_reference][:, :, is_reference] * scale[:, None, None] ** 2
    covariance[:, :, valid] = block.transpose(1, 2, 0)
    chi_square[valid] = fits.chi_square
    background[valid] = fits.weights[:, ~is_reference] @ basis.spectra[~is_reference].sum(axis=1)
    return _View(
        float(image.tilt_deg),
        data.reshape(channels, *grid),
        covariance.reshape(channels, channels, *grid),
        valid.reshape(grid),
        chi_square.reshape(grid),
        background.reshape(grid),
    )


def _together(views: list[_View], references: References, pixel_nm: float) -> Unmixed:
    valid = np.stack([view.valid for view in views])
    maps = ChannelMaps(
        np.stack([view.data for view in views], axis=1),
        references.names,
        tuple(view.tilt_deg for view in views),
        pixel_nm,
        covariance=np.stack([view.covariance for view in views], axis=2),
        valid=None if valid.all() else valid,
    )
    assert maps.covariance is not None
    variance = maps.covariance.sum(axis=(0, 1))
    snr = maps.data.sum(axis=0) / np.sqrt(np.where(variance > 0, variance, np.inf))
    chi_square = np.stack([view.chi_square for view in views])
    background = np.stack([view.background for view in views])
    notes = references.notes + _notes(maps, chi_square, valid)
    return Unmixed(maps, chi_square, background, snr, notes)


def _notes(maps: ChannelMaps, chi_square: F32, valid: NDArray[np.bool_]) -> tuple[str, ...]:
    notes = []
    if not valid.all():
        notes.append(f"{int((~valid).sum())} of {valid.size} pixels are unusable and get no weight.")
    for name, data in zip(maps.channels, maps.data, strict=True):
        below = float((data[valid] < 0).mean())
        if below > 0:
            notes.append(
                f"{name}: {below:.0%} of the pixels lie below zero, as noise around an empty pixel must."
            )
    typical = float(np.median(chi_square[valid]))
    if typical > 2:
        notes.append(
            f"The median reduced chi-square is {typical:.1f}: the references do not explain the spectra to "
            "the noise. Check the detector gain, the energy alignment and the fit window."
        )
    return tuple(notes)
