"""Work on the window that comes in pieces to one piece per turn of its event loop, so that it answers in between."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, wait
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeVar

from napari.utils.notifications import show_error
from qtpy.QtCore import QCoreApplication, QObject, QTimer, Signal

from napari_dipmtv._napari import garbage
from napari_dipmtv.errors import DipmtvError

T = TypeVar("T")
# does a piece of work up to each ``yield``; waits for a future it yields, and in any case for the next turn
Pieces = Iterator[Future[Any] | None]
Made = Generator[Future[Any] | None, None, T]  # pieces that make something: ``yield from`` gives it

ALONE: Future[None] = Future()  # yielded before what takes a turn of its own
ALONE.set_result(None)
ENOUGH_S = 0.02  # of processor time in one turn; many small pieces, each drawn, would take longer than one
BUSY_S = 0.004  # a turn in which something else took longer is left to that
MOST_RESTS = 6  # turns that are left to others in a row: who draws without end must not keep all else waiting
WAIT_MS = 5  # between two looks at what is computed in a thread


@dataclass(slots=True, eq=False)
class Work:
    """Pieces that one owner wants to have done, under a name."""

    owner: object
    name: str
    pieces: Pieces
    wanted: Callable[[], bool]
    awaited: Future[Any] | None = None

    @property
    def ready(self) -> bool:
        """True unless it waits for a thread."""
        return self.awaited is None or self.awaited.done()


class Turns(QObject):
    """Queue of all work on the windows of this process: each owner's in order, a little in every turn that is free.

    ``emptied`` is emitted with an owner of whose work nothing is left.
    """

    emptied = Signal(object)

    def __init__(self) -> None:
        super().__init__()
        self._works: list[Work] = []
        self._afterwards: list[tuple[Future[Any], Callable[[], None]]] = []
        self._working = False  # a piece may run an event loop of its own
        self.worked = False  # there was a piece in this turn
        self._rests = 0
        self._seen_s = 0.0  # processor time at the end of the last turn
        self._timer = QTimer(self)  # of 0 ms: fires when all events that are posted have been seen to
        self._timer.timeout.connect(self._on_turn)
        application = QCoreApplication.instance()
        if application is not None:
            application.aboutToQuit.connect(self._leave)

    def take(self, owner: object, name: str, pieces: Pieces, wanted: Callable[[], bool]) -> None:
        """Do some work behind all that the owner wants already; it takes the place of older work of the same name.

        Parameters
        ----------
        owner : object
        name : str
        pieces : iterator
        wanted : callable
            Asked before every piece; where the answer is no, as that of a window that was closed, the rest is left.
        """
        self.drop(owner, name)
        self._works.append(Work(owner, name, pieces, wanted))
        if not self._timer.isActive():
            self._seen_s = time.thread_time()
            self._timer.start(0)

    def drop(self, owner: object, *names: str) -> bool:
        """Leave what is left of some work undone, or of all where no name is given; True where there was some."""
        dropped = [work for work in self._works if work.owner is owner and (not names or work.name in names)]
        for work in dropped:
            self._works.remove(work)
        return bool(dropped)

    @property
    def busy(self) -> bool:
        """True while something of anybody is left."""
        return bool(self._works)

    def when_done(self, future: Future[Any], call: Callable[[], None]) -> None:
        """Call something in the thread of the windows when a thread that nobody waits for has ended."""
        self._afterwards.append((future, call))
        self._timer.start(WAIT_MS)

    def has(self, owner: object, name: str | None = None) -> bool:
        """True while something of an owner is left, or of one work of it."""
        return any(work.owner is owner and name in (None, work.name) for work in self._works)

    def finish(self, owner: object) -> None:
        """Do all that is left of an owner now; within a piece of work, the rest follows that."""
        while (
            not self._working
            and (work := next((work for work in self._works if work.owner is owner), None)) is not None
        ):
            if work.awaited is not None:
                wait([work.awaited])
            self._piece(work)

    def _leave(self) -> None:
        """End what waits while there is still a program."""
        self._works.clear()

    def _on_turn(self) -> None:
        begin, self.worked = time.thread_time(), False
        self._tidy()
        ready = self._ready()
        if ready is not None and not self._working:
            if begin - self._seen_s > BUSY_S and self._rests < MOST_RESTS:
                self._rests += 1
            else:
                self._rests = 0
                self.worked = True
                self._piece(ready)
                while (
                    ready in self._works and ready.awaited is None and time.thread_time() - begin < ENOUGH_S
                ):
                    self._piece(ready)
        if not (self._works or self._afterwards or self.worked):
            self._timer.stop()
        else:
            waiting = not self.worked and self._ready() is None
            self._timer.setInterval(WAIT_MS if waiting else 0)
        self._seen_s = time.thread_time()

    def _tidy(self) -> None:
        """Leave what nobody wants any more, and do what had to wait for a thread; neither takes time."""
        for work in [work for work in self._works if not work.wanted()]:
            self._end(work)
        for ended in [each for each in self._afterwards if each[0].done()]:
            self._afterwards.remove(ended)
            ended[1]()

    def _ready(self) -> Work | None:
        """The first work that waits for nothing, neither for a thread nor for earlier work of its owner."""
        owners: list[object] = []
        for work in self._works:
            if not any(work.owner is owner for owner in owners):
                if work.ready:
                    return work
                owners.append(work.owner)
        return None

    def _piece(self, work: Work) -> None:
        self._working, over = True, True
        try:
            if work.wanted():
                work.awaited = next(work.pieces)
                over = False
        except StopIteration:
            pass
        except DipmtvError as error:
            show_error(str(error))
        finally:
            self._working = False
            if over:
                self._end(work)

    def _end(self, work: Work) -> None:
        if work in self._works:  # it may have dropped itself
            self._works.remove(work)
        if not self.has(work.owner):
            self.emptied.emit(work.owner)


@cache
def turns() -> Turns:
    """The one queue of this process; made in the thread of the windows."""
    return Turns()


def aside(compute: Callable[[], T]) -> Made[T]:
    """Compute in a thread of its own; ``yield from`` gives the value, or raises what went wrong."""
    future: Future[T] = Future()

    def fill() -> None:
        try:
            future.set_result(compute())
        except BaseException as error:
            future.set_exception(error)

    garbage.hold()
    threading.Thread(target=fill, name="napari-dipmtv layers", daemon=True).start()
    try:
        yield future
    finally:
        if future.done():
            garbage.release()
        else:  # nobody wants it any more
            turns().when_done(future, garbage.release)
    return future.result()
