"""Densities to profiles: against the depth below the surface, or against the distance from the centre."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.ndimage import distance_transform_edt

from napari_dipmtv.data import F64, Segmentation, Volume
from napari_dipmtv.errors import GeometryError, InputError, expected
from napari_dipmtv.inspect.matter import Mask, filled

OUTSIDE_PX = 3.0  # how far outside the surface a profile reaches


@dataclass(frozen=True, slots=True, eq=False)
class Profile:
    """Mean densities over shells of one thickness.

    Attributes
    ----------
    position_nm : (n,)
        Middle of each shell; depth below the surface (negative outside), or distance from the centre.
    mean, std : (c, n)
        Of the voxels of a shell, in the unit of the volume.
    voxels : (n,)
    channels : tuple of str
    coordinate : {"depth", "radius"}
    """

    position_nm: F64
    mean: F64
    std: F64
    voxels: F64
    channels: tuple[str, ...]
    coordinate: Literal["depth", "radius"]


def profile(
    volume: Volume,
    segmentation: Segmentation,
    coordinate: Literal["depth", "radius"] = "depth",
    step_px: float = 1.0,
) -> Profile:
    """Average the densities over shells of equal depth below the surface, or of equal radius.

    Depth follows the shape of the particle and keeps the layers of a cube sharp; radius is about the centre of
    the filled particle and suits balls.

    Parameters
    ----------
    volume : Volume
    segmentation : Segmentation
        Of the same shape.
    coordinate : {"depth", "radius"}
    step_px : float
        Thickness of a shell in voxels.

    Raises
    ------
    GeometryError
        For other shapes.
    InputError
        For a segmentation without matter.
    """
    if segmentation.labels.shape != volume.data.shape[1:]:
        shapes = segmentation.labels.shape, volume.data.shape[1:]
        raise GeometryError(expected("volume", f"shape {shapes[0]}", shapes[1], "Segment this volume"))
    matter = filled(segmentation.labels > 0)
    if not matter.any():
        raise InputError(expected("segmentation", "some matter", "none", "Segment with a lower threshold"))
    if coordinate == "depth":
        away = distance_transform_edt(~matter) - 0.5  # the surface lies half-way between voxels
        position = np.where(matter, distance_transform_edt(np.pad(matter, 1))[1:-1, 1:-1, 1:-1] - 0.5, -away)
        wanted = position > -OUTSIDE_PX
    else:
        centre = np.argwhere(matter).mean(axis=0)
        grid = np.indices(matter.shape) - centre[:, None, None, None]
        position = np.sqrt((grid**2).sum(axis=0))
        wanted = position <= position[matter].max() + OUTSIDE_PX
    return _binned(volume, position, wanted, coordinate, step_px)


def _binned(
    volume: Volume, position: F64, wanted: Mask, coordinate: Literal["depth", "radius"], step_px: float
) -> Profile:
    numbers = np.floor(position[wanted] / step_px).astype(np.intp)
    first = int(numbers.min())
    bins = numbers - first
    voxels = np.bincount(bins).astype(np.float64)
    occupied = np.maximum(voxels, 1)
    values = [channel[wanted].astype(np.float64) for channel in volume.data]
    mean = np.stack([np.bincount(bins, v) / occupied for v in values])
    square = np.stack([np.bincount(bins, v * v) / occupied for v in values])
    there = voxels > 0
    middle = (np.arange(len(voxels), dtype=np.float64) + first + 0.5) * step_px * volume.voxel_nm
    std: F64 = np.sqrt(np.maximum(square - mean**2, 0))
    return Profile(middle[there], mean[:, there], std[:, there], voxels[there], volume.channels, coordinate)
