"""Polishing: steps that follow the data, and how many of them unseen data ask for."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from particles import counted, error
from scipy import ndimage

from napari_dipmtv.data import TiltSeries, Volume
from napari_dipmtv.errors import InputError
from napari_dipmtv.settings.tomo import DipSettings
from napari_dipmtv.tomo import polish
from napari_dipmtv.tomo.data_term import data_misfit
from napari_dipmtv.tomo.polish import Polish, steps_worth
from napari_dipmtv.tomo.problem import Problem, pose
from napari_dipmtv.tomo.reconstruct import reconstruct
from napari_dipmtv.tomo.thinning import thin

CPU = torch.device("cpu")
SMALL = DipSettings(iterations=12, filters=(8, 16), skips=(0, 0), cavities=False)


def blurred(truth: Volume, problem: Problem) -> torch.Tensor:
    """The truth as a network that is not finished draws it, in units of the problem."""
    soft = ndimage.gaussian_filter(truth.data, (0, 1, 1, 1))
    return torch.from_numpy(soft) / problem.unit[:, None, None, None]


def correlated(series: TiltSeries) -> TiltSeries:
    """The same maps with the covariance of an unmixing instead of counts."""
    pattern = np.array([[1.0, -0.9], [-0.9, 1.0]]) * (0.05 * series.data.mean()) ** 2
    covariance = np.broadcast_to(pattern[..., None, None, None], (2, *series.data.shape)).astype(np.float32)
    return series.replace(covariance=covariance, counts_per_unit=None)


def test_without_variation_a_step_on_counts_is_one_of_expectation_maximisation(
    truth: Volume, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(polish, "STRENGTH", 0.0)
    problem = pose(counted(truth, 20.0), CPU)
    x, A = blurred(truth, problem), problem.projector
    y = torch.from_numpy(problem.series.data) / problem.unit[:, None, None, None]
    expectation = x * A.T(y / A(x).clamp(min=1e-12)) / A.T(torch.ones_like(y))
    step = Polish(x, A, data_misfit(problem, "poisson"), problem.mass, "vectorial").step()
    seen = A.T(torch.ones_like(y)) > 0.5
    torch.testing.assert_close(step[seen], expectation[seen], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("term", ["poisson", "covariance"])
def test_every_step_lowers_the_misfit_and_vacuum_stays_vacuum(truth: Volume, term: str) -> None:
    series = counted(truth, 1e4)
    problem = pose(correlated(series) if term == "covariance" else series, CPU)
    x, misfit = blurred(truth, problem), data_misfit(problem, term)
    vacuum = x == 0
    assert vacuum.any()
    part = Polish(x, problem.projector, misfit, problem.mass, "vectorial")
    losses = [float(misfit.loss(problem.projector(part.step()))) for _ in range(12)]
    assert all(after < before for before, after in pairwise(losses))
    assert not part.x[vacuum].any()


@pytest.mark.parametrize(("counts_per_unit", "worth"), [(1e4, True), (0.05, False)])
def test_unseen_data_ask_for_steps_at_little_noise_only(
    truth: Volume, counts_per_unit: float, worth: bool
) -> None:
    problem = pose(counted(truth, counts_per_unit), CPU)
    seen, unseen = thin(problem.series, 0.9, np.random.default_rng(0))
    held_out = data_misfit(problem, "auto", unseen)

    def judge(x: torch.Tensor) -> float:
        return float(held_out.loss(problem.projector(x)))

    def begun() -> Polish:
        return Polish(x, problem.projector, data_misfit(problem, "auto", seen), problem.mass, "vectorial")

    x = blurred(truth, problem)
    steps, misfit = steps_worth([begun()], judge, judge(x), 60)
    part = begun()
    for _ in range(steps):
        part.step()
    assert (steps > 5) is worth
    assert misfit == pytest.approx(judge(part.x), rel=1e-5)
    if worth:
        assert error(problem.volume(part.x), truth) < 0.7 * error(problem.volume(x), truth)


def test_maps_of_little_noise_are_followed_beyond_what_the_network_draws(truth: Volume) -> None:
    series = counted(truth, 1e4)
    ways = {steps: reconstruct(series, "dipm-tv", SMALL.replace(polish=steps)) for steps in (0, 200)}
    errors = {steps: error(result.volume, truth) for steps, result in ways.items()}
    assert errors[200] < 0.8 * errors[0]
    assert ways[200].residual < ways[0].residual


def test_maps_without_statistics_cannot_be_polished(truth: Volume) -> None:
    problem = pose(counted(truth, 20.0), CPU)
    part = Polish(
        blurred(truth, problem), problem.projector, data_misfit(problem, "l1"), problem.mass, "vectorial"
    )
    with pytest.raises(InputError, match="counts or a covariance"):
        part.step()
