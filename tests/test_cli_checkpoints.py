"""Runs on the command line that are killed, stopped, resumed, extended or short of memory."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner, Result

from napari_dipmtv.cli.app import app
from napari_dipmtv.data import TiltSeries
from napari_dipmtv.io.checkpoints import checkpoint_files, load_checkpoint, save_checkpoint
from napari_dipmtv.io.map_folder import save_maps
from napari_dipmtv.io.recorder import Recorder
from napari_dipmtv.io.volumes import load_volume
from napari_dipmtv.states import State
from napari_dipmtv.tomo import devices
from napari_dipmtv.tomo.network import DipNetwork

SMALL = (
    *("filters=[4,4]", "skips=[2,2]", "precision=float32", "network_input=random"),
    *("crop=false", "held_out=0", "cavities=false", "tv_strength=0.02"),
)
USUAL = ("--set", "crop=true", "--set", "held_out=0.1", "--set", "cavities=true")


@pytest.fixture(scope="module")
def maps(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("maps")
    data = np.random.default_rng(0).poisson(5, (2, 7, 16, 16)).astype(np.float32)
    tilts = tuple(float(t) for t in np.linspace(-60, 60, 7))
    save_maps(TiltSeries(data, ("FeO", "Fe3O4"), tilts, 0.4, counts_per_unit=1.0), folder)
    return folder


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Bits may depend on the number of threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def words(maps: Path, out: Path, *more: object) -> list[str]:
    small = [word for assignment in SMALL for word in ("--set", assignment)]
    head = ["reconstruct", "--maps", maps, "--out", out, "--device", "cpu"]
    return [str(word) for word in (*head, *small, *more)]


def call(maps: Path, out: Path, *more: object) -> Result:
    return CliRunner().invoke(app, words(maps, out, *more))


def report(out: Path) -> dict[str, object]:
    return json.loads((out / "report.json").read_text())


def test_f52_a_killed_run_goes_on_bit_for_bit(maps: Path, tmp_path: Path) -> None:
    folder, every = tmp_path / "run", 3
    options = ("--checkpoint", folder, "--checkpoint-every", every)
    task = (*USUAL, "--iterations", 200)
    process = subprocess.Popen(
        [sys.executable, "-m", "napari_dipmtv", *words(maps, tmp_path / "a", *options, *task)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    deadline = time.monotonic() + 240
    while len(checkpoint_files(folder)) < 2 and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert process.returncode == -signal.SIGKILL
    assert not (tmp_path / "a").exists()  # nothing half-written

    reached = load_checkpoint(folder).iteration
    assert reached % every == 0
    done = call(maps, tmp_path / "b", *options, *USUAL, "--resume")
    assert done.exit_code == 0, done.output
    told = report(tmp_path / "b")
    assert told["resumed"]["from_iteration"] == reached  # type: ignore[index]
    assert told["resumed"]["checkpoint"].endswith(f"iteration_{reached:08d}.npz")  # type: ignore[index]
    assert len(told["losses"]["data"]) == told["iterations"] > reached  # type: ignore[index]

    whole = call(maps, tmp_path / "c", *task)
    assert whole.exit_code == 0, whole.output
    assert report(tmp_path / "c")["losses"] == told["losses"]
    assert report(tmp_path / "c")["resumed"] is None
    np.testing.assert_array_equal(load_volume(tmp_path / "b").data, load_volume(tmp_path / "c").data)


def test_a_finished_run_is_extended(maps: Path, tmp_path: Path) -> None:
    """At a constant rate the longer run is the same as one that was asked for at once."""
    options = ("--checkpoint", tmp_path / "run")
    constant = ("--set", "schedule=constant")
    assert call(maps, tmp_path / "a", *options, *constant, "--iterations", 4).exit_code == 0
    done = call(maps, tmp_path / "b", *options, "--resume", "--more", 3)
    assert done.exit_code == 0, done.output
    assert report(tmp_path / "b")["iterations"] == 7
    assert call(maps, tmp_path / "c", *constant, "--iterations", 7).exit_code == 0
    np.testing.assert_array_equal(load_volume(tmp_path / "b").data, load_volume(tmp_path / "c").data)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_or_a_request_to_end_keeps_volume_and_checkpoint(
    maps: Path, tmp_path: Path, number: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = Recorder.__call__

    def interrupted(recorder: Recorder, state: State[object]) -> None:
        record(recorder, state)
        if state.iteration == 4:
            signal.raise_signal(number)

    monkeypatch.setattr(Recorder, "__call__", interrupted)
    before = signal.getsignal(number)
    options = ("--checkpoint", tmp_path / "run")
    done = call(maps, tmp_path / "a", *options, "--iterations", 7)
    assert done.exit_code == 0, done.output
    assert "--resume goes on from" in done.stdout
    assert signal.getsignal(number) is before
    assert (report(tmp_path / "a")["stopped"], report(tmp_path / "a")["iterations"]) == (True, 4)
    assert load_checkpoint(tmp_path / "run").iteration == 4
    assert call(maps, tmp_path / "b", *options, "--resume").exit_code == 0  # to the 7 of the first run
    assert call(maps, tmp_path / "c", "--iterations", 7).exit_code == 0
    np.testing.assert_array_equal(load_volume(tmp_path / "b").data, load_volume(tmp_path / "c").data)


def test_a_second_ctrl_c_ends_at_once(maps: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def twice(_: Recorder, state: State[object]) -> None:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(Recorder, "__call__", twice)
    done = call(maps, tmp_path / "a", "--checkpoint", tmp_path / "run", "--iterations", 7)
    assert done.exit_code == 0, done.output
    assert report(tmp_path / "a")["iterations"] == 1
    assert checkpoint_files(tmp_path / "run") == []


@pytest.fixture(scope="module")
def finished(maps: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoints of a run of three iterations."""
    folder = tmp_path_factory.mktemp("finished")
    done = call(maps, folder / "out", "--checkpoint", folder / "run", "--iterations", 3)
    assert done.exit_code == 0, done.output
    assert [path.stem[-1] for path in checkpoint_files(folder / "run")] == ["3"]
    return folder / "run"


@pytest.mark.parametrize(
    ("more", "hint"),
    [
        (["--resume"], "more than 3 iterations"),
        (["--resume", "--iterations", 2], "more than 3 iterations"),
        (["--resume", "--more", 2, "--set", "tv_strength=0.3"], "tv_strength=0.02, as in the first run"),
        (["--resume", "--more", 2, "--seed", 4], "seed=0, as in the first run"),
        (["--resume", "--more", 2, "--method", "dip-tv"], "method dipm-tv, as in the first run"),
        (["--resume", "--more", 2, "--iterations", 9], "--more"),
        (["--more", 2], "--resume beside it"),
        ([], "Add --resume to go on"),
        (["--resume", "--checkpoint-every", "often"], "50 or 10min"),
    ],
)
def test_f56_what_does_not_continue_is_refused_and_writes_nothing(
    maps: Path, finished: Path, tmp_path: Path, more: list[object], hint: str
) -> None:
    before = {path: path.read_bytes() for path in finished.iterdir()}
    done = call(maps, tmp_path / "out", "--checkpoint", finished, *more)
    assert done.exit_code == 2, done.output
    assert hint in done.stderr.replace("\n", " ")
    assert not (tmp_path / "out").exists()
    assert {path: path.read_bytes() for path in finished.iterdir()} == before


def test_f56_other_maps_are_refused(maps: Path, finished: Path, tmp_path: Path) -> None:
    data = np.random.default_rng(1).poisson(5, (2, 7, 16, 16)).astype(np.float32)
    tilts = tuple(float(t) for t in np.linspace(-60, 60, 7))
    other = tmp_path / "other"
    save_maps(TiltSeries(data, ("FeO", "Fe3O4"), tilts, 0.4, counts_per_unit=1.0), other)
    done = call(other, tmp_path / "out", "--checkpoint", finished, "--resume", "--more", 2)
    assert done.exit_code == 2
    assert "the maps of the first run" in done.stderr.replace("\n", " ")


def test_f56_a_checkpoint_of_another_version_is_refused(maps: Path, finished: Path, tmp_path: Path) -> None:
    known = load_checkpoint(finished)
    settings = {name: value for name, value in known.task.settings.items() if name != "seed"}
    save_checkpoint(replace(known, task=replace(known.task, settings=settings)), tmp_path / "run")
    done = call(maps, tmp_path / "out", "--checkpoint", tmp_path / "run", "--resume", "--more", 2)
    assert done.exit_code == 2
    assert "the settings of this version" in done.stderr.replace("\n", " ")


def test_resume_needs_a_folder_and_a_folder_a_checkpoint(maps: Path, tmp_path: Path) -> None:
    for options, hint in (
        ([], "--checkpoint FOLDER"),
        (["--checkpoint", tmp_path / "typo"], "a checkpoint of a run"),
    ):
        done = call(maps, tmp_path / "out", *options, "--resume")
        assert done.exit_code == 2
        assert hint in done.stderr.replace("\n", " ")
    assert list(tmp_path.iterdir()) == []


def test_a_method_of_one_step_needs_no_checkpoint(maps: Path, tmp_path: Path) -> None:
    call_words = [
        "reconstruct",
        "--maps",
        maps,
        "--out",
        tmp_path / "o",
        "--method",
        "wbp",
        "--checkpoint",
        tmp_path / "run",
    ]
    done = CliRunner().invoke(app, [str(word) for word in call_words])
    assert done.exit_code == 2
    assert "a method of many steps" in done.stderr.replace("\n", " ")


def test_f30_out_of_memory_on_the_way_writes_what_was_reached_and_ends_with_3(
    maps: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forward, calls = DipNetwork.forward, iter(range(10**6))

    def faulty(network: DipNetwork, z: torch.Tensor) -> torch.Tensor:
        if z.device.type != "meta" and next(calls) == 8:  # three steps are the trial of the estimate
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return forward(network, z)

    monkeypatch.setattr(DipNetwork, "forward", faulty)
    options = ("--checkpoint", tmp_path / "run", "--checkpoint-every", 2, "--iterations", 30)
    done = call(maps, tmp_path / "a", *options)
    assert done.exit_code == 3, done.output
    assert "precision=bfloat16" in done.stdout
    told = report(tmp_path / "a")
    assert (told["stopped"], told["iterations"]) == (True, 5)
    assert "out of memory" in told["notes"][0]  # type: ignore[index]
    assert load_volume(tmp_path / "a").data.max() > 0
    assert load_checkpoint(tmp_path / "run").iteration == 4


def test_f29_too_little_memory_is_said_before_anything_is_written(
    maps: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(devices, "available_bytes", lambda _: 10**7)
    done = call(maps, tmp_path / "a", "--checkpoint", tmp_path / "run")
    assert done.exit_code == 2
    assert "precision=bfloat16" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_the_estimate_alone(maps: Path, tmp_path: Path) -> None:
    done = call(maps, tmp_path / "a", "--estimate", "--json", "--iterations", 50)
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)["estimate"]
    assert found["seconds"] == pytest.approx(50 * found["seconds_per_iteration"])
    assert 1e8 < found["memory_bytes"] < 1e9
    assert "This will take about" in call(maps, tmp_path / "a", "--estimate").stdout
    assert not (tmp_path / "a").exists()
