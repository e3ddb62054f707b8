"""One aligned view, moved by hand with buttons or keys, and every move taken back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtGui import QKeySequence, QShortcut
from qtpy.QtWidgets import QDoubleSpinBox, QGridLayout, QWidget

from napari_dipmtv._napari.runs import telling
from napari_dipmtv._napari.stage_widget import button, enable, note

if TYPE_CHECKING:
    from napari_dipmtv._napari.bench import Bench

# text: key, and (dx, dy) in steps
MOVES = {"←": ("Alt+Left", -1, 0), "→": ("Alt+Right", 1, 0), "↑": ("Alt+Up", 0, -1), "↓": ("Alt+Down", 0, 1)}


class NudgeBox(QWidget):
    """Moves the view that the tilt slider shows."""

    def __init__(self, bench: Bench) -> None:
        super().__init__()
        self._bench = bench
        self.step = QDoubleSpinBox()
        self.step.setRange(0.05, 50)
        self.step.setValue(0.5)
        self.step.setSuffix(" px")
        self.step.setToolTip("How far one press moves the view, in pixels")
        self.buttons = {text: button(text, "") for text in MOVES}
        self.undo = button("Undo", "")
        self.words = note()
        self.words.setToolTip("Moves that were made by hand")
        grid = QGridLayout(self)
        for i, control in enumerate((*self.buttons.values(), self.step, self.undo)):
            grid.addWidget(control, i // 4, i % 4)
        grid.addWidget(self.words, 2, 0, 1, 4)
        for text, (key, dx, dy) in MOVES.items():
            move = lambda *_, dx=dx, dy=dy: self._move(dx, dy)  # noqa: E731
            self.buttons[text].clicked.connect(move)
            shortcut = QShortcut(QKeySequence(key), self)
            shortcut.setContext(Qt.ShortcutContext.WindowShortcut)
            shortcut.activated.connect(self.buttons[text].click)
        self.undo.clicked.connect(self._undo)

    def allow(self, reason: str) -> None:
        """Enable the buttons, or say why not, and tell the moves."""
        for text, (key, _, _) in MOVES.items():
            enable(
                self.buttons[text],
                f"Move the shown view by one step ({key}); the maps are interpolated once",
                reason,
            )
        nudges = self._bench.session.nudges
        enable(
            self.undo, "Take the last move back", reason or ("" if nudges else "Nothing was moved by hand.")
        )
        self.words.setText("; ".join(f"view {view + 1}: {dx:+g}, {dy:+g} px" for view, dx, dy in nudges))

    def _move(self, dx: int, dy: int) -> None:
        with telling():
            step = self.step.value()
            self._bench.nudge(self._bench.layers.shown_view(), dx * step, dy * step)

    def _undo(self) -> None:
        with telling():
            self._bench.undo_nudge()
