"""Views that count and views that do not: left out by number or because they are empty, cut off, or of other dose."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from napari_dipmtv import pipeline
from napari_dipmtv.alignment import alignment_report, estimate, leave_out
from napari_dipmtv.alignment.mapping import displacements
from napari_dipmtv.alignment.most_likely import MostLikely
from napari_dipmtv.data import ChannelMaps
from napari_dipmtv.errors import GeometryError, InputError
from napari_dipmtv.settings.align import AlignSettings
from napari_dipmtv.states import run

QUICK = AlignSettings(rounds=2, find_axis_angle=False, coarsest_binning=1)


@pytest.fixture(scope="module")
def drifted(plant):
    """Shifts of up to 3 px."""
    shifts = np.random.default_rng(11).uniform(-3, 3, (9, 2))
    return plant(shifts, 0.0, 0.0, relative_noise=0.2, seed=11)


def without(maps: ChannelMaps, view: int) -> ChannelMaps:
    keep = np.arange(len(maps.tilts_deg)) != view
    tilts = tuple(np.array(maps.tilts_deg)[keep])
    return ChannelMaps(maps.data[:, keep], maps.channels, tilts, 1.0, counts_per_unit=maps.counts_per_unit)


@pytest.mark.parametrize("how", ["zero", "nan", "left out"])
def test_f02_a_view_without_use_changes_nothing_for_the_others(drifted, sirt, how):
    bad, data = 6, drifted.maps.data.copy()
    settings = QUICK.replace(exclude_views=(bad,)) if how == "left out" else QUICK
    if how != "left out":
        data[:, bad] = 0 if how == "zero" else np.nan
    maps = drifted.maps.replace(data=data)
    states = list(estimate(maps, settings, reconstruct=sirt))
    found = states[-1].snapshot()
    alone = run(estimate(without(maps, bad), QUICK, reconstruct=sirt)).value
    np.testing.assert_array_equal(np.delete(displacements(found), bad, 0), displacements(alone))
    assert found.quality == alone.quality
    assert "8 of 9 views used, without 35 deg" in states[0].stage
    assert np.isnan(found.view_quality[-1][bad])
    series = pipeline.apply_found(maps, found, settings)
    assert not series.valid[bad].any()
    assert series.valid[np.arange(9) != bad].any(axis=(1, 2)).all()


def test_f02_equal_doses_need_no_view_that_is_empty(drifted):
    data = drifted.maps.data * np.where(np.arange(9) < 2, 2.4, 1)[:, None, None]
    data[:, 5] = 0
    settings = AlignSettings(rounds=0, equalise_dose=True, find_axis_angle=False)
    series = pipeline.align(drifted.maps.replace(data=data), settings)
    totals = series.data.sum(axis=(0, 2, 3))
    used = np.arange(9) != 5
    np.testing.assert_allclose(totals[used], totals[used].mean(), rtol=0.03)
    assert totals[5] == 0


@pytest.mark.parametrize("left", [0, 1, 2])
def test_f08_fewer_than_three_views_are_refused(drifted, left):
    with pytest.raises(GeometryError, match=f"at least 3 usable views, got {left}"):
        leave_out(drifted.maps, range(left, 9))


def test_f06_an_empty_channel_is_named_with_its_view(drifted, sirt):
    data = drifted.maps.data.copy()
    data[1, 3] = 0
    with pytest.raises(InputError, match=r"map at -17.5 deg: expected some signal"):
        next(estimate(drifted.maps.replace(data=data), QUICK.replace(signal="B"), reconstruct=sirt))


def test_a_view_that_is_not_there_cannot_be_left_out(drifted):
    with pytest.raises(InputError, match=r"0 to 8, got \[-1, 9\]"):
        leave_out(drifted.maps, (9, -1, 3))


def test_nothing_to_leave_out_passes_the_maps_on(drifted):
    assert leave_out(drifted.maps) is drifted.maps


def test_f07_one_channel_aligns_as_the_same_channel_of_two(drifted, sirt):
    one = drifted.maps.replace(data=drifted.maps.data[:1], channels=("A",))
    a = run(estimate(one, QUICK, reconstruct=sirt)).value
    b = run(estimate(drifted.maps, QUICK.replace(signal="A"), reconstruct=sirt)).value
    np.testing.assert_array_equal(a.shifts_px, b.shifts_px)


def test_f01_dead_pixels_do_not_mislead(drifted, sirt, residual):
    data = drifted.maps.data.copy()
    data[:, np.random.default_rng(2).random(data.shape[1:]) < 0.05] = np.nan
    maps = drifted.maps.replace(data=data)
    clean, damaged = (
        residual(displacements(run(estimate(m, QUICK.replace(rounds=4), reconstruct=sirt)).value), drifted)
        for m in (drifted.maps, maps)
    )
    assert max(damaged) < 1.1 * max(clean) + 0.05


def test_f05_kinds_and_layouts_of_numbers_make_no_difference(drifted, sirt):
    counts = np.rint(drifted.maps.data * drifted.maps.counts_per_unit)
    kinds = [counts.astype("<u2"), counts.astype(">f8"), np.asfortranarray(counts, dtype=np.float32)]
    found = [
        run(
            estimate(
                ChannelMaps(k, ("A", "B"), drifted.maps.tilts_deg, 1.0),
                QUICK.replace(rounds=1),
                reconstruct=sirt,
            )
        ).value
        for k in kinds
    ]
    for other in found[1:]:
        np.testing.assert_array_equal(other.shifts_px, found[0].shifts_px)


def test_f25_a_view_that_cuts_the_particle_is_named_and_does_not_mislead(plant, sirt, residual):
    shifts = np.zeros((9, 2))
    shifts[0], shifts[7] = (
        (0, 22),
        (-26, 0),
    )  # the particle reaches 20-27 px from its centre, the edge is at 32
    planted = plant(shifts, 0.0, 0.0, relative_noise=0.1, seed=12)
    settings = AlignSettings(rounds=8, find_axis_angle=False, max_update_px=2)
    found = run(estimate(planted.maps, settings, reconstruct=sirt)).value
    start = run(estimate(planted.maps, settings.replace(rounds=0), reconstruct=sirt)).value
    before, after = (residual(displacements(a), planted) for a in (start, found))
    assert max(after) < 0.35 * max(before)
    assert max(after) < 0.5
    report = alignment_report(planted.maps, found, settings, reconstruct=sirt)
    cut = np.array(report.cut_share)
    assert set(np.flatnonzero(cut > 0.05)) == {0, 7}
    assert any("At -70 deg" in note and "outside the field of view" in note for note in report.notes)


def test_f24_an_axis_beside_the_centre_is_found(plant):
    likely = MostLikely(torch.device("cpu"))
    for offset in (-8.0, 8.0):
        planted = plant(np.zeros((9, 2)), 0.0, offset, relative_noise=0.2, seed=13)
        settings = AlignSettings(find_axis_angle=False)
        found = run(estimate(planted.maps, settings, reconstruct=likely)).value
        assert found.axis_offset_px == pytest.approx(offset, abs=0.3)


def test_report_tells_good_from_bad(drifted, sirt):
    found = run(estimate(drifted.maps, QUICK.replace(rounds=4), reconstruct=sirt)).value
    good = alignment_report(drifted.maps, found, QUICK, reconstruct=sirt)
    nudged = alignment_report(drifted.maps, found.nudged(4, 3.0, 0.0), QUICK, reconstruct=sirt)
    assert nudged.error > 1.1 * good.error
    assert int(np.argmax(np.array(nudged.view_errors) / good.view_errors)) == 4
    assert good.before.shape == good.after.shape == (9, 64)
    np.testing.assert_allclose(good.before, drifted.maps.data.sum(axis=(0, 2)), rtol=1e-4)
    assert good.notes == ()


def test_report_finds_uneven_doses_and_advises(drifted, sirt):
    dose = np.where(np.arange(9) < 2, 2.4, 1.0)
    maps = drifted.maps.replace(data=drifted.maps.data * dose[:, None, None])
    found = run(estimate(maps, QUICK.replace(equalise_dose=True), reconstruct=sirt)).value
    report = alignment_report(maps, found, QUICK, reconstruct=sirt)
    np.testing.assert_allclose(np.array(report.dose) / report.dose[-1], dose, rtol=0.03)
    assert any("differ in dose by a factor of 2.4" in note for note in report.notes)
