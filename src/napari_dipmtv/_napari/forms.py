"""A settings model to a form: a few main fields, the rest folded away, every word and bound taken from the knobs."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Generic, TypeVar

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QFormLayout, QHBoxLayout, QLabel, QPushButton, QSizePolicy, QVBoxLayout, QWidget

from napari_dipmtv._napari.fields import ChoiceField, Field, SwitchField, field_for
from napari_dipmtv.errors import InputError
from napari_dipmtv.settings.base import Knob, StageSettings, knobs

S = TypeVar("S", bound=StageSettings)


class SettingsForm(QWidget, Generic[S]):
    """Edits one frozen settings model.

    ``main`` names the settings that are seen at once, where these are not the ones that their knobs say.

    ``valueChanged`` is emitted with every valid new model; ``validityChanged`` with the sentence of what is wrong, or
    with an empty text.
    """

    valueChanged = Signal(object)
    validityChanged = Signal(str)

    def __init__(self, model: type[S], main: Collection[str] | None = None) -> None:
        super().__init__()
        self._model = model
        self._main = main
        self._fields: dict[str, Field | SettingsForm[Any]] = {}
        self._setting = False
        self.problem = ""
        self._message = QLabel()
        self._message.setWordWrap(True)
        self._message.setVisible(False)
        self._lay_out()
        self.setValue(model())

    def value(self) -> S:
        """Model that the form shows.

        Raises
        ------
        InputError
            One sentence per wrong field.
        """
        return self._model.from_mapping({name: _plain(field) for name, field in self._fields.items()})

    def setValue(self, value: S) -> None:
        """Show a model."""
        self._setting = True
        for name, field in self._fields.items():
            part = getattr(value, name)
            field.setValue(part) if isinstance(field, SettingsForm) else field.write(part)
        self._setting = False
        self._check()

    def field(self, name: str) -> QWidget:
        """Control of one setting."""
        return self._fields[name]

    def _lay_out(self) -> None:
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        main, more = _form_layout(), _form_layout()
        nested: list[QWidget] = []
        for knob in knobs(self._model):
            if isinstance(knob.annotation, type) and issubclass(knob.annotation, StageSettings):
                form = SettingsForm(knob.annotation)
                self._take(knob, form, form.valueChanged, form.validityChanged)
                nested.append(folded(knob.title, form, knob.description))
                continue
            field = field_for(knob)
            self._take(knob, field, field.changed)
            hidden = knob.advanced if self._main is None else knob.name not in self._main
            _add_row(more if hidden else main, knob, field)
        layout.addLayout(main)
        for group in nested:
            layout.addWidget(group)
        if more.rowCount():
            inside = QWidget()
            inside.setLayout(more)
            layout.addWidget(folded("More settings", inside, "Settings that seldom need a change"))
        layout.addWidget(self._message)

    def _take(self, knob: Knob, field: Field | SettingsForm[Any], *signals: Any) -> None:
        self._fields[knob.name] = field
        for signal in signals:
            signal.connect(self._check)

    def _check(self, *_: object) -> None:
        if self._setting:
            return
        try:
            value, problem = self.value(), ""
        except InputError as error:
            value, problem = None, str(error)
        if problem != self.problem:
            self.problem = problem
            self._message.setText(f"⚠ {problem}")
            self._message.setVisible(bool(problem))
            self.validityChanged.emit(problem)
        if value is not None:
            self.valueChanged.emit(value)


def folded(title: str, content: QWidget, tooltip: str) -> QWidget:
    """A group that opens at a click and starts closed; open, it is as high as its content needs at any time."""
    group, toggle = QWidget(), QPushButton(f"▸ {title}")
    toggle.setCheckable(True)
    toggle.setToolTip(tooltip)
    toggle.setStyleSheet("text-align: left")
    toggle.toggled.connect(lambda opened: toggle.setText(f"{'▾' if opened else '▸'} {title}"))
    toggle.toggled.connect(content.setVisible)
    content.setVisible(False)
    layout = QVBoxLayout(group)
    layout.setContentsMargins(0, 0, 0, 0)
    layout.addWidget(toggle)
    inside = QVBoxLayout()
    inside.setContentsMargins(6, 0, 0, 0)
    inside.addWidget(content)
    layout.addLayout(inside)
    return group


def _plain(field: Field | SettingsForm[Any]) -> Any:
    return field.value().model_dump() if isinstance(field, SettingsForm) else field.read()


def _form_layout() -> QFormLayout:
    form = QFormLayout()
    form.setContentsMargins(0, 0, 0, 0)
    form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
    form.setLabelAlignment(Qt.AlignmentFlag.AlignLeft)
    form.setRowWrapPolicy(QFormLayout.RowWrapPolicy.WrapLongRows)
    return form


def _add_row(form: QFormLayout, knob: Knob, field: QWidget) -> None:
    words = _words(knob)
    field.setToolTip(words)
    field.setAccessibleName(knob.title)
    field.setObjectName(knob.name)
    label = QLabel(knob.title)
    label.setToolTip(words)
    label.setBuddy(field)
    label.setWordWrap(True)
    # a choice is as wide as its words, and stands below its label where it does not fit beside it
    if not isinstance(field, ChoiceField):
        field.setMinimumWidth(60)
    if not isinstance(field, SwitchField):
        field.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
    if not knob.unit:
        form.addRow(label, field)
        return
    row = QHBoxLayout()
    row.addWidget(field)
    unit = QLabel(knob.unit)
    unit.setToolTip(words)
    row.addWidget(unit)
    form.addRow(label, row)


def _words(knob: Knob) -> str:
    """Tooltip: the description, the bounds and the default, as rich text so that Qt breaks its lines."""
    unit = f" {knob.unit}" if knob.unit else ""
    lines = [knob.description]
    if knob.low is not None and knob.high is not None:
        lines.append(f"{knob.low:g} to {knob.high:g}{unit}.")
    elif knob.low is not None:
        lines.append(f"{knob.low:g}{unit} or more.")
    elif knob.high is not None:
        lines.append(f"{knob.high:g}{unit} or less.")
    default = ", ".join(map(str, knob.default)) if isinstance(knob.default, tuple) else knob.default
    if isinstance(knob.default, float):
        default = f"{knob.default:g}"
    lines.append(f"Usual: {default if default != '' else 'empty'}{unit}.")
    return "<qt>" + "<br>".join(line.replace("<", "&lt;") for line in lines) + "</qt>"
