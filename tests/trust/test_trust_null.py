"""Null test, detection curve and logistic fit on particles whose void is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from napari_dipmtv.errors import InputError
from napari_dipmtv.inspect import segment
from napari_dipmtv.settings.inspect import SegmentSettings
from napari_dipmtv.states import run
from napari_dipmtv.trust.logistic import detection_curve
from napari_dipmtv.trust.null_test import detection, null_test
from napari_dipmtv.trust.skin import find_skin
from napari_dipmtv.trust.void import find_void

LOOSE = SegmentSettings(smallest_void_voxels=4)
SIZES = (1.5, 3.0, 5.0)


def reconstructed(maker, series):
    *_, last = maker.states(series)
    return last.snapshot()


@pytest.fixture(scope="module")
def tested(hollow, counted, maker):
    """Series, feature, reconstruction and all states of a null test of a void that is there."""
    series = counted(hollow)
    observed = reconstructed(maker, series)
    feature, _ = find_void(observed, segment(observed, LOOSE), probe_nm=4.0)
    states = list(null_test(series, feature, observed, maker, repeats=19, sizes_nm=SIZES, segmentation=LOOSE))
    return series, feature, observed, states


def test_a_true_void_is_more_than_noise(tested) -> None:
    found = tested[3][-1].snapshot()
    assert found.repeats == 19
    assert found.p_anywhere == pytest.approx(1 / 20)
    assert found.observed > 2 * found.anywhere.max()
    assert (found.anywhere >= found.there).all()


def test_no_void_gives_no_small_p(solid, counted, maker) -> None:
    values = []
    for seed in range(3):
        series = counted(solid, seed=seed)
        observed = reconstructed(maker, series)
        feature, note = find_void(observed, segment(observed), probe_nm=4.0)
        assert "No void" in note
        result = run(null_test(series, feature, observed, maker, repeats=19)).value
        values.append(result.p_anywhere)
    assert max(values) > 0.2
    assert min(values) >= 0.05


def test_a_true_skin_is_more_than_noise_and_none_is_not(hollow, counted, maker) -> None:
    series = counted(hollow)
    observed = reconstructed(maker, series)
    skin = find_skin(hollow, segment(hollow))
    assert run(null_test(series, skin, observed, maker, repeats=19)).value.p_anywhere == pytest.approx(0.05)
    values = []
    for seed in (3, 4, 5):
        bare = counted(skin.absent, seed=seed)
        none = run(null_test(bare, skin, reconstructed(maker, bare), maker, repeats=19, seed=seed)).value
        values.append(none.p_anywhere)
    assert sorted(values)[1] > 0.05


def test_only_a_void_is_made_stronger_in_the_repeats(tested, hollow, maker) -> None:
    """It is looked for in the emptiest place of a particle that is smoother than a real one; a skin has one place."""
    series, feature, observed, states = tested
    assert feature.smoother > 1
    assert find_skin(hollow, segment(hollow)).smoother == 1
    plain = null_test(series, replace(feature, smoother=1.0), observed, maker, repeats=1, segmentation=LOOSE)
    bare = run(plain).value.anywhere
    assert states[-1].snapshot().anywhere[:1] == pytest.approx(feature.smoother * bare)


def test_an_interrupted_null_test_goes_on_to_the_same_end(tested, maker) -> None:
    series, feature, observed, states = tested
    middle = next(state for state in states if state.iteration == 8)
    rest = null_test(
        series,
        feature,
        observed,
        maker,
        repeats=19,
        sizes_nm=SIZES,
        segmentation=LOOSE,
        resume=middle.checkpoint(),
    )
    *_, last = rest
    assert np.array_equal(last.snapshot().anywhere, states[-1].snapshot().anywhere)


def test_stopping_keeps_the_repeats_so_far(tested, maker) -> None:
    series, feature, observed, _ = tested
    seen: list[int] = []

    def enough() -> bool:
        return seen[-1] >= 3

    states = null_test(series, feature, observed, maker, repeats=19)
    result = run(states, on_state=lambda state: seen.append(state.iteration), should_stop=enough)
    assert result.stopped
    assert result.value.repeats == 3


def test_large_planted_voids_are_found_and_small_ones_are_not(tested, maker) -> None:
    series, feature, _, states = tested
    null = states[-1].checkpoint()
    found = run(detection(series, feature, null, maker, SIZES, repeats=3, segmentation=LOOSE)).value
    assert found.tried == pytest.approx([3, 3, 3])
    assert found.found[-1] == 3
    assert found.found[0] <= 1
    assert 1.5 < found.smallest_nm <= 5.0
    assert found.low_nm < found.smallest_nm < found.high_nm


def test_detection_wants_a_whole_null_test(tested, maker) -> None:
    series, feature, _, states = tested
    early = next(state for state in states if state.iteration == 8).checkpoint()
    with pytest.raises(InputError, match="19 repeats"):
        next(detection(series, feature, early, maker, SIZES))


def test_checkpoint_of_other_sizes_is_refused(tested, maker) -> None:
    series, feature, observed, states = tested
    with pytest.raises(InputError, match="sizes"):
        next(null_test(series, feature, observed, maker, resume=states[-1].checkpoint()))


def test_logistic_fit_finds_the_planted_size() -> None:
    sizes, tried = np.linspace(1, 6, 11), np.full(11, 400.0)
    true = 1 / (1 + np.exp(-(sizes - 3) / 0.4))
    found = np.random.default_rng(0).binomial(400, true).astype(float)
    smallest, low, high, at, curve = detection_curve(sizes, tried, found, 0.9)
    assert smallest == pytest.approx(3 + 0.4 * np.log(9), abs=0.15)
    assert low < smallest < high
    assert high - low < 0.5
    assert np.interp(3.0, at, curve) == pytest.approx(0.5, abs=0.05)


def test_few_repeats_give_a_wide_interval() -> None:
    sizes = np.array([1.0, 3.0, 5.0])
    few = detection_curve(sizes, np.full(3, 3.0), np.array([0.0, 2.0, 3.0]), 0.9)
    many = detection_curve(sizes, np.full(3, 300.0), np.array([0.0, 200.0, 300.0]), 0.9)
    assert few[2] - few[1] > 2 * (many[2] - many[1])


def test_sizes_beyond_what_was_tried_are_not_invented() -> None:
    sizes, tried = np.array([1.0, 2.0, 3.0]), np.full(3, 20.0)
    none = detection_curve(sizes, tried, np.zeros(3), 0.9)
    assert np.isnan(none[0])
    assert np.isinf(none[2])
    everything = detection_curve(sizes, tried, tried, 0.9)
    assert everything[0] == 1.0
    assert everything[1] == 0.0
