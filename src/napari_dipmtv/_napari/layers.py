"""Values of the session to napari layers: the only code that adds, changes or removes layers.

Layers are held as objects; a layer that somebody deleted is not touched again, and a renamed one is still known.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from napari_dipmtv._napari import trust_layers
from napari_dipmtv._napari.layer_data import (
    ISO_LEVEL,
    LayerData,
    difference_layers,
    map_layers,
    phase_colours,
    spectra_layers,
    sum_layers,
    volume_axes,
    volume_layers,
    window_layer,
)
from napari_dipmtv._napari.seen import Seen
from napari_dipmtv.data import F32, MapStack, Segmentation, SpectrumSeries, Volume
from napari_dipmtv.errors import InputError, expected

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Image, Labels, Layer


class Layers(Seen):
    """Writes one viewer; holds it weakly, so that a closed window is free to go."""

    def __init__(self, viewer: ViewerModel) -> None:
        super().__init__(viewer)
        # name and contrast limits that were set here last: where they differ now, somebody has changed them
        self._set: weakref.WeakKeyDictionary[Layer, tuple[str, tuple[float, ...]]] = (
            weakref.WeakKeyDictionary()
        )

    @property
    def viewer(self) -> ViewerModel:
        """The viewer, while it lives."""
        viewer = self._viewer()
        if viewer is None:
            raise InputError(expected("viewer", "an open window", "a closed one", "Open the plugin again"))
        return viewer

    # -- what the stages show

    def show_sums(self, series: SpectrumSeries) -> None:
        """Low-loss and core-loss totals of every tilt."""
        self._show_all("sums", sum_layers(series))
        self.look_at("sums")

    def show_spectra(self, series: SpectrumSeries) -> None:
        """Spectrum images with a slider for energy and one for tilt; raises `InputError` where that is impossible."""
        self._show_all("spectra", spectra_layers(series))
        self.look_at("spectra")

    def show_maps(self, maps: MapStack, group: str, suffix: str = "") -> None:
        """Channel maps (tilt, 1, y, x), one layer each, added in colour."""
        self._show_all(group, map_layers(maps, group, suffix))
        self.look_at(group)

    def show_volume(self, volume: Volume, title: str, group: str) -> None:
        """One 3-D layer per channel."""
        self._show_volume(volume, title, group)
        self.look_at(group)

    def grow(self, volume: Volume, title: str) -> Iterator[None]:
        """Begin to show a volume that is still being made, piece by piece: napari takes 0.1 s for one layer alone."""
        from napari.layers import Image

        held = self._held["stream"] = {}
        self.look_at("stream")  # what else is there is drawn no more
        yield
        for channel, (data, looks, _) in zip(
            volume.channels, self._solid_layers(volume, title, "stream"), strict=True
        ):
            layer = Image(data, visible=False, **looks)
            yield
            self.viewer.add_layer(layer)
            held[channel] = layer
            self._set[layer] = (layer.name, tuple(layer.contrast_limits))
            yield
        self._apply_cut()
        yield
        self.look_at("stream")

    def stream(self, volume: Volume, title: str) -> bool:
        """Show how far a volume has come; False when somebody has deleted all its layers."""
        self._show_volume(volume, title, "stream", revive=False)
        return bool(self.alive("stream"))

    def end_stream(self, group: str | None = None) -> None:
        """Let streamed layers become those of a finished result, or remove them."""
        streamed = self._held.pop("stream", {})
        if group is None:
            self._remove(streamed)
        else:
            self.clear(group)
            self._held[group] = streamed

    def finish_stream(self, volume: Volume, title: str, group: str) -> None:
        """Bring the streamed layers that are left to the final volume; show it anew when it was never streamed."""
        never = "stream" not in self._held
        self.end_stream(group)
        self._show_volume(volume, title, group, revive=never)
        if never:
            self.look_at(group)

    def show_difference(self, volume: Volume, title: str) -> None:
        """Difference of volumes in 2-D, white where there is none, one cell of a grid per channel."""
        self.clear(*(name for name in self._held if name.startswith("difference")))
        groups = [f"difference {channel}" for channel in volume.channels]
        for group, layer in zip(groups, difference_layers(volume, title, groups), strict=True):
            self._show_all(group, [layer])
        self.look_at(*groups)
        self.viewer.dims.ndisplay = 2
        self._apply_cut()

    def show_segmentation(
        self, segmentation: Segmentation, channels: tuple[str, ...], only: Sequence[str] | None = None
    ) -> None:
        """Phases as a labels layer with names, in the colours of the channels; ``only`` some, or all (None)."""
        from napari.utils.colormaps import DirectLabelColormap

        viewer, group = self.viewer, self._held.setdefault("labels", {})
        colours = DirectLabelColormap(color_dict=phase_colours(segmentation.phases, channels, only))
        values = sorted(segmentation.phases)
        features = {"index": values, "phase": [segmentation.phases[value] for value in values]}
        layer: Labels | None = self._living(group.get("Phases"))
        if layer is None:
            layer = group["Phases"] = viewer.add_labels(
                segmentation.labels,
                name="Phases",
                iso_gradient_mode="smooth",
                opacity=1.0,
                **volume_axes(segmentation.labels.shape, segmentation.voxel_nm),
            )
        layer.data = segmentation.labels
        layer.colormap, layer.features = colours, features
        layer.editable = False
        self._apply_cut()
        self.look_at("labels")

    def show_window(self, series: SpectrumSeries, low_loss: bool, low_ev: float, high_ev: float) -> None:
        """Sum over an energy window as a map of every tilt, of which only the one that is seen is computed."""
        new = "window" not in self._held
        self._show_all("window", [window_layer(series, low_loss, low_ev, high_ev)])
        if new:
            self.look_at("window")

    def show_quality(self, maps: MapStack) -> None:
        """Maps of how far to trust the unmixing, in gray, one at a time."""
        layers = [
            (data, looks | {"colormap": "viridis"}, kind) for data, looks, kind in map_layers(maps, "quality")
        ]
        self._show_all("quality", layers)
        self.look_at("quality")

    def show_probabilities(self, probability: Mapping[str, F32], voxel_nm: float) -> None:
        """How likely every voxel belongs to each phase."""
        self._show_all(trust_layers.GROUP, trust_layers.probability_layers(probability, voxel_nm))

    # -- which layers there are

    def clear(self, *groups: str) -> None:
        """Remove the layers of some groups."""
        for group in groups:
            self._remove(self._held.pop(group, {}))

    def groups(self) -> tuple[str, ...]:
        """Names of the groups that hold layers."""
        return tuple(self._held)

    # -- how it is done

    def _show_all(self, group: str, layers: list[LayerData]) -> None:
        names = {looks["name"] for _, looks, _ in layers}
        held = self._held.get(group, {})
        self._remove({key: held.pop(key) for key in set(held) - names})
        for data, looks, _ in layers:
            self._show(group, looks["name"], data, looks)

    def _show_volume(self, volume: Volume, title: str, group: str, revive: bool = True) -> None:
        layers = self._solid_layers(volume, title, group)
        for channel, (data, looks, _) in zip(volume.channels, layers, strict=True):
            self._show(group, channel, data, looks, revive)
        self._apply_cut()

    def _solid_layers(self, volume: Volume, title: str, group: str) -> list[LayerData]:
        """Layers of a volume, drawn as all volumes are at present."""
        layers = volume_layers(volume, title, group)
        for _, looks, _ in layers:
            looks |= {"rendering": self._rendering, "blending": self._blending}
            looks["iso_threshold"] *= self._level / ISO_LEVEL
        return layers

    def _show(self, group: str, key: str, data: F32, looks: dict[str, Any], revive: bool = True) -> None:
        """Bring one image layer to new data; name and limits that somebody has changed stay as they are."""
        held = self._held.setdefault(group, {})
        layer: Image | None = self._living(held.get(key)) or self._adopted(group, looks["name"])
        if layer is None and revive:
            layer = self.viewer.add_image(data, **looks)
        if layer is None:
            return
        held[key] = layer
        if layer.data is not data:
            layer.data = data
            for place in (
                "scale",
                "translate",
            ):  # each costs napari as much as new data, also when it stays the same
                if tuple(getattr(layer, place)) != tuple(looks[place]):
                    setattr(layer, place, looks[place])
        name, limits = self._set.get(layer, (layer.name, tuple(layer.contrast_limits)))
        if tuple(layer.contrast_limits) == limits:
            layer.contrast_limits_range = layer.contrast_limits = looks["contrast_limits"]
            layer.iso_threshold = looks.get("iso_threshold", layer.iso_threshold)
            limits = tuple(layer.contrast_limits)
        if layer.name == name:
            layer.name = looks["name"]
            name = layer.name
        self._set[layer] = (name, limits)

    def _adopted(self, group: str, name: str) -> Any:
        """A layer that napari has added for this plugin, as sample data, and that nobody holds yet."""
        held = [layer for members in self._held.values() for layer in members.values()]
        return next(
            (
                layer
                for layer in self.viewer.layers
                if layer.name == name and layer.metadata.get("dipmtv") == group and layer not in held
            ),
            None,
        )

    def _remove(self, members: Mapping[str, Layer]) -> None:
        viewer = self._viewer()
        for layer in members.values():
            if viewer is not None and layer in viewer.layers:
                viewer.layers.remove(layer)
