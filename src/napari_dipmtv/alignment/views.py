"""A series to the views of it that count: empty ones and those the user leaves out get no weight."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from napari_dipmtv.alignment.spikes import without_spikes
from napari_dipmtv.data import MapStack
from napari_dipmtv.errors import GeometryError, InputError, expected
from napari_dipmtv.settings.align import AlignSettings

Stack = TypeVar("Stack", bound=MapStack)
FEWEST = 3  # with two views every depth is a guess
LOOKS_LIKE_RADIANS = 3.2  # no tilt series spans as little in degrees


def leave_out(maps: Stack, views: Sequence[int] = ()) -> Stack:
    """Take the weight from some views, and from every view that shows nothing.

    The views stay where they are, so that alignments and tilts keep their order, but all their pixels become
    unusable: neither the search nor a reconstruction looks at them.

    Parameters
    ----------
    maps : ChannelMaps or TiltSeries
    views : sequence of int
        Numbers of the views, the first is 0.

    Raises
    ------
    InputError
        For a view that is not there.
    GeometryError
        When fewer than three views are left.
    """
    count = len(maps.tilts_deg)
    unknown = sorted({v for v in views if not 0 <= v < count})
    if unknown:
        raise InputError(expected("views to leave out", f"0 to {count - 1}", unknown, "Correct the numbers"))
    used = shows_something(maps)
    used[list(views)] = False
    if used.sum() < FEWEST:
        left = int(used.sum())
        advice = f"Use more views: {count - left} of {count} show nothing or were left out"
        raise GeometryError(expected("tilt series", f"at least {FEWEST} usable views", left, advice))
    if used.all():
        return maps
    valid = np.ones(maps.data.shape[1:], bool) if maps.valid is None else maps.valid
    return maps.replace(valid=valid & used[:, None, None])


def chosen_views(maps: Stack, settings: AlignSettings) -> Stack:
    """What search and result may look at: without the views that are left out, and without spikes where asked for.

    Raises
    ------
    InputError
        For a view that is not there.
    GeometryError
        When fewer than three views are left, or for tilts that look like radians.
    """
    tilts = maps.tilts_deg
    if len(tilts) > FEWEST and max(map(abs, tilts)) < LOOKS_LIKE_RADIANS:
        span = f"{min(tilts):g} to {max(tilts):g}, which look like radians"
        raise GeometryError(expected("tilt angles", "degrees", span, "Multiply them by 57.29578"))
    chosen = leave_out(maps, settings.exclude_views)
    return without_spikes(chosen) if settings.ignore_spikes else chosen


def shows_something(maps: MapStack) -> NDArray[np.bool_]:
    """True (t,) for the views with usable pixels and a positive sum over channels and pixels."""
    usable = maps.data if maps.valid is None else np.where(maps.valid, maps.data, 0)
    totals = usable.sum(axis=0, dtype=np.float64).sum(axis=(1, 2))  # (t,)
    return np.asarray(totals > 0)


def spread(values: NDArray[Any], used: NDArray[np.bool_], empty: float) -> NDArray[Any]:
    """Values of the used views (first axis) at their places among all views."""
    out = np.full((len(used), *values.shape[1:]), empty, dtype=values.dtype)
    out[used] = values
    return out


def left_out_note(tilts_deg: tuple[float, ...], used: NDArray[np.bool_]) -> str:
    """Which views do not count, in words; empty when all do."""
    missing = ", ".join(f"{tilt:g}" for tilt, use in zip(tilts_deg, used, strict=True) if not use)
    return f"{used.sum()} of {len(used)} views used, without {missing} deg" if missing else ""
