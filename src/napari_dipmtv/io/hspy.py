"""HyperSpy's HDF5 layout: written in memory by ourselves, checked by ourselves before RosettaSciIO reads it.

HyperSpy's own saver kills the process after a full disk, and its loader evaluates the expression of a
functional axis: neither is used here. The version-3 file structure carries checksums on headers and data, so
that a damaged file is noticed (``test_f13_...`` in tests/io).
"""

from __future__ import annotations

import io
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from napari_dipmtv.errors import ReadError, expected
from napari_dipmtv.io.guard import check_claim, check_size, plain, reading

_FORMAT_VERSION = "3.3"
_CHUNK_BYTES = 1_000_000


@dataclass(frozen=True, slots=True)
class Axis:
    """One uniform axis as HyperSpy stores it."""

    name: str
    size: int
    scale: float
    offset: float
    units: str
    navigate: bool
    is_binned: bool = False


def hspy_bytes(data: NDArray[Any], axes: Sequence[Axis], title: str, metadata: Mapping[str, Any]) -> bytes:
    """Write one signal into the bytes of an ``.hspy`` file, gzip-compressed with checksums.

    Parameters
    ----------
    data : array
        As many axes as ``axes``, in the same order.
    axes : sequence of Axis
    title : str
        Name of the experiment.
    metadata : mapping
        HyperSpy's metadata tree, e.g. ``{"Signal": {"signal_type": "EELS"}}``.
    """
    buffer = io.BytesIO()
    with h5py.File(buffer, "w", libver=("v110", "v110")) as file:
        file.attrs["file_format"] = "HyperSpy"
        file.attrs["file_format_version"] = _FORMAT_VERSION
        group = file.create_group("Experiments").create_group(title.replace("/", "-") or "__unnamed__")
        for i, axis in enumerate(axes):
            _store_axis(group.create_group(f"axis-{i}"), axis)
        chunks = _chunks(data.shape, data.dtype.itemsize)
        group.create_dataset(
            "data",
            data=data,
            chunks=chunks,
            compression="gzip",
            compression_opts=3,
            shuffle=True,
            fletcher32=True,
        )
        _store(group.create_group("metadata"), {"General": {"title": title}, **plain(metadata)})
        for name in ("original_metadata", "learning_results"):
            group.create_group(name)
        group.create_group("attributes").attrs.update({"_lazy": False, "ragged": False})
    return buffer.getvalue()


@contextmanager
def hspy_signals(
    path: Path, max_bytes: int | None = None, *, whole: bool = True, uneven: bool = False
) -> Iterator[list[dict[str, Any]]]:
    """Open an ``.hspy`` file lazily as RosettaSciIO's dictionaries; the file is closed behind the block.

    ``whole``: all of it will be read, so that it must fit into the memory. ``uneven``: axes may be lists of values.

    Raises
    ------
    ReadError
        For a damaged file, a claim larger than the memory, an axis that is not uniform (an ``expression``
        would be evaluated by HyperSpy) and for links to other files.
    """
    with reading(path):
        check_header(path, max_bytes, whole=whole)
        from rsciio.hspy import file_reader
        from rsciio.utils.file import get_file_handle

        signals = [signal for signal in file_reader(str(path), lazy=True) if "data" in signal]
        try:
            for signal in signals:
                check_axes(path, signal["axes"], uneven)
            yield signals
        finally:
            for signal in signals:
                handle = get_file_handle(signal["data"], warn=False)
                if handle:
                    handle.close()


def check_header(path: Path, max_bytes: int | None = None, *, whole: bool = True) -> None:
    """Add up what all arrays of an HDF5 file claim; refuse too much, and links that lead out of the file.

    ``whole``: the arrays must also fit into the memory.
    """
    claim = 0

    def is_outside(name: str, node: Any) -> str | None:
        nonlocal claim
        if isinstance(node, h5py.Dataset):
            claim += math.prod(node.shape or ()) * node.dtype.itemsize
            return name if node.is_virtual or node.external else None
        return None

    # h5py's visitors stop at the first answer; an exception raised in them comes out mangled
    with h5py.File(path, "r") as file:
        stray = file.visititems_links(lambda name, link: None if isinstance(link, h5py.HardLink) else name)
        stray = stray or file.visititems(is_outside)
    if stray:
        raise ReadError(
            expected(
                f"file {path}",
                "all data inside the file",
                f"{stray}, which links elsewhere",
                "Export it again",
            )
        )
    (check_size if whole else check_claim)(path, (claim,), 1, max_bytes)


def check_axes(path: Path, axes: Sequence[Mapping[str, Any]], uneven: bool) -> None:
    """Refuse axes that are an expression, or, unless ``uneven``, a list of values."""
    for axis in axes:
        name = axis.get("name", "?")
        if "expression" in axis or axis.get("_type") == "FunctionalDataAxis":
            raise ReadError(
                expected(
                    f"file {path}, axis {name}",
                    "a uniform axis",
                    "an expression, which is not evaluated for safety",
                    "In HyperSpy, convert the axis to a uniform one and save again",
                )
            )
        if uneven and isinstance(axis.get("axis"), np.ndarray) and axis["axis"].dtype.kind in "fiu":
            continue
        if not all(isinstance(axis.get(key), int | float | np.number) for key in ("scale", "offset", "size")):
            raise ReadError(
                expected(
                    f"file {path}, axis {name}",
                    "a uniform axis with scale and offset",
                    f"the fields {sorted(axis)}",
                    "In HyperSpy, run s.interpolate_on_axis with a uniform axis and save again",
                )
            )


def _store_axis(group: Any, axis: Axis) -> None:
    group.attrs["_type"] = "UniformDataAxis"
    for key in ("name", "size", "scale", "offset", "units", "navigate", "is_binned"):
        group.attrs[key] = getattr(axis, key)


def _store(group: Any, tree: Mapping[str, Any]) -> None:
    for key, value in tree.items():
        if isinstance(value, dict):
            _store(group.create_group(key.replace("/", "-") or "_"), value)
        elif value is None:
            group.attrs[key] = "_None_"
        elif isinstance(value, list):
            numbers = value and all(isinstance(item, int | float) for item in value)
            group.attrs[key] = (
                np.asarray(value) if numbers else json.dumps(value)
            )  # HDF5 knows no nested lists
        else:
            group.attrs[key] = value


def _chunks(shape: Sequence[int], itemsize: int) -> tuple[int, ...]:
    """About 1 MB: the last axes whole, so that a spectrum or an image is read at one go."""
    chunks = [1] * len(shape)
    room = max(1, _CHUNK_BYTES // itemsize)
    for i in reversed(range(len(shape))):
        chunks[i] = max(1, min(shape[i], room))
        room //= chunks[i]
    return tuple(chunks)
