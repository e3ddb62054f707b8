"""Files of a tilt series to rows of a table, each compared with the others."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import get_args

from napari_dipmtv.errors import ReadError, expected
from napari_dipmtv.io.angles import check_angles
from napari_dipmtv.io.guard import available_bytes
from napari_dipmtv.io.headers import Kind, SpectrumImageHeader, probe

KINDS: tuple[Kind, ...] = get_args(Kind)
_PIXEL_TOLERANCE = 0.01
_MEMORY_SHARE = 0.6


@dataclass(frozen=True, slots=True)
class TiltRow:
    """One spectrum image of one file; ``header`` is None for a file that holds none or cannot be read.

    ``tilt_from`` names the source of the angle: "metadata", "file name", the name of an angle file, "table".
    """

    path: Path
    header: SpectrumImageHeader | None
    tilt_deg: float | None = None
    tilt_from: str = ""
    problems: tuple[str, ...] = ()
    use: bool = True

    def with_problem(self, problem: str) -> TiltRow:
        """Give a copy with one more problem."""
        return replace(self, problems=(*self.problems, problem))


@dataclass(frozen=True, slots=True)
class TiltTable:
    """The spectrum images of a tilt series as the files tell them."""

    rows: tuple[TiltRow, ...]

    @property
    def problems(self) -> tuple[str, ...]:
        """All problems of the rows in use, each with the name of its file."""
        return tuple(f"{row.path.name}: {text}" for row in self.rows if row.use for text in row.problems)

    def headers(self, kind: Kind | None = None) -> list[SpectrumImageHeader]:
        """Headers of the rows in use, with the tilts of the table, in ascending order of tilt.

        Raises
        ------
        ReadError
            For a row in use that cannot be read or has no tilt.
        GeometryError
            For tilts that cannot be those of a series.
        """
        rows = [row for row in self.rows if row.use and _may_be(row, kind)]
        for row in rows:
            if row.header is None:
                raise ReadError(f"{'; '.join(row.problems)} Or leave the file out, in the table of tilts.")
            if row.tilt_deg is None:
                got = "; ".join(row.problems) or "none"
                advice = "Correct the table of tilts, or set 'use' to no there"
                raise ReadError(expected(f"file {row.path}", "one tilt angle", got, advice))
        if not rows:
            raise ReadError(expected("table of tilts", f"{kind or 'spectrum'} images", "none", "Use some"))
        kinds = {row.header.kind for row in rows if row.header}
        for one in kinds:
            tilts = [row.tilt_deg for row in rows if row.header and row.header.kind == one]
            check_angles([t for t in tilts if t is not None], None, f"tilts of the {one} images")
        settled = [
            replace(row.header, stage_tilt_deg=row.tilt_deg, name_tilt_deg=None) for row in rows if row.header
        ]
        return sorted(settled, key=lambda header: header.stage_tilt_deg or 0.0)


def rows_of_file(path: Path) -> list[TiltRow]:
    """One row per spectrum image of a file; one with a problem where it cannot be read."""
    try:
        headers = probe(path)
    except ReadError as error:
        return [TiltRow(path, None, problems=(str(error),))]
    if not headers:  # a survey image among the spectra is no problem
        return [TiltRow(path, None, problems=("images or single spectra only",), use=False)]
    return [TiltRow(path, header) for header in headers]


def checked(rows: Iterable[TiltRow]) -> list[TiltRow]:
    """Compare each image with the others of its kind: pixel, shape, energies, tilt, memory."""
    rows = list(rows)
    ranges = {_range(row.header) for row in rows if row.header}  # a file may have several
    for one in ranges:
        group = [row.header for row in rows if row.use and row.header and _range(row.header) == one]
        if group:
            pixels = [header.pixel_nm for header in group if header.pixel_nm is not None]
            pixel = statistics.median(pixels) if pixels else None
            shape = Counter(header.shape for header in group).most_common(1)[0][0]
            energy = Counter(header.energy for header in group).most_common(1)[0][0]
            for i, row in enumerate(rows):
                if row.use and row.header and _range(row.header) == one:
                    for problem in _differences(row.header, pixel, shape, energy):
                        rows[i] = rows[i].with_problem(problem)
    return _repeated(rows)


def _range(header: SpectrumImageHeader) -> tuple[Kind, int]:
    return header.kind, header.index


def _differences(
    header: SpectrumImageHeader, pixel_nm: float | None, shape: tuple[int, ...], energy: object
) -> list[str]:
    found = []
    if header.pixel_nm is None:
        found.append("no calibrated pixel size")
    elif pixel_nm and abs(header.pixel_nm / pixel_nm - 1) > _PIXEL_TOLERANCE:
        found.append(f"pixels of {header.pixel_nm:g} nm, the others {pixel_nm:g} nm")
    if header.shape != shape:
        found.append(f"shape {header.shape}, the others {shape}")
    if header.energy != energy:
        found.append(f"energies {header.energy}, the others {energy}")
    ny, nx, ne = header.shape
    size = 4 * ny * nx * ne  # as float32
    if size > _MEMORY_SHARE * available_bytes():
        found.append(f"{size / 1024**3:.1f} GiB, more than the memory takes: crop or bin while reading")
    return found


def _repeated(rows: Sequence[TiltRow]) -> list[TiltRow]:
    seen = Counter(
        (_range(row.header), round(row.tilt_deg, 3))
        for row in rows
        if row.use and row.header and row.tilt_deg is not None
    )
    return [
        row.with_problem(f"{row.tilt_deg:g} deg comes more than once")
        if row.use
        and row.header
        and row.tilt_deg is not None
        and seen[(_range(row.header), round(row.tilt_deg, 3))] > 1
        else row
        for row in rows
    ]


def _may_be(row: TiltRow, kind: Kind | None) -> bool:
    return kind is None or row.header is None or row.header.kind == kind
