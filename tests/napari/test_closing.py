"""F38, F39: what happens to a run when its window or its dock goes."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
from own_process import run_alone
from plugin_fakes import Steps, maps, press

from napari_dipmtv._napari.app import launch
from napari_dipmtv._napari.bench import Bench, bench_of
from napari_dipmtv._napari.demo_settings import demo_settings
from napari_dipmtv._napari.reconstruct_widget import ReconstructWidget

CLOSE = """
import sys, time
sys.path.insert(0, {folder!r})
import napari
from qtpy.QtCore import QTimer
from plugin_fakes import Steps, cube
from napari_dipmtv._napari.bench import bench_of
from napari_dipmtv._napari.reconstruct_widget import ReconstructWidget

viewer = napari.Viewer()
dock = ReconstructWidget(viewer)
viewer.window.add_dock_widget(dock)
steps = Steps(100_000, pause_s=0.02, value=lambda i: cube())
bench = bench_of(viewer)
bench.job.start("reconstruct", steps, stream_s=0.0)

def close():
    print("steps before", steps.done, flush=True)
    begin = time.monotonic()
    viewer.close()
    print("closed in", time.monotonic() - begin, "iterator closed", steps.closed, flush=True)

QTimer.singleShot(700, close)
napari.run()
print("left the event loop", steps.closed, flush=True)
"""


def test_f38_closing_ends_the_run_at_once_and_cleanly(qapp: Any, tmp_path: Path) -> None:
    done = run_alone(CLOSE, tmp_path)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.split("steps before")[1].split()[0]) > 2
    assert "left the event loop True" in done.stdout
    for word in ("wrapped C/C++", "QThread", "QObject::", "Traceback", "Aborted", "Segmentation"):
        assert word not in done.stderr, done.stderr


def test_leaving_the_program_stops_the_worker(bench: Bench, qapp: Any, qtbot: Any) -> None:
    steps = Steps(100_000, pause_s=0.01)
    bench.job.start("reconstruct", steps)
    qtbot.waitUntil(lambda: steps.done > 2)
    qapp.aboutToQuit.emit()
    assert steps.closed
    assert not bench.job.running


def test_napari_knows_that_a_run_is_going_on(make_napari_viewer: Any, qtbot: Any) -> None:
    """So that it asks before it closes the window."""
    viewer = make_napari_viewer()
    bench, steps = bench_of(viewer), Steps(100_000)
    tasks = viewer.window._task_status_manager
    bench.job.start("reconstruct", steps)
    assert tasks.is_busy()
    assert tasks.get_status() == ["napari-dipmtv: reconstruct is running"]
    with qtbot.waitSignal(bench.job.ended, timeout=3000):
        bench.job.stop()
    assert not tasks.is_busy()


def test_closing_the_viewer_stops_the_worker(make_napari_viewer: Any, qtbot: Any) -> None:
    viewer = make_napari_viewer()
    bench, steps = bench_of(viewer), Steps(100_000, pause_s=0.01)
    bench.job.start("reconstruct", steps)
    qtbot.waitUntil(lambda: steps.done > 2)
    viewer.close()
    assert steps.closed
    assert bench.job.why_not == ""


def test_f39_a_removed_dock_lets_the_run_go_on_and_a_new_one_finds_it(
    make_napari_viewer: Any, qtbot: Any
) -> None:
    viewer = make_napari_viewer()
    dock = viewer.window.add_dock_widget(ReconstructWidget(viewer), name="Reconstruct")
    bench, steps = bench_of(viewer), Steps(100_000)
    bench.session.put("tilt_series", maps())
    bench.job.start("reconstruct", steps)
    qtbot.waitUntil(lambda: steps.done > 2)
    viewer.window.remove_dock_widget(dock)
    before = steps.done
    qtbot.waitUntil(lambda: steps.done > before + 5)
    again = ReconstructWidget(viewer)
    viewer.window.add_dock_widget(again, name="Reconstruct")
    qtbot.waitUntil(lambda: "Counting" in again.job_bar.text.text())
    with qtbot.waitSignal(bench.job.ended, timeout=3000):
        press(again.job_bar.stop, qtbot)


def test_f46_twenty_runs_leave_nothing_behind(bench: Bench, qtbot: Any) -> None:
    before = threading.active_count()
    for _ in range(20):
        with qtbot.waitSignal(bench.job.finished, timeout=3000):
            bench.job.start("count", Steps(3, pause_s=0))
    qtbot.waitUntil(lambda: threading.active_count() == before)
    assert bench.job.run_id == 20


def test_launch_docks_the_plugin_and_loads_the_demo(
    make_napari_viewer: Any, qtbot: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: list[Any] = []
    monkeypatch.setattr("napari.Viewer", lambda **_: viewer)
    monkeypatch.setattr("napari.run", lambda: None)
    monkeypatch.setattr(Bench, "load_demo", lambda self, settings: loaded.append(settings))
    viewer = make_napari_viewer()
    launch(demo=True)
    assert "DIPm-TV" in viewer.window.dock_widgets
    assert loaded == [demo_settings()]
