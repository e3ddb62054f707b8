"""What residuals want of every voxel to the enclosed ball that they most want empty: a void that no threshold shows."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from scipy.ndimage import maximum_filter
from scipy.signal import fftconvolve

from napari_dipmtv.data import F32, F64
from napari_dipmtv.inspect.matter import Mask, depth_px
from napari_dipmtv.trust.holes import Hole, emptiest

RADII_PX = (2.0, 2.5, 3.0, 4.0, 5.5)
CLEAR_PX = 1.5  # a ball keeps this far from the surface
CANDIDATES = 4  # of each radius, the best by the slope


def most_demanded(slope: F32, matter: Mask, gain: Callable[[F32], float]) -> tuple[Hole, float] | None:
    """Find the ball with the largest gain, and that gain; None where none fits.

    Parameters
    ----------
    slope : (z, y, x)
        First-order gain of each voxel.
    matter : (z, y, x)
    gain : callable
        What a share (z, y, x) of all voxels gains.
    """
    trials = ((hole, gain(inside_of(hole, slope.shape))) for hole in _promising(slope, depth_px(matter)))
    return max(trials, key=lambda trial: trial[1], default=None)


def inside_of(hole: Hole, shape: tuple[int, ...]) -> F32:
    """Share (z, y, x) of each voxel inside a hole, its edge one voxel wide."""
    inside: F32 = np.clip(0.5 + emptiest((hole,), shape), 0, 1)
    return inside


def _promising(slope: F32, depth: F64) -> Iterator[Hole]:
    """Enclosed balls at the local maxima of what their voxels gain together."""
    for radius in RADII_PX:
        reach = int(np.ceil(radius + 0.5))
        middle = Hole(np.full(3, float(reach)), np.array([radius]))
        summed = fftconvolve(slope, inside_of(middle, (2 * reach + 1,) * 3), mode="same")
        peaks = (depth > radius + CLEAR_PX) & (summed > 0) & (summed == maximum_filter(summed, 3))
        order = np.argsort(-summed[peaks])[:CANDIDATES]
        for place in np.argwhere(peaks)[order]:
            yield Hole(place.astype(float), np.array([radius, 0.0, 0.0, 0.0]))
