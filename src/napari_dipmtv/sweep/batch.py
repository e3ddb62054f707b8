"""A table of projects to their results: one row, one project file with its own output and changed settings."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from napari_dipmtv.errors import DipmtvError, ReadError, expected
from napari_dipmtv.io.guard import reading, sha256
from napari_dipmtv.io.project import Project, load_project
from napari_dipmtv.states import State
from napari_dipmtv.sweep.ledger import Ledger
from napari_dipmtv.sweep.workers import distributed, serial, threads_limited

RunProject = Callable[[Project], list[Path]]

COLUMN = "project"


@dataclass(frozen=True, slots=True)
class Row:
    """One job of a table: the line it stands on, the project file, and the changes to it by dotted name."""

    line: int
    path: Path
    changes: Mapping[str, Any]
    project: Project

    @property
    def key(self) -> str:
        """SHA-256 of everything that the table and the project file say, and of the sizes and times of the inputs."""
        files = [file for file in self.project.inputs.files if file.exists()]
        found = [(str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in files]
        words = [sha256(self.path), dict(self.changes), str(self.project.output.absolute()), found]
        return hashlib.sha256(json.dumps(words, sort_keys=True).encode()).hexdigest()[:32]


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a project of a batch went: its files, or the error; ``fresh`` is False where it had been done before."""

    line: int
    path: str
    output: str
    files: tuple[str, ...]
    seconds: float
    error: str = ""
    fresh: bool = True


def read_table(path: Path) -> list[Row]:
    """Read a CSV or TSV table with the column "project" and others named after settings, such as "output".

    A dotted name reaches into a group: "reconstruct.method", "reconstruct.settings.tv_strength". Paths are relative to
    the table; an empty cell leaves the project as it is.

    Raises
    ------
    ReadError
        For a file that is no such table, two rows with one output folder, or a row whose project is missing or whose
        settings are wrong, naming the line.
    """
    path = Path(path)
    with reading(path):
        text = path.read_text(encoding="utf-8-sig")
    lines = list(csv.DictReader(text.splitlines(), delimiter="\t" if path.suffix.lower() == ".tsv" else ","))
    if not lines or COLUMN not in lines[0]:
        got = ", ".join(lines[0]) if lines else "no rows"
        advice = "Begin the table with a line of column names"
        raise ReadError(expected(f"table {path}", f'a column "{COLUMN}"', got, advice))
    rows = [_row(path, number, line) for number, line in enumerate(lines, start=2)]
    seen: dict[Path, int] = {}
    for row in rows:
        output = row.project.output.absolute()
        if output in seen:
            got = f"{output} on lines {seen[output]} and {row.line}"
            raise ReadError(
                expected(f"table {path}", "an output folder of its own for each row", got, "Add a column")
            )
        seen[output] = row.line
    return rows


def batch(
    rows: list[Row], ledger: Path, run_project: RunProject, *, client: Any = None, threads: int = 1
) -> Iterator[State[tuple[Outcome, ...]]]:
    """Run the projects that are not done yet with ``run_project``, `napari_dipmtv.pipeline.run_project` or its like.

    A project that fails is told in its outcome and does not end the others; it is run again the next time. One that is
    done is skipped as long as project, changes, inputs and its files are the same.

    Yields
    ------
    State of the outcomes so far, in the order of the rows
        One after each project.
    """
    book = Ledger(ledger)
    done = {row.key: outcome for row in rows if (outcome := _before(book, row)) is not None}
    left = {row.key: (run_project, row, threads) for row in rows if row.key not in done}
    results = serial(run_row, left) if client is None else distributed(run_row, left, client)

    def state() -> State[tuple[Outcome, ...]]:
        outcomes = tuple(done[row.key] for row in rows if row.key in done)
        failed = sum(bool(outcome.error) for outcome in outcomes)
        return State(len(done), len(rows), {"failed": float(failed)}, lambda: outcomes, stage="projects")

    if done or not rows:
        yield state()
    for key, outcome in results:
        if not outcome.error:
            book.add(key, {"output": outcome.output, "files": outcome.files, "seconds": outcome.seconds})
        done[key] = outcome
        yield state()


def run_row(run_project: RunProject, row: Row, threads: int) -> Outcome:
    """Run one project; errors that a person can mend become its outcome."""
    begin = time.monotonic()
    with threads_limited(threads):
        try:
            files = tuple(str(Path(file).absolute()) for file in run_project(row.project))
            error = ""
        except DipmtvError as reason:
            files, error = (), str(reason)
    return Outcome(row.line, str(row.path), str(row.project.output), files, time.monotonic() - begin, error)


def _before(book: Ledger, row: Row) -> Outcome | None:
    """The outcome of an earlier run whose files are all still there."""
    record = book.records.get(row.key)
    if record is None or not all(Path(file).exists() for file in record["files"]):
        return None
    return Outcome(
        row.line, str(row.path), record["output"], tuple(record["files"]), record["seconds"], fresh=False
    )


def _row(table: Path, number: int, line: Mapping[str, str | None]) -> Row:
    what = f"line {number} of {table}"
    name = (line.get(COLUMN) or "").strip()
    if not name:
        raise ReadError(expected(what, "a project file", "an empty cell", "Fill it or take the line out"))
    path = Path(os.path.normpath(table.absolute().parent / name))
    changes: dict[str, Any] = {
        key: _value(text.strip())
        for key, text in line.items()
        if key and key != COLUMN and text and text.strip()
    }
    if "output" in changes:
        changes["output"] = os.path.normpath(table.absolute().parent / str(changes["output"]))
    try:
        project = load_project(path)
        values = project.model_dump(mode="json")
        for dotted, value in changes.items():
            _put(values, dotted, value)
        return Row(number, path, changes, Project.from_mapping(values))
    except DipmtvError as error:
        raise ReadError(f"{what}: {error}") from error


def _put(values: dict[str, Any], dotted: str, value: Any) -> None:
    *groups, last = dotted.split(".")
    for group in groups:
        inner = values.setdefault(group, {})
        if not isinstance(inner, dict):
            raise ReadError(expected(f"column {dotted}", f"{group} to be a group", inner, "Correct the name"))
        values = inner
    values[last] = value


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text
