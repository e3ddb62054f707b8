"""Words such as ``tv_strength=0.01:1:log:5`` to axes, and axes to points of a search."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from napari_dipmtv.errors import InputError, expected
from napari_dipmtv.settings.base import StageSettings

Point = dict[str, Any]
FORM = "NAME=A,B,C or NAME=LOW:HIGH or NAME=LOW:HIGH:log or either with :COUNT behind"
DEFAULT_COUNT = 5


@dataclass(frozen=True, slots=True)
class Axis:
    """One searched setting: listed ``values``, or a range from ``low`` to ``high`` with a grid of ``values`` in it."""

    name: str
    values: tuple[Any, ...]
    low: float | None = None
    high: float | None = None
    log: bool = False
    whole: bool = False

    @property
    def is_range(self) -> bool:
        """True where any number between the ends may be tried."""
        return self.low is not None

    def at(self, share: float) -> Any:
        """The value at a share (0 to 1) of the range, or of the list."""
        if self.low is None or self.high is None:
            return self.values[min(int(share * len(self.values)), len(self.values) - 1)]
        return _between(self.low, self.high, share, self.log, self.whole)


def parse_axis(word: str, model: type[StageSettings]) -> Axis:
    """Read one axis of a settings model and check its values against it; see `named_axis`."""
    return named_axis(word, lambda _: model)


def named_axis(word: str, model_of: Callable[[str], type[StageSettings]]) -> Axis:
    """Read one axis and check its values against the settings model that belongs to its name.

    Raises
    ------
    InputError
        For a word of another form, an unknown setting or a value out of bounds.
    """
    name, mark, text = (part.strip() for part in word.partition("="))
    if not (mark and name and text):
        raise InputError(expected("search axis", FORM, repr(word), "Name a setting and its values"))
    axis = _range(name, text) if ":" in text and not text.startswith(("[", "{", '"')) else _listed(name, text)
    known = model_of(name)
    for value in axis.values:
        known.from_mapping({name.rpartition(".")[2]: value})
    return axis


def grid(axes: Sequence[Axis]) -> Iterator[Point]:
    """All combinations, the last axis fastest."""
    for values in itertools.product(*(axis.values for axis in axes)):
        yield dict(zip((axis.name for axis in axes), values, strict=True))


def drawn(axes: Sequence[Axis], trials: int, seed: int) -> Iterator[Point]:
    """Random points; the first k of n are the same for every n."""
    for shares in np.random.default_rng(seed).random((trials, len(axes))):
        yield {axis.name: axis.at(float(share)) for axis, share in zip(axes, shares, strict=True)}


def _listed(name: str, text: str) -> Axis:
    values = tuple(_value(part) for part in _parts(text))
    return Axis(name, values)


def _range(name: str, text: str) -> Axis:
    low_text, high_text, *rest = text.split(":")
    log = "log" in rest
    counts = [part for part in rest if part != "log"]
    try:
        low, high = float(low_text), float(high_text)
        count = int(counts[0]) if counts else DEFAULT_COUNT
    except ValueError:
        raise InputError(
            expected(f"search axis {name}", FORM, repr(text), "Give two numbers with a colon")
        ) from None
    if len(counts) > 1 or not low < high or count < 2 or (log and low <= 0):
        advice = "Give the lower end first, above 0 for log, and at least two points"
        raise InputError(expected(f"search axis {name}", FORM, repr(text), advice))
    whole = not any(mark in low_text + high_text for mark in ".eE")
    values = [_between(low, high, share, log, whole) for share in np.linspace(0, 1, count)]
    return Axis(name, tuple(dict.fromkeys(values)), low, high, log, whole)


def _between(low: float, high: float, share: float, log: bool, whole: bool) -> float | int:
    value = low * math.exp(share * math.log(high / low)) if log else low + share * (high - low)
    return round(value) if whole else float(f"{value:.6g}")  # digits that survive a table


def _parts(text: str) -> list[str]:
    """Split at commas outside brackets."""
    parts, depth = [""], 0
    for letter in text:
        depth += (letter in "[{") - (letter in "]}")
        if letter == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
    return [part.strip() for part in parts if part.strip()]


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text
