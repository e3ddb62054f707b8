"""Total signal per view to dose factors, and uneven maps to even ones with the statistics of each."""

from __future__ import annotations

from typing import TypeVar

import numpy as np

from napari_dipmtv.data import MapStack
from napari_dipmtv.errors import InputError, expected

Stack = TypeVar("Stack", bound=MapStack)

UNEVEN = 1.3  # largest over smallest factor from which equalising is worth a question


def dose_factors(maps: MapStack) -> tuple[float, ...]:
    """Relative dose of every view: its total signal (channel sum) over the mean of all views.

    Every view sees the same mass between two planes across the tilt axis, so the totals of the rows that all
    views show differ only by dose. Before the alignment these are all rows, and the object must stay inside
    every view; after it, rows that drifted out of one view are left out for all.

    Parameters
    ----------
    maps : ChannelMaps or TiltSeries

    Returns
    -------
    tuple of float
        One per view, of mean 1; 1 for a view without any usable pixel.

    Raises
    ------
    InputError
        When a view has usable pixels but no positive total.
    """
    views, ny = maps.data.shape[1:3]
    valid = np.ones(maps.data.shape[1:], bool) if maps.valid is None else maps.valid
    used = valid.any(axis=(1, 2))
    shown = (valid.mean(axis=2) > 0.5)[used].all(axis=0)  # (y,)
    rows = shown if shown.any() else np.ones(ny, bool)
    totals = maps.data[:, :, rows].sum(axis=0, dtype=np.float64).sum(axis=(1, 2))  # (t,)
    for tilt, total in zip(np.array(maps.tilts_deg)[used], totals[used], strict=True):
        if not total > 0:
            raise InputError(
                expected(f"map at {tilt:g} deg", "some signal", f"a sum of {total:g}", "Leave this view out")
            )
    factors = np.ones(views)
    factors[used] = totals[used] / totals[used].mean()
    return tuple(factors.tolist())


def dose_is_uneven(factors: tuple[float, ...]) -> bool:
    """Say whether the views differ so much in dose that equalising should be suggested."""
    return max(factors) > UNEVEN * min(factors)


def equalise(maps: Stack, factors: tuple[float, ...]) -> Stack:
    """Divide every view by its dose factor.

    Counts stay counts: ``counts_per_unit`` becomes one number per view, and with it the Poisson statistics of
    each. A covariance is divided by the squared factor.

    Parameters
    ----------
    maps : ChannelMaps or TiltSeries
    factors : tuple of float
        One per view, as `dose_factors` gives them.
    """
    if len(factors) != len(maps.tilts_deg) or not min(factors) > 0:
        raise InputError(
            expected(
                "dose factors",
                f"{len(maps.tilts_deg)} positive numbers",
                factors,
                "Compute them from these maps",
            )
        )
    scale = np.asarray(factors, dtype=np.float32)[:, None, None]  # (t, 1, 1)
    per_unit = None
    if maps.counts_per_unit is not None:
        per_unit = tuple((np.ravel(maps.gain) * np.asarray(factors)).tolist())
    return maps.replace(
        data=maps.data / scale,
        covariance=None if maps.covariance is None else maps.covariance / scale**2,
        counts_per_unit=per_unit,
    )
