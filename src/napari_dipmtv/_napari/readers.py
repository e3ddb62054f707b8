"""Files that napari opens to layers: spectrum images, map stacks, volumes, and folders that this plugin saved."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from napari_dipmtv._napari.dropped import file_layer, read_aside
from napari_dipmtv._napari.hand_over import hand_over, load_aside
from napari_dipmtv._napari.layer_data import (
    LayerData,
    map_layers,
    sum_layers,
    sum_maps,
    volume_axes,
    volume_layers,
)
from napari_dipmtv._napari.sources import ANGLE_SUFFIXES, MRC_SUFFIXES, SAVED_MAPS, MapSource
from napari_dipmtv.io.headers import SPECTRUM_SUFFIXES

VOLUME_PATTERNS = ("volume_*.tif", "volume.ome.zarr", "volume.hspy", "volume_*.mrc", "volume_*.emd")
Reader = Callable[[Any], list[LayerData]]
Paths = str | Sequence[str]


def get_spectrum_reader(path: Paths) -> Reader | None:
    """Reader of spectrum image files, or None for anything else; several at once are one tilt series."""
    if not _all_end(path, SPECTRUM_SUFFIXES):
        return None
    return _each(_read_spectrum_image) if isinstance(path, str) or len(path) == 1 else _read_stacked


def get_stack_reader(path: Paths) -> Reader | None:
    """Reader of MRC stacks: maps where an angle file lies beside, else a volume."""
    return _each(_read_stack) if _all_end(path, MRC_SUFFIXES) else None


def get_folder_reader(path: Paths) -> Reader | None:
    """Reader of a folder with spectrum images of several tilts, saved maps or a saved volume."""
    folder = Path(path if isinstance(path, str) else path[0])
    if not isinstance(path, str) or not folder.is_dir():
        return None
    if (folder / SAVED_MAPS).is_file():
        return _each(_read_saved_maps)
    if any(next(folder.glob(pattern), None) for pattern in VOLUME_PATTERNS):
        return _each(_read_volume)
    if any(file.suffix.lower() in SPECTRUM_SUFFIXES for file in folder.iterdir() if file.is_file()):
        return _each(_read_series)
    return None


def _each(read: Callable[[Path], list[LayerData]]) -> Reader:
    def reader(path: Paths) -> list[LayerData]:
        paths = [path] if isinstance(path, str) else path
        return [layer for one in paths for layer in read(Path(one))]

    return reader


def _all_end(path: Paths, suffixes: tuple[str, ...]) -> bool:
    paths = [path] if isinstance(path, str) else path
    return all(Path(one).suffix.lower() in suffixes and not Path(one).is_dir() for one in paths)


def _read_spectrum_image(path: Path) -> list[LayerData]:
    """One spectrum image; those that are dropped together become a series."""
    return [(None,)] if read_aside(path) else [file_layer(path)]


def _read_stack(path: Path) -> list[LayerData]:
    from napari_dipmtv.data import Volume
    from napari_dipmtv.errors import GeometryError, expected
    from napari_dipmtv.io.maps import load_maps
    from napari_dipmtv.io.stacks import read_stack

    beside = [path.with_suffix(suffix) for suffix in ANGLE_SUFFIXES if path.with_suffix(suffix).is_file()]
    if beside:
        return map_layers(load_maps({path.stem: path}, beside[0]), "file")
    stack = read_stack(path)
    if stack.pixel_nm is None:
        raise GeometryError(
            expected(f"file {path}", "a pixel size", "none", "Load it in the dock, step 1, and give it")
        )
    return volume_layers(Volume(stack.data[None], (path.stem,), stack.pixel_nm), "", "file")


def _read_stacked(paths: Paths) -> list[LayerData]:
    return _read_series([Path(path) for path in paths])


def _read_series(source: Path | list[Path]) -> list[LayerData]:
    """The sums of a tilt series in a folder or in several files; the docks go on from it, with the table of tilts."""
    from napari_dipmtv.io.spectrum_images import load_series
    from napari_dipmtv.io.tilt_table import survey

    if load_aside(lambda bench: bench.load_spectra(source)):
        return [(None,)]  # napari's word for layers that come by themselves, here when the files are read
    table = survey(source)
    series = load_series(table)
    inputs = (source,) if isinstance(source, Path) else tuple(source)
    hand_over(lambda bench: bench.adopt("series", series, inputs=inputs, tilts=table))
    return sum_layers(sum_maps(series))


def _read_saved_maps(folder: Path) -> list[LayerData]:
    import json

    from napari_dipmtv.io.maps import load_saved_maps, load_saved_series

    aligned = json.loads((folder / SAVED_MAPS).read_text(encoding="utf-8")).get("aligned", False)
    if aligned:
        return map_layers(load_saved_series(folder), "file")
    maps = load_saved_maps(folder)
    hand_over(lambda bench: bench.adopt("maps", maps, inputs=(folder,), source=MapSource()))
    return map_layers(maps, "maps")


def _read_volume(folder: Path) -> list[LayerData]:
    from napari_dipmtv.io.volumes import load_labels, load_volume

    layers = volume_layers(load_volume(folder), "", "file")
    labels = folder / "labels.tif"
    if labels.is_file():
        segmentation = load_labels(labels)
        axes = volume_axes(segmentation.labels.shape, segmentation.voxel_nm)
        layers.append((segmentation.labels, {"name": "Phases", "visible": False, **axes}, "labels"))
    return layers
