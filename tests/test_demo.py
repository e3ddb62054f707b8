"""The demonstration: the whole way in small, and the arithmetic that puts truth and result side by side."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from napari_dipmtv import demo, phantom
from napari_dipmtv.alignment.mapping import displacements
from napari_dipmtv.data import Alignment
from napari_dipmtv.demo import pictures, truth
from napari_dipmtv.demo import run as demo_run
from napari_dipmtv.demo.snapshot import photograph
from napari_dipmtv.errors import InputError
from napari_dipmtv.settings.demo import DemoSettings
from napari_dipmtv.settings.phantom import PhantomSettings

SMALL = DemoSettings.from_mapping(
    {
        "simulation": {
            "phantom": {
                "field_voxels": 24,
                "size_nm": 16,
                "shell_nm": 3,
                "skin_nm": 2,
                "void_radius_nm": 1.5,
            },
            "tilt_step_deg": 28,
            "dose_e_per_a2": 1e6,
            "image_drift_px": 0.5,
        },
        "align": {"rounds": 2, "find_axis_angle": False},
        "sirt": {"iterations": 30},
        "cs_tv": {"iterations": 120, "tv_strength": 0.02},
        "dipm_tv": {"iterations": 3, "filters": [4, 4], "skips": [2, 2]},
    }
)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, demo.DemoReport]:
    """A small demonstration, pictured without napari: the window has tests of its own."""
    out = tmp_path_factory.mktemp("demo")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(demo_run, "photograph", lambda folder, picture: "a test wants none.")
        return out, demo.run_demo(out, SMALL)


def test_f28_everything_is_there(small: tuple[Path, demo.DemoReport]) -> None:
    out, report = small
    for method in ("sirt", "cs-tv", "dipm-tv"):
        names = {path.name for path in (out / method).iterdir()}
        assert {
            "volume_FeO.tif",
            "volume_FeO.mrc",
            "volume.hspy",
            "labels.tif",
            "measures.csv",
            "report.json",
        } <= names
    assert any((out / "sirt").glob("mesh_*.stl"))
    assert all(picture.stat().st_size > 10_000 for picture in report.pictures)
    assert json.loads((out / "report.json").read_text())["methods"].keys() == {"sirt", "cs-tv", "dipm-tv"}
    assert any("plain drawing" in note for note in report.notes)


def test_the_volumes_are_the_particle(small: tuple[Path, demo.DemoReport]) -> None:
    methods = small[1].facts["methods"]
    assert methods["cs-tv"]["nrmse"] < methods["sirt"]["nrmse"] < 0.7
    assert methods["cs-tv"]["iou"]["Fe3O4 shell"] > 0.6
    assert methods["cs-tv"]["iou"]["FeO core"] > 0.45  # mixed voxels go to the phase that fills most of them


def test_the_table_begins_with_the_truth(small: tuple[Path, demo.DemoReport]) -> None:
    table = small[1].table
    assert [row["method"] for row in table] == ["truth", "SIRT", "CS-TV", "DIPm-TV"]
    assert table[0]["skin nm"] == "2.00"
    assert all(row.keys() == table[0].keys() for row in table)


def test_the_place_of_the_object_is_no_error() -> None:
    tilts = (-60.0, -20.0, 10.0, 50.0)
    planted = Alignment(np.random.default_rng(0).normal(size=(4, 2)), axis_angle_deg=2.0, axis_offset_px=0.7)
    angles = np.deg2rad(tilts)
    y, x, z = 0.4, -1.1, 0.6
    ideal = np.stack([np.full(4, y), x * np.cos(angles) + z * np.sin(angles)], axis=1)
    turn = np.deg2rad(2.0)
    raw = ideal @ np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]]).T
    found = Alignment(planted.shifts_px + raw, 2.0, 0.7)
    assert truth.alignment_error_px(found, planted, tilts) == pytest.approx(0, abs=1e-9)
    placed = truth.in_place_of_truth(found, planted, tilts)
    np.testing.assert_allclose(displacements(placed), displacements(planted), atol=1e-9)


def test_an_error_of_one_view_is_not_hidden() -> None:
    tilts = (-60.0, -30.0, 0.0, 30.0, 60.0)
    planted = Alignment(np.zeros((5, 2)))
    shifts = np.zeros((5, 2))
    shifts[2] = 1.0, -1.0
    found = Alignment(shifts)
    placed = displacements(truth.in_place_of_truth(found, planted, tilts))
    left = np.sqrt((placed**2).sum(axis=1).mean())
    assert left == pytest.approx(truth.alignment_error_px(found, planted, tilts))
    assert left > 0.3


def test_true_references_count_every_atom() -> None:
    simulation = phantom.simulate(SMALL.simulation)
    counts = simulation.fe_maps  # abundances of references for one Fe per nm² are Fe per nm²
    iron = truth.iron_maps(counts, simulation.m_references, simulation)
    assert truth.iron_found(iron, simulation) == pytest.approx(1, rel=1e-4)


def test_the_half_cut_shows_what_lies_inside(tmp_path: Path) -> None:
    import matplotlib.image

    settings = PhantomSettings(field_voxels=24, size_nm=16, shell_nm=3, void_radius_nm=0)
    picture = pictures.half_cut(phantom.make_segmentation(settings), tmp_path / "cut.png")
    seen = matplotlib.image.imread(picture)[..., :3].reshape(-1, 3)
    blue = (seen[:, 2] > 1.5 * seen[:, 0]) & (seen[:, 2] > 0.3)
    orange = (seen[:, 0] > 2 * seen[:, 2]) & (seen[:, 0] > 0.4)
    assert blue.mean() > 0.02  # the shell, seen only when cut
    assert orange.mean() > 0.02


def test_without_napari_the_reason_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("napari_dipmtv.demo.snapshot.find_spec", lambda name: None)
    assert photograph(tmp_path, tmp_path / "out.png") == "napari is not installed."


def test_settings_of_the_demonstration_are_checked() -> None:
    with pytest.raises(InputError, match="iterations"):
        DemoSettings.from_mapping({"sirt": {"iterations": 0}})
