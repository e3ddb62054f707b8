"""The command line: every verb, JSON for machines, one sentence and exit code 2 for bad input."""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import mrcfile
import numpy as np
import pytest
import tifffile
import torch
from typer.testing import CliRunner, Result

from napari_dipmtv.cli.app import app
from napari_dipmtv.data import TiltSeries
from napari_dipmtv.errors import DeviceError
from napari_dipmtv.io.map_folder import save_maps
from napari_dipmtv.io.volumes import load_volume
from napari_dipmtv.phantom import count_series, make_volume
from napari_dipmtv.settings.phantom import PhantomSettings
from napari_dipmtv.settings.presets import PRESETS

TILTS = (-60.0, -40.0, -20.0, 0.0, 20.0, 40.0, 60.0)
TINY = PhantomSettings(
    field_voxels=20, size_nm=13, skin_nm=1.5, shell_nm=2.5, void_radius_nm=1, supersampling=1
)


def call(*words: object) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


@dataclass(frozen=True)
class Stacks:
    """Two stacks of maps on disk with their angles."""

    folder: Path
    series: TiltSeries

    def words(self, out: Path, *more: object) -> list[object]:
        channels = [
            "--channel",
            f"FeO={self.folder / 'feo.tif'}",
            "--channel",
            f"Fe3O4={self.folder / 'fe3o4.mrc'}",
        ]
        angles = ["--angles", self.folder / "tilts.txt", "--pixel-nm", 0.4]
        return ["reconstruct", *channels, *angles, "--device", "cpu", "--out", out, *more]


@pytest.fixture(scope="module")
def stacks(tmp_path_factory: pytest.TempPathFactory) -> Stacks:
    folder = tmp_path_factory.mktemp("stacks")
    series = count_series(make_volume(TINY), TILTS, relative_noise=0.1, seed=1)
    tifffile.imwrite(folder / "feo.tif", series.data[0])
    with mrcfile.new(folder / "fe3o4.mrc", data=series.data[1]) as file:
        file.voxel_size = 4.0  # Å
    (folder / "tilts.txt").write_text("\n".join(map(str, TILTS)))
    return Stacks(folder, series)


@pytest.mark.parametrize("method", ["sirt", "cs-tv", "dip-tv", "dipm-tv"])
def test_reconstruct_takes_any_stacks(stacks: Stacks, tmp_path: Path, method: str) -> None:
    words = ("--method", method, "--iterations", 3, "--seed", 7)
    small = ("--set", "filters=[4,4]", "--set", "skips=[2,2]") if method.startswith("dip") else ()
    done = call(*stacks.words(tmp_path / "out", *words, *small))
    assert done.exit_code == 0, done.output
    volume = load_volume(tmp_path / "out")
    report = json.loads((tmp_path / "out/report.json").read_text())
    assert volume.channels == ("FeO", "Fe3O4")
    assert volume.data.shape == (2, 20, 20, 20)
    assert volume.voxel_nm == pytest.approx(0.4)
    assert report["iterations"] == 3
    assert report["stopped"] is False
    assert report["device"] == "cpu"
    assert report["seed"] == 7
    assert report["settings"][method]["iterations"] == 3
    assert len(report["inputs"]) == 3
    assert 0 < report["data_residual"] < 1.2
    looks = 1 if method == "cs-tv" else 3  # the cost of CS-TV is looked at every tenth step and at the end
    losses = report["losses"]
    assert len(losses.pop("unrest", [0, 0])) == 2  # of maps without statistics; not in the last steps
    assert all(len(curve) == looks for curve in losses.values())
    assert report["versions"]["torch"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "report.json",
        "volume_Fe3O4.tif",
        "volume_FeO.tif",
    ]


def test_reconstruct_finds_the_particle(stacks: Stacks, tmp_path: Path) -> None:
    done = call(*stacks.words(tmp_path / "out", "--method", "sirt", "--iterations", 20))
    assert done.exit_code == 0, done.output
    found, true = load_volume(tmp_path / "out").data, make_volume(TINY).data
    error = np.linalg.norm(found - true) / np.linalg.norm(true)
    assert error < 0.55  # nothing found would be 1
    assert "volume_FeO.tif" in done.stdout


def test_json_is_one_object_and_silent(stacks: Stacks, tmp_path: Path) -> None:
    done = call(*stacks.words(tmp_path / "out", "--method", "sirt", "--json"))
    assert json.loads(done.stdout)["method"] == "sirt"
    assert done.stderr == ""


def test_a_preset_is_taken_and_a_wrong_name_lists_them(stacks: Stacks, tmp_path: Path) -> None:
    wrong = call(*stacks.words(tmp_path / "out", "--method", "cs-tv", "--preset", "magic", "--json"))
    assert wrong.exit_code == 2
    assert "small detail" in json.loads(wrong.stdout)["error"]
    words = ("--method", "cs-tv", "--preset", "small detail", "--iterations", 3)
    done = call(*stacks.words(tmp_path / "out", *words))
    assert done.exit_code == 0, done.output
    taken = json.loads((tmp_path / "out/report.json").read_text())["settings"]["cs-tv"]
    assert taken["tv_strength"] == PRESETS["cs-tv"]["small detail"].settings.tv_strength
    assert taken["iterations"] == 3


def test_json_errors_are_json_too(stacks: Stacks, tmp_path: Path) -> None:
    done = call(*stacks.words(tmp_path / "out", "--method", "magic", "--json"))
    assert done.exit_code == 2
    assert "expected wbp, sirt, cs-tv" in json.loads(done.stdout)["error"]


def test_counts_are_poisson(stacks: Stacks, tmp_path: Path) -> None:
    counts = stacks.series.data * stacks.series.counts_per_unit
    for name, channel in zip("ab", np.rint(counts), strict=True):
        tifffile.imwrite(tmp_path / f"{name}.tif", channel.astype(np.float32))
    channels = (
        "--channel",
        f"a={tmp_path / 'a.tif'}",
        "--channel",
        f"b={tmp_path / 'b.tif'}",
        "--pixel-nm",
        1,
    )
    words = (
        "reconstruct",
        *channels,
        "--angles",
        stacks.folder / "tilts.txt",
        "--method",
        "cs-tv",
        "--iterations",
        5,
    )
    first = call(*words, "--counts", "--out", tmp_path / "counts", "--json")
    second = call(*words, "--out", tmp_path / "plain", "--json")
    assert json.loads(first.stdout)["losses"] != json.loads(second.stdout)["losses"]


def test_one_file_per_view(stacks: Stacks, tmp_path: Path) -> None:
    views = tmp_path / "views"
    views.mkdir()
    for tilt, view in zip(TILTS, np.moveaxis(stacks.series.data, 1, 0), strict=True):
        np.save(views / f"tilt_{tilt:+g}.npy", np.moveaxis(view, 0, -1))
    source = ("--map-folder", views, "--channels", "FeO,Fe3O4", "--pixel-nm", 0.4)
    done = call("reconstruct", *source, "--method", "sirt", "--out", tmp_path / "out")
    assert done.exit_code == 0, done.output
    direct = call(*stacks.words(tmp_path / "direct", "--method", "sirt"))
    assert direct.exit_code == 0, direct.output
    np.testing.assert_array_equal(load_volume(tmp_path / "out").data, load_volume(tmp_path / "direct").data)


BAD: dict[str, tuple[Callable[[Path], object], str]] = {
    "angle file missing": (lambda d: (d / "tilts.txt").unlink(), "tilts.txt"),
    "wrong number of angles": (lambda d: (d / "tilts.txt").write_text("-30\n0\n30\n"), "3 along t"),
    "an angle is no number": (lambda d: (d / "tilts.txt").write_text("-30\nzero\n"), "zero"),
    "angles in radians": (
        lambda d: (d / "tilts.txt").write_text("\n".join(str(t / 57.3) for t in TILTS)),
        "radians",
    ),
    "unequal shapes": (
        lambda d: tifffile.imwrite(d / "feo.tif", np.ones((7, 20, 19), np.float32)),
        "one shape",
    ),
    "all NaN": (
        lambda d: tifffile.imwrite(d / "feo.tif", np.full((7, 20, 20), np.nan, np.float32)),
        "content",
    ),
    "truncated file": (lambda d: (d / "feo.tif").write_bytes((d / "feo.tif").read_bytes()[:3000]), "feo.tif"),
    "empty file": (lambda d: (d / "fe3o4.mrc").write_bytes(b""), "fe3o4.mrc"),
    "no such stack": (lambda d: (d / "feo.tif").unlink(), "nothing there"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_files_give_one_sentence_and_write_nothing(stacks: Stacks, tmp_path: Path, case: str) -> None:
    copy = tmp_path / "copy"
    copy.mkdir()
    for path in stacks.folder.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    spoil, hint = BAD[case]
    spoil(copy)
    done = call(*Stacks(copy, stacks.series).words(tmp_path / "out", "--method", "sirt"))
    assert done.exit_code == 2, done.output
    assert hint in done.stderr
    assert "Traceback" not in done.output
    assert sum(line.startswith("Error: ") for line in done.stderr.splitlines()) == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("more", "hint"),
    [
        (["--method", "sart"], "sirt, cs-tv, dip-tv, dipm-tv"),
        (["--set", "tv_strength=-1"], "greater than or equal to 0"),
        (["--set", "lambda=1"], "no setting 'lambda'"),
        (["--set", "tv_strength"], "NAME=VALUE"),
        (["--iterations", "0"], "iterations"),
        (["--device", "cuda:99"], "cuda"),
        (["--pixel-nm", "-1"], "positive"),
        (["--channel", "FeO=again.tif"], "each name once"),
        (["--maps", "."], "one of"),
        (["--tilt-axis", "z"], "y or x"),
        (["--axes", "tyq"], "axes"),
    ],
)
def test_bad_options_give_one_sentence_and_write_nothing(
    stacks: Stacks, tmp_path: Path, more: list[str], hint: str
) -> None:
    done = call(*stacks.words(tmp_path / "out", *more))
    assert done.exit_code == 2, done.output
    assert hint in done.stderr
    assert not (tmp_path / "out").exists()


def test_an_output_that_is_a_file_is_refused_before_the_work(stacks: Stacks, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine")
    done = call(*stacks.words(tmp_path / "out/deeper", "--method", "sirt"))
    assert done.exit_code == 2
    assert "a file at" in done.stderr
    assert (tmp_path / "out").read_text() == "mine"


def test_ctrl_c_keeps_the_volume_reached_so_far(stacks: Stacks, tmp_path: Path) -> None:
    words = stacks.words(tmp_path / "out", "--method", "sirt", "--iterations", 10000)
    process = subprocess.Popen(
        [sys.executable, "-m", "napari_dipmtv", *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "OMP_NUM_THREADS": "1", "FORCE_COLOR": "1", "TTY_INTERACTIVE": "1"},
    )
    assert process.stderr is not None
    seen = b""
    deadline = time.monotonic() + 60
    while b"/10000" not in seen and time.monotonic() < deadline:
        seen += os.read(process.stderr.fileno(), 4096)
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 0, stderr.decode()
    assert b"Stopped early" in stdout
    report = json.loads((tmp_path / "out/report.json").read_text())
    assert report["stopped"] is True
    assert 0 < report["iterations"] < 10000
    assert load_volume(tmp_path / "out").data.max() > 0


def test_ctrl_c_before_there_is_anything_ends_with_130(
    stacks: Stacks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from napari_dipmtv import pipeline

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(pipeline, "reconstruct", interrupted)
    done = call(*stacks.words(tmp_path / "out", "--method", "sirt"))
    assert done.exit_code == 130
    assert not (tmp_path / "out").exists()


@pytest.fixture
def project_file(stacks: Stacks, tmp_path: Path) -> Path:
    project = {
        "format": "napari-dipmtv project",
        "version": 1,
        "inputs": {
            "maps": {"FeO": str(stacks.folder / "feo.tif"), "Fe3O4": str(stacks.folder / "fe3o4.mrc")},
            "angles": str(stacks.folder / "tilts.txt"),
            "pixel_nm": 0.4,
        },
        "output": "results",
        "align": {"rounds": 0, "find_axis_angle": False},
        "reconstruct": {"method": "sirt", "settings": {"iterations": 10}, "device": "cpu"},
    }
    path = tmp_path / "cube.dipmtv.json"
    path.write_text(json.dumps(project))
    return path


def test_run_goes_through_a_project(project_file: Path, tmp_path: Path) -> None:
    done = call("run", project_file, "--json")
    assert done.exit_code == 0, done.output
    files = [Path(name).name for name in json.loads(done.stdout)["files"]]
    assert {"volume_FeO.tif", "labels.tif", "measures.csv", "report.json"} <= set(files)
    assert (tmp_path / "results/report.json").is_file()


@pytest.mark.parametrize(
    ("reason", "code"), [(KeyboardInterrupt(), 130), (DeviceError("device: expected an answer. Restart."), 3)]
)
def test_run_writes_what_it_reached_and_says_that_it_did_not_finish(
    project_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reason: BaseException, code: int
) -> None:
    module = importlib.import_module("napari_dipmtv.tomo.reconstruct")
    original = module._method_states

    def ends_early(*args: Any) -> Iterator[Any]:
        yield from islice(original(*args), 2)
        raise reason

    monkeypatch.setattr(module, "_method_states", ends_early)
    done = call("run", project_file)
    assert done.exit_code == code, done.output
    assert "results" in done.stderr
    assert str(reason) in done.output
    report = json.loads((tmp_path / "results/report.json").read_text())
    assert (report["stopped"], report["iterations"]) == (True, 2)
    assert (tmp_path / "results/volume_FeO.tif").is_file()


def test_run_asks_for_its_device_before_anything_else(project_file: Path, tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is one")
    project_file.write_text(project_file.read_text().replace('"device": "cpu"', '"device": "cuda"'))
    done = call("run", project_file)
    assert done.exit_code == 2
    assert "CUDA" in done.stderr
    assert not any((tmp_path / "results").glob("*"))


def test_a_saved_series_needs_no_second_look(stacks: Stacks, tmp_path: Path) -> None:
    save_maps(stacks.series, tmp_path / "aligned")
    done = call("reconstruct", "--maps", tmp_path / "aligned", "--method", "sirt", "--out", tmp_path / "out")
    assert done.exit_code == 0, done.output
    assert "taken as aligned" not in done.stderr
