"""Displaced views: exact adjoint, true derivatives, agreement with the geometry's own offsets, and trainable shifts."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from napari_dipmtv.errors import GeometryError
from napari_dipmtv.projection.geometry import Geometry
from napari_dipmtv.projection.projector import dot_test
from napari_dipmtv.projection.shifted import ShiftedProjector, ShiftKernel, shift_views
from napari_dipmtv.projection.sparse import SparseProjector

TILTS = tuple(np.linspace(-70, 70, 9))
KERNELS: tuple[ShiftKernel, ...] = ("linear", "cubic")


def blob(
    n: int, ny: int, z0: float = 2.0, x0: float = -3.0, dtype: torch.dtype = torch.float64
) -> torch.Tensor:
    """A smooth object off the axis; (1, n, ny, n)."""
    z, y, x = (torch.arange(size, dtype=dtype) - (size - 1) / 2 for size in (n, ny, n))
    r2 = (z[:, None, None] - z0) ** 2 + (y[:, None] - 1) ** 2 + (x - x0) ** 2
    return torch.exp(-r2 / (2 * 3.0**2))[None]


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("shape", [(8, 5, 8), (9, 6, 7)])
def test_f36_adjoint_with_shifts(kernel: ShiftKernel, shape: tuple[int, int, int]) -> None:
    shifts = torch.randn(9, 2, dtype=torch.float64) * 2
    A = SparseProjector(Geometry.of(shape, TILTS, width=shape[2] + 2), dtype=torch.float64)
    shifted = ShiftedProjector(A, shifts, torch.tensor(0.7, dtype=torch.float64), kernel)
    assert shifted.T.T is shifted
    assert dot_test(shifted, dtype=torch.float64) < 1e-14
    single = ShiftedProjector(SparseProjector(A.geometry), shifts.float(), kernel=kernel)
    assert dot_test(single) < 1e-6


@pytest.mark.parametrize("kernel", KERNELS)
def test_gradient_reaches_the_shifts(kernel: ShiftKernel) -> None:
    random = torch.Generator().manual_seed(0)
    # away from whole pixels, where the linear kernel has kinks
    shifts = torch.tensor([[0.3, -0.4], [1.2, 0.6], [-0.7, 2.3]], dtype=torch.float64, requires_grad=True)
    offset = torch.tensor(0.15, dtype=torch.float64, requires_grad=True)
    A = SparseProjector(Geometry.of((7, 6, 7), (-50.0, 0.0, 40.0)), dtype=torch.float64)
    x = torch.rand((2, 7, 6, 7), generator=random, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x, s, o: ShiftedProjector(A, s, o, kernel)(x), (x, shifts, offset))
    y = torch.rand((2, 3, 6, 7), generator=random, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda y, s, o: ShiftedProjector(A, s, o, kernel).T(y), (y, shifts, offset)
    )


@pytest.mark.parametrize("kernel", KERNELS)
def test_whole_pixels_move_pixels(kernel: ShiftKernel) -> None:
    series = torch.rand(2, 2, 6, 7)
    moved = shift_views(series, torch.tensor([[2.0, -3.0], [0.0, 0.0]]), kernel)
    torch.testing.assert_close(moved[:, 1], series[:, 1])
    torch.testing.assert_close(moved[:, 0, 2:, :-3], series[:, 0, :-2, 3:])
    assert float(moved[:, 0, :2].abs().max()) == 0
    assert float(moved[:, 0, :, -3:].abs().max()) == 0


def test_shifts_and_offsets_of_the_geometry_are_one_thing() -> None:
    n, offsets = 33, tuple(np.linspace(-2.3, 1.7, 9))
    x = blob(n, 5)
    geometry = Geometry.of((n, 5, n), TILTS, offsets_px=offsets)
    wanted = SparseProjector(geometry, dtype=torch.float64)(x)
    shifts = torch.stack([torch.zeros(9), torch.tensor(offsets)], dim=1).double()
    plain = SparseProjector(Geometry.of((n, 5, n), TILTS), dtype=torch.float64)
    found = ShiftedProjector(plain, shifts)(x)
    assert float((found - wanted).norm() / wanted.norm()) < 5e-3  # both interpolate, each in its own way
    assert float((plain(x) - wanted).norm() / wanted.norm()) > 0.1


def test_cubic_is_truer_than_linear() -> None:
    series = blob(31, 21)[:, :3].transpose(2, 3)[..., :31]  # (1, 3, x, y): smooth maps of any origin
    half = torch.full((3, 2), 0.5, dtype=torch.float64)
    back = {k: shift_views(shift_views(series, half, k), -half, k) for k in KERNELS}
    error = {k: float((v - series)[..., 4:-4].norm() / series.norm()) for k, v in back.items()}
    assert error["cubic"] < 0.25 * error["linear"]


def test_planted_shifts_and_axis_offset_are_learned() -> None:
    n = 25
    A, x = SparseProjector(Geometry.of((n, 9, n), TILTS)), blob(n, 9, dtype=torch.float32)
    random = torch.Generator().manual_seed(1)
    planted = torch.randn((9, 2), generator=random)
    measured = ShiftedProjector(A, planted, torch.tensor(1.5))(x)
    shifts, offset = torch.zeros(9, 2, requires_grad=True), torch.zeros((), requires_grad=True)
    views = A(x)  # the volume is known here, so the projection is made once
    optimiser = torch.optim.Adam([shifts, offset], lr=0.1)
    for _ in range(150):
        optimiser.zero_grad()
        moved = torch.stack([shifts[:, 0], shifts[:, 1] + offset], dim=1)
        (shift_views(views, moved) - measured).square().mean().backward()
        optimiser.step()
    found = ShiftedProjector(A, shifts.detach(), offset.detach()).shifts_px
    torch.testing.assert_close(found, planted + torch.tensor([0.0, 1.5]), atol=0.02, rtol=0)


def test_wrong_number_of_shifts_speaks() -> None:
    A = SparseProjector(Geometry.of((5, 4, 5), TILTS))
    with pytest.raises(GeometryError, match="dy and dx of every view"):
        ShiftedProjector(A, torch.zeros(8, 2))
    with pytest.raises(GeometryError, match="dy and dx of every view"):
        shift_views(torch.zeros(1, 9, 4, 5), torch.zeros(9))
