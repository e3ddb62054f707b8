"""Masks and densities to surfaces, areas, and thicknesses along the normals, exact below one voxel."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import find_objects, gaussian_filter, map_coordinates

from napari_dipmtv.data import F32, F64
from napari_dipmtv.inspect.matter import Mask

STEP_PX = 0.25  # sampling along the normals
OUTWARD_PX = 2.5  # the normals start this far outside, where the blur of the surface has ended
AREA_BLUR_PX = 0.7  # the least that takes the staircase away; more rounds edges and loses thin layers
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

    @property
    def volume(self) -> float:
        """Volume that the surface encloses, in px³ (divergence theorem)."""
        return float(-(self.centres * self.normals).sum(axis=1) @ self.areas / 3)


@dataclass(frozen=True)
class Thickness:
    """Thickness of a layer over the surface of a body.

    Attributes
    ----------
    surface : Surface
    values : (f,)
        Mass thickness along the normal of each triangle, in voxels; NaN where the normal leaves through another
        face (edges, corners).
    """

    surface: Surface
    values: F64

    @property
    def mean(self) -> float:
        """Area-weighted mean in voxels."""
        there = np.isfinite(self.values)
        return float(np.average(self.values[there], weights=self.surface.areas[there]))

    @property
    def spread(self) -> float:
        """Area-weighted standard deviation over the surface, in voxels."""
        there = np.isfinite(self.values)
        squares = (self.values[there] - self.mean) ** 2
        return float(np.sqrt(np.average(squares, weights=self.surface.areas[there])))

    def at_vertices(self) -> F64:
        """Mean of the triangles around each corner (v,), in voxels; NaN where none of them has a value."""
        there = np.isfinite(self.values)
        corners = self.surface.faces[there].ravel()
        sums = np.bincount(corners, np.repeat(self.values[there], 3), minlength=len(self.surface.vertices))
        counts = np.bincount(corners, minlength=len(self.surface.vertices))
        means: F64 = np.divide(sums, counts, out=np.full(len(sums), np.nan), where=counts > 0)
        return means


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


def area_px(mask: Mask) -> float:
    """Surface area of a mask in px², 0 where it is too small for a surface.

    The surface that the blur has moved inwards is scaled back to the volume of the voxels. Areas of balls come
    out within 5 %, those of turned cubes of 18 voxels up to 6 % too small, because their edges are rounded
    (`test_areas_and_sphericity_of_turned_bodies`).
    """
    if not mask.any():
        return 0.0
    surface = surface_of(mask[find_objects(mask.astype(np.uint8))[0]], AREA_BLUR_PX)
    if surface is None or not surface.volume > 0:
        return 0.0
    return float(surface.areas.sum() * (float(mask.sum()) / surface.volume) ** (2 / 3))


def sphericity(volume: float, area: float) -> float:
    """Area of the ball of that volume over the area: 1 for a ball, 0.806 for a cube (Wadell 1935)."""
    return float(np.pi ** (1 / 3) * (6 * volume) ** (2 / 3) / area) if area > 0 else float("nan")


def thickness_of(layer: F32, surface: Surface, depth: F64, reach_px: float) -> Thickness | None:
    """Mass thickness of a layer along the inward normals of a body.

    ``t = ∫ ρ dn / ρ_bulk`` needs no resolved inner surface: a layer thinner than a voxel, or blurred over
    several, keeps its integral. Normals that leave through another face (edges, corners) are left out.

    Parameters
    ----------
    layer : (z, y, x)
        Density of the layer over its bulk density (or its mask): 1 inside, 0 outside.
    surface : Surface
        Of the body.
    depth : (z, y, x)
        Distance of every voxel of the body from the vacuum outside, in voxels.
    reach_px : float
        How far inwards to integrate, in voxels.

    Returns
    -------
    Thickness or None
        None where no normal is straight that far.
    """
    along = np.arange(-OUTWARD_PX, reach_px, STEP_PX) + STEP_PX / 2
    end = surface.centres + reach_px * surface.normals
    straight = map_coordinates(depth, end.T, order=1) >= STRAIGHT * reach_px
    if not straight.any():
        return None
    points = surface.centres[straight][:, None] + along[None, :, None] * surface.normals[straight][:, None]
    density = map_coordinates(layer, points.reshape(-1, 3).T, order=1).reshape(len(points), -1)  # (f, s)
    values = np.full(len(straight), np.nan)
    values[straight] = density.sum(axis=1) * STEP_PX
    return Thickness(surface, values)
