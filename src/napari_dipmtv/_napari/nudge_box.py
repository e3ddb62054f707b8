"""One aligned view, moved by hand with buttons or keys, left out or taken back, and every move undone and redone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtGui import QKeySequence, QShortcut
from qtpy.QtWidgets import QDoubleSpinBox, QHBoxLayout, QPushButton, QVBoxLayout, QWidget

from napari_dipmtv._napari.runs import telling
from napari_dipmtv._napari.stage_widget import button, enable, note

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_dipmtv._napari.bench import Bench

# text: key, and (dx, dy) in steps
MOVES = {"←": ("Alt+Left", -1, 0), "→": ("Alt+Right", 1, 0), "↑": ("Alt+Up", 0, -1), "↓": ("Alt+Down", 0, 1)}
UNDO_KEY, REDO_KEY = "Alt+Z", "Alt+Shift+Z"


class NudgeBox(QWidget):
    """Works on the view that the tilt slider shows; presses that come while a view is moving add up."""

    def __init__(self, bench: Bench) -> None:
        super().__init__()
        self._bench = bench
        self.step = QDoubleSpinBox()
        self.step.setRange(0.05, 50)
        self.step.setValue(0.5)
        self.step.setSuffix(" px")
        self.step.setToolTip("How far one press moves the view, in pixels")
        self.buttons = {text: button(text, "") for text in MOVES}
        self.undo, self.redo = button("Undo", ""), button("Redo", "")
        self.leave_out = button("Leave out", "")
        self.words = note()
        self.words.setToolTip("Moves that were made by hand, and views that are left out")
        self._lay_out()
        for text, (key, dx, dy) in MOVES.items():
            self._wire(self.buttons[text], lambda dx=dx, dy=dy: self._move(dx, dy), key)
        self._wire(self.undo, bench.undo_alignment, UNDO_KEY)
        self._wire(self.redo, bench.redo_alignment, REDO_KEY)
        self._wire(self.leave_out, self._toggle_view)

    def allow(self, reason: str) -> None:
        """Enable the buttons, or say why not, and tell the moves."""
        busy = "" if self._bench.moving else self._bench.job.why_not
        history, why = self._bench.session.alignments, reason or busy
        for text, (key, _, _) in MOVES.items():
            tip = f"Move the shown view by one step ({key}); the maps are interpolated once"
            enable(self.buttons[text], tip, why)
        nothing = "" if history and history.can_undo else "Nothing was moved by hand."
        enable(self.undo, f"Take the last move back ({UNDO_KEY})", why or nothing)
        nothing = "" if history and history.can_redo else "Nothing was undone."
        enable(self.redo, f"Make the undone move again ({REDO_KEY})", why or nothing)
        tip = "Take the weight from the shown view, or give it back; the search and the volume do not look at it"
        enable(self.leave_out, tip, reason or self._bench.job.why_not)
        self.tell()

    def tell(self) -> None:
        """Say what was moved and left out, and which of the two the button would do with the shown view.

        Views are counted from 0, as on the slider and in the settings.
        """
        out = self._bench.align_settings.exclude_views
        moved: dict[int, tuple[float, float]] = {}
        for view, dx, dy in self._bench.session.nudges:
            x, y = moved.get(view, (0.0, 0.0))
            moved[view] = (x + dx, y + dy)
        told = [f"view {view}: {x:+g}, {y:+g} px" for view, (x, y) in moved.items()]
        told += [f"view {view} left out" for view in out]
        self.words.setText("; ".join(told))
        maps = any(layer.ndim >= 4 for layer in self._bench.layers.shown_maps())
        shown = self._bench.layers.shown_view() if maps else None
        self.leave_out.setText("Use again" if shown in out else "Leave out")

    def _lay_out(self) -> None:
        column = QVBoxLayout(self)
        for controls in (self.buttons.values(), (self.step, self.leave_out), (self.undo, self.redo)):
            row = QHBoxLayout()
            for control in controls:
                row.addWidget(control, 1)
            column.addLayout(row)
        column.addWidget(self.words)

    def _wire(self, control: QPushButton, act: Callable[[], None], key: str = "") -> None:
        """Let a click and a key do the same, the key wherever the focus is in the window."""

        def pressed(*_: object) -> None:
            with telling():
                act()

        control.clicked.connect(pressed)
        if key:
            shortcut = QShortcut(QKeySequence(key), self)
            shortcut.setContext(Qt.ShortcutContext.WindowShortcut)
            shortcut.activated.connect(control.click)

    def _move(self, dx: int, dy: int) -> None:
        step = self.step.value()
        self._bench.nudge(self._bench.layers.shown_view(), dx * step, dy * step)

    def _toggle_view(self) -> None:
        view = self._bench.layers.shown_view()
        self._bench.leave_out(view, view not in self._bench.align_settings.exclude_views)
