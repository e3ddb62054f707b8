"""Images recorded beside maps, such as HAADF, become what the alignment of the maps looks at."""

from __future__ import annotations

import numpy as np

from napari_dipmtv.alignment.views import leave_out, shows_something
from napari_dipmtv.data import ChannelMaps
from napari_dipmtv.errors import GeometryError, expected

DARKEST_PERCENT = 2.0  # of a view count as vacuum: a detector's zero says nothing
SAME_TILT_DEG = 0.1


def guided(maps: ChannelMaps, images: ChannelMaps) -> tuple[ChannelMaps, ChannelMaps]:
    """Give maps and the images of the same views by which they can be aligned.

    Images are often brighter by thousands than maps, but have a zero of their own: the darkest 2 % of each view are
    taken for vacuum and subtracted. A view that the images do not show has no weight in the maps either.

    Parameters
    ----------
    maps : ChannelMaps
    images : ChannelMaps
        Recorded with the maps, on the same pixels, in the same order.

    Returns
    -------
    maps, images : ChannelMaps

    Raises
    ------
    GeometryError
        For images of other tilts or pixels.
    """
    if images.data.shape[1:] != maps.data.shape[1:]:
        wanted, got = ("{} views of {} x {} pixels".format(*stack.data.shape[1:]) for stack in (maps, images))
        raise GeometryError(
            expected("images to align by", wanted, got, "Use those recorded with the maps, binned alike")
        )
    apart = np.abs(np.subtract(images.tilts_deg, maps.tilts_deg))
    if apart.max() > SAME_TILT_DEG:
        worst = int(apart.argmax())
        wanted, got = (f"{stack.tilts_deg[worst]:g} deg" for stack in (maps, images))
        raise GeometryError(
            expected(f"view {worst} to align by", wanted, got, "Give the images in the order of the maps")
        )
    usable = np.ones(images.data.shape[1:], bool) if images.valid is None else images.valid
    used = shows_something(images)
    dark = np.zeros(images.data.shape[:2], np.float32)  # (c, t)
    for t in np.flatnonzero(used):
        dark[:, t] = np.percentile(images.data[:, t, usable[t]], DARKEST_PERCENT, axis=1)
    data = np.where(usable, images.data - dark[..., None, None], 0)
    lacking = tuple(np.flatnonzero(~used).tolist())
    return leave_out(maps, lacking), images.replace(data=data, counts_per_unit=None)
