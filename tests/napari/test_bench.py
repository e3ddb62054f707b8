"""The workplace: runs set stages, replaced input drops them, previews and errors behave."""

from __future__ import annotations

from typing import Any

import pytest
from napari.components import ViewerModel
from plugin_fakes import CHANNELS, Steps, cube, maps

from napari_dipmtv import pipeline
from napari_dipmtv._napari.bench import Bench, bench_of
from napari_dipmtv._napari.half_cut import HalfCut
from napari_dipmtv.data import TiltSeries
from napari_dipmtv.settings.tomo import SirtSettings


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> Steps:
    """A reconstruction that the test holds."""
    made = Steps(40, value=lambda i: cube(level=i))
    monkeypatch.setattr(pipeline, "reconstruct_states", lambda *_: made())
    return made


@pytest.fixture
def ready(bench: Bench, aligned: TiltSeries) -> Bench:
    """A workplace with an aligned series."""
    bench.session.load("maps", maps())
    bench.session.put("tilt_series", aligned)
    return bench


@pytest.fixture(autouse=True)
def errors(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is shown to the person as an error or a warning."""
    shown: list[str] = []
    monkeypatch.setattr("napari_dipmtv._napari.runs.show_error", shown.append)
    monkeypatch.setattr("napari_dipmtv._napari.runs.show_warning", shown.append)
    return shown


def names(bench: Bench) -> list[str]:
    return [layer.name for layer in bench.layers.viewer.layers if layer.ndim == 3]


def start(bench: Bench, stream_s: float | None = 0.0) -> None:
    bench.reconstruct("dipm-tv", SirtSettings(iterations=3), "cpu", stream_s)


def test_one_workplace_per_viewer(qtbot: Any) -> None:
    one, two = ViewerModel(), ViewerModel()
    assert bench_of(one) is bench_of(one)
    assert bench_of(one) is not bench_of(two)


def test_a_run_streams_and_ends_in_the_session(
    ready: Bench, steps: Steps, qtbot: Any, errors: list[str]
) -> None:
    with qtbot.waitSignal(ready.job.preview, timeout=5000):
        start(ready)
    qtbot.waitUntil(lambda: ready.layers.viewer.dims.ndisplay == 3)  # the last that the first preview brings
    assert names(ready) == ["FeO (DIPm-TV, running)", "Fe3O4 (DIPm-TV, running)"]
    assert ready.layers.half_cut.enabled  # so that the void is seen while it forms
    streamed = [layer for layer in ready.layers.viewer.layers if layer.ndim == 3]
    with qtbot.waitSignal(ready.results_changed, timeout=5000):
        pass
    assert names(ready) == ["FeO (DIPm-TV)", "Fe3O4 (DIPm-TV)"]
    assert [layer for layer in ready.layers.viewer.layers if layer.ndim == 3] == streamed  # the same objects
    made = ready.session.value("volume")
    assert made.volume.data.max() == 2 * 40
    assert (made.iterations, made.stopped, made.device) == (40, False, "cpu")
    assert made.settings["reconstruct"] == SirtSettings(iterations=3)
    assert errors == []


def test_stop_keeps_a_partial_volume_that_says_so(ready: Bench, steps: Steps, qtbot: Any) -> None:
    start(ready)
    qtbot.waitUntil(lambda: steps.done > 4)
    with qtbot.waitSignal(ready.results_changed, timeout=3000):
        ready.job.stop()
    made = ready.session.value("volume")
    assert made.stopped
    assert names(ready) == [f"{c} (DIPm-TV, stopped at {made.iterations})" for c in CHANNELS]


def test_cancel_leaves_no_volume_and_no_layers(ready: Bench, steps: Steps, qtbot: Any) -> None:
    start(ready)
    qtbot.waitUntil(lambda: bool(names(ready)))
    with qtbot.waitSignal(ready.job.ended, timeout=3000):
        ready.job.cancel()
    assert names(ready) == []
    assert not ready.session.has("volume")
    assert ready.session.results == ()


def test_a_superseded_run_is_dropped(ready: Bench, steps: Steps, qtbot: Any, aligned: TiltSeries) -> None:
    start(ready)
    qtbot.waitUntil(lambda: steps.done > 2)
    with qtbot.waitSignal(ready.job.ended, timeout=3000):
        ready.session.put("tilt_series", aligned.replace())
    assert not ready.session.has("volume")
    assert names(ready) == []
    with qtbot.waitSignal(ready.results_changed, timeout=5000):
        start(ready)
    assert ready.session.has("volume")


def test_f42_a_run_keeps_its_input_when_the_layers_change(ready: Bench, steps: Steps, qtbot: Any) -> None:
    series = ready.session.value("tilt_series")
    start(ready, stream_s=None)
    qtbot.waitUntil(lambda: steps.done > 2)
    ready.layers.viewer.layers.clear()
    with qtbot.waitSignal(ready.results_changed, timeout=5000):
        pass
    assert ready.session.value("volume").series is series


def test_f40_deleting_streamed_layers_stops_the_stream_and_keeps_the_run(
    ready: Bench, steps: Steps, qtbot: Any, errors: list[str]
) -> None:
    start(ready)
    qtbot.waitUntil(lambda: len(names(ready)) == 2)
    for layer in [layer for layer in ready.layers.viewer.layers if layer.ndim == 3]:
        ready.layers.viewer.layers.remove(layer)
    with qtbot.waitSignal(ready.results_changed, timeout=5000):
        pass
    assert names(ready) == []
    assert errors == []
    ready.show_result(ready.session.results[0])  # the result is still offered
    assert names(ready) == ["FeO (DIPm-TV)", "Fe3O4 (DIPm-TV)"]


def test_f43_ten_starts_are_one_run(ready: Bench, steps: Steps, qtbot: Any, errors: list[str]) -> None:
    other = bench_of(viewer := ViewerModel())
    other.session.put("tilt_series", maps(kind=TiltSeries))
    with qtbot.waitSignal(ready.job.ended, timeout=5000):
        for _ in range(10):
            start(ready)
        start(other)
    assert ready.job.run_id == 1
    assert other.job.run_id == 0
    assert len(ready.session.results) == 1
    assert len(errors) == 10
    assert all("'reconstruct' is running" in error for error in errors)
    del viewer


def test_f45_a_failing_run_tells_once_and_leaves_what_was_reached(
    ready: Bench, steps: Steps, qtbot: Any, errors: list[str]
) -> None:
    steps.fail_at = (10, RuntimeError("odd error"))
    with qtbot.waitSignal(ready.job.ended, timeout=5000):
        start(ready)
    [error] = errors
    assert "odd error" in error
    assert ready.session.value("volume").stopped
    assert names(ready) == [f"{c} (DIPm-TV, stopped at 9)" for c in CHANNELS]
    assert ready.job.why_not == ""


def test_f45_a_run_that_fails_at_once_leaves_a_clean_desk(
    ready: Bench, steps: Steps, qtbot: Any, errors: list[str]
) -> None:
    steps.fail_at = (1, RuntimeError("odd error"))
    with qtbot.waitSignal(ready.job.failed, timeout=5000):
        start(ready)
    assert len(errors) == 1
    assert names(ready) == []
    assert not ready.session.has("volume")
    assert ready.job.why_not == ""


def test_a_window_that_draws_slowly_gets_slices_once(
    ready: Bench, steps: Steps, qtbot: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    monkeypatch.setattr("napari_dipmtv._napari.runs.show_info", told.append)
    monkeypatch.setattr("napari_dipmtv._napari.runs.SLOW_PREVIEW_S", 0.0)  # every window is too slow
    monkeypatch.setattr("napari_dipmtv._napari.worker.PREVIEW_SHARE", 0.5)
    steps.total = 100_000
    viewer = ready.layers.viewer
    start(ready)
    qtbot.waitUntil(lambda: viewer.dims.ndisplay == 3)
    qtbot.waitUntil(lambda: viewer.dims.ndisplay == 2)
    viewer.dims.ndisplay = 3
    with qtbot.waitSignals([ready.job.preview] * 2, timeout=60_000):
        pass
    assert viewer.dims.ndisplay == 3
    assert len(told) == 1


def test_new_maps_remove_volumes_and_keep_the_list(ready: Bench, steps: Steps, qtbot: Any) -> None:
    with qtbot.waitSignal(ready.results_changed, timeout=5000):
        start(ready)
    ready.session.put("maps", maps())
    assert names(ready) == []
    assert len(ready.session.results) == 1
    ready.show_result(ready.session.results[0])
    assert names(ready) == ["FeO (DIPm-TV)", "Fe3O4 (DIPm-TV)"]


def test_the_cut_is_shared(ready: Bench, qtbot: Any) -> None:
    heard: list[HalfCut] = []
    ready.cut_changed.connect(heard.append)
    ready.cut(HalfCut(True, "y", 2.0, True))
    assert heard == [HalfCut(True, "y", 2.0, True)]
    assert ready.layers.half_cut == heard[0]
