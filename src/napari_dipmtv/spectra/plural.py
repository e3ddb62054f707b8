"""Low-loss spectra become their plural scattering, and the share of electrons left in the zero-loss peak."""

from __future__ import annotations

import numpy as np
from scipy.fft import irfft, next_fast_len, rfft
from scipy.ndimage import convolve

from napari_dipmtv.data import F64, SpectrumImage, SpectrumSeries
from napari_dipmtv.errors import InputError, expected
from napari_dipmtv.spectra.ring import RING

_HALF_WIDTH_EV = (4.0, 10.0)  # of the zero-loss window: at least, below band-gap losses of note, and at most
_FWHM_EACH_SIDE = 3.0  # holds the tails of a real peak; within the least one up to an FWHM of 1.3 eV


def plural_scattering(low_loss: SpectrumImage, stop: int) -> F64:
    """Count what electrons that scattered more than once add to each channel, (y, x, stop).

    Fourier-log deconvolution with the zero-loss peak as a line: ``SSD = I0 F⁻¹ ln(1 + F(D) / I0)``, and ``D -
    SSD`` is plural. Without division by a measured peak it lifts no noise. It is meant to stand beside the
    references in the fit, as a known part, so that the counts stay counts. Without it the double plasmon (46
    eV, growing with the square of the thickness) lies under the M edge and mixes the maps. For less than one
    scattering event per electron.

    Parameters
    ----------
    low_loss : SpectrumImage
        Prepared, zero-loss peak at 0 eV.
    stop : int
        Channels up to here are wanted; those above have no influence on them.

    Raises
    ------
    InputError
        When the zero-loss peak is not on the axis.

    References
    ----------
    Egerton, Electron Energy-Loss Spectroscopy in the Electron Microscope (2011), section 4.1.
    """
    axis = low_loss.energy
    zero = zero_loss_window(low_loss)
    origin = round(-axis.start_ev / axis.step_ev)
    i0 = zero_loss_counts(low_loss)[..., None].astype(np.float32)
    d = low_loss.counts[..., origin:stop].copy()
    d[..., : zero.stop - origin] = 0.0
    size = next_fast_len(2 * d.shape[-1], real=True)  # padded: nothing wraps around
    once = irfft(np.log1p(rfft(d / np.where(i0 > 0, i0, np.nan), size, axis=-1)), size, axis=-1) * i0
    plural = np.zeros((*d.shape[:2], stop))
    plural[..., origin:] = d - once[..., : d.shape[-1]]
    plural[..., : zero.stop] = 0.0
    return plural


def zero_loss_counts(low_loss: SpectrumImage) -> F64:
    """Electrons within the zero-loss peak, (y, x)."""
    return np.asarray(low_loss.counts[..., zero_loss_window(low_loss)].sum(axis=2, dtype=np.float64))


def brightest_zero_loss(series: SpectrumSeries) -> float:
    """Zero-loss electrons where nothing scatters: the mean of the brightest hundredth of all pixels.

    A pixel is chosen by its neighbours and counted by itself, so noise is not mistaken for brightness.
    """
    own, around = [], []
    for pair in series.tilts:
        counts = zero_loss_counts(pair.low_loss)
        good = np.isfinite(counts)
        neighbours = convolve(good.astype(float), RING, mode="constant")
        total = convolve(np.where(good, counts, 0.0), RING, mode="constant")
        surrounded = good & (neighbours > 0.6 * RING.sum())
        own.append(counts[surrounded])
        around.append(total[surrounded] / neighbours[surrounded])
    chosen, rank = np.concatenate(own), np.argsort(np.concatenate(around))
    bright = float(chosen[rank[-max(rank.size // 100, 1) :]].mean()) if rank.size else 0.0
    if bright <= 0:
        raise InputError(
            expected(
                "zero-loss peak", "electrons in it", bright, "Switch the correction of plural scattering off"
            )
        )
    return bright


def zero_loss_window(low_loss: SpectrumImage) -> slice:
    """Channels of the zero-loss peak; raises `InputError` where the axis does not hold it.

    A broad peak gets a wider window, by the width of the mean of all pixels: its tails would pass for losses.
    """
    axis, least = low_loss.energy, _HALF_WIDTH_EV[0]
    if not axis.start_ev <= -0.5 * least < least <= axis.stop_ev:
        raise InputError(
            expected(
                "zero-loss peak",
                f"{-0.5 * least:g} to {least:g} eV on the low-loss axis",
                f"{axis.start_ev:g} to {axis.stop_ev:g} eV",
                "Switch the correction of plural scattering off",
            )
        )
    half_ev = float(np.clip(_FWHM_EACH_SIDE * _fwhm_ev(low_loss), *_HALF_WIDTH_EV))
    return axis.window(-half_ev, half_ev)


def _fwhm_ev(low_loss: SpectrumImage) -> float:
    """Full width at half maximum of the peak next to 0 eV in the sum of all pixels, in whole channels."""
    axis, (least, most) = low_loss.energy, _HALF_WIDTH_EV
    near = axis.window(-most, most)
    total = np.asarray(np.nansum(low_loss.counts[..., near], axis=(0, 1), dtype=np.float64))
    central = np.abs(axis.values[near]) <= least
    top = int(np.argmax(np.where(central, total, -np.inf)))
    below = np.flatnonzero(total < 0.5 * total[top])
    first = below[below < top].max(initial=-1) + 1
    last = below[below > top].min(initial=total.size) - 1
    return float(last - first + 1) * axis.step_ev
