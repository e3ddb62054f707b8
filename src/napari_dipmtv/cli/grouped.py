"""A command that takes groups of options to one that takes the options: what several commands share is told once."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, get_type_hints


def grouped(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command, instead of each argument whose type is a dataclass, the fields of that as options.

    The fields are annotated like options of typer and have defaults, which the group does not share with others.
    """
    hints = get_type_hints(command, include_extras=True)
    groups = {name: kind for name, kind in hints.items() if is_dataclass(kind) and isinstance(kind, type)}

    @functools.wraps(command)
    def wrapped(**values: Any) -> None:
        for name, group in groups.items():
            values[name] = group(**{field.name: values.pop(field.name) for field in fields(group)})
        command(**values)

    parameters: list[inspect.Parameter] = []
    for one in inspect.signature(command).parameters.values():
        parameters += _options(groups[one.name]) if one.name in groups else [_typed(one, hints)]
    wrapped.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined] # what typer reads
    return wrapped


def _typed(one: inspect.Parameter, hints: dict[str, Any]) -> inspect.Parameter:
    return one.replace(kind=inspect.Parameter.KEYWORD_ONLY, annotation=hints[one.name])


def _options(group: type) -> list[inspect.Parameter]:
    hints = get_type_hints(group, include_extras=True)
    return [
        inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=inspect.Parameter.empty if field.default is MISSING else field.default,
            annotation=hints[field.name],
        )
        for field in fields(group)
    ]
