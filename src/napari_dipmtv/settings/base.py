"""One knob, defined once: value, bounds, unit and words feed the form, the tooltip, the command line and the docs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, Self, get_args, get_origin

import annotated_types
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.fields import FieldInfo

from napari_dipmtv.errors import InputError


class StageSettings(BaseModel):
    """Frozen settings of one stage; unknown names are refused; a JSON round trip gives the same object."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", validate_default=True, use_attribute_docstrings=False
    )

    def replace(self, **changes: Any) -> Self:
        """Give a validated copy with some fields changed.

        Raises
        ------
        InputError
            For an unknown field or a value out of bounds, naming the field and its bounds.
        """
        return self.from_mapping({**self.model_dump(), **changes})

    @classmethod
    def from_mapping(cls, values: dict[str, Any]) -> Self:
        """Build from plain values (JSON, command line); raises `InputError` with one sentence per wrong field."""
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise InputError(_sentence(cls, error)) from None


def knob(
    default: Any,
    title: str,
    description: str,
    *,
    unit: str = "",
    empty: str = "",
    advanced: bool = False,
    ge: float | None = None,
    gt: float | None = None,
    le: float | None = None,
    lt: float | None = None,
) -> Any:
    """Define one settings field with the words and bounds that every front end shows.

    Parameters
    ----------
    default : object
        The value that most people want.
    title, description : str
        Label and tooltip; the description says what changes when the value grows.
    unit : str
        Physical unit, shown behind the value ("nm", "deg", "px", "eV", "e/Å²").
    empty : str
        What an empty value stands for; a form shows it, pale, in the empty field.
    advanced : bool
        Folded away in the form.
    ge, gt, le, lt : float, optional
        Bounds.
    """
    return Field(
        default=default,
        title=title,
        description=description,
        ge=ge,
        gt=gt,
        le=le,
        lt=lt,
        json_schema_extra={"unit": unit, "empty": empty, "advanced": advanced},
    )


@dataclass(frozen=True, slots=True)
class Knob:
    """What a front end needs to know of one field."""

    name: str
    title: str
    description: str
    unit: str
    empty: str
    advanced: bool
    annotation: Any
    default: Any
    low: float | None
    high: float | None

    @property
    def choices(self) -> tuple[Any, ...]:
        """The allowed values of a `Literal` field, else ``()``."""
        return get_args(self.annotation) if get_origin(self.annotation) is Literal else ()


def knobs(model: type[StageSettings]) -> Iterator[Knob]:
    """Go through the fields of a settings model in their order."""
    for name, field in model.model_fields.items():
        extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
        low, high = _bounds(field)
        yield Knob(
            name=name,
            title=field.title or name,
            description=field.description or "",
            unit=str(extra.get("unit", "")),
            empty=str(extra.get("empty", "")),
            advanced=bool(extra.get("advanced", False)),
            annotation=field.annotation,
            default=field.get_default(call_default_factory=True),
            low=low,
            high=high,
        )


def _bounds(field: FieldInfo) -> tuple[float | None, float | None]:
    low: Any = None
    high: Any = None
    for mark in field.metadata:
        if isinstance(mark, annotated_types.Ge):
            low = mark.ge
        elif isinstance(mark, annotated_types.Gt):
            low = mark.gt
        elif isinstance(mark, annotated_types.Le):
            high = mark.le
        elif isinstance(mark, annotated_types.Lt):
            high = mark.lt
    return low, high


def _sentence(model: type[StageSettings], error: ValidationError) -> str:
    parts = []
    for problem in error.errors():
        name = ".".join(str(part) for part in problem["loc"])
        if problem["type"] == "extra_forbidden":
            parts.append(f"there is no setting '{name}'; known: {', '.join(model.model_fields)}")
        elif problem["type"] == "value_error":  # our own validators write whole sentences
            sentence = problem["msg"].removeprefix("Value error, ")
            parts.append(f"setting '{name}': {sentence}" if name else sentence)
        else:
            parts.append(f"setting '{name}': {problem['msg'].lower()}, got {problem['input']!r}")
    return "; ".join(parts) + "."
