"""A volume to its three planes through one point, as colour pictures that follow the viewer's sliders."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.compat import isalive
from superqt.utils import qthrottled

from napari_dipmtv._napari.layer_data import PHASE_COLOURS, typical
from napari_dipmtv._napari.plots import Plot
from napari_dipmtv.data import F32, Volume

if TYPE_CHECKING:
    from napari.components import ViewerModel

# title: axes along the rows, along the columns, and across, as indices of (z, y, x)
PLANES = {"xy": (1, 2, 0), "xz": (0, 2, 1), "zy": (1, 0, 2)}


class OrthoPlot(Plot):
    """Shows the three planes; a click in one moves the others, and the sliders of the viewer, there."""

    def __init__(self, viewer: ViewerModel) -> None:
        super().__init__(
            viewer, 150, "The planes through one point; click to move it. Lines show where the others cut"
        )
        self._volume: Volume | None = None
        self._follow = qthrottled(self._on_point, timeout=150, parent=self)
        viewer.dims.events.point.connect(self._on_dims)
        self.mpl_connect("button_press_event", self._on_click)

    def show_volume(self, volume: Volume | None) -> None:
        """Show a volume, or nothing."""
        self._volume = volume
        self._levels: list[float] = []  # typical densities, once they are asked for
        self._on_point()

    def _on_dims(self, *_: object) -> None:
        if not isalive(self):
            return
        if self.isVisible():
            self._follow()
        else:
            self._on_point()  # drawn when it comes to light

    def _on_point(self) -> None:
        viewer = self._viewer()
        point = () if viewer is None else tuple(viewer.dims.point[-3:])
        if self._volume is None or len(point) < 3:  # the layers go when the window is closed
            self.clear("The planes of the volume appear here")
        else:
            self._show(self._draw_planes, self._volume, point)

    def _draw_planes(self, volume: Volume, point_nm: tuple[float, ...]) -> None:
        self._room = replace(self._room, left=26.0, across=26.0, bottom=16.0)
        self._levels = self._levels or [typical(data) for data in volume.data]
        half = [n / 2 * volume.voxel_nm for n in volume.data.shape[1:]]  # (z, y, x)
        for i, (title, (row, column, across)) in enumerate(PLANES.items()):
            axes = self._axes(1, 3, i + 1, f"{title} / nm", "", "")
            extent = (-half[column], half[column], half[row], -half[row])
            axes.imshow(plane(volume, self._levels, across, point_nm[across]), extent=extent)
            axes.axvline(point_nm[column], color=self._text, lw=0.5)
            axes.axhline(point_nm[row], color=self._text, lw=0.5)

    def _on_click(self, event: Any) -> None:
        viewer = self._viewer()
        if event.inaxes is None or viewer is None or self._volume is None:
            return
        row, column, _ = PLANES[event.inaxes.get_title().split()[0]]
        lead = viewer.dims.ndim - 3
        viewer.dims.set_point((lead + row, lead + column), (float(event.ydata), float(event.xdata)))
        self._on_point()


def plane(volume: Volume, levels: list[float], across: int, at_nm: float) -> F32:
    """One plane (rows, columns, RGB) of all channels in their colours, as bright as their share of the typical density.

    Parameters
    ----------
    levels : list of float
        Density that is drawn in full colour, by channel.
    across : {0, 1, 2}
        Axis (z, y, x) that the plane cuts.
    at_nm : float
        Where, from the centre.
    """
    from matplotlib.colors import to_rgb

    n = volume.data.shape[1 + across]
    index = int(np.clip(round(at_nm / volume.voxel_nm + (n - 1) / 2), 0, n - 1))
    slices = volume.data.take(index, axis=1 + across)  # (c, rows, columns)
    if across == 2:
        slices = slices.swapaxes(1, 2)  # (z, y) is shown with y downwards
    picture = np.zeros((*slices.shape[1:], 3), np.float32)
    for i, (image, level) in enumerate(zip(slices, levels, strict=True)):
        colour = np.asarray(to_rgb(PHASE_COLOURS[i % len(PHASE_COLOURS)]), np.float32)
        picture += np.clip(image / (1.2 * level), 0, 1)[..., None] * colour
    return np.clip(picture, 0, 1)
