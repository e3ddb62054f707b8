"""Commands from volumes to phases, measures and files: ``segment`` and ``export``."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from napari_dipmtv.cli.conversation import finish, speaks
from napari_dipmtv.cli.options import JsonOption, OutOption, SetOption, settings_from, usable_folder
from napari_dipmtv.errors import InputError, expected
from napari_dipmtv.settings.inspect import SegmentSettings

if TYPE_CHECKING:
    from napari_dipmtv.io.volumes import VolumeFormat
    from napari_dipmtv.pipeline import ExportFormat

VOLUME_FORMATS: tuple[VolumeFormat, ...] = ("ome-tiff", "mrc", "hspy")
VolumesArgument = Annotated[
    list[Path],
    typer.Argument(help="The folder of a volume, or its files volume_*.tif, volume_*.mrc or volume.hspy."),
]


@speaks
def segment(
    volumes: VolumesArgument, out: OutOption, set_: SetOption = None, as_json: JsonOption = False
) -> None:
    """Find the phases of a volume, the void included, and measure them: labels.tif and measures.csv."""
    from napari_dipmtv import pipeline
    from napari_dipmtv.io.reports import provenance
    from napari_dipmtv.io.volumes import load_volume

    settings = settings_from(SegmentSettings, set_)
    volume = load_volume(_one_or_many(volumes))
    story = provenance({"segment": settings}, inputs=volumes)
    usable_folder(out)
    segmentation = pipeline.segment(volume, settings)
    measures = pipeline.measure(segmentation, volume)
    report = {**story, "measures": [asdict(measure) for measure in measures]}
    written = pipeline.export(out, segmentation=segmentation, measures=measures, provenance=report)
    finish(report, "\n".join(map(str, written)), as_json)


@speaks
def export(
    volumes: VolumesArgument,
    out: OutOption,
    format_: Annotated[
        list[str], typer.Option("--format", help=f"Repeatable: {', '.join(VOLUME_FORMATS)}.")
    ] = ["mrc"],  # noqa: B006 - typer copies it
    labels: Annotated[
        Path | None,
        typer.Option("--labels", help="A labels.tif that segment wrote: also one STL mesh per phase."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Convert a volume to OME-TIFF, MRC (IMOD, Chimera, tomviz) or HyperSpy, and phases to STL meshes."""
    from napari_dipmtv import pipeline
    from napari_dipmtv.io.volumes import load_labels, load_volume

    formats = _formats(format_)
    volume = load_volume(_one_or_many(volumes))
    segmentation = None if labels is None else load_labels(labels)
    if segmentation is not None and segmentation.labels.shape != volume.data.shape[1:]:
        shapes = segmentation.labels.shape, volume.data.shape[1:]
        raise InputError(
            expected("--labels", f"voxels of the volume {shapes[1]}", shapes[0], "Segment this volume")
        )
    usable_folder(out)
    meshes: tuple[ExportFormat, ...] = () if segmentation is None else ("stl",)
    written = pipeline.export(out, volume=volume, segmentation=segmentation, formats=(*formats, *meshes))
    finish({"files": written}, "\n".join(map(str, written)), as_json)


def _formats(words: list[str]) -> list[VolumeFormat]:
    unknown = [word for word in words if word not in VOLUME_FORMATS]
    if unknown:
        raise InputError(
            expected("--format", ", ".join(VOLUME_FORMATS), ", ".join(unknown), "Choose from these")
        )
    return [known for known in VOLUME_FORMATS if known in words]


def _one_or_many(paths: list[Path]) -> Path | list[Path]:
    return paths[0] if len(paths) == 1 else paths
