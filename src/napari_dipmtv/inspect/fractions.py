"""Phases and their densities to volumes that are exact below one voxel."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt, find_objects

from napari_dipmtv.data import F32, Segmentation, Volume
from napari_dipmtv.inspect.matter import VACUUM, VOID, Mask, depth_px

BAND_PX = 1.5  # voxels this near to the boundary of a phase count by their density, those beyond it in full
INSIDE_PX = 2.0  # bulk densities are read this far from any other phase, where there is such a place
MARGIN_PX = 3


def channel_of(phase: str, channels: tuple[str, ...]) -> int | None:
    """Channel that makes a phase: its own name, "NAME core" or "NAME shell" or "NAME skin"; None for others."""
    if phase in channels:
        return channels.index(phase)
    name = phase.rsplit(" ", 1)[0]
    if name in channels and phase.rsplit(" ", 1)[-1] in ("core", "shell", "skin"):
        return channels.index(name)
    return 0 if phase == "material" and len(channels) == 1 else None


def bulk_density(channel: F32, mask: Mask) -> float:
    """Median density deep inside a phase (z, y, x); 0 where the phase does not occur."""
    if not mask.any():
        return 0.0
    inside = mask & (depth_px(mask) > INSIDE_PX)
    return float(np.median(channel[inside if inside.any() else mask]))


def partial_volumes_px(segmentation: Segmentation, volume: Volume) -> dict[str, float]:
    """Volume of each phase in voxels, boundary voxels counted by the share that their density fills.

    Blur spreads a plane boundary evenly to both sides, so that its band of ``2 BAND_PX`` keeps the volume;
    voxel labels alone round every boundary voxel to 0 or 1. Phases that no channel makes (grey values) count
    their voxels, voids are measured by `inspect.void_measures`.

    Parameters
    ----------
    segmentation : Segmentation
    volume : Volume
        Of the same shape.
    """
    made: dict[int, list[int]] = {}
    sizes: dict[str, float] = {}
    for value, phase in segmentation.phases.items():
        channel = channel_of(phase, volume.channels)
        if phase in (VACUUM, VOID):
            continue
        sizes[phase] = float((segmentation.labels == value).sum())
        if channel is not None and sizes[phase]:
            made.setdefault(channel, []).append(value)
    for channel, values in made.items():
        found = _of_channel(segmentation.labels, np.clip(volume.data[channel], 0, None), values)
        sizes |= {segmentation.phases[value]: size for value, size in found.items()}
    return sizes


def _of_channel(labels: NDArray[np.uint8], channel: F32, values: list[int]) -> Mapping[int, float]:
    """Partial volumes of the phases that one channel makes; each voxel goes to the nearest of them."""
    every = np.isin(labels, values)
    bulk = bulk_density(channel, every)
    if not bulk > 0:
        return {value: float((labels == value).sum()) for value in values}
    box = _around(every)
    labels, every, channel = labels[box], every[box], channel[box]
    away, nearest = distance_transform_edt(~every, return_indices=True)
    owner = labels[tuple(nearest)]
    inside = distance_transform_edt(np.pad(every, 1, mode="edge"))[1:-1, 1:-1, 1:-1] > BAND_PX
    share = np.where(inside, 1.0, np.clip(channel / bulk, 0, 1))
    share[away > BAND_PX] = 0
    return {value: float(share[owner == value].sum()) for value in values}


def _around(mask: Mask) -> tuple[slice, ...]:
    """Smallest box around a mask, with a margin."""
    box = find_objects(mask.astype(np.uint8))[0]
    return tuple(slice(max(0, s.start - MARGIN_PX), s.stop + MARGIN_PX) for s in box)
