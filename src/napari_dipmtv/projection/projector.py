"""What every projector offers, and the tests that a projector must pass."""

from __future__ import annotations

from typing import Protocol

import torch

from napari_dipmtv.projection.geometry import Geometry


class Projector(Protocol):
    """A linear map from volumes (c, z, y, x) to series (c, t, y, x) with an exact adjoint ``T``."""

    @property
    def geometry(self) -> Geometry:
        """The geometry that it was built from."""
        ...

    @property
    def volume_shape(self) -> tuple[int, int, int]:
        """(nz, ny, nx)."""
        ...

    @property
    def series_shape(self) -> tuple[int, int, int]:
        """(views, ny, width)."""
        ...

    @property
    def T(self) -> Projector:
        """The adjoint; ``A.T.T is A``."""
        ...

    def __call__(self, x: torch.Tensor, /) -> torch.Tensor:
        """Project, keeping gradients."""
        ...


def dot_test(
    projector: Projector,
    *,
    dtype: torch.dtype = torch.float32,
    device: str | torch.device = "cpu",
    seed: int = 0,
    channels: int = 2,
) -> float:
    """Relative adjoint gap ``|<Ax, y> - <x, A.T y>| / (|Ax| |y|)`` on zero-mean data.

    Zero-mean data matter: positive data hide a mismatch behind their common mean.

    Returns
    -------
    float
        About 1e-8 in float32 for an exact pair; the sums are taken in float64.
    """
    random = torch.Generator().manual_seed(seed)
    x = torch.randn((channels, *projector.volume_shape), generator=random, dtype=dtype).to(device)
    y = torch.randn((channels, *projector.series_shape), generator=random, dtype=dtype).to(device)
    # on the host: Apple GPUs have no float64
    x, ax, y, aty = (part.cpu().double() for part in (x, projector(x), y, projector.T(y)))
    return float(((ax * y).sum() - (x * aty).sum()).abs() / (ax.norm() * y.norm()))


def operator_norm(projector: Projector, *, device: str | torch.device = "cpu", steps: int = 12) -> float:
    """Largest singular value of the projector, by power iteration from the constant volume (a close lower bound)."""
    x = torch.ones((1, *projector.volume_shape), device=device)
    norm = 0.0
    for _ in range(steps):
        x = projector.T(projector(x / x.norm()))
        norm = float(x.norm()) ** 0.5
    return norm
