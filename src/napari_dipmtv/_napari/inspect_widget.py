"""Step 6: a volume is cut open, looked at from all sides, divided into phases and measured."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QComboBox, QFormLayout, QHBoxLayout
from superqt import QLabeledDoubleSlider

from napari_dipmtv._napari.cut_box import CutBox
from napari_dipmtv._napari.forms import folded
from napari_dipmtv._napari.layer_data import ISO_LEVEL
from napari_dipmtv._napari.ortho import OrthoPlot
from napari_dipmtv._napari.phase_box import PhaseBox
from napari_dipmtv._napari.picture_box import PictureBox
from napari_dipmtv._napari.profile_box import ProfileBox
from napari_dipmtv._napari.runs import telling
from napari_dipmtv._napari.stage_widget import StageWidget, button, enable, section
from napari_dipmtv._napari.view_angle import ORDERS, look_flat

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from napari_dipmtv._napari.session import Reconstruction
    from napari_dipmtv.io.project import Project

RENDERINGS = {
    "surface": "A surface where the density passes the level below: shows shells and voids in the half cut",
    "projection": "The largest density along the line of sight: shows everything, but hides voids",
}


class InspectWidget(StageWidget):
    """Half cut, rendering, planes, profile, pictures, phases and measures."""

    title = "6 · Inspect"
    intro = "Cut the volume open, look for the void, name the phases and measure them."
    needs = "volume"

    def __init__(self, napari_viewer: ViewerModel) -> None:
        super().__init__(napari_viewer)
        self.cut = CutBox(self.bench)
        self.phases = PhaseBox(self.bench)
        self.ortho = OrthoPlot(napari_viewer)
        self.profile = ProfileBox(napari_viewer, self.bench)
        self.pictures = PictureBox(self.bench)
        self._make_controls()
        self._lay_out()
        self._connect()
        self._shown: Reconstruction | None = None
        self.refresh()

    def take_settings(self, project: Project) -> None:
        """Show the settings of a project that was opened."""
        self.phases.form.setValue(project.segment)

    def refresh(self) -> None:
        """Say what is there and allow what is possible."""
        missing = self.missing
        for control, tip in self._tips.items():
            enable(control, tip, missing)
        for box in (self.cut, self.phases, self.profile):
            box.allow(missing)
        self.status.setText(missing or "Open the volume with the half cut, or segment it.")
        if self.session.has("measures"):
            void = "void" in self.session.value("segmentation").phases.values()
            what = "Ask with step 7 whether the void is real." if void else "There is no void among them."
            self.status.setText(f"Phases are named and measured. {what}")
        self._show_volume(self.session.value("volume") if self.session.has("volume") else None)

    def follow_layers(self) -> None:
        """Tell whether the phases are shown."""
        self.phases.follow_layers()

    def _make_controls(self) -> None:
        self.planes = {name: button(name, "") for name in ORDERS}
        self.rendering = QComboBox()
        for name, tip in RENDERINGS.items():
            self.rendering.addItem(name, {"surface": "iso", "projection": "mip"}[name])
            self.rendering.setItemData(self.rendering.count() - 1, tip, Qt.ItemDataRole.ToolTipRole)
        self.level = QLabeledDoubleSlider(Qt.Orientation.Horizontal)
        self.level.setDecimals(2)
        self.level.setRange(0.05, 1.2)
        self.level.setValue(ISO_LEVEL)
        self._tips = {
            self.rendering: "How densities are drawn in 3-D",
            self.level: "Density of the surface, as a share of the density inside; larger shows less",
            **{
                control: f"Show the {name} plane through the middle in 2-D"
                for name, control in self.planes.items()
            },
        }

    def _lay_out(self) -> None:
        flat, rows = QHBoxLayout(), QFormLayout()
        for control in self.planes.values():
            flat.addWidget(control)
        rows.addRow("Draw as", self.rendering)
        rows.addRow("Surface at", self.level)
        rows.addRow("Planes", flat)
        self.body.addWidget(self.cut)
        self.body.addLayout(rows)
        for title, content, words in (
            ("Three planes through a point", self.ortho, "Slices along all three directions at once"),
            ("Line profile and edge width", self.profile, "How sharp the boundaries are, in nm"),
            ("Pictures and film", self.pictures, "Axes, scale bar, screenshot and turntable"),
        ):
            self.body.addWidget(folded(title, content, words))
        self.body.addWidget(section("Phases and measures"))
        self.body.addWidget(self.phases)

    def _connect(self) -> None:
        self.rendering.currentIndexChanged.connect(self._draw)
        self.level.valueChanged.connect(self._draw)
        for name, control in self.planes.items():
            control.clicked.connect(lambda _, name=name: self._flat(name))
        self.phases.problem_changed.connect(self.refresh)

    def _flat(self, name: str) -> None:
        with telling():
            layers = self.bench.layers
            layers.take("view", look_flat(layers.viewer, name))

    def _draw(self, *_: object) -> None:
        with telling():
            self.bench.layers.draw_volumes(self.rendering.currentData(), float(self.level.value()))

    def _show_volume(self, made: Reconstruction | None) -> None:
        """Bring what shows numbers of the volume to another one."""
        if made is self._shown:
            return
        self._shown = made
        if made is not None:
            self.cut.fit(made.volume)
        self.ortho.show_volume(None if made is None else made.volume)
        self.profile.update_plot()
