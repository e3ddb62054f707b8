"""A reconstruction to states that leave checkpoints on their way, from which another window or the command goes on."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from napari_dipmtv import pipeline
from napari_dipmtv._napari.iterators import rescued, with_threads
from napari_dipmtv._napari.preferences import Preferences
from napari_dipmtv.data import TiltSeries, Volume
from napari_dipmtv.errors import WriteError
from napari_dipmtv.io.checkpoints import Checkpoint, Task, load_checkpoint, must_continue
from napari_dipmtv.io.recorder import CheckpointWarning, Every, Recorder
from napari_dipmtv.io.run_folder import SavedRun, begin_run, forget_run, load_series, saved_run
from napari_dipmtv.settings.tomo import Method, MethodSettings
from napari_dipmtv.states import State


@dataclass(slots=True, eq=False)
class KeptRun:
    """One reconstruction; `states` is consumed in the worker, what it found out is read when it has ended.

    Attributes
    ----------
    root : Path
        Folder of all runs.
    series : TiltSeries, optional
        What is reconstructed; None: the maps that lie beside the checkpoint of ``since``.
    method, settings, device
        See `napari_dipmtv.pipeline.reconstruct_states`.
    story : mapping
        What is written beside the checkpoints, of JSON types.
    choice : Preferences
        How often a checkpoint is written, and how many threads compute.
    since : SavedRun, optional
        What to go on from.
    unwanted : callable
        True once somebody wants nothing of this run any more.
    reached : SavedRun, optional
        What a later run may go on from; known when this one has ended.
    losses : mapping of str to list of float
        Curves so far, those before ``since`` included.
    """

    root: Path
    series: TiltSeries | None
    method: Method
    settings: MethodSettings
    device: str
    story: Mapping[str, Any]
    choice: Preferences
    since: SavedRun | None
    unwanted: Callable[[], bool]
    reached: SavedRun | None = None
    losses: Mapping[str, list[float]] = field(default_factory=dict)

    @property
    def seconds_before(self) -> float:
        """Computing time of the run that this one goes on from."""
        return 0.0 if self.since is None else self.since.seconds

    def states(self) -> Iterator[State[Volume]]:
        """The states of the method; every error behind the first one is a `ComputeError` or a `DeviceError`."""
        start = None
        if self.since is not None:
            self.series = self.series or load_series(self.since)
            start = load_checkpoint(self.since.folder)
        assert self.series is not None
        computed = with_threads(self._computed(self.series, start), self.choice.threads)
        recorder = self._recorder(self.series, start)
        yield from rescued(computed if recorder is None else self._recorded(computed, recorder))

    def _computed(self, series: TiltSeries, start: Checkpoint | None) -> Iterator[State[Volume]]:
        if start is None:
            return pipeline.reconstruct_states(series, self.method, self.settings, self.device)
        return pipeline.reconstruct_states(
            series, self.method, self.settings, self.device, resume=start.state
        )

    def _recorder(self, series: TiltSeries, start: Checkpoint | None) -> Recorder | None:
        """What writes the checkpoints; None for a method of one step and where nothing can be written."""
        task = Task.of(series, self.method, self.settings)
        if start is not None:
            must_continue(start, task)
        if "iterations" not in task.settings or not self.choice.checkpoint_min:
            return None
        try:
            folder = begin_run(self.root, series, task, self.story)
        except WriteError as error:
            warnings.warn(f"The run goes on without checkpoints. {error}", CheckpointWarning, stacklevel=2)
            return None
        return Recorder(folder, task, Every(seconds=60 * self.choice.checkpoint_min), since=start)

    def _recorded(self, states: Iterator[State[Volume]], recorder: Recorder) -> Iterator[State[Volume]]:
        self.losses = recorder.losses
        try:
            for state in states:
                recorder(state)
                yield state
            recorder.keep()  # what a longer run goes on from
        except GeneratorExit:  # somebody ends it between two steps, where it can go on bit for bit
            if not self.unwanted():
                recorder.keep()
            raise
        finally:
            states.close()  # type: ignore[attr-defined]
            self.reached = saved_run(recorder.folder)
            if self.reached is None:
                forget_run(recorder.folder)
