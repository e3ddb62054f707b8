"""A geometry and a name to a projector: our own sparse matrix, or ASTRA's weights and kernels."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from napari_dipmtv.errors import DeviceError, InputError, expected
from napari_dipmtv.projection.geometry import Geometry
from napari_dipmtv.projection.projector import Projector
from napari_dipmtv.projection.sparse import Entries, SparseProjector
from napari_dipmtv.settings.tomo import Backend


def make_projector(
    geometry: Geometry, device: str | torch.device = "cpu", backend: Backend = "own"
) -> Projector:
    """Build the projector of a geometry.

    Parameters
    ----------
    geometry : Geometry
    device : str or torch.device
    backend : {"own", "astra"}
        "own": our Joseph weights, on any device. "astra": on the CPU ASTRA's "linear" weights of one slice, which all
        slices share; on CUDA ASTRA's 3-D kernels.

    Raises
    ------
    InputError
        When ASTRA is not installed, or for an unknown backend.
    DeviceError
        For ASTRA on a device that it cannot use.
    """
    if backend == "own":
        return SparseProjector(geometry, device)
    if backend != "astra":
        raise InputError(expected("projector backend", "own or astra", repr(backend), "Choose one of them"))
    kind = torch.device(device).type
    if kind == "cuda":
        return AstraCudaProjector(geometry, device)
    if kind == "cpu":
        return SparseProjector(geometry, weights=astra_weights)
    raise DeviceError(expected("device of ASTRA", "cpu or cuda", kind, "Choose the own backend"))


def astra_weights(geometry: Geometry) -> Entries:
    """ASTRA's "linear" weights of one slice, in the form of `joseph_weights`.

    They are the weights of ASTRA's CPU projector itself; in one matrix for all slices they run some twenty times faster
    than slice by slice. They differ from ours by some 1e-5, and as much from those of ASTRA's own "parallel" geometry:
    ASTRA adds up the positions of its rays in float32.
    """
    astra = _astra()
    nz, _, nx = geometry.volume_shape
    grid = astra.create_vol_geom(nz, nx)
    views = astra.create_proj_geom("parallel_vec", geometry.width, astra_vectors(geometry))
    projector = astra.create_projector("linear", views, grid)
    matrix = astra.projector.matrix(projector)
    try:
        entries = astra.matrix.get(matrix).tocoo()
        kept = entries.data != 0
        row, column, weight = entries.row[kept], entries.col[kept], entries.data[kept]
        return row.astype(np.int64), column.astype(np.int64), weight.astype(np.float64)
    finally:
        astra.matrix.delete(matrix)
        astra.projector.delete(projector)


class AstraCudaProjector:
    """ASTRA's 3-D CUDA projector on torch tensors; differentiable, float32.

    ASTRA's back-projector is not the exact adjoint of its projector (its own tests accept 10 %), so `dot_test` gives
    about 1e-3 instead of 1e-8; iterations that need an exact adjoint, CS-TV above all, want the own backend.

    Raises
    ------
    InputError
        When ASTRA is not installed.
    DeviceError
        When ASTRA finds no CUDA device; its kernels are never called then, since some end the process.
    """

    T: AstraCudaProjector

    def __init__(self, geometry: Geometry, device: str | torch.device = "cuda") -> None:
        astra = _astra()
        if not (astra.use_cuda() and torch.cuda.is_available()):
            raise DeviceError(
                expected(
                    "ASTRA on CUDA", "a GPU and ASTRA with CUDA", "none", "Choose cpu, or the own backend"
                )
            )
        nz, ny, nx = geometry.volume_shape
        grid = astra.create_vol_geom(ny, nx, nz)  # rows (y), columns (x), slices (z)
        views = astra.create_proj_geom("parallel3d_vec", ny, geometry.width, _vectors_3d(geometry))
        kernel = _Kernel(astra, astra.create_projector("cuda3d", views, grid))
        self._setup(geometry, torch.device(device), kernel, transposed=False)
        self.T = AstraCudaProjector.__new__(AstraCudaProjector)
        self.T._setup(geometry, torch.device(device), kernel, transposed=True)
        self.T.T = self

    def _setup(self, geometry: Geometry, device: torch.device, kernel: _Kernel, *, transposed: bool) -> None:
        self.geometry, self.device, self._kernel, self._transposed = geometry, device, kernel, transposed

    @property
    def volume_shape(self) -> tuple[int, int, int]:
        """(nz, ny, nx)."""
        return self.geometry.volume_shape

    @property
    def series_shape(self) -> tuple[int, int, int]:
        """(views, ny, width)."""
        return self.geometry.series_shape

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Project (c, z, y, x) to (c, t, y, x), or back; keeps gradients."""
        wanted = self.series_shape if self._transposed else self.volume_shape
        if tuple(x.shape[1:]) != wanted or not x.is_cuda:
            raise InputError(
                expected(
                    "projector input", f"(channels, {wanted}) on CUDA", tuple(x.shape), "Move or rebuild it"
                )
            )
        out: torch.Tensor = _Astra3d.apply(x, self)  # type: ignore[no-untyped-call]
        return out

    def run(self, x: torch.Tensor) -> torch.Tensor:
        """Call ASTRA channel by channel; no gradients."""
        nz, ny, nx = self.volume_shape
        views, _, width = self.series_shape
        volume = torch.zeros((len(x), nz, ny, nx), device=x.device)
        series = torch.zeros((len(x), ny, views, width), device=x.device)  # ASTRA: detector rows before views
        if self._transposed:
            series.copy_(x.transpose(1, 2))
        else:
            volume.copy_(x)
        for one, seen in zip(volume, series, strict=True):
            self._kernel(one, seen, back=self._transposed)
        return volume if self._transposed else series.transpose(1, 2)


class _Kernel:
    """ASTRA's projector object, deleted with the last projector that uses it."""

    def __init__(self, astra: ModuleType, identifier: int) -> None:
        self._astra, self._id = astra, identifier

    def __call__(self, volume: torch.Tensor, series: torch.Tensor, *, back: bool) -> None:
        """Fill the series from the volume (z, y, x), or the volume from the series (y, t, x)."""
        torch.cuda.synchronize(volume.device)  # ASTRA runs on a stream of its own
        from astra import experimental

        (experimental.direct_BP3D if back else experimental.direct_FP3D)(self._id, volume, series)

    def __del__(self) -> None:
        self._astra.projector3d.delete(self._id)


class _Astra3d(torch.autograd.Function):
    """An ASTRA kernel whose gradient is the opposite kernel."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, projector: AstraCudaProjector) -> torch.Tensor:
        ctx.adjoint = projector.T
        return projector.run(x)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor, None]:
        return ctx.adjoint.run(grads[0]), None


def astra_vectors(geometry: Geometry) -> NDArray[np.float64]:
    """Beam, detector centre and detector step (t, 6) of one slice, as ASTRA's "parallel_vec" takes them.

    In ASTRA's plane rows count downwards: its y is our -z.
    """
    tilt, offset = np.deg2rad(geometry.tilts_deg), np.asarray(geometry.offsets_px)
    c, s = np.cos(tilt), np.sin(tilt)
    return np.stack([s, c, -offset * c, offset * s, c, -s], axis=1)


def _vectors_3d(geometry: Geometry) -> NDArray[np.float64]:
    """Beam, detector centre, step along a row and step between rows (t, 12), each (x, y, z)."""
    tilt, offset = np.deg2rad(geometry.tilts_deg), np.asarray(geometry.offsets_px)
    c, s, o, i = np.cos(tilt), np.sin(tilt), np.zeros(len(tilt)), np.ones(len(tilt))
    return np.stack([s, o, -c, -offset * c, o, -offset * s, c, o, s, o, i, o], axis=1)


def _astra() -> ModuleType:
    try:
        import astra
    except ImportError as error:
        raise InputError(
            expected(
                "projector backend astra",
                "the package astra-toolbox",
                f"none ({error})",
                "Install it with `pip install astra-toolbox`, or choose the own backend",
            )
        ) from error
    return astra  # type: ignore[no-any-return]
