"""HyperSpy's zarr layout (``.zspy``, a folder or a zip of one), checked by ourselves before it is read lazily."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import Any
from zipfile import ZipFile

from napari_dipmtv.errors import ReadError, expected
from napari_dipmtv.io.guard import check_claim, reading
from napari_dipmtv.io.hspy import check_axes

_RUNS_CODE = "pickle"  # the codec that unpickles what it reads


@contextmanager
def zspy_signals(path: Path, max_bytes: int | None = None) -> Iterator[list[dict[str, Any]]]:
    """Open a ``.zspy`` lazily as RosettaSciIO's dictionaries; closed behind the block.

    RosettaSciIO's own way to open the store needs zarr 2; its reader of what is in it does not.

    Raises
    ------
    ReadError
        For a damaged or incomplete folder, a claim that it cannot hold, pickled arrays, links, and axes that are
        an expression.
    """
    import zarr
    from rsciio.zspy._api import ZspyReader

    with reading(path):
        _refuse_links(path)
        zipped = path.is_file()
        store = (
            zarr.storage.ZipStore(path, mode="r") if zipped else zarr.storage.LocalStore(path, read_only=True)
        )
        try:
            group = zarr.open_group(store, mode="r")
            _check_arrays(path, group, max_bytes)
            signals = [signal for signal in ZspyReader(group).read(lazy=True) if "data" in signal]
            for signal in signals:
                check_axes(path, signal["axes"], uneven=True)
            yield signals
        finally:
            store.close()


def _refuse_links(path: Path) -> None:
    stray = next((inner for inner in path.rglob("*") if inner.is_symlink()), None)
    if stray is not None:
        got = f"{stray.relative_to(path)}, which links elsewhere"
        raise ReadError(expected(f"file {path}", "all data inside the folder", got, "Export it again"))


def _check_arrays(path: Path, group: Any, max_bytes: int | None) -> None:
    """Refuse code, more than the files can hold, and missing chunks, which would read as zeros."""
    arrays = {name: node for name, node in group.members(max_depth=None) if hasattr(node, "nchunks")}
    for name, array in arrays.items():
        if _RUNS_CODE in str(array.metadata.to_dict()):
            raise ReadError(
                expected(f"file {path}", "numbers and text", f"pickled objects in {name}", "Export it again")
            )
    files, held = _held(path)
    claim = sum(prod(array.shape) * array.dtype.itemsize for array in arrays.values())
    check_claim(path, (claim,), 1, max_bytes, held_bytes=held)
    for name, array in arrays.items():
        # more chunks than files need not be counted one by one
        there = 0 if array.nchunks > files else array.nchunks_initialized
        if there < array.nchunks:
            got = f"parts of {name} missing"
            raise ReadError(
                expected(f"file {path}", f"all its {array.nchunks} parts", got, "Copy or export it again")
            )


def _held(path: Path) -> tuple[int, int]:
    """Number of files in the folder or zip, and bytes on disk."""
    if path.is_file():
        with ZipFile(path) as archive:
            return len(archive.namelist()), path.stat().st_size
    sizes = [inner.stat().st_size for inner in path.rglob("*") if inner.is_file()]
    return len(sizes), sum(sizes)
