"""Single computations, and states whose snapshots need one more step, to iterators of states that a job runs."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

from napari_dipmtv.errors import ComputeError, DipmtvError
from napari_dipmtv.states import State

logger = logging.getLogger(__name__)


def once(stage: str, compute: Callable[[], Any]) -> Iterator[State[Any]]:
    """A single long computation as an iterator of one state."""
    value = compute()
    yield State(1, 1, {}, lambda: value, stage=stage)


def mapped(states: Iterator[State[Any]], change: Callable[[Any], Any]) -> Iterator[State[Any]]:
    """The same states with snapshots that are changed on the way, in the thread that takes them."""
    try:
        for state in states:
            yield replace(state, snapshot=partial(_changed, state, change))
    finally:
        states.close()  # type: ignore[attr-defined]


def rescued(states: Iterator[State[Any]]) -> Iterator[State[Any]]:
    """The same states; an error that nobody foresaw ends them in a way that keeps the last one (`states.run`).

    Raises
    ------
    ComputeError
        For an error behind the first state. It is raised outside of the except block, so that the frames and tensors
        of the failed step are gone before the snapshot is taken.
    """
    reached = False
    try:
        for state in states:
            reached = True
            yield state
        return
    except Exception as error:
        if isinstance(error, DipmtvError) or not reached:
            raise
        logger.error("run failed\n%s", traceback.format_exc())
        words = sentence(error)
        traceback.clear_frames(error.__traceback__)
    finally:
        states.close()  # type: ignore[attr-defined]
    raise ComputeError(words)


def with_threads(states: Iterator[State[Any]], count: int) -> Iterator[State[Any]]:
    """The same states, computed with so many threads of torch (0: as many as it likes), which are given back."""
    if not count:
        yield from states
        return
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield from states
    finally:
        torch.set_num_threads(before)


def sentence(error: Exception) -> str:
    """What a person needs to know of an error."""
    if isinstance(error, DipmtvError):
        return str(error)
    name = type(error).__name__
    if isinstance(error, MemoryError) or name == "OutOfMemoryError":
        return (
            "memory: expected enough for this run, got an out-of-memory error. "
            "Use fewer filters, a smaller field, or another device."
        )
    return (
        f"run: expected a result, got {name}: {error}. "
        "The details are in the log. Change the settings and start again."
    )


def _changed(state: State[Any], change: Callable[[Any], Any]) -> Any:
    return change(state.snapshot())
