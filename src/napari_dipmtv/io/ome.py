"""Arrays to OME-TIFF with pixel size and facts, and back with proof that nothing changed on the way."""

from __future__ import annotations

import hashlib
import json
import math
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_dipmtv import __version__
from napari_dipmtv.errors import ReadError, WriteError, expected
from napari_dipmtv.io.atomic import atomic_write
from napari_dipmtv.io.guard import plain, reading
from napari_dipmtv.io.stacks import read_stack


def write_ome(
    path: Path, data: NDArray[Any], axes: str, pixel_nm: float, name: str, facts: Mapping[str, Any]
) -> Path:
    """Write one stack as OME-TIFF, read it back and put it in place.

    Parameters
    ----------
    path : Path
    data : array
        Three axes; the last two are y, x.
    axes : {"ZYX", "TYX"}
    pixel_nm : float
        Size along y and x, and along z where there is one, in nm.
    name : str
        Name of the channel.
    facts : mapping
        What belongs to the data; kept as JSON in the OME description together with a checksum over both.

    Raises
    ------
    WriteError
        An older file of that name stays as it was.
    """
    import tifffile

    software = f"napari-dipmtv {__version__}"
    note = {**plain(facts), "software": software, "name": name, "pixel_nm": pixel_nm, "axes": axes}
    note["sha256"] = digest(data, note)
    spatial = axes.replace("T", "")
    metadata = {
        "axes": axes,
        "Name": name,
        "Channel": {"Name": [name]},
        "Creator": software,
        "Description": json.dumps(note),
        **{f"PhysicalSize{axis}": pixel_nm for axis in spatial},
        **{f"PhysicalSize{axis}Unit": "nm" for axis in spatial},
    }

    def write(partial: Path) -> None:
        tifffile.imwrite(partial, data, ome=True, photometric="minisblack", metadata=metadata)

    def verify(partial: Path) -> None:
        back, _ = read_ome(partial)
        if not np.array_equal(back, data, equal_nan=data.dtype.kind == "f"):
            raise WriteError(expected(f"file {path}", "what was written", "something else", "Check the disk"))

    return atomic_write(path, write, verify=verify, size_bytes=data.nbytes)


def read_ome(path: Path, max_bytes: int | None = None) -> tuple[NDArray[Any], dict[str, Any]]:
    """Read what `write_ome` wrote: the array and its facts (with ``name``, ``pixel_nm``, ``axes``).

    Raises
    ------
    ReadError
        For a damaged file, one that another program has changed, or one that is not ours.
    """
    stack = read_stack(path, max_bytes=max_bytes)
    data = stack.data if stack.data.ndim == 3 else stack.data[None]  # of one view or slice
    with reading(path):
        note = _note(path)
        if stack.pixel_nm is None or not math.isclose(stack.pixel_nm, note["pixel_nm"], rel_tol=1e-9):
            raise ReadError(
                expected(
                    f"file {path}",
                    f"a pixel of {note['pixel_nm']:g} nm",
                    stack.pixel_nm,
                    "Export the result again",
                )
            )
        if digest(data, {key: value for key, value in note.items() if key != "sha256"}) != note["sha256"]:
            raise ReadError(
                expected(
                    f"file {path}", "the data that were exported", "changed data", "Copy or export it again"
                )
            )
    return data, note


def digest(data: NDArray[Any], facts: Mapping[str, Any]) -> str:
    """SHA-256 over the values (little endian), the shape, the type and the facts."""
    little = np.ascontiguousarray(data, dtype=data.dtype.newbyteorder("<"))
    head = json.dumps([little.shape, little.dtype.str, facts], sort_keys=True)
    return hashlib.sha256(head.encode() + little.tobytes()).hexdigest()


def _note(path: Path) -> dict[str, Any]:
    import tifffile

    with tifffile.TiffFile(path) as file:
        xml = file.ome_metadata
    for element in ElementTree.fromstring(xml or "<OME/>").iter():
        if element.tag.endswith("}Description") and (element.text or "").startswith("{"):
            note: dict[str, Any] = json.loads(element.text or "")
            return note
    advice = "Read files of other programs as maps (load_maps)"
    raise ReadError(
        expected(f"file {path}", "an OME-TIFF that napari-dipmtv exported", "another one", advice)
    )
