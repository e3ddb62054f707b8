"""A series and several TV strengths to a table that says which one suits, without or with a known truth."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from napari_dipmtv.data import Volume
from napari_dipmtv.errors import InputError, expected
from napari_dipmtv.settings.tomo import CsTvSettings
from napari_dipmtv.states import State
from napari_dipmtv.tomo.cs_tv import cs_tv
from napari_dipmtv.tomo.data_term import Gaussian, Poisson, data_kind, data_misfit
from napari_dipmtv.tomo.problem import Problem, pose
from napari_dipmtv.tomo.thinning import thin


@dataclass(frozen=True, slots=True)
class Score:
    """How one strength did.

    Attributes
    ----------
    strength : float
    iterations : int
        Steps until the gap was closed, or all that the settings allow.
    gap : float
        Relative duality gap in the end.
    deviance : float or None
        Mean deviance per datum of the part that was held back; about 1 for the truth where counts are not few. None
        when only the truth judged.
    error : float or None
        ``|x - truth| / |truth|``, where the truth was given.
    """

    strength: float
    iterations: int
    gap: float
    deviance: float | None
    error: float | None


@dataclass(frozen=True, slots=True)
class StrengthTable:
    """Scores in the order of the strengths asked for."""

    scores: tuple[Score, ...]

    @property
    def best(self) -> Score:
        """The least error where the truth is known, else the least deviance."""
        if not self.scores:
            raise InputError(expected("strength table", "a score", "none yet", "Wait for the first one"))
        return min(self.scores, key=lambda s: s.deviance if s.error is None else s.error)  # type: ignore[arg-type, return-value]

    def __str__(self) -> str:
        """Give a Markdown table."""
        lines = [
            "| strength | iterations | gap | held-out deviance | error |",
            "| --- | --- | --- | --- | --- |",
        ]
        for s in self.scores:
            judged = ["" if v is None else f"{v:.4f}" for v in (s.deviance, s.error)]
            lines.append(f"| {s.strength:g} | {s.iterations} | {s.gap:.1e} | {judged[0]} | {judged[1]} |")
        return "\n".join(lines)


def cs_tv_sweep(
    problem: Problem,
    strengths: Sequence[float],
    settings: CsTvSettings | None = None,
    *,
    truth: Volume | None = None,
    share: float = 0.8,
    seed: int = 0,
) -> Iterator[State[StrengthTable]]:
    """Run CS-TV with several strengths on a part of the dose, and judge each by the part that it never saw.

    A fit that is too weak follows noise that the held-back part does not have, one that is too strong misses signal
    that it has: the deviance is least in between. The strength has no unit, so the best one for ``share`` of the dose
    is taken over to the whole.

    Parameters
    ----------
    problem : Problem
        With counts or a covariance; maps without statistics can only be judged by a truth.
    strengths : sequence of float
    settings : CsTvSettings, optional
        All but ``tv_strength``.
    truth : Volume, optional
        Judges as well; then maps without statistics are fitted as they are.
    share : float
        Part of the dose that is fitted.
    seed : int
        Of the split.

    Yields
    ------
    State of StrengthTable
        One per strength, with losses "deviance" and "error" where they are known.

    Raises
    ------
    InputError
        For no strengths, or maps without statistics and without truth.
    """
    if not strengths:
        raise InputError(expected("strengths", "at least one", "none", "Try 0.02, 0.05, 0.12, 0.3"))
    settings = settings or CsTvSettings()
    fitted, judge = _parts(problem, settings, truth, share, seed)
    scores: list[Score] = []
    for number, strength in enumerate(strengths, start=1):
        (state,) = deque(cs_tv(fitted, settings.replace(tv_strength=strength)), maxlen=1)  # the last one
        volume = state.snapshot()
        error = None if truth is None else _distance(volume, truth)
        deviance = None if judge is None else judge(volume)
        scores.append(Score(strength, state.iteration, state.losses["gap"], deviance, error))
        losses = {"deviance": deviance, "error": error}
        yield State(
            number,
            len(strengths),
            {name: value for name, value in losses.items() if value is not None},
            lambda found=tuple(scores): StrengthTable(found),  # type: ignore[misc]
            stage=f"CS-TV, strength {strength:g}",
        )


class _HeldBack:
    """Data that were not fitted, as a judge of volumes."""

    def __init__(self, problem: Problem, kind: str) -> None:
        misfit = data_misfit(problem, kind)
        assert isinstance(misfit, Poisson | Gaussian)  # CS-TV has no other
        self.problem, self.misfit = problem, replace(misfit, weight=2.0)  # a loss is half a deviance

    def __call__(self, volume: Volume) -> float:
        """Mean deviance per datum of the projections of a volume."""
        x = torch.from_numpy(volume.data).to(self.problem.device) / self.problem.unit[:, None, None, None]
        return float(self.misfit.loss(self.problem.projector(x)))


def _parts(
    problem: Problem, settings: CsTvSettings, truth: Volume | None, share: float, seed: int
) -> tuple[Problem, _HeldBack | None]:
    kind = data_kind(problem.series, settings.data_term)
    if kind == "least-squares":
        if truth is None:
            raise InputError(
                expected(
                    "maps", "counts or a covariance", "no statistics", "Give the truth, or load raw counts"
                )
            )
        return problem, None
    fit, held = thin(problem.series, share, np.random.default_rng(seed))
    judge = pose(held, problem.device, problem.projector)
    return pose(fit, problem.device, problem.projector), _HeldBack(judge, kind)


def _distance(volume: Volume, truth: Volume) -> float:
    if volume.data.shape != truth.data.shape:
        raise InputError(
            expected("truth", f"shape {volume.data.shape}", truth.data.shape, "Give the truth of this series")
        )
    return float(np.linalg.norm(volume.data - truth.data) / np.linalg.norm(truth.data))
