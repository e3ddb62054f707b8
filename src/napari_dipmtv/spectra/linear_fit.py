"""Counts of many pixels and a few basis spectra become weights, their covariance and chi-square."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_dipmtv.data import F64
from napari_dipmtv.spectra.nnls import nnls


@dataclass(frozen=True, slots=True, eq=False)
class PixelFits:
    """Weights (p, k), their covariance (p, k, k) and the reduced chi-square (p,) of many pixels."""

    weights: F64
    covariance: F64
    chi_square: F64


def fit_counts(
    counts: F64, basis: F64, free: NDArray[np.bool_], readout: float = 0.0, known: F64 | None = None
) -> PixelFits:
    """Fit Poisson counts by a sum of basis spectra, every pixel at once.

    The variance of a channel is that of the *model*, never the count itself: weights 1/count favour low
    channels and pull every abundance down. A first fit with one weight curve for all pixels gives the model,
    a second uses it. One pseudo-count per spectrum, shaped like the mean, keeps the error of an empty pixel
    above zero.

    Parameters
    ----------
    counts : float array (p, e)
        Counted electrons.
    basis : float array (k, e)
        Basis spectra; the background rows are positive.
    free : bool array (k,)
        Components whose weight may fall below zero.
    readout : float
        Standard deviation of the read-out noise per channel, electrons.
    known : float array (p, e) or (p, 1), optional
        Part of the counts that is known beforehand: fitted around, counted in the variance.

    Returns
    -------
    PixelFits
        The covariance is the inverse Gram matrix of the full model without bounds, so it holds for a
        component that a bound has stopped; where a bound acts on the background it is an upper limit.
    """
    floor = readout**2
    known = np.zeros((1, 1)) if known is None else known
    data = counts - known
    mean = data.mean(axis=0)
    flat = nnls(basis @ basis.T, (basis @ mean)[None])[0]
    shape = np.maximum(flat @ basis, 1e-3 * max(float(mean.mean()), 1e-6))
    first = basis / (shape + floor)
    start = nnls(first @ basis.T, data @ first.T)
    pseudo = shape / shape.sum()
    weight = 1.0 / (
        np.maximum(start @ basis + known, 0.0) + pseudo + floor
    )  # noisy references dip below zero
    gram = _grams(weight, basis)
    rhs = (data * weight) @ basis.T
    x = nnls(gram, rhs, free, start > 0)
    residual = data - x @ basis
    freedom = max(counts.shape[1] - basis.shape[0], 1)
    chi_square = np.einsum("pe,pe,pe->p", residual, residual, weight) / freedom
    return PixelFits(x, np.asarray(np.linalg.inv(gram), dtype=np.float64), chi_square)


def _grams(weight: F64, basis: F64) -> F64:
    """Give ``B diag(w) Bᵀ`` of every pixel as one matrix product with the products of basis pairs."""
    size = basis.shape[0]
    i, j = np.triu_indices(size)
    half = weight @ (basis[i] * basis[j]).T
    gram = np.empty((weight.shape[0], size, size))
    gram[:, i, j] = half
    gram[:, j, i] = half
    return gram
