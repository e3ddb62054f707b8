"""Arrays, numbers, tilts and names to the same, checked: what all nouns ask of their parts."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_dipmtv.errors import GeometryError, InputError, expected

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]


def as_float32(name: str, array: ArrayLike, ndim: int) -> F32:
    """Give any real numeric array back as contiguous native float32 of the wanted rank, or raise `InputError`."""
    a = np.ma.filled(array, np.nan) if isinstance(array, np.ma.MaskedArray) else np.asarray(array)
    if a.dtype.kind not in "fiub":
        raise InputError(expected(name, "real numbers", f"dtype {a.dtype}", "Convert the array first"))
    if a.ndim != ndim:
        raise InputError(expected(name, f"{ndim} axes", f"shape {a.shape}", "Check the axis order"))
    if 0 in a.shape:
        raise InputError(expected(name, "no empty axis", f"shape {a.shape}", "Check the crop"))
    return np.ascontiguousarray(a, dtype=np.float32)


def positive(name: str, value: float, unit: str) -> float:
    """Give back a finite positive number, or raise `GeometryError`."""
    if not (np.isfinite(value) and value > 0):
        raise GeometryError(
            expected(name, f"a positive number of {unit}", value, "Give the calibrated value")
        )
    return float(value)


def check_tilts(tilts_deg: tuple[float, ...], views: int | None = None) -> None:
    """Raise `GeometryError` unless the angles can be the tilts of a series: finite, distinct, one per view."""
    angles = np.asarray(tilts_deg, dtype=float)
    if views is not None and len(angles) != views:
        raise GeometryError(
            expected(
                "tilt angles",
                f"{views} (one per view)",
                len(angles),
                "Give one angle per image, in file order",
            )
        )
    if not np.isfinite(angles).all():
        raise GeometryError(
            expected("tilt angles", "finite degrees", tilts_deg, "Fill in the missing angles")
        )
    if np.abs(angles).max(initial=0) > 180:
        raise GeometryError(expected("tilt angles", "-180 to 180 deg", tilts_deg, "Give degrees"))
    if len(angles) > 1 and len(np.unique(angles.round(3))) < len(angles):
        raise GeometryError(
            expected(
                "tilt angles", "distinct angles", tilts_deg, "Correct the table; equal angles carry no depth"
            )
        )


def check_channels(channels: tuple[str, ...], count: int) -> None:
    """Raise `InputError` unless there is one distinct name per channel."""
    if len(channels) != count or len(set(channels)) != count or not all(channels):
        raise InputError(
            expected("channel names", f"{count} distinct names", tuple(channels), "Name each channel once")
        )
