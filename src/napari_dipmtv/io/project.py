"""A whole run, from inputs to output folder, to one JSON file and back."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from napari_dipmtv.data import Region
from napari_dipmtv.errors import InputError, ReadError, expected
from napari_dipmtv.io.atomic import write_bytes
from napari_dipmtv.io.guard import reading
from napari_dipmtv.settings.align import AlignSettings
from napari_dipmtv.settings.base import StageSettings, knob
from napari_dipmtv.settings.edx import EdxSettings
from napari_dipmtv.settings.fused import FUSED_METHODS, FusedMethod, FusedMethodSettings
from napari_dipmtv.settings.inspect import SegmentSettings
from napari_dipmtv.settings.project import ExportSettings
from napari_dipmtv.settings.spectra import PrepareSettings, ReferenceSettings, UnmixSettings
from napari_dipmtv.settings.tomo import METHODS, Device, Method, MethodSettings

PROJECT_SUFFIX = ".dipmtv.json"
_FORMAT = "napari-dipmtv project"
_VERSION = 1
_LARGEST = 10_000_000  # bytes


Nudge = tuple[int, float, float]  # view, dx and dy in px


class EdxImages(StageSettings):
    """EDX spectrum images, and how their maps are made."""

    folder: Path = Field(title="Folder", description="EDX spectrum images, one per tilt.")
    lines: tuple[str, ...] = Field(
        min_length=1, title="Lines", description="X-ray lines that become channels, e.g. Fe_Ka."
    )
    bin_pixels: int = knob(
        1, "Add up pixels", "So many pixels along y and x are added up while reading.", ge=1, le=64
    )
    settings: EdxSettings = EdxSettings()


class Inputs(StageSettings):
    """Where a run begins: dual EELS files, EDX files, or maps with their angles."""

    spectrum_images: Path | None = knob(
        None, "Spectrum images", "Folder with a low-loss and a core-loss file per tilt."
    )
    maps: dict[str, Path] = Field(
        default_factory=dict,
        title="Maps",
        description="Image stack of each channel, instead of spectrum images.",
    )
    map_folder: Path | None = knob(
        None, "Map folder", "Folder of maps that this program has saved, instead of either."
    )
    edx: EdxImages | None = knob(None, "EDX", "EDX spectrum images, instead of all of these.")
    angles: Path | None = knob(
        None, "Angles", "Table of the tilts; needed for maps, else taken from the files."
    )
    pixel_nm: float | None = knob(
        None, "Pixel size", "Goes before the calibration of the files.", unit="nm", gt=0
    )
    counts: bool = knob(False, "Raw counts", "The maps are counted events, so that Poisson statistics hold.")

    tilt_axis: Literal["y", "x"] = knob(
        "y",
        "Tilt axis along",
        "x where the tilt axis runs horizontally in the maps, which are then turned by 90°.",
    )

    haadf: Path | None = knob(
        None, "HAADF", "Image stack of HAADF tilts of the same object; the volume then explains it as well."
    )
    haadf_angles: Path | None = knob(None, "HAADF angles", "Table of its tilts.")
    haadf_counts: bool = knob(False, "HAADF counts", "The HAADF images are counted events.")

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        given = (self.spectrum_images is not None, bool(self.maps), self.map_folder is not None)
        if [*given, self.edx is not None].count(True) != 1:
            raise ValueError(
                "give either a folder of spectrum images, of EDX, maps or a folder of saved maps"
            )
        if self.maps and self.angles is None:
            raise ValueError("maps need a table of angles")
        if self.haadf is not None and self.haadf_angles is None:
            raise ValueError("a HAADF series needs a table of its own angles")
        return self

    @property
    def paths(self) -> tuple[Path, ...]:
        """Files and folders of the data, each once, without the table of angles."""
        edx = None if self.edx is None else self.edx.folder
        chosen = [self.spectrum_images, self.map_folder, edx, *self.maps.values(), self.haadf]
        return tuple(dict.fromkeys(path for path in chosen if path is not None))

    @property
    def folder(self) -> Path | None:
        """The folder of the spectra or of saved maps, where the data are such."""
        return self.spectrum_images or self.map_folder or (None if self.edx is None else self.edx.folder)

    @property
    def files(self) -> tuple[Path, ...]:
        """The paths with the tables of angles."""
        return (*self.paths, *(path for path in (self.angles, self.haadf_angles) if path is not None))


class RegionOutline(StageSettings):
    """A region drawn on the spectrum image at one tilt: corners (y, x) of polygons in pixels."""

    tilt_deg: float = knob(
        0.0, "Tilt", "The spectrum image nearest to this tilt.", unit="deg", ge=-180, le=180
    )
    outline_px: tuple[tuple[float, float], ...] = Field(
        min_length=3, title="Outline", description="Corners (y, x) of the polygon in pixels."
    )
    further_px: tuple[tuple[tuple[float, float], ...], ...] = Field(
        default=(),
        title="Further outlines",
        description="More polygons of the same region; one inside another cuts a hole.",
    )

    def region(self, shape: tuple[int, int]) -> Region:
        """Fill the polygons on an image of ``shape`` (y, x); raises `InputError` where they cover no pixel."""
        from skimage.draw import polygon2mask

        mask = np.zeros(shape, dtype=bool)
        for outline in (self.outline_px, *self.further_px):
            mask ^= polygon2mask(shape, np.asarray(outline))
        return Region(self.tilt_deg, mask)


class Reconstruct(StageSettings):
    """A method with its own settings, on one device."""

    method: Method = knob("dipm-tv", "Method", "DIPm-TV keeps most at low dose; SIRT and CS-TV take seconds.")
    settings: dict[str, Any] = Field(
        default_factory=dict, title="Settings", description="Settings of the method."
    )
    device: Device = knob("auto", "Device", "Auto takes the graphics card where there is one.")

    @model_validator(mode="after")
    def _known_settings(self) -> Self:
        METHODS[self.method].from_mapping(self.settings)
        return self

    def method_settings(self) -> MethodSettings:
        """The settings as the model of the method; what was not given has its default."""
        return METHODS[self.method].from_mapping(self.settings)


class Fuse(StageSettings):
    """What makes the volume where the inputs name HAADF images, in place of ``reconstruct``, on its device."""

    method: FusedMethod = knob(
        "fused", "Method", "Joint likelihood, DIPm-TV with a HAADF term, or as published."
    )
    settings: dict[str, Any] = Field(
        default_factory=dict, title="Settings", description="Settings of the method."
    )

    @model_validator(mode="after")
    def _known_settings(self) -> Self:
        FUSED_METHODS[self.method].from_mapping(self.settings)
        return self

    def method_settings(self) -> FusedMethodSettings:
        """The settings as the model of the method; what was not given has its default."""
        return FUSED_METHODS[self.method].from_mapping(self.settings)


class Project(StageSettings):
    """Everything that a run needs, and nothing that it finds out.

    Paths are absolute or relative to the working folder here, and relative to the project file on disk.
    """

    inputs: Inputs
    output: Path = knob(
        Path("results"), "Output folder", "Where the results go; it is made where it is missing."
    )
    regions: dict[str, RegionOutline] = Field(
        default_factory=dict,
        title="Regions",
        description="Pure regions by phase; without them they are found.",
    )
    prepare: PrepareSettings = PrepareSettings()
    references: ReferenceSettings = ReferenceSettings()
    unmix: UnmixSettings = UnmixSettings()
    aligned: bool = knob(
        False, "Already aligned", "Take the maps as they are: tilt axis vertical and central."
    )
    align: AlignSettings = AlignSettings()
    nudges: tuple[Nudge, ...] = Field(
        default=(),
        title="Moves by hand",
        description="(view, dx, dy): after the alignment the content of a view was moved so many px right and down.",
    )
    reconstruct: Reconstruct = Reconstruct()
    fuse: Fuse = Fuse()
    segment: SegmentSettings = SegmentSettings()
    export: ExportSettings = ExportSettings()


def save_project(project: Project, path: Path) -> Path:
    """Write a project with paths relative to it, so that the folder can be moved as a whole.

    Raises
    ------
    WriteError
        An older project of that name stays as it was.
    """
    path = Path(path)
    base = path.absolute().parent
    content = _with_paths(project.model_dump(mode="json"), lambda text: _relative(text, base))
    text = json.dumps({"format": _FORMAT, "version": _VERSION, **content}, indent=2, ensure_ascii=False)
    return write_bytes(path, text.encode())


def load_project(path: Path) -> Project:
    """Read a project; its paths become absolute.

    Raises
    ------
    ReadError
        For a missing or corrupt file, one of a newer release, and settings that are unknown or out of bounds.
    """
    path = Path(path)
    with reading(path):
        if path.stat().st_size > _LARGEST:
            raise ReadError(
                expected(f"file {path}", "a project file", "over 10 MB", "Choose the project file")
            )
        content = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict) or content.pop("format", None) != _FORMAT:
            raise ReadError(
                expected(f"file {path}", f'"format": "{_FORMAT}"', "another file", "Choose a project")
            )
        release = content.pop("version", None)
        if not isinstance(release, int) or not 1 <= release <= _VERSION:
            advice = "Update napari-dipmtv, or save the project with the release that you use here"
            raise ReadError(expected(f"file {path}", f"version 1 to {_VERSION}", release, advice))
        base = path.absolute().parent
        try:
            return Project.from_mapping(_with_paths(content, lambda text: os.path.normpath(base / text)))
        except InputError as error:
            raise ReadError(f"project {path}: {error}") from error


def _with_paths(content: dict[str, Any], change: Callable[[str], str]) -> dict[str, Any]:
    """Apply a change to every path of a project in plain values."""
    content = {**content}
    if isinstance(content.get("inputs"), dict):
        inputs = content["inputs"] = {**content["inputs"]}
        for key in ("spectrum_images", "map_folder", "angles", "haadf", "haadf_angles"):
            if isinstance(inputs.get(key), str):
                inputs[key] = change(inputs[key])
        if isinstance(inputs.get("maps"), dict):
            inputs["maps"] = {name: change(path) for name, path in inputs["maps"].items()}
        if isinstance(inputs.get("edx"), dict) and isinstance(inputs["edx"].get("folder"), str):
            inputs["edx"] = {**inputs["edx"], "folder": change(inputs["edx"]["folder"])}
    content["output"] = change(content.get("output", "results"))
    return content


def _relative(text: str, base: Path) -> str:
    try:
        return Path(os.path.relpath(text, base)).as_posix()
    except ValueError:  # another drive of Windows
        return text
