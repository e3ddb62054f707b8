"""A problem and a first volume to the smaller problem of the box that holds the object, and back."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from napari_dipmtv.data import F32, TiltSeries, Volume
from napari_dipmtv.projection.backends import make_projector
from napari_dipmtv.projection.geometry import Geometry
from napari_dipmtv.tomo.problem import Problem, pose, rows

MARGIN = 2  # voxels of vacuum that are kept around the object
MATTER = 0.2  # of the typical density: less is taken for noise
OUTSIDE = 0.01  # share of the density that may lie outside the box


@dataclass(frozen=True, eq=False)
class Crop:
    """A box (z, y, x) of half-open voxel ranges in the volume of a problem."""

    whole: Problem
    box: tuple[tuple[int, int], tuple[int, int], tuple[int, int]]

    @classmethod
    def nothing(cls, whole: Problem) -> Crop:
        """The box that holds the whole volume."""
        nz, ny, nx = whole.shape[1:]
        return cls(whole, ((0, nz), (0, ny), (0, nx)))

    @classmethod
    def from_array(cls, whole: Problem, box: NDArray[Any]) -> Crop:
        """The box of a checkpoint."""
        (z0, z1), (y0, y1), (x0, x1) = box.tolist()
        return cls(whole, ((z0, z1), (y0, y1), (x0, x1)))

    @cached_property
    def problem(self) -> Problem:
        """The problem of the box alone, in which everything outside is vacuum.

        A box whose centre lies off the tilt axis is a centred one whose views are displaced by
        ``x cos + z sin``; the rays, and so the weights of the voxels, stay what they were.
        """
        (z0, z1), (y0, y1), (x0, x1) = self.box
        geometry = self.whole.projector.geometry
        nz, _, nx = geometry.volume_shape
        centre_z, centre_x = (z0 + z1 - nz) / 2, (x0 + x1 - nx) / 2
        tilts = np.deg2rad(geometry.tilts_deg)
        offsets = np.array(geometry.offsets_px) + centre_x * np.cos(tilts) + centre_z * np.sin(tilts)
        own = Geometry.of(
            (z1 - z0, y1 - y0, x1 - x0),
            geometry.tilts_deg,
            width=geometry.width,
            offsets_px=tuple(float(o) for o in offsets),
        )
        device = self.whole.device
        whole = pose(
            self.cut(self.whole.series),
            device,
            make_projector(own, device, self.whole.backend),
            backend=self.whole.backend,
        )
        return replace(whole, normalise=self.whole.normalise)

    def cut(self, series: TiltSeries) -> TiltSeries:
        """Cut a series of the whole problem to the rows of the box."""
        return rows(series, *self.box[1])

    def inside(self, volume: Volume) -> torch.Tensor:
        """Cut a volume of the whole problem to the box, in the units of `problem`; (c, z, y, x) on the device."""
        cut = np.ascontiguousarray(volume.data[(slice(None), *self.slices)])
        return torch.from_numpy(cut).to(self.problem.device) / self.problem.unit[:, None, None, None]

    def outside(self, volume: Volume) -> Volume:
        """Put a volume of the box back into vacuum."""
        data: F32 = np.zeros((volume.data.shape[0], *self.whole.shape[1:]), np.float32)
        data[(slice(None), *self.slices)] = volume.data
        return volume.replace(data=data)

    @property
    def slices(self) -> tuple[slice, ...]:
        """Of the three axes."""
        return tuple(slice(first, stop) for first, stop in self.box)


def crop_to_object(problem: Problem, rough: Volume, *, least_px: int = 1) -> Crop:
    """Find the box that holds the object in a rough, nearly noise-free volume (such as CS-TV).

    Where more than 1 % of the density would be left outside (a support film, a haze) nothing is cut off.

    Parameters
    ----------
    problem : Problem
    rough : Volume
    least_px : int
        No side of the box gets shorter, as far as the field allows: a network halves them at each level.
    """
    total = (rough.data / problem.unit.cpu().numpy()[:, None, None, None]).sum(axis=0)
    matter = _without_specks(total > MATTER)
    if not matter.any():
        return Crop.nothing(problem)
    crop = Crop(
        problem, (_extent(matter, 0, least_px), _extent(matter, 1, least_px), _extent(matter, 2, least_px))
    )
    kept = total[crop.slices].sum()
    return crop if kept >= (1 - OUTSIDE) * total.sum() else Crop.nothing(problem)


def _without_specks(matter: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Leave out connected pieces of less than 2 % of the largest one: streaks and noise."""
    from scipy import ndimage

    pieces, count = ndimage.label(matter)
    if count < 2:
        return matter
    sizes = np.bincount(pieces.ravel())
    sizes[0] = 0
    return np.asarray((sizes >= 0.02 * sizes.max())[pieces] & matter)


def _extent(matter: NDArray[np.bool_], axis: int, least_px: int) -> tuple[int, int]:
    """First and last plane with matter, with the margin, widened to a multiple of four for the network."""
    planes = np.flatnonzero(matter.any(axis=tuple(a for a in range(3) if a != axis)))
    size = matter.shape[axis]
    first, stop = max(int(planes[0]) - MARGIN, 0), min(int(planes[-1]) + 1 + MARGIN, size)
    while ((stop - first) % 4 or stop - first < least_px) and stop - first < size:
        # below and above in turn, so that the object stays central
        below = first > 0 and (stop == size or (stop - first) % 2 == 1)
        first, stop = (first - 1, stop) if below else (first, stop + 1)
    return first, stop
