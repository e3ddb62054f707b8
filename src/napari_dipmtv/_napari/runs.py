"""Runs of one viewer: started one at a time, their previews drawn, their results kept, their errors told."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari.utils.notifications import show_error, show_info, show_warning
from qtpy.QtCore import QObject, Signal

from napari_dipmtv._napari.closing import Closing
from napari_dipmtv._napari.drawing import draw
from napari_dipmtv._napari.half_cut import HalfCut
from napari_dipmtv._napari.job import Job, Progress
from napari_dipmtv._napari.layers import Layers
from napari_dipmtv._napari.session import STAGES, Entry, Session, Stage
from napari_dipmtv._napari.turns import turns
from napari_dipmtv._napari.view_angle import look_flat, look_into
from napari_dipmtv.data import Volume
from napari_dipmtv.errors import DipmtvError, InputError, expected
from napari_dipmtv.io.claim import Claim
from napari_dipmtv.settings.base import StageSettings
from napari_dipmtv.states import Result, State

if TYPE_CHECKING:
    from napari.components import ViewerModel

SLOW_PREVIEW_S = 2.0  # a window that is busy longer with a preview gets slices instead of surfaces


@contextmanager
def telling() -> Iterator[None]:
    """Show what went wrong on purpose as a notification of napari instead of raising it."""
    try:
        yield
    except DipmtvError as error:
        show_error(str(error))


def notes_of(progress: Progress) -> tuple[str, ...]:
    """What a run has to say besides the name of its stage, which stands before the first comma."""
    said = progress.stage.partition(", ")[2]
    return (said,) if said else ()


def _nothing() -> None:
    """Nothing more to do."""


class Runs(QObject):
    """Wires session, layers and job of one viewer; the docks watch it.

    ``changed`` and ``results_changed`` repeat the signals of the session, so that Qt cuts the connection to a dock that
    is deleted.
    """

    changed = Signal(str)
    results_changed = Signal()
    exported = Signal(object)  # list of Path; PySide would turn the paths of a Signal(list) into text
    cut_changed = Signal(object)  # HalfCut
    estimated = Signal(object)  # tomo.estimate.Estimate
    settings_loaded = Signal(object)  # Project
    refused = Signal(object)  # TiltTable of spectrum images that could not be read
    layers_shown = Signal()  # all that was to be shown is in the viewer

    def __init__(self, viewer: ViewerModel) -> None:
        super().__init__()
        self.session = Session()
        self.layers = Layers(viewer)
        self.job = Job()
        self._closing = Closing(viewer, self.job)
        self._target: Stage | None = None  # the stage that the run will set
        self._keep: Callable[[Result[Any]], None] | None = None
        self._tell_failed: Callable[[], None] = _nothing
        self._tell_ended: Callable[[], None] = _nothing
        self._streamed_title = ""
        self._may_flatten = False
        self._settings: dict[str, StageSettings] = {}  # of every stage, as it was last run
        self.project_path: Path | None = None  # where the project was saved or opened, and is kept up to date
        self._claim: Claim | None = None  # on that file
        self._running: tuple[str, StageSettings | None] = ("", None)
        self.session.changed.connect(self._on_changed)
        self.session.results_changed.connect(self._on_results_changed)
        self.job.preview.connect(self._on_preview)
        self.job.finished.connect(self._on_result)
        self.job.stopped.connect(self._on_result)
        self.job.failed.connect(self._on_failed)
        self.job.ended.connect(self._on_ended)
        turns().emptied.connect(self._on_emptied)

    def cut(self, cut: HalfCut) -> None:
        """Cut all volumes and phases by one plane."""
        self.layers.cut(cut)
        self.cut_changed.emit(cut)

    def open_up(self) -> None:
        """Look into the cut volume in 3-D."""
        self.cut(replace(self.layers.half_cut, enabled=True))
        self.layers.take("view", look_into(self.layers.viewer, self.layers.half_cut))

    def _run(
        self,
        name: str,
        target: Stage | None,
        states: Callable[[], Iterator[State[Any]]],
        keep: Callable[[Result[Any]], None],
        settings: StageSettings | None = None,
        *,
        stream_s: float | None = None,
        keeps: bool = False,
        on_failed: Callable[[], None] = _nothing,
        on_end: Callable[[], None] = _nothing,
    ) -> bool:
        """Start a run, or say why not and give False.

        In the GUI thread ``keep`` is called with the result, or ``on_failed``, and in any case ``on_end`` behind it. A
        part of the work is kept where ``keeps`` says that it is of use.
        """

        def keep_both(result: Result[Any]) -> None:
            if name == "load":
                self._settings.clear()
                self._hold(None)  # that file is of other data
            if settings is not None:
                self._settings[name] = settings
            keep(result)

        try:
            self._refuse_while_running()
        except InputError as error:
            show_warning(str(error))
            return False
        self._target, self._keep = target, keep_both
        self._tell_failed, self._tell_ended = on_failed, on_end
        self._running = (name, settings)
        self.job.start(name, states, stream_s=stream_s, keeps=keeps)
        return True

    def _hold(self, path: Path | None, prepare: Callable[[], object] = _nothing) -> None:
        """Keep a project file up to date from now on, once it is prepared; None: no file.

        Raises
        ------
        InputError
            Where another window keeps it up to date already.
        WriteError
            Where nothing can be written beside it.
        """
        claim = self._claim if path == self.project_path else None if path is None else Claim(path)
        if claim is not None and not claim.take():
            gc.collect()  # a window that was closed a moment ago
        if claim is not None and not claim.take():
            what, advice = f"project {path.name}", "Close it there, or save this one under another name"
            raise InputError(expected(what, "one that is open here only", "one of another window", advice))
        prepare()
        if self._claim is not None and self._claim is not claim:
            self._claim.release()
        self._claim, self.project_path = claim, path

    def _refuse_while_running(self) -> None:
        if self.job.why_not:
            raise InputError(self.job.why_not)

    def _on_result(self, _: int, result: Result[Any] | None) -> None:
        keep, self._keep, self._target = self._keep, None, None
        if result is not None and keep is not None:
            words = f"kept after {result.iterations} of {result.total}" if result.stopped else "done"
            self._note(" ".join([f"{words} in {result.seconds:.3g} s", *result.notes]))
            with telling():
                keep(result)
            if result.notes:  # what ended it
                show_error(" ".join([*result.notes, "What was reached is kept."]))
        else:
            self._note("cancelled")
            self.layers.end_stream()

    def _note(self, outcome: str) -> None:
        at = datetime.now().strftime("%H:%M:%S")
        self.session.history = (*self.session.history, Entry(at, *self._running, outcome))

    def _on_failed(self, _: int, message: str) -> None:
        self._keep, self._target = None, None
        self._note(f"failed: {message}")
        self.layers.end_stream()
        self._tell_failed()
        show_error(message)

    def _on_ended(self, _: int) -> None:
        tell, self._tell_ended = self._tell_ended, _nothing
        tell()

    def _on_emptied(self, owner: object) -> None:
        if owner is self.layers:
            self.layers_shown.emit()

    def _on_preview(self, _: int, volume: Volume) -> None:
        if self.layers.busy:
            return  # the next one shows more
        if "stream" not in self.layers.groups():
            self._may_flatten = True
            self.layers.grow(volume, self._streamed_title)
            self.open_up()
        elif not self.layers.stream(volume, self._streamed_title):
            self.job.stream_every(None)
        elif self._may_flatten and self.job.preview_cost_s > SLOW_PREVIEW_S:
            self._may_flatten = False  # once: whoever goes back to 3-D wants it
            self.layers.take("view", look_flat(self.layers.viewer, "xz"))
            show_info("This computer draws in 3-D slowly: the growing volume is shown as a slice.")

    # -- what a changed value means

    def _keeper(self, stage: Stage) -> Callable[[Result[Any]], None]:
        return lambda result: self.session.put(stage, result.value)

    def _on_changed(self, stage: Stage) -> None:
        if self._target is not None and STAGES.index(stage) < STAGES.index(self._target):
            self.job.cancel()  # what the run works on has been replaced
        draw(stage, self.session, self.layers)
        self.changed.emit(stage)

    def _on_results_changed(self) -> None:
        self.results_changed.emit()
