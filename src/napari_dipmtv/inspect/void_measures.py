"""Voids of a segmentation to their volume, place, depth and emptiness."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.ndimage import binary_dilation, distance_transform_edt, find_objects, label, map_coordinates

from napari_dipmtv.data import F32, F64, Segmentation, Volume
from napari_dipmtv.inspect.fractions import BAND_PX
from napari_dipmtv.inspect.matter import VOID, Mask, depth_px, occupancy
from napari_dipmtv.inspect.surface import AREA_BLUR_PX, area_px, sphericity, surface_of

AROUND_PX = 3  # where the density that a void lacks is looked for
BESIDE_PX = 2  # beyond that: where the density of its surroundings is read
FLOOR_PERCENT = 10


@dataclass(frozen=True, slots=True)
class Void:
    """One void.

    Attributes
    ----------
    volume_nm3 : float
        With densities boundary voxels count by how empty they are, else voxels are counted.
    area_nm3 : float
        Volume in nm³ by which the void changes when its boundary moves by one voxel.
    missing_nm3 : float
        Volume of the matter that is missing in and around it compared with its surroundings: right for an
        empty void that blur has filled partly. NaN without densities.
    centre_nm : tuple of float
        z, y, x from the middle of the volume.
    diameter_nm : float
        Of the ball of the same volume.
    depth_nm : float
        Of its upper edge below the surface of the particle.
    contrast : float
        1 where its floor is empty, 0 where it is as dense as its surroundings; NaN without densities.
    sphericity : float
    """

    volume_nm3: float
    area_nm3: float
    missing_nm3: float
    centre_nm: tuple[float, float, float]
    diameter_nm: float
    depth_nm: float
    contrast: float
    sphericity: float


def voids(segmentation: Segmentation, volume: Volume | None = None) -> tuple[Void, ...]:
    """Measure each void of a segmentation, the largest first."""
    mask = segmentation.mask(VOID)
    parts, _ = label(mask)
    depth = depth_px(segmentation.labels > 0)
    filling = None if volume is None else occupancy(np.clip(volume.data, 0, None))
    middle = (np.array(mask.shape) - 1) / 2
    found = []
    for number, box in enumerate(find_objects(parts), start=1):
        window = tuple(slice(max(0, s.start - 6), s.stop + 6) for s in box)
        start = np.array([s.start for s in window])
        around = None if filling is None else filling[window]
        one = _one(parts[window] == number, mask[window], around, depth[window], segmentation.voxel_nm)
        centre = (np.array(one.centre_nm) / segmentation.voxel_nm + start - middle) * segmentation.voxel_nm
        found.append(replace(one, centre_nm=(float(centre[0]), float(centre[1]), float(centre[2]))))
    return tuple(sorted(found, key=lambda void: -void.volume_nm3))


def _one(here: Mask, every: Mask, filling: F32 | None, depth: F64, voxel_nm: float) -> Void:
    """One void in its window; its centre from the corner of the window."""
    size, missing, contrast = float(here.sum()), float("nan"), float("nan")
    weights = here.astype(float)
    if filling is not None:
        surrounding = _surrounding(here, every, filling)
        if surrounding > 0:
            floor = float(np.percentile(filling[here], FLOOR_PERCENT))
            weights = _emptiness(here, filling, floor, surrounding)
            size, contrast = float(weights.sum()), 1 - floor / surrounding
            near = binary_dilation(here, iterations=AROUND_PX) & (here | ~every) & (depth > 1)
            missing = float((1 - filling[near] / surrounding).sum()) * voxel_nm**3
    area = area_px(here)
    place = [float(c) * voxel_nm for c in np.argwhere(weights > 0).T @ weights[weights > 0] / weights.sum()]
    return Void(
        volume_nm3=size * voxel_nm**3,
        area_nm3=area * voxel_nm**3,
        missing_nm3=missing,
        centre_nm=(place[0], place[1], place[2]),
        diameter_nm=float((6 * size / np.pi) ** (1 / 3)) * voxel_nm,
        depth_nm=_upper_edge_px(here, depth) * voxel_nm,
        contrast=contrast,
        sphericity=sphericity(float(here.sum()), area),
    )


def _upper_edge_px(here: Mask, depth: F64) -> float:
    """Least depth of the surface of a void; the depth counts from the middle of the first voxel outside."""
    surface = surface_of(here, AREA_BLUR_PX)
    if surface is None:
        return float(depth[here].min() - 1)  # both boundaries lie half a voxel from the middles
    return float(map_coordinates(depth, surface.vertices.T, order=1).min() - 0.5)


def _surrounding(here: Mask, every: Mask, filling: F32) -> float:
    """Median filling of the matter beside a void; 0 where there is none."""
    around = binary_dilation(here, iterations=AROUND_PX)
    beside = binary_dilation(around, iterations=BESIDE_PX) & ~around & ~every & (filling > 0)
    return float(np.median(filling[beside])) if beside.any() else 0.0


def _emptiness(here: Mask, filling: F32, floor: float, surrounding: float) -> F64:
    """Share (z, y, x) of each voxel that the void takes: 1 deep inside, by density in the band of its edge."""
    share: F64 = np.clip((surrounding - filling) / max(surrounding - floor, 1e-6), 0, 1).astype(np.float64)
    share[distance_transform_edt(here) > BAND_PX] = 1
    share[distance_transform_edt(~here) > BAND_PX] = 0
    return share
