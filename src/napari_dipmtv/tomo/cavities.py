"""A filled volume and the data to the enclosed cavities that the data demand, each with its likelihood ratio.

A network that has learnt to draw whole particles fills a small void long after the data have spoken against it: the
void is a few counts in a few pixels of every view, which the steps of the fit drown, although all views together leave
no doubt. So the question is put directly: by how much does the likelihood of all data change when a ball of this radius
at this place is emptied? Noise alone would have to be lucky at one of some thousand places; the threshold allows for
that.

A volume that is wrong elsewhere gains likelihood by any change that happens to mend something. How much, the same
search tells when it *doubles* the density of balls instead, which matter cannot do: the control. A cavity must gain
more than that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from napari_dipmtv.data import F32
from napari_dipmtv.projection.projector import Projector
from napari_dipmtv.tomo.data_term import DataMisfit

RADII_PX = (1.5, 2.0, 2.5, 3.0, 3.5, 4.5, 6.0, 8.0)
EVIDENCE = (
    16.0  # nats: ln(1e4 places / 0.001); a volume is changed, so chance may do that once in a thousand data
)
# sets. `napari_dipmtv.trust.result.LEAST_NATS` is the same for a claim that may be wrong once in twenty.
CANDIDATES = 12  # per radius, the best by the linear estimate


@dataclass(frozen=True, slots=True)
class Cavity:
    """An enclosed ball that the data want empty.

    Attributes
    ----------
    centre_px : (z, y, x)
    radius_px : float
    evidence : float
        Natural logarithm of the likelihood ratio, empty over filled.
    """

    centre_px: tuple[float, float, float]
    radius_px: float
    evidence: float


def find_cavities(x: torch.Tensor, projector: Projector, misfit: DataMisfit) -> tuple[Cavity, ...]:
    """Empty enclosed balls of several radii, one after the other, while the likelihood of the data gains enough.

    Enough is `EVIDENCE`, and what a ball of doubled density gains in the same volume.

    Parameters
    ----------
    x : tensor (c, z, y, x)
        In the units of the misfit.
    projector : Projector
    misfit : DataMisfit
        Poisson or covariance; `DataMisfit.nats` must be known.

    Returns
    -------
    tuple of Cavity
        In the order in which they were found, the surest first.
    """
    found: list[Cavity] = []
    x, needed = x.clone(), EVIDENCE
    while True:
        best = _best(x, projector, misfit, factor=0)
        if best is None or best.evidence < needed:
            return tuple(found)
        if not found:
            control = _best(x, projector, misfit, factor=2)
            needed = max(needed, 0.0 if control is None else control.evidence)
            if best.evidence < needed:
                return ()
        found.append(best)
        x = x * (1 - ball(best, x.shape[1:]).to(x.device))


def ball(cavity: Cavity, shape: Sequence[int]) -> torch.Tensor:
    """1 inside the cavity, 0 outside, a linear edge of one voxel between; (z, y, x)."""
    axes = [
        torch.arange(n, dtype=torch.float32) - centre
        for n, centre in zip(shape, cavity.centre_px, strict=True)
    ]
    z, y, x = torch.meshgrid(*axes, indexing="ij")
    distance = (z * z + y * y + x * x).sqrt()
    return (cavity.radius_px + 0.5 - distance).clamp(0, 1)


def openings(cavities: Sequence[Cavity], shape: Sequence[int]) -> torch.Tensor:
    """Share of each voxel to take out: the balls, and a little of what lies within two voxels; (z, y, x)."""
    share = torch.zeros(tuple(shape))
    for cavity in cavities:
        around = ball(replace(cavity, radius_px=cavity.radius_px + 2), shape)
        share = torch.maximum(share, torch.maximum(ball(cavity, shape), 0.05 * around))
    return share


def _best(x: torch.Tensor, projector: Projector, misfit: DataMisfit, *, factor: int) -> Cavity | None:
    """The ball that gains most when its density is multiplied by the factor (0 empties it).

    The most promising places, by the slope of the likelihood, are judged by the likelihood itself.
    """
    p, change = projector(x), factor - 1
    before = misfit.nats(p)
    gain = -change * _gain_per_voxel(x, p, projector, misfit)
    depth = _depth(x)

    def weighed(cavity: Cavity) -> Cavity:
        inside = x * ball(cavity, x.shape[1:]).to(x.device)
        return replace(cavity, evidence=before - misfit.nats(p + change * projector(inside)))

    trials = [
        weighed(Cavity(centre, radius, 0.0))
        for radius in RADII_PX
        for centre in _promising(gain, depth, radius)
    ]
    best = max(trials, key=lambda cavity: cavity.evidence, default=None)
    return None if best is None else _settled(best, weighed)


def _settled(cavity: Cavity, weighed: Callable[[Cavity], Cavity]) -> Cavity:
    """Move and resize the cavity by half voxels while that gains evidence."""
    while True:
        better = max((weighed(trial) for trial in _neighbours(cavity)), key=lambda trial: trial.evidence)
        if better.evidence <= cavity.evidence:
            return cavity
        cavity = better


def _neighbours(cavity: Cavity) -> Iterator[Cavity]:
    z, y, x = cavity.centre_px
    for step in (-0.5, 0.5):
        yield replace(cavity, centre_px=(z + step, y, x))
        yield replace(cavity, centre_px=(z, y + step, x))
        yield replace(cavity, centre_px=(z, y, x + step))
        yield replace(cavity, radius_px=max(cavity.radius_px + step, 1.0))


def _gain_per_voxel(x: torch.Tensor, p: torch.Tensor, projector: Projector, misfit: DataMisfit) -> F32:
    """First-order gain in nats of emptying each voxel, all channels together; (z, y, x)."""
    seen = p.detach().requires_grad_()
    (slope,) = torch.autograd.grad(misfit.loss(seen), seen)
    scale = misfit.nats(p) / max(float(misfit.loss(p)), 1e-30)
    gain: F32 = (projector.T(slope.contiguous()) * x).sum(dim=0).mul(scale).cpu().numpy()
    return gain


def _depth(x: torch.Tensor) -> NDArray[np.float64]:
    """Distance of each voxel of matter from the surface of the particle, in voxels; 0 in vacuum."""
    from scipy import ndimage

    total = x.sum(dim=0).cpu().numpy()
    level = 0.5 * float(np.median(total[total > 0.3 * total.max()])) if total.max() > 0 else 0.0
    return np.asarray(ndimage.distance_transform_edt(np.pad(total > level, 1))[1:-1, 1:-1, 1:-1])


def _promising(gain: F32, depth: NDArray[np.float64], radius: float) -> list[tuple[int, int, int]]:
    """Centres of enclosed balls at local maxima of the linear gain, best first."""
    from scipy import ndimage, signal

    n = int(np.ceil(radius + 0.5))
    z, y, x = np.mgrid[-n : n + 1, -n : n + 1, -n : n + 1]
    kernel = np.clip(radius + 0.5 - np.sqrt(z * z + y * y + x * x), 0, 1)
    summed = signal.fftconvolve(gain, kernel, mode="same")
    enclosed = depth > radius + 1.5
    peaks = enclosed & (summed > 0) & (summed == ndimage.maximum_filter(summed, 3))
    places = np.argwhere(peaks)
    order = np.argsort(-summed[peaks])[:CANDIDATES]
    return [(int(a), int(b), int(c)) for a, b, c in places[order]]
