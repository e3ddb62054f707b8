"""Commands around the work: ``demo``, ``run``, ``gui`` and ``settings``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from napari_dipmtv.cli.conversation import FAILED_ON_THE_WAY, finish, note, progress, speaks
from napari_dipmtv.cli.options import JsonOption, SetOption, settings_from, usable_folder
from napari_dipmtv.errors import ComputeError, DeviceError, InputError, expected
from napari_dipmtv.settings.align import AlignSettings
from napari_dipmtv.settings.base import Knob, StageSettings, knobs
from napari_dipmtv.settings.edx import EdxSettings
from napari_dipmtv.settings.fused import (
    FusedDipSettings,
    FusedPhantomSettings,
    FusedSettings,
    PublishedFusedSettings,
)
from napari_dipmtv.settings.inspect import SegmentSettings
from napari_dipmtv.settings.phantom import PhantomSettings
from napari_dipmtv.settings.simulation import SimulationSettings
from napari_dipmtv.settings.spectra import PrepareSettings, ReferenceSettings, UnmixSettings
from napari_dipmtv.settings.sweep import SweepSettings
from napari_dipmtv.settings.tomo import CsTvSettings, DipSettings, SirtSettings, WbpSettings
from napari_dipmtv.settings.trust import TrustSettings

STAGES: dict[str, type[StageSettings]] = {
    "phantom": PhantomSettings,
    "simulate": SimulationSettings,
    "prepare": PrepareSettings,
    "references": ReferenceSettings,
    "unmix": UnmixSettings,
    "edx": EdxSettings,
    "align": AlignSettings,
    "wbp": WbpSettings,
    "sirt": SirtSettings,
    "cs-tv": CsTvSettings,
    "dip-tv": DipSettings,
    "dipm-tv": DipSettings,
    "segment": SegmentSettings,
    "trust": TrustSettings,
    "simulate-fused": FusedPhantomSettings,
    "fused": FusedSettings,
    "fused-dipm-tv": FusedDipSettings,
    "fused-published": PublishedFusedSettings,
    "sweep": SweepSettings,
}


@speaks
def demo(
    out: Annotated[
        Path, typer.Option("--out", help="Folder for everything that the demonstration writes.")
    ] = Path("demo-output"),
    set_: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Go the whole way on a simulated cube: unmix, align, reconstruct in three ways, measure, compare."""
    from napari_dipmtv import demo as demonstration
    from napari_dipmtv.settings.demo import DemoSettings

    chosen = settings_from(DemoSettings, set_)
    usable_folder(out)
    report = demonstration.run_demo(out, chosen, lambda title: progress(title, as_json))
    if as_json:
        finish(report.facts, "", as_json)
    else:
        Console().print(_comparison(report.table))
        finish(
            {}, "\n".join([*report.notes, "", *map(str, report.pictures), f"Everything in {out}"]), as_json
        )


def _comparison(rows: Sequence[Mapping[str, str]]) -> Table:
    table = Table(title="measured beside the truth", box=SIMPLE_HEAD)
    for heading in rows[0]:
        table.add_column(
            heading, justify="left" if heading == "method" else "right", no_wrap=heading == "method"
        )
    for row in rows:
        table.add_row(*row.values())
    return table


@speaks
def run(
    project: Annotated[Path, typer.Argument(help="A project file, *.dipmtv.json, as the window saves it.")],
    as_json: JsonOption = False,
) -> None:
    """Run every stage of a project file and write the results into its output folder."""
    from napari_dipmtv import pipeline
    from napari_dipmtv.io.project import load_project

    loaded = load_project(project)
    usable_folder(loaded.output)
    with progress("running", as_json) as watch:
        try:
            written = pipeline.run_project(loaded, on_state=watch)
        except (ComputeError, DeviceError, KeyboardInterrupt) as reason:
            if watch.begun:
                note(f"What had been reached, if anything, is in {loaded.output}.", as_json)
            if watch.begun and not isinstance(reason, KeyboardInterrupt):
                finish({"error": str(reason)}, str(reason), as_json)
                raise typer.Exit(FAILED_ON_THE_WAY) from reason
            raise
    finish({"files": written}, "\n".join(map(str, written)), as_json)


@speaks
def settings(
    stage: Annotated[str, typer.Argument(help=f"One of {', '.join(STAGES)}.")], as_json: JsonOption = False
) -> None:
    """List the settings of a stage: name, default, bounds, unit and what each does."""
    if stage not in STAGES:
        raise InputError(expected("stage", ", ".join(STAGES), stage, "Choose one of them"))
    rows = list(knobs(STAGES[stage]))
    if as_json:
        facts = {knob.name: {**_facts(knob), "title": knob.title, "advanced": knob.advanced} for knob in rows}
        finish(facts, "", as_json)
        return
    table = Table(title=f"{stage}: --set NAME=VALUE", show_lines=True)
    for heading in ("name", "default", "allowed", "unit", "description"):
        table.add_column(heading, overflow="fold", no_wrap=heading == "name")
    for knob in rows:
        facts = _facts(knob)
        table.add_row(knob.name, str(facts["default"]), str(facts["allowed"]), knob.unit, knob.description)
    Console().print(table)


def _facts(knob: Knob) -> dict[str, Any]:
    default = knob.default
    if isinstance(default, StageSettings):
        default = f"see 'settings {knob.name}'"
    return {
        "default": list(default) if isinstance(default, tuple) else default,
        "allowed": _allowed(knob),
        "unit": knob.unit,
        "description": knob.description,
    }


def _allowed(knob: Knob) -> str:
    if knob.choices:
        return ", ".join(map(str, knob.choices))
    low = "" if knob.low is None else f"{knob.low:g}"
    high = "" if knob.high is None else f"{knob.high:g}"
    return f"{low} ... {high}" if low or high else ""


@speaks
def gui(
    demo: Annotated[bool, typer.Option("--demo", help="Open with the simulated particle.")] = False,
) -> None:
    """Open napari with the workbench."""
    try:
        launch = import_module("napari_dipmtv._napari.app").launch
    except ImportError as error:
        advice = "Run: pip install 'napari-dipmtv[all]', or use the other commands, which need no window"
        raise DeviceError(expected("the window", "napari and a Qt binding", f"'{error}'", advice)) from error
    launch(demo=demo)
