"""Densities to how full every voxel is, and masks to what they enclose."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_erosion, distance_transform_edt, label

from napari_dipmtv.data import F32, F64

Mask = NDArray[np.bool_]
VACUUM = "vacuum"
VOID = "void"
FEWEST_BULK = 50  # voxels that give a bulk density
BOUNDARY_PX = 2  # voxels this near to a boundary are blurred
DUST_DEPTH_PX, DUST_SHARE = (
    1.5,
    0.01,
)  # thinner than three voxels, and of less than this of the largest particle


@dataclass(frozen=True, slots=True, eq=False)
class Bulk:
    """Densities deep inside the matter, one number per channel.

    Attributes
    ----------
    own : (c,)
        Of the channel itself, where it leads.
    total : (c,)
        Of the sum of all channels, where this channel leads.
    found : (c,) bool
        False where a channel leads almost nowhere and has no bulk of its own.
    """

    own: F64
    total: F64
    found: Mask


def bulk_of(density: F32) -> Bulk:
    """Read the bulk densities of a volume (c, z, y, x).

    They are medians over the voxels that a channel leads, where the channel sum exceeds Otsu's threshold, away
    from the blurred boundaries where enough voxels lie so deep. A channel that leads in fewer than `FEWEST_BULK`
    voxels takes the median of all matter.
    """
    sums, main = density.sum(axis=0), density.argmax(axis=0)
    matter = sums > otsu(sums)
    everywhere = float(np.median(sums[matter]))
    own, total = np.full(len(density), everywhere), np.full(len(density), everywhere)
    found = np.zeros(len(density), bool)
    for c in range(len(density)):
        leads = matter & (main == c)
        deep = binary_erosion(leads, iterations=BOUNDARY_PX)
        if int(deep.sum()) >= FEWEST_BULK:
            leads = deep
        if int(leads.sum()) >= FEWEST_BULK:
            own[c], total[c] = np.median(density[c][leads]), np.median(sums[leads])
            found[c] = True
    return Bulk(own, total, found)


def occupancy(density: F32) -> F32:
    """Share (z, y, x) of every voxel that is filled: channel sum over the bulk of its main channel.

    Phases of different density then get unbiased surfaces.
    """
    filling: F32 = density.sum(axis=0) / bulk_of(density).total.astype(np.float32)[density.argmax(axis=0)]
    return filling


def otsu(values: F32) -> float:
    """Otsu's threshold; 0 where all values are equal."""
    from skimage.filters import threshold_otsu

    return float(threshold_otsu(values)) if np.ptp(values) > 0 else 0.0


def filled(matter: Mask) -> Mask:
    """Matter with everything that it encloses."""
    empty = np.pad(~matter, 1, constant_values=True)  # (z, y, x), outside joined around the volume
    parts, _ = label(empty)
    inside: Mask = (parts != parts[0, 0, 0])[1:-1, 1:-1, 1:-1]
    return inside


def depth_px(matter: Mask) -> F64:
    """Distance of every voxel of the filled object from the vacuum outside, in voxels; 0 outside."""
    depth: F64 = distance_transform_edt(np.pad(filled(matter), 1))[1:-1, 1:-1, 1:-1]
    return depth


def without_specks(mask: Mask, smallest: int) -> Mask:
    """Leave out pieces (joined through faces, edges or corners) of fewer voxels than the smallest."""
    parts, _ = label(mask, np.ones((3, 3, 3)))
    keep = np.bincount(parts.ravel()) >= smallest
    keep[0] = False
    cleaned: Mask = keep[parts]
    return cleaned


def without_dust(matter: Mask) -> Mask:
    """Leave out separate pieces of noise: no voxel deeper than `DUST_DEPTH_PX`, and beside a particle far larger."""
    particles = particles_of(matter)
    sizes = np.bincount(particles.ravel())
    if len(sizes) < 3:
        return matter
    deepest = np.zeros(len(sizes))
    np.maximum.at(deepest, particles.ravel(), depth_px(matter).ravel())
    dust = (deepest <= DUST_DEPTH_PX) & (sizes < DUST_SHARE * sizes[1:].max())
    kept: Mask = matter & ~dust[particles]
    return kept


def particles_of(matter: Mask) -> NDArray[np.int32]:
    """Number the separate particles (z, y, x) from 1, the largest first, voids included; 0 is outside."""
    parts, count = label(filled(matter), np.ones((3, 3, 3)))
    order = np.argsort(-np.bincount(parts.ravel(), minlength=count + 1)[1:], kind="stable")
    numbers = np.zeros(count + 1, np.int32)
    numbers[1 + order] = np.arange(1, count + 1)
    result: NDArray[np.int32] = numbers[parts]
    return result
