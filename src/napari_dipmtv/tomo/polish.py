"""A volume to the one near it that follows the data better, for as long as data it has not seen agree."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from napari_dipmtv.projection.projector import Projector
from napari_dipmtv.settings.tomo import TvKind
from napari_dipmtv.tomo.data_term import DataMisfit
from napari_dipmtv.tomo.total_variation import total_variation

# of the relative total variation; far too little to make a volume of, enough to keep noise low
STRENGTH = 0.01
PATIENCE = 20  # steps without progress


class Polish:
    """Steps of one volume that move each voxel in proportion to its density, so that vacuum stays vacuum.

    For Poisson data and without total variation a step is one of expectation maximisation (L. A. Shepp and
    Y. Vardi, IEEE Trans. Med. Imaging 1, 113 (1982)); for Gaussian data it descends on the separable surrogate of the
    same kind (A. R. De Pierro, IEEE Trans. Med. Imaging 14, 132 (1995)). The total variation enters with its gradient
    only (one step late: P. J. Green, IEEE Trans. Med. Imaging 9, 84 (1990)).

    Parameters
    ----------
    x : tensor (c, z, y, x)
        Where to begin, in units of the problem, not negative.
    projector : Projector
    misfit : DataMisfit
        Of the data to follow; Poisson or Gaussian.
    mass : float
        What total variation is measured by, `Problem.mass`.
    tv : {"vectorial", "per-channel", "channel-sum"}
    """

    def __init__(
        self, x: torch.Tensor, projector: Projector, misfit: DataMisfit, mass: float, tv: TvKind
    ) -> None:
        self.x, self.projector, self.misfit, self.mass, self.tv = x.clone(), projector, misfit, mass, tv

    def step(self) -> torch.Tensor:
        """Take one step; returns the new volume."""
        x = self.x.requires_grad_()
        p = self.projector(x)
        loss = self.misfit.loss(p) + STRENGTH * total_variation(x, self.tv) / self.mass
        (slope,) = torch.autograd.grad(loss, x)
        with torch.no_grad():
            stiffness = self.projector.T(self.misfit.stiffness(p).contiguous())
            known = stiffness > 1e-6 * stiffness.max()  # elsewhere no ray passes, and nothing is learnt
            change = torch.where(known, x * slope / stiffness, torch.zeros_like(x))
            self.x = (x - change).clamp_(min=0)
        return self.x


def steps_worth(
    parts: Sequence[Polish], judge: Callable[[torch.Tensor], float], now: float, most: int
) -> tuple[int, float]:
    """Find after how many steps the misfit of unseen data is least.

    Parameters
    ----------
    parts : sequence of Polish
        Of the channels; moved.
    judge : callable
        Misfit of the unseen data of a whole volume.
    now : float
        That misfit before the first step.
    most : int
        Steps at most.

    Returns
    -------
    steps : int
        0 where nothing is gained.
    misfit : float
        After these steps.
    """
    best, least = 0, now
    for step in range(1, most + 1):
        misfit = judge(torch.cat([part.step() for part in parts]))
        if misfit < least:
            best, least = step, misfit
        if step - best >= PATIENCE:
            break
    return best, least
