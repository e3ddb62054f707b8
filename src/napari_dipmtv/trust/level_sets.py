"""A segmentation to the signed distances of its phases, free of the noise of its voxels."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation, distance_transform_edt, gaussian_filter, label

from napari_dipmtv.data import F32
from napari_dipmtv.inspect.matter import VOID, Mask

SMOOTH_PX = 0.7  # the staircase of the voxels
ROUND_PX = 1.0  # the noise of a segmented boundary; more rounds the corners too
BARE_PX = 0.2  # a skin that grows by more than this closes where the surface was bare
NOWHERE_PX = -99.0
DEPTH_STEP_PX = 0.05
LAYERS = {"core", "shell", "skin", VOID}


def level_sets(labels: NDArray[np.uint8], phases: Mapping[str, int]) -> F32:
    """Find signed distances (p + 1, z, y, x) in voxels, positive inside; the vacuum comes first.

    Core, shell and skin are the layers between three bodies that enclose each other, each of them smooth: a layer that
    is thinner than the noise of its boundaries then has no holes. Other phases are smoothed one by one.

    Parameters
    ----------
    labels : (z, y, x)
    phases : mapping of str to int
        Label of each phase that occurs, the vacuum left out.
    """
    roles = {name.rsplit(" ", 1)[-1]: name for name in phases}
    if {"core", "shell"} <= set(roles) <= LAYERS and len(roles) == len(phases):
        return _layers(labels, {role: phases[name] for role, name in roles.items()})
    inside = [_signed(labels == value, SMOOTH_PX) for value in (0, *phases.values())]
    coat = -np.abs(_signed(labels > 0, SMOOTH_PX)) - BARE_PX
    for k, name in enumerate(phases, start=1):
        if name.endswith(" skin"):  # too thin for every voxel of it to be found: laid over the whole surface
            inside[k] = np.maximum(inside[k], coat)
    return np.stack(inside)


def _layers(labels: NDArray[np.uint8], values: Mapping[str, int]) -> F32:
    """Distances of nested layers, in the order of the values."""
    void, core = labels == values.get(VOID, -1), labels == values["core"]
    parts, _ = label(void)
    touching = np.unique(parts[binary_dilation(core)])
    heart = core | np.isin(parts, touching[touching > 0])
    outer = _body(labels > 0)
    inner = outer
    if "skin" in values:
        inner = np.minimum(outer, _body((labels == values["shell"]) | heart | void))
    middle = np.minimum(inner, _body(heart))
    hole = _signed(void, SMOOTH_PX) if void.any() else np.full(labels.shape, NOWHERE_PX, np.float32)
    layers = {
        VOID: hole,
        "core": np.minimum(middle, -hole),
        "shell": np.minimum(np.minimum(inner, -middle), -hole),
        "skin": np.minimum(outer, -inner),
    }
    return np.stack([-outer, *(layers[role] for role in values)]).astype(np.float32)


def _body(mask: Mask) -> F32:
    smooth: Mask = gaussian_filter(mask.astype(np.float32), ROUND_PX) > 0.5
    return _signed(smooth, ROUND_PX)


def _signed(mask: Mask, smooth_px: float) -> F32:
    """Distance from the boundary (z, y, x) in voxels, positive inside."""
    inside = np.maximum(distance_transform_edt(mask) - 0.5, 0)
    outside = np.maximum(distance_transform_edt(~mask) - 0.5, 0)
    signed: F32 = gaussian_filter((inside - outside).astype(np.float32), smooth_px)
    return signed


def halved(field: F32, axis: int) -> F32:
    """Interpolate linearly to two points in each voxel along an axis."""
    moved: F32 = np.moveaxis(field, axis, 0)
    before = np.concatenate([moved[:1], moved[:-1]])
    after = np.concatenate([moved[1:], moved[-1:]])
    points = np.stack([0.75 * moved + 0.25 * before, 0.75 * moved + 0.25 * after], axis=1)
    fine = points.reshape(-1, *moved.shape[1:]).astype(np.float32)
    return np.moveaxis(fine, 0, axis)


def layer_depths_px(extent: F32, sizes_px: list[float]) -> list[float]:
    """How deep below the surface layers of these volumes reach, the outermost first, if each is equally thick.

    Parameters
    ----------
    extent : (z, y, x)
        Share of each voxel that the particle takes, voids included.
    sizes_px : list of float
        Volumes in voxels, added up from the surface inwards.
    """
    from scipy.spatial import cKDTree
    from skimage.measure import marching_cubes

    padded = np.pad(extent, 1)
    if not padded.max() > 0.5:
        return [0.0] * len(sizes_px)
    corners, faces, _, _ = marching_cubes(padded, 0.5)
    share = padded[padded > 0].astype(np.float64)
    apart, _ = cKDTree(np.concatenate([corners, corners[faces].mean(axis=1)])).query(np.argwhere(padded > 0))
    depth = np.where(share > 0.5, apart, -apart)  # of the middles of the voxels
    at = np.arange(-1.0, float(depth.max()) + 1, DEPTH_STEP_PX)
    above = [float(share @ np.clip(one - depth + 0.5, 0, 1)) for one in at]  # volume that lies less deep
    return [float(np.interp(size, above, at)) for size in sizes_px]
