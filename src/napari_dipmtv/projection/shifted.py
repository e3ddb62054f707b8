"""A projector and per-view shifts to a projector of displaced views, through which gradients reach the shifts."""

from __future__ import annotations

from typing import Literal

import torch

from napari_dipmtv.errors import GeometryError, expected
from napari_dipmtv.projection.geometry import Geometry
from napari_dipmtv.projection.projector import Projector

ShiftKernel = Literal["linear", "cubic"]


class ShiftedProjector:
    """A projector followed by a displacement of every view: ``S(shifts) A``, with the exact adjoint ``A' S'``.

    The shifts are a tensor that gradients flow to, so an optimiser may move them together with the volume. What no
    data can tell apart from a displacement of the volume, a constant in dy and ``a cos(tilt) + b sin(tilt)`` in dx,
    must be taken out by the caller.

    Parameters
    ----------
    projector : Projector
    shifts_px : tensor (t, 2)
        dy, dx of the content of each view; read again at every call.
    axis_offset_px : tensor, scalar, optional
        Added to dx of all views: how far the tilt axis lies to the right of the centre.
    kernel : {"cubic", "linear"}
        Cubic blurs less, and its derivative has no jumps.
    """

    def __init__(
        self,
        projector: Projector,
        shifts_px: torch.Tensor,
        axis_offset_px: torch.Tensor | None = None,
        kernel: ShiftKernel = "cubic",
    ) -> None:
        views = projector.geometry.views
        if tuple(shifts_px.shape) != (views, 2):
            raise GeometryError(
                expected("shifts", (views, 2), tuple(shifts_px.shape), "Give dy and dx of every view")
            )
        self.T = _Adjoint(self)
        self._projector, self._shifts, self._offset = projector, shifts_px, axis_offset_px
        self.kernel = kernel

    @property
    def geometry(self) -> Geometry:
        """The geometry of the projector inside, without the shifts."""
        return self._projector.geometry

    @property
    def volume_shape(self) -> tuple[int, int, int]:
        """(nz, ny, nx)."""
        return self._projector.volume_shape

    @property
    def series_shape(self) -> tuple[int, int, int]:
        """(views, ny, width)."""
        return self._projector.series_shape

    @property
    def shifts_px(self) -> torch.Tensor:
        """Whole displacement (t, 2) of the views: shifts and axis offset."""
        if self._offset is None:
            return self._shifts
        return torch.stack([self._shifts[:, 0], self._shifts[:, 1] + self._offset], dim=1)

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Project (c, z, y, x) and displace the views; keeps gradients in the volume and in the shifts."""
        return shift_views(self._projector(x), self.shifts_px, self.kernel)

    def adjoint(self, y: torch.Tensor) -> torch.Tensor:
        """Displace the views (c, t, y, x) back by the transposed interpolation, and back-project."""
        return self._projector.T(_interpolate(y, self.shifts_px, self.kernel, transposed=True))


class _Adjoint:
    """The adjoint of a `ShiftedProjector`."""

    def __init__(self, forward: ShiftedProjector) -> None:
        self.T = forward

    @property
    def geometry(self) -> Geometry:
        """The geometry of the projector inside, without the shifts."""
        return self.T.geometry

    @property
    def volume_shape(self) -> tuple[int, int, int]:
        """(nz, ny, nx)."""
        return self.T.volume_shape

    @property
    def series_shape(self) -> tuple[int, int, int]:
        """(views, ny, width)."""
        return self.T.series_shape

    def __call__(self, y: torch.Tensor) -> torch.Tensor:
        """Back-project (c, t, y, x) to (c, z, y, x); keeps gradients in the views and in the shifts."""
        return self.T.adjoint(y)


def shift_views(series: torch.Tensor, shifts_px: torch.Tensor, kernel: ShiftKernel = "cubic") -> torch.Tensor:
    """Displace the content of every view; what comes in over the border is 0.

    Interpolation along y and x is one small banded matrix per view and axis, so value, adjoint and the derivative in
    the shift are exact and run on any device. Whole-pixel shifts give the pixels back unchanged.

    Parameters
    ----------
    series : tensor (c, t, y, x)
    shifts_px : tensor (t, 2)
        dy, dx, positive to larger indices.
    kernel : {"cubic", "linear"}
        Cubic convolution: R. G. Keys, IEEE Trans. Acoust. Speech Signal Process. 29, 1153 (1981).

    Returns
    -------
    tensor (c, t, y, x)
    """
    return _interpolate(series, shifts_px, kernel, transposed=False)


def _interpolate(
    series: torch.Tensor, shifts_px: torch.Tensor, kernel: ShiftKernel, *, transposed: bool
) -> torch.Tensor:
    if shifts_px.shape != (series.shape[1], 2):
        raise GeometryError(
            expected("shifts", (series.shape[1], 2), tuple(shifts_px.shape), "Give dy and dx of every view")
        )
    rows = _bands(shifts_px[:, 0], series.shape[2], kernel)
    columns = _bands(shifts_px[:, 1], series.shape[3], kernel)
    if transposed:
        rows, columns = rows.mT, columns.mT
    return rows @ series @ columns.mT


def _bands(shift_px: torch.Tensor, size: int, kernel: ShiftKernel) -> torch.Tensor:
    """Interpolation weights (t, to, from) of one axis."""
    pixel = torch.arange(size, device=shift_px.device, dtype=shift_px.dtype)
    distance = (pixel[:, None] - pixel - shift_px[:, None, None]).abs()
    if kernel == "linear":
        return (1 - distance).clamp(min=0)
    near = (1.5 * distance - 2.5) * distance * distance + 1
    far = ((-0.5 * distance + 2.5) * distance - 4) * distance + 2
    weights = torch.where(distance < 1, near, far)
    return torch.where(distance < 2, weights, torch.zeros_like(weights))
