"""A line drawn on a slice to the densities along it and the width of every edge."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.compat import isalive
from qtpy.QtWidgets import QVBoxLayout, QWidget
from superqt.utils import qthrottled

from napari_dipmtv._napari.plots import Plot
from napari_dipmtv._napari.profile import Edge, line_profile, strongest_edge
from napari_dipmtv._napari.runs import telling
from napari_dipmtv._napari.stage_widget import button, enable, note
from napari_dipmtv._napari.turns import ALONE, Pieces
from napari_dipmtv._napari.view_angle import turn_flat
from napari_dipmtv.data import Volume

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from napari_dipmtv._napari.bench import Bench


class ProfileBox(QWidget):
    """Draws a line, follows it while it is moved, and plots the profile of the current volume."""

    def __init__(self, viewer: ViewerModel, bench: Bench) -> None:
        super().__init__()
        self._bench = bench
        self._line: Any = None
        self.draw = button("Draw a profile line", "")
        self.plot = Plot(
            viewer, 150, "Density of every channel along the line, in the units of the maps per voxel"
        )
        self.words = note()
        self.words.setToolTip(
            "Width from 10 to 90 % of the strongest edge of every channel, from a fitted error function"
        )
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        for control in (self.draw, self.plot, self.words):
            layout.addWidget(control)
        self._later = qthrottled(self.update_plot, timeout=150, parent=self)
        self.draw.clicked.connect(self._draw)
        self.update_plot()

    def allow(self, reason: str) -> None:
        """Enable the button, or say why not."""
        enable(
            self.draw, "Show a plane in 2-D and draw a line with the mouse; drag its ends to move it", reason
        )

    def update_plot(self) -> None:
        """Plot the line as it lies now."""
        corners = self._bench.layers.line_nm()
        if corners is None or not self._bench.session.has("volume"):
            self.plot.clear("The profile appears here")
            self.words.setText("")
            return
        volume = self._bench.session.value("volume").volume
        with telling():
            distance, densities = line_profile(volume, *corners)
            curves = {
                name: (distance, density) for name, density in zip(volume.channels, densities, strict=True)
            }
            self.plot.curves(curves, "along the line / nm", "density")
            edges = {name: strongest_edge(distance, density) for name, (_, density) in curves.items()}
            self.words.setText("<br>".join(describe(name, edge) for name, edge in edges.items()))

    def _on_line(self, *_: object) -> None:
        if isalive(self):  # napari keeps the connection of a dock that was closed
            self._later()

    def _draw(self) -> None:
        with telling():
            volume = self._bench.session.value("volume").volume
            self._bench.layers.take("line", self._drawing(volume))

    def _drawing(self, volume: Volume) -> Pieces:
        layers = self._bench.layers
        line = yield from layers.line_layer(volume)
        if line is not self._line:
            self._line = line
            line.events.data.connect(self._on_line)
        yield ALONE
        yield from turn_flat(layers.viewer)
        layers.viewer.layers.selection.active = line
        line.mode = "add_line"


def describe(channel: str, edge: Edge | None) -> str:
    """One line on the strongest edge of a channel."""
    if edge is None:
        return f"{channel}: no edge that can be fitted."
    return (
        f"{channel}: edge at {edge.position_nm:.2f} nm, {edge.width_nm:.2f} ± {edge.uncertainty_nm:.2f} nm wide "
        "(10 to 90 %)."
    )
