"""Planted shifts, axis angles and axis offsets are found again; real views match the authors'."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from napari_dipmtv.alignment import alignment_report, estimate
from napari_dipmtv.alignment.gauge import without_gauge
from napari_dipmtv.alignment.mapping import displacements
from napari_dipmtv.alignment.most_likely import MostLikely
from napari_dipmtv.data import Alignment, ChannelMaps
from napari_dipmtv.errors import GeometryError, InputError
from napari_dipmtv.settings.align import AlignSettings
from napari_dipmtv.states import run

VIEWS = 9  # of the tilts of conftest


@pytest.mark.parametrize(
    ("largest_px", "angle_deg", "offset_px", "seed"),
    [(0, 0, 0, 0), (8, 0, 0, 1), (3, 3, 5, 2), (8, -2, -3, 3)],
)
def test_planted_misalignment_is_found(sirt, plant, residual, largest_px, angle_deg, offset_px, seed):
    shifts = np.random.default_rng(seed).uniform(-largest_px, largest_px, (VIEWS, 2))
    planted = plant(shifts, angle_deg, offset_px, relative_noise=0.27, seed=seed)
    found = run(estimate(planted.maps, AlignSettings(rounds=4), reconstruct=sirt)).value
    y, x = residual(displacements(found), planted)
    assert y < 0.12
    assert x < 0.2
    assert abs(found.axis_angle_deg - angle_deg) < 0.5


def test_axis_offset_is_told_from_shifts_that_carry_none(sirt, plant):
    planted = plant(np.zeros((VIEWS, 2)), 0.0, 4.0, relative_noise=0.1, seed=4)
    found = run(estimate(planted.maps, AlignSettings(rounds=4), reconstruct=sirt)).value
    assert found.axis_offset_px == pytest.approx(4, abs=0.25)


@pytest.mark.parametrize("start", ["none", "cross-correlation"])
def test_matching_repairs_a_poor_first_guess(sirt, plant, residual, start):
    shifts = np.random.default_rng(5).uniform(-4, 4, (VIEWS, 2))
    planted = plant(shifts, 0.0, 0.0, relative_noise=0.2, seed=5)
    settings = AlignSettings(start=start, coarsest_binning=4, max_update_px=1, find_axis_angle=False)
    states = list(estimate(planted.maps, settings, reconstruct=sirt))
    before, after = (residual(displacements(s.snapshot()), planted) for s in (states[0], states[-1]))
    assert max(after) < 0.3
    assert max(before) > 2 * max(after)


def test_states_count_up_and_the_error_falls(sirt, plant):
    shifts = np.random.default_rng(6).uniform(-3, 3, (VIEWS, 2))
    planted = plant(shifts, 1.5, 0.0, relative_noise=0.2, seed=6)
    states = list(estimate(planted.maps, AlignSettings(start="none", rounds=4), reconstruct=sirt))
    assert [s.iteration for s in states] == list(range(1, 10))
    assert {s.total for s in states} == {9}
    assert states[-1].snapshot().quality == tuple(s.losses["reprojection"] for s in states)
    assert states[4].losses["reprojection"] < 0.6 * states[0].losses["reprojection"]


def test_order_of_the_views_does_not_matter(sirt, plant):
    shifts = np.random.default_rng(7).uniform(-3, 3, (VIEWS, 2))
    maps = plant(shifts, 0.0, 0.0, relative_noise=0.2, seed=7).maps
    order = np.random.default_rng(8).permutation(VIEWS)
    mixed = ChannelMaps(maps.data[:, order], maps.channels, tuple(np.array(maps.tilts_deg)[order]), 1.0)
    settings = AlignSettings(rounds=1, coarsest_binning=1)
    a, b = (run(estimate(m, settings, reconstruct=sirt)).value for m in (maps, mixed))
    np.testing.assert_allclose(a.shifts_px, b.shifts_px, atol=1e-5)


def test_movement_of_the_object_is_no_misalignment(tilts):
    angles = np.deg2rad(tilts)
    orbit = np.stack([np.full(VIEWS, 2.0), 3 * np.cos(angles) - 4 * np.sin(angles)], axis=1)
    np.testing.assert_allclose(without_gauge(orbit, tilts), 0, atol=1e-12)


def test_dose_differences_can_be_evened_while_searching(sirt, plant):
    planted = plant(np.zeros((VIEWS, 2)), 0.0, 0.0, relative_noise=0.2, seed=9)
    dose = np.where(np.arange(VIEWS) < 2, 2.4, 1.0).astype(np.float32)
    maps = planted.maps.replace(data=planted.maps.data * dose[:, None, None])
    errors = [
        next(estimate(maps, AlignSettings(equalise_dose=even), reconstruct=sirt)).losses["reprojection"]
        for even in (False, True)
    ]
    assert errors[1] < 0.3 * errors[0]


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        (
            lambda m: ChannelMaps(m.data[:, :2], m.channels, m.tilts_deg[:2], 1.0),
            GeometryError,
            "at least 3 usable views, got 2",
        ),
        (
            lambda m: m.replace(data=m.data * (np.arange(9) < 2)[:, None, None]),
            GeometryError,
            "at least 3 usable views, got 2",
        ),
    ],
)
def test_unusable_series_are_refused(sirt, plant, change, error, words):
    maps = plant(np.zeros((9, 2)), 0.0, 0.0, relative_noise=0.2, seed=0).maps
    with pytest.raises(error, match=words):
        next(estimate(change(maps), reconstruct=sirt))
    with pytest.raises(InputError, match="one of A, B"):
        next(estimate(maps, AlignSettings(signal="C"), reconstruct=sirt))


@pytest.mark.real_data
def test_real_quantum_dots_match_the_authors_alignment(data_folder: Path):
    """Their moves (by hand) are found to half a binned pixel; the axis angle cannot be told from these views."""
    from scipy.io import loadmat

    folder = data_folder / "quantum_dot_edx"
    views = np.stack(
        [loadmat(path)["input"] for path in sorted((folder / "QD1").glob("input_*.mat"))]
    )  # (t, y, x, c)
    binned = views.reshape(13, 64, 4, 64, 4, 3).sum(axis=(2, 4)).transpose(3, 0, 1, 2)
    binned -= binned[..., np.r_[:12, 52:64]].mean(axis=(2, 3), keepdims=True)  # beside the dots
    valid = np.ones(binned.shape[1:], bool)
    valid[:, :9] = False  # a third dot hangs over the upper edge
    maps = ChannelMaps(binned, ("Se", "S", "Zn"), tuple(range(-60, 61, 10)), 1.0, valid=valid)
    settings = AlignSettings(equalise_dose=True, max_axis_angle_deg=10, smoothing_px=1.5)
    likely = MostLikely(torch.device("cpu"))
    found = run(estimate(maps, settings, reconstruct=likely)).value
    raw, aligned = (
        alignment_report(maps, pose, settings, reconstruct=likely).error
        for pose in (Alignment(np.zeros((13, 2))), found)
    )
    assert aligned < 0.6 * raw
    given = loadmat(folder / "param_obj0.mat")
    moves = np.stack([given[f"circ_{axis}_img_set"][0].astype(float) for axis in "yx"], axis=1) / 4
    drift, rest = (without_gauge(d, maps.tilts_deg) for d in (moves, displacements(found) + moves))
    assert np.all(np.sqrt((drift**2).mean(axis=0)) > 1)
    assert np.all(np.sqrt((rest**2).mean(axis=0)) < 0.75)
    assert found.axis_angle_error_deg > 0.5


@pytest.mark.slow
def test_real_needle_matches_the_authors_alignment():
    """Every fourth raw view of ETSpy's needle; its tilt axis is horizontal, so the images are transposed."""
    datasets = pytest.importorskip("etspy.datasets", reason="etspy is not installed")
    from skimage.registration import phase_cross_correlation

    raw, authors = (
        np.asarray(datasets.get_needle_data(aligned=flag).data[::4], np.float32)
        .swapaxes(1, 2)
        .reshape(20, 64, 4, 64, 4)
        .mean(axis=(2, 4))
        for flag in (False, True)
    )
    pairs = zip(authors, raw, strict=True)
    moves = np.array(
        [phase_cross_correlation(a, r, upsample_factor=10, normalization=None)[0] for a, r in pairs]
    )
    maps = ChannelMaps(
        (raw - np.percentile(raw, 2)).clip(min=0)[None], ("HAADF",), tuple(range(-76, 77, 8)), 1.0
    )
    settings = AlignSettings(start="cross-correlation", rounds=4)
    likely = MostLikely(torch.device("cpu"))
    found = run(estimate(maps, settings, reconstruct=likely)).value
    drift, rest = (without_gauge(d, maps.tilts_deg) for d in (moves, displacements(found) + moves))
    assert np.sqrt((drift**2).mean(axis=0)).max() > 2.5
    assert np.sqrt((rest**2).mean(axis=0)).max() < 0.2
    ours, theirs = (
        alignment_report(maps, pose, settings, reconstruct=likely).error
        for pose in (found, Alignment(-moves))
    )
    assert ours < 0.8 * theirs
    assert found.axis_angle_error_deg < 0.2
