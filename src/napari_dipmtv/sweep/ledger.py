"""Records of finished jobs to a file of JSON lines, and back; a torn last line is a job to be done again."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from napari_dipmtv.errors import ReadError, WriteError, expected
from napari_dipmtv.io.guard import plain, reading

Record = dict[str, Any]


class Ledger:
    """Finished jobs by key: each is stored once, on the disk before it counts as done.

    Parameters
    ----------
    path : Path
        Made with the first record; its folder must exist.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self.records: dict[str, Record] = {}
        if self.path.exists():
            self._read()

    def add(self, key: str, record: Mapping[str, Any]) -> None:
        """Store a record unless its key is there already; raises `WriteError` when it cannot be written."""
        if key in self.records:
            return
        line = json.dumps({"key": key, **plain(record)}, ensure_ascii=False, allow_nan=False)
        try:
            with self.path.open("ab") as stream:
                stream.write(line.encode() + b"\n")
                stream.flush()
                os.fsync(stream.fileno())
        except OSError as error:
            raise WriteError(
                expected(f"file {self.path}", "to be written", error, "Free some space, then run it again")
            ) from error
        self.records[key] = json.loads(line)

    def _read(self) -> None:
        with reading(self.path):
            content = self.path.read_bytes()
        whole, _, torn = content.rpartition(b"\n")
        for number, line in enumerate(whole.splitlines(), start=1):
            try:
                record = json.loads(line)
                key = str(record["key"])
            except (ValueError, KeyError, TypeError) as error:
                advice = "Move the file away to begin again"
                raise ReadError(
                    expected(f"line {number} of {self.path}", "a record of a job", repr(line[:60]), advice)
                ) from error
            self.records.setdefault(key, record)
        if torn:  # the process was killed while it wrote; what follows must begin on a line of its own
            with self.path.open("r+b") as stream:
                stream.truncate(len(whole) + 1 if whole else 0)
