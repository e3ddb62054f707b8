"""A body with plane faces to its planes, from these to distances, and how the planes may move: crystals have facets.

A radius in harmonics rounds the edges of a cube, by half a voxel where sixteen degrees are kept, and what is missing
there must come from the densities. Planes have sharp edges and few numbers. They are looked for one after the other in
the surface that the centre sees, the largest first, as in the decoupling of planes by random samples (R. Schnabel,
R. Wahl and R. Klein, Comput. Graph. Forum 26, 214 (2007)), but from fixed seeds. Whether a body is better drawn by its
planes or by its radii, the data say.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, map_coordinates

from napari_dipmtv.data import F32, F64
from napari_dipmtv.trust.stars import common_centre, lattice, seen_from

NEAR_PX = 1.0  # a point this near to a plane lies on it,
LIKE = 0.9  # where the surface has its direction: the least cosine
TAKEN_PX, TAKEN_LIKE = 1.5, 0.7  # what is so near and so alike is no part of another facet
LEAST = 0.02  # of all directions, that see a facet
SEEDS, ROUNDS = 300, 5
CLOSED = 0.3  # least cosine of any direction to the nearest facet: the facets enclose the body


def bodies_as_facets(shares: Sequence[F32]) -> tuple[list[F32], F32] | None:
    """Distances (z, y, x) of bodies that enclose each other, the outermost first, and how their facets move.

    The outermost body, which is known best, has the directions of the planes; each body has its own offsets. None where
    its centre lies outside, or the planes do not enclose it.
    """
    centre = common_centre(shares[:1])
    if centre is None:
        return None
    points = [lattice() * seen_from(one, centre) for one in shares]  # (3, n) each
    facets = _facets(points[0], _outwards(shares[0], points[0] + centre[:, None]))
    if not facets:
        return None
    normals = np.stack([_plane(points[0][:, on])[0] for on in facets])  # (k, 3)
    if (normals @ lattice()).max(axis=0).min() < CLOSED:
        return None
    offsets = [[np.median(n @ body[:, on]) for n, on in zip(normals, facets, strict=True)] for body in points]
    outwards = np.tensordot(normals, np.indices(shares[0].shape) - centre[:, None, None, None], axes=1)
    below = [np.reshape(one, (-1, 1, 1, 1)) - outwards for one in offsets]  # (k, z, y, x) each
    nearest = below[0].argmin(axis=0)
    return [one.min(axis=0).astype(np.float32) for one in below], _moves(normals, nearest, centre)


def _moves(normals: F64, nearest: NDArray[np.intp], centre: F64) -> F32:
    """Displacements (3 k, z, y, x): each facet outwards, and tilted two ways by one at the mean radius of the box."""
    apart = np.indices(nearest.shape) - centre[:, None, None, None]
    radius = min(nearest.shape) / 2
    out = []
    for number, normal in enumerate(normals):
        along = np.linalg.svd(normal[None])[2][1:]  # two directions in the facet
        tilts = np.tensordot(along, apart, axes=1) / radius
        out += [(nearest == number) * one for one in (np.ones(nearest.shape), *tilts)]
    return np.stack(out).astype(np.float32)


def _facets(points: F64, outwards: F64) -> list[NDArray[np.bool_]]:
    """Which of the points (3, n) lie on each facet, the largest first; a plane through some point has most of them."""
    free = np.ones(points.shape[1], bool)
    at = slice(None, None, max(1, len(free) // SEEDS))
    offsets = (points[:, at] * outwards[:, at]).sum(axis=0)
    near = np.abs(outwards[:, at].T @ points - offsets[:, None]) < NEAR_PX
    near &= outwards[:, at].T @ outwards > LIKE  # (seeds, n)
    found: list[NDArray[np.bool_]] = []
    while True:
        best = (near & free).sum(axis=1).argmax()
        on = near[best] & free
        for _ in range(ROUNDS):
            if on.sum() < LEAST * len(free):
                return found
            normal, offset = _plane(points[:, on])
            off, alike = np.abs(normal @ points - offset), normal @ outwards
            on = free & (off < NEAR_PX) & (alike > LIKE)
        found.append(on)
        free &= ~on & ~((off < TAKEN_PX) & (alike > TAKEN_LIKE))


def _plane(points: F64) -> tuple[F64, float]:
    """Normal away from the centre and offset of the plane that fits points (3, n) best."""
    middle = points.mean(axis=1)
    apart = points - middle[:, None]
    normal: F64 = np.linalg.eigh(apart @ apart.T)[1][:, 0]
    offset = float(normal @ middle)
    return (normal, offset) if offset > 0 else (-normal, -offset)


def _outwards(share: F32, at_px: F64) -> F64:
    """Direction (3, n) in which a body (z, y, x) ends at points of its surface."""
    slopes = np.gradient(gaussian_filter(share, 1.0))
    inwards = np.stack([map_coordinates(one, at_px, order=1) for one in slopes])
    return np.asarray(-inwards / np.maximum(np.linalg.norm(inwards, axis=0), 1e-9))
