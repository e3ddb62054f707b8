"""Finished reconstructions to one picture: next to each other with the same contrast, or subtracted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from napari_dipmtv._napari.layer_data import ISO_LEVEL, typical
from napari_dipmtv._napari.session import Reconstruction
from napari_dipmtv._napari.turns import Pieces
from napari_dipmtv.data import Volume
from napari_dipmtv.errors import InputError, expected

if TYPE_CHECKING:
    from napari_dipmtv._napari.layers import Layers


def side_by_side(layers: Layers, results: Mapping[str, Reconstruction]) -> Pieces:
    """Show the groups in the cells of a grid; every channel with the limits and the surface level of the first."""
    first = next(iter(results.values())).volume
    for channel, data in zip(first.channels, first.data, strict=True):
        level = typical(data)
        for group in results:
            layer = layers.alive(group).get(channel)
            if layer is not None:
                layer.contrast_limits_range = layer.contrast_limits = (0.0, 1.3 * level)
                layer.iso_threshold = ISO_LEVEL * level
                yield
    yield from layers.looking(*results)


def difference(layers: Layers, first: Reconstruction, second: Reconstruction) -> None:
    """Show first minus second, channel by channel, white where they agree.

    Raises
    ------
    InputError
        For volumes on different grids or of different channels.
    """
    subtracted = subtract(first.volume, second.volume)
    layers.show_difference(subtracted, f"{first.title} − {second.title}")


def subtract(first: Volume, second: Volume) -> Volume:
    """First minus second; raises `InputError` where they do not lie on one grid."""
    for what in ("channels", "voxel_nm"):
        if getattr(first, what) != getattr(second, what):
            raise InputError(
                expected(
                    f"{what} of both results", getattr(first, what), getattr(second, what), "Choose others"
                )
            )
    if first.data.shape != second.data.shape:
        advice = "Compare results of one alignment"
        raise InputError(expected("shape of both results", first.data.shape, second.data.shape, advice))
    return first.replace(data=np.subtract(first.data, second.data))
