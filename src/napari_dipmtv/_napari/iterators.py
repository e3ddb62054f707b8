"""Single computations, and states whose snapshots need one more step, to iterators of states that a job runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

from napari_dipmtv.states import State


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


def _changed(state: State[Any], change: Callable[[Any], Any]) -> Any:
    return change(state.snapshot())
