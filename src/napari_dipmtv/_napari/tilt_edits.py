"""A table of tilts and what a person changed in it to the table that is read, with the problems that are left."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from napari_dipmtv import pipeline
from napari_dipmtv.io.spectrum_images import series_table
from napari_dipmtv.io.tilt_rows import TiltRow, TiltTable, checked
from napari_dipmtv.states import State

BY_HAND = "by hand"


def look_and_read(
    source: Path | Sequence[Path] | TiltTable, looked: list[TiltTable]
) -> Iterator[State[object]]:
    """Look at the headers of a dual EELS series, then read it; ``looked`` takes the table, also of a bad series."""
    table = series_table(source)
    looked.append(table)
    yield State(1, 2, {}, lambda: table, stage="Looking at the files")
    series = pipeline.load(table)
    yield State(2, 2, {}, lambda: series, stage="Reading")


def edited(table: TiltTable, tilts_deg: Sequence[float | None], use: Sequence[bool]) -> TiltTable:
    """Change tilts and leave out rows; the rows are compared with each other again.

    Parameters
    ----------
    table : TiltTable
    tilts_deg : sequence of float or None
        One per row.
    use : sequence of bool
        One per row.
    """
    alone = checked(replace(row, problems=()) for row in table.rows)
    rows = []
    for row, compared, tilt_deg, used in zip(table.rows, alone, tilts_deg, use, strict=True):
        own = tuple(problem for problem in row.problems if problem not in compared.problems)
        if tilt_deg != row.tilt_deg:  # what was wrong with the tilt has been settled
            own, row = (), replace(row, tilt_deg=tilt_deg, tilt_from=BY_HAND)
        rows.append(replace(row, problems=own, use=used))
    return TiltTable(tuple(checked(rows)))


def same_view(rows: Sequence[TiltRow], index: int) -> list[int]:
    """Rows of one tilt, a low loss and its core loss; the row alone where it is not clear which belong together."""
    tilt_deg = rows[index].tilt_deg
    found = [i for i, row in enumerate(rows) if tilt_deg is not None and row.tilt_deg == tilt_deg]
    kinds = [(row.header.kind, row.header.index) for row in (rows[i] for i in found) if row.header]
    clear = bool(found) and len(kinds) == len(set(kinds)) == len(found)
    return found if clear else [index]
