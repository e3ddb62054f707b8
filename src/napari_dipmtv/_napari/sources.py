"""Paths that somebody chose or dropped, and a few words about them, to what they hold and how it is read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from napari_dipmtv.data import ChannelMaps, TiltSeries
from napari_dipmtv.errors import InputError, expected
from napari_dipmtv.io.headers import SPECTRUM_SUFFIXES
from napari_dipmtv.io.project import PROJECT_SUFFIX
from napari_dipmtv.settings.base import StageSettings, knob

MRC_SUFFIXES = (".mrc", ".rec", ".st")
STACK_SUFFIXES = (*MRC_SUFFIXES, ".tif", ".tiff", ".npy", ".npz", ".mat", ".h5")
ANGLE_SUFFIXES = (".txt", ".rawtlt", ".tlt", ".csv", ".tsv", ".json", ".dat")
SAVED_MAPS = "maps.json"
TABLE_HEAD = "use,file,"  # how a saved table of tilts begins

Kind = Literal["spectra", "tilt table", "maps", "saved maps", "angles", "project"]


class MapSource(StageSettings):
    """What files of maps do not tell by themselves."""

    angles: str = knob(
        "",
        "Tilt angles",
        "File with one angle in degrees per view (.txt, .rawtlt, .tlt, .csv, .json), in the order of the images. "
        "Empty: the angles stand in the file names of a folder.",
        empty="in the file names",
    )
    channels: str = knob(
        "",
        "Channels",
        "Names of the channels, separated by commas, in the order of the files. Empty: the file names.",
        empty="as the files are named",
    )
    pixel_nm: float = knob(
        0.0,
        "Pixel size",
        "Goes before the calibration of the files; 0 takes what the files say.",
        unit="nm",
        ge=0,
    )
    counts: bool = knob(
        False,
        "Raw counts",
        "The maps are counted events, so that their noise is known to be that of counting.",
    )
    tilt_axis: Literal["y", "x"] = knob(
        "y",
        "Tilt axis along",
        "y: the tilt axis runs vertically in the images. x: it runs horizontally, and the images are turned by 90°.",
    )


def kind_of(paths: Sequence[Path]) -> Kind:
    """Tell what some paths are.

    Raises
    ------
    InputError
        For nothing, for mixed kinds and for unknown ones.
    """
    kinds = {_kind(Path(path)) for path in paths}
    if len(kinds) != 1:
        raise InputError(
            expected("files", "one kind of data", sorted(kinds) or "none", "Choose one kind at a time")
        )
    return kinds.pop()


def read_maps(paths: Sequence[Path], source: MapSource) -> ChannelMaps | TiltSeries:
    """Read maps: a folder that this plugin saved, aligned or not, one with a file per view, or a stack per channel.

    Raises
    ------
    InputError, ReadError, GeometryError
        Where words or files do not fit together.
    """
    from napari_dipmtv.io.map_folder import load_saved
    from napari_dipmtv.io.maps import load_map_folder, load_maps

    names = tuple(name.strip() for name in source.channels.split(",") if name.strip())
    angles = Path(source.angles) if source.angles else None
    pixel_nm = source.pixel_nm or None
    first = Path(paths[0])
    if kind_of(paths) == "saved maps":
        return load_saved(first if first.is_dir() else first.parent)
    if first.is_dir():
        if not names:
            raise InputError(
                expected("channels", "the names of the channels in each file", "none", "Name the channels")
            )
        return load_map_folder(
            first, names, angles, pixel_nm, counts=source.counts, tilt_axis=source.tilt_axis
        )
    if angles is None:
        raise InputError(
            expected("tilt angles", "a file with one angle per view", "none", "Choose the angle file")
        )
    files = _one_file_per_name(
        names or tuple(Path(path).stem for path in paths), [Path(path) for path in paths]
    )
    return load_maps(files, angles, pixel_nm, counts=source.counts, tilt_axis=source.tilt_axis)


def _one_file_per_name(names: tuple[str, ...], paths: list[Path]) -> dict[str, Path]:
    if len(paths) == 1:
        return dict.fromkeys(names, paths[0])
    if len(names) != len(paths):
        raise InputError(
            expected("channels", f"{len(paths)} names, one per file", names, "Correct the names")
        )
    return dict(zip(names, paths, strict=True))


def _kind(path: Path) -> Kind:
    if path.name == SAVED_MAPS or (path / SAVED_MAPS).is_file():
        return "saved maps"
    if path.name.endswith(PROJECT_SUFFIX):
        return "project"
    suffixes = {file.suffix.lower() for file in path.iterdir()} if path.is_dir() else {path.suffix.lower()}
    if suffixes & set(SPECTRUM_SUFFIXES):
        return "spectra"
    if _is_tilt_table(path):
        return "tilt table"
    if suffixes & set(STACK_SUFFIXES):
        return "maps"
    if not path.is_dir() and suffixes & set(ANGLE_SUFFIXES):
        return "angles"
    known = ", ".join((*SPECTRUM_SUFFIXES, *STACK_SUFFIXES))
    raise InputError(
        expected(f"{path.name}", f"spectrum images or maps ({known})", "nothing of the kind", "Choose again")
    )


def _is_tilt_table(path: Path) -> bool:
    """Tell the table of a series, which names its files, from a list of angles."""
    if path.suffix.lower() != ".csv" or not path.is_file():
        return False
    with path.open(encoding="utf-8-sig", errors="replace") as stream:
        return stream.read(len(TABLE_HEAD)) == TABLE_HEAD
