"""Counts of many pixels and a few basis spectra become weights, their covariance and chi-square."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_dipmtv.data import F64
from napari_dipmtv.spectra.nnls import nnls

_BLOCK = 128  # pixels whose arrays of 1024 channels stay in the cache of the processor


@dataclass(frozen=True, slots=True, eq=False)
class PixelFits:
    """Weights (p, k), their covariance (p, k, k) and the reduced chi-square (p,) of many pixels."""

    weights: F64
    covariance: F64
    chi_square: F64


def fit_counts(
    counts: NDArray[np.floating],
    basis: F64,
    free: NDArray[np.bool_],
    readout: float = 0.0,
    known: NDArray[np.floating] | None = None,
    mean: F64 | None = None,
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
    known : float array (p, e), optional
        Part of the counts that is known beforehand: fitted around, counted in the variance.
    mean : float array (e,), optional
        Mean of ``counts - known`` of more pixels than these, for the first weights.

    Returns
    -------
    PixelFits
        The covariance is the inverse Gram matrix of the full model without bounds, so it holds for a
        component that a bound has stopped; where a bound acts on the background it is an upper limit.
    """
    floor = readout**2
    if mean is None:
        mean = mean_counts(counts, known)
    flat = nnls(basis @ basis.T, (basis @ mean)[None])[0]
    shape = np.maximum(flat @ basis, 1e-3 * max(float(mean.mean()), 1e-6))
    weighted = basis / (shape + floor)
    data_of = _Blocks(counts, known)
    start = nnls(weighted @ basis.T, np.concatenate([data @ weighted.T for _, data, _ in data_of]))
    gram = np.empty((len(counts), len(basis), len(basis)))
    rhs, square = np.empty(start.shape), np.empty(len(counts))
    for part, data, apart in data_of:
        weight = _weights(start[part], basis, apart, shape, floor)
        gram[part] = _grams(weight, basis)
        weight *= data
        rhs[part] = weight @ basis.T
        square[part] = np.einsum("pe,pe->p", weight, data)
    x = nnls(gram, rhs, free, start > 0)
    left_over = square - np.einsum("pk,pk->p", x, 2 * rhs - np.einsum("pkl,pl->pk", gram, x))
    freedom = max(counts.shape[1] - basis.shape[0], 1)
    return PixelFits(x, np.asarray(np.linalg.inv(gram), dtype=np.float64), left_over / freedom)


def mean_counts(counts: NDArray[np.floating], known: NDArray[np.floating] | None) -> F64:
    """Mean spectrum (e,) of what is to be fitted."""
    mean = counts.mean(axis=0, dtype=np.float64)
    return np.asarray(mean if known is None else mean - known.mean(axis=0, dtype=np.float64))


class _Blocks:
    """Counts less what is known of them, and what is known, some pixels at a time."""

    def __init__(self, counts: NDArray[np.floating], known: NDArray[np.floating] | None) -> None:
        self.counts, self.known = counts, known

    def __iter__(self) -> Iterator[tuple[slice, F64, F64 | None]]:
        for first in range(0, len(self.counts), _BLOCK):
            part = slice(first, first + _BLOCK)
            data = self.counts[part].astype(np.float64)
            known = None if self.known is None else self.known[part].astype(np.float64)
            yield part, data if known is None else data - known, known


def _weights(start: F64, basis: F64, known: F64 | None, shape: F64, floor: float) -> F64:
    """One over the variance (p, e) of the first fit; noisy references and known parts may dip below zero."""
    model = start @ basis
    if known is not None:
        model += known
    np.maximum(model, 0.0, out=model)
    model += shape / shape.sum() + floor
    return np.reciprocal(model, out=model)


def _grams(weight: F64, basis: F64) -> F64:
    """Give ``B diag(w) Bᵀ`` of every pixel as one matrix product with the products of basis pairs."""
    size = basis.shape[0]
    i, j = np.triu_indices(size)
    half = weight @ (basis[i] * basis[j]).T
    gram = np.empty((weight.shape[0], size, size))
    gram[:, i, j] = half
    gram[:, j, i] = half
    return gram
