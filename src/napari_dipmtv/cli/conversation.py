"""What a command says: progress on stderr, JSON or plain lines on stdout, one sentence for each error."""

from __future__ import annotations

import functools
import json
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import Any, ParamSpec, TypeVar

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from napari_dipmtv.errors import DipmtvError
from napari_dipmtv.io.guard import plain
from napari_dipmtv.states import State

P = ParamSpec("P")
R = TypeVar("R")

BAD_INPUT = 2
FAILED_ON_THE_WAY = 3  # what had been reached is written
INTERRUPTED = 130
_SHOWN_LOSSES = 2  # more do not fit beside the bar


def speaks(command: Callable[P, R]) -> Callable[P, R]:
    """Make a command end with one sentence and exit code 2 for what the user can mend, 130 for Ctrl-C.

    Warnings become sentences on stderr. With ``as_json`` an error is also the JSON object on stdout.
    """

    @functools.wraps(command)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        with warnings.catch_warnings():
            warnings.showwarning = _say_warning
            try:
                return command(*args, **kwargs)
            except DipmtvError as error:
                if kwargs.get("as_json"):
                    _print_json({"error": str(error)})
                _stderr().print(Text(f"Error: {error}", style="bold red"), soft_wrap=True)
                raise typer.Exit(BAD_INPUT) from error
            except KeyboardInterrupt:
                _stderr().print("Interrupted.")
                raise typer.Exit(INTERRUPTED) from None

    return wrapped


def finish(facts: Mapping[str, Any], lines: str, as_json: bool) -> None:
    """Say how it went: all facts for a machine, or a few lines for a person."""
    if as_json:
        _print_json(facts)
    else:
        Console().print(lines, soft_wrap=True, highlight=False)


def note(text: str, as_json: bool) -> None:
    """Tell a person something in passing, on stderr."""
    if not as_json:
        _stderr().print(text, soft_wrap=True, highlight=False)


def duration(seconds: float) -> str:
    """A time for people: 40 s, 12 min, 3.5 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


class Watch:
    """Follows the states of one computation: what ``on_state`` wants."""

    def __init__(self, show: Callable[[State[Any]], None], say: Callable[[str], None]) -> None:
        self._show, self.say = show, say
        self._done = self._total = 0
        self.begun = False

    def __call__(self, state: State[Any]) -> None:
        self._done, self._total, self.begun = state.iteration, state.total, True
        self._show(state)

    def must_be_complete(self) -> None:
        """Go on with the Ctrl-C that ended a computation early, where a part of the result is of no use."""
        if self._done < self._total:
            raise KeyboardInterrupt


@contextmanager
def progress(title: str, as_json: bool) -> Iterator[Watch]:
    """Show a bar with rate, time left and losses while the block runs; nothing where a machine listens."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        _Rate(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[losses]}"),
    )
    with Progress(*columns, console=_stderr(), disable=as_json, speed_estimate_period=10) as bar:
        task = bar.add_task(title, total=None, losses="")

        def show(state: State[Any]) -> None:
            shown = list(state.losses.items())[:_SHOWN_LOSSES]
            losses = (
                "  ".join(f"{name} {value:.4g}" for name, value in shown) or bar.tasks[task].fields["losses"]
            )
            if (
                bar.tasks[task].total is None and state.iteration > 1
            ):  # resumed: earlier steps say nothing of the pace
                bar.reset(task, total=state.total, completed=state.iteration)
            bar.update(
                task,
                completed=state.iteration,
                total=state.total,
                losses=losses,
                description=state.stage or title,
            )

        yield Watch(show, lambda text: bar.update(task, description=text))
        if bar.tasks[task].total is None:  # a stage that reports no steps
            bar.update(task, completed=1, total=1)


@contextmanager
def stoppable(watch: Watch) -> Iterator[Callable[[], bool]]:
    """Let Ctrl-C, or the request to end that a cluster or a shutdown sends, wait for the step that is being computed.

    A state between two steps is one that a run can go on from; the second Ctrl-C, and one before the first state,
    ends at once.

    Yields
    ------
    callable
        What ``should_stop`` of `napari_dipmtv.states.run` wants.
    """
    asked = threading.Event()

    def ask(number: int, frame: FrameType | None) -> None:
        if asked.is_set() or not watch.begun:
            signal.default_int_handler(number, frame)
        asked.set()
        watch.say("stopping after this step")

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked.is_set
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _Rate(ProgressColumn):
    """Steps per second, or seconds per step when they are slow."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        if not speed:
            return Text("")
        return Text(f"{speed:.1f}/s" if speed >= 1 else f"{1 / speed:.1f} s each")


def _say_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    _stderr().print(Text(f"Note: {message}", style="yellow"), soft_wrap=True)


def _stderr() -> Console:
    return Console(stderr=True, file=sys.stderr)


def _print_json(facts: Mapping[str, Any]) -> None:
    typer.echo(json.dumps(plain(facts), ensure_ascii=False, allow_nan=False))
