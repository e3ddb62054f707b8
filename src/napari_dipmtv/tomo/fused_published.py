"""Chemical maps and a HAADF series to a volume by the released procedure of fused multi-modal tomography, step by step.

Source: J. Schwartz et al., Nat. Commun. 15, 3555 (2024), and its program tomo_TV, whose numbers and order of steps are
kept: maps divided by their largest value, Poisson steps from an empty volume, the volume times ten, every HAADF view
scaled to the model, then HAADF and Poisson steps with a few iterations of TV denoising each.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from napari_dipmtv.data import Volume
from napari_dipmtv.projection.projector import Projector
from napari_dipmtv.settings.fused import PublishedFusedSettings
from napari_dipmtv.states import State
from napari_dipmtv.tomo.fused_problem import FusedProblem, relative_weights, weighted, weighted_slope
from napari_dipmtv.tomo.kept import keep, put_back
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


def fused_published(
    problem: FusedProblem,
    settings: PublishedFusedSettings,
    *,
    resume: Mapping[str, NDArray[Any]] | None = None,
) -> Iterator[State[Volume]]:
    """Run both stages.

    The release leaves the volume in units of its own; here every channel is given the factor with which its projections
    carry as many counts as the maps. ``resume`` is a checkpoint of an earlier run on the same data with the same
    settings but for ``iterations``.

    Yields
    ------
    State of Volume
        Losses "chemical" (`poisson_cost`), and in the second stage "haadf" (``|P m - b|``), "tv" and "step", the
        chemical step length after its damping.
    """
    run = Released(problem, settings)
    if resume is not None:
        run.restore(resume)
    while run.iteration < settings.iterations:
        alone = run.iteration < settings.chemical_iterations
        losses = run.chemical_step() if alone else run.fused_step()
        yield State(
            run.iteration,
            settings.iterations,
            losses,
            lambda x=run.x: in_counts(problem.chemical, x),  # type: ignore[misc]
            run.checkpoint,
            stage="chemistry alone" if alone else "fused",
        )


class Released:
    """Volume, step and scale of the HAADF on their way through both stages."""

    def __init__(self, problem: FusedProblem, settings: PublishedFusedSettings) -> None:
        self.problem, self.settings = problem, settings
        chemical = problem.chemical
        data = torch.from_numpy(chemical.series.data).to(problem.device).clamp(min=0) * chemical.valid
        self.maps = data / data.amax(dim=(1, 2, 3), keepdim=True)
        self.haadf = torch.from_numpy(problem.haadf.series.data).to(problem.device).clamp(min=0)
        self.weights = relative_weights(chemical.series.channels, settings.weights, 1.0)
        self.x = torch.zeros(chemical.shape, device=problem.device)
        self.step = settings.chemical_strength / lipschitz(chemical.projector, self.x)
        self.before = float("inf")  # HAADF misfit
        self.iteration = 0

    def chemical_step(self) -> dict[str, float]:
        """``x <- max(0, x - step gradient)`` on the maps alone."""
        A, epsilon = self.problem.chemical.projector, self.settings.epsilon
        cost = float(poisson_cost(A(self.x), self.maps, epsilon))
        self.x = (self.x - self.step * poisson_gradient(A, self.x, self.maps, epsilon)).clamp(min=0)
        self.iteration += 1
        return {"chemical": cost}

    def fused_step(self) -> dict[str, float]:
        """One step on both modalities, and the denoising; a HAADF misfit that rose shortens the next chemical step."""
        s, A, epsilon = self.settings, self.problem.chemical.projector, self.settings.epsilon
        if self.iteration == s.chemical_iterations:
            self._begin_second_stage()
        haadf = Problem(
            self.problem.haadf.series.replace(data=self.haadf.cpu().numpy()),
            self.problem.haadf.projector,
            self.problem.device,
        )
        model = haadf.projector(weighted(self.x, self.weights, s.gamma))
        misfit = float((haadf.valid * (model - self.haadf)).norm())
        cost = float(poisson_cost(A(self.x), self.maps, epsilon))
        update = haadf_update(haadf, self.x, self.weights, s.gamma, s.sirt_iterations)
        x = self.x - self.step * poisson_gradient(A, self.x, self.maps, epsilon) + s.haadf_strength * update
        self.x = tv_denoised(x.clamp(min=0), s.tv_strength, s.tv_iterations)
        if misfit > self.before:
            self.step *= s.damping
        self.before, self.iteration = misfit, self.iteration + 1
        tv = total_variation_of(self.x, "per-channel")
        return {"chemical": cost, "haadf": misfit, "tv": tv, "step": self.step}

    def _begin_second_stage(self) -> None:
        self.x = self.settings.scale * self.x
        model = self.problem.haadf.projector(weighted(self.x, self.weights, self.settings.gamma))
        self.haadf = matched(self.haadf, model)

    def checkpoint(self) -> dict[str, NDArray[Any]]:
        """Copy everything that changes to plain arrays."""
        return keep(self, _TENSORS) | {name: np.array(getattr(self, name)) for name in _NUMBERS}

    def restore(self, saved: Mapping[str, NDArray[Any]]) -> None:
        """Go back to a checkpoint; raises `InputError` for one of another size."""
        put_back(self, _TENSORS, saved)
        self.step, self.before = float(saved["step"]), float(saved["before"])
        self.iteration = int(saved["iteration"])


_TENSORS = ("x", "haadf")
_NUMBERS = ("step", "before", "iteration")


def in_counts(chemical: Problem, x: torch.Tensor) -> Volume:
    """The volume with every channel scaled so that its projections add up to the maps."""
    measured = torch.from_numpy(chemical.series.data).to(x.device) * chemical.valid
    model = chemical.projector(x) * chemical.valid
    factor = measured.sum(dim=(1, 2, 3)) / model.sum(dim=(1, 2, 3)).clamp(min=1e-30)
    data = (x * factor[:, None, None, None]).cpu().numpy()
    return Volume(data, chemical.series.channels, chemical.series.pixel_nm)
