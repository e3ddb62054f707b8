"""Volumes to their total variation: gradient, exact adjoint, densities and the dual projection."""

from __future__ import annotations

import torch

from napari_dipmtv.settings.tomo import TvKind


def gradient(x: torch.Tensor) -> torch.Tensor:
    """Forward differences of (c, z, y, x) along z, y, x; zero across the far border. Shape (3, c, z, y, x)."""
    g = x.new_zeros((3, *x.shape))
    torch.sub(x[:, 1:], x[:, :-1], out=g[0, :, :-1])
    torch.sub(x[:, :, 1:], x[:, :, :-1], out=g[1, :, :, :-1])
    torch.sub(x[..., 1:], x[..., :-1], out=g[2, ..., :-1])
    return g


def gradient_adjoint(p: torch.Tensor) -> torch.Tensor:
    """Exact adjoint of `gradient` (minus the divergence)."""
    d = torch.zeros_like(p[0])
    d[:, 1:] += p[0, :, :-1]
    d[:, :-1] -= p[0, :, :-1]
    d[:, :, 1:] += p[1, :, :, :-1]
    d[:, :, :-1] -= p[1, :, :, :-1]
    d[..., 1:] += p[2, ..., :-1]
    d[..., :-1] -= p[2, ..., :-1]
    return d


def total_variation(x: torch.Tensor, kind: TvKind, epsilon: float = 1e-6) -> torch.Tensor:
    """Sum over voxels of the smoothed TV density of (c, z, y, x), differentiable.

    Parameters
    ----------
    x : tensor (c, z, y, x)
    kind : {"vectorial", "per-channel", "channel-sum"}
        ``sqrt(sum_c |grad x_c|^2)``, ``sum_c |grad x_c|`` or ``|grad sum_c x_c|``.
    epsilon : float
        Added under the root.
    """
    if kind == "channel-sum":
        x = x.sum(dim=0, keepdim=True)
    # differences to the next voxel inside the grid; the far planes, as in `gradient`, have none
    dz = torch.nn.functional.pad(x[:, 1:] - x[:, :-1], (0, 0, 0, 0, 0, 1))
    dy = torch.nn.functional.pad(x[:, :, 1:] - x[:, :, :-1], (0, 0, 0, 1))
    dx = torch.nn.functional.pad(x[..., 1:] - x[..., :-1], (0, 1))
    squares = dz * dz + dy * dy + dx * dx
    if kind == "vectorial":
        squares = squares.sum(dim=0)
    return (squares + epsilon).sqrt().sum()


def project_dual(p: torch.Tensor, radius: float, kind: TvKind) -> torch.Tensor:
    """Project dual fields (3, c, z, y, x) in place onto the ball of the dual of the TV norm."""
    axes = (0, 1) if kind == "vectorial" else (0,)
    norm = p.square().sum(dim=axes, keepdim=True).sqrt_().div_(radius).clamp_(min=1)
    return p.div_(norm)
