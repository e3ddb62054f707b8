"""Chemical maps and a HAADF series to the volume of least joint cost, together with the contrast of the HAADF."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from napari_dipmtv.data import F64, Volume
from napari_dipmtv.projection.projector import operator_norm
from napari_dipmtv.projection.sparse import slices_fastest
from napari_dipmtv.settings.fused import FusedSettings
from napari_dipmtv.settings.tomo import CsTvSettings
from napari_dipmtv.states import State
from napari_dipmtv.tomo.cs_tv import cs_tv
from napari_dipmtv.tomo.data_term import Poisson, data_misfit
from napari_dipmtv.tomo.devices import exact
from napari_dipmtv.tomo.fused_contrast import (
    Contrast,
    common_factor,
    first_contrast,
    likelihood_ratio,
    non_negative,
)
from napari_dipmtv.tomo.fused_problem import FusedProblem, weighted, weighted_slope
from napari_dipmtv.tomo.kept import keep, put_back
from napari_dipmtv.tomo.total_variation import seen_by, stacked, sweep, total_variation_of

GAMMAS = (1.0, 2.0)
LOOK_EVERY = 10
STRONGER = 3.0  # measured: with 0 the cost rises again after a fall, with 14 the chemical maps are heard late
SHARE_FLOOR = 0.05  # of a typical HAADF density, below which a voxel has no shares to speak of
REFIT_SHARE = 2 / 3  # of the iterations; then the cost stands still and the steps can converge to its minimum
HEADROOM = 1.3  # voxels may grow that much between two fits before a step could be too long


def fused_joint(
    problem: FusedProblem, settings: FusedSettings, *, resume: Mapping[str, NDArray[Any]] | None = None
) -> Iterator[State[Volume]]:
    """Minimise ``D_c(P_c x) + b D_h(P_h sum_c w_c x_c^gamma) + strength TV(x) / mass`` over ``x >= 0``, w and gamma.

    ``D_c`` and ``D_h`` are deviances; ``b`` makes their sum the likelihood of both data sets, times ``haadf_weight``.
    The volume moves by the primal-dual method for non-linear operators of T. Valkonen, Inverse Problems 30, 055012
    (2014). With gamma = 1 that is the convex method of Chambolle and Pock, and the weights come from the totals of the
    slices (`slice_equations`). Otherwise the weights are refitted now and then by least squares and the exponent by a
    bounded search; a refit is kept only when it lowers the HAADF misfit, so that none ever raises the joint cost. A
    primal-dual step may: the volume that a state shows is the one of the least joint cost among those looked at, so
    that more iterations never give a worse one.

    ``resume`` is a checkpoint of an earlier run on the same data with the same settings but for ``iterations``.

    Yields
    ------
    State of Volume
        Every 10 steps and at the end the losses "cost" (the joint cost), "least" (so far), "chemical", "haadf"
        (weighted), "tv", "gamma" and "weight <channel>" (HAADF signal per typical density).
    """
    iterate = Joint(problem, settings, resume)
    refits = int(REFIT_SHARE * settings.iterations)
    for iteration in range(1 if resume is None else int(resume["iteration"]) + 1, settings.iterations + 1):
        look = iteration % LOOK_EVERY == 0 or iteration == settings.iterations
        iterate.step()
        if iteration % settings.refit_every == 0:
            if iteration <= refits:
                iterate.refit()
            iterate.set_steps()
        losses = iterate.look() if look else {}
        yield State(
            iteration,
            settings.iterations,
            losses,
            lambda x=iterate.best: problem.chemical.volume(x),  # type: ignore[misc]
            lambda n=iteration: iterate.checkpoint(n),  # type: ignore[misc]
            stage="fused",
        )


class Joint:
    """Volume, dual variables and contrast on their way to the least joint cost."""

    def __init__(
        self,
        problem: FusedProblem,
        settings: FusedSettings,
        saved: Mapping[str, NDArray[Any]] | None = None,
    ) -> None:
        self.problem, self.settings = problem, settings
        chemical, haadf = problem.chemical, problem.haadf
        self.misfit = data_misfit(chemical, settings.data_term)
        self.haadf_misfit = data_misfit(haadf, "auto")
        self.haadf_weight = settings.haadf_weight * likelihood_ratio(
            self.misfit, self.haadf_misfit, chemical.series.data.size, haadf.series.data.size
        )
        self.target = torch.from_numpy(haadf.series.data).to(problem.device) / haadf.unit
        self.norm = 1.02 * operator_norm(
            chemical.projector, device=problem.device
        )  # a lower bound, raised a little
        self.haadf_norm = 1.02 * operator_norm(haadf.projector, device=problem.device)
        self.pull = self.norm / 12**0.5
        self.x = self._start() if saved is None else slices_fastest(chemical.shape, problem.device)
        self.ahead, self.new = self.x.clone(), torch.empty_like(self.x)
        self.dual = stacked(seen_by(settings.tv, self.x)).zero_()
        self.seen = chemical.projector(self.x)
        self.seen_ahead = self.seen.clone()
        self.q, self.q_haadf = torch.zeros_like(self.seen), torch.zeros_like(self.target)
        self.least, self.best = float("inf"), self.x.clone()
        if saved is not None:
            self._restore(saved)
            return
        self.contrast = first_contrast(problem, settings)
        if self.haadf_weight > 0:
            self._bring_in_haadf()
            self.refit()
        self.best.copy_(self.x)
        self.set_steps()

    def _start(self) -> torch.Tensor:
        """A chemical CS-TV volume, in the memory order of the projector."""
        settings = self.settings
        quick = CsTvSettings(
            iterations=settings.start_iterations, tv=settings.tv, data_term=settings.data_term, tolerance=0
        )
        found = _last(cs_tv(self.problem.chemical, quick))
        x = slices_fastest(self.problem.chemical.shape, self.problem.device)
        unit = self.problem.chemical.unit[:, None, None, None]
        return x.copy_(torch.from_numpy(found.data).to(self.problem.device) / unit)

    def _bring_in_haadf(self) -> None:
        """Begin with the density that a HAADF volume shows and the shares that the chemical one gives it."""
        haadf, contrast = self.problem.haadf, self.contrast
        quick = CsTvSettings(iterations=self.settings.start_iterations, tolerance=0)
        found = torch.from_numpy(_last(cs_tv(haadf, quick)).data).to(self.problem.device) / haadf.unit
        model = weighted(self.x, contrast.weights, contrast.gamma)
        ratio = (found / model.clamp(min=SHARE_FLOOR)).clamp(max=2.0)
        self.x.mul_(ratio.pow(1 / contrast.gamma))
        self.ahead.copy_(self.x)
        self.seen = self.problem.chemical.projector(self.x)
        self.seen_ahead = self.seen.clone()

    def set_steps(self) -> None:
        """Choose the steps so that ``tau (sigma |P_c|^2 + sigma |grad|^2 + sigma_h |K_h'|^2) < 1``.

        The balance between primal and dual steps is that of `cs_tv` raised by `STRONGER` times the weight of the HAADF,
        by which the duals become larger; each term has a third of the budget.
        """
        slope = weighted_slope(
            (HEADROOM * self.x).clamp(min=1.0),
            self.contrast.weights,
            self.contrast.gamma,
            torch.ones_like(self.x[:1]),
        )
        haadf = self.haadf_norm * float(slope.square().sum(dim=0).amax().sqrt())
        balance = 0.1 * max(1.0, STRONGER * self.haadf_weight)
        self.sigma = balance / self.problem.chemical.series.data.size / self.norm
        self.sigma_haadf = self.sigma * (self.norm / max(haadf, 1e-30)) ** 2
        self.tau = 0.99 / (3 * self.sigma * self.norm**2)

    def step(self) -> None:
        """One primal-dual step."""
        A, H = self.problem.chemical.projector, self.problem.haadf.projector
        w, gamma = self.contrast.weights, self.contrast.gamma
        self.q = self.misfit.dual_prox(torch.add(self.q, self.seen_ahead, alpha=self.sigma), self.sigma)
        back = A.T(self.q)
        if self.haadf_weight > 0:
            # a power needs a volume that is not negative; the linear case must stay linear to converge
            model = H(weighted(self.ahead if gamma == 1 else self.ahead.clamp(min=0), w, gamma))
            self.q_haadf = self._haadf_dual(torch.add(self.q_haadf, model, alpha=self.sigma_haadf))
            back = back + weighted_slope(self.x, w, gamma, H.T(self.q_haadf))
        sweep(
            self.x,
            self.ahead,
            self.dual,
            back,
            self.new,
            kind=self.settings.tv,
            radius=self.settings.tv_strength / self.problem.chemical.mass / self.pull,
            sigma=self.sigma,
            tau=self.tau,
            pull=self.pull,
            judge=False,
        )
        self.x, self.new = self.new, self.x  # the volume that the last state shows is never half overwritten
        seen = A(self.x)
        self.seen, self.seen_ahead = seen, torch.lerp(self.seen, seen, 2.0)

    def _haadf_dual(self, v: torch.Tensor) -> torch.Tensor:
        """Proximal step of the conjugate of ``haadf_weight * D_h``, by Moreau's identity."""
        s = self.sigma_haadf
        return v - s * self.haadf_misfit.prox(v / s, self.haadf_weight / s)

    def refit(self) -> None:
        """Fit weights and exponent to the volume; keep them where they lower the HAADF misfit."""
        if self.haadf_weight == 0 or self.settings.linear:  # slice totals have told all
            return
        from scipy.optimize import minimize_scalar

        fitted = self._fitted(self.contrast.gamma)
        if self.settings.learn_gamma:
            found = minimize_scalar(
                lambda g: self.haadf_cost(self._fitted(g)),
                bounds=GAMMAS,
                method="bounded",
                options={"xatol": 0.02},
            )
            fitted = min(fitted, self._fitted(float(found.x)), self._fitted(GAMMAS[0]), key=self.haadf_cost)
        if self.haadf_cost(fitted) < self.haadf_cost(self.contrast):
            self.contrast = fitted

    def _fitted(self, gamma: float) -> Contrast:
        """The contrast of an exponent with its best weights, all of them or their common factor."""
        now = self.contrast
        likely = self.problem.haadf.projector(weighted(self.x, now.weights, now.gamma))
        gram, rhs = self._normal_equations(self._powers_seen(gamma), likely)
        if not self.settings.learn_weights:
            return Contrast(common_factor(self.contrast.weights, gram, rhs) * self.contrast.weights, gamma)
        return Contrast(torch.from_numpy(non_negative(gram, rhs)), gamma)

    def _powers_seen(self, gamma: float) -> torch.Tensor:
        """HAADF projections of ``x_c^gamma`` of every channel (c, t, y, x)."""
        return self.problem.haadf.projector(self.x.pow(gamma))

    def _normal_equations(self, seen: torch.Tensor, likely: torch.Tensor) -> tuple[F64, F64]:
        """Gram matrix (c, c) and right side (c,) of the least squares for the weights.

        Counts are weighed by the variance of the ``likely`` signal (1, t, y, x): the counted one would draw them down.
        """
        trust = self.problem.haadf.valid.expand_as(self.target)
        if isinstance(self.haadf_misfit, Poisson):
            trust = trust / (self.haadf_misfit.gain * likely).clamp(min=1.0)
        rows, target, shares = (exact(part.flatten(1)) for part in (seen, self.target, trust))
        scaled = rows * shares
        return scaled @ rows.T, scaled @ target[0]

    def haadf_cost(self, contrast: Contrast) -> float:
        """Weighted HAADF misfit of the present volume under a contrast."""
        model = self.problem.haadf.projector(weighted(self.x, contrast.weights, contrast.gamma))
        return self.haadf_weight * float(self.haadf_misfit.loss(model))

    def look(self) -> dict[str, float]:
        """Cost and contrast now; the volume is kept when it is the best so far."""
        losses = self._losses()
        if losses["cost"] < self.least:
            self.least, self.best = losses["cost"], self.x.clone()
        return losses | {"least": self.least}

    def _losses(self) -> dict[str, float]:
        """The joint cost and its parts."""
        chemical, haadf = float(self.misfit.loss(self.seen)), self.haadf_cost(self.contrast)
        tv = total_variation_of(self.x, self.settings.tv) / self.problem.chemical.mass
        names = (f"weight {name}" for name in self.problem.chemical.series.channels)
        return {
            "cost": chemical + haadf + self.settings.tv_strength * tv,
            "chemical": chemical,
            "haadf": haadf,
            "tv": tv,
            "gamma": self.contrast.gamma,
            **dict(zip(names, self.contrast.weights.tolist(), strict=True)),
        }

    def checkpoint(self, iteration: int) -> dict[str, NDArray[Any]]:
        """Copy everything that changes to plain arrays."""
        saved = keep(self, _TENSORS) | {name: np.array(getattr(self, name)) for name in _NUMBERS}
        weights, gamma = self.contrast.weights.numpy().copy(), np.array(self.contrast.gamma)
        return {"iteration": np.array(iteration), "weights": weights, "gamma": gamma, **saved}

    def _restore(self, saved: Mapping[str, NDArray[Any]]) -> None:
        put_back(self, _TENSORS, saved)
        for name in _NUMBERS:
            setattr(self, name, float(saved[name]))
        self.contrast = Contrast(torch.from_numpy(saved["weights"]), float(saved["gamma"]))


_TENSORS = ("x", "ahead", "dual", "q", "q_haadf", "seen", "seen_ahead", "best")
_NUMBERS = ("sigma", "sigma_haadf", "tau", "least")


def _last(states: Iterator[State[Volume]]) -> Volume:
    """The volume of the last state."""
    *_, last = states
    return last.snapshot()
