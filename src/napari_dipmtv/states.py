"""Long work as an iterator of states: the consumer decides when to look, draw, save and stop."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

from napari_dipmtv.errors import ComputeError, DeviceError, DipmtvError

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


@dataclass(frozen=True, slots=True, eq=False)
class State(Generic[T_co]):
    """Where a long computation stands after one step.

    Attributes
    ----------
    iteration, total : int
        Steps done and steps asked for.
    losses : mapping of str to float
        Named figures of merit of this step (data, tv, validation, residual, ...).
    snapshot : callable
        Copies the result reached so far; costs nothing until called.
    checkpoint : callable, optional
        Gives everything needed to go on later as a flat mapping of arrays and plain numbers.
    stage : str
        Which part of the work this is, for the person who waits.
    """

    iteration: int
    total: int
    losses: Mapping[str, float]
    snapshot: Callable[[], T_co]
    checkpoint: Callable[[], dict[str, Any]] | None = None
    stage: str = ""


class EndedEarly(Protocol):
    """What tells whether a computation came to its end."""

    @property
    def stopped(self) -> bool:
        """True when it did not."""

    @property
    def fault(self) -> DipmtvError | None:
        """What ended it; None for a person."""


@dataclass(frozen=True, slots=True, eq=False)
class Result(Generic[T_co]):
    """What a finished (or stopped) computation gives: the value, the loss curves and how it went."""

    value: T_co
    losses: Mapping[str, list[float]]
    iterations: int
    total: int
    seconds: float
    stopped: bool = False
    notes: tuple[str, ...] = field(default=())
    fault: DipmtvError | None = None

    def whole(self) -> T_co:
        """Give the value of a computation of which a part is of no use; see `must_be_whole`."""
        must_be_whole(self)
        return self.value


def must_be_whole(result: EndedEarly) -> None:
    """Go on with what ended a computation early: `run` swallowed it to keep what had been reached.

    Raises
    ------
    ComputeError, DeviceError
        When it failed on the way.
    KeyboardInterrupt
        When it was stopped.
    """
    if result.fault is not None:
        raise result.fault
    if result.stopped:
        raise KeyboardInterrupt


def never() -> bool:
    """Never stop."""
    return False


def run(
    states: Iterator[State[T]],
    *,
    on_state: Callable[[State[T]], None] | None = None,
    should_stop: Callable[[], bool] = never,
) -> Result[T]:
    """Run an iterator of states to its end, or until asked to stop or interrupted; keep what was reached.

    Parameters
    ----------
    states : iterator of State
        At least one state; closed in every case, so that the device is released.
    on_state : callable, optional
        Called with each state.
    should_stop : callable
        Asked after each state; True ends the run and keeps the snapshot.

    Returns
    -------
    Result
        ``stopped`` is True after ``should_stop``, Ctrl-C (`KeyboardInterrupt`), a `ComputeError` or a `DeviceError`
        (which is the ``fault``, with its words in ``notes``); all but the first are swallowed only when a state has
        been reached whose snapshot can still be taken.
    """
    start = time.monotonic()
    last: State[T] | None = None
    curves: dict[str, list[float]] = {}
    stopped = False
    fault: DipmtvError | None = None
    try:
        for state in states:
            last = state
            for name, loss in state.losses.items():
                curves.setdefault(name, []).append(float(loss))
            if on_state is not None:
                on_state(state)
            if should_stop():
                stopped = state.iteration < state.total
                break
        if last is None:
            raise RuntimeError("a computation gave no state at all")
        value = last.snapshot()
    except (KeyboardInterrupt, ComputeError, DeviceError) as reason:
        if last is None:
            raise
        stopped = True
        fault = None if isinstance(reason, KeyboardInterrupt) else reason
        value = _rescued(last, reason)
    finally:
        close = getattr(states, "close", None)
        if close is not None:
            close()
    notes = () if fault is None else (str(fault),)
    return Result(value, curves, last.iteration, last.total, time.monotonic() - start, stopped, notes, fault)


def _rescued(last: State[T], reason: BaseException) -> T:
    """The snapshot of the last state; where the device is dead and gives it no more, the reason is raised."""
    try:
        return last.snapshot()
    except Exception:  # the second error of a dead device says less than the first
        raise reason from None
