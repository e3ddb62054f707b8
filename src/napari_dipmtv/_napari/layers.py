"""Values of the session to napari layers: the only code that adds, changes or removes layers.

What is to be shown is queued and comes in pieces, since napari takes 0.05 s to add one layer; `Layers.busy` tells
whether it has come.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from napari_dipmtv._napari import trust_layers
from napari_dipmtv._napari.adding import Adding
from napari_dipmtv._napari.layer_data import (
    ISO_LEVEL,
    LayerData,
    difference_layers,
    label_colours,
    map_layers,
    spectra_layers,
    sum_layers,
    sum_maps,
    volume_axes,
    volume_layers,
    window_layer,
)
from napari_dipmtv._napari.turns import ALONE, Pieces, aside, turns
from napari_dipmtv._napari.view_angle import turn_flat
from napari_dipmtv.data import F32, MapStack, Segmentation, SpectrumSeries, Volume

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Labels


class Layers(Adding):
    """What the stages show in one viewer."""

    def __init__(self, viewer: ViewerModel) -> None:
        super().__init__(viewer)
        self._grown = True  # what streams is in the viewer and seen

    # -- what the stages show

    def show_sums(self, series: SpectrumSeries) -> None:
        """Low-loss and core-loss totals of every tilt."""
        self._show("sums", lambda: sum_layers(sum_maps(series)))

    def show_spectra(self, series: SpectrumSeries) -> None:
        """Spectrum images with a slider for energy and one for tilt, or a word on why that is impossible."""
        self._show("spectra", lambda: spectra_layers(series))

    def show_maps(self, maps: MapStack, group: str, suffix: str = "") -> None:
        """Channel maps (tilt, 1, y, x), one layer each, added in colour."""
        self._show(group, lambda: map_layers(maps, group, suffix))

    def show_window(self, series: SpectrumSeries, low_loss: bool, low_ev: float, high_ev: float) -> None:
        """Sum over an energy window as a map of every tilt, of which only the one that is seen is computed."""
        new = not self.alive("window")
        self._show("window", lambda: [window_layer(series, low_loss, low_ev, high_ev)], look=new)

    def show_quality(self, maps: MapStack) -> None:
        """Maps of how far to trust the unmixing, in gray, one at a time."""

        def make() -> list[LayerData]:
            made = map_layers(maps, "quality")
            return [(data, looks | {"colormap": "viridis"}, kind) for data, looks, kind in made]

        self._show("quality", make)

    def show_probabilities(self, probability: Mapping[str, F32], voxel_nm: float) -> None:
        """How likely every voxel belongs to each phase; they wait, hidden, until somebody asks for one."""
        make = lambda: trust_layers.probability_layers(probability, voxel_nm)  # noqa: E731
        self._show(trust_layers.GROUP, make, look=False)

    def show_volume(self, volume: Volume, title: str, group: str) -> None:
        """One 3-D layer per channel."""
        self._held.setdefault(group, {})
        self.take(group, self._showing_volume(volume, title, group))

    def grow(self, volume: Volume, title: str) -> None:
        """Begin to show a volume that is still being made."""
        self._held["stream"], self._grown = {}, False
        self.take("stream", self._growing(volume, title))

    def stream(self, volume: Volume, title: str) -> bool:
        """Show how far a volume has come; False when somebody has deleted all its layers."""
        if not self.alive("stream"):
            return False
        self.take("stream", self._showing_volume(volume, title, "stream", revive=False, look=False))
        return True

    def end_stream(self) -> None:
        """Remove the streamed layers."""
        if not self._grown:
            turns().drop(self, "view")  # of them
        self.clear("stream")

    def finish_stream(self, volume: Volume, title: str, group: str) -> None:
        """Bring the streamed layers that are left to the final volume; show it anew when it was never streamed."""
        begun = "stream" in self._held
        turns().drop(self, "stream")
        streamed = self._held.pop("stream", {})
        self.clear(group)
        self._held[group] = streamed
        look = not (begun and self._grown)
        self.take(group, self._showing_volume(volume, title, group, revive=not begun, look=look))

    def show_difference(self, volume: Volume, title: str) -> None:
        """Difference of volumes in 2-D, white where there is none, one cell of a grid per channel."""
        self.clear(*(name for name in self._held if name.startswith("difference")))
        groups = [f"difference {channel}" for channel in volume.channels]
        self._held.update({group: {} for group in groups})
        self.take(groups[0], self._differing(volume, title, groups))

    def show_segmentation(
        self, segmentation: Segmentation, channels: tuple[str, ...], only: Sequence[str] | None = None
    ) -> None:
        """Phases as a labels layer with names, in the colours of the channels; ``only`` some, or all (None)."""
        self._held.setdefault("labels", {})
        self.take("labels", self._segmenting(segmentation, channels, only))

    # -- which layers there are

    def clear(self, *groups: str) -> None:
        """Forget the layers of some groups, and what of them is still to be made, and have them removed."""
        for group in groups:
            turns().drop(self, group)
            self._doom(self._held.pop(group, {}))

    def groups(self) -> tuple[str, ...]:
        """Names of the groups that hold layers, or will."""
        return tuple(self._held)

    def shows(self, group: str) -> bool:
        """True where layers of a group are there, or will be in a moment."""
        return self.waits(group) or bool(self.alive(group))

    # -- how it is done

    def _show(self, group: str, make: Callable[[], list[LayerData]], look: bool = True) -> None:
        self._held.setdefault(group, {})
        self.take(group, self._showing(group, make, look))

    def _showing(self, group: str, make: Callable[[], list[LayerData]], look: bool) -> Pieces:
        made = yield from aside(make)
        yield from self._bring(group, {looks["name"]: (data, looks) for data, looks, _ in made})
        if look:
            yield from self.looking(group)

    def _showing_volume(
        self, volume: Volume, title: str, group: str, revive: bool = True, look: bool = True
    ) -> Pieces:
        """Layers of a volume, drawn as all volumes are at present."""
        made = yield from aside(lambda: volume_layers(volume, title, group))
        for _, looks, _ in made:
            looks |= {"rendering": self._rendering, "blending": self._blending}
            looks["iso_threshold"] *= self._level / ISO_LEVEL
        layers = zip(volume.channels, made, strict=True)
        yield from self._bring(group, {key: (data, looks) for key, (data, looks, _) in layers}, revive)
        if look:
            yield from self.looking(group)

    def _growing(self, volume: Volume, title: str) -> Pieces:
        yield from self.looking("stream")  # what else is there is drawn no more
        yield from self._showing_volume(volume, title, "stream")
        self._grown = True

    def _differing(self, volume: Volume, title: str, groups: list[str]) -> Pieces:
        made = yield from aside(lambda: difference_layers(volume, title, groups))
        for group, (data, looks, _) in zip(groups, made, strict=True):
            yield from self._bring(group, {looks["name"]: (data, looks)})
        yield from self.looking(*groups)
        yield ALONE
        yield from turn_flat(self.viewer)

    def _segmenting(
        self, segmentation: Segmentation, channels: tuple[str, ...], only: Sequence[str] | None
    ) -> Pieces:
        from napari.layers import Labels

        colours = yield from aside(lambda: label_colours(segmentation, channels, only))
        values = sorted(segmentation.phases)
        features = {"index": values, "phase": [segmentation.phases[value] for value in values]}
        layer: Labels | None = self._living(self._held["labels"].get("Phases"))
        if layer is None:
            axes = volume_axes(segmentation.labels.shape, segmentation.voxel_nm)
            looks = {"name": "Phases", "iso_gradient_mode": "smooth", "opacity": 1.0, "visible": False}
            layer = yield from aside(
                lambda: Labels(segmentation.labels, colormap=colours, features=features, **looks, **axes)
            )
            yield from self._insert(layer, self._held["labels"], "Phases")
        else:
            layer.data = segmentation.labels
            yield
            layer.colormap, layer.features = colours, features
            yield
        layer.editable = False
        self._cut_open(layer)
        yield from self.looking("labels")
