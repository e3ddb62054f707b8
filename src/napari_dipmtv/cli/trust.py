"""The command ``trust``: a project or a folder of maps to a report on whether its void or skin is real."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from napari_dipmtv.cli.conversation import finish, progress, speaks
from napari_dipmtv.cli.grouped import grouped
from napari_dipmtv.cli.jobs import JobsOn
from napari_dipmtv.cli.options import JsonOption, OutOption, usable_folder
from napari_dipmtv.cli.trust_inputs import Asked, Given, Inputs
from napari_dipmtv.errors import WriteError, expected
from napari_dipmtv.settings.trust import TrustSettings
from napari_dipmtv.states import Result, State, run

if TYPE_CHECKING:
    from napari_dipmtv.trust.study import Study

SAVE_EVERY_S = 15.0
JOBS = "trust-jobs"  # what workers have found and the study has not taken yet
SourceArgument = Annotated[
    Path,
    typer.Argument(help="A project file, *.dipmtv.json, or a folder of maps that align or simulate wrote."),
]
DeviceOption = Annotated[str, typer.Option("--device", help="auto, cpu, cuda or mps.")]
ThreadsOption = Annotated[
    int | None, typer.Option("--threads", min=1, help="Of every job; 1 on workers where none is given.")
]
FreshOption = Annotated[
    bool, typer.Option("--fresh", help="Begin again and replace whatever an earlier run left.")
]
SvgOption = Annotated[bool, typer.Option("--svg", help="Write the pictures as SVG as well, for papers.")]


@speaks
@grouped
def trust(
    source: SourceArgument,
    out: OutOption,
    asked: Asked,
    given: Given,
    jobs_on: JobsOn,
    device: DeviceOption = "auto",
    threads: ThreadsOption = None,
    fresh: FreshOption = False,
    svg: SvgOption = False,
    as_json: JsonOption = False,
) -> None:
    """Ask whether a void or skin is real: null test, detection curve, resolution, uncertainty, held-out views.

    Writes measures.csv, trust.json, trust.txt, pictures, probabilities and report.html. Ctrl-C keeps what was reached;
    the same command then goes on there.
    """
    from napari_dipmtv.io.atomic import output_folder
    from napari_dipmtv.sweep.repeats import Shelf
    from napari_dipmtv.trust.saving import save_study

    settings = asked.settings(compare=given.reference is not None)
    usable_folder(out)
    if not fresh:
        _unfinished(out)
    inputs = given.read(source, as_json)
    output_folder(out)
    if fresh:
        Shelf(out / JOBS).clear()
    with jobs_on.repeats(threads, out / JOBS) as done_by:
        states = _states(inputs, settings, device, None if fresh else out, done_by)
        result = _followed(states, out, as_json)
    facts = _facts(result, settings, inputs, [source, *given.files], device)
    written = save_study(
        result.value,
        facts,
        out,
        segmentation=inputs.segmentation,
        pictures=("png", "svg") if svg else ("png",),
    )
    early = ["Stopped early; the same command goes on from here.", *result.notes] if result.stopped else []
    finish(facts, "\n".join([facts["text"], *early, *map(str, written)]), as_json)


def _unfinished(out: Path) -> None:
    """Raise `WriteError` where a study was finished in a folder: its report is not replaced unasked."""
    from napari_dipmtv.trust.progress import PROGRESS

    if (out / "trust.json").is_file() and not (out / PROGRESS).is_file():
        advice = "Choose another folder, or replace it with --fresh"
        raise WriteError(expected(f"folder {out}", "no finished study", "trust.json", advice))


def _states(
    inputs: Inputs, settings: TrustSettings, device: str, resume: Path | None, done_by: Any
) -> Iterator[State[Study]]:
    from napari_dipmtv.trust.progress import load_progress
    from napari_dipmtv.trust.study import study

    return study(
        inputs.series,
        settings,
        inputs.method,
        inputs.method_settings,
        volume=inputs.tested,
        given_halves=inputs.halves,
        segmentation=inputs.segmentation,
        truth=None if inputs.placed is None else inputs.placed.volume,
        device=device,
        resume=None if resume is None else load_progress(resume),
        done_by=done_by,
    )


def _facts(
    result: Result[Study], settings: TrustSettings, inputs: Inputs, files: list[Path], device: str
) -> dict[str, Any]:
    """What was found, with the settings of all that took part."""
    from napari_dipmtv.trust.saving import facts_of

    made_by: dict[str, Any] = {inputs.method: inputs.method_settings}
    made_by |= {} if inputs.segmentation is None else {"segment": inputs.segmentation}
    facts = facts_of(
        result.value,
        settings,
        files,
        result.seconds,
        stopped=result.stopped,
        made_by=made_by,
        device=device,
    )
    if inputs.placed is not None:
        names = ("shift_nm", "turn_deg", "scale", "correlation")
        facts["reference"] = {name: getattr(inputs.placed, name) for name in names}
    return facts


def _followed(states: Iterator[State[Study]], out: Path, as_json: bool) -> Result[Study]:
    """Run a study with a bar; keep its progress every few seconds and when it is stopped."""
    from napari_dipmtv.sweep.repeats import Shelf
    from napari_dipmtv.trust.progress import PROGRESS, save_progress

    reached: list[State[Study]] = []
    saved_at = time.monotonic()
    with progress("trust", as_json) as watch:

        def on_state(state: State[Study]) -> None:
            nonlocal saved_at
            reached[:] = [state]
            watch(state)
            if state.checkpoint is not None and time.monotonic() - saved_at > SAVE_EVERY_S:
                save_progress(state.checkpoint(), out)
                saved_at = time.monotonic()

        result = run(states, on_state=on_state)
    last = reached[0].checkpoint
    if result.stopped and last is not None:
        save_progress(last(), out)
    elif not result.stopped:
        (out / PROGRESS).unlink(missing_ok=True)
        Shelf(out / JOBS).clear()
    return result
