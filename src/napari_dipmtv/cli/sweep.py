"""Commands for many jobs: ``sweep`` searches settings, ``batch`` runs a table of projects."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from napari_dipmtv.cli.conversation import FAILED_ON_THE_WAY, finish, progress, speaks
from napari_dipmtv.cli.maps import method_settings
from napari_dipmtv.cli.options import (
    JsonOption,
    OutOption,
    SetOption,
    as_aligned,
    read_saved,
    settings_from,
    usable_folder,
)
from napari_dipmtv.errors import InputError, expected
from napari_dipmtv.settings.sweep import SweepSettings
from napari_dipmtv.settings.tomo import METHODS
from napari_dipmtv.states import run

if TYPE_CHECKING:
    from napari_dipmtv.sweep.batch import Outcome
    from napari_dipmtv.sweep.search import SweepTable

LEDGER = "sweep.jsonl"
_SHOWN = 10

SchedulerOption = Annotated[
    str | None,
    typer.Option(
        "--scheduler", metavar="tcp://HOST:PORT", help="A running Dask scheduler whose workers do the jobs."
    ),
]
WorkersOption = Annotated[
    int,
    typer.Option(
        "--workers",
        min=0,
        help="Processes of this machine that share the jobs; 0 does them one after the other here.",
    ),
]


@speaks
def sweep(
    source: Annotated[Path, typer.Argument(help="A folder of maps that align or simulate wrote.")],
    out: OutOption,
    axis: Annotated[
        list[str],
        typer.Option(
            "--axis",
            metavar="NAME=VALUES",
            help="A searched setting: A,B,C or LOW:HIGH[:log][:COUNT]; repeatable.",
        ),
    ],
    method: Annotated[str, typer.Option("--method", help=f"One of {', '.join(METHODS)}.")] = "cs-tv",
    base: Annotated[
        list[str] | None,
        typer.Option("--base", metavar="NAME=VALUE", help="A setting of the method that is not searched."),
    ] = None,
    truth: Annotated[
        Path | None, typer.Option("--truth", help="Folder of the true volume; scores by it.")
    ] = None,
    workers: WorkersOption = 0,
    scheduler: SchedulerOption = None,
    device: Annotated[str, typer.Option("--device", help="cpu or cuda.")] = "cpu",
    set_: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Search settings of a method and score each by data that it did not see; the same command goes on after a stop.

    Writes sweep.jsonl (every finished trial), sweep.csv, sweep.png and best.json.
    """
    from napari_dipmtv.io.atomic import output_folder
    from napari_dipmtv.io.volumes import load_volume
    from napari_dipmtv.sweep import search
    from napari_dipmtv.sweep.space import parse_axis

    words = [*(set_ or ()), *([] if truth is None else ["scoring=truth"])]
    how = settings_from(SweepSettings, words)
    chosen, fixed = method_settings(method, None, None, base)
    axes = [parse_axis(word, METHODS[chosen]) for word in axis]
    known = None if truth is None else load_volume(truth)
    series = as_aligned(read_saved(source), as_json)
    usable_folder(out)
    output_folder(out)
    with _jobs(scheduler, workers, how.threads) as client, progress("searching", as_json) as watch:
        states = search.sweep(
            series, axes, how, chosen, fixed, truth=known, ledger=out / LEDGER, client=client, device=device
        )
        result = run(states, on_state=watch)
    _tell_sweep(result.value, out, result.stopped, as_json)
    if result.stopped:
        raise KeyboardInterrupt


@speaks
def batch(
    table: Annotated[
        Path,
        typer.Argument(help='CSV with a column "project" and others named after settings, such as "output".'),
    ],
    workers: WorkersOption = 0,
    scheduler: SchedulerOption = None,
    threads: Annotated[int, typer.Option("--threads", min=1, help="Threads of each project.")] = 1,
    as_json: JsonOption = False,
) -> None:
    """Run a table of projects; those that are done already are left out, so the same command goes on after a stop."""
    from napari_dipmtv.pipeline import run_project
    from napari_dipmtv.sweep.batch import batch as run_batch
    from napari_dipmtv.sweep.batch import read_table

    rows = read_table(table)
    ledger = table.with_suffix(".jsonl")
    with _jobs(scheduler, workers, threads) as client, progress("projects", as_json) as watch:
        result = run(run_batch(rows, ledger, run_project, client=client, threads=threads), on_state=watch)
    outcomes = result.value
    lines = [_told(outcome) for outcome in outcomes]
    finish({"projects": [_facts(outcome) for outcome in outcomes]}, "\n".join(lines), as_json)
    if result.stopped:
        raise KeyboardInterrupt
    if any(outcome.error for outcome in outcomes):
        raise typer.Exit(FAILED_ON_THE_WAY)


@contextmanager
def _jobs(scheduler: str | None, workers: int, threads: int) -> Iterator[Any]:
    """A client of workers where such are asked for, else None."""
    if scheduler is not None and workers:
        advice = "Leave --workers out; the cluster has its own"
        raise InputError(expected("--workers", "none beside --scheduler", workers, advice))
    if scheduler is None and not workers:
        yield None
        return
    from napari_dipmtv.sweep.workers import cluster

    with cluster(scheduler, workers, threads) as client:
        yield client


def _tell_sweep(table: SweepTable, out: Path, stopped: bool, as_json: bool) -> None:
    import json

    from napari_dipmtv.io.atomic import write_bytes
    from napari_dipmtv.io.figures import save_figures
    from napari_dipmtv.io.reports import save_table
    from napari_dipmtv.sweep.figures import figure, rows

    best, listed = table.best(), rows(table)
    chosen = {"method": table.method, "settings": table.best_settings().model_dump(mode="json")}
    content = json.dumps({**chosen, "score": best.score, "searched": dict(best.point)}, indent=2)
    written = [save_table(listed, out / "sweep.csv"), write_bytes(out / "best.json", content.encode())]
    written += save_figures({"sweep": figure(table)}, out, ["png"])
    if as_json:
        return finish({**chosen, "score": best.score, "trials": listed, "stopped": stopped}, "", as_json)
    Console().print(_shown(listed[:_SHOWN]))
    words = " ".join(f"--set {name}={value}" for name, value in best.point.items())
    early = ["Stopped early; the same command goes on from here."] if stopped else []
    finish(
        {}, "\n".join([*early, f"Use the best: --method {table.method} {words}", *map(str, written)]), as_json
    )


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
