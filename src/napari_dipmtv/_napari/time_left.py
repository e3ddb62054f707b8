"""The pace of the last steps of a run to the time that is left."""

from __future__ import annotations

import time

# a step that took so many times the usual one was a pause of the machine, not of the work
LONGEST_STEP = 10.0


class TimeLeft:
    """Time left from the pace of the last steps; a machine that slept does not spoil it."""

    def __init__(self) -> None:
        self._begin = 0.0
        self._pace_s: float | None = None
        self._done = 0

    def begin(self) -> None:
        """A step begins now."""
        self._begin = time.monotonic()

    def step(self, iteration: int, total: int) -> float | None:
        """A step is done; gives the seconds left, or None before the pace is known."""
        took = time.monotonic() - self._begin
        if self._pace_s is None:
            # the first step carries the preparation and says nothing about the pace
            self._pace_s = took if self._done else None
        else:
            took = min(took, LONGEST_STEP * self._pace_s)
            self._pace_s += 0.1 * (took - self._pace_s)
        self._done += 1
        return None if self._pace_s is None else self._pace_s * (total - iteration)
