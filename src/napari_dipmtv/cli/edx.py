"""Commands for files and X-rays: ``tilts``, ``edx`` and ``quantify``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from napari_dipmtv.cli.conversation import finish, note, progress, speaks
from napari_dipmtv.cli.options import (
    AnglesOption,
    BinPixelsOption,
    JsonOption,
    OutOption,
    SetOption,
    named_once,
    settings_from,
    usable_folder,
)
from napari_dipmtv.cli.volumes import VolumesArgument
from napari_dipmtv.data import Volume
from napari_dipmtv.errors import InputError, expected
from napari_dipmtv.settings.edx import EdxSettings

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_dipmtv.inspect.quantify import Composition
    from napari_dipmtv.io.tilt_table import TiltTable

SeriesArgument = Annotated[
    Path, typer.Argument(help="Folder with the files of a tilt series, or the table that 'tilts' wrote.")
]
UNITS: tuple[Composition, ...] = ("at.%", "wt.%")


@speaks
def tilts(
    folder: SeriesArgument,
    table: Annotated[
        Path | None,
        typer.Option("--table", help="Write the table here, to be edited and given back instead of FOLDER."),
    ] = None,
    angles: AnglesOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the spectrum images of a folder with tilt, source of the tilt, calibration and problems."""
    from napari_dipmtv.io.tilt_table import save_table

    found = surveyed(folder, angles)
    if table is not None:
        save_table(found, table)
    if as_json:
        finish({"rows": [_row_facts(found, i) for i in range(len(found.rows))]}, "", as_json)
        return
    shown = Table(box=SIMPLE_HEAD)
    for heading in ("file", "kind", "tilt", "from", "nm", "y, x, e", "eV", "problems"):
        shown.add_column(heading, overflow="fold", no_wrap=heading not in ("file", "problems"))
    for i in range(len(found.rows)):
        shown.add_row(*_row_words(_row_facts(found, i)))
    Console().print(shown)
    if table is not None:
        finish({}, f"Table in {table}", as_json)


@speaks
def edx(
    folder: SeriesArgument,
    out: OutOption,
    line: Annotated[
        list[str] | None,
        typer.Option("--line", metavar="NAME", help="X-ray line such as Fe_Ka; repeatable, one map each."),
    ] = None,
    angles: AnglesOption = None,
    bin_pixels: BinPixelsOption = 1,
    set_: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Turn EDX spectrum images into maps of X-ray line intensities, with variance or as counts.

    Writes maps_<line>.tif, variance_<line>.tif and report.json, like unmix; and into haadf/ the HAADF images where
    the files hold some. One tilt is in memory at a time.
    """
    from napari_dipmtv import pipeline
    from napari_dipmtv.io.companions import load_companions
    from napari_dipmtv.io.map_folder import save_maps
    from napari_dipmtv.io.reports import provenance, save_report

    if not line:
        raise InputError(expected("--line", "an X-ray line such as Fe_Ka", "none", "Name at least one"))
    settings = settings_from(EdxSettings, set_)
    table = surveyed(folder, angles)
    headers = table.headers("EDS")
    usable_folder(out)
    story = provenance(
        {"edx": settings},
        tilts_deg=[header.stage_tilt_deg or 0.0 for header in headers],
        inputs=[folder, *([angles] if angles else [])],
    )
    for problem in table.problems:
        note(problem, as_json)
    with progress("line intensities", as_json) as watch:
        maps = pipeline.edx(table, line, settings, bin_pixels=bin_pixels, on_state=watch)
    counts = {name: float(data.sum()) for name, data in zip(maps.channels, maps.data, strict=True)}
    report = {**story, "lines": list(line), "bin_pixels": bin_pixels, "counts": counts}
    report["problems"] = list(table.problems)
    save_maps(maps, out)
    haadf = load_companions(table, bin_pixels=bin_pixels)
    if haadf is not None:
        save_maps(haadf, out / "haadf")
    save_report(report, out / "report.json")
    told = ", ".join(f"{name} {n:.4g}" for name, n in counts.items())
    finish(report, f"Counts at {len(maps.tilts_deg)} tilts: {told}\nMaps in {out}", as_json)


@speaks
def quantify(
    volumes: VolumesArgument,
    out: OutOption,
    k: Annotated[
        list[str] | None,
        typer.Option("--k", metavar="LINE=FACTOR", help="Cliff-Lorimer k-factor of a channel; one for each."),
    ] = None,
    unit: Annotated[str, typer.Option("--unit", help=f"{' or '.join(UNITS)}")] = "at.%",
    threshold: Annotated[
        float,
        typer.Option("--threshold", help="Voxels below this share of the brightest (sum) are vacuum.", min=0),
    ] = 0.1,
    labels: Annotated[
        Path | None,
        typer.Option(
            "--labels", help="A labels.tif that segment wrote: matter is what is no vacuum or void."
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Turn a volume of X-ray line intensities into atomic or weight percent by k-factors, inside the matter."""
    from napari_dipmtv.inspect.quantify import quantify as to_percent
    from napari_dipmtv.io.reports import provenance, save_report, with_provenance
    from napari_dipmtv.io.volumes import load_volume, save_volume

    wanted = next((known for known in UNITS if known == unit), None)
    if wanted is None:
        raise InputError(expected("--unit", " or ".join(UNITS), unit, "Choose one"))
    factors = {name: _number(value) for name, value in named_once(k or (), "--k", "LINE=FACTOR").items()}
    volume = load_volume(volumes[0] if len(volumes) == 1 else volumes)
    mask = _matter(volume, labels, threshold)
    percent = to_percent(volume, factors, mask, unit=wanted)
    usable_folder(out)
    mean = {name: float(data[mask].mean()) for name, data in zip(percent.channels, percent.data, strict=True)}
    report = {**provenance({}, inputs=list(volumes)), "k_factors": factors, "unit": wanted, "mean": mean}
    report["voxels"] = int(mask.sum())
    written = save_volume(with_provenance(percent, report), out)
    save_report(report, out / "report.json")
    told = ", ".join(f"{name} {value:.1f}" for name, value in mean.items())
    finish(report, "\n".join([f"Mean {wanted} in the matter: {told}", *map(str, written)]), as_json)


def surveyed(folder: Path, angles: Path | None) -> TiltTable:
    """The table of a folder, with the angles of a file, or the table that ``tilts`` wrote."""
    from napari_dipmtv.io.tilt_table import load_table, survey

    if folder.suffix.lower() != ".csv":
        return survey(folder, angles)
    if angles is not None:
        raise InputError(expected("--angles", "no angles beside a table", angles, "Edit the table"))
    return load_table(folder)


def _matter(volume: Volume, labels: Path | None, threshold: float) -> NDArray[np.bool_]:
    from napari_dipmtv.io.volumes import load_labels

    if labels is None:
        total = volume.data.sum(axis=0)
        mask: NDArray[np.bool_] = total > threshold * np.percentile(total, 99.9)
    else:
        segmentation = load_labels(labels)
        empty = [value for value, name in segmentation.phases.items() if name in ("vacuum", "void")]
        mask = ~np.isin(segmentation.labels, empty)
    if not mask.any():
        raise InputError(expected("matter", "at least one voxel", "none", "Lower --threshold"))
    return mask


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise InputError(expected("--k", "a number behind '='", text, "Write Fe_Ka=1.21")) from None


def _row_facts(table: TiltTable, i: int) -> dict[str, Any]:
    row = table.rows[i]
    header = row.header
    facts: dict[str, Any] = {"file": row.path.name, "use": row.use, "tilt_deg": row.tilt_deg}
    facts |= {"tilt_from": row.tilt_from, "problems": row.problems}
    if header is not None:
        energies = (header.energy.start_ev, header.energy.stop_ev)
        facts |= {"kind": header.kind, "pixel_nm": header.pixel_nm, "shape": header.shape, "ev": energies}
    return facts


def _row_words(facts: dict[str, Any]) -> Sequence[str]:
    tilt = "" if facts["tilt_deg"] is None else f"{facts['tilt_deg']:g}°"
    pixel = "" if facts.get("pixel_nm") is None else f"{facts['pixel_nm']:.4g}"
    shape = "x".join(map(str, facts.get("shape", ())))
    energies = "...".join(f"{e:.0f}" for e in facts.get("ev", ()))
    problems = "; ".join(facts["problems"])
    return facts["file"], facts.get("kind", ""), tilt, facts["tilt_from"], pixel, shape, energies, problems
