"""The trust dock: asked with one button, stopped and gone on with, answered in words, plots, layers and files."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from napari.components import ViewerModel
from plugin_fakes import maps
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QFileDialog

from napari_dipmtv._napari import trusting
from napari_dipmtv._napari.bench import Bench, bench_of
from napari_dipmtv._napari.session import ADVICE, Reconstruction
from napari_dipmtv._napari.trust_widget import PRESETS, TrustWidget, marked
from napari_dipmtv.data import TiltSeries, Volume
from napari_dipmtv.errors import InputError
from napari_dipmtv.phantom import count_series, make_volume
from napari_dipmtv.settings.inspect import SegmentSettings
from napari_dipmtv.settings.phantom import PhantomSettings
from napari_dipmtv.settings.tomo import SirtSettings
from napari_dipmtv.settings.trust import TrustSettings
from napari_dipmtv.states import State, run
from napari_dipmtv.trust.parts import Study
from napari_dipmtv.trust.progress import PROGRESS
from napari_dipmtv.trust.study import study

TINY = TrustSettings(
    repeats=19,
    likelihood_repeats=19,
    likelihood_planted=10,
    refits=3,
    planted_repeats=2,
    planted_sizes=2,
    members=2,
    held_out=False,
    repeat_method="same",
)
SIRT = SirtSettings(iterations=8)
SEGMENT = SegmentSettings()


@pytest.fixture(scope="module")
def hollow() -> Volume:
    """A particle of 12 voxels with a void of 4 in its middle."""
    return make_volume(
        PhantomSettings(
            field_voxels=20,
            size_nm=12.6,
            skin_nm=0,
            shell_nm=1.5,
            void_radius_nm=2,
            void_x_nm=0,
            void_y_nm=0,
            void_z_nm=0,
        )
    )


@pytest.fixture(scope="module")
def counted(hollow: Volume) -> TiltSeries:
    return count_series(hollow, tuple(np.linspace(-70, 70, 7)), relative_noise=0.1, seed=0)


@pytest.fixture(scope="module")
def uninterrupted(hollow: Volume, counted: TiltSeries) -> Study:
    """The same question without a window."""
    return run(study(counted, TINY, "sirt", SIRT, volume=hollow, segmentation=SEGMENT, device="auto")).value


def reconstructed(series: TiltSeries, volume: Volume) -> Reconstruction:
    settings = {"reconstruct": SIRT}
    return Reconstruction(volume, "SIRT", series, "sirt", settings, "cpu", {}, 8, 0.1, False)


@pytest.fixture
def ready(bench: Bench, qtbot: Any, hollow: Volume, counted: TiltSeries) -> Bench:
    """A workplace in which the phases have just been segmented."""
    bench.session.load("maps", maps())
    bench.session.put("tilt_series", counted)
    bench.session.add_result(reconstructed(counted, hollow))
    name_phases(bench, qtbot)
    return bench


def name_phases(bench: Bench, qtbot: Any) -> None:
    with qtbot.waitSignal(bench.job.ended, timeout=60_000):
        bench.segment(SEGMENT)


def dock(bench: Bench, qtbot: Any) -> TrustWidget:
    made = TrustWidget(bench.viewer_for_test)
    qtbot.addWidget(made)
    made.form.setValue(TINY)
    return made


def press(control: Any, qtbot: Any) -> None:
    assert control.isEnabled(), control.toolTip()
    qtbot.mouseClick(control, Qt.MouseButton.LeftButton)


def test_it_waits_for_phases(bench: Bench, qtbot: Any) -> None:
    widget = dock(bench, qtbot)
    assert widget.job_bar.start.toolTip() == ADVICE["segmentation"]
    assert widget.save.toolTip() == "Ask first."
    assert not widget.probability.isEnabled()


def test_how_thorough_fills_the_settings_and_the_button_names_the_feature(bench: Bench, qtbot: Any) -> None:
    widget = dock(bench, qtbot)
    assert widget.depth.currentText() == "own settings"
    widget.form.field("feature").setCurrentIndex(1)
    assert widget.job_bar.start.text() == "Is the skin real?"
    for name, (settings, _) in PRESETS.items():
        widget.depth.setCurrentIndex(widget.depth.findData(name))
        widget.depth.activated.emit(widget.depth.currentIndex())
        assert widget.form.value() == settings.replace(feature="skin")
        assert widget.depth.currentText() == name
    widget.form.field("repeats").setValue(57)
    assert widget.depth.currentText() == "own settings"


def test_a_study_that_fails_before_its_first_answer_says_so(
    ready: Bench, qtbot: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is being made any more, and the plot does not say that it were."""

    def failing(*asked: Any, **words: Any) -> Iterator[State[Study]]:
        yield next(study(*asked, **words))
        raise InputError("particle: expected room for a ball, got none. Bin the maps less.")

    monkeypatch.setattr("napari_dipmtv.trust.study.study", failing)
    monkeypatch.setattr("napari_dipmtv._napari.runs.show_error", lambda _: None)
    widget = dock(ready, qtbot)
    with qtbot.waitSignal(ready.job.failed, timeout=60_000):
        press(widget.job_bar.start, qtbot)
    widget.plot.draw()
    assert [text.get_text() for text in widget.plot.figure.texts] == ["There is no answer yet"]
    assert widget.job_bar.text.text().startswith("⚠ particle: expected room")
    assert widget.job_bar.start.isEnabled()


class Held:
    """A study that waits half-way through its null test until it may go on, and notes what it was resumed from."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.go, self.waits, self.resumed = threading.Event(), threading.Event(), []
        monkeypatch.setattr("napari_dipmtv.trust.study.study", self.states)

    def states(self, *given: Any, **named: Any) -> Iterator[State[Study]]:
        self.resumed.append(named["resume"])
        for state in study(*given, **named):
            yield state
            if state.iteration > 12 and not self.go.is_set():
                self.waits.set()
                self.go.wait(120)


def stop_half_way(widget: TrustWidget, held: Held, qtbot: Any) -> None:
    press(widget.job_bar.start, qtbot)
    qtbot.waitUntil(held.waits.is_set, timeout=120_000)
    with qtbot.waitSignal(widget.bench.job.ended, timeout=120_000):
        press(widget.job_bar.stop, qtbot)
        held.go.set()


def finish(widget: TrustWidget, qtbot: Any) -> Study:
    with qtbot.waitSignal(widget.bench.job.finished, timeout=120_000):
        press(widget.job_bar.start, qtbot)
    found: Study = widget.session.value("trust").study
    return found


def test_stopped_half_way_it_goes_on_and_answers_like_one_run(
    ready: Bench, qtbot: Any, uninterrupted: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    widget, other = dock(ready, qtbot), dock(ready, qtbot)
    stop_half_way(widget, Held(monkeypatch), qtbot)
    assert widget.status.text().startswith("Stopped; press Go on")
    assert widget.words.text().startswith("Stopped early: ")
    assert [each.job_bar.start.text() for each in (widget, other)] == ["Go on", "Go on"]
    widget.form.field("seed").setValue(1)  # another question
    assert widget.job_bar.start.text() == "Is the void real?"
    widget.form.field("seed").setValue(0)
    found = finish(widget, qtbot)
    assert widget.job_bar.start.text() == "Is the void real?"
    assert np.array_equal(found.report.null.anywhere, uninterrupted.report.null.anywhere)
    assert found.report.cavity.evidence == uninterrupted.report.cavity.evidence
    assert widget.words.text().split("<br><br>") == marked(uninterrupted.report)
    assert "p = 0.05" in widget.words.text()
    assert "IS IT REAL?" in widget.report.toPlainText()
    widget.plot.draw()
    assert [axes.get_title() for axes in widget.plot.figure.axes] == [
        "evidence for a void",
        "repeats without the void",
        "planted voids",
    ]


def test_the_probability_of_the_void_is_shown_where_the_void_is(
    ready: Bench, qtbot: Any, uninterrupted: Study
) -> None:
    widget, viewer, found = dock(ready, qtbot), ready.viewer_for_test, uninterrupted
    ready.session.put("trust", trusting.Finding(found, TINY, 1.5, False))
    assert not any(layer.visible for layer in viewer.layers if layer.name.startswith("P("))
    widget.probability.setCurrentIndex(widget.probability.findText("void"))
    widget.probability.activated.emit(widget.probability.currentIndex())
    assert [layer.name for layer in viewer.layers if layer.visible] == ["P(void)"]
    layer = viewer.layers["P(void)"]
    assert np.array_equal(layer.data, found.ensemble.probability["void"])
    assert layer.extent.world.mean(axis=0) == pytest.approx([0, 0, 0])
    assert viewer.dims.ndisplay == 2
    y = round(layer.world_to_data(viewer.dims.point)[-2])
    assert found.feature.mask[:, y].any()
    ready.session.put("volume", ready.session.value("volume"))  # the answer was about what is gone
    assert not ready.session.has("trust")
    assert "P(void)" not in viewer.layers
    assert not widget.probability.isEnabled()


def test_the_report_is_saved(
    ready: Bench, qtbot: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uninterrupted: Study
) -> None:
    widget = dock(ready, qtbot)
    ready.session.put("trust", trusting.Finding(uninterrupted, TINY, 1.5, False))
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_: str(tmp_path / "out"))
    with qtbot.waitSignal(ready.exported, timeout=120_000) as written:
        press(widget.save, qtbot)
    assert {path.name for path in written.args[0]} == {path.name for path in (tmp_path / "out").iterdir()}
    facts = json.loads((tmp_path / "out" / "trust.json").read_text())
    assert facts["null"]["p_anywhere"] == pytest.approx(0.05)
    assert facts["settings"]["trust"]["repeats"] == 19
    assert (tmp_path / "out" / "trust.txt").read_text() == widget.report.toPlainText()
    assert (tmp_path / "out" / "trust_null.png").stat().st_size > 1000


def test_a_saved_project_goes_on_after_a_restart(
    ready: Bench,
    qtbot: Any,
    hollow: Volume,
    counted: TiltSeries,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ready.project_path = tmp_path / "cube.dipmtv.json"
    held = Held(monkeypatch)
    stop_half_way(dock(ready, qtbot), held, qtbot)
    progress = tmp_path / "cube_trust" / PROGRESS
    assert progress.is_file()

    viewer = ViewerModel()
    again = bench_of(viewer)
    again.viewer_for_test = viewer
    again.session.load("maps", maps())
    again.session.put("tilt_series", counted)
    again.session.add_result(reconstructed(counted, hollow))
    name_phases(again, qtbot)
    again.project_path = ready.project_path
    press(dock(again, qtbot).job_bar.start, qtbot)
    qtbot.waitUntil(lambda: len(held.resumed) == 2, timeout=60_000)
    again.job.shutdown()
    assert held.resumed[0] is None
    assert any(name.startswith("null/") and len(value) > 5 for name, value in held.resumed[1].items())


def test_cancelling_forgets_the_progress(
    ready: Bench, qtbot: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ready.project_path = tmp_path / "cube.dipmtv.json"
    widget, held = dock(ready, qtbot), Held(monkeypatch)
    press(widget.job_bar.start, qtbot)
    qtbot.waitUntil(held.waits.is_set, timeout=120_000)
    with qtbot.waitSignal(ready.job.ended, timeout=120_000):
        press(widget.job_bar.cancel, qtbot)
        held.go.set()
    assert widget.job_bar.start.text() == "Is the void real?"
    assert ready.trail.study is None
    assert not (tmp_path / "cube_trust" / PROGRESS).exists()
    assert not ready.session.has("trust")


def test_a_volume_of_an_earlier_alignment_is_refused(
    ready: Bench, qtbot: Any, counted: TiltSeries, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[str] = []
    monkeypatch.setattr("napari_dipmtv._napari.runs.show_error", shown.append)
    old, phases = ready.session.value("volume"), ready.session.value("segmentation")
    ready.session.put("tilt_series", counted.replace(data=counted.data * 2))
    ready.session.put("volume", old)
    ready.session.put("segmentation", phases)
    press(dock(ready, qtbot).job_bar.start, qtbot)
    assert "Reconstruct again" in shown[0]
    assert not ready.job.running
