"""A table of tilt angles, or the names of the files of a series, to tilts in degrees in file order."""

from __future__ import annotations

import csv
import json
import math
import re
from collections.abc import Sequence
from pathlib import Path

from napari_dipmtv.data import check_tilts
from napari_dipmtv.errors import GeometryError, ReadError, expected
from napari_dipmtv.io.guard import reading

ANGLE_SUFFIXES = (".txt", ".rawtlt", ".tlt", ".csv", ".tsv", ".json", ".dat", ".mdoc")
_LARGEST_TABLE = 1_000_000  # bytes; ten thousand tilts fit easily
_NUMBER = r"[+-]?\d+(?:\.\d+)?"
_NAME_PATTERNS = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        rf"(?<![a-z0-9.])([mpn]?{_NUMBER})[\s_]?(?:deg(?:ree)?s?|°)(?![a-z])",  # m35deg, -35 deg, 35°
        rf"(?<![a-z])tilt[\s_=]?({_NUMBER})(?![\d.]\d)",  # tilt_+17.5, tilt-40
        r"(?:^|(?<=[\s_=]))([+-]\d+(?:\.\d+)?)(?=$|[\s_])",  # lowloss_+017.5
        r"^((?:0|[1-9]\d{0,2})(?:\.\d+)?)$",  # 35 alone; 0035 is a counter
    )
)


def load_angles(path: Path, count: int | None = None) -> tuple[float, ...]:
    """Read tilt angles in degrees, in file order.

    Parameters
    ----------
    path : Path
        ``.txt``, ``.rawtlt``, ``.tlt`` or ``.dat``: one number per line, ``#``, ``;`` and ``%`` begin
        comments. ``.csv``, ``.tsv``: the column whose head contains "angle" or "tilt", or the only one.
        ``.json``: a list of numbers, or an object with exactly one such list. ``.mdoc`` (SerialEM): the
        ``TiltAngle`` of each section.
    count : int, optional
        How many there must be.

    Raises
    ------
    ReadError
        For a missing, unreadable or unknown file.
    GeometryError
        For a wrong count, angles that are not finite, repeated, beyond 180 deg or look like radians.
    """
    path = Path(path)
    with reading(path):
        angles = _parse(path, _text(path))
    return check_angles(angles, count, f"tilt angles in {path}")


def angles_by_file(path: Path) -> dict[str, float] | None:
    """Tilts in degrees by file name, where the angle file names them; None for a bare list of angles.

    Names stand in the column "file" of a ``.csv`` or ``.tsv`` table, or behind ``SubFramePath`` in an ``.mdoc``.

    Raises
    ------
    ReadError
        For a missing, unreadable or unknown file.
    GeometryError
        For a file named twice.
    """
    path = Path(path)
    with reading(path):
        text, suffix = _text(path), path.suffix.lower()
        names: list[str] = []
        if suffix == ".mdoc":
            names = re.findall(r"^\s*SubFramePath\s*=\s*(.+?)\s*$", text, re.MULTILINE)
        elif suffix in {".csv", ".tsv"}:
            rows = _table_rows(text, "\t" if suffix == ".tsv" else None)
            head = [name.lower() for name in rows[0]] if rows else []
            column = next((i for i, name in enumerate(head) if name in {"file", "name", "filename"}), None)
            names = [] if column is None else [row[column] for row in rows[1:]]
        if not names:
            return None
        angles = _parse(path, text)
    names = [re.split(r"[\\/]", name)[-1] for name in names]
    if len(set(names)) < len(names) or len(names) != len(angles):
        raise GeometryError(
            expected(
                f"tilt angles in {path}", "one angle for each file", "another number", "Correct the table"
            )
        )
    return dict(zip(names, angles, strict=True))


def check_angles(angles: Sequence[float], count: int | None, what: str) -> tuple[float, ...]:
    """Give the angles back if they can be the tilts in degrees of a series, else raise `GeometryError`.

    Radians are suspected for more than three angles that all lie within 3.2: in degrees such a series would
    carry next to no depth.
    """
    values = tuple(float(angle) for angle in angles)
    if not values:
        raise GeometryError(expected(what, "at least one angle", "none", "Give one angle per image"))
    if count is not None and len(values) != count:
        raise GeometryError(
            expected(what, f"{count} (one per image)", len(values), "Give one angle per image, in file order")
        )
    if len(values) > 1 and len(set(values)) == 1:
        advice = "Another program may have reset them; give the angle file of the microscope"
        raise GeometryError(expected(what, "different angles", f"{values[0]:g} {len(values)} times", advice))
    if len(values) > 3 and all(math.isfinite(v) for v in values) and max(map(abs, values)) < 3.2:
        span = f"{min(values):g} to {max(values):g}, which look like radians"
        raise GeometryError(expected(what, "degrees", span, "Multiply them by 57.29578 and load again"))
    try:
        check_tilts(values, views=count)
    except GeometryError as error:
        raise GeometryError(f"{what}: {error}") from error
    return values


def tilt_from_name(name: str) -> float | None:
    """Tilt in degrees in a file name such as ``tilt_+17.5``, ``-40.bcf``, ``m35deg``; None if none or two."""
    stem = _ascii_minus(re.sub(r"\.[A-Za-z][A-Za-z0-9]{0,6}$", "", Path(name).name))
    for pattern in _NAME_PATTERNS:
        found = {_signed(text) for text in pattern.findall(stem)}
        if len(found) > 1:
            return None
        if found and abs(value := found.pop()) <= 180:
            return value
    return None


def tilts_from_names(paths: Sequence[Path]) -> tuple[float, ...] | None:
    """Tilts in degrees from the names of a series; None where one name tells none, or all merely count up."""
    tilts = [tilt_from_name(path.name) for path in paths]
    known = [tilt for tilt in tilts if tilt is not None]
    if len(known) < len(tilts) or _counts_up(paths):
        return None
    return tuple(known)


def _counts_up(paths: Sequence[Path]) -> bool:
    """True for bare names 0, 1, 2, ... or 1, 2, 3, ...: numbers of files, not tilts."""
    stems = sorted({path.stem for path in paths}, key=lambda stem: (len(stem), stem))
    first = int(stems[0]) if stems[0] in {"0", "1"} else -1
    return len(stems) > 2 and first >= 0 and stems == [str(first + i) for i in range(len(stems))]


def _text(path: Path) -> str:
    if path.suffix.lower() not in ANGLE_SUFFIXES:
        raise ReadError(
            expected(
                f"file {path}",
                f"one of {', '.join(ANGLE_SUFFIXES)}",
                path.suffix or "no ending",
                "Save as .txt",
            )
        )
    if path.stat().st_size > _LARGEST_TABLE:
        raise ReadError(
            expected(f"file {path}", "a short table of angles", "over 1 MB", "Choose the angle file")
        )
    return path.read_text(encoding="utf-8-sig")


def _parse(path: Path, text: str) -> list[float]:
    suffix = path.suffix.lower()
    if suffix == ".mdoc":
        found = re.findall(r"^\s*TiltAngle\s*=\s*(.+?)\s*$", text, re.MULTILINE)
        return [_number(path, angle) for angle in found]
    if suffix == ".json":
        return _from_json(path, json.loads(text))
    if suffix in {".csv", ".tsv"}:
        return _from_table(path, text, "\t" if suffix == ".tsv" else None)
    lines = (re.split(r"[#;%]", line, maxsplit=1)[0].strip() for line in text.splitlines())
    return [_number(path, line) for line in lines if line]


def _from_json(path: Path, content: object) -> list[float]:
    if isinstance(content, dict):
        lists = [value for value in content.values() if isinstance(value, list)]
        content = lists[0] if len(lists) == 1 else content
    if not isinstance(content, list) or not all(
        isinstance(value, int | float) and not isinstance(value, bool) for value in content
    ):
        raise ReadError(
            expected(f"file {path}", "one list of numbers", type(content).__name__, "Save [-60, -55, ...]")
        )
    return [float(value) for value in content]


def _from_table(path: Path, text: str, delimiter: str | None) -> list[float]:
    rows = _table_rows(text, delimiter)
    if not rows:
        return []
    head = rows[0]
    if len(head) == 1 and _is_number(head[0]):
        return [_number(path, row[0]) for row in rows]
    columns = [i for i, name in enumerate(head) if re.search(r"angle|tilt|degree", name, re.IGNORECASE)]
    if len(head) == 1:
        columns = [0]
    if len(columns) != 1 or re.search(r"\brad|_rad", head[columns[0]], re.IGNORECASE):
        raise ReadError(
            expected(
                f"file {path}",
                "one column of degrees headed 'angle' or 'tilt'",
                head,
                "Name the column angle_deg",
            )
        )
    return [_number(path, row[columns[0]] if columns[0] < len(row) else "") for row in rows[1:]]


def _table_rows(text: str, delimiter: str | None) -> list[list[str]]:
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    if not lines:
        return []
    delimiter = delimiter or next((mark for mark in ";\t," if mark in lines[0]), ",")
    return [[cell.strip() for cell in row] for row in csv.reader(lines, delimiter=delimiter)]


def _number(path: Path, text: str) -> float:
    try:
        return float(_ascii_minus(text))
    except ValueError:
        advice = "One number per line with a decimal point; write comments behind #"
        raise ReadError(expected(f"file {path}", "an angle in degrees", repr(text), advice)) from None


def _is_number(text: str) -> bool:
    return re.fullmatch(_NUMBER, _ascii_minus(text)) is not None


def _signed(text: str) -> float:
    letter = text[0].lower()
    return float(text[1:]) * (-1 if letter in "mn" else 1) if letter in "mpn" else float(text)


def _ascii_minus(text: str) -> str:
    return text.replace("\u2212", "-").replace("\u2013", "-")
