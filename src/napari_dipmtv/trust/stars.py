"""A body that its centre sees whole to its radius in every direction, as spherical harmonics, and back to distances.

The staircase of the voxels must not survive in a boundary. Smoothed away, it takes edges and corners with it, and a
particle without its corners has the wrong densities. The radius that holds as much of the body in its direction,
``R³ / 3 = ∫ m r² dr`` along the ray through the shares ``m``, keeps both.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
from scipy.ndimage import map_coordinates

from napari_dipmtv.data import F32, F64
from napari_dipmtv.inspect.matter import Mask
from napari_dipmtv.trust.harmonics import degrees, harmonics

OWN_DEGREE, SHARED_DEGREE = 4, 12  # harmonics of each body by itself, and of all of them together
DIRECTIONS, RAY_STEP_PX = 3000, 0.25
APART_PX = 0.7  # a body further from what its centre sees of it is not drawn by its radii


def centre_of(share: F32) -> F64:
    """Centre of mass (z, y, x) of a body; raises `ZeroDivisionError` for none."""
    weights = share.astype(np.float64)
    total = weights.sum()
    return np.array([float((weights * axis).sum()) for axis in np.indices(share.shape)]) / float(total)


def radii_of(share: F32, centre_px: F64) -> F64:
    """Harmonics ((SHARED_DEGREE + 1)²,) of the radius of a body (z, y, x) about a centre; its mean comes first."""
    found: F64 = harmonics(lattice(), SHARED_DEGREE) @ seen_from(share, centre_px) / DIRECTIONS
    return found


@cache
def lattice() -> F64:
    """Directions (3, n) evenly over the sphere: a Fibonacci lattice."""
    step = np.arange(DIRECTIONS) + 0.5
    z, turn = 1 - 2 * step / DIRECTIONS, np.pi * (1 + 5**0.5) * step
    directions = np.stack([z, *((1 - z**2) ** 0.5 * f(turn) for f in (np.sin, np.cos))])
    directions.flags.writeable = False
    return directions


def seen_from(share: F32, centre_px: F64) -> F64:
    """Radius (n,) of a body (z, y, x) in every direction of `lattice`, by how much of it lies there."""
    r = np.arange(RAY_STEP_PX / 2, _reach(share, centre_px), RAY_STEP_PX)
    at = centre_px[:, None, None] + lattice()[:, :, None] * r
    inside = map_coordinates(share, at, order=1)  # (n, r)
    return np.asarray((3 * RAY_STEP_PX * (inside * r**2).sum(axis=1)) ** (1 / 3))


def common_centre(shares: Sequence[F32]) -> F64 | None:
    """Centre of mass of the first of some bodies, where all of them are; None for two bodies side by side."""
    if not all((one > 0.5).any() for one in shares):
        return None
    centre = centre_of(shares[0])
    middle = tuple(np.rint(centre).astype(int))
    return centre if min(one[middle] for one in shares) > 0.5 else None


def star(radii: F64, centre_px: F64, shape: tuple[int, ...]) -> F32:
    """Radius less distance from the centre (z, y, x), in voxels: positive inside, 0 at the surface."""
    inside: F32 = _stars(radii[None], centre_px, shape)[0]
    return inside


def bodies_as_stars(shares: Sequence[F32], finest: int = SHARED_DEGREE) -> list[F32] | None:
    """Distances of bodies that enclose each other, the outermost first; None where its centre does not see all of them.

    What is finer than `OWN_DEGREE` is noise in every body but the outermost, which is known best: they take it from
    that. Nothing is finer than ``finest``.
    """
    centre = common_centre(shares)
    if centre is None:
        return None
    radii = np.stack([radii_of(one, centre) for one in shares])
    radii[:, degrees(SHARED_DEGREE) > finest] = 0
    finer = degrees(SHARED_DEGREE) > OWN_DEGREE
    radii[:, finer] = radii[0, finer] * (radii[:, :1] / radii[0, 0])
    drawn = list(_stars(radii, centre, shares[0].shape))
    apart = (_apart_px(share > 0.5, one > 0) for share, one in zip(shares, drawn, strict=True))
    return drawn if max(apart) < APART_PX else None


def _stars(radii: F64, centre_px: F64, shape: tuple[int, ...]) -> F32:
    """Radius less distance (n, z, y, x) of bodies with one centre."""
    apart = (np.indices(shape) - centre_px[:, None, None, None]).reshape(3, -1)
    r = np.linalg.norm(apart, axis=0)
    far = radii[:, :1]
    if radii[:, 1:].any():
        far = radii @ harmonics(apart / np.maximum(r, 1e-6), round(radii.shape[1] ** 0.5) - 1)
    inside: F32 = (far - r).reshape(-1, *shape).astype(np.float32)
    return inside


def _reach(share: F32, centre_px: F64) -> float:
    corners = np.argwhere(share > 0)
    return float(np.linalg.norm(corners - centre_px, axis=1).max()) + 1


def _apart_px(one: Mask, other: Mask) -> float:
    """Mean distance between the surfaces of two bodies: voxels in only one of them over the area of a ball like it."""
    radius_px: float = (3 * float(one.sum()) / (4 * np.pi)) ** (1 / 3)
    return float((one ^ other).sum()) / (4 * np.pi * radius_px**2)
