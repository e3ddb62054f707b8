"""One channel of a volume to the EMD format of Berkeley (openNCEM, HyperSpy, tomviz), and back."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from napari_dipmtv import __version__
from napari_dipmtv.data import F32
from napari_dipmtv.errors import ReadError, expected
from napari_dipmtv.io.guard import plain, reading
from napari_dipmtv.io.hspy import check_header

_VERSION = (0, 2)
_FORBIDDEN = "/\x00"


def emd_bytes(data: F32, voxel_nm: float, channel: str, facts: Mapping[str, Any]) -> bytes:
    """Write (z, y, x) densities into the bytes of an ``.emd`` file, version 0.2.

    EMD counts axes as Fortran does: the array is stored as (x, y, z) with ``dim1`` along x, which HyperSpy turns
    back (`test_f55_hyperspy_reads_emd`). The facts are kept as JSON in the comments. Made in memory, because HDF5
    dies of a full disk.
    """
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        file.attrs["version_major"], file.attrs["version_minor"] = _VERSION
        title = "".join("-" if c in _FORBIDDEN else c for c in channel).strip(". ") or "volume"
        group = file.create_group("data").create_group(title)
        group.attrs["emd_group_type"] = 1
        group.create_dataset("data", data=np.ascontiguousarray(data.T), compression="gzip", fletcher32=True)
        for number, (name, size) in enumerate(zip("xyz", data.T.shape, strict=True), start=1):
            axis = group.create_dataset(f"dim{number}", data=voxel_nm * np.arange(size, dtype=np.float64))
            axis.attrs["name"], axis.attrs["units"] = name, "[n_m]"
        for name in ("microscope", "sample", "user"):
            file.create_group(name)
        about = {"channel": channel, "voxel_nm": voxel_nm, "facts": json.dumps(plain(facts))}
        file.create_group("comments").attrs.update({**about, "software": f"napari-dipmtv {__version__}"})
    return buffer.getvalue()


def read_emd(path: Path, max_bytes: int | None = None) -> tuple[F32, str, float, dict[str, Any]]:
    """Read what `emd_bytes` wrote: data (z, y, x), channel, voxel size in nm, facts.

    Raises
    ------
    ReadError
        For a damaged file or one of another program.
    """
    with reading(path):
        check_header(path, max_bytes)
        with h5py.File(path, "r") as file:
            about = dict(file["comments"].attrs) if "comments" in file else {}
            if "channel" not in about or "data" not in file:
                advice = "Load it as maps, or save its volume as MRC"
                raise ReadError(
                    expected(f"file {path}", "an EMD file that napari-dipmtv wrote", "another", advice)
                )
            (group,) = file["data"].values()
            data = np.ascontiguousarray(group["data"][...].T)
            return data, str(about["channel"]), float(about["voxel_nm"]), json.loads(about["facts"])
