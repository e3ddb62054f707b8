"""An iterator of states to a run in a worker thread that the window can watch, pause, stop and outlive.

The worker touches no Qt object: it leaves what it has to say in a mailbox, and a timer of the GUI thread collects it.
So a thousand quick steps cost the window no more than one, and nothing is emitted into a window that is gone.
"""

from __future__ import annotations

import logging
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from qtpy.QtCore import QObject, QTimer, Signal

from napari_dipmtv._napari.time_left import TimeLeft
from napari_dipmtv.errors import DipmtvError, InputError
from napari_dipmtv.states import Result, State, run

logger = logging.getLogger(__name__)

POLL_MS = 40
PREVIEW_SHARE = 0.05  # of the computing time that previews may take
QUIT_WAIT_S = 5.0
LONGEST_STEP = (
    10.0  # a step that took so many times the usual one was a pause of the machine, not of the work
)


@dataclass(slots=True)
class Progress:
    """Where a run stands: what the job bar and the loss curves show."""

    stage: str = ""
    iteration: int = 0
    total: int = 0
    left_s: float | None = None
    losses: dict[str, list[tuple[int, float]]] = field(default_factory=dict)  # name: (iteration, value)


class Job(QObject):
    """The one run of a viewer; at most one of all jobs of the process runs at a time.

    Signals carry the number of the run. Of a cancelled or superseded run nothing but ``stopped`` with None arrives.
    """

    started = Signal(int)
    stated = Signal(int, object)  # Progress
    preview = Signal(int, object)  # what State.snapshot gave, made in the worker thread
    finished = Signal(int, object)  # Result
    stopped = Signal(int, object)  # Result, or None when cancelled
    failed = Signal(int, str)  # one sentence
    ended = Signal(int)  # after any of the three

    _busy: Job | None = None  # the one that runs, in this process

    def __init__(self, min_preview_s: Callable[[], float] = lambda: 2.0) -> None:
        super().__init__()
        self.name = ""
        self.progress = Progress()
        self.run_id = 0
        self.preview_cost_s = 0.0  # how long the window was busy with the last preview
        self._min_preview_s = min_preview_s
        self._worker: _Worker | None = None
        self._timer = QTimer(self)
        self._timer.setInterval(POLL_MS)
        self._timer.timeout.connect(self._poll)

    @property
    def running(self) -> bool:
        """True from start until the end has been announced."""
        return self._worker is not None

    @property
    def paused(self) -> bool:
        """True while the run waits."""
        return self._worker is not None and not self._worker.go_on.is_set()

    @property
    def why_not(self) -> str:
        """Why a run cannot start now; empty when it can."""
        busy = Job._busy
        return (
            "" if busy is None else f"'{busy.name}' is running. Wait for it, or stop it: one run at a time."
        )

    def start(
        self, name: str, make_states: Callable[[], Iterator[State[Any]]], *, stream: bool = False
    ) -> int:
        """Start a run; ``make_states`` is called in the worker thread, so that long preparation blocks nothing.

        Parameters
        ----------
        name : str
            What is done, for the person who waits.
        make_states : callable
            Gives the iterator of states. It must own its input: frozen data, copied settings.
        stream : bool
            True sends snapshots on the way, as often as the window bears.

        Returns
        -------
        int
            Number of the run.

        Raises
        ------
        InputError
            When a run is going on in this process.
        """
        if self.why_not:
            raise InputError(self.why_not)
        Job._busy = self
        self.name, self.progress = name, Progress(stage=name)
        self.run_id += 1
        self.preview_cost_s = 0.0
        self._worker = _Worker(make_states, self._min_preview_s() if stream else None)
        self._worker.start()
        self._timer.start()
        self.started.emit(self.run_id)
        return self.run_id

    def pause(self, paused: bool = True) -> None:
        """Hold the run after the current step, or go on."""
        if self._worker is not None:
            (self._worker.go_on.clear if paused else self._worker.go_on.set)()

    def stop(self) -> None:
        """End after the current step and keep what was reached."""
        if self._worker is not None:
            self._worker.halt()

    def cancel(self) -> None:
        """End after the current step and drop what was reached."""
        if self._worker is not None:
            self._worker.discard = True
            self._worker.halt()

    def stop_streaming(self) -> None:
        """Send no more snapshots of this run; it goes on computing."""
        if self._worker is not None:
            self._worker.preview_pause_s = None

    def shutdown(self) -> bool:
        """Cancel, wait for the worker at most five seconds and fall silent: a window or the program ends."""
        self._timer.stop()
        worker, self._worker = self._worker, None
        if worker is None:
            return True
        worker.discard = True
        worker.halt()
        worker.join(QUIT_WAIT_S)
        self._release()
        return not worker.is_alive()

    def _poll(self) -> None:
        worker = self._worker
        if worker is None:
            return
        news, shot, outcome = worker.collect()
        if news and not worker.discard:
            self._note(news)
            self.stated.emit(self.run_id, self.progress)
        if shot is not None and not worker.discard:
            self._show(worker, shot)
        if outcome is not None:
            self._end(worker, outcome)

    def _note(self, news: list[_News]) -> None:
        for item in news:
            for name, value in item.losses.items():
                self.progress.losses.setdefault(name, []).append((item.iteration, value))
        last = news[-1]
        self.progress.stage = last.stage or self.name
        self.progress.iteration, self.progress.total, self.progress.left_s = (
            last.iteration,
            last.total,
            last.left_s,
        )

    def _show(self, worker: _Worker, shot: Any) -> None:
        """Hand a preview on and measure how long the window is busy with it, painting included."""
        begin = time.monotonic()

        def shown() -> None:
            self.preview_cost_s = time.monotonic() - begin
            worker.shown(self.preview_cost_s)

        self.preview.emit(self.run_id, shot)
        # a timer of 0 ms fires after the paint events that are already posted; the second one after those they post
        QTimer.singleShot(0, lambda: QTimer.singleShot(0, shown))

    def _end(self, worker: _Worker, outcome: Result[Any] | str) -> None:
        self._timer.stop()
        self._worker = None
        self._release()
        if worker.discard:
            self.stopped.emit(self.run_id, None)
        elif isinstance(outcome, str):
            self.failed.emit(self.run_id, outcome)
        elif outcome.stopped:
            self.stopped.emit(self.run_id, outcome)
        else:
            self.finished.emit(self.run_id, outcome)
        self.ended.emit(self.run_id)

    def _release(self) -> None:
        if Job._busy is self:
            Job._busy = None


@dataclass(frozen=True, slots=True)
class _News:
    iteration: int
    total: int
    losses: dict[str, float]
    stage: str
    left_s: float | None


class _Worker(threading.Thread):
    """Consumes the states; everything that the GUI thread may read is guarded by a lock or is an event."""

    def __init__(
        self, make_states: Callable[[], Iterator[State[Any]]], preview_pause_s: float | None
    ) -> None:
        # daemon: a single step longer than the wait at the end of the program must not keep a windowless process alive
        super().__init__(name="napari-dipmtv run", daemon=True)
        self.go_on = threading.Event()
        self.go_on.set()
        self.discard = False
        self.preview_pause_s = preview_pause_s  # None: no previews
        self._make_states = make_states
        self._halt = threading.Event()
        self._lock = threading.Lock()
        self._news: list[_News] = []
        self._shot: Any = None
        self._outcome: Result[Any] | str | None = None
        self._in_flight = False
        self._previews = 0
        self._snapshot_s = 0.0
        self._next_shot = 0.0
        self._clock = TimeLeft()

    def run(self) -> None:
        outcome: Result[Any] | str
        try:
            self._clock.begin()
            outcome = run(self._make_states(), on_state=self._on_state, should_stop=self._should_stop)
        except Exception as error:
            outcome = sentence(error)
            if not isinstance(error, DipmtvError):
                logger.error("run failed\n%s", traceback.format_exc())
        # outside of the except block: the exception, and with it the frames and tensors of the run, is gone here
        with self._lock:
            self._outcome = outcome

    def halt(self) -> None:
        self._halt.set()
        self.go_on.set()

    def collect(self) -> tuple[list[_News], Any, Result[Any] | str | None]:
        with self._lock:
            news, self._news = self._news, []
            shot, self._shot = self._shot, None
            return news, shot, self._outcome

    def shown(self, seconds: float) -> None:
        """The window has shown the last preview and was busy so long with it."""
        if self._previews == 1:
            seconds = (
                0.0  # the first one also makes layers and compiles shaders, and says nothing about the next
            )
        cost = self._snapshot_s + seconds
        with self._lock:
            self._next_shot = time.monotonic() + max(self.preview_pause_s or 0.0, cost / PREVIEW_SHARE)
            self._in_flight = False

    def _on_state(self, state: State[Any]) -> None:
        left = self._clock.step(state.iteration, state.total)
        losses = {name: float(value) for name, value in state.losses.items()}
        with self._lock:
            self._news.append(_News(state.iteration, state.total, losses, state.stage, left))
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
        "Nothing was changed; the details are in the log. Change the settings and start again."
    )
