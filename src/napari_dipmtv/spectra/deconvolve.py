"""Spectra with plural scattering become single-scattering spectra."""

from __future__ import annotations

import numpy as np
from scipy.fft import irfft, next_fast_len, rfft

from napari_dipmtv.data import F32, F64, DualSpectrumImage, SpectrumImage
from napari_dipmtv.errors import InputError, expected
from napari_dipmtv.spectra.background import fit_power_law, power_law
from napari_dipmtv.spectra.plural import plural_scattering, zero_loss_counts, zero_loss_window

SINGLE = "single_scattering"  # in the metadata of a core loss without plural scattering
_BELOW_EDGES = 0.1  # share of the core-loss axis that counts as below all its edges


def fourier_log(low_loss: SpectrumImage) -> SpectrumImage:
    """Take the plural scattering off a prepared low loss; the zero-loss peak stays.

    What is left is ``I_0 s(E)``, ``s`` the probability of a single loss, as broad as recorded. Noise is not
    sharpened, but it is no longer Poisson. Unmixing needs no deconvolved spectra: it takes plural scattering as
    a known part of the counts. See `plural.plural_scattering`.
    """
    plural = plural_scattering(low_loss, low_loss.energy.size)
    return low_loss.replace(counts=low_loss.counts - plural.astype(np.float32))


def fourier_ratio(pair: DualSpectrumImage) -> SpectrumImage:
    """Take the plural scattering of the low loss out of the edges in the core loss of the same pixels.

    ``S = F⁻¹[F(C) I_0 / F(D)]``, with the zero-loss peak of ``D`` as a line, so the resolution stays as recorded
    and no noise is lifted beyond what plural scattering took. The background, a power law through the first
    tenth of the axis, stays as recorded: its plural scattering is as smooth as itself, so that a fit takes it for
    background, while its electrons from below the axis cannot be known. Neighbouring channels then share noise.

    Raises
    ------
    InputError
        Without a zero-loss peak, or with a core loss of finer channels than the low loss.

    References
    ----------
    Egerton, Electron Energy-Loss Spectroscopy in the Electron Microscope (2011), section 4.3.
    """
    core, step = pair.core_loss, pair.core_loss.energy.step_ev
    if step < pair.low_loss.energy.step_ev * (1 - 1e-3):
        raise InputError(
            expected(
                "channels of the core loss",
                f"{pair.low_loss.energy.step_ev:g} eV or more, as in the low loss",
                f"{step:g} eV",
                "Bin the energy of the core loss, or switch the correction of plural scattering off",
            )
        )
    background = _background(core)
    edges = np.nan_to_num(core.counts.astype(np.float64)) - background
    i0 = zero_loss_counts(pair.low_loss)[..., None]
    losses = _losses(pair.low_loss, step, core.energy.size)
    size = next_fast_len(2 * core.energy.size, real=True)  # padded: nothing wraps around
    transfer = rfft(losses / np.where(i0 > 0, i0, np.nan), size, axis=-1) + 1.0
    single = irfft(rfft(edges, size, axis=-1) / transfer, size, axis=-1)[..., : core.energy.size]
    return core.replace(counts=background + single, metadata={**core.metadata, SINGLE: True})


def core_plural(pair: DualSpectrumImage) -> F32:
    """Count what electrons that also excited plasmons add to each channel of the core loss, (y, x, e).

    The twin of `plural.plural_scattering`: a known part of the fit, so that the counts stay counts. Without it the
    plasmon replica of the white lines lies in the continuum behind them, and thickness passes for valence.
    """
    if SINGLE in pair.core_loss.metadata:
        return np.zeros_like(pair.core_loss.counts)
    return pair.core_loss.counts - fourier_ratio(pair).counts


def _losses(low_loss: SpectrumImage, step_ev: float, size: int) -> F64:
    """Electrons that lost energy, in channels of ``step_ev`` from 0 eV on, (y, x, size); counts conserved."""
    axis = low_loss.energy
    counts = low_loss.counts.astype(np.float64)
    counts[..., : zero_loss_window(low_loss).stop] = 0.0
    below = np.concatenate([np.zeros((*counts.shape[:2], 1)), np.cumsum(counts, axis=-1)], axis=-1)
    edges = np.clip((np.arange(size + 1) - 0.5) * step_ev, axis.start_ev, axis.stop_ev)
    place = (edges - axis.start_ev) / axis.step_ev + 0.5
    whole = np.minimum(place.astype(np.intp), axis.size - 1)
    total = below[..., whole] + (place - whole) * counts[..., whole]
    return np.asarray(np.diff(total, axis=-1))


def _background(core: SpectrumImage) -> F64:
    """Continue the first tenth of spectra (y, x, e) as a power law of one exponent; 0 where it has no counts."""
    axis, counts = core.energy, np.nan_to_num(core.counts.astype(np.float64))
    high = axis.start_ev + _BELOW_EDGES * (axis.stop_ev - axis.start_ev)
    if not counts[..., axis.window(axis.start_ev, high)].sum() > 0:  # an edge without background
        return np.zeros_like(counts)
    amplitude, exponent = fit_power_law(counts, axis, axis.start_ev, high)
    exponent = np.full_like(exponent, np.average(exponent, weights=np.maximum(amplitude, 1e-12)))
    return power_law(amplitude, exponent, axis, high)
