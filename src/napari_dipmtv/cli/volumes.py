"""Commands from volumes to phases, measures, files and pages: ``segment``, ``export`` and ``report``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from napari_dipmtv.cli.conversation import finish, speaks
from napari_dipmtv.cli.options import JsonOption, OutOption, SetOption, settings_from, usable_folder
from napari_dipmtv.errors import InputError, expected
from napari_dipmtv.settings.inspect import SegmentSettings

if TYPE_CHECKING:
    from napari_dipmtv.data import Segmentation, Volume
    from napari_dipmtv.inspect import Measure, Oxidation
    from napari_dipmtv.pipeline import ExportFormat

# all of ExportFormat but "html", which tells of a run and is made by `report`
FORMATS: tuple[ExportFormat, ...] = (
    "ome-tiff",
    "ome-zarr",
    "mrc",
    "hspy",
    "emd",
    "stl",
    "ply",
    "obj",
    "png",
    "svg",
)
FormatOption = Annotated[list[str], typer.Option("--format", help=f"Repeatable: {', '.join(FORMATS)}.")]
OverwriteOption = Annotated[
    bool, typer.Option("--overwrite", help="Replace results of the same names; else they are left alone.")
]
OF_LABELS = ("stl", "ply", "obj")
OF_SEGMENT = (
    "labels.tif",
    "measures.csv",
    "report.*",
    "profile_*.csv",
    "thickness_*.ply",
    "particles.csv",
    "fe3_share.tif",
)
VolumesArgument = Annotated[
    list[Path],
    typer.Argument(
        help="The folder of a volume, or its files: volume_*.tif, .mrc, .emd, volume.hspy or volume.ome.zarr."
    ),
]


@speaks
def segment(
    volumes: VolumesArgument,
    out: OutOption,
    labels: Annotated[
        Path | None,
        typer.Option(
            "--labels", help="Measure these phases, a labels.tif that was edited, instead of finding them."
        ),
    ] = None,
    overwrite: OverwriteOption = False,
    set_: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Find the phases of a volume, the void included, and measure them: labels, measures, profiles, a report."""
    from napari_dipmtv import pipeline
    from napari_dipmtv.inspect import implausible, left_out, measure_particles
    from napari_dipmtv.io import meshes, reports
    from napari_dipmtv.io.figures import figure_bytes, figures
    from napari_dipmtv.io.html_report import html_report, save_html
    from napari_dipmtv.io.volumes import load_labels, load_volume
    from napari_dipmtv.pipeline.results import nothing_replaced

    if labels is not None and set_:
        raise InputError(
            expected("--set", "none beside --labels, which are measured as they are", set_, "Leave it out")
        )
    settings = settings_from(SegmentSettings, set_)
    volume = load_volume(_one_or_many(volumes))
    story = reports.provenance(
        {"segment": settings} if labels is None else {}, inputs=[*volumes, *([labels] if labels else [])]
    )
    usable_folder(out)
    if not overwrite:
        nothing_replaced(out, OF_SEGMENT)
    segmentation = pipeline.segment(volume, settings) if labels is None else load_labels(labels)
    measures = pipeline.measure(segmentation, volume)
    particles = measure_particles(segmentation, volume)
    notes = [*implausible(volume), *(left_out(volume, settings) if labels is None else [])]
    report = {**story, "measures": [asdict(one) for one in measures], "notes": notes}
    oxidation = _oxidation(volume, segmentation)
    if oxidation is not None:
        report["fe3_share"] = oxidation.mean_fe3
    written = pipeline.export(out, segmentation=segmentation, measures=measures, provenance=report)
    written += reports.save_profiles(volume, segmentation, out) + meshes.save_thickness(
        segmentation, volume, out
    )
    if oxidation is not None:
        written.append(_save_oxidation(oxidation, out))
    if len(particles) > 1:
        written.append(reports.save_table(reports.particle_rows(particles), out / "particles.csv"))
    pictures = {name: figure_bytes(one, "png") for name, one in figures(volume, segmentation).items()}
    page = html_report(report, title="Phases", measures=measures, particles=particles, pictures=pictures)
    written.append(save_html(page, out / "report.html"))
    finish(report, "\n".join([*_lines(measures), *report["notes"], *map(str, written)]), as_json)


def _oxidation(volume: Volume, segmentation: Segmentation) -> Oxidation | None:
    from napari_dipmtv.inspect import knows_oxidation, oxidation_state

    return oxidation_state(volume, segmentation) if knows_oxidation(volume.channels) else None


def _save_oxidation(oxidation: Oxidation, out: Path) -> Path:
    """Share of Fe3+ in the iron of each voxel, 0 outside the matter."""
    from napari_dipmtv.io.ome import write_ome

    fractions = oxidation.fractions
    facts = {"quantity": "share of Fe3+ in the iron of a voxel", "mean": oxidation.mean_fe3}
    return write_ome(out / "fe3_share.tif", fractions.data[1], "ZYX", fractions.voxel_nm, "Fe3+", facts)


def _lines(measures: Sequence[Measure]) -> list[str]:
    """Measures in columns, with as many digits as their uncertainty leaves."""
    from napari_dipmtv.io.html_parts import number

    width = max(len(one.name) for one in measures)
    rows = [
        (one, number(one.value, one.uncertainty), number(one.uncertainty, one.uncertainty))
        for one in measures
    ]
    return [
        f"{one.name:<{width}}  {value:>9} {f'± {spread}' if spread else '':<9} {one.unit}".rstrip()
        for one, value, spread in rows
    ]


@speaks
def export(
    volumes: VolumesArgument,
    out: OutOption,
    format_: FormatOption = ["mrc"],  # noqa: B006 - typer copies it
    labels: Annotated[
        Path | None,
        typer.Option(
            "--labels",
            help="A labels.tif that segment wrote: for meshes (STL without another), figures and OME-Zarr.",
        ),
    ] = None,
    overwrite: OverwriteOption = False,
    as_json: JsonOption = False,
) -> None:
    """Convert a volume and its phases for napari, Fiji, IMOD, Chimera, tomviz, HyperSpy, Blender, papers."""
    from napari_dipmtv import pipeline
    from napari_dipmtv.io.volumes import load_labels, load_volume

    formats = _formats(format_)
    if labels is None and any(name in OF_LABELS for name in formats):
        raise InputError(expected("--format", "--labels FILE beside meshes", "none", "Run segment first"))
    volume = load_volume(_one_or_many(volumes))
    segmentation = None if labels is None else load_labels(labels)
    if segmentation is not None and segmentation.labels.shape != volume.data.shape[1:]:
        shapes = segmentation.labels.shape, volume.data.shape[1:]
        raise InputError(
            expected("--labels", f"voxels of the volume {shapes[1]}", shapes[0], "Segment this volume")
        )
    usable_folder(out)
    if segmentation is not None and not any(name in OF_LABELS for name in formats):
        formats = [*formats, "stl"]
    written = pipeline.export(
        out, volume=volume, segmentation=segmentation, formats=formats, overwrite=overwrite
    )
    finish({"files": written}, "\n".join(map(str, written)), as_json)


@speaks
def report(
    folder: Annotated[Path, typer.Argument(help="A folder that run, reconstruct, segment or trust wrote.")],
    out: Annotated[
        Path | None, typer.Option("--out", help="The page; report.html in the folder when left out.")
    ] = None,
    title: Annotated[
        str | None, typer.Option("--title", help="Heading; the folder's name when left out.")
    ] = None,
    overwrite: OverwriteOption = False,
    as_json: JsonOption = False,
) -> None:
    """Write one HTML page with settings, pictures, measures and data of a run; it opens without a network."""
    from napari_dipmtv.io.html_report import html_of_folder, save_html
    from napari_dipmtv.pipeline.results import nothing_replaced

    target = folder / "report.html" if out is None else out
    usable_folder(target.parent)
    if out is not None and not overwrite:  # the page of the folder itself holds nothing but what lies in it
        nothing_replaced(target.parent, (target.name,))
    page = html_of_folder(folder, title=title)
    target.parent.mkdir(parents=True, exist_ok=True)
    written = save_html(page, target)
    finish({"files": [written]}, str(written), as_json)


def _formats(words: list[str]) -> list[ExportFormat]:
    unknown = [word for word in words if word not in FORMATS]
    if unknown:
        raise InputError(expected("--format", ", ".join(FORMATS), ", ".join(unknown), "Choose from these"))
    return [known for known in FORMATS if known in words]


def _one_or_many(paths: list[Path]) -> Path | list[Path]:
    return paths[0] if len(paths) == 1 else paths
