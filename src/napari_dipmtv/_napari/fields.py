"""One knob to one control that can hold, without loss, every value that the knob allows."""

from __future__ import annotations

from typing import Any, Literal, get_args, get_origin

from qtpy.QtCore import QEvent, QObject, Signal
from qtpy.QtWidgets import QCheckBox, QComboBox, QHBoxLayout, QLineEdit, QSpinBox, QWidget

from napari_dipmtv.errors import InputError, expected
from napari_dipmtv.settings.base import Knob

LARGEST_INT = 2**31 - 1  # of a QSpinBox


class _CalmWheel(QObject):
    """Keep the mouse wheel from changing a value while somebody scrolls the panel past it."""

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if event.type() == QEvent.Type.Wheel and not watched.hasFocus():
            event.ignore()
            return True
        return False


class IntField(QSpinBox):
    """Whole numbers within bounds."""

    changed = Signal()

    def __init__(self, knob: Knob) -> None:
        super().__init__()
        self.setRange(
            -LARGEST_INT if knob.low is None else int(knob.low),
            LARGEST_INT if knob.high is None else min(int(knob.high), LARGEST_INT),
        )
        self.setKeyboardTracking(False)
        self.installEventFilter(_CalmWheel(self))
        self.valueChanged.connect(lambda _: self.changed.emit())

    def read(self) -> int:
        return self.value()

    def write(self, value: int) -> None:
        self.setValue(value)


class FloatField(QLineEdit):
    """A number in any notation: a box with fixed decimals would turn 1e-9 into 0.

    Shows six digits, but keeps all digits of a value that was set and not edited.
    """

    changed = Signal()

    def __init__(self, knob: Knob) -> None:
        super().__init__()
        self._name = knob.title
        self._exact: float | None = None
        self.setPlaceholderText("e.g. 0.05 or 1e-9")
        self.editingFinished.connect(self._report)

    def read(self) -> float:
        text = self.text().strip()
        if self._exact is not None and text == f"{self._exact:g}":
            return self._exact
        try:
            return float(text.replace(",", "."))
        except ValueError:
            raise InputError(
                expected(self._name, "a number such as 0.05 or 1e-9", repr(text), "Correct it")
            ) from None

    def write(self, value: float) -> None:
        self._exact = float(value)
        self.setText(f"{value:g}")
        self.changed.emit()

    def _report(self) -> None:
        if self.isModified():
            self.setModified(False)
            self.changed.emit()


class NumbersField(QLineEdit):
    """Several numbers, whole or not, separated by commas."""

    changed = Signal()

    def __init__(self, knob: Knob, number: type[int] | type[float]) -> None:
        super().__init__()
        self._name, self._number = knob.title, number
        self._example = "whole numbers, e.g. 16, 32, 64" if number is int else "numbers, e.g. 1, 0.5, 2"
        self.setPlaceholderText(knob.empty or self._example[self._example.index("e.g.") :])
        self.editingFinished.connect(self._report)

    def read(self) -> tuple[int | float, ...]:
        parts = self.text().replace(";", ",").replace(",", " ").split()
        try:
            return tuple(self._number(part) for part in parts)
        except ValueError:
            raise InputError(expected(self._name, self._example, repr(self.text()), "Correct them")) from None

    def write(self, value: tuple[int | float, ...]) -> None:
        self.setText(", ".join(str(part) for part in value))
        self.changed.emit()

    def _report(self) -> None:
        if self.isModified():
            self.setModified(False)
            self.changed.emit()


class TextField(QLineEdit):
    """Any text."""

    changed = Signal()

    def __init__(self, knob: Knob) -> None:
        super().__init__()
        self.setPlaceholderText(knob.empty)
        self.editingFinished.connect(self._report)

    def read(self) -> str:
        return self.text().strip()

    def write(self, value: str) -> None:
        self.setText(value)
        self.changed.emit()

    def _report(self) -> None:
        if self.isModified():
            self.setModified(False)
            self.changed.emit()


class ChoiceField(QComboBox):
    """One of a few values."""

    changed = Signal()

    def __init__(self, knob: Knob) -> None:
        super().__init__()
        for choice in knob.choices:
            self.addItem(str(choice), choice)
        self.installEventFilter(_CalmWheel(self))
        self.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToContents)
        self.currentIndexChanged.connect(lambda _: self.changed.emit())

    def read(self) -> Any:
        return self.currentData()

    def write(self, value: Any) -> None:
        self.setCurrentIndex(self.findData(value))


class SwitchField(QCheckBox):
    """Yes or no."""

    changed = Signal()

    def __init__(self, knob: Knob) -> None:
        super().__init__()
        self.toggled.connect(lambda _: self.changed.emit())

    def read(self) -> bool:
        return self.isChecked()

    def write(self, value: bool) -> None:
        self.setChecked(value)


class SeveralField(QWidget):
    """Any of a few values, in their order."""

    changed = Signal()

    def __init__(self, knob: Knob) -> None:
        super().__init__()
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        self._boxes: dict[Any, QCheckBox] = {}
        for choice in get_args(get_args(knob.annotation)[0]):
            box = self._boxes[choice] = QCheckBox(str(choice))
            box.setToolTip(knob.description)
            box.toggled.connect(lambda _: self.changed.emit())
            layout.addWidget(box)
        layout.addStretch()

    def read(self) -> tuple[Any, ...]:
        return tuple(choice for choice, box in self._boxes.items() if box.isChecked())

    def write(self, value: tuple[Any, ...]) -> None:
        for choice, box in self._boxes.items():
            box.setChecked(choice in value)


Field = IntField | FloatField | NumbersField | TextField | ChoiceField | SwitchField | SeveralField


def field_for(knob: Knob) -> Field:
    """Make the control of a knob.

    Raises
    ------
    TypeError
        For a kind of value that no control can hold yet.
    """
    if knob.choices:
        return ChoiceField(knob)
    if get_origin(knob.annotation) is tuple:
        inner = get_args(knob.annotation)[0]
        if get_origin(inner) is Literal:
            return SeveralField(knob)
        if inner in (int, float):
            return NumbersField(knob, inner)
    simple = {bool: SwitchField, int: IntField, float: FloatField, str: TextField}
    if knob.annotation not in simple:
        raise TypeError(f"no control for setting '{knob.name}' of type {knob.annotation}")
    return simple[knob.annotation](knob)
