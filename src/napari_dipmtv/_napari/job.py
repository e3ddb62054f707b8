"""An iterator of states to a run in a worker thread that the window can watch, pause, stop and outlive.

The worker touches no Qt object: it leaves what it has to say in a mailbox, and a timer of the GUI thread collects it.
So a thousand quick steps cost the window no more than one, and nothing is emitted into a window that is gone.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from qtpy.QtCore import QObject, QTimer, Signal

from napari_dipmtv._napari import garbage
from napari_dipmtv._napari.turns import turns
from napari_dipmtv._napari.worker import News, Worker
from napari_dipmtv.errors import InputError
from napari_dipmtv.states import Result, State

POLL_MS = 40
PIECES_MS = 10  # between two looks at whether a preview is shown
QUIT_WAIT_S = 5.0


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

    def __init__(self) -> None:
        super().__init__()
        self.name = ""
        self.progress = Progress()
        self.run_id = 0
        self.preview_cost_s = 0.0  # how long the window was busy with the last preview
        self.dropping = False  # somebody wants nothing of this run, unlike at a shutdown
        self._worker: Worker | None = None
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
        self,
        name: str,
        make_states: Callable[[], Iterator[State[Any]]],
        *,
        stream_s: float | None = None,
        keeps: bool = False,
    ) -> int:
        """Start a run; ``make_states`` is called in the worker thread, so that long preparation blocks nothing.

        Parameters
        ----------
        name : str
            What is done, for the person who waits.
        make_states : callable
            Gives the iterator of states. It must own its input: frozen data, copied settings.
        stream_s : float, optional
            Shortest time between two snapshots that are sent on the way, at most as often as the window bears; None
            sends none.
        keeps : bool
            A part of the work is of use: what an error leaves of it is kept, and said to be a part.

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
        garbage.hold()
        self.name, self.progress = name, Progress(stage=name)
        self.run_id += 1
        self.preview_cost_s = 0.0
        self.dropping = False
        self._worker = Worker(make_states, stream_s, keeps=keeps)
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
            self.dropping = self._worker.discard = True
            self._worker.halt()

    def stream_every(self, seconds: float | None) -> None:
        """Send snapshots of this run at most so often from now on, None sends no more; it goes on computing."""
        if self._worker is not None:
            self._worker.preview_pause_s = seconds

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
        garbage.release()
        return not worker.is_alive()

    def _poll(self) -> None:
        worker = self._worker
        if worker is None or turns().worked:  # the next one is soon enough
            return
        news, shot, outcome = worker.collect()
        if news and not worker.discard:
            self._note(news)
            self.stated.emit(self.run_id, self.progress)
        if shot is not None and not worker.discard:
            self._show(worker, shot)
        if outcome is not None:
            self._end(worker, outcome)

    def _note(self, news: list[News]) -> None:
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

    def _show(self, worker: Worker, shot: Any) -> None:
        """Hand a preview on and measure how long the window is busy with it, painting included."""
        begin = time.monotonic()

        def shown() -> None:
            if turns().busy:  # it comes in pieces
                QTimer.singleShot(PIECES_MS, shown)
                return
            self.preview_cost_s = time.monotonic() - begin
            worker.shown(self.preview_cost_s)

        self.preview.emit(self.run_id, shot)
        # a timer of 0 ms fires after the paint events that are already posted; the second one after those they post
        QTimer.singleShot(0, lambda: QTimer.singleShot(0, shown))

    def _end(self, worker: Worker, outcome: Result[Any] | str) -> None:
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
        _release_later()

    def _release(self) -> None:
        if Job._busy is self:
            Job._busy = None


def _release_later() -> None:
    """Release when outdated layers are removed: napari looks for garbage then, among everything in memory if let."""
    if turns().busy:
        QTimer.singleShot(PIECES_MS, _release_later)
    else:
        garbage.release()
