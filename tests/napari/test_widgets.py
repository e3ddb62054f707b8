"""Docks: every stage says what it waits for, every control has a tooltip, two docks of one viewer agree."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from napari.components import ViewerModel
from plugin_fakes import Steps, maps, press, series
from qtpy.QtCore import QMimeData, QPointF, Qt, QUrl
from qtpy.QtGui import QDropEvent
from qtpy.QtWidgets import (
    QAbstractButton,
    QAbstractSlider,
    QAbstractSpinBox,
    QComboBox,
    QLabel,
    QLineEdit,
    QListView,
    QWidget,
)

from napari_dipmtv import pipeline
from napari_dipmtv._napari.align_widget import AlignWidget
from napari_dipmtv._napari.bench import Bench
from napari_dipmtv._napari.forms import SettingsForm
from napari_dipmtv._napari.half_cut import HalfCut
from napari_dipmtv._napari.inspect_widget import InspectWidget
from napari_dipmtv._napari.job_bar import JobBar, duration
from napari_dipmtv._napari.load_widget import LoadWidget
from napari_dipmtv._napari.main_widget import STEPS, MainWidget
from napari_dipmtv._napari.phase_box import number
from napari_dipmtv._napari.reconstruct_widget import ReconstructWidget
from napari_dipmtv._napari.references_widget import ReferencesWidget
from napari_dipmtv._napari.session import ADVICE
from napari_dipmtv._napari.spectrum_widget import SpectrumWidget
from napari_dipmtv._napari.stage_widget import StageWidget
from napari_dipmtv._napari.trust_widget import TrustWidget
from napari_dipmtv._napari.unmix_widget import UnmixWidget
from napari_dipmtv.errors import InputError
from napari_dipmtv.io.map_folder import save_maps
from napari_dipmtv.settings.base import knobs

GATES = [
    (ReferencesWidget, "prepared"),
    (UnmixWidget, "references"),
    (AlignWidget, "maps"),
    (ReconstructWidget, "tilt_series"),
    (InspectWidget, "volume"),
    (TrustWidget, "segmentation"),
]


def dock(bench: Bench, kind: type[QWidget], qtbot: Any) -> Any:
    made = kind(bench.viewer_for_test)
    qtbot.addWidget(made)
    return made


@pytest.mark.parametrize(("kind", "stage"), GATES)
def test_a_stage_says_what_it_waits_for(
    bench: Bench, qtbot: Any, kind: type[StageWidget], stage: Any
) -> None:
    widget = dock(bench, kind, qtbot)
    assert widget.status.text() == ADVICE[stage]
    start = (widget.phases if kind is InspectWidget else widget).job_bar.start
    assert not start.isEnabled()
    assert start.toolTip() == ADVICE[stage]


def test_align_opens_with_maps_and_closes_without(bench: Bench, qtbot: Any) -> None:
    widget = dock(bench, AlignWidget, qtbot)
    bench.session.load("maps", maps())
    assert widget.job_bar.start.isEnabled()
    assert widget.already.isEnabled()
    bench.session.load("series", series())
    assert not widget.job_bar.start.isEnabled()


def test_already_aligned_leads_to_reconstruct(bench: Bench, qtbot: Any) -> None:
    align, reconstruct = dock(bench, AlignWidget, qtbot), dock(bench, ReconstructWidget, qtbot)
    bench.session.load("maps", maps())
    qtbot.mouseClick(align.already, Qt.MouseButton.LeftButton)
    assert reconstruct.job_bar.start.isEnabled()
    assert np.array_equal(bench.session.value("tilt_series").data, maps().data)


UNITS = {"_ev": "eV", "_nm": "nm", "_deg": "deg", "_kev": "keV", "_px": "px", "_s": "s"}


def test_every_physical_setting_shows_its_unit(bench: Bench, qtbot: Any) -> None:
    main = dock(bench, MainWidget, qtbot)
    checked = 0
    for form in main.findChildren(SettingsForm):
        for knob in knobs(form._model):
            suffix = next((end for end in UNITS if knob.name.endswith(end)), None)
            if suffix is None or not isinstance(form.field(knob.name), (QLineEdit, QAbstractSpinBox)):
                continue
            assert knob.unit == UNITS[suffix], f"{form._model.__name__}.{knob.name}"
            row = form.field(knob.name).parent()
            assert any(label.text() == knob.unit for label in row.findChildren(QLabel)), knob.name
            checked += 1
    assert checked > 10


@pytest.mark.parametrize("kind", [MainWidget, SpectrumWidget])
def test_every_control_has_a_tooltip(bench: Bench, qtbot: Any, kind: type[QWidget]) -> None:
    main = dock(bench, kind, qtbot)
    kinds = (QAbstractButton, QComboBox, QLineEdit, QAbstractSpinBox, QAbstractSlider)
    missing = []
    for kind in kinds:
        for control in main.findChildren(kind):
            inner = isinstance(control.parent(), (QComboBox, QAbstractSpinBox, QListView))
            own = control.objectName().startswith("qt_") or control.parent().objectName().startswith("qt_")
            parents = (control.parent(), control.parent().parent())
            if (
                not inner
                and not own
                and not control.toolTip()
                and not any(p and p.toolTip() for p in parents)
            ):
                missing.append((kind.__name__, control.parent().__class__.__name__, control.objectName()))
    assert missing == []


def test_every_control_is_reached_by_keyboard_and_narrow_docks_scroll(bench: Bench, qtbot: Any) -> None:
    main = dock(bench, MainWidget, qtbot)
    for control in main.findChildren(QAbstractButton):
        if control.focusPolicy() == Qt.FocusPolicy.NoFocus:
            own = control.objectName().startswith("qt_") or isinstance(
                control.parent(), (QComboBox, QListView)
            )
            assert own or control.parent().objectName().startswith("qt_"), control.text()
    for panel in main.panels:
        panel.resize(240, 200)
        assert panel.widgetResizable()
        assert panel.verticalScrollBarPolicy() != Qt.ScrollBarPolicy.ScrollBarAlwaysOff
        assert panel.horizontalScrollBarPolicy() != Qt.ScrollBarPolicy.ScrollBarAlwaysOff


def test_wrong_settings_disable_start_and_say_why(bench: Bench, qtbot: Any) -> None:
    widget = dock(bench, ReconstructWidget, qtbot)
    bench.session.put("tilt_series", maps())
    field = widget.form.field("tv_strength")
    field.selectAll()
    qtbot.keyClicks(field, "lots")
    qtbot.keyClick(field, Qt.Key.Key_Return)
    assert not widget.job_bar.start.isEnabled()
    assert "TV strength" in widget.job_bar.start.toolTip()


@pytest.mark.parametrize("method", ["dipm-tv", "dip-tv", "cs-tv", "sirt"])
def test_each_method_shows_its_own_form(bench: Bench, qtbot: Any, method: str) -> None:
    from napari_dipmtv.settings.tomo import METHODS

    widget = dock(bench, ReconstructWidget, qtbot)
    widget.method.setCurrentIndex(widget.method.findData(method))
    assert isinstance(widget.form.value(), METHODS[method])
    assert [form.isHidden() for form in widget.forms.values()].count(False) == 1


def test_two_docks_of_one_viewer_watch_the_same_run(bench: Bench, qtbot: Any) -> None:
    """F39: a dock that is opened later, or again, shows the run that goes on."""
    first = ReconstructWidget(bench.viewer_for_test)
    bench.session.put("tilt_series", maps())
    steps = Steps(400)
    bench.job.start("reconstruct", steps)
    qtbot.waitUntil(lambda: steps.done > 2)
    second = dock(bench, ReconstructWidget, qtbot)
    first.deleteLater()
    qtbot.waitUntil(lambda: second.job_bar.bar.value() > 5)
    assert second.job_bar.stop.isEnabled()
    with qtbot.waitSignal(bench.job.ended, timeout=2000):
        qtbot.mouseClick(second.job_bar.stop, Qt.MouseButton.LeftButton)
    assert "Stopped at step" in second.job_bar.text.text()
    assert second.job_bar.start.isEnabled()


def test_the_job_bar_pauses_and_goes_on(bench: Bench, qtbot: Any) -> None:
    bar = JobBar(bench.job, "count", "Start", "Count", keeps=True)
    qtbot.addWidget(bar)
    steps = Steps(2000)
    bar.start_clicked.connect(lambda: bench.job.start("count", steps))
    qtbot.mouseClick(bar.start, Qt.MouseButton.LeftButton)
    assert not bar.start.isEnabled()
    assert "is running" in bar.start.toolTip()
    qtbot.waitUntil(lambda: "left" in bar.text.text())
    assert "Counting" in bar.text.text()
    assert "loss" in bar.text.text()
    qtbot.mouseClick(bar.pause, Qt.MouseButton.LeftButton)
    assert bar.pause.text() == "Go on"
    qtbot.mouseClick(bar.pause, Qt.MouseButton.LeftButton)
    assert bar.pause.text() == "Pause"
    with qtbot.waitSignal(bench.job.ended, timeout=2000):
        qtbot.mouseClick(bar.cancel, Qt.MouseButton.LeftButton)
    assert bar.text.text() == "Cancelled; nothing was kept."
    assert not bar.stop.isEnabled()


def test_the_half_cut_controls_follow_each_other(bench: Bench, qtbot: Any) -> None:
    one, two = dock(bench, InspectWidget, qtbot), dock(bench, InspectWidget, qtbot)
    one.cut.position.setRange(-5, 5)
    two.cut.position.setRange(-5, 5)
    one.cut.axis.setCurrentIndex(2)
    one.cut.position.setValue(1.5)
    one.cut.flip.setChecked(True)
    one.cut.on.setChecked(True)
    assert two.cut.value == one.cut.value == bench.layers.half_cut == HalfCut(True, "x", 1.5, True)


def test_the_steps_show_what_is_done(bench: Bench, qtbot: Any) -> None:
    main = dock(bench, MainWidget, qtbot)
    words = lambda: [main.steps.button(i).text() for i in range(len(STEPS))]  # noqa: E731
    assert words()[3] == "4 Align"
    bench.session.load("maps", maps())
    assert words()[0] == "✓ Load"
    bench.assume_aligned()
    assert words()[3] == "✓ Align"
    qtbot.mouseClick(main.steps.button(4), Qt.MouseButton.LeftButton)
    assert main.stack.currentWidget() is main.panels[4]


def test_dropped_maps_are_loaded(bench: Bench, qtbot: Any, tmp_path: Path) -> None:
    save_maps(maps(), tmp_path / "maps")
    widget = dock(bench, LoadWidget, qtbot)
    data = QMimeData()
    data.setUrls([QUrl.fromLocalFile(str(tmp_path / "maps"))])
    event = QDropEvent(
        QPointF(5, 5),
        Qt.DropAction.CopyAction,
        data,
        Qt.MouseButton.LeftButton,
        Qt.KeyboardModifier.NoModifier,
    )
    with qtbot.waitSignal(bench.job.finished, timeout=5000):
        widget.dropEvent(event)
    assert np.array_equal(bench.session.value("maps").data, maps().data)
    assert widget.table.rowCount() == 5
    assert "FeO, Fe3O4" in widget.status.text()


def test_maps_need_angles_and_the_dock_says_so(
    bench: Bench, qtbot: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[str] = []
    monkeypatch.setattr("napari_dipmtv._napari.runs.show_error", shown.append)
    np.save(tmp_path / "FeO.npy", maps().data[0])
    widget = dock(bench, LoadWidget, qtbot)
    with qtbot.waitSignal(bench.job.failed, timeout=5000):
        widget.open_paths([tmp_path / "FeO.npy"])
    assert "tilt angles" in shown[0]
    (tmp_path / "tilts.txt").write_text("-60\n-30\n0\n30\n60\n")
    told: list[str] = []
    monkeypatch.setattr("napari_dipmtv._napari.load_widget.show_info", told.append)
    widget.open_paths([tmp_path / "tilts.txt"])
    assert told == ["tilts.txt is taken for the tilt angles. Now open or drop the maps."]
    widget.map_source.setValue(widget.map_source.value().replace(pixel_nm=0.5))
    with qtbot.waitSignal(bench.job.finished, timeout=5000):
        widget.open_paths([tmp_path / "FeO.npy"])
    loaded = bench.session.value("maps")
    assert loaded.channels == ("FeO",)
    assert loaded.tilts_deg == (-60, -30, 0, 30, 60)
    assert loaded.pixel_nm == 0.5


def test_voids_are_compared_with_their_surroundings(bench: Bench, qtbot: Any) -> None:
    assert dock(bench, InspectWidget, qtbot).phases.form.value().void_reference == "surrounding"


def test_plots_follow_the_theme(bench: Bench, qtbot: Any) -> None:
    viewer: ViewerModel = bench.viewer_for_test
    widget = dock(bench, AlignWidget, qtbot)
    dark = widget.quality.figure.get_facecolor()
    viewer.theme = "light"
    assert widget.quality.figure.get_facecolor() != dark


@pytest.mark.parametrize(
    ("seconds", "words"), [(3.21, "3.2 s"), (42.4, "42 s"), (600, "10 min"), (9000, "2.5 h")]
)
def test_durations(seconds: float, words: str) -> None:
    assert duration(seconds) == words


@pytest.mark.parametrize(
    ("value", "uncertainty", "words"),
    [(2068.4, 253.0, "2070 ± 250"), (1.5789, 0.41, "1.58 ± 0.41"), (3.0214, None, "3.021"), (7.0, 0.0, "7")],
)
def test_measures_show_the_digits_that_are_known(value: float, uncertainty: float | None, words: str) -> None:
    assert number(value, uncertainty) == words


def test_regions_are_drawn_on_the_pixels_of_the_prepared_spectra(
    bench: Bench, qtbot: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    widget = dock(bench, ReferencesWidget, qtbot)
    bench.session.load("series", series())
    bench.session.put("prepared", series())
    qtbot.mouseClick(widget.pick[0], Qt.MouseButton.LeftButton)
    viewer = bench.viewer_for_test
    layer = viewer.layers.selection.active
    assert (layer.name, layer.mode) == ("FeO region", "add_polygon_lasso")
    assert viewer.layers["Core-loss sum"].visible
    layer.add_rectangles(
        np.array([[1, 0, 2, 2], [1, 0, 2, 5], [1, 0, 6, 5], [1, 0, 6, 2]]) - [0, 0, 0.5, 0.5]
    )
    qtbot.mouseClick(widget.pick[1], Qt.MouseButton.LeftButton)
    viewer.layers.selection.active.add_rectangles(
        np.array([[1, 0, 7, 7], [1, 0, 7, 9], [1, 0, 9, 9], [1, 0, 9, 7]])
    )
    asked: list[Any] = []

    def learn(_: object, regions: Any, __: object) -> Any:
        asked.append(regions)
        raise InputError("regions: expected nothing more, got this. Look.")

    monkeypatch.setattr(pipeline, "reference_states", learn)
    with qtbot.waitSignal(bench.job.failed, timeout=20_000):
        qtbot.mouseClick(widget.job_bar.start, Qt.MouseButton.LeftButton)
    [regions] = asked
    assert list(regions) == ["FeO", "Fe3O4"]
    assert regions["FeO"].tilt_deg == -30
    assert np.argwhere(regions["FeO"].mask).min(axis=0).tolist() == [2, 2]
    assert regions["FeO"].mask.sum() == 4 * 3


def test_the_energy_slider_comes_and_goes(bench: Bench, qtbot: Any) -> None:
    widget = dock(bench, LoadWidget, qtbot)
    assert "Load spectrum images first" in widget.energy_slider.toolTip()
    bench.session.load("series", series())
    press(widget.energy_slider, qtbot)
    viewer = bench.viewer_for_test
    assert viewer.layers["Core loss"].data.shape == (6, 5, 1, 10, 12)
    assert viewer.layers["Core loss"].visible
    press(widget.energy_slider, qtbot)
    assert [layer.name for layer in viewer.layers] == ["Low-loss sum", "Core-loss sum"]
    assert viewer.layers["Core-loss sum"].visible
