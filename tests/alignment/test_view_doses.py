"""Views of unequal dose: one number of counts per view goes with them wherever statistics are used."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from napari_dipmtv.data import ChannelMaps, TiltSeries, Volume
from napari_dipmtv.errors import InputError
from napari_dipmtv.io.checkpoints import Checkpoint, Task, load_checkpoint, must_continue, save_checkpoint
from napari_dipmtv.io.map_folder import load_saved, save_maps
from napari_dipmtv.phantom.dose import count_series
from napari_dipmtv.settings.tomo import CsTvSettings, DipSettings
from napari_dipmtv.states import run
from napari_dipmtv.tomo.data_term import data_misfit
from napari_dipmtv.tomo.problem import pose
from napari_dipmtv.tomo.reconstruct import reconstruct, reconstruct_states
from napari_dipmtv.tomo.thinning import thin
from napari_dipmtv.trust.resample import bootstrap, halves, measured_again, noise_variance, projections
from napari_dipmtv.trust.scan import CavityScan

TILTS = tuple(np.linspace(-70, 70, 9))
DOSES = (0.1, 0.1, 3.0, 0.1, 3.0, 0.1, 3.0, 0.1, 0.1)  # counts per unit: thirty times between views
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def ball():
    z, y, x = np.indices((16, 16, 16)) - 7.5
    inside = z**2 + y**2 + x**2 < 36
    return Volume(np.stack([inside, 0.5 * (inside & (x > 0))]).astype(np.float32), ("A", "B"), 1.0)


@pytest.fixture(scope="module")
def uneven(ball):
    return count_series(ball, TILTS, counts_per_unit=DOSES, seed=3)


def test_each_view_is_counted_with_its_own_dose(ball, uneven):
    counts = uneven.data * uneven.gain
    np.testing.assert_allclose(counts, np.rint(counts), atol=1e-4)
    totals = counts.sum(axis=(0, 2, 3)) / np.array(DOSES)
    sigma = np.sqrt(ball.data.sum() / np.array(DOSES))
    assert (np.abs(totals - ball.data.sum()) < 4 * sigma).all()


def test_the_dose_of_each_view_beats_the_mean_dose(ball, uneven):
    settings = CsTvSettings(tv_strength=0.05, data_term="poisson")
    as_mean = uneven.replace(counts_per_unit=float(np.mean(DOSES)))
    errors = [
        np.linalg.norm(reconstruct(series, "cs-tv", settings, "cpu").volume.data - ball.data)
        for series in (uneven, as_mean)
    ]
    assert errors[0] < 0.9 * errors[1]


def test_equal_doses_change_no_bit(ball):
    one = count_series(ball, TILTS, counts_per_unit=2.0, seed=4)
    same = count_series(ball, TILTS, counts_per_unit=(2.0,) * 9, seed=4)
    assert same.counts_per_unit == 2.0
    np.testing.assert_array_equal(one.data, same.data)
    misfits = [data_misfit(pose(series, CPU), "poisson") for series in (one, same)]
    assert float(misfits[0].loss(torch.ones(2, 9, 16, 16))) == float(
        misfits[1].loss(torch.ones(2, 9, 16, 16))
    )


def test_views_are_sorted_with_their_doses():
    maps = ChannelMaps(np.ones((1, 3, 4, 4)), ("A",), (10, -10, 0), 1.0, counts_per_unit=(1.0, 2.0, 3.0))
    assert maps.counts_per_unit == (2.0, 3.0, 1.0)
    assert maps.only(np.array([True, False, True])).counts_per_unit == (2.0, 1.0)
    with pytest.raises(InputError, match="one per view"):
        maps.replace(counts_per_unit=(1.0, 2.0))


def test_thinning_and_resampling_keep_the_dose_of_each_view(ball, uneven):
    random = np.random.default_rng(0)
    fit, held = thin(uneven, 0.75, random)
    assert fit.counts_per_unit == pytest.approx(tuple(0.75 * dose for dose in DOSES))
    np.testing.assert_allclose(
        fit.data * fit.gain + held.data * held.gain, uneven.data * uneven.gain, atol=1e-4
    )
    clean = projections(ball, uneven)
    for again in (
        halves(uneven, random)[0],
        bootstrap(uneven, random),
        measured_again(clean, uneven, random, None),
    ):
        counts = again.data * again.gain
        np.testing.assert_allclose(counts, np.rint(counts), atol=1e-3)
    expected = (clean / np.array(DOSES)[:, None, None]).sum(axis=(0, 2, 3))
    np.testing.assert_allclose(noise_variance(uneven).sum(axis=(0, 2, 3)), expected, rtol=0.3)


def test_a_scan_for_cavities_weighs_views_by_their_dose(ball, uneven):
    scan = CavityScan(ball, uneven, (2.0,))
    wanted = projections(ball, uneven) * np.array(DOSES)[:, None, None]
    np.testing.assert_allclose(scan.mean, scan.flat(wanted), rtol=1e-5, atol=1e-6)


def test_saved_maps_keep_the_dose_of_each_view(uneven, tmp_path):
    save_maps(uneven, tmp_path)
    back = load_saved(tmp_path)
    assert isinstance(back, TiltSeries)
    assert back.counts_per_unit == uneven.counts_per_unit


def test_a_run_with_held_out_counts_goes_on_from_a_file_to_the_same_bits(uneven, tmp_path):
    """The counts that are held out of each view are drawn again after the restart, in proportion to its dose."""
    settings = DipSettings(
        iterations=10, filters=(4, 8), skips=(0, 0), input_channels=4, network_input="random", crop=False
    )
    states = list(reconstruct_states(uneven, "dipm-tv", settings, "cpu"))
    assert "validation" in states[0].losses
    task = Task.of(uneven, "dipm-tv", settings)
    begun = reconstruct_states(uneven, "dipm-tv", settings, "cpu")
    saved = next(state for state in begun if state.iteration == 5).checkpoint()
    save_checkpoint(Checkpoint(task, 5, 1.0, {}, saved), tmp_path)
    back = load_checkpoint(tmp_path)
    must_continue(back, task)
    rest = run(reconstruct_states(uneven, "dipm-tv", settings, "cpu", resume=back.state))
    np.testing.assert_array_equal(rest.value.data, states[-1].snapshot().data)
    assert rest.losses["validation"] == [
        s.losses["validation"] for s in states[5:] if "validation" in s.losses
    ]


def test_f56_a_checkpoint_of_other_view_doses_is_refused(uneven):
    settings = DipSettings()
    saved = Checkpoint(Task.of(uneven, "dipm-tv", settings), 3, 1.0, {}, {})
    last_twice = uneven.replace(counts_per_unit=(*DOSES[:-1], 2 * DOSES[-1]))
    with pytest.raises(InputError, match="the maps of the first run"):
        must_continue(saved, Task.of(last_twice, "dipm-tv", settings))
