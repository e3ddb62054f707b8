"""F40-F45 in the window: what a person may do to layers, theme and view while a run goes on, and what may befall it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from plugin_fakes import CHANNELS, TILTS, Steps, cube, maps, press, series
from qtpy.QtCore import Qt

from napari_dipmtv import pipeline
from napari_dipmtv._napari.bench import Bench
from napari_dipmtv._napari.reconstruct_widget import ReconstructWidget
from napari_dipmtv.data import Alignment, TiltSeries
from napari_dipmtv.settings.align import AlignSettings
from napari_dipmtv.settings.inspect import SegmentSettings
from napari_dipmtv.settings.spectra import PrepareSettings, ReferenceSettings, UnmixSettings
from napari_dipmtv.settings.tomo import SirtSettings


@pytest.fixture(autouse=True)
def errors(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is shown to the person as an error."""
    shown: list[str] = []
    for module in ("runs", "turns"):
        monkeypatch.setattr(f"napari_dipmtv._napari.{module}.show_error", shown.append)
    return shown


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> Steps:
    """A reconstruction that the test holds, and whose previews may take half of the time."""
    monkeypatch.setattr("napari_dipmtv._napari.worker.PREVIEW_SHARE", 0.5)
    made = Steps(100_000, value=lambda i: cube(level=i))
    monkeypatch.setattr(pipeline, "reconstruct_states", lambda *_: made())
    return made


@pytest.fixture
def streaming(bench: Bench, steps: Steps, qtbot: Any) -> Bench:
    """A workplace in which a volume grows."""
    bench.session.load("maps", maps())
    bench.assume_aligned()
    bench.reconstruct("dipm-tv", SirtSettings(), "cpu", 0.0)
    qtbot.waitUntil(
        lambda: bench.layers.viewer.dims.ndisplay == 3
    )  # the last that is done for the first preview
    assert len(volumes(bench)) == 2
    return bench


def volumes(bench: Bench) -> list[Any]:
    return [layer for layer in bench.layers.viewer.layers if layer.ndim == 3]


def wait_for_previews(bench: Bench, qtbot: Any, count: int = 2) -> None:
    for _ in range(count):
        with qtbot.waitSignal(bench.job.preview, timeout=60_000):  # a processor draws 3-D in seconds
            pass


def test_f41_what_somebody_does_to_streamed_layers_stays(streaming: Bench, qtbot: Any, errors: Any) -> None:
    layers = streaming.layers.viewer.layers
    first, second = volumes(streaming)
    first.name = "my favourite"
    first.contrast_limits = (0.5, 1.5)
    second.visible = False
    layers.reverse()
    order = list(layers)
    streaming.layers.viewer.dims.ndisplay = 2
    wait_for_previews(streaming, qtbot)
    assert (first.name, tuple(first.contrast_limits)) == ("my favourite", (0.5, 1.5))
    assert not second.visible
    assert list(layers) == order
    assert streaming.layers.viewer.dims.ndisplay == 2
    assert first.data.max() > 2  # and it still grows
    with qtbot.waitSignal(streaming.results_changed, timeout=3000):
        streaming.job.stop()
    assert len(volumes(streaming)) == 2
    assert first.name == "my favourite"
    assert second.name.startswith("Fe3O4 (DIPm-TV, stopped at")
    assert errors == []


def test_f40_one_of_two_streamed_layers_is_deleted(streaming: Bench, qtbot: Any, errors: Any) -> None:
    first, second = volumes(streaming)
    streaming.layers.viewer.layers.remove(first)
    wait_for_previews(streaming, qtbot)
    assert volumes(streaming) == [second]
    with qtbot.waitSignal(streaming.results_changed, timeout=3000):
        streaming.job.stop()
    assert volumes(streaming) == [second]
    assert streaming.session.value("volume").volume.channels == CHANNELS
    assert errors == []


def test_the_theme_and_the_dimensions_may_change_while_a_volume_grows(
    make_napari_viewer: Any, steps: Steps, qtbot: Any, errors: Any
) -> None:
    viewer = make_napari_viewer()
    dock = ReconstructWidget(viewer)
    viewer.window.add_dock_widget(dock)
    bench = dock.bench
    bench.session.load("maps", maps())
    bench.assume_aligned()
    dock.stream.pace.setValue(0.1)
    press(dock.job_bar.start, qtbot)
    qtbot.waitUntil(lambda: viewer.dims.ndisplay == 3, timeout=60_000)
    for theme, ndisplay in (("light", 2), ("dark", 3)):
        viewer.theme, viewer.dims.ndisplay = theme, ndisplay
        wait_for_previews(bench, qtbot, 1)
    assert {layer.blending for layer in volumes(bench)} == {"translucent"}
    with qtbot.waitSignal(bench.job.ended, timeout=60_000):
        press(dock.job_bar.cancel, qtbot)
    qtbot.waitUntil(lambda: not bench.layers.busy)
    assert volumes(bench) == []
    assert errors == []


def run_prepare(bench: Bench) -> None:
    bench.session.put("series", series())
    bench.prepare(PrepareSettings())


def run_references(bench: Bench) -> None:
    bench.session.put("prepared", series())
    bench.make_references("auto", ReferenceSettings())


def run_unmix(bench: Bench) -> None:
    bench.session.put("prepared", series())
    bench.session.put("references", "any")
    bench.unmix(UnmixSettings())


def run_align(bench: Bench) -> None:
    bench.session.put("maps", maps())
    bench.align(AlignSettings())


def run_reconstruct(bench: Bench) -> None:
    bench.session.put("tilt_series", maps(kind=TiltSeries))
    bench.reconstruct("sirt", SirtSettings(), "cpu", 0.0)


STAGES: list[tuple[str, Callable[[Bench], None], str]] = [
    ("prepare_states", run_prepare, "prepared"),
    ("reference_states", run_references, "references"),
    ("unmix_states", run_unmix, "unmixed"),
    ("align_states", run_align, "tilt_series"),
    ("reconstruct_states", run_reconstruct, "volume"),
]
AT_ONCE: list[tuple[str, Callable[[Bench], None], str]] = [
    ("load", lambda bench: bench.load_spectra(Path("anywhere")), "series"),
]


@pytest.mark.parametrize(("verb", "begin", "stage"), STAGES, ids=[verb for verb, _, _ in STAGES])
def test_f44_cancel_at_any_stage(
    bench: Bench, qtbot: Any, monkeypatch: pytest.MonkeyPatch, verb: str, begin: Any, stage: Any
) -> None:
    aligning = verb == "align_states"
    steps = Steps(
        100_000, value=lambda i: Alignment(np.zeros((len(TILTS), 2))) if aligning else cube(level=i)
    )
    monkeypatch.setattr(pipeline, verb, lambda *_: steps())
    begin(bench)
    qtbot.waitUntil(lambda: steps.done > 2)
    with qtbot.waitSignal(bench.job.ended, timeout=5000):
        bench.job.cancel()
    assert steps.closed
    assert not bench.session.has(stage)
    assert volumes(bench) == []
    assert bench.job.why_not == ""


def run_segment(bench: Bench) -> None:
    bench.session.put("volume", SimpleNamespace(volume=cube()))
    bench.segment(SegmentSettings())


IN_ONE_STEP: list[tuple[str, Callable[[Bench], None], str]] = [
    ("segment", run_segment, "segmentation"),
]


@pytest.mark.parametrize(("verb", "begin", "stage"), IN_ONE_STEP, ids=["segment"])
def test_f44_cancel_of_work_in_one_step(
    bench: Bench, qtbot: Any, monkeypatch: pytest.MonkeyPatch, verb: str, begin: Any, stage: Any
) -> None:
    """It cannot be cut short, but what it gives is dropped, and the window does not wait for it."""
    begun, may_end = threading.Event(), threading.Event()

    def work(*_: object) -> Any:
        begun.set()
        may_end.wait(20)
        return series()

    monkeypatch.setattr(pipeline, verb, work)
    begin(bench)
    qtbot.waitUntil(begun.is_set)
    bench.job.cancel()
    may_end.set()
    qtbot.waitUntil(lambda: not bench.job.running)
    assert not bench.session.has(stage)
    assert bench.session.history[-1].outcome == "cancelled"
    assert bench.job.why_not == ""


def test_the_stream_is_switched_off_and_on(bench: Bench, steps: Steps, qtbot: Any) -> None:
    """F48: the person decides how often a volume is sent, also while it grows."""
    widget = ReconstructWidget(bench.viewer_for_test)
    qtbot.addWidget(widget)
    bench.session.put("tilt_series", maps(kind=TiltSeries))
    widget.stream.pace.setValue(0.1)
    press(widget.job_bar.start, qtbot)
    wait_for_previews(bench, qtbot, 1)
    press(widget.stream.live, qtbot)
    assert not widget.stream.pace.isEnabled()
    qtbot.wait(200)  # one may have been on its way
    sent: list[int] = []
    bench.job.preview.connect(lambda *_: sent.append(1))
    done = steps.done
    qtbot.waitUntil(lambda: steps.done > done + 50, timeout=60_000)
    assert sent == []
    press(widget.stream.live, qtbot)
    wait_for_previews(bench, qtbot, 1)
    bench.job.cancel()
    qtbot.waitUntil(lambda: not bench.job.running)


@pytest.mark.parametrize(("verb", "begin", "stage"), [*STAGES, *AT_ONCE], ids=lambda value: str(value)[:16])
@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("CUDA out of memory"), KeyError("odd")])
def test_f45_any_stage_may_fail_and_the_next_run_works(
    bench: Bench,
    qtbot: Any,
    monkeypatch: pytest.MonkeyPatch,
    errors: list[str],
    verb: str,
    begin: Any,
    stage: Any,
    error: Exception,
) -> None:
    def fail(*_: object) -> Any:
        raise error

    monkeypatch.setattr(pipeline, verb, fail)
    with qtbot.waitSignal(bench.job.failed, timeout=3000):
        begin(bench)
    [sentence] = errors
    assert "expected" in sentence
    assert sentence.rstrip().endswith(".")
    assert not bench.session.has(stage)
    assert bench.job.why_not == ""
    with qtbot.waitSignal(bench.job.finished, timeout=3000):
        bench.job.start("count", Steps(2))


def test_two_starts_are_one_run_and_the_button_says_why(bench: Bench, steps: Steps, qtbot: Any) -> None:
    """F43 with the mouse: the second click finds the button disabled."""
    widget = ReconstructWidget(bench.viewer_for_test)
    qtbot.addWidget(widget)
    bench.session.put("tilt_series", maps(kind=TiltSeries))
    for _ in range(2):
        qtbot.mouseClick(widget.job_bar.start, Qt.MouseButton.LeftButton)
    assert bench.job.run_id == 1
    assert "'reconstruct' is running" in widget.job_bar.start.toolTip()
    bench.job.cancel()
    qtbot.waitUntil(lambda: not bench.job.running)
    assert widget.job_bar.start.isEnabled()
