"""Shares of phases in every voxel to the signed distances of their boundaries, free of the noise of the voxels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy.ndimage import distance_transform_edt, gaussian_filter

from napari_dipmtv.data import F32
from napari_dipmtv.inspect.matter import Mask
from napari_dipmtv.trust.facets import bodies_as_facets
from napari_dipmtv.trust.stars import OWN_DEGREE, bodies_as_stars

SMOOTH_PX = 0.7  # the staircase of the voxels
ROUND_PX = 1.0  # the noise of a segmented boundary; more rounds the corners too
BARE_PX = 0.2  # a skin that grows by more than this closes where the surface was bare
DEPTH_STEP_PX, DEPTH_PARTS = 0.05, 8
LAYERS = ("skin", "shell", "core")  # from the outside


def level_sets(shares: F32, names: Sequence[str]) -> F32:
    """Find signed distances (p + 1, z, y, x) in voxels, positive inside; the vacuum comes first.

    Core, shell and skin are the layers between three bodies that enclose each other: a layer that is thinner than the
    noise of its boundaries then has no holes. Other phases are smoothed one by one.

    Parameters
    ----------
    shares : float32 array (p, z, y, x)
        Of each phase in each voxel, 0 or 1 for a segmentation; voids count as what lies around them.
    names : sequence of str
        Of these phases.
    """
    order = layers_of(names)
    if order:
        bodies = _bodies(shares, order)
        return _between(bodies_as_stars(bodies) or [_body(one > 0.5) for one in bodies], order)
    inside = [_signed(one > 0.5, SMOOTH_PX) for one in (1 - shares.sum(axis=0), *shares)]
    coat = -np.abs(_signed(shares.sum(axis=0) > 0.5, SMOOTH_PX)) - BARE_PX
    for k, name in enumerate(names, start=1):
        if name.endswith(" skin"):  # too thin for every voxel of it to be found: laid over the whole surface
            inside[k] = np.maximum(inside[k], coat)
    return np.stack(inside)


@dataclass(frozen=True, slots=True, eq=False)
class Drawing:
    """Distances (p + 1, z, y, x) like `level_sets`, and displacements (k, z, y, x) that go with this way to draw."""

    distances: F32
    moves: F32


def drawings(shares: F32, names: Sequence[str]) -> Iterator[Drawing]:
    """Nested bodies drawn smooth, with edges, and with facets; no drawings of other phases."""
    order = layers_of(names)
    if not order:
        return
    bodies = _bodies(shares, order)
    none = np.zeros((0, *shares.shape[1:]), np.float32)
    for stars in (bodies_as_stars(bodies, OWN_DEGREE), bodies_as_stars(bodies)):
        if stars is not None:
            yield Drawing(_between(stars, order), none)
    facets = bodies_as_facets(bodies)
    if facets is not None:
        yield Drawing(_between(facets[0], order), facets[1])


def layers_of(names: Sequence[str]) -> list[int]:
    """Places of skin (where there is one), shell and core; none for phases that are no such layers."""
    roles = [name.rsplit(" ", 1)[-1] for name in names]
    if not {"core", "shell"} <= set(roles) <= set(LAYERS) or len(set(roles)) < len(roles):
        return []
    return [roles.index(role) for role in LAYERS if role in roles]


def _bodies(shares: F32, order: Sequence[int]) -> list[F32]:
    """Each layer with all that it encloses (z, y, x), the outermost first."""
    return [shares[[*order[k:]]].sum(axis=0) for k in range(len(order))]


def _between(bodies: Sequence[F32], order: Sequence[int]) -> F32:
    """Distances of the vacuum and the layers, in the order of the phases, from those of the bodies."""
    nested = [bodies[0]]
    for one in bodies[1:]:
        nested.append(np.minimum(nested[-1], one))
    layers = [np.minimum(one, -inner) for one, inner in pairwise(nested)] + [nested[-1]]
    return np.stack([-bodies[0], *(layers[order.index(p)] for p in range(len(order)))]).astype(np.float32)


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
    """Interpolate to two points in each voxel along an axis, by cubic polynomials: a small void keeps its size."""
    moved: F32 = np.moveaxis(field, axis, 0)
    a, b, _, d, e = (np.pad(moved, ((2, 2), *((0, 0),) * (moved.ndim - 1)), mode="edge")[k : k + len(moved)]
                     for k in range(5))  # fmt: skip
    low = (105 * moved + 35 * b - 7 * d - 5 * a) / 128  # a quarter of a voxel towards the neighbour before
    high = (105 * moved + 35 * d - 7 * b - 5 * e) / 128
    fine = np.stack([low, high], axis=1).reshape(-1, *moved.shape[1:]).astype(np.float32)
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
    parts = (np.arange(DEPTH_PARTS) + 0.5) / DEPTH_PARTS - 0.5  # of a voxel, which is one thick
    above, _ = np.histogram(
        np.add.outer(parts, depth),
        np.append(-np.inf, at),
        weights=np.tile(share / DEPTH_PARTS, (DEPTH_PARTS, 1)),
    )
    return [float(np.interp(size, np.cumsum(above), at)) for size in sizes_px]  # volume that lies less deep
