"""Ensembles, intervals and reliability against what is known."""

from __future__ import annotations

import numpy as np
import pytest

from napari_dipmtv.errors import GeometryError, InputError
from napari_dipmtv.states import run
from napari_dipmtv.trust.calibration import covered, reliability
from napari_dipmtv.trust.ensemble import ensemble
from napari_dipmtv.trust.held_out import held_out, without_view
from napari_dipmtv.trust.members import interval
from napari_dipmtv.trust.resample import noise_variance


def reconstructed(maker, series):
    *_, last = maker.states(series)
    return last.snapshot()


@pytest.fixture(scope="module")
def members(hollow, counted, maker):
    series = counted(hollow)
    volume = reconstructed(maker, series)
    return series, volume, list(ensemble(series, volume, maker, members=4))


def test_mean_and_spread_are_those_of_the_members(members, maker) -> None:
    states = members[2]
    last = states[-1].snapshot()
    assert last.members == 4
    assert last.std.data.max() > 0
    again = [s.snapshot() for s in states if s.iteration in (1, 2, 3) and "member" in s.stage]
    assert not again[0].std.data.any()
    third = 3 * again[2].mean.data - 2 * again[1].mean.data  # the third member from the running means
    squares = 2 * again[2].std.data ** 2 - again[1].std.data ** 2
    expected = (third - again[1].mean.data) ** 2 * 2 / 3
    assert np.allclose(squares, expected, atol=1e-2 * expected.max())


def test_spread_follows_the_noise(hollow, counted, maker) -> None:
    spreads = []
    for noise in (0.1, 0.3):
        series = counted(hollow, noise=noise)
        states = ensemble(series, reconstructed(maker, series), maker, members=3, resampling="bootstrap")
        found = run(states).value
        spreads.append(float(np.sqrt((found.std.data**2).mean())))
    assert spreads[1] > 1.5 * spreads[0]


def test_probabilities_of_all_phases_add_up_to_one(members) -> None:
    found = members[2][-1].snapshot()
    total = sum(found.probability.values())
    assert total == pytest.approx(np.ones_like(total))
    assert found.probability["vacuum"][0, 0, 0] == 1


def test_bootstrap_needs_statistics_and_differs_from_the_model(members, maker) -> None:
    series, volume, states = members
    other = run(ensemble(series, volume, maker, members=2, resampling="bootstrap")).value
    assert not np.allclose(other.mean.data, states[-1].snapshot().mean.data)
    with pytest.raises(InputError, match="counts or a covariance"):
        run(ensemble(series.replace(counts_per_unit=None), volume, maker, members=2, resampling="bootstrap"))


def test_an_interrupted_ensemble_goes_on_to_the_same_end(members, maker) -> None:
    series, volume, states = members
    middle = next(s for s in states if s.iteration == 3).checkpoint()
    *_, last = ensemble(series, volume, maker, members=4, resume=middle)
    whole = states[-1].snapshot()
    assert np.array_equal(last.snapshot().mean.data, whole.mean.data)
    assert last.snapshot().intervals == whole.intervals
    with pytest.raises(InputError, match="checkpoint"):
        next(
            ensemble(without_view(series, 0), volume.replace(data=volume.data[:, :-2]), maker, resume=middle)
        )


def test_intervals_hold_a_biased_gaussian_measure_as_often_as_stated() -> None:
    random = np.random.default_rng(0)
    hits = np.zeros(2)
    for _ in range(2000):
        truth, bias, sigma = 10.0, 2.0, 1.5
        value = truth + bias + sigma * random.normal()
        found = interval("volume", "nm³", value, value + bias + sigma * random.normal(size=12))
        hits += covered((found,), {"volume": truth})["volume"]
    assert hits[0] / 2000 == pytest.approx(0.68, abs=0.04)
    assert hits[1] / 2000 == pytest.approx(0.95, abs=0.02)


def test_reliability_of_true_and_of_overconfident_probabilities() -> None:
    random = np.random.default_rng(0)
    stated = random.random((30, 30, 30)).astype(np.float32)
    truth = random.random(stated.shape) < stated
    everywhere = np.ones(stated.shape, bool)
    assert reliability(stated, truth, everywhere).error < 0.02
    bold = np.where(stated > 0.5, 1.0, 0.0).astype(np.float32)
    assert reliability(bold, truth, everywhere).error == pytest.approx(0.25, abs=0.02)
    with pytest.raises(GeometryError, match="one shape"):
        reliability(stated, truth[1:], everywhere)


def test_held_out_error_is_near_the_noise_for_easy_data_and_worst_at_the_ends(hollow, counted, maker) -> None:
    series = counted(hollow, noise=0.1)
    found = run(held_out(series, maker)).value
    assert len(found.error) == 9
    assert found.noise == pytest.approx(np.full(9, 0.1), rel=0.25)
    assert found.error.min() > 0.8 * found.noise.min()
    assert max(found.error[0], found.error[-1]) > np.median(found.error)
    assert found.mean_error < 0.5


def test_held_out_goes_on_where_it_was_and_refuses_three_views(hollow, counted, maker) -> None:
    series = counted(hollow)
    states = list(held_out(series, maker))
    middle = next(s for s in states if s.iteration == 4)
    *_, last = held_out(series, maker, resume=middle.checkpoint())
    assert np.array_equal(last.snapshot().error, states[-1].snapshot().error)
    few = series
    while len(few.tilts_deg) > 3:
        few = without_view(few, 0)
    with pytest.raises(InputError, match="4 views"):
        next(held_out(few, maker))
    assert noise_variance(few).shape == few.data.shape


def test_planted_members_take_the_bias_of_blurred_layers_off(hollow, counted, maker) -> None:
    """SIRT of 26 voxels makes the skin half again as thick; the estimate of the object does not."""
    truth = {"FeO core volume": 0.0, "Fe3O4 shell volume": 0.0, "FeO skin volume": 0.0}
    sizes = hollow.metadata["true"]
    truth = {name: sizes[name] for name in truth}
    series = counted(hollow, noise=0.15)
    found = run(ensemble(series, reconstructed(maker, series), maker, members=5)).value
    known = {one.name: one for one in found.intervals}
    for name, true in truth.items():
        one = known[name]
        assert abs(one.mean / true - 1) < 0.15
        assert one.low95 < one.low68 < one.mean < one.high68 < one.high95
    raw = np.mean([abs(known[n].value / t - 1) for n, t in truth.items()])
    best = np.mean([abs(known[n].mean / t - 1) for n, t in truth.items()])
    assert best < 0.6 * raw
