"""The dock of the alignment: keys move the shown view, everything is undone and redone, views are left out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from plugin_fakes import Steps, maps, press
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QPushButton

from napari_dipmtv import pipeline
from napari_dipmtv._napari.align_widget import AlignWidget, rounds_by_scale
from napari_dipmtv._napari.bench import Bench
from napari_dipmtv._napari.preferences import Preferences
from napari_dipmtv._napari.sources import MapSource
from napari_dipmtv.data import Alignment, ChannelMaps
from napari_dipmtv.io.map_folder import save_maps
from napari_dipmtv.settings.align import AlignSettings

ALT = Qt.KeyboardModifier.AltModifier
SHIFT = Qt.KeyboardModifier.ShiftModifier


@pytest.fixture
def dock(bench: Bench, qtbot: Any) -> AlignWidget:
    """A visible dock with maps that are taken as aligned, the fourth view shown, single views ready to mend."""
    bench.session.load("maps", maps())
    widget = AlignWidget(bench.viewer_for_test)
    qtbot.addWidget(widget)
    with qtbot.waitExposed(widget):
        widget.show()
    widget.activateWindow()  # keys go to the active window
    bench.assume_aligned()
    show_view(bench, 3)
    qtbot.mouseClick(widget.mend.findChild(QPushButton), Qt.MouseButton.LeftButton)
    qtbot.waitUntil(widget.isActiveWindow)
    return widget


def show_view(bench: Bench, view: int) -> None:
    bench.layers.viewer.dims.set_point(bench.layers.viewer.dims.ndim - 4, maps().tilts_deg[view])


def rest(bench: Bench, qtbot: Any) -> None:
    """Wait until the series is that of the alignment which counts."""
    history = bench.session.alignments
    qtbot.waitUntil(lambda: not bench.job.running, timeout=60_000)
    assert history is not None
    assert bench.session.value("tilt_series").alignment is bench.session.alignments.now


def test_arrow_keys_move_the_shown_view_as_often_as_they_are_pressed(
    dock: AlignWidget, bench: Bench, qtbot: Any
) -> None:
    for _ in range(4):  # quicker than a move is applied
        qtbot.keyClick(dock, Qt.Key.Key_Right, ALT)
    qtbot.keyClick(dock, Qt.Key.Key_Up, ALT)
    rest(bench, qtbot)
    moved = bench.session.value("tilt_series")
    assert bench.session.nudges == (*[(3, 0.5, 0.0)] * 4, (3, 0.0, -0.5))
    np.testing.assert_allclose(moved.alignment.shifts_px[3], (0.5, -2.0))
    assert np.allclose(moved.data[:, 2], maps().data[:, 2], atol=1e-3)
    assert not np.allclose(moved.data[:, 3], maps().data[:, 3], atol=0.1)
    assert dock.nudges.words.text() == "view 3: +2, -0.5 px"


def test_keys_undo_and_redo_to_the_very_alignment(dock: AlignWidget, bench: Bench, qtbot: Any) -> None:
    first = bench.session.value("tilt_series").alignment
    qtbot.keyClick(dock, Qt.Key.Key_Down, ALT)
    rest(bench, qtbot)
    moved = bench.session.value("tilt_series").alignment
    qtbot.keyClick(dock, Qt.Key.Key_Z, ALT)
    rest(bench, qtbot)
    assert bench.session.value("tilt_series").alignment is first
    assert np.array_equal(bench.session.value("tilt_series").data, maps().data)
    assert not dock.nudges.undo.isEnabled()
    qtbot.keyClick(dock, Qt.Key.Key_Z, ALT | SHIFT)
    rest(bench, qtbot)
    assert bench.session.value("tilt_series").alignment is moved
    assert not dock.nudges.redo.isEnabled()


def test_a_moved_view_is_judged_and_shown(dock: AlignWidget, bench: Bench, qtbot: Any) -> None:
    assert bench.session.alignment_report is None
    assert not dock.planes.isVisible()
    dock.nudges.step.setValue(3.0)
    qtbot.mouseClick(dock.nudges.buttons["→"], Qt.MouseButton.LeftButton)
    rest(bench, qtbot)
    report = bench.session.alignment_report
    assert int(np.argmax(report.view_errors)) == 3
    for plot in (dock.views, dock.planes, dock.sinograms):
        plot.draw()
    drawn = dock.views.figure.axes[0].lines[0]
    np.testing.assert_allclose(drawn.get_ydata(), report.view_errors)
    assert dock.planes.isVisible()
    assert len(dock.planes.figure.axes) == 3
    before, after = (axes.images[0].get_array() for axes in dock.sinograms.figure.axes)
    assert np.allclose(before[2], after[2])
    assert not np.allclose(before[3], after[3])


def test_sinograms_and_planes_follow_while_the_alignment_is_sought(
    dock: AlignWidget, bench: Bench, qtbot: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each round moves the fourth view further; what is shown on the way is the series as it is aligned so far."""
    monkeypatch.setattr("napari_dipmtv._napari.worker.PREVIEW_SHARE", 0.9)
    monkeypatch.setattr(
        "napari_dipmtv._napari.aligning.preferences",
        lambda: Preferences(device="cpu", preview_interval_s=0.1),
    )

    def reached(number: int) -> Alignment:
        shifts = np.zeros((5, 2))
        shifts[3, 1] = -min(number, 4)
        return Alignment(shifts)

    steps = Steps(1000, value=reached)
    monkeypatch.setattr("napari_dipmtv.pipeline.align_states", lambda *_: steps())
    aligned = bench.session.value("tilt_series")
    with qtbot.waitSignals([bench.aligned_so_far] * 2, timeout=60_000):
        press(dock.job_bar.start, qtbot)
    dock.sinograms.draw()
    before, so_far = dock.sinograms.figure.axes
    assert (before.get_title(), so_far.get_title()) == ("before", "so far")
    moved = so_far.images[0].get_array() - before.images[0].get_array()
    assert np.abs(moved[3]).max() > 1
    assert np.abs(np.delete(moved, 3, axis=0)).max() < 1e-3
    assert dock.planes.isVisible()
    assert bench.session.value("tilt_series") is aligned  # nothing counts yet
    with qtbot.waitSignal(bench.job.ended, timeout=60_000):
        press(dock.job_bar.cancel, qtbot)
    assert bench.session.value("tilt_series") is aligned


def test_a_view_is_left_out_and_used_again(dock: AlignWidget, bench: Bench, qtbot: Any) -> None:
    qtbot.mouseClick(dock.nudges.leave_out, Qt.MouseButton.LeftButton)
    rest(bench, qtbot)
    series = bench.session.value("tilt_series")
    assert [bool(v.any()) for v in series.valid] == [True, True, True, False, True]
    assert dock.form.value().exclude_views == (3,)
    assert bench.align_settings.exclude_views == (3,)
    assert dock.nudges.words.text() == "view 3 left out"
    assert dock.nudges.leave_out.text() == "Use again"
    show_view(bench, 1)
    assert dock.nudges.leave_out.text() == "Leave out"
    show_view(bench, 3)
    qtbot.mouseClick(dock.nudges.leave_out, Qt.MouseButton.LeftButton)
    rest(bench, qtbot)
    assert bench.session.value("tilt_series").valid is None
    assert dock.form.value().exclude_views == ()


def test_too_many_views_left_out_are_refused_and_nothing_changes(
    dock: AlignWidget, bench: Bench, qtbot: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    monkeypatch.setattr("napari_dipmtv._napari.runs.show_error", told.append)
    for view in (0, 1):
        bench.leave_out(view, True)
        rest(bench, qtbot)
    before = bench.session.value("tilt_series")
    qtbot.mouseClick(dock.nudges.leave_out, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: not bench.job.running, timeout=60_000)
    assert bench.session.value("tilt_series") is before
    assert "at least 3 usable views, got 2" in told[0]
    qtbot.keyClick(dock, Qt.Key.Key_Left, ALT)  # which the run with two views did not break
    qtbot.waitUntil(lambda: not bench.job.running, timeout=60_000)
    assert bench.session.nudges == ((3, -0.5, 0.0),)


def test_images_beside_the_maps_are_aligned_on_and_moved_by(
    dock: AlignWidget, bench: Bench, qtbot: Any, tmp_path: Path
) -> None:
    """As `unmix` and `edx` leave them in the folder of the maps."""
    raw = maps()
    images = ChannelMaps(100 * raw.data.sum(axis=0)[None] + 7, ("HAADF",), raw.tilts_deg, raw.pixel_nm)
    images.data[0, :, :, 0] = 7  # vacuum
    save_maps(raw, tmp_path)
    save_maps(images, tmp_path / "haadf")
    with qtbot.waitSignal(bench.job.ended, timeout=60_000):
        bench.load_maps([tmp_path], MapSource())
    settings = AlignSettings(signal="HAADF", rounds=0, find_axis_angle=False)
    dock.form.setValue(settings)
    with qtbot.waitSignal(bench.job.ended, timeout=60_000):
        press(dock.job_bar.start, qtbot)
    wanted = pipeline.align(raw, settings, guide=images)
    np.testing.assert_allclose(bench.session.value("tilt_series").data, wanted.data, atol=1e-5)
    bench.nudge(1, 1.0, 0.0)
    rest(bench, qtbot)
    assert not np.allclose(bench.session.value("tilt_series").data[:, 1], wanted.data[:, 1], atol=1e-3)


def test_new_maps_forget_the_moves(dock: AlignWidget, bench: Bench, qtbot: Any) -> None:
    qtbot.keyClick(dock, Qt.Key.Key_Left, ALT)
    rest(bench, qtbot)
    bench.session.put("maps", maps())
    assert bench.session.nudges == ()
    assert bench.session.alignments is None
    assert dock.nudges.buttons["→"].toolTip() == "Align the maps first."


def test_errors_of_different_scales_are_different_curves() -> None:
    found = Alignment(np.zeros((3, 2)), quality=(0.3, 0.2, 0.25, 0.24), scales=(2, 2, 1, 1))
    assert rounds_by_scale(found) == {
        "reduced 1:2": ([1, 2], [0.3, 0.2]),
        "full size": ([3, 4], [0.25, 0.24]),
    }
