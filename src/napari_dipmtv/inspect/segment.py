"""A volume to named phases: vacuum, core, shell, skin (or one phase per channel), and voids."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt, gaussian_filter, label

from napari_dipmtv.data import F32, Segmentation, Volume
from napari_dipmtv.errors import InputError, expected
from napari_dipmtv.settings.inspect import SegmentSettings

Mask = NDArray[np.bool_]
Labels = NDArray[np.uint8]
VACUUM = "vacuum"
VOID = "void"
MATERIAL = "material"
FEWEST_BULK = 50  # voxels that give a bulk density
DEEP = 0.8  # of the largest depth: where the core must be


def segment(volume: Volume, settings: SegmentSettings | None = None) -> Segmentation:
    """Divide a volume into phases.

    Matter is where the `occupancy` exceeds the threshold; its phase is the channel of the largest density.
    A void lies below the void threshold and has no connection through voxel faces to the vacuum outside.

    Parameters
    ----------
    volume : Volume
        Densities (c, z, y, x); negative values count as zero.
    settings : SegmentSettings, optional

    Returns
    -------
    Segmentation
        Label 0 is "vacuum" and the last one "void". Two channels A (of the core) and B in the core-shell
        structure: "A core", "B shell", "A skin". One channel: "material". Otherwise one phase per channel, of
        its name.

    Raises
    ------
    InputError
        For a volume without any positive density, or not finite.
    """
    settings = settings or SegmentSettings()
    density = np.clip(volume.data, 0, None)
    if settings.smoothing_px:
        density = gaussian_filter(density, (0, *(settings.smoothing_px,) * 3))
    total = density.sum(axis=0)
    if not np.isfinite(total).all() or total.max() <= 0:
        raise InputError(
            expected("volume", "finite, with some positive density", total.max(), "Reconstruct again")
        )
    filling = occupancy(density)
    surface = _otsu(filling) if settings.threshold == "otsu" else settings.surface_fraction
    matter = _without_specks(filling > surface, settings.smallest_part_voxels)
    void = _voids(filling < settings.void_fraction, settings.smallest_void_voxels) & filled(matter)
    solid = filled(matter | void) & ~void
    channel = _channels(density, solid, settings.smallest_part_voxels)
    if len(volume.channels) == 2 and settings.model == "core-shell":
        labels, names = _core_shell(channel, solid, void, volume.channels)
    else:
        labels = np.where(solid, channel + 1, 0).astype(np.uint8)
        names = volume.channels if len(volume.channels) > 1 else (MATERIAL,)
    return _segmentation(labels, names, void, volume.voxel_nm)


def occupancy(density: F32) -> F32:
    """Share (z, y, x) of every voxel that is filled: channel sum over the bulk of its main channel.

    The bulk is the median of the channel sum where that channel is the largest and the sum exceeds Otsu's
    threshold; phases of different density then get unbiased surfaces. A channel that leads in fewer than
    `FEWEST_BULK` voxels takes the median of all matter.
    """
    total, main = density.sum(axis=0), density.argmax(axis=0)
    matter = total > _otsu(total)
    bulk = np.full(len(density), np.median(total[matter]), np.float32)
    for c in range(len(density)):
        values = total[matter & (main == c)]
        if len(values) >= FEWEST_BULK:
            bulk[c] = np.median(values)
    filling: F32 = total / bulk[main]
    return filling


def _otsu(values: F32) -> float:
    from skimage.filters import threshold_otsu

    return float(threshold_otsu(values)) if np.ptp(values) > 0 else 0.0


def filled(matter: Mask) -> Mask:
    """Matter with everything that it encloses."""
    empty = np.pad(~matter, 1, constant_values=True)  # (z, y, x), outside joined around the volume
    parts, _ = label(empty)
    inside: Mask = (parts != parts[0, 0, 0])[1:-1, 1:-1, 1:-1]
    return inside


def depth_px(matter: Mask) -> NDArray[np.float64]:
    """Distance of every voxel of the filled object from the vacuum outside, in voxels; 0 outside."""
    depth: NDArray[np.float64] = distance_transform_edt(np.pad(filled(matter), 1))[1:-1, 1:-1, 1:-1]
    return depth


def _segmentation(labels: Labels, names: tuple[str, ...], void: Mask, voxel_nm: float) -> Segmentation:
    phases: Mapping[int, str] = dict(enumerate((VACUUM, *names, VOID)))
    return Segmentation(np.where(void, np.uint8(len(names) + 1), labels), phases, voxel_nm)


def _without_specks(mask: Mask, smallest: int) -> Mask:
    parts, _ = label(mask, np.ones((3, 3, 3)))
    keep = np.bincount(parts.ravel()) >= smallest
    keep[0] = False
    cleaned: Mask = keep[parts]
    return cleaned


def _voids(low: Mask, smallest: int) -> Mask:
    """Regions of low density that are shut in, and large enough."""
    parts, _ = label(np.pad(low, 1, constant_values=True))
    outside = parts[0, 0, 0]
    parts = parts[1:-1, 1:-1, 1:-1]
    keep = np.bincount(parts.ravel()) >= smallest
    keep[[0, outside]] = False
    found: Mask = keep[parts]
    return found


def _channels(density: F32, solid: Mask, smallest: int) -> NDArray[np.intp]:
    """Channel of the largest density (z, y, x); small pieces take that of their nearest neighbour."""
    channel: NDArray[np.intp] = density.argmax(axis=0)
    kept = np.zeros(solid.shape, bool)
    for c in range(len(density)):
        kept |= _without_specks(solid & (channel == c), smallest)
    if not kept.any():
        return channel
    nearest = distance_transform_edt(~kept, return_distances=False, return_indices=True)
    cleaned: NDArray[np.intp] = channel[tuple(nearest)]
    return cleaned


def _core_shell(
    channel: NDArray[np.intp], solid: Mask, void: Mask, channels: tuple[str, ...]
) -> tuple[Labels, tuple[str, ...]]:
    """Tell core, shell and skin apart: A is the channel that fills the deepest part."""
    depth = depth_px(solid | void)
    deepest = channel[solid & (depth > DEEP * depth[solid].max())]
    inner = int(np.bincount(deepest, minlength=2).argmax())
    a, b = solid & (channel == inner), solid & (channel != inner)
    skin = _skin(a, b, depth)
    labels = np.select([skin, a, b], [3, 1, 2], 0).astype(np.uint8)
    core, shell = channels[inner], channels[1 - inner]
    return labels, (f"{core} core", f"{shell} shell", f"{core} skin")


def _skin(a: Mask, b: Mask, depth: NDArray[np.float64]) -> Mask:
    """The part of A outside the shell B.

    A piece of A that touches the vacuum and stays shallower than the middle of the shell is skin, and one
    that never touches the vacuum and reaches deeper is core. A piece that does both, because a few voxels
    bridge skin and core, and one that does neither, is divided at the middle of the shell.
    """
    if not b.any():
        return np.zeros(a.shape, bool)
    middle = np.median(depth[b])
    parts, count = label(a)
    numbers = np.arange(1, count + 1)
    touching = np.isin(numbers, parts[a & (depth < 2)])
    reaching = np.isin(numbers, parts[a & (depth > middle)])
    skin = a & (depth < middle)
    only_skin = np.concatenate([[False], touching & ~reaching])
    only_core = np.concatenate([[False], ~touching & reaching])
    result: Mask = (skin | only_skin[parts]) & ~only_core[parts]
    return result
