"""Maps to the pixels that stand out like X-ray hits or saturated detectors, which nothing should be fitted to."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import median_filter

from napari_dipmtv.data import MapStack

Stack = TypeVar("Stack", bound=MapStack)

TYPICAL = 0.999  # quantile of how far pixels of a channel rise above the median of the nine around them
SPIKE = 5.0  # times as far is a spike


def spikes(maps: MapStack) -> NDArray[np.bool_]:
    """Pixels that rise in some channel five times further above their surroundings than 99.9 % of all pixels do.

    The comparison with the other pixels of the same channel needs no model of the noise: it holds for counts, where a
    lonely electron in the vacuum is no spike, as for the grey values of a detector. More than one pixel in a thousand
    is never called a spike.

    Parameters
    ----------
    maps : ChannelMaps or TiltSeries

    Returns
    -------
    bool array (t, y, x)
    """
    found = np.zeros(maps.data.shape[1:], bool)
    for channel in maps.data:  # (t, y, x)
        excess = channel - median_filter(channel, size=(1, 3, 3))
        usual = float(np.quantile(excess, TYPICAL))
        if usual > 0:
            found |= excess > SPIKE * usual
    return found if maps.valid is None else found & maps.valid


def without_spikes(maps: Stack) -> Stack:
    """The same maps, in which spikes are not usable."""
    found = spikes(maps)
    if not found.any():
        return maps
    valid = np.ones(found.shape, bool) if maps.valid is None else maps.valid
    return maps.replace(valid=valid & ~found)
