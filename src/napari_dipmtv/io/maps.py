"""Image stacks and a tilt table to channel maps, and channel maps or aligned series to a folder and back."""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from napari_dipmtv.data import F32, ChannelMaps, as_float32
from napari_dipmtv.errors import GeometryError, InputError, ReadError, expected
from napari_dipmtv.io.angles import check_angles, load_angles, tilts_from_names
from napari_dipmtv.io.guard import ReadWarning
from napari_dipmtv.io.map_folder import load_saved_maps, load_saved_series, save_maps
from napari_dipmtv.io.stacks import Stack, image_files, read_stack

__all__ = ["load_map_folder", "load_maps", "load_saved_maps", "load_saved_series", "save_maps"]

Angles = Path | str | Sequence[float]


def load_maps(
    channels: Mapping[str, Path],
    angles: Angles,
    pixel_nm: float | None = None,
    *,
    counts: bool = False,
    axes: str | None = None,
    tilt_axis: Literal["y", "x"] = "y",
    max_bytes: int | None = None,
) -> ChannelMaps:
    """Read one stack per channel, or all channels from one file, with the tilts of its views.

    Parameters
    ----------
    channels : mapping of str to Path
        File (TIFF, MRC, hspy, npy, npz, mat, h5) or folder with one image per view, for each channel name.
        The same file for several channels: named arrays in it, or one array with a channel axis in this
        order.
    angles : Path or sequence of float
        Tilts in degrees in the order of the views, or the file of `load_angles`.
    pixel_nm : float, optional
        Goes before the calibration of the files; needed where they have none.
    counts : bool
        The maps are raw counted events (Poisson).
    axes : str, optional
        Order of the axes in the files, e.g. "tyx" or "yxt" ("ctyx" with channels), where it cannot be told
        from the number of angles.
    tilt_axis : {"y", "x"}
        "x" where the tilt axis runs horizontally: the views are turned by 90 deg.
    max_bytes : int, optional
        Confirmed limit, see `napari_dipmtv.io.guard.check_size`.

    Returns
    -------
    ChannelMaps
        Views sorted by tilt; pixels that are not finite are not valid; empty views are left out with a
        `ReadWarning`.

    Raises
    ------
    ReadError, GeometryError
        For files that cannot be read, and for shapes, pixels and angles that do not fit together.
    """
    if not channels:
        raise InputError(expected("channels", "at least one name with its file", "none", "Choose the maps"))
    names, paths = tuple(channels), [Path(path) for path in channels.values()]
    tilts = _tilts(angles)
    stacks = [read_stack(path, name, max_bytes) for name, path in zip(names, paths, strict=True)]
    given = _pixel_nm(dict(zip(names, (stack.pixel_nm for stack in stacks), strict=True)), pixel_nm)
    if len(names) > 1 and len(set(paths)) == 1 and stacks[0].data.ndim == 4:
        sizes = {"c": len(names), "t": len(tilts)}
        data = arrange(stacks[0], "ctyx", sizes, axes, f"maps in {paths[0]}")
    else:
        sizes = {"t": len(tilts)}
        views = [
            arrange(s, "tyx", sizes, axes, f"channel {name}") for name, s in zip(names, stacks, strict=True)
        ]
        data = _joined(names, views)
    return _maps(data, names, tilts, given, counts, tilt_axis)


def load_map_folder(
    folder: Path,
    channels: Sequence[str],
    angles: Angles | None,
    pixel_nm: float | None = None,
    *,
    counts: bool = False,
    axes: str | None = None,
    tilt_axis: Literal["y", "x"] = "y",
    max_bytes: int | None = None,
) -> ChannelMaps:
    """Read a folder with one file per view, each with all channels, (y, x, c) or (c, y, x).

    Parameters
    ----------
    folder : Path
        Its image files in natural order of their names are the views.
    channels : sequence of str
        Names in the order of the channel axis.
    angles : Path, sequence of float or None
        Tilts in degrees in the order of the files; None takes them from the file names.
    pixel_nm, counts, tilt_axis, max_bytes
        See `load_maps`.
    axes : str, optional
        "yxc" or "cyx", where the number of channels does not tell.

    Raises
    ------
    ReadError, GeometryError
        See `load_maps`.
    """
    folder, names = Path(folder), tuple(channels)
    files = image_files(folder)
    tilts = _tilts(angles) if angles is not None else tilts_from_names(files)
    if tilts is None:
        raise GeometryError(
            expected(
                f"tilts of {folder}",
                "an angle in each file name",
                files[0].name,
                "Give the angles or their file",
            )
        )
    check_angles(tilts, len(files), f"tilt angles of {folder}")
    views, pixels = [], {}
    for path in files:
        stack = read_stack(path, max_bytes=max_bytes)
        pixels[path.name] = stack.pixel_nm
        if stack.data.ndim == 2:
            stack = Stack(stack.data[None], stack.pixel_nm, images_last=True)
        views.append(arrange(stack, "cyx", {"c": len(names)}, axes, f"view {path}"))
    data = _joined([path.name for path in files], views).swapaxes(0, 1)  # (t, c, y, x) -> (c, t, y, x)
    return _maps(data, names, tilts, _pixel_nm(pixels, pixel_nm), counts, tilt_axis)


def arrange(stack: Stack, wanted: str, sizes: Mapping[str, int], axes: str | None, what: str) -> NDArray[Any]:
    """Put the axes of a stack into the wanted order.

    Without ``axes`` the known sizes decide (as many views as angles, as many planes as channels) and y comes
    before x. What fits in two ways is asked for, never guessed.

    Raises
    ------
    GeometryError
        When nothing fits or more than one order does.
    """
    shape, letters = stack.data.shape, list(wanted)
    if axes is not None and sorted(axes) != sorted(wanted):
        raise GeometryError(
            expected("axes", f"an order of the letters {wanted}", axes, "Name every axis once")
        )
    if len(shape) != len(letters):
        raise GeometryError(
            expected(what, f"{len(letters)} axes ({wanted})", f"shape {shape}", "Choose the image stack")
        )
    orders = ["".join(order) for order in itertools.permutations(letters)] if axes is None else [axes]
    fitting = [
        order
        for order in orders
        if all(shape[order.index(letter)] == size for letter, size in sizes.items())
        and (
            axes is not None
            or (order.index("y") < order.index("x") and (not stack.images_last or order[-2:] == "yx"))
        )
    ]
    known = ", ".join(f"{size} along {letter}" for letter, size in sizes.items())
    if not fitting:
        advice = "Give one angle per view and one name per channel, or the order of the axes"
        raise GeometryError(expected(what, known, f"shape {shape}", advice))
    if len(fitting) > 1:
        got = f"shape {shape}, which fits {' and '.join(fitting)}"
        raise GeometryError(
            expected(what, f"one axis order with {known}", got, f"Give axes='{fitting[0]}' or another")
        )
    return stack.data.transpose([fitting[0].index(letter) for letter in letters])


def _tilts(angles: Angles) -> tuple[float, ...]:
    if isinstance(angles, str | Path):
        return load_angles(Path(angles))
    return check_angles(angles, None, "tilt angles")


def _pixel_nm(found: Mapping[str, float | None], given: float | None) -> float:
    known = {name: value for name, value in found.items() if value is not None}
    low, high = min(known.values(), default=1.0), max(known.values(), default=1.0)
    text = ", ".join(f"{name} {value:g} nm" for name, value in known.items())
    if not math.isclose(low, high, rel_tol=1e-3):
        raise GeometryError(
            expected("pixel sizes", "one for all", text, "Resample the finer ones to the coarser")
        )
    if given is not None:
        if known and not math.isclose(low, given, rel_tol=0.01):
            warnings.warn(
                f"The pixel of {given:g} nm that was given is used; the files say {text}.", ReadWarning, 3
            )
        return given
    if not known:
        raise ReadError(expected("pixel size", "a calibration in nm in the files", "none", "Give pixel_nm"))
    return low


def _joined(names: Sequence[str], arrays: Sequence[NDArray[Any]]) -> F32:
    shapes = {name: array.shape for name, array in zip(names, arrays, strict=True)}
    if len(set(shapes.values())) > 1:
        raise GeometryError(expected("maps", "one shape for all", shapes, "Crop or resample the odd ones"))
    return np.stack([as_float32(f"map {name}", array, 3) for name, array in zip(names, arrays, strict=True)])


def _maps(
    data: NDArray[Any],
    names: tuple[str, ...],
    tilts: tuple[float, ...],
    pixel_nm: float,
    counts: bool,
    tilt_axis: Literal["y", "x"],
) -> ChannelMaps:
    data = as_float32("maps", data, 4)  # (c, t, y, x)
    if counts and (data < 0).any():
        raise InputError(
            expected(
                "counts", "no negative values", f"{int((data < 0).sum())} of them", "Load them as plain maps"
            )
        )
    if tilt_axis == "x":
        data = np.rot90(data, axes=(2, 3))
    keep = _views_with_content(data, tilts)
    kept = tuple(tilt for tilt, good in zip(tilts, keep, strict=True) if good)
    return ChannelMaps(data[:, keep], names, kept, pixel_nm, counts_per_unit=1.0 if counts else None)


def _views_with_content(data: F32, tilts: Sequence[float]) -> NDArray[np.bool_]:
    """Flag the views (t,) to keep; those left out and lone bad pixels are told in a warning."""
    finite = np.asarray(np.isfinite(data).all(axis=0))  # (t, y, x)
    keep = np.array([bool(data[:, t, good].any()) for t, good in enumerate(finite)])  # also False for no good
    if not keep.any():
        raise GeometryError(expected("maps", "at least one view with content", "none", "Check the files"))
    if not keep.all():
        angles = ", ".join(f"{tilt:g}" for tilt, good in zip(tilts, keep, strict=True) if not good)
        text = f"{keep.sum()} of {len(keep)} tilts are used; empty or not finite at {angles} deg."
        warnings.warn(text, ReadWarning, stacklevel=4)
    bad = int((~finite[keep]).sum())
    if bad:
        warnings.warn(
            f"{bad} pixels are not finite and are left out of every fit.", ReadWarning, stacklevel=4
        )
    return keep
