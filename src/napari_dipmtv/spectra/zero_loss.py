"""Low-loss spectra become the energy of their zero-loss peak, pixel by pixel, to a fraction of a channel."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline

from napari_dipmtv.data import F64, EnergyAxis, SpectrumImage
from napari_dipmtv.errors import InputError, expected
from napari_dipmtv.settings.spectra import PrepareSettings


@dataclass(frozen=True, slots=True, eq=False)
class ZeroLoss:
    """Where the zero-loss peak of each pixel lies on the recorded axis.

    Attributes
    ----------
    drift_ev : float array (y, x)
        Recorded energy of the peak maximum: what must be subtracted from the axis of the pixel.
    error_ev : float array (y, x)
        Standard deviation of it from counting statistics.
    quality : float array (y, x)
        Share of the signal around the peak that the common peak shape explains, 0 to 1.
    usable : bool array (y, x)
        Quality reached, peak not at the border of the search range, and nothing elsewhere twice as high.
    """

    drift_ev: F64
    error_ev: F64
    quality: F64
    usable: NDArray[np.bool_]


def zero_loss(low_loss: SpectrumImage, settings: PrepareSettings | None = None) -> ZeroLoss:
    """Find the zero-loss peak of every pixel by a Poisson-weighted fit of the common peak shape.

    The shape is the mean of the peaks themselves, first aligned to whole channels and then to the fitted
    fractions, so nothing is assumed about it; a saturated peak is fitted by its flanks.

    Raises
    ------
    InputError
        When the axis holds no 0 eV, or the search range reaches too few channels.
    """
    settings = PrepareSettings() if settings is None else settings
    axis = low_loss.energy
    search = _search_window(axis, settings.search_ev)
    counts = np.nan_to_num(low_loss.counts.reshape(-1, axis.size).astype(np.float64) / settings.gain)
    top = _highest(counts, search)
    half = _half_width(counts, top)
    patches = _patches(counts, top, 2 * half)
    fraction = np.zeros(len(top))
    for _ in range(3):
        shape = _common_shape(patches, fraction)
        fraction, error, quality = _fit_fraction(patches, shape, fraction, half)
    zero = _maximum(shape, half)
    position = top + fraction + zero
    inside = (top > search.start) & (top < search.stop - 1) & _tallest(counts, top)
    quality = np.where(inside, quality, 0.0)
    grid = low_loss.counts.shape[:2]
    return ZeroLoss(
        drift_ev=(axis.start_ev + axis.step_ev * position).reshape(grid),
        error_ev=(axis.step_ev * error).reshape(grid),
        quality=quality.reshape(grid),
        usable=(quality >= max(settings.min_quality, 1e-6)).reshape(grid),
    )


def _search_window(axis: EnergyAxis, search_ev: float) -> slice:
    if not axis.start_ev < 0 < axis.stop_ev:
        raise InputError(
            expected(
                "low loss",
                "a zero-loss peak, with 0 eV on the energy axis",
                f"{axis.start_ev:g} to {axis.stop_ev:g} eV",
                "Load the low loss of the dual pair, or set the zero-loss alignment to none",
            )
        )
    window = axis.window(-search_ev, search_ev)
    if window.stop - window.start < 7:
        raise InputError(
            expected(
                "zero-loss search",
                "7 channels or more",
                window.stop - window.start,
                "Search further from 0 eV",
            )
        )
    return window


def _highest(counts: F64, search: slice) -> NDArray[np.intp]:
    """Channel of the highest sum of three neighbours: a single noisy channel does not win."""
    z = counts[:, search]
    smooth = z.copy()
    smooth[:, 1:] += z[:, :-1]
    smooth[:, :-1] += z[:, 1:]
    return np.asarray(np.argmax(smooth, axis=1) + search.start)


def _tallest(counts: F64, top: NDArray[np.intp]) -> NDArray[np.bool_]:
    """Nothing in the spectrum is twice as high: else the zero loss lies elsewhere and this is its foot."""
    everywhere = slice(0, counts.shape[1])
    highest = _patches(counts, _highest(counts, everywhere), 1).sum(axis=1)
    return np.asarray(highest <= 2 * _patches(counts, top, 1).sum(axis=1))


def _half_width(counts: F64, top: NDArray[np.intp]) -> int:
    """Half-width of the fit in channels: 1.2 times the width at half maximum of the mean peak, at least 3."""
    reach = min(40, counts.shape[1] // 4)
    mean = _patches(counts, top, reach).mean(axis=0)
    above = mean > 0.5 * mean[reach]
    right = int(np.argmin(above[reach:])) or reach
    left = int(np.argmin(above[reach::-1])) or reach
    return int(np.clip(round(1.2 * (right + left - 1)), 3, max(reach // 2, 3)))


def _patches(counts: F64, top: NDArray[np.intp], reach: int) -> F64:
    """Cut channels top-reach … top+reach out of every spectrum, repeating the border channels."""
    index = top[:, None] + np.arange(-reach, reach + 1)
    return np.take_along_axis(counts, np.clip(index, 0, counts.shape[1] - 1), axis=1)


def _common_shape(patches: F64, fraction: F64) -> CubicSpline:
    """Mean of all peaks, each moved back by its fraction of a channel, as a curve around the top."""
    reach = patches.shape[1] // 2
    channel = np.arange(-reach, reach + 1, dtype=float)
    lower = np.floor(fraction)
    part = (fraction - lower)[:, None]
    left = _roll(patches, lower.astype(np.intp))
    right = _roll(patches, lower.astype(np.intp) + 1)
    mean = ((1 - part) * left + part * right).mean(axis=0)
    return CubicSpline(channel, mean / max(float(mean.max()), 1e-12))


def _roll(patches: F64, by: NDArray[np.intp]) -> F64:
    index = np.arange(patches.shape[1]) + by[:, None]
    return np.take_along_axis(patches, np.clip(index, 0, patches.shape[1] - 1), axis=1)


def _fit_fraction(patches: F64, shape: CubicSpline, fraction: F64, half: int) -> tuple[F64, F64, F64]:
    """Fit height and position of the common shape to each peak; give position, its error and the quality."""
    reach = patches.shape[1] // 2
    data = patches[:, reach - half : reach + half + 1]
    channel = np.arange(-half, half + 1, dtype=float)
    slope = shape.derivative()
    for _ in range(3):
        t = np.maximum(shape(channel - fraction[:, None]), 1e-4)
        d = slope(channel - fraction[:, None])
        height = data.sum(axis=1) / t.sum(axis=1)  # the Poisson maximum-likelihood height
        information = (d * d / t).sum(axis=1) - d.sum(axis=1) ** 2 / t.sum(axis=1)
        score = (d * data / t).sum(axis=1) / np.maximum(height, 1e-12) - d.sum(axis=1)
        move = -score / np.maximum(information, 1e-12)
        fraction = np.clip(fraction + np.clip(move, -0.5, 0.5), -2.0, 2.0)
    model = height[:, None] * shape(channel - fraction[:, None])
    scatter = ((data - data.mean(axis=1, keepdims=True)) ** 2).sum(axis=1)
    left_over = ((data - model) ** 2).sum(axis=1)
    quality = np.clip(1.0 - left_over / np.maximum(scatter, 1e-12), 0.0, 1.0)
    error = 1.0 / np.sqrt(np.maximum(height * information, 1e-12))
    return fraction, error, quality


def _maximum(shape: CubicSpline, half: int) -> float:
    """Middle of the top, for a saturated peak has no single highest point."""
    fine = np.linspace(-half, half, 200 * half + 1)
    height = shape(fine)
    return float(fine[height >= 0.98 * height.max()].mean())
