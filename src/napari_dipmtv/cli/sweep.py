"""Commands for many jobs: ``sweep`` searches settings, ``batch`` runs a table of projects."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from napari_dipmtv.cli.conversation import FAILED_ON_THE_WAY, finish, progress, speaks
from napari_dipmtv.cli.grouped import grouped
from napari_dipmtv.cli.jobs import JobsOn
from napari_dipmtv.cli.map_source import HaadfFrom
from napari_dipmtv.cli.options import JsonOption, OutOption, SetOption, settings_from, usable_folder
from napari_dipmtv.cli.searched import best_project, subject_of
from napari_dipmtv.settings.fused import FUSED_METHODS
from napari_dipmtv.settings.sweep import SweepSettings
from napari_dipmtv.settings.tomo import METHODS
from napari_dipmtv.states import Result, run

if TYPE_CHECKING:
    from napari_dipmtv.io.project import Project
    from napari_dipmtv.sweep.batch import Outcome
    from napari_dipmtv.sweep.search import SweepTable

LEDGER = "sweep.jsonl"
_SHOWN = 10

AxisOption = Annotated[
    list[str],
    typer.Option(
        "--axis",
        metavar="NAME=VALUES",
        help="A searched setting: A,B,C or LOW:HIGH[:log][:COUNT]; repeatable. STAGE.NAME where the data begin "
        "before that stage, e.g. align.rounds.",
    ),
]
BaseOption = Annotated[
    list[str] | None,
    typer.Option("--base", metavar="NAME=VALUE", help="A setting of the method that is not searched."),
]


@speaks
@grouped
def sweep(
    source: Annotated[
        Path, typer.Argument(help="A folder of maps that unmix, align or simulate wrote, or a project file.")
    ],
    out: OutOption,
    axis: AxisOption,
    haadf_from: HaadfFrom,
    jobs_on: JobsOn,
    method: Annotated[
        str | None,
        typer.Option(
            "--method", help=f"One of {', '.join((*METHODS, *FUSED_METHODS))}; cs-tv or fused without it."
        ),
    ] = None,
    base: BaseOption = None,
    truth: Annotated[
        Path | None, typer.Option("--truth", help="Folder of the true volume; scores by it.")
    ] = None,
    device: Annotated[str, typer.Option("--device", help="cpu or cuda.")] = "cpu",
    set_: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Search settings and score each by data that it did not see; the same command goes on after a stop.

    Writes sweep.jsonl (every finished trial), sweep.csv, figure_sweep.png and best.json, for a project also the best
    as best.dipmtv.json.
    """
    from napari_dipmtv.io.atomic import output_folder
    from napari_dipmtv.io.volumes import load_volume
    from napari_dipmtv.sweep import search
    from napari_dipmtv.sweep.space import named_axis
    from napari_dipmtv.sweep.task import known_name

    words = [*(set_ or ()), *([] if truth is None else ["scoring=truth"])]
    how = settings_from(SweepSettings, words)
    subject = subject_of(source, haadf_from, axis, method, base, as_json)
    task = subject.task(how, None if truth is None else load_volume(truth), device)
    axes = [named_axis(word, partial(known_name, task)) for word in axis]
    usable_folder(out)
    output_folder(out)
    with jobs_on.client(how.threads) as client, progress("searching", as_json) as watch:
        states = search.sweep_of(task, axes, ledger=out / LEDGER, client=client)
        result = run(states, on_state=watch)
    _tell_sweep(result, out, subject.project, as_json)
    if result.stopped:
        raise KeyboardInterrupt


@speaks
@grouped
def batch(
    table: Annotated[
        Path,
        typer.Argument(help='CSV with a column "project" and others named after settings, such as "output".'),
    ],
    jobs_on: JobsOn,
    threads: Annotated[int, typer.Option("--threads", min=1, help="Threads of each project.")] = 1,
    as_json: JsonOption = False,
) -> None:
    """Run a table of projects; those that are done already are left out, so the same command goes on after a stop."""
    from napari_dipmtv.pipeline import run_project
    from napari_dipmtv.sweep.batch import batch as run_batch
    from napari_dipmtv.sweep.batch import read_table

    rows = read_table(table)
    ledger = table.with_suffix(".jsonl")
    with jobs_on.client(threads) as client, progress("projects", as_json) as watch:
        result = run(run_batch(rows, ledger, run_project, client=client, threads=threads), on_state=watch)
    outcomes = result.value
    lines = [_told(outcome) for outcome in outcomes]
    finish({"projects": [_facts(outcome) for outcome in outcomes]}, "\n".join(lines), as_json)
    if result.stopped:
        raise KeyboardInterrupt
    if any(outcome.error for outcome in outcomes):
        raise typer.Exit(FAILED_ON_THE_WAY)


def _tell_sweep(result: Result[SweepTable], out: Path, project: Project | None, as_json: bool) -> None:
    from napari_dipmtv.io.figures import save_figures
    from napari_dipmtv.io.reports import save_table
    from napari_dipmtv.sweep.figures import figure, rows

    table, listed = result.value, rows(result.value)
    best = table.best()
    written = [save_table(listed, out / "sweep.csv"), *_save_best(table, out, project)]
    written += save_figures({"sweep": figure(table)}, out, ["png"])
    if as_json:
        facts = {**_chosen(table), "score": best.score, "trials": listed, "stopped": result.stopped}
        return finish(facts, "", as_json)
    Console().print(_shown(listed[:_SHOWN]))
    words = " ".join(f"--set {name}={value}" for name, value in best.point.items())
    use = f"--method {table.task.method} {words}" if project is None else f"napari-dipmtv run {written[-2]}"
    early = ["Stopped early; the same command goes on from here."] if result.stopped else []
    finish({}, "\n".join([*early, f"Use the best: {use}", *map(str, written)]), as_json)


def _chosen(table: SweepTable) -> dict[str, Any]:
    stages = {name: one.model_dump(mode="json") for name, one in table.best_stages().items()}
    settings = table.best_settings().model_dump(mode="json")
    return {"method": table.task.method, "settings": settings, **({"stages": stages} if stages else {})}


def _save_best(table: SweepTable, out: Path, project: Project | None) -> list[Path]:
    """best.json, and the project with the best settings."""
    import json

    from napari_dipmtv.io.atomic import write_bytes
    from napari_dipmtv.io.project import PROJECT_SUFFIX, save_project

    best = table.best()
    facts = {**_chosen(table), "score": best.score, "searched": dict(best.point)}
    written = [write_bytes(out / "best.json", json.dumps(facts, indent=2).encode())]
    if project is not None:
        changed = best_project(project, table.best_settings(), table.best_stages(), out / "results")
        written.append(save_project(changed, out / f"best{PROJECT_SUFFIX}"))
    return written


def _shown(listed: list[dict[str, Any]]) -> Table:
    shown = Table(title="best first", box=SIMPLE_HEAD)
    for name in listed[0]:
        shown.add_column(name)
    for row in listed:
        shown.add_row(*(f"{value:.5g}" if isinstance(value, float) else str(value) for value in row.values()))
    return shown


def _told(outcome: Outcome) -> str:
    if outcome.error:
        return f"line {outcome.line}: {outcome.error}"
    how = f"done in {outcome.seconds:.0f} s" if outcome.fresh else "done before"
    return f"line {outcome.line}: {how}, {outcome.output}"


def _facts(outcome: Outcome) -> dict[str, Any]:
    return {
        "line": outcome.line,
        "project": outcome.path,
        "output": outcome.output,
        "files": outcome.files,
        "seconds": outcome.seconds,
        "error": outcome.error,
        "fresh": outcome.fresh,
    }
