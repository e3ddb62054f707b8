"""Forms: every settings model survives the way through its form, and wrong values are told, not swallowed."""

from __future__ import annotations

import importlib
import pkgutil
from typing import Any

import pytest
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QLabel, QLineEdit, QPushButton, QScrollArea, QVBoxLayout, QWidget

import napari_dipmtv.settings
from napari_dipmtv._napari.demo_settings import demo_settings
from napari_dipmtv._napari.fields import FloatField, IntField
from napari_dipmtv._napari.forms import SettingsForm, folded
from napari_dipmtv._napari.sources import MapSource
from napari_dipmtv.errors import InputError
from napari_dipmtv.settings.base import StageSettings, knobs
from napari_dipmtv.settings.simulation import SimulationSettings
from napari_dipmtv.settings.spectra import ReferenceSettings
from napari_dipmtv.settings.tomo import CsTvSettings, DipSettings
from napari_dipmtv.settings.trust import TrustSettings


def all_models() -> list[type[StageSettings]]:
    """Every settings model that stands in the settings package."""
    found = {MapSource}
    for module in pkgutil.iter_modules(napari_dipmtv.settings.__path__):
        names = vars(importlib.import_module(f"napari_dipmtv.settings.{module.name}"))
        found |= {m for m in names.values() if isinstance(m, type) and issubclass(m, StageSettings)}
    return sorted(found - {StageSettings}, key=lambda model: model.__name__)


def other(knob: Any) -> Any:
    """A value that differs from the default and is allowed."""
    if isinstance(knob.default, bool):
        return not knob.default
    if knob.choices:
        return knob.choices[-1] if knob.default != knob.choices[-1] else knob.choices[0]
    if isinstance(knob.default, int):
        return knob.default + 1 if knob.high is None or knob.default < knob.high else knob.default - 1
    if isinstance(knob.default, float):
        top = 0.0 if knob.high is None else knob.high
        return (
            knob.default + (top - knob.default) * 0.123456789
            if knob.high
            else knob.default * 1.0123456789 + 1e-9
        )
    if isinstance(knob.default, str):
        return "FeO"
    return knob.default


@pytest.mark.parametrize("model", all_models(), ids=lambda model: model.__name__)
def test_defaults_survive(qtbot: Any, model: type[StageSettings]) -> None:
    form = SettingsForm(model)
    qtbot.addWidget(form)
    assert form.value() == model()
    assert form.problem == ""


@pytest.mark.parametrize("model", all_models(), ids=lambda model: model.__name__)
def test_other_values_survive_one_by_one(qtbot: Any, model: type[StageSettings]) -> None:
    form = SettingsForm(model)
    qtbot.addWidget(form)
    tried = 0
    for knob in knobs(model):
        try:
            changed = model().replace(**{knob.name: other(knob)})
        except InputError:
            continue  # fields that may only change together
        form.setValue(changed)
        assert form.value() == changed, knob.name
        tried += 1
    assert tried


@pytest.mark.parametrize("value", [1e-11, 1e-9, 1 / 3, 0.05, 123.456, 1000.0])
def test_floats_are_not_rounded(qtbot: Any, value: float) -> None:
    """A box with two decimals would give 0.0 for the first two."""
    form = SettingsForm(CsTvSettings)
    qtbot.addWidget(form)
    form.setValue(CsTvSettings(tv_strength=value))
    assert form.value().tv_strength == value


def test_typing_a_number_emits_once_with_the_new_model(qtbot: Any) -> None:
    form = SettingsForm(DipSettings)
    qtbot.addWidget(form)
    heard: list[DipSettings] = []
    form.valueChanged.connect(heard.append)
    type_into(qtbot, form.field("tv_strength"), "2.5e-4")
    assert [settings.tv_strength for settings in heard] == [2.5e-4]


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("tv_strength", "much", "TV strength"),
        ("tv_strength", "-1", "tv_strength"),
        ("filters", "8, x", "Filters"),
    ],
)
def test_wrong_text_is_told_and_mended(qtbot: Any, name: str, text: str, words: str) -> None:
    form = SettingsForm(DipSettings)
    qtbot.addWidget(form)
    problems: list[str] = []
    form.validityChanged.connect(problems.append)
    before = form.field(name).text()
    type_into(qtbot, form.field(name), text)
    assert words in form.problem
    with pytest.raises(InputError):
        form.value()
    type_into(qtbot, form.field(name), before)
    assert form.problem == ""
    assert len(problems) == 2
    assert form.value() == DipSettings()


def test_rules_between_fields_are_told(qtbot: Any) -> None:
    form = SettingsForm(DipSettings)
    qtbot.addWidget(form)
    type_into(qtbot, form.field("filters"), "8, 16")
    assert "same, positive number of levels" in form.problem


def test_nested_models(qtbot: Any) -> None:
    form = SettingsForm(SimulationSettings)
    qtbot.addWidget(form)
    form.setValue(demo_settings())
    assert form.value() == demo_settings()
    form.field("phantom").field("field_voxels").setValue(44)
    assert form.value().phantom.field_voxels == 44


def test_every_control_has_a_tooltip_with_its_description(qtbot: Any) -> None:
    form = SettingsForm(ReferenceSettings)
    qtbot.addWidget(form)
    for knob in knobs(ReferenceSettings):
        assert knob.description.split(".")[0][:40] in form.field(knob.name).toolTip()
        if knob.unit:
            assert knob.unit in form.field(knob.name).toolTip()


def test_the_wheel_scrolls_the_panel_and_not_the_values(qtbot: Any) -> None:
    knob = next(knob for knob in knobs(DipSettings) if knob.name == "iterations")
    field = IntField(knob)
    qtbot.addWidget(field)
    field.write(100)
    field.clearFocus()
    turn_wheel(field)
    assert field.read() == 100


def test_a_comma_is_a_decimal_point(qtbot: Any) -> None:
    knob = next(knob for knob in knobs(CsTvSettings) if knob.name == "tv_strength")
    field = FloatField(knob)
    qtbot.addWidget(field)
    field.setText("0,25")
    assert field.read() == 0.25


def test_a_group_opens_at_a_click_and_grows_with_its_content(qtbot: Any) -> None:
    words = QLabel("short")
    words.setWordWrap(True)
    group, below = folded("Title", words, "What it holds"), QLabel("below")
    around = QWidget()
    column = QVBoxLayout(around)
    column.addWidget(group)
    column.addWidget(below)
    dock = QScrollArea()
    dock.setWidget(around)
    dock.setWidgetResizable(True)
    qtbot.addWidget(dock)
    dock.resize(160, 120)
    dock.show()
    toggle = group.findChild(QPushButton)
    assert not words.isVisible()
    qtbot.mouseClick(toggle, Qt.MouseButton.LeftButton)
    assert words.isVisible()
    words.setText("many words that need several lines in a narrow dock " * 3)
    qtbot.waitUntil(lambda: words.height() >= words.heightForWidth(words.width()))
    qtbot.waitUntil(lambda: below.y() >= group.y() + group.height())
    qtbot.mouseClick(toggle, Qt.MouseButton.LeftButton)
    assert not words.isVisible()


def test_the_settings_that_matter_can_be_named(qtbot: Any) -> None:
    form = SettingsForm(TrustSettings, main=("feature",))
    qtbot.addWidget(form)
    form.show()
    assert form.field("feature").isVisible()
    assert not form.field("repeats").isVisible()
    assert form.value() == TrustSettings()


def type_into(qtbot: Any, field: QLineEdit, text: str) -> None:
    field.selectAll()
    qtbot.keyClicks(field, text)
    qtbot.keyClick(field, Qt.Key.Key_Return)


def turn_wheel(widget: QWidget) -> None:
    from qtpy.QtCore import QPoint, QPointF
    from qtpy.QtGui import QWheelEvent
    from qtpy.QtWidgets import QApplication

    event = QWheelEvent(
        QPointF(5, 5),
        QPointF(5, 5),
        QPoint(0, 120),
        QPoint(0, 120),
        Qt.MouseButton.NoButton,
        Qt.KeyboardModifier.NoModifier,
        Qt.ScrollPhase.NoScrollPhase,
        False,
    )
    QApplication.sendEvent(widget, event)
