"""Where a run stands, as a person wants to see it, and buttons to start, pause, finish and cancel it."""

from __future__ import annotations

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QGridLayout, QLabel, QProgressBar, QPushButton, QVBoxLayout, QWidget

from napari_dipmtv._napari.job import Job, Progress


class JobBar(QWidget):
    """Watches the job of a viewer for one kind of run; several bars may watch the same job.

    ``start_clicked`` asks for a start; who listens, decides and calls `Job.start`. Without a text there is no Start
    button, and the bar shows itself only while its run goes on or has just ended. ``keeps`` says that a part of the
    work is of use, and gives the button that ends the run and keeps it.
    """

    start_clicked = Signal()

    def __init__(self, job: Job, name: str, start_text: str, start_tip: str, *, keeps: bool = False) -> None:
        super().__init__()
        self._job, self.kind, self._start_tip = job, name, start_tip
        self._keeps = keeps
        self._blocked = ""  # why the stage cannot start, besides a run that is going on
        self._make_controls(start_text)
        self._lay_out()
        self._connect()
        self._refresh()

    def block(self, reason: str) -> None:
        """Disable Start and say why; an empty reason enables it."""
        self._blocked = reason
        self._refresh()

    @property
    def mine(self) -> bool:
        """True while the run that goes on is of this bar's kind."""
        return self._job.running and self._job.name == self.kind

    def _make_controls(self, start_text: str) -> None:
        self.start = QPushButton(start_text)
        if not start_text:
            self.start.hide()
        self.pause = QPushButton("Pause")
        self.stop = QPushButton("Finish now (keep)")
        self.cancel = QPushButton("Cancel (discard)")
        self._tips = {
            self.pause: "Hold the run after the current step; press again to go on",
            self.stop: "End after the current step and keep what has been reached",
            self.cancel: "End after the current step and drop what has been reached",
        }
        self.bar = QProgressBar()
        self.bar.setToolTip("Steps done of this run")
        self.text = QLabel()
        self.text.setWordWrap(True)
        self.text.setToolTip("Where the run stands: losses of the last step and time left")

    def _lay_out(self) -> None:
        while_running = QGridLayout()
        while_running.addWidget(self.pause, 0, 0)
        while_running.addWidget(self.cancel, 0, 1)
        while_running.addWidget(self.stop, 1, 0, 1, 2)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.start)
        layout.addLayout(while_running)
        layout.addWidget(self.bar)
        layout.addWidget(self.text)

    def _connect(self) -> None:
        self.start.clicked.connect(self.start_clicked)
        self.pause.clicked.connect(self._toggle_pause)
        self.stop.clicked.connect(self._job.stop)
        self.cancel.clicked.connect(self._job.cancel)
        self.stop.clicked.connect(self._say_ending)
        self.cancel.clicked.connect(self._say_ending)
        self._job.started.connect(self._on_started)
        self._job.stated.connect(self._on_stated)
        self._job.finished.connect(self._on_finished)
        self._job.stopped.connect(self._on_stopped)
        self._job.failed.connect(self._on_failed)
        self._job.ended.connect(self._refresh)

    def _on_started(self, _: int) -> None:
        self._refresh()
        if self.mine:
            self.bar.setRange(0, 0)
            self.text.setText("Preparing …")

    def _on_stated(self, _: int, progress: Progress) -> None:
        if not self.mine:
            return
        self.bar.setRange(0, progress.total)
        self.bar.setValue(progress.iteration)
        self.text.setText(describe(progress))

    def _on_finished(self, _: int, result: object) -> None:
        if self._job.name == self.kind:
            self._rest(f"Done in {duration(result.seconds)}.")

    def _on_stopped(self, _: int, result: object) -> None:
        if self._job.name != self.kind:
            return
        if result is None:
            self._rest("Cancelled; nothing was kept.")
        else:
            where = f"Stopped at step {result.iterations} of {result.total}; what was reached is kept."
            self._rest(" ".join([f"⚠ {where}" if result.notes else where, *result.notes]))

    def _on_failed(self, _: int, message: str) -> None:
        if self._job.name == self.kind:
            self._rest(f"⚠ {message}")

    def _rest(self, text: str) -> None:
        self.bar.setRange(0, 1)
        self.bar.setValue(0)
        self.text.setText(text)

    def _toggle_pause(self) -> None:
        self._job.pause(not self._job.paused)
        self._refresh()

    def _say_ending(self) -> None:
        self.text.setText("Ending after the current step …")

    def _refresh(self, *_: object) -> None:
        reason = self._blocked or self._job.why_not
        self.start.setEnabled(not reason)
        self.start.setToolTip(reason or self._start_tip)
        idle = "" if self.mine else "Nothing of this step is running."
        for button, tip in self._tips.items():
            button.setEnabled(not idle)
            button.setToolTip(idle or tip)
            button.setVisible(self.mine and (self._keeps or button is not self.stop))
        self.pause.setText("Go on" if self.mine and self._job.paused else "Pause")
        self.bar.setVisible(self.mine)
        self.text.setVisible(self.mine or bool(self.text.text()))


def describe(progress: Progress) -> str:
    """Stage, step, last losses and time left in one line."""
    parts = [f"{progress.stage}: {progress.iteration} of {progress.total}"]
    parts += [f"{name} {values[-1][1]:.4g}" for name, values in progress.losses.items()]
    if progress.left_s is not None and progress.iteration < progress.total:
        parts.append(f"{duration(progress.left_s)} left")
    return " · ".join(parts)


def duration(seconds: float) -> str:
    """Seconds in the words of a kitchen clock."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = seconds / 60
    return f"{minutes:.0f} min" if minutes < 90 else f"{minutes / 60:.1f} h"
