"""What a reconstruction will take, asked before it starts, and settings that need less where memory is short."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QVBoxLayout, QWidget

from napari_dipmtv._napari.job_bar import duration
from napari_dipmtv._napari.stage_widget import button, enable, note

if TYPE_CHECKING:
    from napari_dipmtv.tomo.estimate import Estimate
    from napari_dipmtv.tomo.memory import Smaller


class EstimateBox(QWidget):
    """Knows no viewer; emits what somebody wants to know."""

    ask_wanted = Signal()
    smaller_wanted = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.ask = button("How long will it take?", "")
        self.words = note()
        self.words.setToolTip("Time and memory from a few timed steps on a part of the series")
        self.smaller = button("Use smaller settings", "")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        for control in (self.ask, self.words, self.smaller):
            layout.addWidget(control)
        self.words.hide()
        self.smaller.hide()
        self.ask.clicked.connect(lambda: self.ask_wanted.emit())
        self.smaller.clicked.connect(lambda: self.smaller_wanted.emit())

    def allow(self, reason: str) -> None:
        """Enable the buttons, or say why they are not."""
        enable(
            self.ask,
            "Time a few steps on a part of the series, and tell time and memory of the whole",
            reason,
        )
        enable(
            self.smaller, "Change the settings that cost the result least until the memory suffices", reason
        )

    def say(self, text: str) -> None:
        """Show a sentence."""
        self.words.setText(text)
        self.words.setVisible(bool(text))

    def tell(self, found: Estimate) -> None:
        """Say what `tomo.estimate` has found."""
        words = f"About {duration(found.seconds)}" if math.isfinite(found.seconds) else "Time unknown"
        needed, free = found.memory_bytes / 1e9, found.available_bytes / 1e9
        self.say(f"{words}; {needed:.2g} GB of memory, {free:.2g} GB are free. {found.note}")
        self.smaller.setVisible(bool(found.note))

    def take(self, sentence: str) -> None:
        """Offer smaller settings where what ended a run was a lack of memory."""
        self.smaller.setVisible(short_of_memory(sentence))

    def tell_smaller(self, found: Smaller | None) -> None:
        """Say which settings were taken over."""
        self.smaller.hide()
        if found is None:
            self.say("No settings need less: crop or bin the maps, or choose SIRT.")
        else:
            needed = found.memory_bytes / 1e9
            self.say(f"Taken over: {found.words}, about {needed:.2g} GB. Press Reconstruct.")


def short_of_memory(sentence: str) -> bool:
    """Tell a lack of memory by the sentence of the error, which begins with what was expected to suffice."""
    return sentence.startswith("memory")
