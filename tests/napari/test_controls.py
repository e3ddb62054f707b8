"""Every control of every dock: a tooltip, a unit where it is physical, and a reason while it is disabled."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from napari.components import ViewerModel
from npe2 import PluginManifest
from plugin_fakes import maps
from qtpy.QtWidgets import (
    QAbstractButton,
    QAbstractItemView,
    QAbstractSlider,
    QAbstractSpinBox,
    QComboBox,
    QLabel,
    QLineEdit,
    QMenu,
    QPlainTextEdit,
    QProgressBar,
    QScrollBar,
    QStyle,
    QStyleOptionComboBox,
    QTabBar,
    QWidget,
)

from napari_dipmtv._napari.bench import Bench, bench_of
from napari_dipmtv._napari.fields import ChoiceField
from napari_dipmtv._napari.forms import SettingsForm
from napari_dipmtv._napari.main_widget import MainWidget
from napari_dipmtv._napari.phase_box import PhaseBox
from napari_dipmtv._napari.resume_box import ResumeBox
from napari_dipmtv._napari.spectrum_widget import SpectrumWidget
from napari_dipmtv.data import TiltSeries
from napari_dipmtv.inspect import Measure

KINDS = (
    QAbstractButton,
    QAbstractItemView,
    QAbstractSlider,
    QAbstractSpinBox,
    QComboBox,
    QLineEdit,
    QPlainTextEdit,
    QProgressBar,
)
# numbers that count something and say so in their words, or are pure ratios
WITHOUT_UNIT = (
    "view",
    "frames",
    "share",
    "number",
    "level",
    "density",
    "opacity",
    "contrast",
    "relative",
    "times",
)


@pytest.fixture(scope="module")
def docks(qapp: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[QWidget]]:
    """The dock of all steps and the one of the spectra, with data, so that nothing hides for lack of them."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("napari_dipmtv._napari.preferences.usual_cache", lambda: folder)
        viewer = ViewerModel()
        made = [kind(viewer) for kind in (MainWidget, SpectrumWidget)]
    bench = bench_of(viewer)
    bench.session.load("maps", maps())
    bench.session.put("tilt_series", maps(kind=TiltSeries))
    yield [*made, made[0].project.show_history()]
    bench.job.shutdown()
    for widget in made:
        widget.close()
        widget.deleteLater()
    qapp.processEvents()


def controls(docks: list[QWidget]) -> Iterator[QWidget]:
    """All controls but the inner parts of others, which Qt and superqt make, and the bars that scroll."""
    for dock in docks:
        for kind in KINDS:
            for control in dock.findChildren(kind):
                parent = control.parent()
                inner = isinstance(parent, (QComboBox, QAbstractSpinBox, QAbstractItemView, QTabBar))
                qts = any(thing.objectName().startswith("qt_") for thing in (control, parent))
                if not inner and not qts and not isinstance(control, QScrollBar):
                    yield control


def told(control: QWidget) -> str:
    """The tooltip that somebody sees over a control: its own, or that of what it is a part of."""
    place: Any = control
    for _ in range(3):
        if place is not None and place.toolTip():
            return str(place.toolTip())
        place = place.parent() if place is not None else None
    return ""


def name(control: QWidget) -> str:
    words = getattr(control, "text", lambda: "")()
    return f"{type(control.parent()).__name__}: {type(control).__name__} {words}"


def test_all_docks_of_the_manifest_are_looked_at(repository: Path, docks: list[QWidget]) -> None:
    manifest = PluginManifest.from_file(repository / "napari.yaml")
    commands = {command.id: command.python_name for command in manifest.contributions.commands}
    seen = {type(dock) for dock in docks} | {type(panel) for panel in docks[0].panels}
    for widget in manifest.contributions.widgets:
        module, kind = commands[widget.command].split(":")
        assert getattr(import_module(module), kind) in seen


def test_every_control_has_a_tooltip(docks: list[QWidget]) -> None:
    found = list(controls(docks))
    assert len(found) > 150
    assert [name(control) for control in found if not told(control)] == []


def test_an_empty_field_says_what_that_means(docks: list[QWidget]) -> None:
    fields = [control for control in controls(docks) if isinstance(control, (QLineEdit, QPlainTextEdit))]
    assert len(fields) > 50
    assert [name(field) for field in fields if not field.placeholderText() and not said(field)] == []


def said(field: Any) -> str:
    return str(field.toPlainText() if isinstance(field, QPlainTextEdit) else field.text())


def test_every_action_of_a_menu_has_a_tooltip(docks: list[QWidget]) -> None:
    menus = [menu for dock in docks for menu in dock.findChildren(QMenu)]
    actions = [action for menu in menus for action in menu.actions() if not action.isSeparator()]
    assert len(actions) >= 5
    assert [action.text() for action in actions if action.toolTip() in ("", action.text())] == []


def test_every_number_says_its_unit_or_what_it_counts(docks: list[QWidget]) -> None:
    """Those of the forms have it from their knob; here are all others."""
    bare = []
    for control in controls(docks):
        if not isinstance(control, QAbstractSpinBox) or in_form(control):
            continue
        beside = [label.text() for label in control.parent().findChildren(QLabel)]
        marked = (
            control.suffix()
            or control.prefix()
            or any(text in ("nm", "°", "px", "eV", "s") for text in beside)
        )
        if not marked and not any(word in told(control).lower() for word in WITHOUT_UNIT):
            bare.append((name(control), told(control)))
    assert bare == []


def in_form(control: QWidget) -> bool:
    place: Any = control
    while place is not None and not isinstance(place, SettingsForm):
        place = place.parent()
    return place is not None


def test_every_preference_says_what_it_does_and_in_which_unit(repository: Path) -> None:
    """They stand in napari's own dialog, which shows the title and has the description as tooltip."""
    manifest = PluginManifest.from_file(repository / "napari.yaml")
    found = [
        (name, knob)
        for group in manifest.contributions.configurations.values()
        for name, knob in group.properties.items()
    ]
    assert len(found) >= 6
    assert [name for name, knob in found if not (knob.title and knob.description)] == []
    units = {"_s": "seconds", "_min": "minutes"}
    wanted = [(unit, knob.title) for name, knob in found for end, unit in units.items() if name.endswith(end)]
    assert len(wanted) == 2
    assert all(unit in title for unit, title in wanted)


def test_what_is_disabled_says_what_it_waits_for(docks: list[QWidget]) -> None:
    """The tooltip of a disabled button is a sentence, unlike that of an enabled one."""
    buttons = [control for control in controls(docks) if isinstance(control, QAbstractButton)]
    silent = [
        (name(control), told(control))
        for control in buttons
        if not control.isEnabledTo(control.parentWidget()) and not told(control).rstrip().endswith((".", ")"))
    ]
    assert silent == []


def test_choices_are_as_wide_as_their_words_in_a_narrow_dock(docks: list[QWidget], qtbot: Any) -> None:
    """Also those that are folded away; where they do not fit beside their label they come below it."""
    main: Any = docks[0]
    main.resize(main.minimumWidth(), 800)
    main.show()
    clipped, seen = [], 0
    for index, panel in enumerate(main.panels):
        main.show_step(index)
        for control in panel.findChildren(QAbstractButton):
            if control.text().startswith("▸"):
                control.setChecked(True)
        qtbot.wait(10)
        for box in panel.findChildren(ChoiceField):
            words = [box.itemText(i) for i in range(box.count())]
            needed = max(box.fontMetrics().horizontalAdvance(each) for each in words)
            seen += box.isVisible()
            if box.isVisible() and room(box) < needed:
                clipped.append((panel.title, words, room(box), needed))
    assert seen > 10
    assert clipped == []


def room(box: QComboBox) -> int:
    """How wide the words of a choice may be."""
    looks, style = QStyleOptionComboBox(), box.style()
    box.initStyleOption(looks)
    words = QStyle.SubControl.SC_ComboBoxEditField
    return int(style.subControlRect(QStyle.ComplexControl.CC_ComboBox, looks, words, box).width())


def test_nothing_is_clipped_in_a_narrow_dock_with_letters_of_125_percent(
    docks: list[QWidget], qtbot: Any
) -> None:
    """Buttons and fields, those that are folded away included, are as wide as their words, or the dock scrolls."""
    main = docks[0]
    font = main.font()
    font.setPointSizeF(1.25 * font.pointSizeF())
    main.setFont(font)
    main.resize(main.minimumWidth(), 800)
    main.show()
    clipped = []
    for index in range(len(main.panels)):
        main.show_step(index)
        for control in main.panels[index].findChildren(QAbstractButton):
            if control.text().startswith("▸"):
                control.setChecked(True)
        qtbot.wait(10)
        buttons = [(control, control) for control in main.findChildren(QAbstractButton)]
        fields = [(box, box.findChild(QLineEdit)) for box in main.findChildren(QAbstractSpinBox)]
        for control, place in (*buttons, *fields):
            words = control.text().split("\n")
            needed = max(control.fontMetrics().horizontalAdvance(line) for line in words)
            if control.isVisible() and control.text() and place.width() < needed:
                clipped.append((main.panels[index].title, control.text(), place.width(), needed))
    assert sorted(set(clipped)) == []


def test_a_narrow_dock_shows_what_was_measured(bench: Bench, qtbot: Any) -> None:
    """Long names take a second line; values and units are not to be scrolled to."""
    box = PhaseBox(bench)
    qtbot.addWidget(box)
    measures = (Measure("Fe3O4 shell surface area", 5899.0, "nm²"), Measure("void", 21.0, "nm³", 2.0))
    bench.session.put("measures", measures)
    box.allow("")
    box.resize(260, 700)
    box.show()
    table = box.table
    qtbot.waitUntil(lambda: table.rowHeight(0) > table.rowHeight(1))
    assert table.horizontalScrollBar().maximum() == 0
    assert table.columnWidth(1) >= table.fontMetrics().horizontalAdvance("21.0 ± 2.0")


def test_a_narrow_dock_has_fewer_steps_beside_each_other(docks: list[QWidget], qtbot: Any) -> None:
    main: Any = docks[0]
    main.show()
    for width, columns in ((280, 2), (420, 3)):
        main.resize(width, 800)
        qtbot.waitUntil(lambda width=width: main.width() == width)
        qtbot.wait(10)
        heights = [main.steps.button(i).y() for i in range(4)]
        assert [heights.count(heights[0]), heights[columns] > heights[0]] == [columns, True]


def test_a_run_on_offer_says_its_unit(qtbot: Any) -> None:
    box = ResumeBox()
    qtbot.addWidget(box)
    assert box.more.suffix() == " iterations"
    assert box.more.toolTip()
