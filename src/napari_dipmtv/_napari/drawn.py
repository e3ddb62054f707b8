"""What somebody points at and draws in the viewer to pixels, regions and a line; a part of `layers.Layers`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_dipmtv._napari.layer_data import PHASE_COLOURS, map_axes, volume_axes
from napari_dipmtv._napari.regions import CLOSED, outlines, region_of
from napari_dipmtv._napari.turns import Made, Pieces, aside
from napari_dipmtv.data import F64, Region, SpectrumSeries, Volume
from napari_dipmtv.errors import InputError, expected

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Layer, Shapes

FLAT = ("sums", "spectra", "maps", "aligned", "window", "quality")  # groups of maps (tilt, 1, y, x)


class Drawn:
    """The layers in which somebody draws, and where the mouse is."""

    _held: dict[str, dict[str, Layer]]

    @property
    def viewer(self) -> ViewerModel:
        """The viewer."""
        raise NotImplementedError

    def region_layer(self, name: str, series: SpectrumSeries, colour: str) -> Made[Shapes]:
        """Shapes layer on the axes of the maps, in which somebody draws a region of one tilt."""
        from napari.layers import Shapes

        held = self._held.setdefault("regions", {})
        shape = series.tilts[0].core_loss.counts.shape[:2]
        axes = map_axes(series.tilts_deg, series.pixel_nm, shape)
        layer: Shapes | None = self._living(held.get(name))
        if layer is not None and not np.allclose(layer.scale, axes["scale"]):
            self._doom({name: layer})  # drawn on pixels of another size
            yield from self._removing()
            layer = None
        if layer is None:
            looks = {"edge_color": colour, "face_color": [0, 0, 0, 0], "edge_width": min(shape) / 150}
            layer = yield from aside(lambda: Shapes(name=f"{name} region", ndim=4, **looks, **axes))
            yield from self._insert(layer, held, name)
        return layer

    def draw_regions(self, series: SpectrumSeries, regions: Mapping[str, Region]) -> None:
        """Outline given regions in their shapes layers, and show them on the sums."""
        self.take("regions", self._outlining(series, regions))

    def _outlining(self, series: SpectrumSeries, regions: Mapping[str, Region]) -> Pieces:
        for i, (name, region) in enumerate(regions.items()):
            layer = yield from self.region_layer(name, series, PHASE_COLOURS[i % len(PHASE_COLOURS)])
            layer.data = []
            yield
            for corners in outlines(region, series.tilts_deg):
                layer.add_polygons(corners)
                yield
        yield from self.looking("sums")

    def region(self, name: str, series: SpectrumSeries) -> Region:
        """What is drawn as the region of a phase; raises `InputError` where that is nothing."""
        if self.waits("regions"):
            self.settle()
        layer = self._living(self._held.get("regions", {}).get(name))
        if layer is None:
            raise InputError(
                expected(f"{name} region", "a shape around pixels of one phase", "none", "Draw one")
            )
        return region_of(layer, series.tilts_deg, series.tilts[0].core_loss.counts.shape[:2])

    def drawn_regions(self, series: SpectrumSeries) -> dict[str, Region]:
        """Regions that hold something, by name."""
        ny, nx, _ = series.tilts[0].core_loss.counts.shape
        found = {}
        for name, held in self._held.get("regions", {}).items():
            layer = self._living(held)
            if layer is not None and any(kind in CLOSED for kind in layer.shape_type):
                found[name] = region_of(layer, series.tilts_deg, (ny, nx))
        return found

    def pixel_under_cursor(self, views: int, shape: tuple[int, int]) -> tuple[int, int, int] | None:
        """Pixel (t, y, x) of the shown maps under the mouse; None in 3-D, beside the maps, or without maps."""
        viewer = self.viewer
        shown = next((layer for layer in self.shown_maps() if layer.ndim >= 4), None)
        if shown is None or viewer.dims.ndisplay == 3:
            return None
        t, _, y, x = (round(float(value)) for value in shown.world_to_data(viewer.cursor.position)[-4:])
        inside = 0 <= t < views and 0 <= y < shape[0] and 0 <= x < shape[1]
        return (t, y, x) if inside else None

    def shown_maps(self) -> list[Layer]:
        """Layers of maps that are visible."""
        layers = self.viewer.layers
        held = [layer for group in FLAT for layer in self._held.get(group, {}).values()]
        return [layer for layer in held if layer in layers and layer.visible]

    def shown_view(self) -> int:
        """Number of the view on which the tilt slider stands; raises `InputError` where no maps are shown."""
        maps = next((layer for layer in self.shown_maps() if layer.ndim >= 4), None)
        if maps is None:
            raise InputError(expected("view", "maps in the window", "none", "Make the aligned maps visible"))
        step = (self.viewer.dims.point[self.viewer.dims.ndim - 4] - maps.translate[-4]) / maps.scale[-4]
        return int(np.clip(round(step), 0, maps.data.shape[-4] - 1))

    def line_layer(self, volume: Volume) -> Made[Shapes]:
        """Shapes layer on the axes of a volume, in which somebody draws the line of a profile."""
        from napari.layers import Shapes

        held = self._held.setdefault("line", {})
        layer: Shapes | None = self._living(held.get("line"))
        if layer is None:
            shape = volume.data.shape[1:]
            looks = {"edge_color": "white", "edge_width": max(shape) / 120}
            axes = volume_axes(shape, volume.voxel_nm)
            layer = yield from aside(lambda: Shapes(name="Profile line", ndim=3, **looks, **axes))
            yield from self._insert(layer, held, "line")
        layer.visible = True
        yield
        return layer

    def line_nm(self) -> tuple[F64, F64] | None:
        """Ends (z, y, x) of the line that was drawn last, in nm from the centre; None where there is none."""
        layer = self._living(self._held.get("line", {}).get("line"))
        if layer is None or not len(layer.data):
            return None
        corners = np.asarray(layer.data[-1]) * layer.scale + layer.translate
        return corners[0], corners[-1]

    def _living(self, layer: Any) -> Any:
        return layer if layer is not None and layer in self.viewer.layers else None

    def take(self, name: str, pieces: Pieces) -> None:
        """Have some work done soon."""
        raise NotImplementedError

    def waits(self, name: str) -> bool:
        """True while work of that name is not done."""
        raise NotImplementedError

    def settle(self) -> None:
        """Do all work that waits now."""
        raise NotImplementedError

    def looking(self, group: str, *beside: str) -> Pieces:
        """Show one group."""
        raise NotImplementedError

    def _insert(self, layer: Layer, held: dict[str, Layer], key: str) -> Pieces:
        raise NotImplementedError

    def _doom(self, members: Mapping[str, Layer]) -> None:
        raise NotImplementedError

    def _removing(self) -> Pieces:
        raise NotImplementedError
