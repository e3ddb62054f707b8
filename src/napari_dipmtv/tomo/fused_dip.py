"""A HAADF series to a further data term of DIPm-TV: the volume that one network draws must explain both modalities."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from napari_dipmtv.data import Volume
from napari_dipmtv.errors import InputError, expected
from napari_dipmtv.settings.fused import FusedDipSettings, FusedSettings, HaadfSettings
from napari_dipmtv.states import State
from napari_dipmtv.tomo.crop import Crop
from napari_dipmtv.tomo.data_term import Gaussian, Poisson, data_misfit
from napari_dipmtv.tomo.dip_fit import FurtherTerm
from napari_dipmtv.tomo.fused_contrast import first_contrast, likelihood_ratio
from napari_dipmtv.tomo.fused_joint import fused_joint
from napari_dipmtv.tomo.fused_problem import FusedProblem, weighted
from napari_dipmtv.tomo.problem import Problem

GUIDE_ITERATIONS = 150  # of the fused volume that the network looks at; the network adds the detail
# towards it, four times those towards CS-TV: far from the goal the many HAADF counts lead astray
REHEARSALS = 120
FAINTEST = 1e-3  # of the largest weight: one that the slice totals put at 0 must be able to grow
INSIDE = (1.02, 1.98)  # where a learnt exponent may begin; at the ends of (1, 2) it could not move


@dataclass(frozen=True, eq=False)
class HaadfData:
    """The HAADF series of a DIPm-TV run, a `napari_dipmtv.tomo.dip_networks.Further`."""

    haadf: Problem
    settings: FusedDipSettings
    name: str = "fused volume"
    rehearsals: int = REHEARSALS

    def guide(self, problem: Problem) -> Iterator[State[Volume]]:
        """The volume of least joint cost."""
        s = self.settings
        shared = {name: getattr(s, name) for name in HaadfSettings.model_fields}
        quick = FusedSettings(iterations=GUIDE_ITERATIONS, tv=s.tv, data_term=s.data_term, **shared)
        return fused_joint(FusedProblem(problem, self.haadf), quick)

    def term(self, crop: Crop) -> HaadfTerm:
        """The HAADF misfit of the box, seen by a projector of its own tilts."""
        return HaadfTerm(FusedProblem(crop.problem, Crop(self.haadf, crop.box).problem), self.settings)


class HaadfTerm(FurtherTerm):
    """``s log(1 + weight D / s)`` of the HAADF misfit ``D(P_h sum_c w_c x_c^gamma)``; its parameters are w and gamma.

    ``s`` is what noise alone leaves of ``weight D``. Well below, this is the misfit of the fused method; far above, it
    is the likelihood of errors whose size is not known, so that a network that is far from the goal hears the maps,
    which tell the channels apart, beside HAADF counts that outnumber them a hundred times.

    The weights of a linear contrast come from the totals of the slices and stay. Those of another one begin there and
    are learnt, all of them or their common factor; the exponent is held between 1 and 2 by a logistic function.
    """

    log_weights: torch.Tensor  # (c,)

    def __init__(self, problem: FusedProblem, settings: FusedDipSettings) -> None:
        super().__init__()
        chemical, haadf = problem.chemical, problem.haadf
        self.projector, self.channels = haadf.projector, chemical.series.channels
        self.misfit = data_misfit(haadf, "auto")
        assert isinstance(self.misfit, Poisson | Gaussian)  # "auto" gives no others
        maps = data_misfit(chemical, settings.data_term)
        sizes = chemical.series.data.size, haadf.series.data.size
        self.weight = settings.haadf_weight * likelihood_ratio(maps, self.misfit, *sizes)
        self.noise = 0.5 * self.weight * self.misfit.weight
        contrast = first_contrast(problem, settings)
        least = FAINTEST * float(contrast.weights.max())
        log_weights = contrast.weights.clamp(min=least).log().float()
        bent = not settings.linear
        self.log_weights = torch.nn.Parameter(log_weights, requires_grad=bent and settings.learn_weights)
        self.log_factor = torch.nn.Parameter(
            torch.zeros(()), requires_grad=bent and not settings.learn_weights
        )
        self.given_gamma = settings.gamma
        start = torch.tensor(min(max(settings.gamma, INSIDE[0]), INSIDE[1]) - 1.0)
        self.gamma_logit = torch.nn.Parameter(torch.logit(start)) if settings.learn_gamma else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Weighted HAADF misfit of a volume (c, z, y, x) in typical densities; a scalar."""
        model = weighted(x, (self.log_weights + self.log_factor).exp(), self.gamma)
        misfit = self.weight * self.misfit.loss(self.projector(model))
        robust: torch.Tensor = self.noise * torch.log1p(misfit / self.noise)
        return robust

    @property
    def gamma(self) -> float | torch.Tensor:
        """The exponent."""
        return self.given_gamma if self.gamma_logit is None else 1 + torch.sigmoid(self.gamma_logit)

    def facts(self) -> dict[str, float]:
        """Exponent, and HAADF signal per typical density of each channel."""
        weights = (self.log_weights + self.log_factor).detach().exp().tolist()
        names = (f"weight {name}" for name in self.channels)
        gamma = float(torch.as_tensor(self.gamma).detach())
        return {"gamma": gamma, **dict(zip(names, weights, strict=True))}


def must_be_tilted(chemical: Problem) -> None:
    """Refuse single views: the network draws volumes.

    Raises
    ------
    InputError
        Naming the method that fuses them.
    """
    if chemical.shape[1] == 1:
        advice = "Take method fused, which also fuses single views"
        raise InputError(expected("DIPm-TV with HAADF", "a tilt series", "one view", advice))
