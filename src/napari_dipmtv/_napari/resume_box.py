"""A run that was ended, closed or killed to a button that goes on with it."""

from __future__ import annotations

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QGridLayout, QSpinBox, QWidget

from napari_dipmtv._napari.job_bar import duration
from napari_dipmtv._napari.reconstructing import Offer
from napari_dipmtv._napari.session import TITLES
from napari_dipmtv._napari.stage_widget import button, enable, note

USUAL_MORE = 100  # iterations beyond the end of a run that came to it


class ResumeBox(QWidget):
    """Shows a run on offer, and is not there without one; emits what somebody wants with it."""

    resume_wanted = Signal(int)  # iterations beyond the checkpoint
    forget_wanted = Signal()

    def __init__(self) -> None:
        super().__init__()
        self._offer: Offer | None = None
        self.words = note()
        self.words.setToolTip("A reconstruction that can go on exactly where it stood")
        self.more = QSpinBox()
        self.more.setRange(1, 1_000_000)
        self.more.setPrefix("+ ")
        self.more.setSuffix(" iterations")
        self.more.setToolTip(
            "Iterations beyond those that are done; more than were asked for extends the run"
        )
        self.resume = button("Resume", "")
        self.forget = button("Forget", "")
        grid = QGridLayout(self)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.addWidget(self.words, 0, 0, 1, 2)
        grid.addWidget(self.more, 1, 0)
        grid.addWidget(self.forget, 1, 1)
        grid.addWidget(self.resume, 2, 0, 1, 2)
        self.resume.clicked.connect(lambda: self.resume_wanted.emit(self.more.value()))
        self.forget.clicked.connect(lambda: self.forget_wanted.emit())
        self.show_offer(None, "")

    def show_offer(self, offer: Offer | None, reason: str) -> None:
        """Offer a run, or nothing (None); ``reason`` says why it cannot go on now."""
        self.setVisible(offer is not None)
        if offer is not None:
            self._name(offer)
        enable(self.resume, "Go on from the last checkpoint with the settings of that run", reason)
        enable(self.forget, "Delete the checkpoints of this run; finished volumes stay", reason)

    def _name(self, offer: Offer) -> None:
        run, new = offer.run, offer is not self._offer
        where = "" if offer.series is not None else " Its aligned maps come with it."
        asked = f"{run.iteration} of {run.iteration + run.left}" if run.left else f"{run.iteration}"
        self.words.setText(
            f"{TITLES[run.method]} stands at iteration {asked} after {duration(run.seconds)}.{where}"
        )
        self.resume.setText(f"Resume at iteration {run.iteration}")
        if new:
            self.more.setValue(run.left or USUAL_MORE)
        self._offer = offer
