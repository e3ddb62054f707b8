"""ASTRA as an oracle and as a second backend."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from napari_dipmtv.errors import DeviceError, InputError
from napari_dipmtv.projection.backends import AstraCudaProjector, astra_weights, make_projector
from napari_dipmtv.projection.geometry import Geometry
from napari_dipmtv.projection.projector import dot_test
from napari_dipmtv.projection.sparse import SparseProjector, joseph_weights

TILTS = tuple(np.linspace(-70, 70, 9))
GEOMETRIES = [
    Geometry.of((33, 3, 33), TILTS),
    Geometry.of((32, 2, 32), TILTS),
    Geometry.of(
        (17, 3, 24), (-88.0, -33.0, 0.0, 45.0, 61.0), width=31, offsets_px=(0.4, -2.0, 1.5, 0.0, 3.2)
    ),
]


def dense(geometry: Geometry, entries: tuple[np.ndarray, np.ndarray, np.ndarray]) -> np.ndarray:
    """The matrix of one slice."""
    nz, _, nx = geometry.volume_shape
    matrix = np.zeros((geometry.views * geometry.width, nz * nx))
    np.add.at(matrix, entries[:2], entries[2])
    return matrix


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_our_weights_are_those_of_astra(geometry: Geometry) -> None:
    pytest.importorskip("astra")
    ours, theirs = dense(geometry, joseph_weights(geometry)), dense(geometry, astra_weights(geometry))
    assert np.abs(ours - theirs).max() < 2e-4  # ASTRA adds up ray positions in float32
    assert np.abs(ours - theirs).sum() < 3e-5 * ours.sum()


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_astra_backend_passes_the_dot_test(geometry: Geometry) -> None:
    pytest.importorskip("astra")
    assert dot_test(make_projector(geometry, "cpu", "astra")) < 1e-6


def test_astra_backend_is_what_astra_computes_slice_by_slice() -> None:
    astra = pytest.importorskip("astra")
    n = 33
    volume = np.random.default_rng(0).random((n, 2, n)).astype(np.float32)
    grid = astra.create_vol_geom(n, n)
    projector = astra.create_projector(
        "linear", astra.create_proj_geom("parallel", 1.0, n, np.deg2rad(TILTS)), grid
    )
    wanted = []
    for y in range(2):
        identifier, sinogram = astra.create_sino(volume[::-1, y].copy(), projector)  # rows count downwards
        wanted.append(sinogram)
        astra.data2d.delete(identifier)
    astra.projector.delete(projector)
    found = make_projector(Geometry.of((n, 2, n), TILTS), backend="astra")(torch.from_numpy(volume[None]))[0]
    np.testing.assert_allclose(found.numpy(), np.stack(wanted, axis=1), rtol=2e-5, atol=1e-4)


def test_own_backend_is_the_default() -> None:
    A = make_projector(GEOMETRIES[0])
    assert isinstance(A, SparseProjector)
    x = torch.rand(1, *A.volume_shape)
    torch.testing.assert_close(A(x), SparseProjector(GEOMETRIES[0])(x), rtol=0, atol=0)


def test_absent_astra_is_said_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "astra", None)
    with pytest.raises(InputError, match="pip install astra-toolbox"):
        make_projector(GEOMETRIES[0], "cpu", "astra")


def test_f28_astra_kernels_are_never_called_without_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(
        sys.modules, "astra", SimpleNamespace(use_cuda=lambda: False)
    )  # any other call would raise
    with pytest.raises(DeviceError, match="Choose cpu"):
        make_projector(GEOMETRIES[0], "cuda", "astra")


def test_unknown_backend_and_device_speak() -> None:
    with pytest.raises(InputError, match="own or astra"):
        make_projector(GEOMETRIES[0], backend="tomosipo")  # type: ignore[arg-type]
    with pytest.raises(DeviceError, match="own backend"):
        make_projector(GEOMETRIES[0], "mps", "astra")


@pytest.mark.gpu
@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_astra_cuda_agrees_with_ours(geometry: Geometry) -> None:
    A, B = AstraCudaProjector(geometry), SparseProjector(geometry, "cuda")
    n = geometry.volume_shape
    z, y, x = (torch.linspace(-1, 1, size, device="cuda") for size in n)
    volume = torch.exp(-8 * ((z[:, None, None] - 0.2) ** 2 + (y[:, None] + 0.1) ** 2 + x**2))[None].repeat(
        2, 1, 1, 1
    )
    assert float((A(volume) - B(volume)).norm() / B(volume).norm()) < 0.01
    views = B(volume)
    assert float((A.T(views) - B.T(views)).norm() / B.T(views).norm()) < 0.05
    assert dot_test(A, device="cuda") < 0.1  # what ASTRA's own tests accept
    volume.requires_grad_(True)
    (A(volume) * views).sum().backward()
    torch.testing.assert_close(volume.grad, A.T(views))
