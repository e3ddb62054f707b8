"""Aligned counts become a mask of X-ray spikes and the counts without them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from napari_dipmtv.data import F32, F64

_ALIKE = 0.1  # neighbouring pixels predict a strong channel to about this share


def find_spikes(counts: F32, sigma: float) -> tuple[NDArray[np.bool_], F32]:
    """Find channels far above what their neighbours in energy *and* in space predict.

    The prediction is the largest of three: the channels three to both sides (a spike is narrower), the mean
    of the eight neighbouring pixels, and that mean scaled to the flanks of this pixel; the neighbours may be
    one channel off, as whole-channel alignment leaves them. A sharp peak that the neighbours share (the zero
    loss, a white line) and a bright pixel with a smooth spectrum are both kept.

    Parameters
    ----------
    counts : float32 array (y, x, e)
        Electrons, aligned in energy.
    sigma : float
        Standard deviations above the prediction, Poisson with one count added.

    Returns
    -------
    spikes : bool array (y, x, e)
    prediction : float32 array (y, x, e)
        What to put there.
    """
    flanks = _flanks(counts)
    candidates = counts > flanks / 2 + sigma * np.sqrt(flanks / 2 + 1)  # cheap test first, for all channels
    y, x, e = np.nonzero(candidates)
    ring_counts, ring_flanks, neighbours = _ring(counts, flanks, y, x, e)
    own = flanks[y, x, e]
    scaled = ring_counts / (ring_flanks + 1) * own
    expectation = np.maximum.reduce([own / 2, ring_counts / np.maximum(neighbours, 1), scaled])
    noise = np.sqrt(expectation * (1 + expectation / (own + 1)) + 1 + (_ALIKE * expectation) ** 2)
    spike = counts[y, x, e] > expectation + sigma * noise
    spikes = np.zeros(counts.shape, dtype=bool)
    prediction = np.asarray(flanks / 2, dtype=np.float32)
    spikes[y[spike], x[spike], e[spike]] = True
    prediction[y[spike], x[spike], e[spike]] = expectation[spike]
    return _widened(spikes), prediction


def _ring(
    counts: F32, flanks: F32, y: NDArray[np.intp], x: NDArray[np.intp], e: NDArray[np.intp]
) -> tuple[F64, F64, F64]:
    """Sum the eight pixels around each candidate: the highest of three channels, the flanks, how many."""
    channels = np.clip(e + np.array([[-1], [0], [1]]), 0, counts.shape[2] - 1)
    total, ring_flanks, neighbours = np.zeros(channels.shape), np.zeros(len(e)), np.zeros(len(e))
    for dy, dx in ((-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1)):
        yy, xx = y + dy, x + dx
        inside = (yy >= 0) & (yy < counts.shape[0]) & (xx >= 0) & (xx < counts.shape[1])
        yy, xx = yy[inside], xx[inside]
        total[:, inside] += counts[yy, xx, channels[:, inside]]
        ring_flanks[inside] += flanks[yy, xx, e[inside]]
        neighbours += inside
    return total.max(axis=0), ring_flanks, neighbours


def _flanks(counts: F32) -> F32:
    """Sum of the channels three to the left and three to the right; at the borders twice the inner one."""
    left = np.concatenate([counts[..., 3:6], counts[..., :-3]], axis=-1)
    right = np.concatenate([counts[..., 3:], counts[..., -6:-3]], axis=-1)
    return np.asarray(left + right)


def _widened(spikes: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Take in the channel on either side of each spike: the detector spreads it."""
    wide = spikes.copy()
    wide[..., 1:] |= spikes[..., :-1]
    wide[..., :-1] |= spikes[..., 1:]
    return wide
