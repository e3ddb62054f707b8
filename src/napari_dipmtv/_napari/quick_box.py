"""One button that takes all steps that are left, each with its usual settings, to core, shell and void in the view."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QVBoxLayout, QWidget

from napari_dipmtv._napari.cut_box import show_inside
from napari_dipmtv._napari.phase_box import USUAL
from napari_dipmtv._napari.preferences import preferences
from napari_dipmtv._napari.runs import telling
from napari_dipmtv._napari.session import Stage
from napari_dipmtv._napari.stage_widget import button, enable, note
from napari_dipmtv.settings.align import AlignSettings
from napari_dipmtv.settings.spectra import PrepareSettings, ReferenceSettings, UnmixSettings
from napari_dipmtv.settings.tomo import CsTvSettings

if TYPE_CHECKING:
    from napari_dipmtv._napari.bench import Bench

START, STOP = "Quick look: all steps", "Stop the quick look"
DONE = "Done: look into the half cut. Step 6 lists the measures, step 7 asks whether a void is real."
FAILED = "It ended early: see the message."
TIP = (
    "From here to core, shell and void by itself: every step that is left with its usual settings, and CS-TV, which is "
    "quick. Look at each step afterwards, and repeat what you want better"
)


class QuickBox(QWidget):
    """Starts one run after the other; ends where one fails, is stopped, or new data come."""

    def __init__(self, bench: Bench) -> None:
        super().__init__()
        self._bench = bench
        self._left: list[tuple[str, Callable[[], None]]] = []
        self._total = 0
        self.start = button(START, TIP)
        self.words = note()
        self.words.setToolTip("Which of the steps is running")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.start)
        layout.addWidget(self.words)
        self.start.clicked.connect(self._toggle)
        self._tell("")
        bench.job.started.connect(self._allow)
        bench.job.finished.connect(self._on_finished)
        bench.job.stopped.connect(self._on_stopped)
        bench.job.failed.connect(self._on_failed)
        bench.job.ended.connect(self._allow)
        bench.changed.connect(self._allow)
        self._allow()

    @property
    def going(self) -> bool:
        """True from the button until the last step has ended."""
        return self._total > 0

    def _toggle(self) -> None:
        if self.going:
            self._bench.job.cancel()
            return
        self._left = self._steps()
        self._total = len(self._left)
        self._next()

    def _steps(self) -> list[tuple[str, Callable[[], None]]]:
        """Names and verbs of all steps without a value; spectra begin with the first, maps with the alignment."""
        bench, has, chosen = self._bench, self._bench.session.has, preferences()
        stream_s = chosen.preview_interval_s if chosen.preview else None
        steps: list[tuple[Stage, str, Callable[[], None]]] = [
            ("prepared", "preparing the spectra", lambda: bench.prepare(PrepareSettings())),
            (
                "references",
                "finding the references",
                lambda: bench.make_references("auto", ReferenceSettings()),
            ),
            ("maps", "unmixing", lambda: bench.unmix(UnmixSettings())),
            ("tilt_series", "aligning", lambda: bench.align(AlignSettings())),
            (
                "volume",
                "reconstructing by CS-TV",
                lambda: bench.reconstruct("cs-tv", CsTvSettings(), chosen.device, stream_s),
            ),
            ("measures", "naming the phases", lambda: bench.segment(USUAL)),
        ]
        if not has("series"):
            steps = steps[3:]
        return [(words, verb) for stage, words, verb in steps if not has(stage)]

    def _next(self) -> None:
        if not self.going:
            return
        if not self._left:
            with telling():
                show_inside(self._bench)
            self._end(DONE)
            return
        words, verb = self._left.pop(0)
        self._tell(f"Step {self._total - len(self._left)} of {self._total}: {words} …")
        with telling():
            verb()
        if not self._bench.job.running:  # the message has been shown
            self._end(FAILED)

    def _on_finished(self, *_: object) -> None:
        if self.going:
            QTimer.singleShot(0, self._next)  # the run is released after this signal

    def _on_stopped(self, *_: object) -> None:
        self._end("Stopped; the steps that are done are kept.")

    def _on_failed(self, *_: object) -> None:
        self._end(FAILED)

    def _end(self, words: str) -> None:
        if self.going:
            self._total, self._left = 0, []
            self._tell(words)
            self._allow()

    def _tell(self, words: str) -> None:
        self.words.setText(words)
        self.words.setVisible(bool(words))

    def _allow(self, *_: object) -> None:
        session, job = self._bench.session, self._bench.job
        missing = (
            "" if session.has("series") or session.has("maps") else "Load spectrum images or maps first."
        )
        self.start.setText(STOP if self.going else START)
        if self.going:
            enable(self.start, "End after the current step; what was reached is kept", "")
        else:
            enable(
                self.start, TIP, missing or job.why_not or ("" if self._steps() else "All steps are done.")
            )
