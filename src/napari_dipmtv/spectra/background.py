"""Counts below an edge become a power law, and exponents become a linear background basis."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from napari_dipmtv.data import F64, EnergyAxis
from napari_dipmtv.errors import InputError, expected
from napari_dipmtv.settings.spectra import BackgroundModel, ReferenceSettings

_EXPONENTS = np.linspace(-2.0, 12.0, 1401)


def fit_power_law(counts: F64, energy: EnergyAxis, low_ev: float, high_ev: float) -> tuple[F64, F64]:
    """Fit ``A (E / high_ev)^-r`` to Poisson counts in a window, every spectrum at once.

    The maximum-likelihood exponent depends on the counts only through their mean ``log E``, so one table
    solves all pixels exactly. Unlike a log-log line it is not biased by low or zero counts.

    Parameters
    ----------
    counts : float array (..., e)
        Counts; a gain changes nothing.
    energy : EnergyAxis
        Axis of the last dimension.
    low_ev, high_ev : float
        Window below the edge.

    Returns
    -------
    amplitude, exponent : float arrays (...)
        ``amplitude`` is the background per channel at ``high_ev``. Where the window holds no counts the
        amplitude is 0 and the exponent that of the sum of all spectra.
    """
    window = energy.window(low_ev, high_ev)
    log_e = np.log(energy.values[window] / high_ev)
    n = np.asarray(counts, dtype=np.float64)[..., window]
    total = n.sum(axis=-1)
    everything = float(total.sum())
    if everything <= 0:
        raise InputError(
            expected(
                f"background window {low_ev:g}-{high_ev:g} eV",
                "counts above 0",
                everything,
                "Move the window",
            )
        )
    pooled = float((n @ log_e).sum()) / everything
    mean_log = np.where(total > 0, (n @ log_e) / np.where(total > 0, total, 1.0), pooled)
    power = np.exp(-_EXPONENTS[:, None] * log_e)
    table = (power @ log_e) / power.sum(axis=1)  # falls as the exponent grows
    exponent = np.interp(mean_log, table[::-1], _EXPONENTS[::-1])
    norm = np.interp(exponent, _EXPONENTS, power.sum(axis=1))
    return np.maximum(total, 0.0) / norm, exponent


def power_law(amplitude: F64, exponent: F64, energy: EnergyAxis, high_ev: float) -> F64:
    """Give ``A (E / high_ev)^-r`` on the whole axis, shape (..., e); 0 at energies that are not positive."""
    e = energy.values
    log_e = np.log(np.where(e > 0, e, high_ev) / high_ev)
    curve = amplitude[..., None] * np.exp(-exponent[..., None] * log_e)
    return np.where(e > 0, curve, 0.0)


def exponents_around(center: float, settings: ReferenceSettings) -> tuple[float, ...]:
    """Choose the fixed exponents of the background model around a measured one."""
    if settings.background != "power laws":
        return (center,)
    terms, spread = settings.background_terms, settings.background_spread
    offsets = np.linspace(-spread, spread, terms) if terms > 1 else np.zeros(1)
    return tuple(float(center + offset) for offset in offsets)


def power_law_basis(energy_ev: F64, exponents: tuple[float, ...]) -> F64:
    """Give one power law per exponent on the energies of a fit window, each with mean 1, shape (k, e)."""
    log_e = np.log(energy_ev / energy_ev.mean())
    basis = np.exp(-np.asarray(exponents)[:, None] * log_e)
    return np.asarray(basis / basis.mean(axis=1, keepdims=True))


def background_basis(
    model: BackgroundModel, energy_ev: F64, exponents: tuple[float, ...]
) -> tuple[F64, NDArray[np.bool_]]:
    """Give the linear basis of a background model and which of its weights may take either sign.

    ``power laws`` add up laws of fixed exponents. ``power law`` is one law whose exponent may differ from pixel
    to pixel: to first order ``A E^-(r + d) = A E^-r (1 - d ln E)``, linear in ``A`` and ``A d``. An offset adds
    a constant.

    Returns
    -------
    basis : float array (k, e)
        Each row with a mean magnitude of 1.
    either_sign : bool array (k,)
    """
    basis = power_law_basis(energy_ev, exponents)
    if model == "power laws":
        return basis, np.zeros(len(basis), dtype=bool)
    if len(exponents) != 1:
        raise InputError(
            expected(f"background '{model}'", "one exponent", len(exponents), "Learn the references again")
        )
    tilted = -basis[0] * np.log(energy_ev / energy_ev.mean())
    rows, either = [basis[0], tilted / np.abs(tilted).mean()], [False, True]
    if model == "power law + offset":
        rows, either = [*rows, np.ones_like(energy_ev)], [*either, False]
    return np.stack(rows), np.array(either)
