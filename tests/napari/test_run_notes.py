"""What a run says besides its progress, and what is left of one that an error has ended: F29-F32, F45 in the window."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from plugin_fakes import Steps, cube, maps
from qtpy.QtCore import Qt

from napari_dipmtv import pipeline
from napari_dipmtv._napari.bench import Bench
from napari_dipmtv._napari.job import Progress
from napari_dipmtv._napari.reconstruct_widget import ReconstructWidget
from napari_dipmtv._napari.report import report_of
from napari_dipmtv.data import TiltSeries
from napari_dipmtv.errors import ComputeError, DeviceError
from napari_dipmtv.settings.spectra import UnmixSettings
from napari_dipmtv.settings.tomo import DipSettings
from napari_dipmtv.states import State
from napari_dipmtv.tomo import devices, memory
from napari_dipmtv.tomo.device_faults import explained

SMALL = DipSettings(filters=(16, 16), skips=(2, 2), precision="float32", crop=False, network_input="random")
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def errors(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is shown to the person as an error."""
    shown: list[str] = []
    monkeypatch.setattr("napari_dipmtv._napari.runs.show_error", shown.append)
    return shown


@pytest.fixture
def dock(bench: Bench, qtbot: Any) -> ReconstructWidget:
    """The dock of step 5 with an aligned series and small settings."""
    widget = ReconstructWidget(bench.viewer_for_test)
    qtbot.addWidget(widget)
    bench.session.put("tilt_series", maps(kind=TiltSeries))
    widget.form.setValue(SMALL)
    widget.device.setCurrentIndex(widget.device.findData("cpu"))
    return widget


def run_of(steps: Steps, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the method be these steps, guarded and explained as the real ones are."""

    monkeypatch.setattr(
        pipeline, "reconstruct_states", lambda *_: explained(steps(), CPU, lambda: "Use fewer filters")
    )


def press(button: Any, signal: Any, qtbot: Any) -> None:
    with qtbot.waitSignal(signal, timeout=60_000):
        qtbot.mouseClick(button, Qt.MouseButton.LeftButton)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (torch.OutOfMemoryError("CUDA out of memory."), "memory of cpu: expected enough"),
        (RuntimeError("CUDA error: an illegal memory access"), "Restart the program"),
        (ComputeError("loss: expected a number, got nan. Halve the rate."), "got nan"),
        (KeyError("odd"), "KeyError"),
    ],
    ids=["f30_memory", "f31_device", "f32_nan", "f45_unforeseen"],
)
def test_what_was_reached_is_kept_and_told_once(
    dock: ReconstructWidget,
    qtbot: Any,
    monkeypatch: pytest.MonkeyPatch,
    errors: list[str],
    error: Exception,
    words: str,
) -> None:
    steps = Steps(20, value=lambda i: cube(level=i))
    steps.fail_at = (6, error)
    run_of(steps, monkeypatch)
    press(dock.job_bar.start, dock.bench.job.ended, qtbot)
    made = dock.session.value("volume")
    assert (made.iterations, made.stopped) == (5, True)
    assert made.volume.data.max() == 2 * 5
    assert words in made.notes[-1]
    [told] = errors
    assert words in told
    assert told.endswith("What was reached is kept.")
    assert dock.job_bar.text.text().startswith("⚠ Stopped at step 5 of 20; what was reached is kept. ")
    assert words in dock.job_bar.text.text()
    assert "read its notes" in dock.results.list.item(0).text()
    assert words.split(":")[0] in dock.results.list.item(0).toolTip()
    assert words in str(report_of(made, ())["notes"])
    assert dock.estimate.smaller.isHidden() == ("memory of cpu" not in words)
    assert steps.closed
    steps.fail_at = None
    press(dock.job_bar.start, dock.bench.job.finished, qtbot)  # the next run works
    assert dock.session.value("volume").iterations == 20


def test_f29_smaller_settings_are_offered_before_the_start_and_taken_over(
    dock: ReconstructWidget, qtbot: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    series = dock.session.value("tilt_series")
    wanted = next(memory.smaller(series, "dipm-tv", SMALL, CPU))
    free = (wanted.memory_bytes + memory.memory_bytes(series, "dipm-tv", SMALL, CPU)) // 2
    monkeypatch.setattr(devices, "available_bytes", lambda _: free)
    monkeypatch.setattr("napari_dipmtv.tomo.reconstruct.pick_device", lambda _: CPU)
    press(dock.estimate.ask, dock.bench.job.finished, qtbot)
    assert "try in this order" in dock.estimate.words.text()
    assert not dock.estimate.smaller.isHidden()
    press(dock.estimate.smaller, dock.bench.shrunk, qtbot)
    assert dock.form.value() == wanted.settings != SMALL
    assert wanted.words in dock.estimate.words.text()
    assert dock.estimate.smaller.isHidden()


def test_nothing_smaller_is_said_too(dock: ReconstructWidget, qtbot: Any) -> None:
    dock.method.setCurrentIndex(dock.method.findData("sirt"))
    dock.estimate.take("memory of cpu: expected enough for this run, got 'out of memory'. Crop.")
    press(dock.estimate.smaller, dock.bench.shrunk, qtbot)
    assert "crop or bin" in dock.estimate.words.text()


def test_notes_of_the_stage_are_shown_live_and_stay_with_the_result(
    dock: ReconstructWidget, qtbot: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `tomo.dip_tv` says them: behind the name of the stage."""
    said = "float32, since bfloat16 failed, CS-TV still foretells the held-out dose better"
    go = Steps(3, value=lambda i: cube())

    def states(*_: object) -> Any:
        for state in go():
            stage = "DIPm-TV" if state.iteration == 1 else f"DIPm-TV, {said}"
            if state.iteration == 2:
                go.go.clear()  # the last step waits until the notes are seen
            yield State(state.iteration, 3, state.losses, state.snapshot, stage=stage)

    monkeypatch.setattr(pipeline, "reconstruct_states", states)
    with qtbot.waitSignal(dock.bench.job.finished, timeout=10_000):
        qtbot.mouseClick(dock.job_bar.start, Qt.MouseButton.LeftButton)
        assert dock.notes.isHidden()
        qtbot.waitUntil(lambda: not dock.notes.isHidden())
        assert dock.bench.job.running
        go.go.set()
    assert dock.notes.text() == f"⚠ Float32{said[7:]}."
    assert dock.session.value("volume").notes == (said,)
    assert not dock.session.value("volume").stopped


def test_f48_growing_curves_only_move_their_points(
    dock: ReconstructWidget, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Axes, ticks and labels cost a plot most of its time, and stay while the curves grow."""
    monkeypatch.setattr("napari_dipmtv._napari.loss_plot.REDRAW_S", 0.0)
    plot = dock.plot

    def show(steps: int, names: tuple[str, ...] = ("data", "tv", "validation"), least: float = 0.0) -> None:
        losses = {name: [(i, 1 / i + least) for i in range(1, steps + 1)] for name in names}
        plot.take(Progress("DIPm-TV", steps, 500, None, losses))
        plot.draw()

    show(5)
    axes = list(plot.figure.axes)
    assert [panel.get_yscale() for panel in axes] == ["log", "log"]
    show(400)
    assert plot.figure.axes == axes
    for panel, count in zip(axes, (2, 1), strict=True):
        assert [len(line.get_xdata()) for line in panel.lines] == [400] * count
        assert panel.get_xlim()[1] >= 400
        assert panel.get_ylim()[0] <= 1 / 400
        labels = [label for label in panel.get_yticklabels() if label.get_text()]
        places = [label.get_window_extent() for label in labels]
        assert len(places) >= 2
        assert all(place.x0 >= 0 and place.x1 <= plot.figure.bbox.width for place in places)
    show(400, least=-0.5)
    assert [panel.get_yscale() for panel in plot.figure.axes] == ["linear", "linear"]
    show(400, ("data",))  # other curves: drawn anew
    assert plot.figure.axes != axes
    assert plot.figure.axes[0].get_yscale() == "log"


def test_a_part_of_the_tilts_is_not_taken_for_all(
    bench: Bench, qtbot: Any, monkeypatch: pytest.MonkeyPatch, errors: list[str]
) -> None:
    """A device that gives up while spectra are unmixed leaves no maps: those of some tilts are of no use."""
    steps = Steps(9, value=lambda i: np.ones(i))
    steps.fail_at = (4, DeviceError("memory: expected enough, got too little. Bin the spectra."))
    monkeypatch.setattr(pipeline, "unmix_states", lambda *_: steps())
    bench.session.put("prepared", "any")
    bench.session.put("references", "any")
    with qtbot.waitSignal(bench.job.failed, timeout=5000):
        bench.unmix(UnmixSettings())
    assert errors == ["memory: expected enough, got too little. Bin the spectra."]
    assert not bench.session.has("unmixed")
    assert not bench.session.has("maps")
