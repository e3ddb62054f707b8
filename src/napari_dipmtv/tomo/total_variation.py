"""Volumes to their total variation: gradient, exact adjoint, densities and one primal-dual sweep over the volume."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from napari_dipmtv.settings.tomo import TvKind

SLAB_VOXELS = (
    2**17
)  # of a sweep on the CPU: what a slab of volume, dual and gradient takes stays in the cache


def gradient(x: torch.Tensor, z0: int = 0, z1: int | None = None) -> torch.Tensor:
    """Forward differences of (c, z, y, x) along z, y, x in the planes z0 to z1; zero across the far borders.

    Returns
    -------
    tensor (3, c, z, y, x)
        In the memory order of ``x``.
    """
    z1 = x.shape[1] if z1 is None else z1
    return add_gradient(stacked(x[:, z0:z1]).zero_(), x[:, z0 : z1 + 1], 1.0)


def add_gradient(p: torch.Tensor, x: torch.Tensor, scale: float) -> torch.Tensor:
    """``p + scale * grad x`` in place for the planes of ``p``; ``x`` may bring the plane after them."""
    here, inside = x[:, : p.shape[2]], x.shape[1] - 1
    p[0, :, :inside].add_(x[:, 1 : inside + 1], alpha=scale).sub_(x[:, :inside], alpha=scale)
    p[1, :, :, :-1].add_(here[:, :, 1:], alpha=scale).sub_(here[:, :, :-1], alpha=scale)
    p[2, ..., :-1].add_(here[..., 1:], alpha=scale).sub_(here[..., :-1], alpha=scale)
    return p


def gradient_adjoint(p: torch.Tensor, z0: int = 0, z1: int | None = None) -> torch.Tensor:
    """Exact adjoint of `gradient` (minus the divergence) in the planes z0 to z1; (c, z, y, x)."""
    nz = p.shape[2]
    z1 = nz if z1 is None else z1
    slab, start = p[:, :, z0:z1], max(z0, 1)
    d = torch.neg(slab[0])
    if z1 == nz:
        d[:, -1].zero_()
    d[:, start - z0 :] += p[0, :, start - 1 : z1 - 1]
    d[:, :, 1:] += slab[1, :, :, :-1]
    d[:, :, :-1] -= slab[1, :, :, :-1]
    d[..., 1:] += slab[2, ..., :-1]
    d[..., :-1] -= slab[2, ..., :-1]
    return d


def stacked(x: torch.Tensor) -> torch.Tensor:
    """Room for three fields of the shape and memory order of ``x``, not initialised; (3, c, z, y, x)."""
    order = sorted(range(x.ndim), key=lambda axis: -x.stride()[axis])
    return torch.empty_permuted(
        (3, *x.shape), (0, *(axis + 1 for axis in order)), dtype=x.dtype, device=x.device
    )


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
    x = seen_by(kind, x)
    # differences to the next voxel inside the grid; the far planes, as in `gradient`, have none
    dz = torch.nn.functional.pad(x[:, 1:] - x[:, :-1], (0, 0, 0, 0, 0, 1))
    dy = torch.nn.functional.pad(x[:, :, 1:] - x[:, :, :-1], (0, 0, 0, 1))
    dx = torch.nn.functional.pad(x[..., 1:] - x[..., :-1], (0, 1))
    squares = dz * dz + dy * dy + dx * dx
    if kind == "vectorial":
        squares = squares.sum(dim=0)
    return (squares + epsilon).sqrt().sum()


def total_variation_of(x: torch.Tensor, kind: TvKind) -> float:
    """The sharp total variation of (c, z, y, x) as a number, slab by slab: `total_variation` without its memory."""
    total = 0.0
    for z0, z1 in slabs(x):
        g = gradient(seen_by(kind, x[:, z0 : z1 + 1]), 0, z1 - z0)
        total += float(g.square_().sum(dim=(0, 1) if kind == "vectorial" else 0).sqrt_().sum())
    return total


def slabs(x: torch.Tensor) -> Iterator[tuple[int, int]]:
    """First and last plane (exclusive) of slabs along z that stay in the cache; on a GPU one slab is best."""
    nz, plane = x.shape[1], x[:, 0].numel()
    thick = nz if x.device.type != "cpu" else max(1, SLAB_VOXELS // plane)
    for z0 in range(0, nz, thick):
        yield z0, min(z0 + thick, nz)


def seen_by(kind: TvKind, x: torch.Tensor) -> torch.Tensor:
    """What a kind of TV looks at: the volume (c, z, y, x), or the sum of its channels (1, z, y, x)."""
    return x.sum(dim=0, keepdim=True) if kind == "channel-sum" else x


def project_dual(p: torch.Tensor, radius: float, kind: TvKind) -> torch.Tensor:
    """Project dual fields (3, c, z, y, x) in place onto the ball of the dual of the TV norm."""
    norm = p[0].square().addcmul_(p[1], p[1]).addcmul_(p[2], p[2])
    if kind == "vectorial" and norm.shape[0] > 1:
        norm = norm.sum(dim=0, keepdim=True)
    radius = max(radius, 1e-30)  # strength 0: the dual stays 0, not 0 / 0
    return p.mul_(norm.sqrt_().clamp_(min=radius).reciprocal_().mul_(radius))


def sweep(
    x: torch.Tensor,
    ahead: torch.Tensor,
    dual: torch.Tensor,
    back: torch.Tensor,
    new: torch.Tensor,
    *,
    kind: TvKind,
    radius: float,
    sigma: float,
    tau: float,
    pull: float,
    judge: bool,
) -> torch.Tensor:
    """Dual step of the TV and primal step of the volume, slab by slab along z, in one pass over the memory.

    ``dual <- project(dual + sigma pull grad ahead)``, ``new <- max(0, x - tau (back + pull grad' dual))`` and
    ``ahead <- 2 new - x``, all in place. A slab may be finished before the next one is begun, because its forward
    differences need the old ``ahead`` only of planes to come, and its adjoint the new dual only of planes passed.

    Parameters
    ----------
    x, ahead, back, new : tensor (c, z, y, x)
        ``back`` is the projector's part of the adjoint; ``new`` is written.
    dual : tensor (3, c, z, y, x), or (3, 1, z, y, x) for the channel sum

    Returns
    -------
    scalar tensor
        With ``judge``, the sum of the negative part of ``back + pull grad' dual``, by which the dual point fails to be
        feasible; else 0.
    """
    failing = torch.zeros((), dtype=x.dtype, device=x.device)
    for z0, z1 in slabs(x):
        slab, here = dual[:, :, z0:z1], slice(z0, z1)
        add_gradient(slab, seen_by(kind, ahead[:, z0 : z1 + 1]), sigma * pull)
        project_dual(slab, radius, kind)
        slope = torch.add(back[:, here], gradient_adjoint(dual, z0, z1), alpha=pull)
        if judge:
            failing -= slope.clamp(max=0).sum()
        torch.sub(x[:, here], slope, alpha=tau, out=new[:, here]).clamp_(min=0)
        torch.lerp(x[:, here], new[:, here], 2.0, out=ahead[:, here])
    return failing
