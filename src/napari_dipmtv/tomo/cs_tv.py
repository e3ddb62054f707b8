"""Aligned maps to the volume of least total variation (compressed sensing) by a primal-dual iteration."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from napari_dipmtv.data import Volume
from napari_dipmtv.errors import InputError, expected
from napari_dipmtv.projection.projector import operator_norm
from napari_dipmtv.projection.sparse import slices_fastest
from napari_dipmtv.settings.tomo import CsTvSettings
from napari_dipmtv.states import State
from napari_dipmtv.tomo.data_term import data_misfit
from napari_dipmtv.tomo.devices import exact
from napari_dipmtv.tomo.kept import keep, put_back
from napari_dipmtv.tomo.problem import Problem
from napari_dipmtv.tomo.total_variation import seen_by, stacked, sweep, total_variation_of

LOOK_EVERY = 10  # steps between two looks at cost and gap


def cs_tv(
    problem: Problem,
    settings: CsTvSettings,
    *,
    start: Volume | None = None,
    resume: Mapping[str, NDArray[Any]] | None = None,
) -> Iterator[State[Volume]]:
    """Minimise ``D(P x, y) + strength * TV(x) / mass`` over ``x >= 0``.

    ``D`` is the data misfit per point without unit, ``mass`` the sum of the volume known from the data, so that the
    strength has no unit either. Solved by the primal-dual method of Chambolle and Pock, J. Math. Imaging Vis. 40,
    120 (2011), with step sizes from the measured norm of the projector.

    The run ends when the duality gap is below ``settings.tolerance`` of the cost: the cost is then proven to lie
    within that fraction of the least possible, however short the steps are. (A change per step proves nothing: it also
    becomes small when the steps do.) The proof assumes that no voxel of the minimum exceeds 1.2 times the largest
    voxel so far; without some bound the gap of a non-negative problem is infinite until the very end.

    Parameters
    ----------
    problem : Problem
    settings : CsTvSettings
    start : Volume, optional
        Where to begin instead of at zero.
    resume : mapping, optional
        A checkpoint of an earlier run on the same data with the same settings but for ``iterations`` and
        ``tolerance``; goes on exactly as if that run had not ended.

    Yields
    ------
    State of Volume
        Every 10 steps and at the end losses "data", "tv" (``TV / mass``) and "gap" (relative to the cost). Take
        snapshot and checkpoint before asking for the next state.

    Raises
    ------
    InputError
        For a checkpoint of another size, or both ``start`` and ``resume``.
    """
    iterate = PrimalDual(problem, settings, start)
    done = 0 if resume is None else iterate.restore(resume, start)
    for iteration in range(done + 1, settings.iterations + 1):
        last = iteration == settings.iterations
        losses = iterate.step(look=last or iteration % LOOK_EVERY == 0)
        last = last or losses.get("gap", 1.0) < settings.tolerance
        yield State(
            iteration,
            iteration if last else settings.iterations,
            losses,
            lambda x=iterate.x: problem.volume(x),  # type: ignore[misc]
            lambda n=iteration: iterate.checkpoint(n),  # type: ignore[misc]
            stage="CS-TV",
        )
        if last:
            return


class PrimalDual:
    """Volume and dual variables on their way to the minimum: everything that changes from step to step."""

    def __init__(self, problem: Problem, settings: CsTvSettings, start: Volume | None) -> None:
        self.problem, self.settings = problem, settings
        self.misfit = data_misfit(problem, settings.data_term)
        norm = 1.02 * operator_norm(
            problem.projector, device=problem.device
        )  # power iteration is a lower bound
        self.pull = norm / 12**0.5  # the gradient, scaled to the projector's norm: |grad|^2 <= 12
        self.sigma, self.tau = _steps(problem, norm)
        self.x = slices_fastest(problem.shape, problem.device)
        if start is not None:
            self.x.copy_(torch.from_numpy(start.data).to(problem.device) / problem.unit[:, None, None, None])
        self.ahead, self.new = self.x.clone(), torch.empty_like(self.x)
        self.dual = stacked(seen_by(settings.tv, self.x)).zero_()  # of the total variation
        self.seen = problem.projector(self.x)
        self.seen_ahead = self.seen.clone()
        self.q = torch.zeros_like(self.seen)  # dual of the data

    def step(self, *, look: bool) -> dict[str, float]:
        """Take one step; with ``look``, give cost and gap after it."""
        A = self.problem.projector
        v = torch.add(self.q, self.seen_ahead, alpha=self.sigma)
        self.q = self.misfit.dual_prox(v, self.sigma)
        failing = sweep(
            self.x,
            self.ahead,
            self.dual,
            A.T(self.q),
            self.new,
            kind=self.settings.tv,
            radius=self.settings.tv_strength / self.problem.mass / self.pull,
            sigma=self.sigma,
            tau=self.tau,
            pull=self.pull,
            judge=look,
        )
        # two volumes in turn: the one that the last state shows is never half overwritten
        self.x, self.new = self.new, self.x
        seen = A(self.x)  # P (2 new - old) = 2 P new - P old: no second projection for the cost
        self.seen, self.seen_ahead = seen, torch.lerp(self.seen, seen, 2.0)
        return self._losses(v, float(failing)) if look else {}

    def _losses(self, v: torch.Tensor, failing: float) -> dict[str, float]:
        """Cost of the volume, and its distance from the cost of the dual point.

        The conjugate of the misfit comes without a formula: ``q`` was made by a proximal step at ``v``, so that
        ``misfit(p) + conjugate(q) = <p, q>`` at ``p = (v - q) / sigma``.
        """
        p = (v - self.q) / self.sigma
        conjugate = float((exact(p) * exact(self.q)).sum()) - float(self.misfit.loss(p))
        data = float(self.misfit.loss(self.seen))
        tv = total_variation_of(self.x, self.settings.tv) / self.problem.mass
        cost = data + self.settings.tv_strength * tv
        gap = cost + conjugate + 1.2 * float(self.x.max()) * failing
        return {"data": data, "tv": tv, "gap": max(gap, 0.0) / max(cost, 1e-30)}

    def checkpoint(self, iteration: int) -> dict[str, Any]:
        """Copy everything that changes to plain arrays."""
        return {"iteration": np.array(iteration), **keep(self, _KEPT)}

    def restore(self, saved: Mapping[str, NDArray[Any]], start: Volume | None) -> int:
        """Go back to a checkpoint; gives its iteration."""
        if start is not None:
            raise InputError(expected("start", "none beside a checkpoint", "both", "Give one of them"))
        put_back(self, _KEPT, saved)
        return int(saved["iteration"])


_KEPT = ("x", "ahead", "dual", "q", "seen", "seen_ahead")


def _steps(problem: Problem, norm: float) -> tuple[float, float]:
    """Dual and primal step; their ratio is the ratio of the sizes that the dual and primal variables will have.

    The misfit per data point has a gradient of about 1/(number of data), the volume is about 1. Ratios from 0.03 to 3
    of that were measured: 0.1 is fastest at usual strengths, and twice as fast as 0.3.
    """
    both = norm * 2**0.5
    balance = 0.1 / problem.series.data.size
    return balance / both, 0.99 / (both * balance)
