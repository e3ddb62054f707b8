"""Masks and densities to surfaces and to thicknesses along their normals, exact below one voxel."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, map_coordinates

from napari_dipmtv.data import F32, F64
from napari_dipmtv.inspect.segment import Mask, depth_px

STEP_PX = 0.25  # sampling along the normals
OUTWARD_PX = 2.5  # the normals start this far outside, where the blur of the surface has ended
STRAIGHT = 0.8  # a normal must gain at least this depth per length; those at edges and corners do not


@dataclass(frozen=True)
class Surface:
    """Triangles of a surface in voxel coordinates (z, y, x)."""

    vertices: F64  # (v, 3)
    faces: NDArray[np.intp]  # (f, 3)
    normals: F64  # (f, 3), unit, pointing inwards

    @property
    def centres(self) -> F64:
        """Centres of the triangles (f, 3)."""
        centres: F64 = self.vertices[self.faces].mean(axis=1)
        return centres

    @property
    def areas(self) -> F64:
        """Areas of the triangles (f,) in px²."""
        a, b, c = np.moveaxis(self.vertices[self.faces], 1, 0)
        areas: F64 = np.linalg.norm(np.cross(b - a, c - a), axis=1) / 2
        return areas


def surface_of(mask: Mask, blur_px: float = 1.0) -> Surface | None:
    """Surface of a mask by marching cubes on its blurred indicator; None where there is none.

    The blur takes the staircase of the voxels away, which would make the area of a sphere 8 % too large
    (`test_surface_area_of_a_sphere`); it moves a surface of radius r inwards by about ``blur² / r``.
    """
    from skimage.measure import marching_cubes

    soft = gaussian_filter(np.pad(mask, 3).astype(np.float32), blur_px)
    if not soft.max() > 0.5:
        return None
    vertices, faces, _, _ = marching_cubes(soft, 0.5)
    a, b, c = np.moveaxis(vertices[faces].astype(np.float64), 1, 0)
    normals = np.cross(b - a, c - a)
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
    slope = np.stack([map_coordinates(g, ((a + b + c) / 3).T, order=1) for g in np.gradient(soft)], axis=1)
    normals *= np.where((normals * slope).sum(axis=1) < 0, -1, 1)[:, None]
    return Surface(vertices.astype(np.float64) - 3, faces.astype(np.intp), normals)


def thickness_px(layer: F32, matter: Mask, reach_px: float) -> tuple[float, float] | None:
    """Mass thickness of a layer along the inward normals: area-weighted mean and standard deviation.

    ``t = ∫ ρ dn / ρ_bulk`` needs no resolved inner surface: a layer thinner than a voxel, or blurred over
    several, keeps its integral. Normals that leave through another face (edges, corners) are left out.

    Parameters
    ----------
    layer : (z, y, x)
        Density of the layer over its bulk density (or its mask): 1 inside, 0 outside.
    matter : (z, y, x)
        The object.
    reach_px : float
        How far inwards to integrate, in voxels.

    Returns
    -------
    (mean, std) in voxels, or None where no normal is straight that far.
    """
    surface = surface_of(matter)
    if surface is None:
        return None
    along = np.arange(-OUTWARD_PX, reach_px, STEP_PX) + STEP_PX / 2
    points = surface.centres[:, None] + along[None, :, None] * surface.normals[:, None]  # (f, s, 3)
    end = surface.centres + reach_px * surface.normals
    straight = map_coordinates(depth_px(matter), end.T, order=1) >= STRAIGHT * reach_px
    if not straight.any():
        return None
    density = map_coordinates(layer, points[straight].reshape(-1, 3).T, order=1).reshape(straight.sum(), -1)
    thickness, weights = density.sum(axis=1) * STEP_PX, surface.areas[straight]
    mean = float(np.average(thickness, weights=weights))
    return mean, float(np.sqrt(np.average((thickness - mean) ** 2, weights=weights)))
