"""The likelihood test for enclosed cavities: those that are there are found, noise alone gives none."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from particles import counted, particle

from napari_dipmtv.data import Volume
from napari_dipmtv.errors import InputError
from napari_dipmtv.settings.tomo import DipSettings
from napari_dipmtv.tomo import cavities
from napari_dipmtv.tomo.cavities import EVIDENCE, Cavity, ball, find_cavities, openings
from napari_dipmtv.tomo.data_term import data_misfit
from napari_dipmtv.tomo.dip_tv import dip_tv
from napari_dipmtv.tomo.problem import pose

CPU = torch.device("cpu")
one_ball = cavities._best
PLANTED = Cavity((12, 11, 13), 2.5, 0)


def with_void(volume: Volume, cavity: Cavity = PLANTED) -> Volume:
    """The volume with an empty ball."""
    return volume.replace(data=volume.data * (1 - ball(cavity, volume.data.shape[1:]).numpy()))


def found_in(seen: Volume, drawn: Volume, counts_per_unit: float, seed: int = 0) -> tuple[Cavity, ...]:
    """Cavities that the counts of one volume demand in another."""
    problem = pose(counted(seen, counts_per_unit, seed), CPU)
    x = torch.from_numpy(drawn.data) / problem.unit[:, None, None, None]
    return find_cavities(x, problem.projector, data_misfit(problem, "poisson"))


def test_a_ball_has_the_volume_of_a_ball() -> None:
    share = ball(Cavity((10, 10, 10), 4.0, 0), (21, 21, 21))
    assert float(share.sum()) == pytest.approx(4 / 3 * np.pi * 4**3, rel=0.05)
    assert (float(share[10, 10, 10]), float(share[10, 10, 14]), float(share[10, 10, 15])) == (1, 0.5, 0)


def test_openings_are_the_balls_and_a_little_around_them() -> None:
    pair = (Cavity((6, 6, 6), 2.0, 0), Cavity((14, 14, 14), 3.0, 0))
    share = openings(pair, (21, 21, 21))
    assert float(share[6, 6, 6]) == float(share[14, 14, 14]) == 1
    assert float(share[6, 6, 10]) == pytest.approx(0.05 * 0.5)
    assert float(share[6, 14, 14]) == 0
    assert float(share.max()) == 1


def test_a_planted_void_is_found_where_it_is() -> None:
    whole = particle(24)
    first, *others = found_in(with_void(whole), whole, 4.0)
    assert np.linalg.norm(np.subtract(first.centre_px, PLANTED.centre_px)) < 1.5
    assert first.radius_px == pytest.approx(PLANTED.radius_px, abs=1)
    assert first.evidence > 2 * EVIDENCE
    assert not others


def test_what_a_wrong_volume_gains_by_any_change_is_no_cavity(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thin place beside a dense one, drawn flat: to double a ball gains more than to empty one."""
    drawn = particle(24)
    thin, dense = (ball(Cavity((12, 11, x), 2.5, 0), (24, 24, 24)).numpy() for x in (8, 15))
    uneven = drawn.replace(data=drawn.data * (1 - 0.65 * thin + dense))
    assert not found_in(uneven, drawn, 4.0)
    assert found_in(with_void(drawn), drawn, 4.0)
    monkeypatch.setattr(
        cavities, "_best", lambda *given, factor: one_ball(*given, factor=0) if not factor else None
    )
    assert found_in(uneven, drawn, 4.0)


def test_the_evidence_is_the_likelihood_ratio() -> None:
    """Against Poisson probabilities computed on their own."""
    from scipy.stats import poisson

    whole = particle(24)
    (cavity, *_) = found_in(with_void(whole), whole, 4.0)
    series = counted(with_void(whole), 4.0)
    project = pose(series, CPU).projector
    emptied = whole.data * (1 - ball(cavity, (24, 24, 24)).numpy())
    filled, empty = (
        poisson.logpmf(np.rint(series.data * 4), np.maximum(4 * project(torch.from_numpy(x)).numpy(), 1e-3))
        for x in (whole.data, emptied.astype(np.float32))
    )
    assert cavity.evidence == pytest.approx(float((empty - filled).sum()), rel=0.02)


def test_two_voids_are_found_one_after_the_other() -> None:
    whole = particle(32)
    pair = (Cavity((16, 10, 16), 2.5, 0), Cavity((16, 22, 15), 2.5, 0))
    found = found_in(with_void(with_void(whole, pair[0]), pair[1]), whole, 6.0)
    assert len(found) == 2
    for true in pair:
        assert min(np.linalg.norm(np.subtract(c.centre_px, true.centre_px)) for c in found) < 1.5


@pytest.mark.parametrize("counts_per_unit", [0.5, 4.0])
def test_noise_alone_gives_no_cavity(counts_per_unit: float) -> None:
    whole = particle(24)
    assert not any(found_in(whole, whole, counts_per_unit, seed) for seed in range(20))


def test_a_void_that_too_few_counts_speak_for_stays_shut() -> None:
    whole = particle(24)
    assert not found_in(with_void(whole), whole, 0.02)


def test_a_misfit_without_noise_has_no_evidence() -> None:
    problem = pose(counted(particle(24), 4.0), CPU)
    with pytest.raises(InputError, match="likelihood"):
        data_misfit(problem, "l2").nats(torch.zeros(problem.series.data.shape))


def test_separate_networks_open_the_cavity_of_all_channels() -> None:
    """DIP-TV: one test for all networks; its shape is fitted in each, and the run says what was found."""
    truth = with_void(particle(24))
    settings = DipSettings(iterations=64, filters=(8, 16, 16), average=0.5, held_out=0, precision="float32")
    problem = pose(counted(truth, 20.0), CPU)
    inside = ball(PLANTED, (24, 24, 24)).numpy() == 1
    depth = []
    for opened in (True, False):
        *_, last = dip_tv(problem, settings.replace(cavities=opened))
        depth.append(float(last.snapshot().data.sum(axis=0)[inside].mean()))
        assert ("cavity 1" in last.stage) == opened
    assert depth[0] < 0.75 * depth[1]
