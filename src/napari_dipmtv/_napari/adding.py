"""Layer data to layers that are added, brought to new data and removed, piece by piece; a part of `layers.Layers`.

Layers are held as objects; a layer that somebody deleted is not touched again, and a renamed one is still known.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_dipmtv._napari import garbage
from napari_dipmtv._napari.seen import Seen
from napari_dipmtv._napari.turns import ALONE, Pieces, aside
from napari_dipmtv._napari.window import unpainted
from napari_dipmtv.data import F32
from napari_dipmtv.errors import InputError, expected

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Image, Layer

    from napari_dipmtv._napari.layer_data import LayerData


class Adding(Seen):
    """Writes one viewer; holds it weakly, so that a closed window is free to go."""

    def __init__(self, viewer: ViewerModel) -> None:
        super().__init__(viewer)
        warm_up()
        # name and contrast limits that were set here last: where they differ now, somebody has changed them
        self._set: weakref.WeakKeyDictionary[Layer, tuple[str, tuple[float, ...]]] = (
            weakref.WeakKeyDictionary()
        )
        self._doomed: list[Layer] = []  # to be removed

    @property
    def viewer(self) -> ViewerModel:
        """The viewer, while it lives."""
        viewer = self._viewer()
        if viewer is None:
            raise InputError(expected("viewer", "an open window", "a closed one", "Open the plugin again"))
        return viewer

    def _bring(
        self, group: str, layers: Mapping[str, tuple[Any, dict[str, Any]]], revive: bool = True
    ) -> Pieces:
        """Bring a group to these layers (data, looks), hidden where they are new; others of the group go.

        Layers that somebody has deleted come back where ``revive`` says so.
        """
        from napari.layers import Image

        held = self._held[group]
        self._doom({key: held.pop(key) for key in set(held) - set(layers)})
        yield from self._removing()
        for key, (data, looks) in layers.items():
            layer, blank = self._living(held.get(key)), self._adopted(group, looks["name"])
            if layer is not None and blank is not None:
                self._doom({key: layer})
                yield from self._removing()
            layer = blank or layer
            if layer is not None:
                held[key] = layer
                yield from self._refill(layer, data, looks)
            elif revive or key not in held:
                hidden = looks | {"visible": False}
                layer = yield from aside(lambda data=data, hidden=hidden: Image(data, **hidden))
                yield from self._insert(layer, held, key)
                self._set[layer] = (layer.name, tuple(layer.contrast_limits))
                self._cut_open(layer)
                yield

    def _refill(self, layer: Image, data: F32, looks: dict[str, Any]) -> Pieces:
        """Bring an image layer to new data; name and limits that somebody has changed stay as they are."""
        if layer.data is not data:
            layer.data = data
            for place in ("scale", "translate"):
                # each costs napari as much as new data, also when it stays the same
                if tuple(getattr(layer, place)) != tuple(looks[place]):
                    setattr(layer, place, looks[place])
            yield
        name, limits = self._set.get(layer, (layer.name, tuple(layer.contrast_limits)))
        if tuple(layer.contrast_limits) == limits:
            layer.contrast_limits_range = layer.contrast_limits = looks["contrast_limits"]
            layer.iso_threshold = looks.get("iso_threshold", layer.iso_threshold)
            limits = tuple(layer.contrast_limits)
        if layer.name == name:
            layer.name = looks["name"]
            name = layer.name
        self._set[layer] = (name, limits)
        # napari sets a copy; the tilts of other data are other ones
        layer.metadata = {
            key: value for key, value in (layer.metadata | looks["metadata"]).items() if key != "blank"
        }
        yield

    def _insert(self, layer: Layer, held: dict[str, Layer], key: str) -> Pieces:
        """Add a layer and hold it: sliders first in an empty viewer, then the layer, then its controls.

        napari would do all in one call. It selects what it adds and shows the controls of it, so it is told of the
        selection only afterwards; the window is painted, and the scene put in order, in turns of their own.
        """
        viewer, chosen = self.viewer, self.viewer.layers.selection
        ranges = _ranges_with(viewer, layer)
        step = 1 if viewer.dims.ndim < len(ranges) else -1
        for axes in range(viewer.dims.ndim, len(ranges), step):  # every slider that comes has all drawn again
            with unpainted(viewer):
                viewer.dims.ndim = axes + step
                yield ALONE
            yield ALONE
        if ranges != tuple(map(tuple, viewer.dims.range)):
            viewer.dims.range = ranges
            yield ALONE
        held[key] = layer
        active, several = chosen.active, set(chosen)
        with _one_change(viewer):
            with unpainted(viewer):
                with chosen.events.blocker_all():
                    viewer.add_layer(layer)
                    chosen.active = active
                    if active is None:
                        chosen.update(several)
                yield ALONE
            yield ALONE
        yield ALONE
        if layer in viewer.layers:
            chosen.active = layer
        yield

    def adding(self, make: Callable[[], LayerData]) -> Pieces:
        """Add a layer that is made in a thread; from then on it is the person's own."""
        from napari.layers import Layer

        layer = yield from aside(lambda: Layer.create(*make()))
        yield from self._insert(layer, {}, layer.name)

    def _adopted(self, group: str, name: str) -> Any:
        """A layer that napari has added for this plugin, as sample data, and that nobody holds yet."""
        held = [layer for members in self._held.values() for layer in members.values()]
        return next(
            (
                layer
                for layer in self.viewer.layers
                if layer.metadata.get("dipmtv") == group
                and layer.metadata.get("blank", layer.name) == name
                and layer not in held
            ),
            None,
        )

    def drop_blanks(self, group: str) -> None:
        """Have the layers removed that stand for those of a group, where nothing is about to fill them."""
        if not self.waits(group):
            blank = [layer for layer in self.viewer.layers if "blank" in layer.metadata]
            self._doom({layer.name: layer for layer in blank if layer.metadata.get("dipmtv") == group})

    def _doom(self, members: Mapping[str, Layer]) -> None:
        """Have layers removed before anything else is shown that has not begun yet."""
        self._doomed += members.values()
        if self._doomed and not self.waits("remove"):
            self.take("remove", self._removing())

    def _removing(self) -> Pieces:
        """Remove what is doomed, as one change: napari looks for garbage after each."""
        while self._doomed:
            with _one_change(self.viewer):
                while self._doomed:
                    layer = self._doomed.pop()
                    if layer in self.viewer.layers:
                        self.viewer.layers.remove(layer)
                        _emptied(layer)
                        yield
                yield ALONE
            yield ALONE


@contextmanager
def _one_change(viewer: ViewerModel) -> Iterator[None]:
    """Change the list of layers; at the end napari draws, and looks for garbage, which is held back meanwhile."""
    garbage.hold()
    try:
        with viewer.layers.batched_update():
            yield
    finally:
        garbage.release()


def _ranges_with(viewer: ViewerModel, layer: Layer) -> tuple[tuple[float, float, float], ...]:
    """Start, stop and step of the sliders once a layer is there, whose axes are the last ones of the viewer.

    Those of now for a layer in which nothing is drawn, and for one of more axes than the layers that are there have.
    """
    own = np.column_stack([*layer.extent.world, layer.extent.step])  # (axes, 3)
    if np.isnan(own).any() or (viewer.layers and len(own) > viewer.dims.ndim):
        return tuple(map(tuple, viewer.dims.range))
    before = np.array(viewer.dims.range) if viewer.layers else own[:0]
    axes = max(len(own), len(before))
    both = np.full((2, axes, 3), np.nan)
    both[0, axes - len(own) :], both[1, axes - len(before) :] = own, before
    least, most = np.nanmin(both, axis=0), np.nanmax(both, axis=0)
    return tuple(zip(least[:, 0].tolist(), most[:, 1].tolist(), least[:, 2].tolist(), strict=True))


def _emptied(layer: Layer) -> None:
    """Free what a removed layer shows: the layer itself goes when Python looks for garbage next."""
    from napari.layers import Image

    if isinstance(layer, Image):
        layer.data = np.zeros((1,) * layer.ndim, np.float32)


@cache
def warm_up() -> None:
    """Have napari read its table of units, 0.15 s once: while a dock opens, not when the first layer comes."""
    from napari.layers import Image

    Image(np.zeros((1, 1), np.float32), units=("nm", "nm"))
