"""Controls that name the phases of a volume, show some of them alone, and list what was measured."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from qtpy.QtCore import Signal
from qtpy.QtWidgets import (
    QAbstractItemView,
    QCheckBox,
    QComboBox,
    QHBoxLayout,
    QHeaderView,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)
from superqt.utils import signals_blocked

from napari_dipmtv._napari.forms import SettingsForm
from napari_dipmtv._napari.job_bar import JobBar
from napari_dipmtv._napari.runs import telling
from napari_dipmtv._napari.stage_widget import enable
from napari_dipmtv.settings.inspect import SegmentSettings

if TYPE_CHECKING:
    from napari_dipmtv._napari.bench import Bench
    from napari_dipmtv.inspect import Measure

# a void that the missing wedge has filled partly is found at its own contrast
USUAL = SegmentSettings(void_reference="surrounding")
ALL = "all phases"


class PhaseBox(QWidget):
    """Segments and measures the current volume; ``problem_changed`` tells that the settings became right or wrong."""

    problem_changed = Signal()

    def __init__(self, bench: Bench) -> None:
        super().__init__()
        self._bench = bench
        self.form = SettingsForm(SegmentSettings)
        self.form.setValue(USUAL)
        self.job_bar = JobBar(
            bench.job, "segment", "Segment and measure", "Name the phases of every voxel and measure them"
        )
        self.phases = QCheckBox("Show phases")
        self.only = QComboBox()
        self.table = QTableWidget(0, 3)
        self.table.setToolTip("Measures of the phases; the ± is the uncertainty of where the boundaries lie")
        self.table.setHorizontalHeaderLabels(("Measure", "Value", "Unit"))
        self.table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.table.verticalHeader().setVisible(False)
        whole = QHeaderView.ResizeMode.ResizeToContents
        self.table.verticalHeader().setSectionResizeMode(whole)  # a long name takes two lines
        self.table.horizontalHeader().setSectionResizeMode(whole)
        self.table.horizontalHeader().setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        self.table.setMinimumHeight(220)
        self._lay_out()
        self.phases.toggled.connect(self._show_phases)
        self.only.activated.connect(lambda _: self._show_only())
        self.form.validityChanged.connect(lambda _: self.problem_changed.emit())
        self.job_bar.start_clicked.connect(self._start)

    def allow(self, missing: str) -> None:
        """Bring the controls to what the session has."""
        session = self._bench.session
        segmented = session.has("segmentation")
        self.job_bar.block(missing or self.form.problem)
        segment_first = "" if segmented else "Segment first."
        enable(self.phases, "Show the phases instead of the densities", segment_first)
        enable(self.only, "Show one phase alone, e.g. the core, the shell or the void", segment_first)
        self.follow_layers()
        names = sorted(set(session.value("segmentation").phases.values())) if segmented else []
        wanted = [ALL, *(name for name in names if name != "vacuum")]
        if wanted != [self.only.itemText(i) for i in range(self.only.count())]:
            self.only.clear()
            self.only.addItems(wanted)
        self._fill(session.value("measures") if session.has("measures") else ())

    def follow_layers(self) -> None:
        """Tell whether the phases are shown."""
        layers = self._bench.layers
        seen = any(each.visible for each in layers.alive("labels").values())
        with signals_blocked(self.phases):
            self.phases.setChecked(seen or layers.waits("labels"))

    def _lay_out(self) -> None:
        layout, phases = QVBoxLayout(self), QHBoxLayout()
        layout.setContentsMargins(0, 0, 0, 0)
        phases.addWidget(self.phases)
        phases.addWidget(self.only, 1)
        layout.addWidget(self.form)
        layout.addWidget(self.job_bar)
        layout.addLayout(phases)
        layout.addWidget(self.table)

    def _show_only(self) -> None:
        chosen = self.only.currentText() if self.only.currentIndex() > 0 else None
        with telling():
            self.phases.setChecked(True)
            self._bench.show_one_phase(chosen)

    def _show_phases(self, wanted: bool) -> None:
        if self._bench.session.has("segmentation"):
            with telling():
                self._bench.show_phases(wanted)

    def _start(self) -> None:
        with telling():
            self._bench.segment(self.form.value())

    def _fill(self, measures: Sequence[Measure]) -> None:
        self.table.setRowCount(len(measures))
        for r, measure in enumerate(measures):
            value = number(measure.value, measure.uncertainty)
            for c, text in enumerate((measure.name, value, measure.unit)):
                item = QTableWidgetItem(text)
                item.setToolTip(text)
                self.table.setItem(r, c, item)
        self.table.setVisible(bool(measures))


def number(value: float, uncertainty: float | None) -> str:
    """A value with as many digits as its uncertainty allows, e.g. "2070 ± 250" or "1.58 ± 0.41"."""
    if uncertainty is None or not uncertainty > 0:
        return f"{value:.4g}"
    digits = 1 - math.floor(math.log10(uncertainty))
    return f"{round(value, digits):.{max(digits, 0)}f} ± {round(uncertainty, digits):.{max(digits, 0)}f}"
