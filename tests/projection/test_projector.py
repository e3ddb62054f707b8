"""The physics of the projector: adjoint, direction, mass, and the analytical projection of an ellipse."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from napari_dipmtv.errors import GeometryError
from napari_dipmtv.projection.geometry import Geometry
from napari_dipmtv.projection.projector import dot_test, operator_norm
from napari_dipmtv.projection.sparse import SparseProjector, slices_fastest

TILTS = tuple(np.linspace(-70, 70, 9))


@pytest.mark.parametrize("seed", range(10))
def test_f36_adjoint_of_random_geometries(seed: int) -> None:
    random = np.random.default_rng(seed)
    shape = tuple(int(n) for n in random.integers(3, 24, 3))
    tilts = tuple(np.sort(random.choice(np.arange(-90, 90, 3), int(random.integers(1, 12)), replace=False)))
    offsets = tuple(random.uniform(-3, 3, len(tilts)))
    geometry = Geometry.of(shape, tilts, width=int(random.integers(3, 30)), offsets_px=offsets)
    channels = int(random.integers(1, 5))
    assert dot_test(SparseProjector(geometry), seed=seed, channels=channels) < 1e-6
    assert dot_test(SparseProjector(geometry, dtype=torch.float64), dtype=torch.float64, seed=seed) < 1e-12


def test_channels_and_slices_are_projected_apart() -> None:
    A = SparseProjector(Geometry.of((9, 5, 8), TILTS, width=11))
    x = torch.rand(3, 9, 5, 8)
    whole = A(x)
    for c in range(3):
        torch.testing.assert_close(A(x[c : c + 1])[0], whole[c])
    one = SparseProjector(Geometry.of((9, 1, 8), TILTS, width=11))
    torch.testing.assert_close(one(x[:, :, 2:3])[:, :, 0], whole[:, :, 2])


def test_the_memory_order_of_the_projector_changes_no_number() -> None:
    A, x = SparseProjector(Geometry.of((7, 4, 6), TILTS)), torch.rand(2, 7, 4, 6)
    ordered = slices_fastest((2, 7, 4, 6)).copy_(x)
    assert ordered.permute(1, 3, 0, 2).is_contiguous()
    torch.testing.assert_close(A(ordered), A(x), rtol=0, atol=0)


def test_strips_of_columns_change_no_bit() -> None:
    """72 and 45 columns: more than two strips, and a last one that is narrower."""
    for shape in ((2, 20, 36, 21), (3, 9, 15, 8)):
        A, x = SparseProjector(Geometry.of(shape[1:], TILTS)), torch.rand(shape)
        rows = x.permute(1, 3, 0, 2).reshape(shape[1] * shape[3], -1)
        whole = (A._matrix @ rows).reshape(9, shape[3], shape[0], shape[2]).permute(2, 0, 3, 1)
        torch.testing.assert_close(A(x), whole, rtol=0, atol=0)
        back = (A.T._matrix @ (A._matrix @ rows)).reshape(shape[1], shape[3], shape[0], shape[2])
        torch.testing.assert_close(A.T(whole), back.permute(2, 0, 3, 1), rtol=0, atol=0)


def test_transposed_twice_is_the_same_object() -> None:
    A = SparseProjector(Geometry.of((5, 4, 6), TILTS))
    assert A.T.T is A


@pytest.mark.parametrize(("z", "x"), [(4, 12), (13, 3), (8, 8)])
def test_a_voxel_lands_where_the_convention_says(z: int, x: int) -> None:
    n = 17
    volume = torch.zeros(1, n, 3, n)
    volume[0, z, 1, x] = 1
    series = SparseProjector(Geometry.of((n, 3, n), TILTS))(volume)[0].numpy()
    centre = (n - 1) / 2
    for view, tilt in zip(series, np.deg2rad(TILTS), strict=True):
        seen = (view[1] * (np.arange(n) - centre)).sum() / view[1].sum()
        assert seen == pytest.approx((x - centre) * np.cos(tilt) + (z - centre) * np.sin(tilt), abs=0.2)
        assert view[0].sum() == view[2].sum() == 0


@pytest.mark.parametrize("n", [40, 41])
def test_mass_is_the_same_at_every_tilt(n: int) -> None:
    z, x = np.mgrid[:n, :n] - (n - 1) / 2
    blob = np.exp(-(x**2 + (1.3 * z) ** 2) / (2 * 5.0**2)).astype(np.float32)
    series = SparseProjector(Geometry.of((n, 1, n), TILTS))(torch.from_numpy(blob[None, :, None]))
    assert series.sum(dim=(2, 3)).numpy() == pytest.approx(blob.sum(), rel=1e-4)


@pytest.mark.parametrize("side", [-1, 1])
@pytest.mark.parametrize("n", [31, 64, 101, 128, 129])
def test_f27_ellipse_against_its_analytical_projection(n: int, side: int) -> None:
    tilts = tuple(np.linspace(-80, 80, 13))
    sub, fine = 8, 32
    a, b, phi, z0, x0 = 0.31 * n, 0.17 * n, 0.5, side * 0.08 * n, side * -0.11 * n
    points = (np.arange(n * sub) + 0.5) / sub - n / 2
    z, x = np.meshgrid(points, points, indexing="ij")
    u = (x - x0) * np.cos(phi) + (z - z0) * np.sin(phi)
    v = -(x - x0) * np.sin(phi) + (z - z0) * np.cos(phi)
    image = ((u / a) ** 2 + (v / b) ** 2 <= 1).reshape(n, sub, n, sub).mean((1, 3)).astype(np.float32)
    found = SparseProjector(Geometry.of((n, 1, n), tilts))(torch.from_numpy(image[None, :, None]))[
        0, :, 0
    ].numpy()
    bins = (np.arange(n * fine) + 0.5) / fine - n / 2
    wanted = []
    for tilt in np.deg2rad(tilts):
        centre = x0 * np.cos(tilt) + z0 * np.sin(tilt)
        r2 = (a * np.cos(tilt - phi)) ** 2 + (b * np.sin(tilt - phi)) ** 2
        chord = 2 * a * b / r2 * np.sqrt(np.maximum(r2 - (bins - centre) ** 2, 0))
        wanted.append(chord.reshape(n, fine).mean(1))
    error = np.linalg.norm(found - wanted) / np.linalg.norm(wanted)
    assert error < 0.005 * max(
        1, 128 / n
    )  # a sharp edge on pixels: the error falls like one over their number


def test_offsets_move_the_views() -> None:
    n, shift = 32, 3.0
    volume = torch.zeros(1, n, 2, n)
    volume[0, 10:20, :, 12:18] = 1
    plain = SparseProjector(Geometry.of((n, 2, n), TILTS))(volume)
    moved = SparseProjector(Geometry.of((n, 2, n), TILTS, offsets_px=(shift,) * 9))(volume)
    torch.testing.assert_close(moved[..., 3:], plain[..., :-3], atol=1e-4, rtol=1e-4)


def test_gradient_is_the_adjoint() -> None:
    A = SparseProjector(Geometry.of((6, 3, 7), TILTS), dtype=torch.float64)
    x = torch.rand(2, 6, 3, 7, dtype=torch.float64, requires_grad=True)
    y = torch.rand(2, 9, 3, 7, dtype=torch.float64)
    (A(x) * y).sum().backward()
    torch.testing.assert_close(x.grad, A.T(y))


def test_norm_bounds_the_operator() -> None:
    A = SparseProjector(Geometry.of((16, 4, 16), TILTS))
    x = torch.randn(1, 16, 4, 16)
    assert float(A(x).norm() / x.norm()) < 1.02 * operator_norm(A)


def test_wrong_shape_speaks() -> None:
    A = SparseProjector(Geometry.of((6, 3, 7), TILTS))
    with pytest.raises(GeometryError, match="expected"):
        A(torch.zeros(1, 6, 4, 7))


def test_equals_astra_linear() -> None:
    astra = pytest.importorskip("astra")
    n = 33
    image = np.random.default_rng(0).random((n, n)).astype(np.float32)
    grid = astra.create_vol_geom(n, n)
    # ASTRA counts rows downwards and turns the other way: rows reversed is our z
    geometry = astra.create_proj_geom("parallel", 1.0, n, np.deg2rad(TILTS))
    projector = astra.create_projector("linear", geometry, grid)
    identifier, wanted = astra.create_sino(image[::-1].copy(), projector)
    astra.data2d.delete(identifier)
    astra.projector.delete(projector)
    found = SparseProjector(Geometry.of((n, 1, n), TILTS))(torch.from_numpy(image[None, :, None]))[
        0, :, 0
    ].numpy()
    assert np.abs(found - wanted).max() < 1e-5 * np.abs(wanted).max() * n
