"""What the docks of all stages have in common: a heading, a line that says where things stand, and a scroll area."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QComboBox,
    QFrame,
    QLabel,
    QPushButton,
    QScrollArea,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from napari_dipmtv._napari.bench import bench_of
from napari_dipmtv._napari.session import ADVICE, Stage

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from napari_dipmtv.io.project import Project


class StageWidget(QScrollArea):
    """Base of the docks; a subclass fills ``body`` and says in `refresh` what its controls allow."""

    title = ""
    intro = ""
    needs: Stage | None = None

    def __init__(self, viewer: ViewerModel) -> None:
        super().__init__()
        self.bench = bench_of(viewer)
        self.session = self.bench.session
        self.status = QLabel()
        self.status.setWordWrap(True)
        self.status.setToolTip("Where this stage stands, or what it waits for")
        content = QWidget()
        column = QVBoxLayout(content)
        column.setContentsMargins(5, 6, 5, 6)
        self.body = QVBoxLayout()
        column.addLayout(self.body)
        column.addStretch(1)
        self.body.addWidget(self._heading())
        self.body.addWidget(self.status)
        self.setWidget(content)
        self.setWidgetResizable(True)
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAsNeeded)
        self.bench.changed.connect(self._on_changed)
        self.bench.layers_shown.connect(self.follow_layers)
        self.bench.settings_loaded.connect(self.take_settings)

    def refresh(self) -> None:
        """Bring all controls to what the session allows."""

    def follow_layers(self) -> None:
        """Bring what says which layers are shown to those that are."""

    def take_settings(self, project: Project) -> None:
        """Show the settings of a project that was opened."""

    @property
    def missing(self) -> str:
        """What has to be done before this stage; empty when nothing."""
        return "" if self.needs is None or self.session.has(self.needs) else ADVICE[self.needs]

    def _on_changed(self, _: str) -> None:
        self.refresh()

    def _heading(self) -> QLabel:
        label = QLabel(f"<b>{self.title}</b><br>{self.intro}")
        label.setWordWrap(True)
        return label


def button(text: str, tooltip: str) -> QPushButton:
    """A push button that may be narrower than its dock."""
    made = QPushButton(text)
    made.setToolTip(tooltip)
    made.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Fixed)
    return made


def choice(tooltip: str = "") -> QComboBox:
    """A box of choices that may be narrower than the longest of them."""
    made = QComboBox()
    made.setToolTip(tooltip)
    made.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
    made.setMinimumContentsLength(8)
    made.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
    return made


def enable(control: QWidget, tooltip: str, reason: str) -> None:
    """Enable a control, or disable it and let its tooltip say why."""
    control.setEnabled(not reason)
    control.setToolTip(reason or tooltip)


def section(title: str) -> QLabel:
    """A heading inside a dock."""
    label = QLabel(f"<b>{title}</b>")
    label.setContentsMargins(0, 8, 0, 0)
    return label


def note() -> QLabel:
    """A paragraph that is filled later."""
    label = QLabel()
    label.setWordWrap(True)
    label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
    return label
