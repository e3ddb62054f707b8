"""The likelihood of a void: exact ratios, what chance gives, what is found, and the words for it."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.stats import poisson

from napari_dipmtv.errors import InputError
from napari_dipmtv.states import run
from napari_dipmtv.tomo.data_term import data_misfit
from napari_dipmtv.tomo.problem import pose
from napari_dipmtv.trust import scan as scan_module
from napari_dipmtv.trust.cavity_test import _sizes, cavity_test, without_void
from napari_dipmtv.trust.resample import generator, measured_again, projections
from napari_dipmtv.trust.result import CavityTest, NullTest, TrustReport, refit_level
from napari_dipmtv.trust.scan import CavityScan
from napari_dipmtv.trust.words import answers, cavity_text, report_text, which_counts


def emptied(volume, centre, radius: float):
    """The volume without a ball with an edge of one voxel."""
    apart = np.linalg.norm(np.moveaxis(np.indices(volume.data.shape[1:]), 0, -1) - centre, axis=-1)
    share = np.clip(radius + 0.5 - apart, 0, 1).astype(np.float32)
    return volume.replace(data=volume.data * (1 - share))


@pytest.fixture
def without_drift(monkeypatch):
    """Leave the fitted errors out: each then has no room."""
    monkeypatch.setattr(scan_module, "_errors", lambda density: (0 * density,))


def test_evidence_is_the_poisson_likelihood_ratio(solid, counted, without_drift) -> None:
    series = counted(solid)
    scan = CavityScan(solid, series, (2.5,))
    at = len(scan.centres) // 3
    full, empty = (
        projections(v, series) * series.counts_per_unit
        for v in (solid, emptied(solid, scan.centres[at], 2.5))
    )
    counts = np.rint(series.data * series.counts_per_unit)
    inside = full > 1e-3  # elsewhere the two agree
    wanted = (poisson.logpmf(counts, empty) - poisson.logpmf(counts, full))[inside].sum()
    assert scan.evidence(series.data[None])[at, 0] == pytest.approx(wanted, abs=0.02)


def test_evidence_is_the_gaussian_likelihood_ratio(solid, counted, without_drift) -> None:
    variance = 400.0
    spread = np.zeros((2, 2, *counted(solid).data.shape[1:]), np.float32)
    spread[0, 0] = spread[1, 1] = variance
    spread[0, 1] = spread[1, 0] = -0.5 * variance
    series = counted(solid).replace(counts_per_unit=None, covariance=spread)
    scan = CavityScan(solid, series, (2.5,))
    at = len(scan.centres) // 2
    problem = pose(series, torch.device("cpu"))
    misfit = data_misfit(problem, "covariance")
    unit = problem.unit[:, None, None, None]

    def nats(volume) -> float:
        return misfit.nats(problem.projector(torch.from_numpy(volume.data) / unit))

    wanted = nats(solid) - nats(emptied(solid, scan.centres[at], 2.5))
    assert scan.evidence(series.data[None])[at, 0] == pytest.approx(wanted, rel=1e-3, abs=0.05)


def test_a_density_that_is_a_little_wrong_makes_no_void(solid, counted) -> None:
    series = counted(solid, noise=0.1)
    dense = solid.replace(data=solid.data * 1.15)
    assert CavityScan(dense, series).best(series.data).evidence < 8


def test_masked_pixels_say_nothing(solid, counted) -> None:
    series = counted(solid)
    valid = np.ones(series.data.shape[1:], bool)
    valid[3] = False
    wrong = series.data.copy()
    wrong[:, 3] *= 5
    masked = CavityScan(solid, series.replace(valid=valid), (2.5,))
    assert masked.evidence(wrong[None]) == pytest.approx(masked.evidence(series.data[None]))


def test_the_ball_is_found_where_it_is(hollow, solid, counted) -> None:
    series = counted(hollow)
    best = CavityScan(solid, series).best(series.data)
    assert best.evidence > 30
    assert best.radius_px == pytest.approx(2.2, abs=0.6)
    assert np.abs(np.array(best.centre_px) - 12.5).max() <= 1.0


def test_a_true_void_is_demanded_and_none_is_not(hollow, solid, counted, maker) -> None:
    found = []
    for volume in (hollow, solid):
        series = counted(volume, seed=2)
        *_, last = maker.states(series)
        states = cavity_test(series, last.snapshot(), maker, repeats=100, planted=10, refits=3)
        found.append(run(states).value)
    assert found[0].exceeds
    assert found[0].evidence > found[0].null.max() + 10
    assert found[0].apart_nm < 2
    assert not found[1].exceeds
    assert np.isnan(found[1].apart_nm)
    assert found[0].found[-1] == 10
    assert found[0].found[0] < found[0].found[-1]
    assert 2 < found[0].smallest_nm < 6
    assert len(found[0].refitted) == 3


def test_chance_takes_its_share(solid, counted) -> None:
    """Where the volume is known, p is below 0.1 in about a tenth of the measurements."""
    clean, series = projections(solid, counted(solid)), counted(solid)
    scan = CavityScan(solid, series)

    def best(place: int, count: int):
        drawn = [
            measured_again(clean, series, generator(3, place, i), series.data).data for i in range(count)
        ]
        return scan.evidence(np.stack(drawn)).max(axis=0)

    level = np.quantile(best(0, 200), 0.9)
    assert 0.03 < (best(1, 200) > level).mean() < 0.2


def test_an_interrupted_test_keeps_its_refits(hollow, counted, maker) -> None:
    series = counted(hollow)
    *_, last = maker.states(series)
    volume = last.snapshot()
    states = list(cavity_test(series, volume, maker, repeats=30, planted=10, refits=2))
    middle = next(state for state in states if state.iteration == 1)
    *_, end = cavity_test(series, volume, maker, repeats=30, planted=10, refits=2, resume=middle.checkpoint())
    assert np.array_equal(end.snapshot().refitted, states[-1].snapshot().refitted)
    assert np.array_equal(end.snapshot().null, states[-1].snapshot().null)


def test_the_particle_without_its_void_is_full_and_still_explains_the_rest(hollow, solid, counted) -> None:
    series = counted(hollow, noise=0.1)
    filled, centre = without_void(series, hollow, None)
    assert centre == pytest.approx([12.5] * 3, abs=0.3)
    assert filled.data.sum(axis=0)[12:14, 12:14, 12:14].min() > 40  # FeO holds 48 per nm³
    same, nowhere = without_void(counted(solid, noise=0.1), solid, None)
    assert nowhere is None
    assert np.linalg.norm(same.data - solid.data) < 0.3 * np.linalg.norm(solid.data)


def test_maps_without_statistics_are_refused(solid, counted) -> None:
    with pytest.raises(InputError, match="counts or a covariance"):
        CavityScan(solid, counted(solid).replace(counts_per_unit=None))


def test_a_particle_too_small_for_a_void_is_told_what_to_do() -> None:
    with pytest.raises(InputError, match=r"more than 7 voxels thick: bin the maps less.*--feature skin"):
        _sizes(SimpleNamespace(depth=np.array([2.2])))  # type: ignore[arg-type]


def a_test() -> CavityTest:
    """Of a void that the data demand."""
    sizes = np.array([2.0, 4.0])
    return CavityTest(
        evidence=28.0,
        size_nm=5.0,
        apart_nm=0.4,
        null=np.linspace(0, 5, 99),
        refitted=np.array([9.7, 3.0]),
        method="sirt",
        level=12.0,
        sizes_nm=sizes,
        tried=np.array([50.0, 50.0]),
        found=np.array([3.0, 50.0]),
        smallest_nm=3.5,
        low_nm=2.6,
        high_nm=3.9,
    )


def test_words_say_what_was_assumed() -> None:
    found = a_test()
    text = cavity_text(found)
    assert "The data demand a void: 28.0 nats" in text
    assert "p = 0.01, taking the particle without it as known" in text
    assert "at most 9.7 nats: p = 0.33" in text
    assert "4 nm 100 %" in text
    assert "do not demand" in cavity_text(
        dataclasses.replace(found, evidence=9.0)
    )  # above chance, below a refit
    assert "not known" in cavity_text(dataclasses.replace(found, refitted=np.zeros(0)))


def test_where_repeats_and_likelihood_disagree_one_sentence_says_which_counts() -> None:
    weak = NullTest("void", 5.0, 0.1, "", np.zeros(19), np.linspace(0, 0.2, 19), 3, "sirt")
    strong = dataclasses.replace(weak, observed=0.5)
    both = TrustReport(("FeO",), 1.0, (0.0, 30.0), "dipm-tv", "sirt", "poisson", null=weak, cavity=a_test())
    said = which_counts(both)
    assert said.startswith("The likelihood counts, and it says yes")
    assert "a picture by sirt" in said
    assert said in report_text(both)
    assert (None, said) in answers(both)
    nothing = dataclasses.replace(a_test(), evidence=9.0)
    denied = which_counts(dataclasses.replace(both, null=strong, cavity=nothing))
    assert "it says no" in denied
    assert "do not claim the void" in denied
    assert which_counts(dataclasses.replace(both, null=strong)) == ""  # they agree
    assert which_counts(dataclasses.replace(both, cavity=None)) == ""
    assert which_counts(dataclasses.replace(both, null=dataclasses.replace(weak, feature="skin"))) == ""
    elsewhere = dataclasses.replace(both, cavity=dataclasses.replace(a_test(), apart_nm=9.0))
    assert "9 nm apart" in which_counts(elsewhere)


def test_hardly_another_refit_reaches_the_level() -> None:
    random = np.random.default_rng(0)
    above = [
        np.mean(random.gumbel(5, 2, 200) > refit_level(random.gumbel(5, 2, 9))) for _ in range(300)
    ]  # the best of many places
    assert 0.005 < np.mean(above) < 0.05
    assert refit_level(np.zeros(0)) == -np.inf
    assert refit_level(np.array([3.0, 9.7])) == 9.7
