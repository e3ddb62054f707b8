"""Abundance maps and the spectra of the same pixels become the spectrum of each abundance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_dipmtv.data import F64, ChannelMaps
from napari_dipmtv.errors import InputError, expected
from napari_dipmtv.spectra.background import background_basis, power_law_basis
from napari_dipmtv.spectra.references import WORST_CONDITION

_EVEN = 0.1  # variance of the metal over its mean square, below which the field holds no vacuum to speak of
_NO_VACUUM = " The field is evenly thick and shows no vacuum: its spectrum is taken to be zero."


@dataclass(frozen=True, slots=True, eq=False)
class Learnt:
    """Spectra (c, e) per unit abundance, with background, the Gram matrix they rest on, its condition.

    ``note`` says what was assumed of the vacuum, if anything.
    """

    spectra: F64
    gram: F64
    condition: float
    pixels: int
    note: str = ""


def learn_spectra(
    targets: Sequence[NDArray[np.floating]], variances: Sequence[F64], maps: ChannelMaps
) -> Learnt:
    """Solve ``min ||C^(-1/2) (W S + 1 v - D)||`` for the spectra ``S`` of the abundances ``W``.

    The abundances are noisy, and plain regression on noisy abundances makes the spectra too alike (regression
    dilution). The covariance of each pixel is known from the fit, so its sum is taken off ``Wᵀ C⁻¹ W``
    (errors-in-variables). So ``W`` must be unbiased, not clipped at zero, and should be the less noisy side.

    A film of even thickness shows nothing of ``v``: any share of its spectrum could be the vacuum's. There ``v = 0``.

    Parameters
    ----------
    targets : sequence of float arrays (y, x, e)
        ``D``, one for each tilt of the maps; NaN pixels are left out. ``v`` is the spectrum of vacuum.
    variances : sequence of float arrays (y, x)
        Relative variance of the pixels of ``D``: their weight.
    maps : ChannelMaps
        ``W`` with covariance.

    Raises
    ------
    InputError
        When what is left of ``Wᵀ C⁻¹ W`` cannot tell the abundances apart.
    """
    assert maps.covariance is not None
    size = len(maps.channels) + 1
    gram, right, pixels = np.zeros((size, size)), np.zeros((size, targets[0].shape[2])), 0
    for t, (target, variance) in enumerate(zip(targets, variances, strict=True)):
        d = target.reshape(-1, right.shape[1]).astype(np.float64)
        valid = np.isfinite(d).all(axis=1) & np.isfinite(variance.ravel())
        if maps.valid is not None:
            valid &= maps.valid[t].ravel()
        weight = 1.0 / variance.ravel()[valid]
        w = np.column_stack([*maps.data[:, t].reshape(size - 1, -1)[:, valid], np.ones(int(valid.sum()))])
        gram += (w * weight[:, None]).T @ w
        gram[:-1, :-1] -= maps.covariance[:, :, t].reshape(size - 1, size - 1, -1)[..., valid] @ weight
        right += (w * weight[:, None]).T @ d[valid]
        pixels += len(w)
    last = gram[:-1, -1:] / gram[-1, -1]
    clean = gram[:-1, :-1] - last * gram[-1:, :-1]  # the vacuum spectrum eliminated
    even = bool(clean.sum() < _EVEN * gram[:-1, :-1].sum())
    if even:
        last, clean = np.zeros_like(last), gram[:-1, :-1]
    condition = condition_of(clean)
    spectra = np.linalg.solve(clean, right[:-1] - last * right[-1:])
    return Learnt(spectra, clean, condition, pixels, _NO_VACUUM if even else "")


def counting_variance(counts: NDArray[np.floating]) -> F64:
    """Give the relative variance (y, x) of Poisson spectra (y, x, e): its own mean plus that of all pixels.

    Steady where a pixel holds few counts; NaN where it is unusable.
    """
    mean = counts.mean(axis=2, dtype=np.float64)
    return np.asarray(mean + max(float(np.nanmean(mean)), 1e-12), dtype=np.float64)


def edges_of(spectra: F64, energy_ev: F64, exponents: tuple[float, ...], edge_ev: float) -> F64:
    """Fit the background basis below the edge, take it off, and give zero below the edge.

    Two shapes are used, with weights of either sign: the outer two exponents, or the only one and its change.
    A short window fixes no third one, and a learnt spectrum may hold less background than vacuum does.
    """
    below, basis = _pre_edge(energy_ev, exponents, edge_ev)
    weights = np.linalg.lstsq(basis[:, below].T, spectra[..., below].T, rcond=None)[0]
    return np.where(below, 0.0, spectra - weights.T @ basis)


def edge_significance(
    counts: F64, edges: F64, energy_ev: F64, exponents: tuple[float, ...], edge_ev: float
) -> float:
    """Give the area of an edge (e,) over its standard deviation, that of the extrapolated background included.

    ``counts`` (e,) are all electrons, edge and background: their Poisson variance.
    """
    below, basis = _pre_edge(energy_ev, exponents, edge_ev)
    carried = basis[:, ~below].sum(axis=1) @ np.linalg.pinv(basis[:, below].T)  # what each channel below adds
    variance = counts[~below].sum() + (carried**2 @ counts[below])
    return float(edges[~below].sum() / np.sqrt(max(float(variance), 1e-300)))


def _pre_edge(energy_ev: F64, exponents: tuple[float, ...], edge_ev: float) -> tuple[NDArray[np.bool_], F64]:
    """Channels below the edge and the background shapes that are fitted there."""
    below = energy_ev < edge_ev
    if len(exponents) > 1:
        basis = power_law_basis(energy_ev, (exponents[0], exponents[-1]))
    else:
        basis, _ = background_basis("power law", energy_ev, exponents)
    if below.sum() < 2 * len(basis):
        raise InputError(
            expected(
                f"channels below the edge at {edge_ev:g} eV",
                f"{2 * len(basis)} or more",
                int(below.sum()),
                "Start the fit window lower",
            )
        )
    return below, basis


def condition_of(gram: F64) -> float:
    """Give the condition number of the abundances behind a Gram matrix, or refuse a singular one."""
    scale = np.sqrt(np.maximum(np.diag(gram), 1e-300))
    values = np.linalg.eigvalsh(gram / np.outer(scale, scale))
    condition = float(np.sqrt(values[-1] / values[0])) if values[0] > 0 else np.inf
    if condition > WORST_CONDITION:
        raise InputError(
            expected(
                "abundance maps",
                "channels that differ by more than their noise (condition number below "
                f"{WORST_CONDITION:.0e})",
                f"condition number {condition:.1e}",
                "Use more pixels or tilts, bin pixels, or pick other regions",
            )
        )
    return condition
