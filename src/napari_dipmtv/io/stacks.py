"""An image file or a folder of them to one array, with the pixel size and axis order of the file."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ElementTree
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_dipmtv.errors import ReadError, expected
from napari_dipmtv.io.guard import check_size, natural_key, reading
from napari_dipmtv.io.hspy import check_header, hspy_signals
from napari_dipmtv.io.units import length_nm, nm_per


@dataclass(frozen=True, slots=True, eq=False)
class Stack:
    """An array as it lies in a file; ``images_last``: the format says that the last axes are y, x."""

    data: NDArray[Any]
    pixel_nm: float | None
    images_last: bool = False


def read_stack(path: Path, variable: str = "", max_bytes: int | None = None) -> Stack:
    """Read an image stack of any of `STACK_SUFFIXES`, or a folder with one image per view in natural order.

    Parameters
    ----------
    path : Path
    variable : str
        Array to take from a file with named arrays (npz, mat, h5); the only one there is taken in any case.
    max_bytes : int, optional
        Confirmed limit, see `napari_dipmtv.io.guard.check_size`.

    Raises
    ------
    ReadError
        For anything that is missing, damaged, too large or of an unknown kind.
    """
    path = Path(path)
    if path.is_dir():
        return _folder(path, variable, max_bytes)
    with reading(path):
        reader = _READERS.get(path.suffix.lower())
        if reader is None:
            raise ReadError(
                expected(
                    f"file {path}",
                    f"an image stack ({', '.join(STACK_SUFFIXES)})",
                    f"the ending '{path.suffix}'",
                    "Export it as TIFF",
                )
            )
        return reader(path, variable, max_bytes)


def check_npz(
    path: Path, max_bytes: int | None = None, unread: Mapping[str, str] | None = None
) -> dict[str, tuple[int, ...]]:
    """Shapes of the arrays in an npz archive from their headers; refuses pickled objects and false claims.

    ``unread``: arrays that are not read, and hence may be anything, where the array named behind them exists.

    Raises
    ------
    ReadError
        For an object array, which could run code, and for a claim beyond the limit or beyond the archive.
    """
    shapes = {}
    with zipfile.ZipFile(path) as archive:
        names = {member.filename.removesuffix(".npy") for member in archive.infolist()}
        passed_over = {name for name, instead in (unread or {}).items() if instead in names}
        for member in archive.infolist():
            name = member.filename.removesuffix(".npy")
            if not member.filename.endswith(".npy") or name in passed_over:
                continue
            with archive.open(member) as stream:
                shape, dtype = _npy_header(stream)
            if dtype.hasobject:
                raise ReadError(
                    expected(f"file {path}", "numbers", f"objects in {member.filename}", "Save numbers only")
                )
            claim = check_size(path, shape, dtype.itemsize, max_bytes)
            if claim > member.file_size:
                raise ReadError(
                    expected(
                        f"file {path}",
                        f"{claim} bytes in {member.filename}",
                        member.file_size,
                        "Copy it again",
                    )
                )
            shapes[name] = shape
        check_size(path, (sum(member.file_size for member in archive.infolist()),), 1, max_bytes)
    return shapes


def image_files(folder: Path) -> list[Path]:
    """The image files of a folder in natural order; one ending only."""
    with reading(folder):
        files = [
            p for p in folder.iterdir() if p.suffix.lower() in STACK_SUFFIXES and not p.name.startswith(".")
        ]
    endings = sorted({p.suffix.lower() for p in files})
    if len(endings) != 1:
        raise ReadError(
            expected(
                f"folder {folder}",
                "image files of one kind",
                endings or "none",
                "Leave one kind in the folder",
            )
        )
    return sorted(files, key=natural_key)


def _folder(folder: Path, variable: str, max_bytes: int | None) -> Stack:
    views = [read_stack(path, variable, max_bytes) for path in image_files(folder)]
    shapes = sorted({view.data.shape for view in views})
    pixels = {view.pixel_nm for view in views}
    if len(shapes) > 1 or len(pixels) > 1:
        raise ReadError(
            expected(
                f"folder {folder}",
                "images of one shape and pixel size",
                (shapes, pixels),
                "Crop or rebin them",
            )
        )
    check_size(folder, (len(views), *shapes[0]), views[0].data.dtype.itemsize, max_bytes)
    return Stack(
        np.stack([view.data for view in views]), views[0].pixel_nm, images_last=views[0].data.ndim == 2
    )


def _tiff(path: Path, variable: str, max_bytes: int | None) -> Stack:
    import tifffile

    with tifffile.TiffFile(path) as file:
        if len(file.series) != 1:
            raise ReadError(
                expected(f"file {path}", "one image stack", f"{len(file.series)} series", "Save one alone")
            )
        series = file.series[0]
        if series.dtype is None:
            raise ReadError(expected(f"file {path}", "one type of numbers", "mixed pages", "Export it again"))
        check_size(path, series.shape, series.dtype.itemsize, max_bytes)
        pixel_nm = _ome_pixel_nm(file.ome_metadata) if file.is_ome else _imagej_pixel_nm(file)
        return Stack(series.asarray(), pixel_nm, images_last=series.axes.endswith("YX"))


def _ome_pixel_nm(xml: str | None) -> float | None:
    for element in ElementTree.fromstring(xml or "<OME/>").iter():
        if element.tag.endswith("}Pixels"):
            return length_nm(
                element.get("PhysicalSizeX"), element.get("PhysicalSizeXUnit", "µm")
            )  # OME's default
    return None


def _imagej_pixel_nm(file: Any) -> float | None:
    """ImageJ notes the unit; the bare resolution tag of other programs (72 dpi) is no calibration."""
    unit = str((file.imagej_metadata or {}).get("unit", "")).replace("\\u00B5", "µ")
    tag = file.pages[0].tags.get("XResolution")
    if tag is None or nm_per(unit) is None or not tag.value[0]:
        return None
    return length_nm(tag.value[1] / tag.value[0], unit)


def _mrc(path: Path, variable: str, max_bytes: int | None) -> Stack:
    import mrcfile

    with mrcfile.open(path, header_only=True) as file:
        check_size(path, (file.header.nx, file.header.ny, file.header.nz), 4, max_bytes)
    with mrcfile.mmap(path) as file:
        pixel_nm = length_nm(float(file.voxel_size.x), "Å")
        return Stack(np.array(file.data), pixel_nm, images_last=True)


def _hspy(path: Path, variable: str, max_bytes: int | None) -> Stack:
    with hspy_signals(path, max_bytes) as signals:
        if len(signals) != 1:
            raise ReadError(expected(f"file {path}", "one signal", len(signals), "Save one alone"))
        axes, data = signals[0]["axes"], signals[0]["data"]
        lengths = [i for i, axis in enumerate(axes) if nm_per(axis["units"]) is not None]
        pixels = {length_nm(axes[i]["scale"], axes[i]["units"]) for i in lengths[-2:]}
        last = lengths[-2:] == [len(axes) - 2, len(axes) - 1]
        return Stack(np.asarray(data), pixels.pop() if len(pixels) == 1 else None, images_last=last)


def _npy(path: Path, variable: str, max_bytes: int | None) -> Stack:
    with path.open("rb") as stream:
        shape, dtype = _npy_header(stream)
    check_size(path, shape, dtype.itemsize, max_bytes)
    return Stack(np.array(np.load(path, mmap_mode="r", allow_pickle=False)), None)


def _npz(path: Path, variable: str, max_bytes: int | None) -> Stack:
    name = _choose(path, variable, check_npz(path, max_bytes))
    with np.load(path, allow_pickle=False) as archive:
        return Stack(archive[name], None)


def _mat(path: Path, variable: str, max_bytes: int | None) -> Stack:
    import scipy.io

    arrays = {name: (shape, kind) for name, shape, kind in scipy.io.whosmat(str(path))}
    name = _choose(path, variable, {name: shape for name, (shape, _) in arrays.items()})
    shape, kind = arrays[name]
    if kind in {"struct", "cell", "object", "function", "opaque", "char"}:
        raise ReadError(expected(f"file {path}", f"numbers in '{name}'", kind, "Save a plain array"))
    check_size(path, shape, 8, max_bytes)
    return Stack(scipy.io.loadmat(str(path), variable_names=[name])[name], None)


def _h5(path: Path, variable: str, max_bytes: int | None) -> Stack:
    import h5py

    check_header(path, max_bytes)
    with h5py.File(path, "r") as file:
        shapes: dict[str, tuple[int, ...]] = {}
        file.visititems(
            lambda name, node: shapes.update({name: node.shape} if hasattr(node, "shape") else {})
        )
        return Stack(np.asarray(file[_choose(path, variable, shapes)]), None)


def _choose(path: Path, wanted: str, shapes: dict[str, tuple[int, ...]]) -> str:
    images = [name for name, shape in shapes.items() if len(shape) >= 2 and math.prod(shape) > 1]
    if wanted in images:
        return wanted
    if len(images) == 1:
        return images[0]
    got = ", ".join(images) or "no images"
    raise ReadError(
        expected(f"file {path}", f"an array named '{wanted}'", got, "Name the channel like the array")
    )


def _npy_header(stream: Any) -> tuple[tuple[int, ...], np.dtype[Any]]:
    version = np.lib.format.read_magic(stream)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(stream)
    return shape, dtype


_READERS: dict[str, Callable[[Path, str, int | None], Stack]] = {
    **dict.fromkeys((".tif", ".tiff"), _tiff),
    **dict.fromkeys((".mrc", ".mrcs", ".rec", ".ali", ".st", ".preali", ".map"), _mrc),
    **dict.fromkeys((".h5", ".hdf5"), _h5),
    ".hspy": _hspy,
    ".npy": _npy,
    ".npz": _npz,
    ".mat": _mat,
}
STACK_SUFFIXES: Sequence[str] = tuple(_READERS)
