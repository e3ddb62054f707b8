"""A tilt series to its misfit: Poisson, covariance-weighted, least-squares or L1, all per data point and without unit.

Every term is written for data in units in which the volume is about 1 (`Problem.unit` per channel), and every
quadratic or Poisson term is half the mean deviance times the relative noise of the series. Half the deviance alone
would make a fixed TV strength too weak at high dose and too strong at low dose: in total-variation denoising the best
weight against a plain square grows like the noise, hence against the square over the variance like one over the noise.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field

import torch

from napari_dipmtv.data import TiltSeries
from napari_dipmtv.errors import InputError, expected
from napari_dipmtv.tomo.problem import Problem

SLACK = 0.02  # of the mean variance


class DataMisfit(ABC):
    """A convex misfit of projections ``p`` (c, t, y, x): value for autograd, and proximal step for primal-dual."""

    @abstractmethod
    def loss(self, p: torch.Tensor) -> torch.Tensor:
        """Misfit, a scalar tensor."""

    def nats(self, p: torch.Tensor) -> float:
        """Negative log-likelihood of the data up to a constant; differences of it weigh one volume against another.

        Raises
        ------
        InputError
            For a misfit that knows nothing of the noise.
        """
        raise _no_noise("likelihood", self)

    def stiffness(self, p: torch.Tensor) -> torch.Tensor:
        """The curvature of the misfit at ``p``, or a bound of it, times ``p``; makes steps of the right length.

        Raises
        ------
        InputError
            For a misfit that knows nothing of the noise.
        """
        raise _no_noise("step length", self)

    @abstractmethod
    def prox(self, u: torch.Tensor, step: float) -> torch.Tensor:
        """``argmin_p loss(p) + |p - u|^2 / (2 step)``."""

    def dual_prox(self, v: torch.Tensor, sigma: float) -> torch.Tensor:
        """Proximal step of the convex conjugate, by Moreau's identity."""
        return v - sigma * self.prox(v / sigma, 1 / sigma)


@dataclass(frozen=True)
class Poisson(DataMisfit):
    """``mean(n log(n/m) - (n - m)) * weight`` for expected counts ``m = gain p`` and counted ``n``."""

    counts: torch.Tensor  # (c, t, y, x)
    gain: torch.Tensor  # (c, 1 or t, 1, 1) expected counts per unit of p
    valid: torch.Tensor  # (1, t, y, x) 0 or 1
    weight: float
    floor: float = 1e-3  # expected counts below this are treated as this, so that the log stays finite

    def loss(self, p: torch.Tensor) -> torch.Tensor:
        m = (self.gain * p).clamp(min=self.floor)
        # what a perfect fit would give
        saturated = torch.special.xlogy(self.counts, self.counts) - self.counts
        deviance = saturated + m - self.counts * m.log()
        mean: torch.Tensor = (self.valid * deviance).mean()
        return self.weight * mean

    def nats(self, p: torch.Tensor) -> float:
        return float(self.loss(p)) * self.counts.numel() / self.weight

    def stiffness(self, p: torch.Tensor) -> torch.Tensor:
        # of expectation maximisation: n / m^2 of the true curvature is replaced by 1 / m
        return (self.weight / self.counts.numel() * self.gain * self.valid).expand_as(p)

    def prox(self, u: torch.Tensor, step: float) -> torch.Tensor:
        # root of p^2 - (u - w g) p - w n = 0 with w = step * weight / size; u where the pixel is masked
        w = step * self.weight / self.counts.numel()
        b = u - w * self.gain
        p = 0.5 * (b + (b * b + 4 * w * self.counts).sqrt())
        return torch.where(self.valid > 0, p, u)


@dataclass(frozen=True)
class Gaussian(DataMisfit):
    """``mean(r' C^-1 r) / 2 * weight`` with the channel covariance ``C`` of every pixel."""

    target: torch.Tensor  # (c, t, y, x)
    precision: torch.Tensor  # (c, c, t, y, x), 0 where masked
    covariance: torch.Tensor  # (c, c, t, y, x)
    valid: torch.Tensor  # (1, t, y, x)
    weight: float
    shrinkages: dict[float, torch.Tensor] = field(default_factory=dict)

    def loss(self, p: torch.Tensor) -> torch.Tensor:
        r = p - self.target
        chi: torch.Tensor = torch.einsum("ctyx,cdtyx,dtyx->tyx", r, self.precision, r)
        return 0.5 * self.weight * chi.sum() / r.numel()

    def nats(self, p: torch.Tensor) -> float:
        return float(self.loss(p)) * self.target.numel() / self.weight

    def stiffness(self, p: torch.Tensor) -> torch.Tensor:
        # the row sums of |C^-1| bound its eigenvalues
        return self.weight / p.numel() * self.precision.abs().sum(dim=1) * p

    def prox(self, u: torch.Tensor, step: float) -> torch.Tensor:
        # p = y + C (C + w)^-1 (u - y) with w = step * weight / size
        w = step * self.weight / self.target.numel()
        p = self.target + torch.einsum("cdtyx,dtyx->ctyx", self._shrinkage(w), u - self.target)
        return torch.where(self.valid > 0, p, u)

    def _shrinkage(self, w: float) -> torch.Tensor:
        """``C (C + w)^-1`` of every pixel, kept for the next step, whose ``w`` will be the same; (c, c, t, y, x)."""
        if w not in self.shrinkages:
            self.shrinkages.clear()
            matrix = self.covariance.permute(2, 3, 4, 0, 1)
            eye = torch.eye(matrix.shape[-1], device=matrix.device, dtype=matrix.dtype)
            shrinkage = torch.linalg.solve(matrix + w * eye, matrix)  # both are symmetric and commute
            self.shrinkages[w] = shrinkage.permute(3, 4, 0, 1, 2).contiguous()
        return self.shrinkages[w]


@dataclass(frozen=True)
class L1(DataMisfit):
    """``mean |p - y| / span``, the published misfit of the EELS presets."""

    target: torch.Tensor
    valid: torch.Tensor
    span: float = 1.0  # what is 1 in the maps that the mean is taken of

    def loss(self, p: torch.Tensor) -> torch.Tensor:
        return (self.valid * (p - self.target).abs()).mean() / self.span

    def prox(self, u: torch.Tensor, step: float) -> torch.Tensor:
        r = u - self.target
        shrunk = r.sign() * (r.abs() - step / self.span / self.target.numel()).clamp(min=0)
        return torch.where(self.valid > 0, self.target + shrunk, u)


@dataclass(frozen=True)
class L2(DataMisfit):
    """``mean ((p - y) / span)^2``, the published misfit of the EDX presets."""

    target: torch.Tensor
    valid: torch.Tensor
    span: float = 1.0  # what is 1 in the maps that the mean is taken of

    def loss(self, p: torch.Tensor) -> torch.Tensor:
        return (self.valid * (p - self.target).square()).mean() / self.span**2

    def prox(self, u: torch.Tensor, step: float) -> torch.Tensor:
        w = 2 * step / self.span**2 / self.target.numel()
        return torch.where(self.valid > 0, (u + w * self.target) / (1 + w), u)


def _no_noise(what: str, misfit: DataMisfit) -> InputError:
    given = type(misfit).__name__
    return InputError(expected(what, "counts or a covariance", given, "Use the Poisson or covariance term"))


def data_kind(series: TiltSeries, kind: str) -> str:
    """Resolve "auto": Poisson for counts, the covariance where there is one, else least squares."""
    if kind != "auto":
        return kind
    if series.counts_per_unit is not None:
        return "poisson"
    return "covariance" if series.covariance is not None else "least-squares"


def data_misfit(
    problem: Problem, kind: str, series: TiltSeries | None = None, *, slack: float = SLACK
) -> DataMisfit:
    """Build the misfit of a problem in units of ``problem.unit``; "auto" follows what the series knows of its noise.

    Parameters
    ----------
    problem : Problem
    kind : str
        The data term of the settings.
    series : TiltSeries, optional
        A part of the dose of the problem's series, to be fitted in the units of the whole.
    slack : float
        Variance that is added to every channel of every pixel under a covariance, in units of the mean variance: for
        what the model cannot reproduce, and against pixels whose variance was estimated far too small.

    Raises
    ------
    InputError
        When the term needs statistics that the series does not carry.
    """
    series = problem.series if series is None else series
    kind = data_kind(series, kind)
    unit = problem.unit[:, None, None, None]
    target, span = torch.from_numpy(series.data).to(problem.device) / unit, 1.0
    if (
        problem.normalise == "maximum"
    ):  # the maps themselves are at most 1; beams are counted in widths of the field
        target, span = target.clamp(min=0), float(problem.projector.series_shape[2])
    if kind == "poisson":
        return _poisson(series, target, unit, problem.valid)
    if kind == "covariance":
        return _weighted(series, target, problem.unit, problem.valid, slack)
    if kind == "l1":
        return L1(target, problem.valid, span)
    if kind == "l2":
        return L2(target, problem.valid, span)
    return _least_squares(target, problem.valid)


def _poisson(series: TiltSeries, target: torch.Tensor, unit: torch.Tensor, valid: torch.Tensor) -> Poisson:
    if series.counts_per_unit is None:
        raise InputError(
            expected(
                "Poisson data term",
                "maps in counts",
                "maps without counts_per_unit",
                "Choose another data term",
            )
        )
    each = series.gain  # a number, or one per view where they differ in dose
    gain = unit * (each if isinstance(each, float | int) else torch.from_numpy(each).to(unit))
    counts = (target * gain).clamp(min=0)
    noise = float((counts.sum() / counts.square().sum().clamp(min=1e-12)).sqrt())
    return Poisson(counts, gain, valid, weight=noise)


def _weighted(
    series: TiltSeries, target: torch.Tensor, unit: torch.Tensor, valid: torch.Tensor, slack: float
) -> Gaussian:
    if series.covariance is None:
        raise InputError(
            expected(
                "covariance data term", "maps with a covariance", "maps without", "Choose another data term"
            )
        )
    scale = (unit[:, None] * unit[None, :])[..., None, None, None]
    covariance = torch.from_numpy(series.covariance).to(target.device) / scale
    variance = covariance.diagonal(dim1=0, dim2=1).permute(3, 0, 1, 2)  # (c, t, y, x)
    known = valid[0] * (variance > 0).all(dim=0)
    typical = (variance * known).sum() / (known.sum() * len(unit)).clamp(min=1)
    eye = torch.eye(len(unit), device=target.device)[..., None, None, None]
    covariance = torch.where(known > 0, covariance + slack * typical * eye, typical * eye)
    precision = torch.linalg.inv(covariance.permute(2, 3, 4, 0, 1)).permute(3, 4, 0, 1, 2) * known
    signal = (target.square() * known).sum() - (variance * known).sum()
    noise = float(((variance * known).sum() / signal.clamp(min=1e-12)).sqrt().clamp(max=2.0))
    return Gaussian(target, precision.contiguous(), covariance.contiguous(), known[None], weight=noise)


def _least_squares(target: torch.Tensor, valid: torch.Tensor) -> Gaussian:
    """Without statistics: one variance for all pixels, 1 % of the signal's mean square, i.e. 10 % noise."""
    power = float((target.square() * valid).mean())
    variance = 0.01 * max(power, 1e-12)
    eye = torch.eye(target.shape[0], device=target.device)[..., None, None, None].expand(
        -1, -1, *target.shape[1:]
    )
    return Gaussian(target, eye * valid[0] / variance, eye * variance, valid, weight=0.1)
