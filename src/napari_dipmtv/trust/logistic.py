"""Found or not found at several sizes to a detection curve and the size that is found often enough."""

from __future__ import annotations

import numpy as np

from napari_dipmtv.data import F64

GRID = 121  # middles of the curve that are weighed against each other
WIDTHS = 41
NARROWEST, WIDEST = 0.02, 0.5  # widths of the curve, in spans of the sizes


def detection_curve(
    sizes: F64, tried: F64, found: F64, target: float
) -> tuple[float, float, float, F64, F64]:
    """Fit ``P(found) = 1 / (1 + exp(-(s - m) / w))`` and ask for the size with ``P = target``.

    The middle m (even over twice the span of the sizes) and the width w (even in its logarithm) are weighed by their
    binomial likelihood; the answer is the median of the size over that posterior, with the 95 % interval. Few repeats,
    and curves that jump between two sizes, then give wide intervals instead of confident fits.

    Parameters
    ----------
    sizes, tried, found : (s,)
    target : float

    Returns
    -------
    smallest, low, high : float
        ``smallest`` is NaN and ``high`` infinite where even the largest size is found too rarely. ``smallest`` is the
        smallest size and ``low`` 0 where that is found often enough. Ends of the interval outside of what was tried
        are 0 and infinity.
    curve_sizes, curve : float64 arrays
        The mean curve; empty with fewer than two sizes tried.
    """
    used = tried > 0
    sizes, tried, found = sizes[used], tried[used], found[used]
    if len(sizes) < 2:
        return float("nan"), 0.0, float("inf"), np.zeros(0), np.zeros(0)
    least, most = float(sizes.min()), float(sizes.max())
    middles = np.linspace(least - (most - least) / 2, most + (most - least) / 2, GRID)[:, None]
    widths = (most - least) * np.geomspace(NARROWEST, WIDEST, WIDTHS)[None, :]
    weights = _posterior(middles, widths, sizes, tried, found)
    asked = (middles + widths * np.log(target / (1 - target))).ravel()
    order = np.argsort(asked)
    low, smallest, high = np.interp([0.025, 0.5, 0.975], np.cumsum(weights.ravel()[order]), asked[order])
    at = np.linspace(0.5 * least, 1.2 * most, 100)
    curve = np.array([float((weights * _logistic((s - middles) / widths)).sum()) for s in at])
    if smallest > most:
        return float("nan"), max(float(low), least), float("inf"), at, curve
    low, high = (0.0 if low < least else float(low)), (float("inf") if high > most else float(high))
    return max(float(smallest), least), low, high, at, curve


def _posterior(middles: F64, widths: F64, sizes: F64, tried: F64, found: F64) -> F64:
    """Weights (m, w) that add up to 1."""
    likelihood = np.zeros(np.broadcast_shapes(middles.shape, widths.shape))
    for s, n, k in zip(sizes, tried, found, strict=True):
        p = np.clip(_logistic((s - middles) / widths), 1e-12, 1 - 1e-12)
        likelihood += k * np.log(p) + (n - k) * np.log(1 - p)
    weights = np.exp(likelihood - likelihood.max())
    return np.asarray(weights / weights.sum())


def _logistic(u: F64) -> F64:
    return np.asarray(1 / (1 + np.exp(-np.clip(u, -50, 50))))
