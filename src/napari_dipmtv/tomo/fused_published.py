"""Chemical maps and a HAADF series to a volume by the released procedure of fused multi-modal tomography, step by step.

Source: J. Schwartz et al., Nat. Commun. 15, 3555 (2024), and its program tomo_TV, whose numbers and order of steps are
kept: maps divided by their largest value, Poisson steps from an empty volume, the volume times ten, every HAADF view
scaled to the model, then HAADF and Poisson steps with a few iterations of TV denoising each.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import torch

from napari_dipmtv.data import Volume
from napari_dipmtv.projection.projector import Projector
from napari_dipmtv.settings.fused import PublishedFusedSettings
from napari_dipmtv.states import State
from napari_dipmtv.tomo.fused_problem import FusedProblem, relative_weights, weighted, weighted_slope
from napari_dipmtv.tomo.problem import Problem, sirt_steps
from napari_dipmtv.tomo.total_variation import gradient, gradient_adjoint, project_dual, total_variation_of

_GRADIENT_BOUND = 26.0  # of the released denoiser, for the squared norm 12 of the 3-D gradient


def poisson_cost(p: torch.Tensor, b: torch.Tensor, epsilon: float) -> torch.Tensor:
    """``sum p - (b + eps) log(p + eps)``: least at ``p = b``, and what `poisson_gradient` descends.

    The publication writes ``p - b log(p + eps)``, whose minimum lies at ``b - eps``; the released step is the gradient
    of this one.
    """
    return (p - (b + epsilon) * (p + epsilon).log()).sum()


def poisson_gradient(A: Projector, x: torch.Tensor, b: torch.Tensor, epsilon: float) -> torch.Tensor:
    """``A' ((A x - b) / (A x + eps))``, the released chemical step; (c, z, y, x)."""
    p = A(x)
    return A.T((p - b) / (p + epsilon))


def lipschitz(A: Projector, like: torch.Tensor) -> float:
    """``max(A' A 1)``, the released step scale."""
    return float(A.T(A(torch.ones_like(like[:1]))).max())


def haadf_update(
    haadf: Problem, x: torch.Tensor, weights: torch.Tensor, gamma: float, sirt_iterations: int
) -> torch.Tensor:
    """``gamma x^(gamma-1) S' (v - m)`` with ``m = S x^gamma`` and ``v`` some SIRT steps from ``m``; (c, z, y, x)."""
    m = weighted(x, weights, gamma)
    v, _ = next(islice(sirt_steps(haadf, start=m), sirt_iterations - 1, None))
    return weighted_slope(x, weights, gamma, v - m)


def tv_denoised(x: torch.Tensor, strength: float, iterations: int) -> torch.Tensor:
    """Approach ``argmin_{u >= 0} |u - x|^2 / 2 + strength TV(u)`` of each channel by gradient projection on the dual.

    As released: without momentum and with half the step that would be allowed (``1/26`` for ``1/12``).
    Source: A. Beck, M. Teboulle, IEEE Trans. Image Process. 18, 2419 (2009).
    """
    dual = torch.zeros((3, *x.shape), dtype=x.dtype, device=x.device)
    u = x
    for _ in range(iterations):
        u = (x - strength * gradient_adjoint(dual)).clamp(min=0)
        dual += gradient(u) / (_GRADIENT_BOUND * strength)
        dual = project_dual(dual, 1.0, "per-channel")
    return u


def matched(haadf: torch.Tensor, model: torch.Tensor) -> torch.Tensor:
    """Bring the largest value of every HAADF view (1, t, y, x) to that of the model's view."""
    return haadf * (
        model.amax(dim=(2, 3), keepdim=True) / haadf.amax(dim=(2, 3), keepdim=True).clamp(min=1e-30)
    )


def fused_published(problem: FusedProblem, settings: PublishedFusedSettings) -> Iterator[State[Volume]]:
    """Run both stages.

    The release leaves the volume in units of its own; here every channel is given the factor with which its projections
    carry as many counts as the maps.

    Yields
    ------
    State of Volume
        Losses "chemical" (`poisson_cost`), and in the second stage "haadf" (``|P m - b|``) and "tv".
    """
    chemical, A = problem.chemical, problem.chemical.projector
    data = torch.from_numpy(chemical.series.data).to(problem.device).clamp(min=0) * chemical.valid
    b = data / data.amax(dim=(1, 2, 3), keepdim=True)
    x = torch.zeros(chemical.shape, device=problem.device)
    total = settings.chemical_iterations + settings.iterations
    step = settings.chemical_strength / lipschitz(A, x)
    for iteration in range(1, settings.chemical_iterations + 1):
        cost = float(poisson_cost(A(x), b, settings.epsilon))
        x = (x - step * poisson_gradient(A, x, b, settings.epsilon)).clamp(min=0)
        yield State(
            iteration,
            total,
            {"chemical": cost},
            lambda x=x: in_counts(chemical, x),  # type: ignore[misc]
            stage="chemistry alone",
        )
    yield from _fuse(problem, settings, settings.scale * x, b, step, total)


def _fuse(
    problem: FusedProblem,
    settings: PublishedFusedSettings,
    x: torch.Tensor,
    b: torch.Tensor,
    step: float,
    total: int,
) -> Iterator[State[Volume]]:
    chemical, A, gamma = problem.chemical, problem.chemical.projector, settings.gamma
    weights = relative_weights(chemical.series.channels, settings.weights, 1.0)
    target = torch.from_numpy(problem.haadf.series.data).to(problem.device).clamp(min=0)
    model = problem.haadf.projector(weighted(x, weights, gamma))
    series = problem.haadf.series.replace(data=matched(target, model).cpu().numpy())
    haadf = Problem(series, problem.haadf.projector, problem.device)
    target = torch.from_numpy(series.data).to(problem.device)
    before = float("inf")
    for iteration in range(total - settings.iterations + 1, total + 1):
        misfit = float((haadf.valid * (haadf.projector(weighted(x, weights, gamma)) - target)).norm())
        cost = float(poisson_cost(A(x), b, settings.epsilon))
        update = haadf_update(haadf, x, weights, gamma, settings.sirt_iterations)
        x = x - step * poisson_gradient(A, x, b, settings.epsilon) + settings.haadf_strength * update
        x = tv_denoised(x.clamp(min=0), settings.tv_strength, settings.tv_iterations)
        if misfit > before:
            step *= settings.damping
        before = misfit
        losses = {"chemical": cost, "haadf": misfit, "tv": total_variation_of(x, "per-channel")}
        yield State(iteration, total, losses, lambda x=x: in_counts(chemical, x), stage="fused")  # type: ignore[misc]


def in_counts(chemical: Problem, x: torch.Tensor) -> Volume:
    """The volume with every channel scaled so that its projections add up to the maps."""
    measured = torch.from_numpy(chemical.series.data).to(x.device) * chemical.valid
    model = chemical.projector(x) * chemical.valid
    factor = measured.sum(dim=(1, 2, 3)) / model.sum(dim=(1, 2, 3)).clamp(min=1e-30)
    data = (x * factor[:, None, None, None]).cpu().numpy()
    return Volume(data, chemical.series.channels, chemical.series.pixel_nm)
