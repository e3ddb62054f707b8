"""Maps of few counts are aligned by the images that were recorded with them."""

from __future__ import annotations

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from napari_dipmtv import pipeline
from napari_dipmtv.alignment import guided
from napari_dipmtv.alignment.mapping import displacements
from napari_dipmtv.cli.app import app
from napari_dipmtv.data import ChannelMaps
from napari_dipmtv.errors import GeometryError, InputError
from napari_dipmtv.io.map_folder import load_saved_series, save_maps
from napari_dipmtv.io.project import Inputs, Project
from napari_dipmtv.settings.align import AlignSettings

SETTINGS = AlignSettings(rounds=3, coarsest_binning=1, find_axis_angle=False)
ZERO = 700.0  # of the detector of the images


@pytest.fixture(scope="module")
def recorded(plant):
    """Maps of one count per pixel of the particle, and bright images of the same views with a zero of their own."""
    shifts = np.random.default_rng(7).uniform(-5, 5, (9, 2))
    few, many = (plant(shifts, 0.0, 1.0, relative_noise=noise, seed=7) for noise in (1.2, 0.02))
    image = 900 * many.maps.data.sum(axis=0, keepdims=True) + ZERO
    return few, ChannelMaps(image, ("HAADF",), few.maps.tilts_deg, 1.0)


def test_images_move_maps_that_could_not_be_aligned_alone(recorded, residual):
    few, images = recorded
    alone, by_images = (
        max(residual(displacements(pipeline.align(few.maps, SETTINGS, "cpu", guide=guide).alignment), few))
        for guide in (None, images)
    )
    assert by_images < 0.1
    assert alone > 2 * by_images


def test_all_channels_and_counts_go_through_the_alignment_of_the_images(recorded):
    few, images = recorded
    series = pipeline.align(few.maps, SETTINGS.replace(rounds=0), "cpu", guide=images)
    assert series.channels == few.maps.channels
    assert series.counts_per_unit == few.maps.counts_per_unit
    again = pipeline.apply_alignment(few.maps, series.alignment)
    np.testing.assert_array_equal(series.data, again.data)


def test_a_view_that_the_images_lack_has_no_weight(recorded):
    few, images = recorded
    data = images.data.copy()
    data[:, 4] = 0
    maps, seen = guided(few.maps, images.replace(data=data))
    assert not maps.valid[4].any()
    assert maps.valid[:4].all()
    assert np.abs(np.percentile(seen.data[0, [0, 8]], 2, axis=(1, 2))).max() < 1e-3


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda images: images.replace(tilts_deg=tuple(t - 1 for t in images.tilts_deg)),
            "view 0.*-70 deg.*-71",
        ),
        (lambda images: images.replace(data=images.data[..., 1:]), "64 x 64 pixels.*64 x 63"),
    ],
)
def test_images_of_other_views_are_refused(recorded, change, words):
    few, images = recorded
    with pytest.raises(GeometryError, match=words):
        guided(few.maps, change(images))


def test_the_command_aligns_by_a_folder_of_images(recorded, tmp_path):
    few, images = recorded
    save_maps(few.maps, tmp_path / "maps")
    save_maps(images, tmp_path / "maps/haadf")
    words = ["align", "--maps", str(tmp_path / "maps"), "--guide", str(tmp_path / "maps/haadf")]
    words += ["--set", "rounds=0", "--set", "find_axis_angle=false"]
    done = CliRunner().invoke(app, [*words, "--out", str(tmp_path / "aligned")])
    assert done.exit_code == 0, done.output
    told = json.loads((tmp_path / "aligned/alignment.json").read_text())
    assert "haadf" in json.dumps(told["inputs"])
    wanted = pipeline.align(few.maps, SETTINGS.replace(rounds=0), guide=images)
    np.testing.assert_allclose(load_saved_series(tmp_path / "aligned").data, wanted.data, atol=1e-5)
    words[words.index("--guide") + 1] = str(tmp_path / "aligned")
    done = CliRunner().invoke(app, [*words, "--out", str(tmp_path / "again")])
    assert done.exit_code == 2
    assert "not aligned yet" in " ".join(done.stderr.split())
    assert not (tmp_path / "again").exists()


def test_a_project_finds_the_images_by_the_name_of_the_signal(recorded, tmp_path):
    few, images = recorded
    save_maps(few.maps, tmp_path / "maps")
    save_maps(images, tmp_path / "maps/haadf")
    settings = SETTINGS.replace(rounds=0, signal="HAADF")
    project = Project(inputs=Inputs(map_folder=tmp_path / "maps"), align=settings, output=tmp_path / "out")
    wanted = pipeline.align(few.maps, SETTINGS.replace(rounds=0), guide=images)
    np.testing.assert_allclose(pipeline.project_series(project).data, wanted.data, atol=1e-5)
    wrong = project.replace(align=settings.replace(signal="BF"))
    with pytest.raises(InputError, match="expected one of A, B"):
        pipeline.project_series(wrong)
