"""Spectra on an energy axis with uneven channels to a uniform one, every count kept."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_dipmtv.data import F32, F64, EnergyAxis
from napari_dipmtv.errors import InputError, expected


def channel_edges(energies_ev: ArrayLike) -> F64:
    """Edges (n + 1) of channels with the given ascending centres (n): half-way between, the ends alike."""
    centres = np.asarray(energies_ev, dtype=np.float64)
    if (
        centres.ndim != 1
        or len(centres) < 2
        or not (np.diff(centres) > 0).all()
        or not np.isfinite(centres).all()
    ):
        raise InputError(
            expected(
                "energies", "two or more ascending numbers", f"shape {centres.shape}", "Save them ascending"
            )
        )
    middles = (centres[1:] + centres[:-1]) / 2
    first, last = 2 * centres[0] - middles[0], 2 * centres[-1] - middles[-1]
    return np.concatenate([[first], middles, [last]])


def uniform_axis(edges_ev: F64) -> EnergyAxis:
    """As many equal channels over the same range."""
    size = len(edges_ev) - 1
    step = float(edges_ev[-1] - edges_ev[0]) / size
    return EnergyAxis(float(edges_ev[0]) + step / 2, step, size)


def rebin_uniform(counts: NDArray[np.number], edges_ev: F64) -> F32:
    """Spread the counts (..., e) of uneven channels over equal ones; the sum of each spectrum stays.

    A channel that is cut gives each part in proportion to its width, which correlates neighbouring channels.
    """
    size = len(edges_ev) - 1
    places = np.interp(np.linspace(edges_ev[0], edges_ev[-1], size + 1), edges_ev, np.arange(size + 1.0))
    whole = np.minimum(places.astype(np.intp), size - 1)
    part = places - whole
    result = np.empty(counts.shape, np.float32)
    for spectra, rebinned in zip(counts, result, strict=True):  # row by row: the sums need float64
        sums = np.zeros((*spectra.shape[:-1], size + 1))
        np.cumsum(spectra, axis=-1, out=sums[..., 1:])
        rebinned[:] = np.diff(sums[..., whole] * (1 - part) + sums[..., whole + 1] * part)
    return result
