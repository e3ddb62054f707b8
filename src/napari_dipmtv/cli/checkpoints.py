"""The options of a run that shall survive to what it goes on from and what writes its checkpoints."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from napari_dipmtv.data import TiltSeries
from napari_dipmtv.errors import InputError, expected
from napari_dipmtv.settings.base import StageSettings
from napari_dipmtv.states import State

if TYPE_CHECKING:
    from napari_dipmtv.io.checkpoints import Checkpoint
    from napari_dipmtv.io.recorder import Recorder

CheckpointOption = Annotated[
    Path | None,
    typer.Option(
        "--checkpoint", metavar="FOLDER", help="Where the run writes now and then what --resume needs."
    ),
]
EveryOption = Annotated[
    str,
    typer.Option(
        "--checkpoint-every", metavar="N|TIME", help="Iterations, or a time such as 90s, 10min or 1h."
    ),
]
ResumeOption = Annotated[
    bool, typer.Option("--resume", help="Go on from the last checkpoint, with the settings of that run.")
]
MoreOption = Annotated[
    int | None,
    typer.Option("--more", min=1, metavar="N", help="With --resume: N iterations beyond the checkpoint."),
]
EVERY = "5min"


@dataclass(frozen=True, slots=True)
class Survival:
    """What a command is told about going on after a stop."""

    checkpoint: CheckpointOption = None
    checkpoint_every: EveryOption = EVERY
    resume: ResumeOption = False
    more: MoreOption = None

    def start(self) -> Checkpoint | None:
        """The checkpoint to go on from; see `starting_point`."""
        return starting_point(self.checkpoint, self.resume, self.more)


def starting_point(folder: Path | None, resume: bool, more: int | None) -> Checkpoint | None:
    """Read the checkpoint to go on from; None for a run that begins.

    Raises
    ------
    InputError
        For options that contradict each other, and for a folder that holds a run which would be written over.
    """
    from napari_dipmtv.io.checkpoints import checkpoint_files, load_checkpoint

    if more is not None and not resume:
        raise InputError(
            expected("--more", "--resume beside it", "none", "Add --resume, or use --iterations")
        )
    if folder is None:
        if resume:
            raise InputError(
                expected("--resume", "--checkpoint FOLDER beside it", "none", "Name the folder of that run")
            )
        return None
    if resume:
        return load_checkpoint(folder)
    if files := checkpoint_files(folder):
        advice = "Add --resume to go on with that run, or name another folder"
        raise InputError(expected(f"--checkpoint {folder}", "a folder without a run", files[0].name, advice))
    return None


def settings_since(
    since: Checkpoint | None, method: str, model: type[StageSettings]
) -> Mapping[str, Any] | None:
    """The settings of the run that goes on; None for a run that begins, or for another method.

    Raises
    ------
    InputError
        For the settings of another version.
    """
    if since is None or since.task.method != method:
        return None
    if since.task.settings.keys() != model.model_fields.keys():
        advice = "Go on with the version that wrote it, or start a new run"
        raise InputError(
            expected(f"checkpoint {since.path}", "the settings of this version", "those of another", advice)
        )
    return since.task.settings


def iterations_since(since: Checkpoint | None, more: int | None, iterations: int | None) -> list[str]:
    """The word for ``--set`` that says how long the run shall be; none where nobody asked.

    Raises
    ------
    InputError
        For both ``--iterations`` and ``--more``.
    """
    if iterations is not None and more is not None:
        raise InputError(expected("--more", "no --iterations beside it", iterations, "Leave one of them out"))
    if since is not None and more is not None:
        iterations = since.iteration + more
    return [] if iterations is None else [f"iterations={iterations}"]


def recorder_for(
    folder: Path | None,
    every: str,
    since: Checkpoint | None,
    series: Sequence[TiltSeries],
    method: str,
    settings: StageSettings,
) -> Recorder | None:
    """Make what writes the checkpoints of this run, once it has proved to continue that of ``since``."""
    from napari_dipmtv.io.checkpoints import Task, must_continue
    from napari_dipmtv.io.recorder import Every, Recorder

    rhythm = Every.parse(every)
    if folder is None:
        return None
    task = Task.of(series[0], method, settings, *series[1:])
    if "iterations" not in task.settings:
        raise InputError(expected("--checkpoint", "a method of many steps", method, "Leave it out"))
    if since is not None:
        must_continue(since, task)
    return Recorder(folder, task, rhythm, since=since)


def watched(
    recorder: Recorder | None, show: Callable[[State[Any]], None], asked: Callable[[], bool]
) -> tuple[Callable[[State[Any]], None], Callable[[], bool]]:
    """Join what is shown and what is recorded: ``on_state`` and ``should_stop`` of `napari_dipmtv.states.run`."""
    if recorder is None:
        return show, asked

    def on_state(state: State[Any]) -> None:
        show(state)
        recorder(state)

    def should_stop() -> bool:
        if asked():
            recorder.keep()  # between two steps, where a run can go on bit for bit
            return True
        return False

    return on_state, should_stop


def resumption(since: Checkpoint | None) -> dict[str, Any] | None:
    """What ``report.json`` tells of a run that was resumed."""
    if since is None:
        return None
    return {
        "checkpoint": since.path,
        "from_iteration": since.iteration,
        "seconds_before": since.seconds,
    }
