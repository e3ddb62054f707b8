"""A volume, or fractions, to plain sentences about values that physics forbids."""

from __future__ import annotations

import numpy as np

from napari_dipmtv.data import Volume
from napari_dipmtv.inspect.matter import bulk_of

NOTICEABLE = 1e-4  # share of the density; rounding stays far below
OVERFULL = 1.3  # of the bulk: more than noise and ringing of a good reconstruction make of one filled voxel


def implausible(volume: Volume, *, fractions: bool = False) -> tuple[str, ...]:
    """Say which values of a volume cannot be real.

    Parameters
    ----------
    volume : Volume
        Densities, which are not negative and finite, and no more than the bulk allows.
    fractions : bool
        The channels are shares of one whole: none above 1, and no sum above 1.

    Returns
    -------
    tuple of str
        One sentence for each constraint that is broken; none for a plausible volume.
    """
    data, said = volume.data, []
    finite = np.isfinite(data)
    if not finite.all():
        said.append(f"{(~finite).mean():.2%} of the voxels are not finite.")
    clean = np.where(finite, data, 0)
    positive = float(np.clip(clean, 0, None).sum(dtype=np.float64))
    for name, channel in zip(volume.channels, clean, strict=True):
        negative = -float(np.clip(channel, None, 0).sum(dtype=np.float64))
        if negative > NOTICEABLE * max(positive, 1e-30):
            said.append(
                f"{name} is negative in {(channel < 0).mean():.1%} of the voxels, {negative / positive:.2%} of the "
                "whole density; negative values count as zero in phases and volumes."
            )
    sums = clean.sum(axis=0)
    if fractions and (sums > 1 + NOTICEABLE).any():
        said.append(
            f"The fractions add up to more than 1 in {(sums > 1 + NOTICEABLE).mean():.1%} of the voxels."
        )
    if not fractions and positive > 0:
        over = float(
            (sums > OVERFULL * bulk_of(np.clip(clean, 0, None)).total.max()).mean() / (sums > 0).mean()
        )
        if over > NOTICEABLE:
            said.append(
                f"{over:.1%} of the filled voxels hold more than {OVERFULL:g} times the bulk density."
            )
    return tuple(said)
