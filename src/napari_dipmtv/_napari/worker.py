"""An iterator of states, consumed in a thread, to news, previews and one outcome that another thread may collect."""

from __future__ import annotations

import logging
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from napari_dipmtv._napari import torch_library
from napari_dipmtv._napari.iterators import sentence
from napari_dipmtv._napari.time_left import TimeLeft
from napari_dipmtv.errors import DipmtvError
from napari_dipmtv.states import Result, State, run

logger = logging.getLogger(__name__)

PREVIEW_SHARE = 0.05  # of the computing time that previews may take
USUAL_SWITCH_S = sys.getswitchinterval()
# after which a run lets the window go on: to show anything the window takes and gives Python's lock dozens of times
SWITCH_S = 0.001


@dataclass(frozen=True, slots=True)
class News:
    """What one state says; plain numbers only."""

    iteration: int
    total: int
    losses: dict[str, float]
    stage: str
    left_s: float | None


class Worker(threading.Thread):
    """Consumes the states; everything that the GUI thread may read is guarded by a lock or is an event.

    Parameters
    ----------
    make_states : callable
        Called in this thread.
    preview_pause_s : float, optional
        Shortest time between two previews; None sends none.
    keeps : bool
        A part of the work is of use; else a run that an error ends early has failed.
    """

    def __init__(
        self,
        make_states: Callable[[], Iterator[State[Any]]],
        preview_pause_s: float | None,
        *,
        keeps: bool = False,
    ) -> None:
        # daemon: a single step longer than the wait at the end of the program must not keep a windowless process alive
        super().__init__(name="napari-dipmtv run", daemon=True)
        self.go_on = threading.Event()
        self.go_on.set()
        self.discard = False
        self.preview_pause_s = preview_pause_s  # None: no previews
        self._make_states, self._keeps = make_states, keeps
        self._halt = threading.Event()
        self._lock = threading.Lock()
        self._news: list[News] = []
        self._shot: Any = None
        self._outcome: Result[Any] | str | None = None
        self._in_flight = False
        self._previews = 0
        self._snapshot_s = 0.0
        self._next_shot = 0.0
        self._clock = TimeLeft()

    def run(self) -> None:
        """Run the states to their end and leave the outcome: a result, or the sentence of what went wrong."""
        outcome: Result[Any] | str
        sys.setswitchinterval(SWITCH_S)
        try:
            torch_library.load()
            self._clock.begin()
            result = run(self._make_states(), on_state=self._on_state, should_stop=self._should_stop)
            failed = bool(result.notes) and not self._keeps
            outcome = " ".join(result.notes) if failed else result
        except Exception as error:
            outcome = sentence(error)
            if not isinstance(error, DipmtvError):
                logger.error("run failed\n%s", traceback.format_exc())
        finally:
            sys.setswitchinterval(USUAL_SWITCH_S)
        # outside of the except block: the exception, and with it the frames and tensors of the run, is gone here
        with self._lock:
            self._outcome = outcome

    def halt(self) -> None:
        """End after the current step, also when paused."""
        self._halt.set()
        self.go_on.set()

    def collect(self) -> tuple[list[News], Any, Result[Any] | str | None]:
        """Take what is new: states, a preview or None, and the outcome or None."""
        with self._lock:
            news, self._news = self._news, []
            shot, self._shot = self._shot, None
            return news, shot, self._outcome

    def shown(self, seconds: float) -> None:
        """The window has shown the last preview and was busy so long with it."""
        if self._previews == 1:
            # the first one also makes layers and compiles shaders, and says nothing about the next
            seconds = 0.0
        cost = self._snapshot_s + seconds
        with self._lock:
            self._next_shot = time.monotonic() + max(self.preview_pause_s or 0.0, cost / PREVIEW_SHARE)
            self._in_flight = False

    def _on_state(self, state: State[Any]) -> None:
        left = self._clock.step(state.iteration, state.total)
        losses = {name: float(value) for name, value in state.losses.items()}
        with self._lock:
            self._news.append(News(state.iteration, state.total, losses, state.stage, left))
            wanted = self.preview_pause_s is not None and not self._in_flight
            wanted = wanted and time.monotonic() >= self._next_shot and state.iteration < state.total
        if wanted and not self._halt.is_set():
            begin = time.monotonic()
            shot = state.snapshot()
            with self._lock:
                self._snapshot_s = time.monotonic() - begin
                self._shot, self._in_flight = shot, True
                self._previews += 1

    def _should_stop(self) -> bool:
        self.go_on.wait()
        self._clock.begin()
        return self._halt.is_set()
