"""Finished reconstructions to a list to choose from: show, set side by side, subtract, take over the settings."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QAbstractItemView, QGridLayout, QListWidget, QListWidgetItem, QVBoxLayout, QWidget

from napari_dipmtv._napari.job_bar import duration
from napari_dipmtv._napari.session import Reconstruction
from napari_dipmtv._napari.stage_widget import button, enable
from napari_dipmtv.settings.base import StageSettings, knobs


class ResultsList(QWidget):
    """Emits what somebody wants done with the chosen results; knows no viewer."""

    show_wanted = Signal(object)  # Reconstruction
    beside_wanted = Signal(object)  # list of Reconstruction
    difference_wanted = Signal(object, object)
    settings_wanted = Signal(object)

    def __init__(self) -> None:
        super().__init__()
        self._results: Sequence[Reconstruction] = ()
        self.list = QListWidget()
        self.list.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
        self.list.setToolTip(
            "Finished reconstructions; double-click one to go on with it, or choose several to compare"
        )
        self.list.setMinimumHeight(80)
        self.list.setMaximumHeight(130)
        self.list.setWordWrap(True)
        self.show_one = button("Show", "")
        self.beside = button("Side by side", "")
        self.difference = button("Difference", "")
        self.use = button("Use its settings", "")
        self._lay_out()
        self._connect()
        self._allow()

    def fill(self, results: Sequence[Reconstruction], current: Sequence[bool]) -> None:
        """List the results; ``current`` says which were made from the present tilt series."""
        self._results = results
        self.list.clear()
        for made, fresh in zip(results, current, strict=True):
            item = QListWidgetItem(_line(self.list.count() + 1, made, fresh))
            item.setToolTip(story(made))
            if not fresh:
                item.setForeground(Qt.GlobalColor.gray)
            self.list.addItem(item)
        self._allow()

    @property
    def chosen(self) -> list[Reconstruction]:
        """The selected results in the order of the list."""
        return [self._results[i] for i in sorted(self.list.row(item) for item in self.list.selectedItems())]

    def _lay_out(self) -> None:
        grid = QGridLayout()
        for i, control in enumerate((self.show_one, self.use, self.beside, self.difference)):
            grid.addWidget(control, i // 2, i % 2)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.list)
        layout.addLayout(grid)

    def _connect(self) -> None:
        self.list.itemSelectionChanged.connect(self._allow)
        self.list.itemDoubleClicked.connect(
            lambda item: self.show_wanted.emit(self._results[self.list.row(item)])
        )
        self.show_one.clicked.connect(lambda: self.show_wanted.emit(self.chosen[0]))
        self.use.clicked.connect(lambda: self.settings_wanted.emit(self.chosen[0]))
        self.beside.clicked.connect(lambda: self.beside_wanted.emit(self.chosen))
        self.difference.clicked.connect(lambda: self.difference_wanted.emit(*self.chosen))

    def _allow(self) -> None:
        count = len(self.list.selectedItems())
        one = "" if count == 1 else "Choose one result in the list."
        enable(self.show_one, "Show this result again and go on with it", one)
        enable(self.use, "Set method and settings as they were for this result", one)
        several = "" if count >= 2 else "Choose two or more results in the list (Ctrl or Shift and click)."
        enable(
            self.beside, "Show the results next to each other with the same contrast and one camera", several
        )
        two = "" if count == 2 else "Choose two results in the list (Ctrl and click)."
        enable(self.difference, "Subtract the second from the first, channel by channel", two)


def changed(settings: StageSettings, usual: StageSettings | None = None) -> dict[str, object]:
    """What differs from the usual settings, those of the model where none are given, by title."""
    usual = (
        type(settings).model_construct() if usual is None else usual
    )  # what a model requires has no default
    found: dict[str, object] = {}
    for knob in knobs(type(settings)):
        value, default = getattr(settings, knob.name), getattr(usual, knob.name, None)
        if isinstance(value, StageSettings):
            found |= {f"{knob.title}: {title}": inner for title, inner in changed(value, default).items()}
        elif value != default:
            found[knob.title] = value
    return found


def story(made: Reconstruction) -> str:
    """How a result was made, stage by stage, as rich text: what differs from the defaults."""
    lines = [f"<b>{escape(made.title)}</b> on {made.device}, {duration(made.seconds)}"]
    for stage, settings in made.settings.items():
        words = ", ".join(f"{title} {value}" for title, value in changed(settings).items())
        lines.append(f"{stage}: {escape(words or 'usual settings')}")
    lines += [f"⚠ {escape(words)}" for words in made.notes]
    lines += [f"{name}: {values[0]:.4g} → {values[-1]:.4g}" for name, values in made.losses.items() if values]
    return "<qt>" + "<br>".join(lines) + "</qt>"


def _line(number: int, made: Reconstruction, fresh: bool) -> str:
    parts = [f"{number} · {made.title}", f"{made.iterations} iterations", duration(made.seconds)]
    settings = made.settings.get("reconstruct")
    if settings is not None:
        parts += [f"{title} {value}" for title, value in changed(settings).items() if title != "Iterations"]
    if made.notes:
        parts.append("⚠ read its notes")
    if not fresh:
        parts.append("⚠ stale: of an earlier alignment")
    return " · ".join(parts)
