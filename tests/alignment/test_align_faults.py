"""Spikes, radians, a horizontal axis and lost angles: what a damaged or misread series does to the alignment."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from napari_dipmtv import pipeline
from napari_dipmtv.alignment import alignment_report, estimate, spikes
from napari_dipmtv.alignment.mapping import displacements
from napari_dipmtv.alignment.most_likely import MostLikely
from napari_dipmtv.cli.app import app
from napari_dipmtv.data import Alignment, ChannelMaps
from napari_dipmtv.errors import GeometryError
from napari_dipmtv.io.map_folder import load_saved_series, save_maps
from napari_dipmtv.settings.align import AlignSettings
from napari_dipmtv.states import run

QUICK = AlignSettings(rounds=2, find_axis_angle=False, coarsest_binning=1)


@pytest.fixture(scope="module")
def likely() -> MostLikely:
    return MostLikely(torch.device("cpu"))


@pytest.fixture(scope="module")
def boxes() -> ChannelMaps:
    """Counts of a box of 10 x 14 x 7 voxels on the axis, exact projections, 24 x 24 px."""
    tilts, x = np.arange(-60.0, 61, 20), np.arange(24) - 11.5
    views = np.zeros((1, 7, 24, 24))
    for t, angle in enumerate(np.deg2rad(tilts)):
        a, b = 5 * np.cos(angle), 3.5 * abs(np.sin(angle))
        path = np.clip((a + b - np.abs(x)) / (2 * min(a, b) + 1e-9), 0, 1)  # a trapezoid of mass 70
        views[0, t, 5:19] = 70 * path / path.sum()
    counts = np.random.default_rng(3).poisson(6 * views)
    return ChannelMaps(counts, ("A",), tuple(tilts), 1.0, counts_per_unit=1.0)


def with_spikes(maps: ChannelMaps) -> tuple[ChannelMaps, np.ndarray]:
    data, random = maps.data.copy(), np.random.default_rng(8)
    hit = np.zeros(data.shape[1:], bool)
    for view in (0, 3):
        y, x = random.integers(2, data.shape[2] - 2, 2)
        hit[view, y, x] = True
        data[:, view, y, x] += 40 * data.max()
    return maps.replace(data=data), hit


def test_f04_spikes_are_found_listed_and_do_not_mislead(boxes, likely):
    spiky, hit = with_spikes(boxes)
    np.testing.assert_array_equal(spikes(spiky), hit)
    assert not spikes(boxes).any()
    clean, found, misled = (
        displacements(run(estimate(m, s, reconstruct=likely)).value)
        for m, s in ((boxes, QUICK), (spiky, QUICK), (spiky, QUICK.replace(ignore_spikes=False)))
    )
    assert np.abs(found - clean).max() < 0.1
    assert np.abs(misled - clean).max() > 0.5
    alignment = Alignment(found)
    series = pipeline.apply_found(spiky, alignment, QUICK)
    whole = pipeline.apply_found(boxes, alignment, QUICK)
    assert series.data.max() < 1.02 * whole.data.max()
    assert not series.valid[0].all()
    report = alignment_report(spiky, alignment, QUICK, reconstruct=likely)
    assert "2 pixels stand out like X-ray hits" in report.notes[0]


@pytest.mark.parametrize("per_pixel", [0.01, 0.3, 50.0])
def test_f04_noise_is_not_called_a_spike(per_pixel):
    counts = np.random.default_rng(1).poisson(per_pixel, (2, 9, 48, 48))
    assert spikes(ChannelMaps(counts, ("A", "B"), tuple(range(-40, 41, 10)), 1.0)).sum() <= 2


def test_f11_a_horizontal_tilt_axis_is_noticed(boxes, likely):
    """The same views, transposed: along x the profile stays, along y it does not."""
    turned = boxes.replace(data=boxes.data.swapaxes(2, 3))
    right, wrong = (
        alignment_report(m, Alignment(np.zeros((7, 2))), QUICK, reconstruct=likely) for m in (boxes, turned)
    )
    assert not any("horizontally" in note for note in right.notes)
    assert any("tilt axis seems to lie horizontally" in note for note in wrong.notes)


def test_f21_tilts_in_radians_are_refused(boxes, likely):
    radians = ChannelMaps(boxes.data, ("A",), tuple(np.deg2rad(boxes.tilts_deg)), 1.0)
    with pytest.raises(GeometryError, match=r"-1\.0472 to 1\.0472, which look like radians"):
        next(estimate(radians, QUICK, reconstruct=likely))
    with pytest.raises(GeometryError, match="radians"):
        pipeline.apply_found(radians, Alignment(np.zeros((7, 2))), QUICK)


def test_f23_angles_reset_to_zero_never_reach_the_search(boxes):
    with pytest.raises(GeometryError, match="equal angles carry no depth"):
        ChannelMaps(boxes.data, ("A",), (0.0,) * 7, 1.0)


def test_f23_aligning_keeps_every_tilt_with_its_view(boxes, tmp_path):
    order = np.random.default_rng(4).permutation(7)
    mixed = ChannelMaps(boxes.data[:, order], ("A",), tuple(np.array(boxes.tilts_deg)[order]), 1.0)
    series = pipeline.align(mixed, QUICK.replace(rounds=0), "cpu")
    assert series.tilts_deg == boxes.tilts_deg
    totals = series.data.sum(axis=(0, 2, 3))
    np.testing.assert_allclose(totals, boxes.data.sum(axis=(0, 2, 3)), rtol=0.02)
    save_maps(series, tmp_path)
    assert load_saved_series(tmp_path).tilts_deg == boxes.tilts_deg


@pytest.mark.parametrize("error_deg", [None, 0.21, np.inf])
def test_f55_all_that_an_alignment_knows_is_saved(tmp_path, boxes, error_deg):
    found = Alignment(
        np.random.default_rng(5).normal(size=(7, 2)),
        1.25,
        -0.5,
        quality=(0.3, 0.2),
        view_quality=((0.1,) * 7, (0.2, np.nan, *(0.1,) * 5)),
        axis_angle_error_deg=error_deg,
        scales=(2, 1),
    )
    save_maps(pipeline.apply_found(boxes, found, QUICK), tmp_path)
    back = load_saved_series(tmp_path).alignment
    np.testing.assert_array_equal(back.shifts_px, found.shifts_px)
    np.testing.assert_array_equal(back.view_quality, found.view_quality)
    for name in ("axis_angle_deg", "axis_offset_px", "axis_angle_error_deg", "quality", "scales"):
        assert getattr(back, name) == getattr(found, name)
    words = {
        None: "axis +1.25° from",
        0.21: "axis +1.25 ± 0.21° from",
        np.inf: "+1.25° from vertical, which these views do not tell",
    }
    assert words[error_deg] in str(back)


def test_the_command_tells_and_writes_all_that_was_found(tmp_path, boxes):
    spiky, _ = with_spikes(boxes)
    save_maps(spiky, tmp_path / "maps")
    words = ["align", "--maps", str(tmp_path / "maps"), "--out", str(tmp_path / "out")]
    words += ["--set", "rounds=1", "--set", "coarsest_binning=1", "--set", "max_axis_angle_deg=1"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    said = " ".join(done.output.split())
    assert "2 pixels stand out like X-ray hits" in said
    report = json.loads((tmp_path / "out" / "alignment.json").read_text())
    saved = load_saved_series(tmp_path / "out").alignment
    assert f"{saved}. Re-projection error {report['error']:.3f}." in said
    assert report["quality"] == list(saved.quality)
    assert report["scales"] == [1] * len(saved.quality)
    assert report["axis_angle_deg"] == saved.axis_angle_deg
    told = "infinite" if saved.axis_angle_error_deg == np.inf else saved.axis_angle_error_deg
    assert report["axis_angle_error_deg"] == told
    assert len(report["view_errors"]) == len(report["dose"]) == len(report["cut_share"]) == 7
    assert report["view_quality"] == [list(row) for row in saved.view_quality]
    assert "2 pixels stand out" in report["notes"][0]
