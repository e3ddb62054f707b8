"""A measured series to two independent ones that share its dose: one to fit, one to judge the fit by."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from napari_dipmtv.data import F32, TiltSeries
from napari_dipmtv.errors import InputError, expected


def thin(series: TiltSeries, share: float, random: np.random.Generator) -> tuple[TiltSeries, TiltSeries]:
    """Split a series so that the noise of one part says nothing about the noise of the other.

    Counts ``n`` become ``Binomial(n, share)`` and the rest, which are independent Poisson counts. Maps with the
    covariance ``C`` become ``y + a e`` and ``y - e / a`` with fresh ``e ~ N(0, C)``: the cross-covariance is
    ``C - C = 0``, and ``a^2 = (1 - share) / share`` gives the parts the covariances ``C / share`` and
    ``C / (1 - share)``. Both parts keep the units of the whole.

    Parameters
    ----------
    series : TiltSeries
    share : float
        Part of the dose that the first series gets; between 0 and 1.
    random : numpy Generator

    Raises
    ------
    InputError
        For maps without statistics, or a share outside (0, 1).
    """
    if not 0 < share < 1:
        raise InputError(expected("share of the dose", "between 0 and 1", share, "Take 0.8"))
    if series.counts_per_unit is not None:
        counts = _whole(series.data * np.float64(series.gain), random)
        kept = random.binomial(counts, share)
        return counted(series, kept, share), counted(series, counts - kept, 1 - share)
    if series.covariance is None:
        raise InputError(
            expected(
                "maps to split", "counts or a covariance", "maps without statistics", "Judge by a known truth"
            )
        )
    noise, a = _draw(series.covariance, random), ((1 - share) / share) ** 0.5
    return (
        series.replace(data=series.data + a * noise, covariance=series.covariance / share),
        series.replace(data=series.data - noise / a, covariance=series.covariance / (1 - share)),
    )


def counted(series: TiltSeries, counts: NDArray[np.int64], share: float = 1.0) -> TiltSeries:
    """The series with other counts (c, t, y, x), of a share of its dose, in its units."""
    per_unit = series.counts_per_unit
    assert per_unit is not None
    each = tuple(one * share for one in per_unit) if isinstance(per_unit, tuple) else per_unit * share
    data = (counts / (series.gain * share)).astype(np.float32)
    return series.replace(data=data, counts_per_unit=each, covariance=None)


def _whole(counts: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Whole counts; where an interpolation has made them fractional, rounded up as often as the fraction says."""
    counts = np.maximum(counts, 0)
    nearest = np.rint(counts)
    rounded = np.floor(counts + random.random(counts.shape))
    return np.where(np.abs(counts - nearest) < 1e-3, nearest, rounded).astype(np.int64)


def _draw(covariance: F32, random: np.random.Generator) -> F32:
    """Noise (c, t, y, x) of a covariance (c, c, t, y, x); directions of no or negative variance get none."""
    values, vectors = np.linalg.eigh(np.moveaxis(covariance, (0, 1), (-2, -1)))
    normal = random.standard_normal(values.shape, dtype=np.float32) * np.sqrt(np.maximum(values, 0))
    return np.ascontiguousarray(np.moveaxis((vectors @ normal[..., None])[..., 0], -1, 0), np.float32)
