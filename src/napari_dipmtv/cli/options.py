"""Words on the command line to settings, paths and maps; the options that several commands share."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from napari_dipmtv.cli.conversation import note
from napari_dipmtv.data import ChannelMaps, MapStack, TiltSeries
from napari_dipmtv.errors import InputError, WriteError, expected
from napari_dipmtv.settings.base import StageSettings

S = TypeVar("S", bound=StageSettings)
M = TypeVar("M", bound=str)

OutOption = Annotated[
    Path, typer.Option("--out", help="Folder for the results. It is made when the input has proved good.")
]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="NAME=VALUE",
        help="Any setting of the stage, repeatable; 'napari-dipmtv settings STAGE' lists them.",
    ),
]
JsonOption = Annotated[
    bool, typer.Option("--json", help="For machines: one JSON object on stdout, no progress on stderr.")
]
AnglesOption = Annotated[
    Path | None,
    typer.Option("--angles", help="Tilt angles in degrees, one per view: .txt, .rawtlt, .csv or .json."),
]
BinPixelsOption = Annotated[
    int, typer.Option("--bin-pixels", help="Add up so many pixels along y and x while reading.", min=1)
]


def settings_from(
    model: type[S], assignments: Sequence[str] | None, base: Mapping[str, Any] | None = None
) -> S:
    """Build settings from ``NAME=VALUE`` words; ``phantom.size_nm=20`` reaches into a group of settings.

    Parameters
    ----------
    model : type of StageSettings
    assignments : sequence of str, optional
    base : mapping, optional
        Values of an earlier run, in the types of JSON, instead of the defaults.

    Raises
    ------
    InputError
        For a word without "=", an unknown name or a value out of bounds.
    """
    values: dict[str, Any] = dict(base or {})
    for word in assignments or ():
        name, value = named(word, "--set", "NAME=VALUE")
        *groups, last = name.split(".")
        target = values
        for group in groups:
            target = target.setdefault(group, {})
            if not isinstance(target, dict):
                raise InputError(expected(f"--set {word}", "one value per setting", "two", "Leave one out"))
        target[last] = _value(value)
    return model.from_mapping(values)


def settings_of_several(
    models: Mapping[str, type[StageSettings]], assignments: Sequence[str] | None
) -> dict[str, Any]:
    """Build the settings of several stages; each ``NAME=VALUE`` goes to the stage that has such a setting.

    Raises
    ------
    InputError
        For a name that no stage has.
    """
    words: dict[str, list[str]] = {stage: [] for stage in models}
    for word in assignments or ():
        name = named(word, "--set", "NAME=VALUE")[0]
        stage = next((stage for stage, model in models.items() if name in model.model_fields), None)
        if stage is None:
            known = "; ".join(f"{stage}: {', '.join(model.model_fields)}" for stage, model in models.items())
            raise InputError(expected("--set", f"a setting ({known})", name, "Correct the name"))
        words[stage].append(word)
    return {stage: settings_from(model, words[stage]) for stage, model in models.items()}


def named(word: str, option: str, form: str) -> tuple[str, str]:
    """Split ``NAME=VALUE`` at its first "="; raises `InputError` without one."""
    name, mark, value = word.partition("=")
    if not (mark and name.strip() and value.strip()):
        raise InputError(
            expected(option, form, repr(word), "Write a name, '=' and a value without spaces around it")
        )
    return name.strip(), value.strip()


def named_once(words: Sequence[str], option: str, form: str) -> dict[str, str]:
    """Split several ``NAME=VALUE`` words; raises `InputError` when a name comes twice."""
    pairs = [named(word, option, form) for word in words]
    names = [name for name, _ in pairs]
    if len(set(names)) < len(names):
        raise InputError(
            expected(option, "each name once", ", ".join(names), "Rename or leave out one of them")
        )
    return dict(pairs)


def usable_folder(out: Path) -> Path:
    """Give the folder back when it could be made and written, without making it; else raise `WriteError`."""
    place = out
    while not place.exists() and place != place.parent:
        place = place.parent
    if not place.is_dir() or not os.access(place, os.W_OK | os.X_OK):
        got = "a file" if place.is_file() else "no right to write"
        raise WriteError(
            expected(f"--out {out}", "a folder that can be written", f"{got} at {place}", "Choose another")
        )
    return out


def as_aligned(stack: MapStack, as_json: bool) -> TiltSeries:
    """Give an aligned series as it is, and take other maps as aligned, saying so."""
    if isinstance(stack, TiltSeries):
        return stack
    assert isinstance(stack, ChannelMaps)
    from napari_dipmtv import pipeline

    note("The maps are taken as aligned: tilt axis along y through the middle of x.", as_json)
    return pipeline.assume_aligned(stack)


def known_method(name: str, methods: Mapping[M, Any]) -> M:
    """Find a method by its name; raises `InputError` for another."""
    found = next((known for known in methods if known == name), None)
    if found is None:
        raise InputError(expected("--method", ", ".join(map(str, methods)), name, "Choose one of them"))
    return found


def read_saved(folder: Path) -> MapStack:
    """Read a folder that `save_maps` wrote: channel maps, or the aligned series."""
    from napari_dipmtv.io.guard import reading
    from napari_dipmtv.io.map_folder import INDEX, load_saved_maps, load_saved_series

    index = folder / INDEX
    with reading(index):
        aligned = bool(json.loads(index.read_text(encoding="utf-8"))["aligned"])
    return load_saved_series(folder) if aligned else load_saved_maps(folder)


def _value(text: str) -> Any:
    """A number, list, true or false where the text is one, else the text itself."""
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text
