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
from napari_dipmtv.io.claim import Claim
from napari_dipmtv.io.recorder import CheckpointWarning, Every, Recorder
from napari_dipmtv.io.run_folder import SavedRun, begin_run, forget_run, load_both, saved_run
from napari_dipmtv.settings.fused import FusedMethod, FusedMethodSettings
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
        See `napari_dipmtv.pipeline.reconstruct_states` and `fuse_states`.
    story : mapping
        What is written beside the checkpoints, of JSON types.
    choice : Preferences
        How often a checkpoint is written, and how many threads compute.
    since : SavedRun, optional
        What to go on from.
    unwanted : callable
        True once somebody wants nothing of this run any more.
    both : callable, optional
        Gives the series and the HAADF series of a fused run that begins; called in the worker.
    haadf : TiltSeries, optional
        That series, once it is known.
    reached : SavedRun, optional
        What a later run may go on from; known when this one has ended.
    losses : mapping of str to list of float
        Curves so far, those before ``since`` included.
    """

    root: Path
    series: TiltSeries | None
    method: Method | FusedMethod
    settings: MethodSettings | FusedMethodSettings
    device: str
    story: Mapping[str, Any]
    choice: Preferences
    since: SavedRun | None
    unwanted: Callable[[], bool]
    both: Callable[[], tuple[TiltSeries, TiltSeries]] | None = None
    haadf: TiltSeries | None = None
    reached: SavedRun | None = None
    losses: Mapping[str, list[float]] = field(default_factory=dict)
    _claim: Claim | None = None  # on the folder of the checkpoints

    @property
    def seconds_before(self) -> float:
        """Computing time of the run that this one goes on from."""
        return 0.0 if self.since is None else self.since.seconds

    def states(self) -> Iterator[State[Volume]]:
        """The states of the method; every error behind the first one is a `ComputeError` or a `DeviceError`."""
        start = None
        if self.since is not None:
            if self.series is None or self.since.fused:
                self.series, self.haadf = load_both(self.since)
            start = load_checkpoint(self.since.folder)
        elif self.both is not None:
            self.series, self.haadf = self.both()
        assert self.series is not None
        computed = with_threads(self._computed(self.series, start), self.choice.threads)
        recorder = self._recorder(self.series, start)
        yield from rescued(computed if recorder is None else self._recorded(computed, recorder))

    def _computed(self, series: TiltSeries, start: Checkpoint | None) -> Iterator[State[Volume]]:
        resume = {} if start is None else {"resume": start.state}
        if self.haadf is not None:
            both = series, self.haadf
            return pipeline.fuse_states(*both, self.method, self.settings, self.device, **resume)
        return pipeline.reconstruct_states(series, self.method, self.settings, self.device, **resume)

    def _recorder(self, series: TiltSeries, start: Checkpoint | None) -> Recorder | None:
        """What writes the checkpoints; None for a method of one step and where nothing can be written."""
        task = Task.of(series, self.method, self.settings, *([] if self.haadf is None else [self.haadf]))
        if start is not None:
            must_continue(start, task)
        if "iterations" not in task.settings or not self.choice.checkpoint_min:
            return None
        try:
            folder = begin_run(self.root, series, task, self.story, haadf=self.haadf)
        except WriteError as error:
            warnings.warn(f"The run goes on without checkpoints. {error}", CheckpointWarning, stacklevel=2)
            return None
        self._claim = Claim(folder)
        if not self._claim.take():
            words = (
                "The same run goes on in another window, which keeps its checkpoints; this one keeps none."
            )
            warnings.warn(words, CheckpointWarning, stacklevel=2)
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
            if self._claim is not None:
                self._claim.release()
            if self.reached is None:
                forget_run(recorder.folder)
