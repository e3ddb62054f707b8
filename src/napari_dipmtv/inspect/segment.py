"""A volume to named phases: vacuum, core, shell, skin (or one phase per channel), and voids."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt, find_objects, gaussian_filter, label

from napari_dipmtv.data import F32, F64, Segmentation, Volume
from napari_dipmtv.errors import InputError, expected
from napari_dipmtv.inspect.classes import Classes, classify
from napari_dipmtv.inspect.matter import (
    DUST_SHARE,
    VACUUM,
    VOID,
    Mask,
    bulk_of,
    depth_px,
    filled,
    particles_of,
    without_dust,
    without_specks,
)
from napari_dipmtv.inspect.voids import find_voids
from napari_dipmtv.settings.inspect import SegmentSettings

__all__ = ["VOID", "left_out", "segment"]

Labels = NDArray[np.uint8]
DEEP = 0.8  # of the largest depth in a particle: where the core must be


def segment(volume: Volume, settings: SegmentSettings | None = None) -> Segmentation:
    """Divide a volume into phases.

    Where matter begins and which phase it is say the classes of `inspect.classes`; what is core, shell, skin
    and void is decided by topology. A void is enclosed: it has no connection through voxel faces to the vacuum
    outside (`inspect.voids`).

    Parameters
    ----------
    volume : Volume
        Densities (c, z, y, x); negative values count as zero.
    settings : SegmentSettings, optional

    Returns
    -------
    Segmentation
        Label 0 is "vacuum" and the last one "void". Two channels A (of the core) and B in the core-shell
        structure: "A core", "B shell", "A skin", in every particle of the field. One channel: "material", or its
        grey values "HAADF 1", "HAADF 2", ... from the least dense. Otherwise one phase per channel, of its name.

    Raises
    ------
    InputError
        For a volume without any positive density, or not finite, and for settings that do not fit it.
    """
    settings = settings or SegmentSettings()
    filling, classes = _classified(volume, settings)
    matter = without_dust(without_specks(classes.matter, settings.smallest_part_voxels))
    void = find_voids(filling, filled(matter), settings)
    solid = filled(matter | void) & ~void
    phase = _cleaned(classes.phase, len(classes.names), solid & matter, settings.smallest_part_voxels)
    if len(volume.channels) == 2 and settings.model == "core-shell":
        labels, names = _core_shell(phase, solid, void, volume.channels)
    else:
        labels, names = np.where(solid, phase + 1, 0).astype(np.uint8), classes.names
    return _segmentation(labels, names, void, volume.voxel_nm)


def left_out(volume: Volume, settings: SegmentSettings | None = None) -> list[str]:
    """Say which separate pieces `segment` takes for dust and leaves out; nothing where there are none."""
    settings = settings or SegmentSettings()
    matter = without_specks(_classified(volume, settings)[1].matter, settings.smallest_part_voxels)
    dust = matter & ~without_dust(matter)
    if not dust.any():
        return []
    pieces = int(particles_of(dust).max())
    what = f"{pieces} separate piece{'s' if pieces > 1 else ''} of {int(dust.sum())} voxels in all"
    return [
        f"Left out as dust: {what}, thinner than three voxels and smaller than {DUST_SHARE:.0%} of the largest "
        "particle. Where they are real, crop the volume to them."
    ]


def _classified(volume: Volume, settings: SegmentSettings) -> tuple[F32, Classes]:
    """How full every voxel (z, y, x) is, and of what."""
    density = _usable(volume, settings.smoothing_px)
    bulk = bulk_of(density)
    filling: F32 = density.sum(axis=0) / bulk.total.astype(np.float32)[density.argmax(axis=0)]
    return filling, classify(density, filling, bulk, volume.channels, settings)


def _usable(volume: Volume, smoothing_px: float) -> F32:
    density: F32 = np.clip(volume.data, 0, None)
    if smoothing_px:
        density = gaussian_filter(density, (0, *(smoothing_px,) * 3))
    total = density.sum(axis=0)
    if not np.isfinite(total).all() or total.max() <= 0:
        raise InputError(
            expected("volume", "finite, with some positive density", total.max(), "Reconstruct again")
        )
    return density


def _segmentation(labels: Labels, names: tuple[str, ...], void: Mask, voxel_nm: float) -> Segmentation:
    phases: Mapping[int, str] = dict(enumerate((VACUUM, *names, VOID)))
    return Segmentation(np.where(void, np.uint8(len(names) + 1), labels), phases, voxel_nm)


def _cleaned(phase: NDArray[np.intp], count: int, matter: Mask, smallest: int) -> NDArray[np.intp]:
    """Phase of every voxel; small pieces and what is not matter take that of their nearest neighbour."""
    kept = np.zeros(matter.shape, bool)
    for c in range(count):
        kept |= without_specks(matter & (phase == c), smallest)
    if not kept.any():
        return phase
    nearest = distance_transform_edt(~kept, return_distances=False, return_indices=True)
    cleaned: NDArray[np.intp] = phase[tuple(nearest)]
    return cleaned


def _core_shell(
    phase: NDArray[np.intp], solid: Mask, void: Mask, channels: tuple[str, ...]
) -> tuple[Labels, tuple[str, ...]]:
    """Tell core, shell and skin apart: A is the channel that fills the deepest part of the particles."""
    depth = depth_px(solid | void)
    particles = particles_of(solid | void)
    inner = _inner(phase, solid, depth, particles)
    a, b = solid & (phase == inner), solid & (phase != inner)
    skin = np.zeros(a.shape, bool)
    for number, box in enumerate(find_objects(particles), start=1):
        here = particles[box] == number
        skin[box] |= _skin(a[box] & here, b[box] & here, depth[box])
    labels = np.select([skin, a, b], [3, 1, 2], 0).astype(np.uint8)
    core, shell = channels[inner], channels[1 - inner]
    return labels, (f"{core} core", f"{shell} shell", f"{core} skin")


def _inner(phase: NDArray[np.intp], solid: Mask, depth: F64, particles: NDArray[np.int32]) -> int:
    """Channel of most of the deepest parts of all particles; of a small one next to a large one, less is deep."""
    deepest = np.zeros(int(particles.max()) + 1)
    np.maximum.at(deepest, particles[solid], depth[solid])
    deep = solid & (depth > DEEP * deepest[particles])
    votes = np.bincount(
        phase[deep], weights=depth[deep] ** 3, minlength=2
    )  # the size of what they are the middle of
    return int(votes.argmax())


def _skin(a: Mask, b: Mask, depth: F64) -> Mask:
    """The part of A outside the shell B, in one particle.

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
