"""Maps or an aligned series to a folder of OME-TIFFs with one ``maps.json``, and back, bit by bit."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_dipmtv.data import Alignment, ChannelMaps, MapStack, TiltSeries
from napari_dipmtv.errors import ReadError, expected
from napari_dipmtv.io.atomic import atomic_write, output_folder, safe_name, safe_names, write_bytes
from napari_dipmtv.io.guard import plain, reading, sha256
from napari_dipmtv.io.ome import read_ome, write_ome
from napari_dipmtv.io.stacks import read_stack

INDEX = "maps.json"
_VERSION = 1
_INFINITE = "infinite"  # JSON has no such number


def save_maps(maps: MapStack, folder: Path) -> list[Path]:
    """Write channel maps or an aligned series into a folder.

    ``maps_<name>.tif`` and ``variance_<name>.tif`` (t, y, x) float32 OME-TIFF, ``covariance.npy`` (c, c, t,
    y, x), ``valid.npy`` (t, y, x) and, last, ``maps.json`` with tilts, pixel, names and the SHA-256 of each
    file: a folder whose writing was interrupted is recognised.

    Returns
    -------
    list of Path
        ``maps.json`` last.

    Raises
    ------
    WriteError
        Each file is either the old or the new one, complete.
    """
    folder = output_folder(folder)
    names = safe_names(maps.channels)
    facts = {"tilts_deg": maps.tilts_deg}
    files = []
    for c, (channel, name) in enumerate(zip(maps.channels, names, strict=True)):
        files.append(
            write_ome(folder / f"maps_{name}.tif", maps.data[c], "TYX", maps.pixel_nm, channel, facts)
        )
        if maps.covariance is not None:
            path, title = folder / f"variance_{name}.tif", f"variance of {channel}"
            files.append(write_ome(path, maps.covariance[c, c], "TYX", maps.pixel_nm, title, facts))
    if maps.covariance is not None:
        files.append(_save_npy(folder / "covariance.npy", maps.covariance))
    if maps.valid is not None:
        files.append(_save_npy(folder / "valid.npy", maps.valid))
    index = {
        "format": "napari-dipmtv maps",
        "version": _VERSION,
        "aligned": isinstance(maps, TiltSeries),
        "channels": dict(zip(maps.channels, (f"maps_{name}.tif" for name in names), strict=True)),
        "tilts_deg": maps.tilts_deg,
        "pixel_nm": maps.pixel_nm,
        "counts_per_unit": maps.counts_per_unit,
        "alignment": _alignment(maps),
        "sha256": {path.name: sha256(path) for path in files},
    }
    return [
        *files,
        write_bytes(folder / INDEX, json.dumps(plain(index), indent=1, ensure_ascii=False).encode()),
    ]


def load_saved_maps(folder: Path, max_bytes: int | None = None) -> ChannelMaps:
    """Read channel maps back that `save_maps` wrote.

    Raises
    ------
    ReadError
        For a folder that is damaged, was changed or interrupted, or that holds an aligned series.
    """
    _, fields = _load(Path(folder), aligned=False, max_bytes=max_bytes)
    return ChannelMaps(**fields)


def load_saved_series(folder: Path, max_bytes: int | None = None) -> TiltSeries:
    """Read an aligned series back that `save_maps` wrote; raises `ReadError` like `load_saved_maps`."""
    index, fields = _load(Path(folder), aligned=True, max_bytes=max_bytes)
    with reading(Path(folder)):
        alignment = None if index["alignment"] is None else _alignment_of(index["alignment"])
    return TiltSeries(**fields, alignment=alignment)


def load_saved(folder: Path, max_bytes: int | None = None) -> ChannelMaps | TiltSeries:
    """Read back whatever `save_maps` wrote; raises `ReadError` like `load_saved_maps`."""
    folder = Path(folder)
    with reading(folder / INDEX):
        aligned = bool(json.loads((folder / INDEX).read_text(encoding="utf-8"))["aligned"])
    return load_saved_series(folder, max_bytes) if aligned else load_saved_maps(folder, max_bytes)


def _load(folder: Path, *, aligned: bool, max_bytes: int | None) -> tuple[dict[str, Any], dict[str, Any]]:
    path = folder / INDEX
    with reading(path):
        index = json.loads(path.read_text(encoding="utf-8"))
        if index["format"] != "napari-dipmtv maps" or index["version"] > _VERSION:
            got = f"{index['format']} version {index['version']}"
            raise ReadError(
                expected(f"file {path}", f"maps up to version {_VERSION}", got, "Update napari-dipmtv")
            )
        if index["aligned"] != aligned:
            kinds = ("channel maps", "an aligned series")
            advice = "Load the other kind"
            raise ReadError(expected(f"folder {folder}", kinds[aligned], kinds[index["aligned"]], advice))
        _check_files(folder, index["sha256"])
        arrays = {
            name: read_stack(folder / f"{name}.npy", max_bytes=max_bytes).data
            if f"{name}.npy" in index["sha256"]
            else None
            for name in ("covariance", "valid")
        }
        data = [read_ome(folder / safe_name(file), max_bytes)[0] for file in index["channels"].values()]
        fields = {
            key: index[key] for key in ("tilts_deg", "pixel_nm", "counts_per_unit")
        }  # counts: one, or per view
        return index, {**fields, **arrays, "data": np.stack(data), "channels": tuple(index["channels"])}


def _check_files(folder: Path, digests: Mapping[str, str]) -> None:
    for name, digest in digests.items():
        path = folder / safe_name(name)
        if not path.is_file() or sha256(path) != digest:
            got = "a missing one" if not path.is_file() else "another one"
            advice = (
                "Saving was interrupted or the file was edited; save again, or read the images with load_maps"
            )
            raise ReadError(expected(f"file {path}", f"the one that {INDEX} names", got, advice))


def _save_npy(path: Path, array: NDArray[Any]) -> Path:
    def write(partial: Path) -> None:
        np.save(partial, array, allow_pickle=False)

    return atomic_write(path, write, size_bytes=array.nbytes)


def _alignment(maps: MapStack) -> dict[str, Any] | None:
    alignment = maps.alignment if isinstance(maps, TiltSeries) else None
    return None if alignment is None else alignment_facts(alignment)


def alignment_facts(alignment: Alignment) -> dict[str, Any]:
    """All that an alignment knows, in types of JSON; an infinite error in words, views that were not used null."""
    error = alignment.axis_angle_error_deg
    facts = asdict(alignment) | {"axis_angle_error_deg": _INFINITE if error == math.inf else error}
    return {name: plain(value) for name, value in facts.items()}


def _alignment_of(told: Mapping[str, Any]) -> Alignment:
    """What `alignment_facts` wrote; files of the first releases know less."""
    error = told.get("axis_angle_error_deg")
    return Alignment(
        shifts_px=np.array(told["shifts_px"], dtype=np.float64),
        axis_angle_deg=told["axis_angle_deg"],
        axis_offset_px=told["axis_offset_px"],
        quality=tuple(told["quality"]),
        view_quality=tuple(
            tuple(math.nan if v is None else v for v in row) for row in told.get("view_quality", ())
        ),
        axis_angle_error_deg=math.inf if error == _INFINITE else error,
        scales=tuple(told.get("scales", ())),
    )
