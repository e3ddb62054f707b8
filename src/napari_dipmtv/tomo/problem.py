"""A tilt series and a device to what every reconstruction starts from: tensors, volume units, mass, projector."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import Literal

import numpy as np
import torch

from napari_dipmtv.data import F32, TiltSeries, Volume
from napari_dipmtv.errors import InputError, expected
from napari_dipmtv.projection.backends import make_projector
from napari_dipmtv.projection.geometry import Geometry
from napari_dipmtv.projection.projector import Projector
from napari_dipmtv.projection.sparse import slices_fastest
from napari_dipmtv.settings.tomo import Backend


@dataclass(frozen=True, eq=False)
class Problem:
    """One reconstruction task on one device: what was measured, and how volumes become measurements."""

    series: TiltSeries
    projector: Projector
    device: torch.device
    normalise: Literal["density", "maximum"] = "density"
    backend: Backend = "own"  # what further projectors of this task are made of

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Shape (c, z, y, x) of the volume."""
        return (len(self.series.channels), *self.projector.volume_shape)

    @cached_property
    def valid(self) -> torch.Tensor:
        """1 where a pixel may be used, else 0; (1, t, y, x)."""
        mask = self.series.valid
        views, ny, width = self.projector.series_shape
        if mask is None:
            return torch.ones((1, views, ny, width), device=self.device)
        return torch.from_numpy(mask[None].astype(np.float32)).to(self.device)

    @cached_property
    def unit(self) -> torch.Tensor:
        """Typical density of each channel (c,) in data units: in these units the volume is about 1.

        It is the mean of a rough SIRT volume weighted by itself, ``sum x^2 / sum x``: the density inside the object,
        stable under noise and under the share of vacuum. For "maximum" it is the density that would give the largest
        value of the maps if it filled the width of the field, so that the object is a little denser than 1.
        """
        if self.normalise == "maximum":
            largest = np.where(self.valid.cpu().numpy() > 0, self.series.data, 0).max(axis=(1, 2, 3))
            return torch.from_numpy(largest / self.projector.series_shape[2]).to(self.device).clamp(min=1e-30)
        rough, _ = next(islice(sirt_steps(self), 11, None))
        unit = rough.square().sum(dim=(1, 2, 3)) / rough.sum(dim=(1, 2, 3)).clamp(min=1e-30)
        return unit.clamp(min=1e-30)

    @cached_property
    def mass(self) -> float:
        """Sum of the volume over voxels and channels in units of `unit`, from the data alone."""
        used = self.valid[0].amax(dim=(1, 2)) > 0
        totals = torch.from_numpy(self.series.data).to(self.device).sum(dim=(2, 3))[:, used].mean(dim=1)
        return float((totals / self.unit).sum())

    def volume(self, x: torch.Tensor) -> Volume:
        """Copy a volume (c, z, y, x) in units of `unit` to the host, in data units."""
        data: F32 = (x.detach().float() * self.unit[:, None, None, None]).cpu().numpy()
        return Volume(data, self.series.channels, self.series.pixel_nm)


def pose(
    series: TiltSeries,
    device: torch.device,
    projector: Projector | None = None,
    *,
    backend: Backend = "own",
) -> Problem:
    """Check a series and set up its reconstruction.

    Parameters
    ----------
    series : TiltSeries
    device : torch.device
    projector : Projector, optional
        One that is there already, instead of a new one.
    backend : {"own", "astra"}
        See `napari_dipmtv.projection.backends.make_projector`.

    Raises
    ------
    InputError
        For fewer than three usable views, a channel without signal, or ASTRA where it is not installed.
    DeviceError
        For ASTRA on a device that it cannot use.
    """
    used = len(series.tilts_deg) if series.valid is None else int(series.valid.any(axis=(1, 2)).sum())
    if used < 3:
        raise InputError(
            expected("tilt series", "at least 3 usable views", used, "Add views; depth needs tilts")
        )
    for channel, total in zip(series.channels, series.data.sum(axis=(1, 2, 3)), strict=True):
        if not total > 0:
            raise InputError(
                expected(f"channel {channel}", "some signal", f"a sum of {total:g}", "Leave the channel out")
            )
    projector = projector or make_projector(Geometry.of_series(series), device, backend)
    return Problem(series, projector, device, backend=backend)


def rows(series: TiltSeries, first: int, stop: int) -> TiltSeries:
    """Give the rows ``first`` to ``stop`` (excluded) of every view: slices of the volume across the tilt axis."""
    y = slice(first, stop)
    return series.replace(
        data=series.data[:, :, y],
        covariance=None if series.covariance is None else series.covariance[:, :, :, y],
        valid=None if series.valid is None else series.valid[:, y],
    )


def sirt_steps(problem: Problem, start: torch.Tensor | None = None) -> Iterator[tuple[torch.Tensor, float]]:
    """``x <- max(0, x + C P' R (y - P x))`` with ``R = 1/(P 1)`` and ``C = 1/(P' 1)``, without end.

    All channels at once; masked pixels have no weight in R and C.
    Source: P. Gilbert, J. Theor. Biol. 36, 105 (1972).

    Yields
    ------
    x : tensor (c, z, y, x)
        In data units; a new tensor each time.
    residual : float
        ``|P x - y| / |y|`` before the step.
    """
    A, valid = problem.projector, problem.valid
    x = slices_fastest(problem.shape, problem.device) if start is None else start
    y = torch.empty_like(A(x))  # in the memory order of the projections
    y.copy_(torch.from_numpy(problem.series.data))
    R = valid * _inverse(A(slices_fastest((1, *A.volume_shape), problem.device) + 1))
    C = _inverse(A.T(valid))
    norm = y.norm().clamp(min=1e-30)
    while True:
        r = y - A(x)
        residual = float((valid * r).norm() / norm)
        x = torch.addcmul(x, C, A.T(R * r)).clamp_(min=0)
        yield x, residual


def _inverse(sums: torch.Tensor) -> torch.Tensor:
    return torch.where(sums > 1e-6, 1 / sums.clamp(min=1e-6), torch.zeros_like(sums))
