"""Controls of the half cut: where the plane lies, how it leans and which side is kept."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QCheckBox, QComboBox, QFormLayout, QHBoxLayout, QVBoxLayout, QWidget
from superqt import QLabeledDoubleSlider
from superqt.utils import signals_blocked

from napari_dipmtv._napari.forms import folded
from napari_dipmtv._napari.half_cut import AXES, HalfCut, facing
from napari_dipmtv._napari.runs import telling
from napari_dipmtv._napari.stage_widget import button, enable

if TYPE_CHECKING:
    from napari_dipmtv._napari.bench import Bench
    from napari_dipmtv.data import Volume


class CutBox(QWidget):
    """Moves the one plane of a viewer, and follows it where another dock moves it."""

    def __init__(self, bench: Bench) -> None:
        super().__init__()
        self._bench = bench
        self._make_controls()
        self._lay_out()
        self._connect()
        self._show(bench.layers.half_cut)

    @property
    def value(self) -> HalfCut:
        """The half cut that the controls describe."""
        return HalfCut(
            self.on.isChecked(),
            self.axis.currentData(),
            float(self.position.value()),
            self.flip.isChecked(),
            float(self.turn.value()),
            float(self.tip.value()),
        )

    def allow(self, reason: str) -> None:
        """Enable the controls, or say why not."""
        for control, tip in self._tips.items():
            enable(control, tip, reason)

    def fit(self, volume: Volume) -> None:
        """Let the plane move through a volume, voxel by voxel."""
        half_nm = max(volume.data.shape[1:]) / 2 * volume.voxel_nm
        self.position.setRange(-half_nm, half_nm)
        self.position.setSingleStep(volume.voxel_nm)

    def _make_controls(self) -> None:
        self.open_up = button("Show the inside in 3-D", "")
        self.on = QCheckBox("Half cut")
        self.axis = QComboBox()
        for axis in AXES:
            self.axis.addItem(f"across {axis}", axis)
        self.flip = QCheckBox("other side")
        self.position = QLabeledDoubleSlider(Qt.Orientation.Horizontal)
        self.position.setDecimals(1)
        self.position.setRange(-1, 1)
        self.turn, self.tip = _angle_slider(), _angle_slider()
        self.face = button("Cut facing me", "")
        self._tips = {
            self.open_up: "Switch to 3-D and look into the half cut, which goes through the void once that is measured",
            self.on: "Remove everything on one side of a plane, from all channels and phases alike",
            self.axis: "Direction in which the plane is moved",
            self.flip: "Keep the other half",
            self.position: "Distance of the plane from the centre, in nm; larger moves it along the axis",
            self.turn: "Oblique cut: lean of the plane towards the first of the other axes, in degrees",
            self.tip: "Oblique cut: lean of the plane towards the second of the other axes, in degrees",
            self.face: "Turn the plane so that the cut faces you as the camera stands now (3-D)",
        }

    def _lay_out(self) -> None:
        layout, first = QVBoxLayout(self), QHBoxLayout()
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.open_up)
        for control in (self.on, self.axis):
            first.addWidget(control)
        layout.addLayout(first)
        layout.addWidget(self.flip)
        rows = QFormLayout()
        rows.addRow("Position / nm", self.position)
        layout.addLayout(rows)
        oblique = QWidget()
        leaning = QFormLayout(oblique)
        leaning.addRow("Turn / °", self.turn)
        leaning.addRow("Tip / °", self.tip)
        leaning.addRow(self.face)
        layout.addWidget(folded("Oblique cut", oblique, "Lean the plane of the half cut"))

    def _connect(self) -> None:
        self.on.toggled.connect(self._apply)
        self.flip.toggled.connect(self._apply)
        self.axis.currentIndexChanged.connect(self._apply)
        for slider in (self.position, self.turn, self.tip):
            slider.valueChanged.connect(self._apply)
        self.face.clicked.connect(self._face)
        self.open_up.clicked.connect(self._open_up)
        self._bench.cut_changed.connect(self._show)

    def _apply(self, *_: object) -> None:
        with telling():
            self._bench.cut(self.value)

    def _show(self, cut: HalfCut) -> None:
        """Follow a cut that was made elsewhere."""
        for control, value, write in (
            (self.on, cut.enabled, self.on.setChecked),
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
            show_inside(self._bench)

    def _face(self) -> None:
        with telling():
            direction = self._bench.layers.viewer.scene.camera.view_direction
            self._bench.cut(facing(direction, self.value.position_nm))


def show_inside(bench: Bench) -> None:
    """Look into the half cut in 3-D, which goes through the largest void once that has been measured."""
    cut = bench.layers.half_cut
    measures = bench.session.value("measures") if bench.session.has("measures") else ()
    centre_nm = next((m.value for m in measures if m.name == f"void centre {cut.axis}"), None)
    if centre_nm is not None:
        bench.cut(replace(cut, position_nm=centre_nm))
    bench.open_up()


def _angle_slider() -> QLabeledDoubleSlider:
    slider = QLabeledDoubleSlider(Qt.Orientation.Horizontal)
    slider.setDecimals(0)
    slider.setRange(-60, 60)
    return slider
