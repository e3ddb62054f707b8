"""Aligned maps to the volume of least total variation (compressed sensing) by a primal-dual iteration."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from napari_dipmtv.data import Volume
from napari_dipmtv.projection.projector import operator_norm
from napari_dipmtv.settings.tomo import CsTvSettings
from napari_dipmtv.states import State
from napari_dipmtv.tomo.data_term import data_misfit
from napari_dipmtv.tomo.problem import Problem
from napari_dipmtv.tomo.total_variation import gradient, gradient_adjoint, project_dual, total_variation


def cs_tv(
    problem: Problem, settings: CsTvSettings, *, start: Volume | None = None
) -> Iterator[State[Volume]]:
    """Minimise ``D(P x, y) + strength * TV(x) / mass`` over ``x >= 0``.

    ``D`` is the data misfit per point without unit, ``mass`` the sum of the volume known from the data, so that the
    strength has no unit either. Solved by the primal-dual method of Chambolle and Pock, J. Math. Imaging Vis. 40,
    120 (2011), with step sizes from the measured norm of the projector.

    Yields
    ------
    State of Volume
        Losses "data", "tv" (relative, ``TV / mass``) and "change" (relative, per step); ends early at
        ``settings.tolerance``.
    """
    A, misfit = problem.projector, data_misfit(problem, settings.data_term)
    norm = 1.02 * operator_norm(A, device=problem.device)  # power iteration is a lower bound
    pull = norm / 12**0.5  # the gradient, scaled to the projector's norm: |grad|^2 <= 12
    sigma, tau = _steps(problem, norm)
    radius = settings.tv_strength / problem.mass / pull
    x = _start(problem, start)
    ahead, q, p = x, torch.zeros_like(A(x)), torch.zeros_like(gradient(_seen(x, settings)))
    for iteration in range(1, settings.iterations + 1):
        q = misfit.dual_prox(q + sigma * A(ahead), sigma)
        p = project_dual(p + sigma * pull * gradient(_seen(ahead, settings)), radius, settings.tv)
        back = A.T(q) + pull * gradient_adjoint(p)
        new = (x - tau * back).clamp(min=0)
        change = float((new - x).norm() / new.norm().clamp(min=1e-12))
        ahead, x = 2 * new - x, new
        done = iteration > 10 and change < settings.tolerance
        losses = {"change": change}
        if iteration % 10 == 0 or done:
            tv = total_variation(x, settings.tv, epsilon=1e-12)
            losses |= {"data": float(misfit.loss(A(x))), "tv": float(tv) / problem.mass}
        total = iteration if done else settings.iterations
        yield State(iteration, total, losses, lambda x=x: problem.volume(x), stage="CS-TV")  # type: ignore[misc]
        if done:
            return


def _seen(x: torch.Tensor, settings: CsTvSettings) -> torch.Tensor:
    return x.sum(dim=0, keepdim=True) if settings.tv == "channel-sum" else x


def _steps(problem: Problem, norm: float) -> tuple[float, float]:
    """Dual and primal step; their ratio is the ratio of the sizes that the dual and primal variables will have.

    The misfit per data point has a gradient of about 1/(number of data), the volume is about 1.
    """
    both = norm * 2**0.5
    balance = 0.3 / problem.series.data.size
    return balance / both, 0.99 / (both * balance)


def _start(problem: Problem, start: Volume | None) -> torch.Tensor:
    if start is None:
        return torch.zeros(problem.shape, device=problem.device)
    return torch.from_numpy(start.data).to(problem.device) / problem.unit[:, None, None, None]
