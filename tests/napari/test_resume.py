"""A run that was closed, killed, finished or cancelled, and what another window or the command can go on from."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from napari.components import ViewerModel
from plugin_fakes import as_after_a_restart, maps, press
from qtpy.QtCore import Qt
from typer.testing import CliRunner

from napari_dipmtv import pipeline
from napari_dipmtv._napari.bench import Bench
from napari_dipmtv._napari.preferences import Preferences
from napari_dipmtv._napari.project_file import default_output
from napari_dipmtv._napari.reconstruct_widget import ReconstructWidget
from napari_dipmtv.cli.app import app
from napari_dipmtv.data import F32, TiltSeries
from napari_dipmtv.errors import WriteError
from napari_dipmtv.io.claim import Claim
from napari_dipmtv.io.map_folder import save_maps
from napari_dipmtv.io.recorder import CheckpointWarning
from napari_dipmtv.io.run_folder import KEPT, RUNS, begin_run, forget_run, load_series, saved_run, saved_runs
from napari_dipmtv.io.volumes import load_volume
from napari_dipmtv.settings.tomo import CsTvSettings, SirtSettings, WbpSettings
from napari_dipmtv.states import run

ALIGNED = maps(kind=TiltSeries)


@pytest.fixture(autouse=True)
def errors(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is shown to the person as an error or a warning."""
    shown: list[str] = []
    for home in ("runs.show_error", "runs.show_warning", "bench.show_warning"):
        monkeypatch.setattr(f"napari_dipmtv._napari.{home}", shown.append)
    return shown


def window(qtbot: Any) -> tuple[ViewerModel, ReconstructWidget]:
    """A new viewer with the dock of step 5; whoever asks holds the viewer."""
    viewer = ViewerModel()
    dock = ReconstructWidget(viewer)
    qtbot.addWidget(dock)
    dock.device.setCurrentIndex(dock.device.findData("cpu"))
    return viewer, dock


def aligned_dock(bench: Bench, qtbot: Any) -> ReconstructWidget:
    """Step 5 with an aligned series, on the processor."""
    dock = ReconstructWidget(bench.viewer_for_test)
    qtbot.addWidget(dock)
    dock.device.setCurrentIndex(dock.device.findData("cpu"))
    bench.session.put("tilt_series", ALIGNED)
    return dock


def click(button: Any, wait_for: Any, qtbot: Any) -> None:
    assert button.isEnabled(), button.toolTip()
    with qtbot.waitSignal(wait_for, timeout=60_000):
        qtbot.mouseClick(button, Qt.MouseButton.LeftButton)


def start(dock: ReconstructWidget, iterations: int, qtbot: Any) -> None:
    dock.method.setCurrentIndex(dock.method.findData("sirt"))
    dock.form.setValue(SirtSettings(iterations=iterations))
    assert dock.job_bar.start.isEnabled(), dock.job_bar.start.toolTip()
    press(dock.job_bar.start, qtbot)


def hold(bench: Bench, qtbot: Any) -> int:
    """Let a run that has just been started wait behind its first step; gives its number."""
    bench.job.pause()
    qtbot.waitUntil(lambda: bench.job.progress.iteration > 0, timeout=60_000)
    return bench.job.progress.iteration


def uninterrupted(iterations: int) -> F32:
    states = pipeline.reconstruct_states(ALIGNED, "sirt", SirtSettings(iterations=iterations), "cpu")
    return run(states).value.data


def test_f38_a_closed_window_leaves_a_run_that_the_project_goes_on_with(
    bench: Bench, qtbot: Any, tmp_path: Path, errors: list[str]
) -> None:
    """Close in mid run, reopen the project, resume: bit for bit the volume of the run that nobody interrupted."""
    total = 40
    path = tmp_path / "cube.dipmtv.json"
    save_maps(maps(), tmp_path / "data")
    dock = ReconstructWidget(bench.viewer_for_test)
    qtbot.addWidget(dock)
    dock.device.setCurrentIndex(dock.device.findData("cpu"))
    from napari_dipmtv._napari.sources import MapSource

    with qtbot.waitSignal(bench.job.finished, timeout=20_000):
        bench.load_maps([tmp_path / "data"], MapSource())
    bench.assume_aligned()
    bench.save_project(path, default_output(path))
    start(dock, total, qtbot)
    held = hold(bench, qtbot)
    assert bench.job.shutdown()  # what closing the window calls
    path = as_after_a_restart(path)

    viewer, again = window(qtbot)
    with qtbot.waitSignal(again.bench.job.finished, timeout=20_000):
        again.bench.open_project(path)
    qtbot.waitUntil(lambda: not again.bench.job.running)
    assert errors == []
    offer = again.bench.offer
    assert offer is not None
    reached = offer.run.iteration
    assert held <= reached < total
    assert not again.resume.isHidden()
    assert again.resume.resume.text() == f"Resume at iteration {reached}"
    assert again.resume.more.value() == total - reached
    assert f"SIRT stands at iteration {reached} of {total}" in again.resume.words.text()

    beside = tmp_path / "copied"
    shutil.copytree(offer.run.folder, beside)
    click(again.resume.resume, again.bench.results_changed, qtbot)
    made = again.session.value("volume")
    assert (made.iterations, made.stopped) == (total, False)
    assert len(made.losses["residual"]) == total  # with those before the interruption
    assert made.seconds > offer.run.seconds
    assert np.array_equal(made.volume.data, uninterrupted(total))
    assert again.form.value() == SirtSettings(iterations=total)
    qtbot.waitUntil(lambda: not again.bench.job.running, timeout=20_000)
    assert np.array_equal(load_volume(default_output(path)).data, made.volume.data)  # saved by itself
    assert "reconstruct" in {entry.stage for entry in again.session.history}

    words = ["--maps", beside, "--checkpoint", beside, "--out", tmp_path / "out", "--device", "cpu"]
    done = CliRunner().invoke(app, ["reconstruct", "--method", "sirt", "--resume", *map(str, words)])
    assert done.exit_code == 0, done.output
    assert np.array_equal(load_volume(tmp_path / "out").data, made.volume.data)
    del viewer


def test_a_finished_run_is_extended_and_another_alignment_is_offered_nothing(
    bench: Bench, qtbot: Any, cache: Path
) -> None:
    dock = aligned_dock(bench, qtbot)
    assert dock.resume.isHidden()
    with qtbot.waitSignal(bench.job.finished, timeout=20_000):
        start(dock, 4, qtbot)
    assert dock.resume.resume.text() == "Resume at iteration 4"
    dock.resume.more.setValue(3)
    click(dock.resume.resume, bench.job.finished, qtbot)
    made = bench.session.value("volume")
    assert made.iterations == 7
    assert np.array_equal(made.volume.data, uninterrupted(7))
    assert [result.iterations for result in bench.session.results] == [4, 7]
    assert dock.resume.resume.text() == "Resume at iteration 7"
    assert len(saved_runs(cache / RUNS)) == 1  # the longer run is the same run

    bench.session.put("tilt_series", ALIGNED.replace())
    assert bench.offer is None
    dock.refresh()
    assert dock.resume.isHidden()
    bench.session.put("tilt_series", ALIGNED)
    dock.refresh()
    click(dock.resume.forget, bench.offer_changed, qtbot)
    assert dock.resume.isHidden()
    assert saved_runs(cache / RUNS) == []


def test_cancel_leaves_the_checkpoints_that_were_there(bench: Bench, qtbot: Any, cache: Path) -> None:
    dock = aligned_dock(bench, qtbot)
    start(dock, 10_000, qtbot)
    hold(bench, qtbot)
    click(dock.job_bar.cancel, bench.job.ended, qtbot)
    assert list((cache / RUNS).iterdir()) == []  # nothing was reached that is wanted
    start(dock, 10_000, qtbot)
    hold(bench, qtbot)
    click(dock.job_bar.stop, bench.job.ended, qtbot)
    kept = bench.session.value("volume").iterations
    assert dock.resume.resume.text() == f"Resume at iteration {kept}"
    qtbot.mouseClick(dock.resume.resume, Qt.MouseButton.LeftButton)
    assert hold(bench, qtbot) > kept
    assert not dock.resume.forget.isEnabled()
    assert "is running" in dock.resume.forget.toolTip()
    click(dock.job_bar.cancel, bench.job.ended, qtbot)
    assert dock.resume.resume.text() == f"Resume at iteration {kept}"


def test_an_empty_window_offers_what_the_last_one_left(qtbot: Any, bench: Bench, errors: list[str]) -> None:
    """As after a crash with data of no project: the aligned maps come back with the run."""
    dock = aligned_dock(bench, qtbot)
    start(dock, 60, qtbot)
    hold(bench, qtbot)
    bench.job.shutdown()
    viewer, again = window(qtbot)
    assert "Its aligned maps come with it" in again.resume.words.text()
    click(again.resume.resume, again.bench.results_changed, qtbot)
    assert np.array_equal(again.session.value("tilt_series").data, ALIGNED.data)
    assert np.array_equal(again.session.value("volume").volume.data, uninterrupted(60))
    assert again.session.is_current(again.session.value("volume"))
    assert errors == []
    del viewer


def test_a_run_of_another_window_is_neither_offered_nor_forgotten_nor_written_to(
    bench: Bench, qtbot: Any, cache: Path, errors: list[str]
) -> None:
    """Two windows on one cache: the checkpoints belong to who began the run, until that window is gone."""
    dock = aligned_dock(bench, qtbot)
    start(dock, 60, qtbot)
    hold(bench, qtbot)
    bench.job.shutdown()  # leaves a run, which another process now goes on with
    [left] = saved_runs(cache / RUNS)
    theirs = Claim(left.folder)
    assert theirs.take()
    viewer, again = window(qtbot)
    assert again.bench.offer is None
    forget_run(left.folder)
    before = {file: file.read_bytes() for file in left.folder.iterdir()}
    again.device.setCurrentIndex(again.device.findData("cpu"))
    again.bench.session.put("tilt_series", ALIGNED)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        with qtbot.waitSignal(again.bench.results_changed, timeout=20_000):
            start(again, 60, qtbot)
    assert any("goes on in another window" in str(one.message) for one in told)
    assert np.array_equal(again.session.value("volume").volume.data, uninterrupted(60))
    assert {file: file.read_bytes() for file in left.folder.iterdir()}.keys() == before.keys()
    assert [one.iteration for one in saved_runs(cache / RUNS)] == [left.iteration]
    qtbot.waitUntil(lambda: not again.bench.job.running)
    theirs.release()
    third_viewer, third = window(qtbot)
    assert third.bench.offer is not None
    assert errors == []
    del viewer, third_viewer


def test_f51_a_run_goes_on_where_no_checkpoint_can_be_written(
    bench: Bench, qtbot: Any, monkeypatch: pytest.MonkeyPatch, errors: list[str]
) -> None:
    def refuse(*_: object, **__: object) -> Any:
        raise WriteError("folder: expected one that can be written, got a read-only one. Choose another.")

    monkeypatch.setattr("napari_dipmtv._napari.kept_run.begin_run", refuse)
    bench.session.put("tilt_series", ALIGNED)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        with qtbot.waitSignal(bench.job.finished, timeout=20_000):
            bench.reconstruct("sirt", SirtSettings(iterations=3), "cpu", None)
    assert any(issubclass(one.category, CheckpointWarning) for one in told)
    assert bench.session.has("volume")
    assert bench.offer is None
    assert errors == []


def test_threads_and_checkpoints_are_as_preferred(
    bench: Bench, qtbot: Any, monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    import torch

    seen: list[int] = []
    real = pipeline.reconstruct_states

    def watching(*words: Any) -> Any:
        for state in real(*words):
            seen.append(torch.get_num_threads())
            yield state

    monkeypatch.setattr(pipeline, "reconstruct_states", watching)
    chosen = Preferences(threads=3, checkpoint_min=0.0)
    monkeypatch.setattr("napari_dipmtv._napari.reconstructing.preferences", lambda: chosen)
    before = torch.get_num_threads()
    bench.session.put("tilt_series", ALIGNED)
    for method, settings in (("sirt", SirtSettings(iterations=2)), ("wbp", WbpSettings())):
        with qtbot.waitSignal(bench.job.finished, timeout=20_000):
            bench.reconstruct(method, settings, "cpu", None)
    assert seen == [3, 3, 3]
    assert torch.get_num_threads() == before
    assert not (cache / RUNS).exists()


def test_old_runs_are_forgotten_and_damaged_ones_passed_over(tmp_path: Path) -> None:
    from napari_dipmtv.io.checkpoints import Checkpoint, Task, checkpoint_files, save_checkpoint

    folders = []
    for i in range(KEPT + 2):
        task = Task.of(ALIGNED, "cs-tv", CsTvSettings(iterations=9, tv_strength=0.1 * (i + 1)))
        folder = begin_run(tmp_path, ALIGNED, task, {"device": "cpu"})
        state = {"iteration": np.array(2), "x": np.zeros((2, 12, 12, 12), np.float32)}
        save_checkpoint(Checkpoint(task, 2, 1.5, {"residual": [1.0, 0.5]}, state), folder)
        os.utime(folder / "run.json", (i, i))
        os.utime(checkpoint_files(folder)[0], (i, i))
        folders.append(folder)
    runs = saved_runs(tmp_path)
    assert [one.folder for one in runs] == folders[::-1][:KEPT]
    assert (runs[0].left, runs[0].story, runs[0].losses["residual"]) == (7, {"device": "cpu"}, [1.0, 0.5])
    assert runs[0].settings(5) == CsTvSettings(iterations=7, tv_strength=0.1 * (KEPT + 2))
    assert np.array_equal(load_series(runs[0]).data, ALIGNED.data)
    checkpoint_files(folders[-1])[0].write_bytes(b"cut short")
    assert saved_run(folders[-1]) is None
    (folders[-2] / "run.json").write_text("{")
    assert saved_run(folders[-2]) is None
    forget_run(tmp_path)  # holds runs, but is none
    assert len(saved_runs(tmp_path)) == KEPT - 2


KILLED = """
import sys
sys.path.insert(0, {folder!r})
from pathlib import Path
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QApplication
from napari.components import ViewerModel
from plugin_fakes import maps
from napari_dipmtv._napari import reconstructing
from napari_dipmtv._napari.bench import bench_of
from napari_dipmtv._napari.preferences import Preferences
from napari_dipmtv.data import TiltSeries
from napari_dipmtv.settings.tomo import SirtSettings

reconstructing.preferences = lambda: Preferences(checkpoint_min=1e-9, cache_folder={cache!r})
app = QApplication([])
viewer = ViewerModel()
bench = bench_of(viewer)
bench.session.put("tilt_series", maps(kind=TiltSeries))
bench.reconstruct("sirt", SirtSettings(iterations=5000), "cpu", None)
app.exec()
"""


@pytest.mark.slow
def test_f52_a_killed_window_leaves_a_run_that_goes_on(
    qapp: Any, qtbot: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = KILLED.format(folder=str(Path(__file__).parent), cache=str(tmp_path))
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", code], env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    deadline = time.monotonic() + 240
    while not any(one.iteration > 5 for one in saved_runs(tmp_path / RUNS)) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    monkeypatch.setattr(
        "napari_dipmtv._napari.reconstructing.preferences", lambda: Preferences(cache_folder=str(tmp_path))
    )
    viewer, again = window(qtbot)
    offer = again.bench.offer
    assert offer is not None
    again.resume.more.setValue(20)
    click(again.resume.resume, again.bench.results_changed, qtbot)
    made = again.session.value("volume")
    assert made.iterations == offer.run.iteration + 20
    assert np.array_equal(made.volume.data, uninterrupted(made.iterations))
    del viewer
