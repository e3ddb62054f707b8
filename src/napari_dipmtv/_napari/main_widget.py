"""All stages in one dock: a row of steps that shows what is done, and the panel of the chosen step."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QSize
from qtpy.QtGui import QDragEnterEvent, QDropEvent, QResizeEvent
from qtpy.QtWidgets import (
    QButtonGroup,
    QGridLayout,
    QPushButton,
    QSizePolicy,
    QStackedWidget,
    QVBoxLayout,
    QWidget,
)

from napari_dipmtv._napari.align_widget import AlignWidget
from napari_dipmtv._napari.bench import bench_of
from napari_dipmtv._napari.export_widget import ExportWidget
from napari_dipmtv._napari.inspect_widget import InspectWidget
from napari_dipmtv._napari.load_widget import LoadWidget
from napari_dipmtv._napari.project_menu import ProjectMenu
from napari_dipmtv._napari.reconstruct_widget import ReconstructWidget
from napari_dipmtv._napari.references_widget import ReferencesWidget
from napari_dipmtv._napari.session import Stage
from napari_dipmtv._napari.stage_widget import StageWidget
from napari_dipmtv._napari.trust_widget import TrustWidget
from napari_dipmtv._napari.unmix_widget import UnmixWidget

if TYPE_CHECKING:
    from napari.components import ViewerModel

# panel, and the stages any of which means that the step is done
STEPS: tuple[tuple[type[StageWidget], tuple[Stage, ...]], ...] = (
    (LoadWidget, ("prepared", "maps", "tilt_series")),
    (ReferencesWidget, ("references",)),
    (UnmixWidget, ("unmixed",)),
    (AlignWidget, ("tilt_series",)),
    (ReconstructWidget, ("volume",)),
    (InspectWidget, ("measures",)),
    (TrustWidget, ("trust",)),
    (ExportWidget, ()),
)
PER_ROW, PER_NARROW_ROW = 3, 2
NARROW_PX = 330  # below, three steps beside each other would be clipped
STALE = "Out of date: an earlier step was run again since. Run this step again."


class MainWidget(QWidget):
    """The dock "DIPm-TV"."""

    def __init__(self, napari_viewer: ViewerModel) -> None:
        super().__init__()
        self.bench = bench_of(napari_viewer)
        self.panels = [panel(napari_viewer) for panel, _ in STEPS]
        self.stack = QStackedWidget()
        self.steps = QButtonGroup(self)
        self.project = ProjectMenu(self.bench)
        self._lay_out()
        self.setAcceptDrops(True)
        self.steps.idClicked.connect(self.show_step)
        self.bench.changed.connect(self._mark)
        self.show_step(0)
        self._mark()

    def show_step(self, index: int) -> None:
        """Bring one step to the front."""
        self.steps.button(index).setChecked(True)
        self.stack.setCurrentIndex(index)

    def sizeHint(self) -> QSize:
        """Wide enough for the steps in their usual rows."""
        return super().sizeHint().expandedTo(QSize(360, 0))

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Put fewer steps into a row where it is narrow."""
        super().resizeEvent(event)
        self._arrange(PER_NARROW_ROW if self.width() < NARROW_PX else PER_ROW)

    def dragEnterEvent(self, event: QDragEnterEvent) -> None:
        """Take files and folders whichever step is open."""
        self.panels[0].dragEnterEvent(event)

    def dropEvent(self, event: QDropEvent) -> None:
        """Show step 1, which opens what is dropped."""
        self.show_step(0)
        self.panels[0].dropEvent(event)

    def _lay_out(self) -> None:
        self._grid = QGridLayout()
        self._grid.setSpacing(2)
        for i, panel in enumerate(self.panels):
            step = QPushButton(self)
            step.setCheckable(True)
            step.setToolTip(panel.intro)
            self.steps.addButton(step, i)
            self.stack.addWidget(panel)
        self.project.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self._arrange(PER_ROW)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(4, 4, 4, 4)
        layout.addLayout(self._grid)
        layout.addWidget(self.stack, 1)
        self.setMinimumWidth(280)

    def _arrange(self, columns: int) -> None:
        """Put the steps into rows, each as wide as its neighbours."""
        for i, control in enumerate((*map(self.steps.button, range(len(self.panels))), self.project)):
            self._grid.addWidget(control, i // columns, i % columns)
        for column in range(PER_ROW):
            self._grid.setColumnStretch(column, int(column < columns))

    def _mark(self, *_: object) -> None:
        for i, (panel, (_, stages)) in enumerate(zip(self.panels, STEPS, strict=True)):
            done = any(self.bench.session.has(stage) for stage in stages)
            stale = not done and bool(self.bench.session.stale & set(stages))
            words = panel.title.split(" · ")[1]
            self.steps.button(i).setText(f"{'✓' if done else '↻' if stale else i + 1} {words}")
            self.steps.button(i).setToolTip(STALE if stale else panel.intro)
