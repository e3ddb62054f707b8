"""Segmented voids to holes with a centre and a radius: a ball, or what the size of the void lets the data say more.

A void of few voxels has no shape that noisy data know. Left free, its boundary takes up their noise, and as volume
grows with the cube of the radius, the noise makes it larger: ``<(r + d)³> = r³ (1 + 3 <d²> / r² + ...)``, by a third
where the boundary of a void of five voxels scatters by one. A ball has its centre and radius only.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import label

from napari_dipmtv.data import F32, F64
from napari_dipmtv.inspect.matter import Mask
from napari_dipmtv.trust.harmonics import harmonics
from napari_dipmtv.trust.stars import OWN_DEGREE, centre_of, radii_of, star

FINEST_PX = 5.0  # half a wave around the void that noisy data can know
NOWHERE_PX = -99.0
CENTRE = (2, 3, 1)  # harmonics of degree 1 along z, y, x: √3 times the unit vector


@dataclass(frozen=True, slots=True, eq=False)
class Hole:
    """A void: harmonics ((degree + 1)²,) of its radius, those of degree 1 zero, about its centre (z, y, x)."""

    centre_px: F64
    radii: F64

    @property
    def degree(self) -> int:
        """Of the finest displacement of its boundary, at least 1: it may grow and move."""
        return int(len(self.radii) ** 0.5 + 0.5) - 1

    def moved(self, change_px: F64) -> Hole:
        """Displace the boundary by harmonics ((degree + 1)²,); those of degree 1 move the centre."""
        centre = self.centre_px + 3**0.5 * change_px[[*CENTRE]]
        radii = self.radii + change_px
        radii[1:4] = 0
        return Hole(centre, radii)

    def distances(self, shape: tuple[int, ...]) -> F32:
        """Distances (z, y, x) in voxels from its boundary, positive inside."""
        return star(self.radii, self.centre_px, shape)

    def modes(self, at_px: F64) -> F64:
        """Displacement ((degree + 1)², n) of the boundary in the direction of points (3, n)."""
        apart = at_px - self.centre_px[:, None]
        return harmonics(apart / np.maximum(np.linalg.norm(apart, axis=0), 1e-6), self.degree)


def holes_of(void: Mask) -> tuple[Hole, ...]:
    """One hole for each separate void of a mask (z, y, x)."""
    parts, count = label(void)
    found = []
    for number in range(1, count + 1):
        share = (parts == number).astype(np.float32)
        centre = centre_of(share)
        mean_px = (3 * float(share.sum()) / (4 * np.pi)) ** (1 / 3)
        degree = min(max(int(np.pi * mean_px / FINEST_PX), 1), OWN_DEGREE)
        radii = np.zeros(4) if degree == 1 else radii_of(share, centre)[: (degree + 1) ** 2]
        radii[0], radii[1:4] = mean_px, 0
        found.append(Hole(centre, radii))
    return tuple(found)


def emptiest(holes: tuple[Hole, ...], shape: tuple[int, ...]) -> F32:
    """Distances (z, y, x) from the boundary of the nearest of several holes."""
    inside = np.full(shape, NOWHERE_PX, np.float32)
    for hole in holes:
        np.maximum(inside, hole.distances(shape), out=inside)
    return inside
