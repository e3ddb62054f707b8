"""A found void to the particle without it, with a void of another size, and to how strong it is."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np
from scipy.ndimage import binary_dilation, distance_transform_edt, gaussian_filter, label
from scipy.signal import fftconvolve

from napari_dipmtv.data import F32, F64, Segmentation, TiltSeries, Volume
from napari_dipmtv.errors import InputError, expected
from napari_dipmtv.inspect.matter import VOID, Mask, depth_px
from napari_dipmtv.trust.feature import RIM_PX
from napari_dipmtv.trust.filling import filling_of, filling_weights, matter_of
from napari_dipmtv.trust.grain import grained
from napari_dipmtv.trust.refine import Refined, refine

RING_PX = 2.5  # thickness of the ring around a ball with which the ball is compared
PROBE_PX = 5.0  # diameter of the ball with which an unsegmented void is looked for
SUBPOINTS = 5  # along each edge of a voxel; a void of two voxels is then planted with its volume to 2 %
FILL_PX = 1.5  # the filling of a void continues its walls, averaged over patches of this size
# The emptiest places of repeats are weaker than those of the data by 9 % in the median of 44 particles without a void
# (field 24, SIRT).
SMOOTHER = 1.1
MOVES_PX = 1.5  # a void counts as "there" within this distance


@dataclass(frozen=True, eq=False)
class VoidFeature:
    """A void of a volume: its strength is the missing share of matter in a ball of its size, against a ring around it.

    Attributes
    ----------
    volume : Volume
        Under test.
    mask : bool array (z, y, x)
        Voxels of the void.
    segmentation : Segmentation
        Of the volume.
    bare : Refined, optional
        The particle without the void that the data like best (`explained`).
    """

    volume: Volume
    mask: Mask
    segmentation: Segmentation
    bare: Refined | None = None
    name: Literal["void"] = "void"
    unit: str = ""
    smoother: float = SMOOTHER

    @cached_property
    def size_nm(self) -> float:
        """Diameter of the sphere of the same volume."""
        return float((6 * self.mask.sum() / np.pi) ** (1 / 3)) * self.volume.voxel_nm

    @cached_property
    def centre_px(self) -> F64:
        """Centre of mass (z, y, x)."""
        return np.asarray(np.argwhere(self.mask).mean(axis=0))

    def explained(self, series: TiltSeries, *, grain: bool = True) -> VoidFeature:
        """The same void, its absence the best particle without it that the data know (`napari_dipmtv.trust.refine`)."""
        phases, value = self.segmentation, self.segmentation.labels
        gone = self.mask & phases.mask(VOID)
        if gone.any():
            value = value[tuple(distance_transform_edt(gone, return_distances=False, return_indices=True))]
        found = refine(series, Segmentation(value, phases.phases, phases.voxel_nm), search=False)
        if grain:
            whole = (
                refine(series, phases) if gone.any() else found
            )  # the void leaves residuals that are no grain
            found = replace(found, grain=grained(series, whole).grain)
        return replace(self, bare=found)

    def drawn(self, random: np.random.Generator) -> VoidFeature:
        """The same void, its absence another particle that might be meant: deformed at random."""
        return self if self.bare is None else replace(self, bare=self.bare.deformed(random))

    @property
    def misfit(self) -> float:
        """Of the particle without it to the data; NaN before `explained`."""
        return float("nan") if self.bare is None else self.bare.misfit

    @cached_property
    def absent(self) -> Volume:
        """The particle without the void: as the data explain it, or the volume with the void filled.

        Filling puts matter like that around it in the void and its blurred rim: each channel is continued by the mean
        of the walls, which the nearest parts of them dominate. A void at the border of two phases is filled with both.
        """
        if self.bare is not None:
            return self.bare.particle.volume
        hole = self.mask
        for _ in range(RIM_PX):
            hole = binary_dilation(hole, np.ones((3, 3, 3)))
        solid = (self._depth > RIM_PX) & ~hole
        if not solid.any():
            raise InputError(
                expected("void", "solid matter around it", "none", "Choose a void inside the particle")
            )
        reach = (
            (0.5 * self.size_nm / self.volume.voxel_nm + RIM_PX + 4) * 2 / FILL_PX
        )  # twice: voids are not round
        weight = gaussian_filter(solid.astype(np.float64), FILL_PX, truncate=reach)
        hole &= weight > 0
        data = self.volume.data.copy()
        for c in range(len(data)):
            around = gaussian_filter(np.where(solid, data[c], 0).astype(np.float64), FILL_PX, truncate=reach)
            data[c][hole] = around[hole] / weight[hole]
        return self.volume.replace(data=data)

    def planted(self, size_nm: float) -> Volume:
        """The filled volume with an empty ball of this diameter at the place of the found void."""
        inside = ball(self.volume.data.shape[1:], self.centre_px, size_nm / self.volume.voxel_nm)
        return self.absent.replace(data=self.absent.data * (1 - inside))

    def strength(self, volume: Volume, size_nm: float) -> tuple[float, float]:
        """Missing share of matter in a ball of this diameter, within `MOVES_PX` of the void, and anywhere inside."""
        missing = self._missing(volume, size_nm)
        return float(missing[self._near].max()), float(missing[self._allowed(size_nm) | self._near].max())

    def segmented(self, segmentation: Segmentation) -> tuple[float, float]:
        """Equivalent diameter of the void that covers the place (0 for none), and of the largest one."""
        parts, count = label(segmentation.mask(VOID))
        if not count:
            return 0.0, 0.0
        sizes = (6 * np.bincount(parts.ravel())[1:] / np.pi) ** (1 / 3) * segmentation.voxel_nm
        here = np.unique(parts[self._near])
        return float(max((sizes[i - 1] for i in here if i), default=0.0)), float(sizes.max())

    @cached_property
    def _depth(self) -> F64:
        return depth_px(matter_of(self.volume) | self.mask)

    @cached_property
    def _solid(self) -> F32:
        return (self._depth > 1).astype(np.float32)

    @cached_property
    def _around(self) -> dict[float, F32]:
        """Solid voxels in the ring around every voxel, by size: the same for every repeat."""
        return {}

    @cached_property
    def _weights(self) -> F64:
        return filling_weights(self.volume)

    @cached_property
    def _near(self) -> Mask:
        return ball(self.volume.data.shape[1:], self.centre_px, 2 * MOVES_PX) > 0

    def _allowed(self, size_nm: float) -> Mask:
        """Where a ball of this size keeps clear of the surface, or as far from it as the void under test."""
        radius = 0.5 * size_nm / self.volume.voxel_nm
        at_void = float(self._depth[tuple(np.rint(self.centre_px).astype(int))])
        allowed: Mask = self._depth >= min(radius + RIM_PX, at_void)
        return allowed

    def _missing(self, volume: Volume, size_nm: float) -> F32:
        """``1 - mean in the ball / mean in the ring`` around every voxel; the ring only where there is solid."""
        radius = 0.5 * size_nm / volume.voxel_nm
        filling = filling_of(volume, self._weights)
        reach = int(np.ceil(radius + 1 + RING_PX))
        shape, middle = (2 * reach + 1,) * 3, np.full(3, float(reach))
        inner = ball(shape, middle, 2 * radius)
        outer = ball(shape, middle, 2 * (radius + 1 + RING_PX)) - ball(shape, middle, 2 * (radius + 1))
        if size_nm not in self._around:
            self._around[size_nm] = fftconvolve(self._solid, outer, mode="same")
        around = self._around[size_nm]
        in_ball = fftconvolve(filling, inner / inner.sum(), mode="same")
        ring = fftconvolve(filling * self._solid, outer, mode="same") / np.maximum(around, 1e-6)
        missing: F32 = np.where((around > 1) & (ring > 0), 1 - in_ball / np.maximum(ring, 1e-6), 0)
        return missing


def find_void(volume: Volume, segmentation: Segmentation, probe_nm: float = 0.0) -> tuple[VoidFeature, str]:
    """Take the largest void of a segmentation, or where there is none, the place where most matter is missing.

    Returns
    -------
    feature, note
        The note says which of the two it is.
    """
    parts, count = label(segmentation.mask(VOID))
    if count:
        largest = parts == 1 + int(np.argmax(np.bincount(parts.ravel())[1:]))
        return (
            VoidFeature(volume, largest, segmentation),
            f"The largest of {count} segmented voids is tested."
            if count > 1
            else "The segmented void is tested.",
        )
    diameter = probe_nm or PROBE_PX * volume.voxel_nm
    depth = depth_px(matter_of(volume))
    deepest = np.unravel_index(int(np.argmax(depth)), depth.shape)
    inside = ball(depth.shape, np.array(deepest, float), diameter / volume.voxel_nm) > 0.5
    probe = VoidFeature(volume, inside, segmentation)
    missing = np.where(probe._allowed(diameter), probe._missing(volume, diameter), -np.inf)
    place = np.array(np.unravel_index(int(np.argmax(missing)), missing.shape), float)
    mask = ball(depth.shape, place, diameter / volume.voxel_nm) > 0.5
    note = f"No void is segmented; the place where most matter is missing in a ball of {diameter:.2g} nm is tested."
    return VoidFeature(volume, mask, segmentation), note


def ball(shape: tuple[int, ...], centre_px: F64, diameter_px: float) -> F32:
    """A ball (z, y, x) whose edge voxels are filled in part, by `SUBPOINTS`³ sample points in each."""
    radius = diameter_px / 2
    inside = np.zeros(shape, np.float32)
    low = [max(0, int(np.floor(c - radius))) for c in centre_px]
    high = [min(n, int(np.ceil(c + radius)) + 1) for c, n in zip(centre_px, shape, strict=True)]
    if any(a >= b for a, b in zip(low, high, strict=True)):
        return inside
    within = (np.arange(SUBPOINTS) + 0.5) / SUBPOINTS - 0.5
    squared = [
        ((np.arange(a, b)[:, None] + within - c) ** 2).ravel()
        for a, b, c in zip(low, high, centre_px, strict=True)
    ]
    points = squared[0][:, None, None] + squared[1][:, None] + squared[2] < radius**2
    counts = [b - a for a, b in zip(low, high, strict=True)]
    blocks = points.reshape(counts[0], SUBPOINTS, counts[1], SUBPOINTS, counts[2], SUBPOINTS)
    inside[low[0] : high[0], low[1] : high[1], low[2] : high[2]] = blocks.mean(axis=(1, 3, 5))
    return inside
