"""Step 6: a volume is cut open, looked at from all sides, divided into phases and measured."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QAbstractItemView,
    QCheckBox,
    QComboBox,
    QFormLayout,
    QHBoxLayout,
    QTableWidget,
    QTableWidgetItem,
    QWidget,
)
from superqt import QLabeledDoubleSlider
from superqt.utils import signals_blocked

from napari_dipmtv._napari.forms import SettingsForm, folded
from napari_dipmtv._napari.half_cut import AXES, HalfCut, facing
from napari_dipmtv._napari.job_bar import JobBar
from napari_dipmtv._napari.ortho import OrthoPlot
from napari_dipmtv._napari.picture_box import PictureBox
from napari_dipmtv._napari.profile_box import ProfileBox
from napari_dipmtv._napari.runs import telling
from napari_dipmtv._napari.stage_widget import StageWidget, button, enable, section
from napari_dipmtv._napari.view_angle import ORDERS, look_flat
from napari_dipmtv.settings.inspect import SegmentSettings

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from napari_dipmtv._napari.session import Reconstruction
    from napari_dipmtv.data import Volume
    from napari_dipmtv.io.project import Project

# a void that the missing wedge has filled partly is found at its own contrast
USUAL = SegmentSettings(void_reference="surrounding")
RENDERINGS = {
    "surface": "A surface where the density passes the level below: shows shells and voids in the half cut",
    "projection": "The largest density along the line of sight: shows everything, but hides voids",
}


class InspectWidget(StageWidget):
    """Half cut, rendering, planes, phases and measures."""

    title = "6 · Inspect"
    intro = "Cut the volume open, look for the void, name the phases and measure them."
    needs = "volume"

    def __init__(self, napari_viewer: ViewerModel) -> None:
        super().__init__(napari_viewer)
        self._make_view_controls()
        self._make_phase_controls()
        self.ortho = OrthoPlot(napari_viewer)
        self.profile = ProfileBox(napari_viewer, self.bench)
        self.pictures = PictureBox(self.bench)
        self._lay_out()
        self._connect()
        self._shown: Reconstruction | None = None
        self._show_cut(self.bench.layers.half_cut)
        self.refresh()

    def take_settings(self, project: Project) -> None:
        """Show the settings of a project that was opened."""
        self.form.setValue(project.segment)

    def refresh(self) -> None:
        """Say what is there and allow what is possible."""
        missing = self.missing
        for control, tip in self._tips.items():
            enable(control, tip, missing)
        self.job_bar.block(missing or self.form.problem)
        self.status.setText(missing or "Open the volume with the half cut, or segment it.")
        self.profile.allow(missing)
        if self.session.has("volume"):
            self._fit_slider(self.session.value("volume"))
        elif self._shown is not None:
            self._shown = None
            self.ortho.show_volume(None)
            self.profile.update_plot()
        if self.session.has("measures"):
            self._fill(self.session.value("measures"))
            self.status.setText("Phases are named and measured. Ask with step 7 whether the void is real.")
        else:
            self.table.setRowCount(0)
        self.table.setVisible(self.table.rowCount() > 0)
        segment_first = "" if self._segmented else "Segment first."
        enable(self.phases, "Show the phases instead of the densities", segment_first)
        enable(self.only, "Show one phase alone, e.g. the core, the shell or the void", segment_first)
        self.phases.setChecked(self._segmented)
        self._list_phases()

    @property
    def cut(self) -> HalfCut:
        """The half cut that the controls describe."""
        return HalfCut(
            self.cut_on.isChecked(),
            self.axis.currentData(),
            float(self.position.value()),
            self.flip.isChecked(),
            float(self.turn.value()),
            float(self.tip.value()),
        )

    @property
    def _segmented(self) -> bool:
        return self.session.has("segmentation")

    def _make_view_controls(self) -> None:
        self.cut_on = QCheckBox("Half cut")
        self.axis = QComboBox()
        for axis in AXES:
            self.axis.addItem(f"across {axis}", axis)
        self.flip = QCheckBox("other side")
        self.position = QLabeledDoubleSlider(Qt.Orientation.Horizontal)
        self.position.setDecimals(1)
        self.position.setRange(-1, 1)
        self.turn, self.tip = _angle_slider(), _angle_slider()
        self.face = button("Cut facing me", "")
        self.open_up = button("Show the inside in 3-D", "")
        self.planes = {name: button(name, "") for name in ORDERS}
        self.rendering = QComboBox()
        for name, tip in RENDERINGS.items():
            self.rendering.addItem(name, {"surface": "iso", "projection": "mip"}[name])
            self.rendering.setItemData(self.rendering.count() - 1, tip, Qt.ItemDataRole.ToolTipRole)
        self.level = QLabeledDoubleSlider(Qt.Orientation.Horizontal)
        self.level.setDecimals(2)
        self.level.setRange(0.05, 1.2)
        self.level.setValue(0.5)
        self._tips = {
            self.cut_on: "Remove everything on one side of a plane, from all channels and phases alike",
            self.axis: "Direction in which the plane is moved",
            self.flip: "Keep the other half",
            self.position: "Distance of the plane from the centre, in nm; larger moves it along the axis",
            self.turn: "Oblique cut: lean of the plane towards the first of the other axes, in degrees",
            self.tip: "Oblique cut: lean of the plane towards the second of the other axes, in degrees",
            self.face: "Turn the plane so that the cut faces you as the camera stands now (3-D)",
            self.open_up: "Switch to 3-D and look into the half cut, which goes through the void once that is measured",
            self.rendering: "How densities are drawn in 3-D",
            self.level: "Density of the surface, as a share of the density inside; larger shows less",
            **{
                control: f"Show the {name} plane through the middle in 2-D"
                for name, control in self.planes.items()
            },
        }

    def _make_phase_controls(self) -> None:
        self.form = SettingsForm(SegmentSettings)
        self.form.setValue(USUAL)
        self.job_bar = JobBar(
            self.bench.job,
            "segment",
            "Segment and measure",
            "Name the phases of every voxel and measure them",
        )
        self.phases = QCheckBox("Show phases")
        self.only = QComboBox()
        self.table = QTableWidget(0, 3)
        self.table.setToolTip("Measures of the phases; the ± is the uncertainty of where the boundaries lie")
        self.table.setHorizontalHeaderLabels(("Measure", "Value", "Unit"))
        self.table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.table.verticalHeader().setVisible(False)
        self.table.setMinimumHeight(220)

    def _lay_out(self) -> None:
        first, flat = QHBoxLayout(), QHBoxLayout()
        for control in (self.cut_on, self.axis, self.flip):
            first.addWidget(control)
        for control in self.planes.values():
            flat.addWidget(control)
        self.body.addWidget(self.open_up)
        self.body.addLayout(first)
        rows = QFormLayout()
        rows.addRow("Position / nm", self.position)
        rows.addRow("Draw as", self.rendering)
        rows.addRow("Surface at", self.level)
        rows.addRow("Planes", flat)
        self.body.addLayout(rows)
        oblique = QWidget()
        leaning = QFormLayout(oblique)
        leaning.addRow("Turn / °", self.turn)
        leaning.addRow("Tip / °", self.tip)
        leaning.addRow(self.face)
        for title, content, words in (
            ("Oblique cut", oblique, "Lean the plane of the half cut"),
            ("Three planes through a point", self.ortho, "Slices along all three directions at once"),
            ("Line profile and edge width", self.profile, "How sharp the boundaries are, in nm"),
            ("Pictures and film", self.pictures, "Axes, scale bar, screenshot and turntable"),
        ):
            self.body.addWidget(folded(title, content, words))
        self.body.addWidget(section("Phases and measures"))
        self.body.addWidget(self.form)
        self.body.addWidget(self.job_bar)
        phases = QHBoxLayout()
        phases.addWidget(self.phases)
        phases.addWidget(self.only, 1)
        self.body.addLayout(phases)
        self.body.addWidget(self.table)

    def _connect(self) -> None:
        self.cut_on.toggled.connect(self._apply_cut)
        self.flip.toggled.connect(self._apply_cut)
        self.axis.currentIndexChanged.connect(self._apply_cut)
        for slider in (self.position, self.turn, self.tip):
            slider.valueChanged.connect(self._apply_cut)
        self.face.clicked.connect(self._face)
        self.bench.cut_changed.connect(self._show_cut)
        self.open_up.clicked.connect(self._open_up)
        self.rendering.currentIndexChanged.connect(self._draw)
        self.level.valueChanged.connect(self._draw)
        for name, control in self.planes.items():
            control.clicked.connect(lambda _, name=name: self._flat(name))
        self.phases.toggled.connect(self._show_phases)
        self.only.activated.connect(lambda _: self._show_only())
        self.form.validityChanged.connect(lambda _: self.refresh())
        self.job_bar.start_clicked.connect(self._start)

    def _apply_cut(self, *_: object) -> None:
        with telling():
            self.bench.cut(self.cut)

    def _show_cut(self, cut: HalfCut) -> None:
        """Follow a cut that was made elsewhere."""
        for control, value, write in (
            (self.cut_on, cut.enabled, self.cut_on.setChecked),
            (self.axis, AXES.index(cut.axis), self.axis.setCurrentIndex),
            (self.flip, cut.flip, self.flip.setChecked),
            (self.position, cut.position_nm, self.position.setValue),
            (self.turn, cut.turn_deg, self.turn.setValue),
            (self.tip, cut.tip_deg, self.tip.setValue),
        ):
            with signals_blocked(control):
                write(value)

    def _open_up(self) -> None:
        with telling():
            centre = self._void_centre(self.axis.currentData())
            if centre is not None:
                self.position.setValue(centre)
            self.bench.open_up()

    def _face(self) -> None:
        with telling():
            direction = self.bench.layers.viewer.scene.camera.view_direction
            self.bench.cut(facing(direction, self.cut.position_nm))

    def _list_phases(self) -> None:
        """Offer every phase that there is."""
        names = sorted(set(self.session.value("segmentation").phases.values())) if self._segmented else []
        wanted = ["all phases", *(name for name in names if name != "vacuum")]
        if wanted != [self.only.itemText(i) for i in range(self.only.count())]:
            self.only.clear()
            self.only.addItems(wanted)

    def _show_only(self) -> None:
        chosen = self.only.currentText() if self.only.currentIndex() > 0 else None
        with telling():
            self.phases.setChecked(True)
            self.bench.show_one_phase(chosen)

    def _void_centre(self, axis: str) -> float | None:
        """Where the largest void lies along an axis, in nm; None where none has been measured."""
        measures = self.session.value("measures") if self.session.has("measures") else ()
        return next((m.value for m in measures if m.name == f"void centre {axis}"), None)

    def _flat(self, name: str) -> None:
        with telling():
            look_flat(self.bench.layers.viewer, name)

    def _draw(self, *_: object) -> None:
        with telling():
            self.bench.layers.draw_volumes(self.rendering.currentData(), float(self.level.value()))

    def _show_phases(self, wanted: bool) -> None:
        if self._segmented:
            with telling():
                self.bench.show_phases(wanted)

    def _start(self) -> None:
        with telling():
            self.bench.segment(self.form.value())

    def _fit_slider(self, made: Reconstruction) -> None:
        if made is self._shown:
            return
        self._shown = made
        reach = _half_nm(made.volume)
        self.position.setRange(-reach, reach)
        self.position.setSingleStep(made.volume.voxel_nm)
        self.ortho.show_volume(made.volume)
        self.profile.update_plot()

    def _fill(self, measures: tuple[object, ...]) -> None:
        self.table.setRowCount(len(measures))
        for r, measure in enumerate(measures):
            for c, text in enumerate(
                (measure.name, number(measure.value, measure.uncertainty), measure.unit)
            ):
                item = QTableWidgetItem(text)
                item.setToolTip(text)
                self.table.setItem(r, c, item)
        self.table.resizeColumnsToContents()
        self.table.horizontalHeader().setStretchLastSection(True)


def number(value: float, uncertainty: float | None) -> str:
    """A value with as many digits as its uncertainty allows, e.g. "2070 ± 250" or "1.58 ± 0.41"."""
    if uncertainty is None or not uncertainty > 0:
        return f"{value:.4g}"
    digits = 1 - math.floor(math.log10(uncertainty))
    return f"{round(value, digits):.{max(digits, 0)}f} ± {round(uncertainty, digits):.{max(digits, 0)}f}"


def _angle_slider() -> QLabeledDoubleSlider:
    slider = QLabeledDoubleSlider(Qt.Orientation.Horizontal)
    slider.setDecimals(0)
    slider.setRange(-60, 60)
    return slider


def _half_nm(volume: Volume) -> float:
    return max(volume.data.shape[1:]) / 2 * volume.voxel_nm
