"""Layers come one by one, a turn of the event loop each, whatever befalls them and their window meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from napari.components import ViewerModel
from own_process import run_alone
from plugin_fakes import CHANNELS, Steps, cube, maps, press, series
from qtpy.QtCore import QTimer

from napari_dipmtv import pipeline
from napari_dipmtv._napari.bench import Bench, bench_of
from napari_dipmtv._napari.references_widget import ReferencesWidget
from napari_dipmtv._napari.session import Reconstruction
from napari_dipmtv.data import Region, Segmentation
from napari_dipmtv.settings.tomo import SirtSettings


@pytest.fixture(autouse=True)
def errors(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """What is shown to the person as an error: nothing in all of these tests."""
    shown: list[str] = []
    for module in ("runs", "turns"):
        monkeypatch.setattr(f"napari_dipmtv._napari.{module}.show_error", shown.append)
    yield shown
    assert shown == []


@pytest.fixture
def live(qtbot: Any) -> Iterator[Bench]:
    """A workplace without a window whose layers come when the event loop turns."""
    viewer = ViewerModel()
    made = bench_of(viewer)
    made.viewer_for_test = viewer
    yield made
    made.job.shutdown()


def names(bench: Bench) -> list[str]:
    return [layer.name for layer in bench.layers.viewer.layers]


def wait_for_layers(bench: Bench, qtbot: Any) -> list[str]:
    qtbot.waitUntil(lambda: not bench.layers.busy, timeout=60_000)
    return names(bench)


def result(bench: Bench, level: float = 1.0) -> Reconstruction:
    aligned = bench.session.value("tilt_series")
    return Reconstruction(cube(level=level), "SIRT", aligned, "sirt", {}, "cpu", {}, 2, 0.1, False)


def phases() -> Segmentation:
    labels = np.zeros((12, 12, 12), np.uint8)
    labels[4:8, 4:8, 4:8] = 1
    return Segmentation(labels, {0: "vacuum", 1: "FeO core"}, 0.5)


def test_no_turn_makes_two_layers_and_the_end_is_told_once(live: Bench, qtbot: Any) -> None:
    viewer, turn, made, told = live.viewer_for_test, [0], [], []
    live.layers_shown.connect(lambda: told.append(names(live)))
    viewer.layers.events.inserted.connect(lambda _: made.append(turn[0]))
    clock = QTimer(interval=0)
    clock.timeout.connect(lambda: turn.append(turn.pop() + 1))
    clock.start()
    live.session.load("series", series())
    live.session.put("maps", maps())
    live.assume_aligned()
    live.session.add_result(result(live))
    live.layers.finish_stream(cube(), "SIRT", "volume 0")
    live.session.restore({"segmentation": phases()})
    assert names(live) == []
    wait_for_layers(live, qtbot)
    clock.stop()
    assert len(set(made)) == len(made) == 9
    solids = ["FeO (SIRT)", "Fe3O4 (SIRT)", "Phases"]
    sums = ["Low-loss sum", "Core-loss sum"]
    assert names(live) == [*sums, *CHANNELS, "FeO (aligned)", "Fe3O4 (aligned)", *solids]
    assert [layer.name for layer in viewer.layers if layer.visible] == ["Phases"]
    assert told == [names(live)]


def test_new_data_leave_nothing_of_what_was_still_to_come(live: Bench, qtbot: Any) -> None:
    live.session.load("maps", maps())
    live.assume_aligned()
    qtbot.waitUntil(lambda: names(live) == ["FeO"])  # the first of four
    live.session.load("maps", maps().replace(channels=("Se", "Zn")))
    assert wait_for_layers(live, qtbot) == ["Se", "Zn"]
    live.session.load("maps", maps())
    live.session.load("series", series())
    assert wait_for_layers(live, qtbot) == ["Low-loss sum", "Core-loss sum"]


def test_a_layer_that_is_deleted_while_the_next_one_is_made(live: Bench, qtbot: Any) -> None:
    live.session.load("maps", maps())
    qtbot.waitUntil(lambda: names(live) == ["FeO"])
    live.viewer_for_test.layers.clear()
    assert wait_for_layers(live, qtbot) == ["Fe3O4"]
    live.session.put("maps", maps())
    assert wait_for_layers(live, qtbot) == ["Fe3O4", "FeO"]  # new maps bring it back
    live.layers.grow(cube(), "running")
    qtbot.waitUntil(lambda: "FeO (running)" in names(live))
    live.viewer_for_test.layers.remove("FeO (running)")
    assert live.layers.busy
    wait_for_layers(live, qtbot)
    live.layers.finish_stream(cube(), "SIRT", "volume 0")
    assert wait_for_layers(live, qtbot) == ["Fe3O4", "FeO", "Fe3O4 (SIRT)"]  # of a run it stays deleted


def test_the_layer_that_somebody_works_on_stays_selected_until_the_new_one_is_there(
    live: Bench, qtbot: Any
) -> None:
    """napari is told of one selection at a time, and of none that is not there."""
    viewer = live.viewer_for_test
    mine = viewer.add_image(np.zeros((4, 4)), name="mine")
    chosen: list[str | None] = []
    viewer.layers.selection.events.active.connect(
        lambda event: chosen.append(event.value and event.value.name)
    )
    at_insertion: list[set[Any]] = []
    viewer.layers.events.inserted.connect(lambda _: at_insertion.append(set(viewer.layers.selection)))
    live.session.load("maps", maps())
    wait_for_layers(live, qtbot)
    assert viewer.layers.selection.active.name == "Fe3O4"
    assert at_insertion == [{mine}, {viewer.layers["FeO"]}]
    assert list(dict.fromkeys(filter(None, chosen))) == ["FeO", "Fe3O4"]


@pytest.mark.parametrize("end", ["stop", "cancel", "maps replaced"])
def test_a_run_that_ends_while_its_layers_are_being_made(
    live: Bench, qtbot: Any, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    steps = Steps(100_000, value=lambda i: cube(level=i))
    monkeypatch.setattr(pipeline, "reconstruct_states", lambda *_: steps())
    ends = {
        "stop": live.job.stop,
        "cancel": live.job.cancel,
        "maps replaced": lambda: live.session.load("maps", maps(16)),
    }
    live.session.load("maps", maps())
    live.assume_aligned()
    wait_for_layers(live, qtbot)
    live.job.preview.connect(lambda *_: ends[end]())  # the first preview has just come
    with qtbot.waitSignal(live.job.ended, timeout=10_000):
        live.reconstruct("dipm-tv", SirtSettings(), "cpu", 0.0)
    assert live.layers.busy
    wait_for_layers(live, qtbot)
    volumes = [layer for layer in live.viewer_for_test.layers if layer.ndim == 3]
    assert [layer.visible for layer in volumes] == ([True, True] if end == "stop" else [])
    assert all("stopped at" in layer.name for layer in volumes)
    assert live.job.why_not == ""


def test_two_runs_in_a_row_while_the_layers_of_the_first_are_made(live: Bench, qtbot: Any) -> None:
    live.session.load("maps", maps())
    live.assume_aligned()
    for count in (1, 2):
        with qtbot.waitSignal(live.job.ended, timeout=60_000):
            live.reconstruct("sirt", SirtSettings(iterations=count), "cpu", None)
        assert live.layers.busy
    wait_for_layers(live, qtbot)
    volumes = [layer for layer in live.viewer_for_test.layers if layer.ndim == 3]
    assert [layer.name for layer in volumes] == [
        "FeO (SIRT)",
        "Fe3O4 (SIRT)",
        "FeO (SIRT) [1]",
        "Fe3O4 (SIRT) [1]",
    ]
    assert [layer.visible for layer in volumes] == [False, False, True, True]


def test_references_are_made_of_regions_that_are_still_being_drawn(
    live: Bench, qtbot: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(Bench, "make_references", lambda self, regions, settings: asked.append(regions))
    monkeypatch.setattr("napari_dipmtv._napari.references_widget.show_warning", lambda _: None)
    dock = ReferencesWidget(live.viewer_for_test)
    qtbot.addWidget(dock)
    one, two = np.zeros((2, 10, 12), bool)
    one[2:5, 2:5], two[6:9, 6:9] = True, True
    drawn = {"FeO": Region(0.0, one), "Fe3O4": Region(0.0, two)}
    live.session.load("series", series(), demo_regions=drawn)
    live.session.put("prepared", series())
    press(dock.draw_demo, qtbot)
    press(dock.job_bar.start, qtbot)
    [regions] = asked
    assert {name: region.mask.tolist() for name, region in regions.items()} == {
        name: region.mask.tolist() for name, region in drawn.items()
    }


CLOSE = """
import sys
sys.path.insert(0, {folder!r})
import napari
from qtpy.QtCore import QTimer
from plugin_fakes import maps, series
from qtpy.QtWidgets import QApplication
from napari_dipmtv._napari.main_widget import MainWidget

app = QApplication([])

def closing(how, before):
    viewer = napari.Viewer()
    main = MainWidget(viewer)
    viewer.window.add_dock_widget(main)
    bench = main.bench

    def close():
        if len(viewer.layers) != before:
            return
        timer.stop()
        if how == "replace":
            bench.session.load("series", series())
            QTimer.singleShot(0, lambda: QTimer.singleShot(0, viewer.close))
            return
        assert bench.layers.busy
        print(how, [layer.name for layer in viewer.layers], flush=True)
        viewer.close() if how == "code" else viewer.window._qt_window.close()

    timer = QTimer(interval=0)
    timer.timeout.connect(close)
    QTimer.singleShot(0, lambda: bench.session.load("maps", maps()))
    timer.start()
    napari.run()
    QTimer.singleShot(200, app.quit)
    app.exec()
    assert not bench.layers.busy, how

for how, before in (("code", 0), ("code", 1), ("cross", 1), ("replace", 2)):
    closing(how, before)
print("closed all")
"""


@pytest.mark.slow
def test_f38_a_window_is_closed_while_layers_are_made(qapp: Any, tmp_path: Path) -> None:
    done = run_alone(CLOSE, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith("closed all\n")
    for word in ("wrapped C/C++", "QThread", "QObject::", "Traceback", "Aborted", "Segmentation"):
        assert word not in done.stderr, done.stderr


def test_a_layer_that_goes_holds_nothing_any_more(live: Bench, qtbot: Any) -> None:
    """Python may look for garbage much later; until then the layer itself stays in memory."""
    live.session.load("maps", maps())
    wait_for_layers(live, qtbot)
    gone = live.viewer_for_test.layers["FeO"]
    live.session.load("maps", maps().replace(channels=("Mn", "Co")))
    assert wait_for_layers(live, qtbot) == ["Mn", "Co"]
    assert gone.data.shape == (1,) * gone.ndim
