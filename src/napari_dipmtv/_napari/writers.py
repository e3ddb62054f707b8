"""Layers that napari saves to files: volumes and labels to a folder of OME-TIFF, surfaces to STL."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from napari_dipmtv.data import Segmentation, Volume
from napari_dipmtv.errors import InputError, expected


def write_volume(path: str, layers: Any, meta: Mapping[str, Any] | None = None) -> list[str]:
    """Write image layers (z, y, x) as the channels of one volume, and a labels layer as its phases.

    Parameters
    ----------
    path : str
        Folder to write into; an ending is left out.
    layers : list of (data, meta, type), or the data of one layer
        What napari gives to writers of several layers, or of one.
    meta : mapping, optional
        With the data of one labels layer.

    Raises
    ------
    InputError
        For layers that are no volumes on one grid.
    WriteError
    """
    from napari_dipmtv.io.atomic import output_folder
    from napari_dipmtv.io.volumes import save_labels, save_volume

    given = layers if meta is None else [(layers, meta, "labels")]
    images = [(np.asarray(data), about) for data, about, kind in given if kind == "image"]
    labels = [(np.asarray(data), about) for data, about, kind in given if kind == "labels"]
    folder = output_folder(Path(path).with_suffix(""))
    written: list[Path] = []
    if images:
        written += save_volume(_volume(images), folder)
    for data, about in labels:
        phases = {int(value): _phase(about, int(value)) for value in np.unique(data)}
        written.append(save_labels(Segmentation(data, phases, _voxel_nm(data, about)), folder / "labels.tif"))
    return [str(file) for file in written]


def write_surface(path: str, data: Any, meta: Mapping[str, Any]) -> list[str]:
    """Write a surface layer as binary STL, in nm, x before y before z."""
    from napari_dipmtv.io.atomic import write_bytes
    from napari_dipmtv.io.meshes import stl_bytes

    corners = np.asarray(data[0], dtype=np.float64) * meta["scale"] + meta["translate"]  # (z, y, x)
    if corners.shape[1] != 3:
        raise InputError(expected("surface", "three axes", corners.shape[1], "Save a surface of a volume"))
    return [str(write_bytes(Path(path), stl_bytes(corners[:, ::-1], np.asarray(data[1]))))]


def _volume(images: Sequence[tuple[Any, Mapping[str, Any]]]) -> Volume:
    sizes = {(data.shape, _voxel_nm(data, about)) for data, about in images}
    if len(sizes) > 1:
        raise InputError(expected("layers", "one shape and one voxel size", sizes, "Save them one by one"))
    names = tuple(about["name"] for _, about in images)
    data = np.stack([data for data, _ in images]).astype(np.float32)  # (c, z, y, x)
    return Volume(data, names, _voxel_nm(*images[0]))


def _voxel_nm(data: Any, about: Mapping[str, Any]) -> float:
    scale = np.asarray(about["scale"], dtype=float)
    if data.ndim != 3 or not np.allclose(scale, scale[0], rtol=1e-4):
        got = f"shape {data.shape} with scale {tuple(scale)}"
        advice = "Save maps with step 8 of the dock, Export"
        raise InputError(expected(f"layer {about['name']}", "a volume of cubic voxels", got, advice))
    return float(scale[0])


def _phase(about: Mapping[str, Any], value: int) -> str:
    features = about.get("features")
    if features is not None and {"index", "phase"} <= set(features):
        named = dict(zip(features["index"], features["phase"], strict=True))
        if value in named:
            return str(named[value])
    return "vacuum" if value == 0 else f"phase {value}"
