"""A found skin to the particle without it, with a skin of another thickness, and to how much there is of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np
from scipy.ndimage import distance_transform_edt

from napari_dipmtv.data import F64, Segmentation, TiltSeries, Volume
from napari_dipmtv.errors import InputError, expected
from napari_dipmtv.inspect.matter import Mask, depth_px
from napari_dipmtv.inspect.surface import surface_of
from napari_dipmtv.trust.feature import RIM_PX
from napari_dipmtv.trust.grain import grained
from napari_dipmtv.trust.refine import Refined, refine


@dataclass(frozen=True, eq=False)
class SkinFeature:
    """The skin of phase A outside the shell of phase B: its strength is the mass thickness of A there, in nm.

    Attributes
    ----------
    volume : Volume
        Under test.
    segmentation : Segmentation
        With "A core", "B shell" and "A skin".
    bare : Refined, optional
        The particle that the data want, its skin made shell (`explained`).
    """

    volume: Volume
    segmentation: Segmentation
    bare: Refined | None = None
    name: Literal["skin"] = "skin"
    unit: str = "nm"
    smoother: float = 1.0  # its mass is that of a whole layer: no search for the strongest place

    @property
    def size_nm(self) -> float:
        """Mass thickness in the volume under test."""
        return self.strength(self.volume, 0.0)[0]

    def explained(self, series: TiltSeries, *, grain: bool = True) -> SkinFeature:
        """The same skin, its absence the particle that the data want, the skin made shell.

        Fitted without a skin (`napari_dipmtv.trust.refine`), the core would come to the surface in its place.
        """
        found = refine(series, self.segmentation)
        found = grained(series, found) if grain else found
        names = [name.rsplit(" ", 1)[-1] for name in found.shape.names]
        if "skin" not in names or "shell" not in names:
            return replace(self, bare=found)
        skin, shell = 1 + names.index("skin"), 1 + names.index("shell")  # the vacuum comes first
        distances = found.shape.distances.copy()
        distances[shell] = np.maximum(distances[shell], distances[skin])
        distances[skin] = distances.min() - 1
        return replace(self, bare=found.moved(distances))

    def drawn(self, random: np.random.Generator) -> SkinFeature:
        """The same skin, its absence another particle that might be meant: deformed at random."""
        return self if self.bare is None else replace(self, bare=self.bare.deformed(random))

    @property
    def misfit(self) -> float:
        """Of the particle with its skin to the data; NaN before `explained`."""
        return float("nan") if self.bare is None else self.bare.misfit

    @cached_property
    def absent(self) -> Volume:
        """The particle without the skin: as the data explain it, or the volume with its skin turned into shell.

        Every voxel outside the middle of the shell is then made of shell material, equally full.
        """
        if self.bare is not None:
            return self.bare.particle.volume
        a, b = self._channels
        data = self.volume.data.copy()
        moved = np.where(self._outer, data[a], 0)
        data[a] -= moved
        data[b] += moved * np.float32(self._own[b] / self._own[a])
        return self.volume.replace(data=data)

    def planted(self, size_nm: float) -> Volume:
        """The volume without skin, its outermost ``size_nm`` turned into phase A, parts of voxels included."""
        a, b = self._channels
        thickness = size_nm / self.volume.voxel_nm
        share = np.where(self._outer, np.clip(thickness - np.maximum(self._depth - 1, 0), 0, 1), 0).astype(
            np.float32
        )
        data = self.absent.data.copy()
        data[a] += share * data[b] * np.float32(self._own[a] / self._own[b])
        data[b] *= 1 - share
        return self.absent.replace(data=data)

    def strength(self, volume: Volume, size_nm: float) -> tuple[float, float]:
        """Mass of A outside the middle of the shell over its bulk density and the area of the surface."""
        a, _ = self._channels
        mass_px = float(volume.data[a][self._outer].sum()) / self._own[a]
        thickness = mass_px / self._area_px * volume.voxel_nm
        return thickness, thickness

    def segmented(self, segmentation: Segmentation) -> tuple[float, float]:
        """Thickness of the segmented skin: its volume over the area of the surface."""
        name = next((n for n in segmentation.phases.values() if n.endswith(" skin")), "")
        thickness = float(segmentation.mask(name).sum()) / self._area_px * segmentation.voxel_nm
        return thickness, thickness

    @cached_property
    def _channels(self) -> tuple[int, int]:
        """Channel of core and skin, and channel of the shell."""
        roles = {n.rsplit(" ", 1)[-1]: n.rsplit(" ", 1)[0] for n in self.segmentation.phases.values()}
        names = self.volume.channels
        return names.index(roles["core"]), names.index(roles["shell"])

    @cached_property
    def _own(self) -> F64:
        """Bulk density (c,) of each phase where it is alone and deepest."""
        own = np.ones(len(self.volume.channels))
        for c, role in zip(self._channels, ("core", "shell"), strict=True):
            mask = self._mask(role)
            inner = distance_transform_edt(mask)
            own[c] = float(np.median(self.volume.data[c][inner > 0.7 * inner.max()]))
        return own

    @cached_property
    def _depth(self) -> F64:
        return depth_px(self.segmentation.labels > 0)

    @cached_property
    def _outer(self) -> Mask:
        """Outside the middle of the shell, out to where blur carries the skin."""
        middle = float(np.median(self._depth[self._mask("shell")]))
        beyond = distance_transform_edt(self._depth == 0) <= RIM_PX
        outer: Mask = (self._depth <= middle) & beyond
        return outer

    @cached_property
    def _area_px(self) -> float:
        surface = surface_of(self._depth > 0, blur_px=0.5)
        return float(surface.areas.sum()) if surface is not None else 1.0

    def _mask(self, role: str) -> Mask:
        return self.segmentation.mask(
            next(n for n in self.segmentation.phases.values() if n.endswith(f" {role}"))
        )


def find_skin(volume: Volume, segmentation: Segmentation) -> SkinFeature:
    """Take the skin of a core-shell particle; raises `InputError` where core and shell are not told apart."""
    roles = {n.rsplit(" ", 1)[-1]: n for n in segmentation.phases.values()}
    missing = [
        role for role in ("core", "shell") if role not in roles or not segmentation.mask(roles[role]).any()
    ]
    if missing:
        raise InputError(
            expected(
                "skin",
                "a core and a shell in two channels",
                f"no {' and no '.join(missing)}",
                "Segment with the core-shell structure, or test the void",
            )
        )
    return SkinFeature(volume, segmentation)
