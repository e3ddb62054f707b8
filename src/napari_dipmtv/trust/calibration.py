"""Stated probabilities and intervals beside a known truth: are they kept?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_dipmtv.data import F32, F64
from napari_dipmtv.errors import GeometryError, expected
from napari_dipmtv.trust.result import Interval


@dataclass(frozen=True, slots=True, eq=False)
class Reliability:
    """How often what was given a probability is true.

    Attributes
    ----------
    stated, observed, voxels : float64 arrays (bins,)
        Mean probability, share of true voxels and number of voxels of each bin; NaN where a bin is empty.
    error : float
        Expected calibration error, ``Σ n |stated - observed| / Σ n``.
    """

    stated: F64
    observed: F64
    voxels: F64
    error: float


def reliability(
    probability: F32, truth: NDArray[np.bool_], where: NDArray[np.bool_], bins: int = 10
) -> Reliability:
    """Compare the probability of a phase with the truth, voxel by voxel.

    Parameters
    ----------
    probability : float32 array (z, y, x)
    truth : bool array (z, y, x)
    where : bool array (z, y, x)
        Voxels that count. Leave the vacuum far outside out: it is known with certainty and makes any error small.
    bins : int

    Raises
    ------
    GeometryError
        For arrays of different shapes.
    """
    if not probability.shape == truth.shape == where.shape:
        shapes = (probability.shape, truth.shape, where.shape)
        raise GeometryError(expected("reliability", "one shape", shapes, "Compare on one grid"))
    p, true = probability[where].astype(np.float64), truth[where].astype(np.float64)
    which = np.minimum((p * bins).astype(int), bins - 1)
    voxels, stated, observed = (
        np.asarray(np.bincount(which, w, bins), np.float64) for w in (np.ones_like(p), p, true)
    )
    with np.errstate(invalid="ignore"):
        stated, observed = stated / voxels, observed / voxels
    gaps = np.nan_to_num(np.abs(stated - observed)) * voxels
    return Reliability(stated, observed, voxels, float(gaps.sum() / max(voxels.sum(), 1)))


def covered(intervals: Sequence[Interval], truth: dict[str, float]) -> dict[str, tuple[bool, bool]]:
    """Tell for each measure with a known truth whether its 68 % and its 95 % interval hold it."""
    return {
        one.name: (
            one.low68 <= truth[one.name] <= one.high68,
            one.low95 <= truth[one.name] <= one.high95,
        )
        for one in intervals
        if one.name in truth
    }
