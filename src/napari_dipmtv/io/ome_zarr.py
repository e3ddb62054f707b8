"""A volume and its phases to one OME-Zarr 0.5 image with labels, and back."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_dipmtv import __version__
from napari_dipmtv.data import Segmentation, Volume
from napari_dipmtv.errors import ReadError, WriteError, expected
from napari_dipmtv.io.atomic import atomic_folder, sweep
from napari_dipmtv.io.guard import check_size, plain, reading
from napari_dipmtv.io.ome import digest

NGFF_VERSION = "0.5"
OURS = "napari-dipmtv"
LABELS = "phases"
FINEST_PX = 128  # coarser levels are made until no axis is longer
CHUNK_PX = 64
# Okabe-Ito: told apart by all eyes
COLOURS = ("E69F00", "0072B2", "56B4E9", "009E73", "F0E442", "D55E00", "CC79A7")


def save_ome_zarr(volume: Volume, path: Path, segmentation: Segmentation | None = None) -> Path:
    """Write a volume, and its phases as labels, for napari, Fiji, Neuroglancer and others.

    Parameters
    ----------
    volume : Volume
        (c, z, y, x); becomes an image with those axes, z, y, x in nanometers, in levels of half the resolution
        each.
    path : Path
        ``NAME.ome.zarr``, a folder.
    segmentation : Segmentation, optional
        Of the same voxels; becomes the label image ``labels/phases`` with the names of the phases as properties.

    Returns
    -------
    Path

    Raises
    ------
    WriteError
        An older folder of that name is as it was.

    Notes
    -----
    OME-NGFF 0.5, https://ngff.openmicroscopy.org/0.5/; checked against ``ome-zarr-models``.
    """
    size = int(1.2 * volume.data.nbytes) + (0 if segmentation is None else segmentation.labels.nbytes)

    def verify(partial: Path) -> None:
        back, phases = load_ome_zarr(partial)
        same = np.array_equal(back.data, volume.data, equal_nan=True)
        if segmentation is not None:
            same = same and phases is not None and np.array_equal(phases.labels, segmentation.labels)
        if not same:
            raise WriteError(
                expected(f"folder {path}", "what was written", "something else", "Check the disk")
            )

    return atomic_folder(
        Path(path), lambda p: _write(p, volume, segmentation), verify=verify, size_bytes=size
    )


def load_ome_zarr(path: Path, max_bytes: int | None = None) -> tuple[Volume, Segmentation | None]:
    """Read what `save_ome_zarr` wrote.

    Raises
    ------
    ReadError
        For a damaged folder, changed data, or an OME-Zarr of another program.
    """
    import zarr

    path = Path(path)
    sweep(path.parent)  # an old result may wait aside
    with reading(path):
        root = zarr.open_group(path, mode="r", zarr_format=3)
        note = root.attrs.get(OURS)
        if not isinstance(note, dict):
            advice = "Open it with napari and save its layers, or export it as OME-TIFF"
            raise ReadError(
                expected(f"folder {path}", "an OME-Zarr that napari-dipmtv wrote", "another", advice)
            )
        facts: dict[str, Any] = {**note}
        data = _array(path, root["0"], max_bytes)
        if digest(data, {"voxel_nm": facts["voxel_nm"]}) != facts["sha256"]:
            raise ReadError(
                expected(f"folder {path}", "the data that were exported", "changed data", "Export it again")
            )
        volume = Volume(data, tuple(facts["channels"]), float(facts["voxel_nm"]), facts["metadata"])
        if "phases" not in facts:
            return volume, None
        labels = _array(path, root[f"labels/{LABELS}/0"], max_bytes)
        phases = {int(value): str(name) for value, name in facts["phases"].items()}
        return volume, Segmentation(labels, phases, volume.voxel_nm)


def _array(path: Path, array: Any, max_bytes: int | None) -> NDArray[Any]:
    check_size(path, array.shape, array.dtype.itemsize, max_bytes)
    return np.asarray(array[...])


def _write(path: Path, volume: Volume, segmentation: Segmentation | None) -> None:
    import zarr

    note: dict[str, Any] = {
        "software": f"napari-dipmtv {__version__}",
        "channels": list(volume.channels),
        "voxel_nm": volume.voxel_nm,
        "metadata": plain(volume.metadata),
        "sha256": digest(volume.data, {"voxel_nm": volume.voxel_nm}),
    }
    if segmentation is not None:
        note["phases"] = {str(value): name for value, name in segmentation.phases.items()}
    levels = _levels(volume.data, mean=True)
    root = zarr.open_group(path, mode="w", zarr_format=3)
    image: dict[str, Any] = {"multiscales": [_multiscales("volume", "czyx", len(levels), volume.voxel_nm)]}
    ome: dict[str, Any] = {"version": NGFF_VERSION, **image, "omero": {"channels": _channels(volume)}}
    root.attrs.update({"ome": ome, OURS: json.loads(json.dumps(note))})
    _store(root, levels, "czyx")
    if segmentation is None:
        return
    levels = _levels(segmentation.labels, mean=False)
    index: dict[str, Any] = {"version": NGFF_VERSION, "labels": [LABELS]}
    folder = root.create_group("labels", attributes={"ome": index})
    scales = _multiscales(LABELS, "zyx", len(levels), segmentation.voxel_nm)
    about: dict[str, Any] = {
        "version": NGFF_VERSION,
        "multiscales": [scales],
        "image-label": _image_label(segmentation),
    }
    _store(folder.create_group(LABELS, attributes={"ome": about}), levels, "zyx")


def _store(group: Any, levels: Sequence[NDArray[Any]], axes: str) -> None:
    for number, level in enumerate(levels):
        chunks = tuple(1 if a == "c" else min(CHUNK_PX, n) for a, n in zip(axes, level.shape, strict=True))
        array = group.create_array(
            str(number), shape=level.shape, dtype=level.dtype, chunks=chunks, dimension_names=list(axes)
        )
        array[...] = level


def _levels(data: NDArray[Any], *, mean: bool) -> list[NDArray[Any]]:
    """The data and halves of them, along the last three axes: means of densities, corners of labels."""
    levels = [data]
    while max(levels[-1].shape[-3:]) > FINEST_PX:
        fine = levels[-1]
        z, y, x = (max(2, n // 2 * 2) for n in fine.shape[-3:])
        fine = fine[..., :z, :y, :x]
        if not mean or min(fine.shape[-3:]) < 2:
            levels.append(np.ascontiguousarray(fine[..., ::2, ::2, ::2]))
            continue
        blocks = fine.reshape(*fine.shape[:-3], z // 2, 2, y // 2, 2, x // 2, 2)
        levels.append(blocks.mean(axis=(-5, -3, -1), dtype=np.float64).astype(data.dtype))
    return levels


def _multiscales(name: str, axes: str, levels: int, voxel_nm: float) -> dict[str, Any]:
    def axis(letter: str) -> dict[str, str]:
        if letter == "c":
            return {"name": "c", "type": "channel"}
        return {"name": letter, "type": "space", "unit": "nanometer"}

    def dataset(number: int) -> dict[str, Any]:
        voxel, shift = voxel_nm * 2**number, voxel_nm * (2**number - 1) / 2  # middle of the joined voxels
        scale = [1.0 if a == "c" else voxel for a in axes]
        translation = [0.0 if a == "c" else shift for a in axes]
        steps = [{"type": "scale", "scale": scale}]
        if number:
            steps.append({"type": "translation", "translation": translation})
        return {"path": str(number), "coordinateTransformations": steps}

    return {
        "name": name,
        "axes": [axis(letter) for letter in axes],
        "datasets": [dataset(number) for number in range(levels)],
    }


def _channels(volume: Volume) -> list[Mapping[str, Any]]:
    shown: list[Mapping[str, Any]] = []
    for number, (name, channel) in enumerate(zip(volume.channels, volume.data, strict=True)):
        low, high = float(np.nanmin(channel)), float(np.nanmax(channel))
        window = {"min": low, "max": high, "start": max(low, 0.0), "end": max(high, low + 1e-6)}
        colour = COLOURS[number % len(COLOURS)]
        shown.append({"label": name, "color": colour, "active": True, "window": window})
    return shown


def _image_label(segmentation: Segmentation) -> dict[str, Any]:
    values = [value for value in segmentation.phases if value]
    colours = [COLOURS[i % len(COLOURS)] for i in range(len(values))]
    return {
        "colors": [
            {"label-value": value, "rgba": [*bytes.fromhex(colour), 255]}
            for value, colour in zip(values, colours, strict=True)
        ],
        "properties": [{"label-value": value, "phase": segmentation.phases[value]} for value in values],
        "source": {"image": "../../"},
    }
