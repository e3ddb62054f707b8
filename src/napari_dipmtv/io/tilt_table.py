"""A folder of microscope files to a table of spectrum images, tilts, calibrations and problems; and back to headers.

The table is what a person looks at before anything large is read. It never fails for a bad file: the file gets a row
with its problem. Saved as CSV it can be corrected in a spreadsheet and read back.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from napari_dipmtv.errors import GeometryError, ReadError, expected
from napari_dipmtv.io.angles import angles_by_file, check_angles, load_angles, tilts_from_names
from napari_dipmtv.io.atomic import write_bytes
from napari_dipmtv.io.guard import natural_key, reading
from napari_dipmtv.io.headers import SAME_TILT_DEG, SPECTRUM_SUFFIXES
from napari_dipmtv.io.tilt_rows import KINDS, TiltRow, TiltTable, checked, rows_of_file

__all__ = ["TiltRow", "TiltTable", "load_table", "save_table", "spectrum_files", "survey"]

_COLUMNS = (
    "use",
    "file",
    "index",
    "kind",
    "tilt_deg",
    "tilt_from",
    "pixel_nm",
    "shape",
    "start_ev",
    "stop_ev",
    "step_ev",
    "problems",
)
_LARGEST_TABLE = 1_000_000  # bytes
_FOLDER_FILE = ".zspy"  # a folder that is one file to its user


def survey(source: Path | Sequence[Path], angles: Path | Sequence[float] | None = None) -> TiltTable:
    """Look at all files of a tilt series without reading their counts.

    Parameters
    ----------
    source : Path or sequence of Path
        A folder, one file, or files.
    angles : Path or sequence of float, optional
        One tilt per image in the natural order of the file names, or a file of them: `load_angles`, or a table
        with the columns "file" and "tilt_deg". Without it the only angle file in the folder is taken, else the
        metadata and the file names.

    Returns
    -------
    TiltTable
        One row per spectrum image; a row with a problem for each file that cannot be read.

    Raises
    ------
    ReadError
        When there are no files of a known kind at all, or the angle file cannot be read.
    GeometryError
        When ``angles`` does not fit the images.
    """
    files, _ = spectrum_files(source)
    rows = [row for path in files for row in rows_of_file(path)]
    angles = _angle_file_beside(source) if angles is None else angles
    rows = _tilts_from_files(rows) if angles is None else _tilts_given(rows, angles)
    return TiltTable(tuple(checked(rows)))


def spectrum_files(source: Path | Sequence[Path]) -> tuple[list[Path], bool]:
    """The files of a series in natural order, and whether each of them was named, not found in a folder."""
    if not isinstance(source, str | Path):
        files = [Path(path) for path in source]
        if files:
            return files, True
        raise ReadError(expected("files of the series", "at least one", "none", "Choose the files"))
    folder = Path(source)
    if folder.is_file() or folder.suffix.lower() == _FOLDER_FILE:
        return [folder], True
    with reading(folder):
        files = sorted((p for p in folder.iterdir() if _is_candidate(p)), key=natural_key)
    if not files:
        kinds = ", ".join(SPECTRUM_SUFFIXES)
        raise ReadError(
            expected(f"folder {folder}", f"spectrum images ({kinds})", "none", "Choose another folder")
        )
    return files, False


def save_table(table: TiltTable, path: Path) -> Path:
    """Write a table as CSV beside its files, to be edited; `load_table` reads it back.

    Raises
    ------
    WriteError
        An older file stays as it was.
    """
    path = Path(path)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_COLUMNS)
    writer.writerows(_cells(row, path.parent) for row in table.rows)
    return write_bytes(path, text.getvalue().encode())


def load_table(path: Path) -> TiltTable:
    """Read an edited table back: ``use``, ``kind``, ``tilt_deg`` and ``pixel_nm`` are taken from it.

    The files are looked at again, so that the table cannot disagree with them.

    Raises
    ------
    ReadError
        For a table without these columns, with values that are none, or with files that are not there.
    """
    path = Path(path)
    with reading(path):
        if path.stat().st_size > _LARGEST_TABLE:
            raise ReadError(expected(f"file {path}", "a table of tilts", "over 1 MB", "Choose the table"))
        lines = list(csv.DictReader(path.read_text(encoding="utf-8-sig").splitlines()))
        missing = sorted(set(_COLUMNS[:5]) - set(lines[0] if lines else ()))
        if missing:
            advice = "Write the table with save_table and edit that"
            raise ReadError(expected(f"file {path}", f"the columns {', '.join(missing)}", "none", advice))
        rows = [_edited(path, line) for line in lines]
    return TiltTable(tuple(checked(rows)))


def _is_candidate(path: Path) -> bool:
    suffix = path.suffix.lower()
    whole = path.is_file() or (suffix == _FOLDER_FILE and path.is_dir())
    return suffix in SPECTRUM_SUFFIXES and not path.name.startswith(".") and whole


def _angle_file_beside(source: Path | Sequence[Path]) -> Path | None:
    """The only angle file in the folder; a table of this program is not one, nor are several."""
    if not isinstance(source, str | Path) or not Path(source).is_dir():
        return None
    found = [p for p in Path(source).iterdir() if p.suffix.lower() in {".rawtlt", ".tlt", ".mdoc"}]
    return found[0] if len(found) == 1 else None


def _tilts_from_files(rows: Sequence[TiltRow]) -> list[TiltRow]:
    """Tilts from metadata and names; a stage that says 0.0 in every one of several files is not believed."""
    headers = [row.header for row in rows if row.header is not None]
    paths = sorted({header.path for header in headers})
    stages = [header.stage_tilt_deg for header in headers]
    idle = len(paths) > 1 and bool(stages) and all(stage == 0 for stage in stages)
    named = sorted({header.path for header in headers if header.name_tilt_deg is not None})
    counted = len(named) > 2 and tilts_from_names(named) is None
    return [_told(row, idle=idle, counted=counted) for row in rows]


def _told(row: TiltRow, *, idle: bool, counted: bool) -> TiltRow:
    header = row.header
    if header is None:
        return row
    stage, name, tilt = header.stage_tilt_deg, header.name_tilt_deg, header.tilt_deg
    if header.conflict:
        return row.with_problem(f"{stage:g} deg in the metadata, {name:g} deg in the file name")
    if tilt is not None and tilt == name and tilt != stage and counted:
        return row.with_problem("no tilt angle: the file names merely count up")
    if idle and name is None:
        return row.with_problem("the metadata say 0.0 deg in every file, which is not believed")
    if tilt is None:
        return row.with_problem("no tilt angle in the metadata or the file name")
    if idle:
        row = row.with_problem("the metadata say 0.0 deg in every file; the file name is taken")
    return replace(row, tilt_deg=tilt, tilt_from="metadata" if tilt == stage and not idle else "file name")


def _tilts_given(rows: Sequence[TiltRow], angles: Path | Sequence[float]) -> list[TiltRow]:
    """Tilts by the name of the file where the angle file has names, else in order within each kind."""
    source = "table"
    images = [row for row in rows if row.header is not None]
    if isinstance(angles, str | Path):
        source = Path(angles).name
        named = angles_by_file(Path(angles))
        if named is not None:
            return [_by_name(row, named, source) for row in rows]
        angles = load_angles(Path(angles))
    counts = Counter(row.header.kind for row in images if row.header)
    if set(counts.values()) != {len(angles)}:
        got = f"{len(angles)} angles for {', '.join(f'{n} {kind}' for kind, n in counts.items()) or 'none'}"
        raise GeometryError(
            expected(
                f"tilts of {source}", "one angle per image", got, "Give one angle per image, in file order"
            )
        )
    tilts = check_angles(angles, None, f"tilts of {source}")
    order = {kind: iter(tilts) for kind in counts}
    return [
        _assigned(row, next(order[row.header.kind]), source) if row.header is not None else row
        for row in rows
    ]


def _by_name(row: TiltRow, named: dict[str, float], source: str) -> TiltRow:
    if row.header is None:
        return row
    if row.path.name not in named:
        return row.with_problem(f"no tilt angle: {source} does not name this file")
    return _assigned(row, named[row.path.name], source)


def _assigned(row: TiltRow, tilt_deg: float, source: str) -> TiltRow:
    """A given angle goes before all; one that the file name contradicts is told (a list in another order?)."""
    name = row.header.name_tilt_deg if row.header is not None else None
    if name is not None and abs(name - tilt_deg) > SAME_TILT_DEG:
        row = row.with_problem(f"{tilt_deg:g} deg in {source}, {name:g} deg in the file name")
    return replace(row, tilt_deg=tilt_deg, tilt_from=source)


def _cells(row: TiltRow, folder: Path) -> list[object]:
    name = row.path.relative_to(folder) if row.path.is_relative_to(folder) else row.path
    header = row.header
    tilt = "" if row.tilt_deg is None else f"{row.tilt_deg:g}"
    start = ["yes" if row.use else "no", name.as_posix(), 0 if header is None else header.index]
    if header is None:
        return [*start, "", tilt, row.tilt_from, "", "", "", "", "", "; ".join(row.problems)]
    pixel = "" if header.pixel_nm is None else f"{header.pixel_nm:.6g}"
    energies = [f"{e:.6g}" for e in (header.energy.start_ev, header.energy.stop_ev, header.energy.step_ev)]
    shape = " x ".join(map(str, header.shape))
    return [*start, header.kind, tilt, row.tilt_from, pixel, shape, *energies, "; ".join(row.problems)]


def _edited(path: Path, line: dict[str, str]) -> TiltRow:
    """Lay one line of a table over what its file says now."""
    use = line["use"].strip().lower() in {"yes", "y", "true", "1"}
    file = path.parent / line["file"]
    row = next((row for row in rows_of_file(file) if _is_row(row, line)), None)
    if row is None or row.header is None:
        problems = row.problems if row else (f"no spectrum image {line['index']} in the file",)
        return TiltRow(file, None, problems=problems, use=use)
    text = line["kind"].strip() or row.header.kind
    kind = next((known for known in KINDS if known == text), None)
    if kind is None:
        raise ReadError(
            expected(f"file {path}, kind of {file.name}", ", ".join(KINDS), text, "Correct the table")
        )
    pixel = _number(line.get("pixel_nm"), f"file {path}, pixel_nm of {file.name}") or row.header.pixel_nm
    header = replace(row.header, kind=kind, pixel_nm=pixel)
    tilt = _number(line["tilt_deg"], f"file {path}, tilt_deg of {file.name}")
    row = TiltRow(file, header, tilt, path.name, use=use)
    return row if tilt is not None else row.with_problem("no tilt angle in the table")


def _is_row(row: TiltRow, line: dict[str, str]) -> bool:
    return row.header is None or str(row.header.index) == line["index"].strip()


def _number(text: str | None, what: str) -> float | None:
    if not (text or "").strip():
        return None
    try:
        return float(str(text).replace("\u2212", "-").replace(",", "."))
    except ValueError:
        raise ReadError(expected(what, "a number", repr(text), "Correct the table")) from None
