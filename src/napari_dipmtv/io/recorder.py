"""The states of a run to a checkpoint now and then, as often as the person asked for."""

from __future__ import annotations

import re
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from napari_dipmtv.errors import InputError, WriteError, expected
from napari_dipmtv.io.checkpoints import Checkpoint, Task, save_checkpoint
from napari_dipmtv.states import State


class CheckpointWarning(UserWarning):
    """A checkpoint that could not be written; the run goes on."""


@dataclass(frozen=True, slots=True)
class Every:
    """How often: after so many ``iterations``, or after so many ``seconds``."""

    iterations: int | None = None
    seconds: float | None = None

    @classmethod
    def parse(cls, text: str) -> Every:
        """Read "50" (iterations), "90s", "10min" or "1h"; raises `InputError` for anything else."""
        match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(s|min|h)?", text.strip())
        number = float(match[1]) if match else 0.0
        unit = match[2] if match else None
        if number <= 0 or (unit is None and number != int(number)):
            advice = "Write a whole number, or a number with s, min or h behind it"
            raise InputError(
                expected("checkpoint interval", "iterations or a time, e.g. 50 or 10min", repr(text), advice)
            )
        if unit is None:
            return cls(iterations=int(number))
        return cls(seconds=number * {"s": 1, "min": 60, "h": 3600}[unit])


class Recorder:
    """Follows the states of a run and writes a checkpoint now and then: what ``on_state`` of `run` may be.

    The last state of a run that came to its end is written by `keep` only, so that whoever calls it after saving the
    volume can be sure of either the volume or something left to do.

    Parameters
    ----------
    folder : Path
        Made when missing. Two files stay in it.
    task : Task
    every : Every
    since : Checkpoint, optional
        Where this process goes on from.
    clock : callable
        Seconds, monotonic.
    """

    def __init__(
        self,
        folder: Path,
        task: Task,
        every: Every,
        *,
        since: Checkpoint | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.folder, self.task, self.every = Path(folder), task, every
        self.losses: dict[str, list[float]] = {k: list(v) for k, v in since.losses.items()} if since else {}
        self._before = since.seconds if since else 0.0
        self._clock = clock
        self._begin = self._written = clock()
        self._reached: Checkpoint | State[Any] | None = None  # what is not written yet

    def __call__(self, state: State[Any]) -> None:
        """Take note of a state, and write it when it is time."""
        for name, loss in state.losses.items():
            self.losses.setdefault(name, []).append(float(loss))
        if state.checkpoint is None:  # the preparation of a run; it begins again in seconds
            return
        self._reached = state
        if state.iteration == state.total:
            self._reached = self._checkpoint(state)  # now: behind its last state a run frees its device
        elif self._due(state.iteration):
            self.keep()

    def keep(self) -> None:
        """Write the last state unless that is done; a failure is a `CheckpointWarning`, not the end of the run."""
        reached, self._reached = self._reached, None
        if reached is None:
            return
        checkpoint = self._checkpoint(reached) if isinstance(reached, State) else reached
        try:
            save_checkpoint(checkpoint, self.folder)
        except WriteError as error:
            warnings.warn(
                f"The run goes on without this checkpoint. {error}", CheckpointWarning, stacklevel=2
            )
        self._written = self._clock()

    def _due(self, iteration: int) -> bool:
        if self.every.iterations is not None:
            return iteration % self.every.iterations == 0
        return self.every.seconds is not None and self._clock() - self._written >= self.every.seconds

    def _checkpoint(self, state: State[Any]) -> Checkpoint:
        assert state.checkpoint is not None  # such states are not taken note of
        seconds = self._before + self._clock() - self._begin
        arrays = {name: np.asarray(value) for name, value in state.checkpoint().items()}
        losses = {name: list(curve) for name, curve in self.losses.items()}
        return Checkpoint(self.task, state.iteration, seconds, losses, arrays)
