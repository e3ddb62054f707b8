"""How full every voxel is to the empty regions that matter encloses, those that are only partly empty included."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import find_objects, label

from napari_dipmtv.data import F32
from napari_dipmtv.inspect.matter import Mask
from napari_dipmtv.settings.inspect import SegmentSettings

FLOOR_PERCENT = 10  # of the voxels of a void lie below what is taken as its density; the minimum is noise
MARGIN_PX = 8  # how far a void may grow beyond the voxels that gave it away


def find_voids(filling: F32, inside: Mask, settings: SegmentSettings) -> Mask:
    """Find enclosed regions that are empty compared with the bulk, or with what surrounds them.

    Against the *bulk*, a void is where ``filling`` is below the void fraction, shut in. Against the
    *surrounding*, every pit of the density is filled up to the level at which it would run over to the outside
    (grey-scale reconstruction by erosion: Vincent, IEEE Trans. Image Process. 2, 176 (1993)); a void lies below
    the void fraction of that level, and its edge where the density is half-way between its floor and the level.
    A void that the missing wedge has filled partly is thus found at its own contrast.

    Parameters
    ----------
    filling : (z, y, x)
        Share of each voxel that is filled.
    inside : (z, y, x)
        Matter with all that it encloses.
    settings : SegmentSettings
    """
    if settings.void_reference == "bulk":
        return _shut_in(filling < settings.void_fraction, settings.smallest_void_voxels) & inside
    level = brim(filling)
    seeds = _shut_in(filling < settings.void_fraction * level, settings.smallest_void_voxels) & inside
    return _to_half_depth(seeds, filling, level) & inside


def brim(filling: F32) -> F32:
    """Level (z, y, x) up to which every pit fills before it runs over to the outside of the volume."""
    from skimage.morphology import reconstruction

    seed = np.full_like(filling, filling.max())
    for axis in range(3):
        for end in (0, -1):
            edge = tuple(end if a == axis else slice(None) for a in range(3))
            seed[edge] = filling[edge]
    level: F32 = reconstruction(seed, filling, method="erosion").astype(np.float32)
    return level


def _shut_in(low: Mask, smallest: int) -> Mask:
    """Regions without a connection through voxel faces to the outside, and large enough."""
    parts, _ = label(np.pad(low, 1, constant_values=True))
    outside = parts[0, 0, 0]
    parts = parts[1:-1, 1:-1, 1:-1]
    keep = np.bincount(parts.ravel(), minlength=outside + 1) >= smallest
    keep[[0, outside]] = False
    found: Mask = keep[parts]
    return found


def _to_half_depth(seeds: Mask, filling: F32, level: F32) -> Mask:
    """Each region up to where the density has risen half-way from its floor to its brim."""
    parts, _ = label(seeds)
    grown = np.zeros(seeds.shape, bool)
    for number, box in enumerate(find_objects(parts), start=1):
        window = tuple(slice(max(0, s.start - MARGIN_PX), s.stop + MARGIN_PX) for s in box)
        seed = parts[window] == number
        half = (np.percentile(filling[window][seed], FLOOR_PERCENT) + level[window][seed].max()) / 2
        pieces, _ = label((filling[window] < half) | seed)
        grown[window] |= np.isin(pieces, np.unique(pieces[seed]))
    return grown
