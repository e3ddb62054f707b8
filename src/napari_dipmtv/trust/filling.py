"""Densities of several channels to one linear measure of how full a voxel is."""

from __future__ import annotations

import numpy as np

from napari_dipmtv.data import F32, F64, Volume
from napari_dipmtv.errors import InputError, expected
from napari_dipmtv.inspect.matter import Mask, depth_px, filled, occupancy

PASSES, NEAR = 3, 0.3  # fits, and how near to full a voxel must be to count in the next
DEEP_PX = 3.0  # voxels deeper than this are taken as full


def matter_of(volume: Volume) -> Mask:
    """Where a volume is at least half full, with all that it encloses (z, y, x)."""
    return filled(occupancy(np.clip(volume.data, 0, None)) > 0.5)


def filling_weights(volume: Volume) -> F64:
    """Weights (c,) with which the channels of full voxels add up to 1, whatever phase fills them.

    Non-negative least squares over the inside of the object, voids left out. Being linear, the sum blurs as the
    densities do, while the share of the leading channel jumps where another one takes the lead.

    Raises
    ------
    InputError
        For a volume without an inside.
    """
    from scipy.optimize import nnls

    depth = depth_px(matter_of(volume))
    inside = depth > min(DEEP_PX, 0.5 * float(depth.max()))
    if not inside.any():
        raise InputError(
            expected("volume", "an object with an inside", "none", "Reconstruct it, or lower the smoothing")
        )
    density = volume.data[:, inside].astype(np.float64)  # (c, n)
    used = np.ones(density.shape[1], bool)
    for _ in range(PASSES):  # a void among the full voxels is left out in the second pass
        weights, _ = nnls(density[:, used] @ density[:, used].T, density[:, used].sum(axis=1))
        filling = weights @ density
        full = float(np.median(filling[used]))
        used = np.abs(filling - full) < NEAR * full if full > 0 else used
    if not full > 0:
        raise InputError(
            expected("volume", "matter in its inside", "an empty one", "Reconstruct with more signal")
        )
    return np.asarray(weights / full)


def filling_of(volume: Volume, weights: F64) -> F32:
    """Linear filling (z, y, x): 1 in full voxels, 0 in empty ones."""
    filling: F32 = np.tensordot(weights.astype(np.float32), volume.data, axes=1)
    return filling
