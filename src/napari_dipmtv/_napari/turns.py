"""Work on the window that comes in pieces to one piece per turn of its event loop, so that it answers in between."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator

from qtpy.QtCore import QObject, QTimer


class Turns(QObject):
    """Goes through iterators that do a piece of work up to each ``yield``; the window paints between two pieces.

    Where the work is no longer ``wanted``, as that of a window that was closed, the rest is left.
    """

    def __init__(self, wanted: Callable[[], bool]) -> None:
        super().__init__()
        self._wanted = wanted
        self._work: Iterator[None] | None = None
        self._resting = False
        self._timer = QTimer(self)  # of 0 ms: fires when all events that are posted have been seen to
        self._timer.timeout.connect(self._on_turn)

    @property
    def busy(self) -> bool:
        """True while pieces are left."""
        return self._work is not None

    def take(self, work: Iterator[None]) -> None:
        """Begin with some work, after what is left of the last."""
        self.finish()
        self._work = work
        self._timer.start(0)

    def finish(self) -> None:
        """Do all that is left now."""
        while self.busy:
            self._piece()

    def drop(self) -> None:
        """Leave what is left undone."""
        self._timer.stop()
        self._work = None

    def _on_turn(self) -> None:
        self._resting = (
            not self._resting
        )  # every other turn is left to the layouts and paints that a piece asks for
        if not self._wanted():
            self.drop()
        elif not self._resting:
            self._piece()

    def _piece(self) -> None:
        work = self._work
        if work is not None and next(work, self) is self and self._work is work:  # nothing is left
            self.drop()


def at_once(work: Iterator[None]) -> None:
    """Do all pieces in one turn."""
    deque(work, maxlen=0)
