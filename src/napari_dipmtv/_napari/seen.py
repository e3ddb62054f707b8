"""Which layers of a viewer are seen and how: one group or several in a grid, cut, in 2-D or 3-D, with their tilt.

A part of `layers.Layers`. What changes more than one thing comes in pieces: napari slices and draws after each.
"""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING

import numpy as np

from napari_dipmtv._napari import trust_layers
from napari_dipmtv._napari.drawn import FLAT, Drawn
from napari_dipmtv._napari.half_cut import HalfCut
from napari_dipmtv._napari.layer_data import ISO_LEVEL, typical
from napari_dipmtv._napari.turns import ALONE, Pieces, turns
from napari_dipmtv._napari.view_angle import turn_flat
from napari_dipmtv._napari.window import is_open

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Layer


class Seen(Drawn):
    """The look of the layers that are held."""

    def __init__(self, viewer: ViewerModel) -> None:
        self._viewer = weakref.ref(viewer)
        self._held: dict[str, dict[str, Layer]] = {}  # group: name in the group: layer
        self._cut = HalfCut()
        self._gridded = False  # the grid was switched on here
        self._rendering, self._level = "iso", ISO_LEVEL
        viewer.dims.events.point.connect(self._write_tilt)
        viewer.dims.events.ndisplay.connect(self._blend)

    # -- work on the viewer, in pieces

    def take(self, name: str, pieces: Pieces) -> None:
        """Have some work done soon, behind all that is waiting; it takes the place of waiting work of that name."""
        turns().take(self, name, pieces, lambda: is_open(self._viewer()))

    def waits(self, name: str) -> bool:
        """True while work of that name is not done."""
        return turns().has(self, name)

    @property
    def busy(self) -> bool:
        """True while layers are being made or their view is being changed."""
        return turns().has(self)

    def settle(self) -> None:
        """Do all work that waits now."""
        turns().finish(self)

    def look_at(self, group: str, *beside: str) -> None:
        """Have `looking` done."""
        self.take("look", self.looking(group, *beside))

    def looking(self, group: str, *beside: str) -> Pieces:
        """Show the layers of one group and hide those of the others; maps in 2-D, volumes as the viewer stands.

        The groups ``beside`` are shown too, each in a cell of a grid.
        """
        viewer = self.viewer
        yield from self._set_grid((group, *beside) if beside else ())
        flat = group in FLAT
        for name, members in list(self._held.items()):
            companions = name in (group, *beside) or (
                flat and name == "regions" and group in ("sums", "spectra")
            )
            for key, layer in list(members.items()):
                wanted = companions and not (name == "sums" and key == "Low-loss sum")
                if layer in viewer.layers and layer.visible != wanted:
                    layer.visible = wanted
                    yield
        if flat and viewer.dims.ndisplay != 2:
            yield ALONE
            yield from turn_flat(viewer)
        if flat:
            self._centre_slices()
            yield
        viewer.canvas.overlays.scale_bar.visible = True
        yield
        self._write_tilt()

    def _set_grid(self, groups: tuple[str, ...]) -> Pieces:
        """One cell per group, or no grid where it was set here; a grid that somebody else has set stays."""
        viewer, was = self.viewer, self._gridded
        self._gridded = bool(groups)
        for name in reversed(groups):  # napari fills the cells from the top of the list
            for layer in self.alive(name).values():
                viewer.layers.move(viewer.layers.index(layer), len(viewer.layers))
                yield
        if groups:
            viewer.canvas.grid.stride = -max(len(self.alive(name)) for name in groups)
            yield
        if groups or was:
            viewer.canvas.grid.enabled = bool(groups)
            yield

    def alive(self, group: str) -> dict[str, Layer]:
        """Layers of a group that are still in the viewer."""
        viewer = self.viewer
        return {key: layer for key, layer in self._held.get(group, {}).items() if layer in viewer.layers}

    def solids(self) -> list[Layer]:
        """All volumes and labels that are still in the viewer: what the half cut cuts."""
        kinds = ("stream", "labels", "volume", "difference", trust_layers.GROUP)
        names = [name for name in self._held if name.startswith(kinds)]
        return [layer for name in names for layer in self.alive(name).values()]

    @property
    def half_cut(self) -> HalfCut:
        """The plane that cuts all volumes and labels."""
        return self._cut

    def cut(self, cut: HalfCut) -> None:
        """Cut all volumes and labels by one plane."""
        self._cut = cut
        self._apply_cut()

    def draw_volumes(self, rendering: str, level: float) -> None:
        """Draw all volumes as surfaces at a share of their typical density ("iso") or as projections ("mip")."""
        self._rendering, self._level = rendering, level
        self.take("rendering", self._drawing_volumes(rendering, level))

    def _drawing_volumes(self, rendering: str, level: float) -> Pieces:
        for name in list(self._held):
            for layer in self.alive(name).values() if name.startswith(("stream", "volume")) else ():
                layer.rendering = rendering
                layer.iso_threshold = level * typical(layer.data)
                yield

    @property
    def _blending(self) -> str:
        """Solids hide what is behind them; slices add up, so that no channel hides the other."""
        return "translucent" if self.viewer.dims.ndisplay == 3 else "additive"

    def _blend(self, *_: object) -> None:
        for name in self._held:
            for layer in self.alive(name).values() if name.startswith(("stream", "volume")) else ():
                layer.blending = self._blending
        self._write_tilt()

    def _apply_cut(self) -> None:
        for layer in self.solids():
            self._cut_open(layer)

    def _cut_open(self, layer: Layer) -> None:
        """Cut one layer, if it is one of those that are cut, by the plane of all."""
        planes = self._cut.planes()
        if layer in self.solids() and (planes or layer.experimental_clipping_planes):
            layer.experimental_clipping_planes = planes

    def _centre_slices(self) -> None:
        """Put the depth slider on the plane in which the maps lie."""
        viewer = self.viewer
        if viewer.dims.ndim >= 3:
            viewer.dims.set_point(viewer.dims.ndim - 3, 0.0)

    def _write_tilt(self, *_: object) -> None:
        """Write the real tilt of the shown view onto the canvas; sliders of uneven series only count."""
        viewer = self._viewer()
        if viewer is None:
            return
        text = viewer.canvas.overlays.text
        shown = self.shown_maps()
        tilts = shown[0].metadata.get("tilts_deg") if shown else None
        text.visible = tilts is not None and viewer.dims.ndisplay == 2
        if text.visible:
            axis = viewer.dims.ndim - 4
            step = (viewer.dims.point[axis] - shown[0].translate[-4]) / shown[0].scale[-4]
            text.text = f"tilt {tilts[int(np.clip(round(step), 0, len(tilts) - 1))]:+.1f}°"
