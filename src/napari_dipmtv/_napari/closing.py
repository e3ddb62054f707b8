"""A run and the window it runs in: napari asks before it closes a busy window, and closing ends the run."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from napari.utils.task_status import Status
from qtpy.QtWidgets import QApplication

from napari_dipmtv._napari.job import Job
from napari_dipmtv._napari.preferences import PLUGIN

if TYPE_CHECKING:
    from napari.components import ViewerModel


class Closing:
    """Registers every run as a task of napari's window, whose closing calls `Job.shutdown`."""

    def __init__(self, viewer: ViewerModel, job: Job) -> None:
        window = getattr(viewer, "window", None)  # a ViewerModel has none
        self._window = (lambda: None) if window is None else weakref.ref(window)
        self._job = job
        self._task: Any = None
        job.started.connect(self._begin)
        job.ended.connect(self._end)
        application = QApplication.instance()
        if application is not None:
            application.aboutToQuit.connect(job.shutdown)

    def _begin(self, _: int) -> None:
        window = self._window()
        if window is not None:
            # napari keeps this method private, but its own thread_worker is the only other way to the question
            # "still running, close?" and cannot be used here: it swallows RuntimeErrors of generators
            self._task = window._register_task_status(
                PLUGIN, Status.BUSY, f"{self._job.name} is running", _weakly(self._job)
            )

    def _end(self, _: int) -> None:
        window = self._window()
        if window is not None and self._task is not None:
            window._update_task_status(self._task, Status.COMPLETED)
        self._task = None


def _weakly(job: Job) -> Callable[[], None]:
    """`Job.shutdown` for the list of tasks, which napari keeps after the window is gone and all tasks with it."""
    held = weakref.ref(job)

    def shutdown() -> None:
        living = held()
        if living is not None:
            living.shutdown()

    return shutdown
