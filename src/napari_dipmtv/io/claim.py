"""A path to a claim on it that one process holds at a time, and that ends with the process, however it ends."""

from __future__ import annotations

import os
import sys
import weakref
from pathlib import Path
from typing import IO

from napari_dipmtv.errors import WriteError, expected


class Claim:
    """A hidden, empty file beside ``path``, locked by the system while the claim is held.

    Nothing has to be cleaned up behind a process that was killed: its lock is gone, and the file means nothing by
    itself. On a file system without locks every claim is granted.

    Parameters
    ----------
    path : Path
        File or folder that others should leave alone; the folder around it must exist.
    """

    def __init__(self, path: Path) -> None:
        path = Path(path)
        self._file = path.with_name(f".{path.name}.claim")
        self._release: weakref.finalize[..., Claim] | None = None

    @property
    def held(self) -> bool:
        """Whether this claim is held."""
        return self._release is not None and self._release.alive

    def take(self) -> bool:
        """Hold the claim; False where another process, or another claim of this one, holds it.

        Raises
        ------
        WriteError
            For a folder in which nothing can be written.
        """
        if self.held:
            return True
        try:
            stream = self._file.open("ab")
        except OSError as error:
            what, advice = f"folder {self._file.parent}", "Choose another folder"
            raise WriteError(expected(what, "one that can be written", error, advice)) from error
        if not _lock(stream):
            stream.close()
            return False
        self._release = weakref.finalize(self, _give_up, stream, self._file)
        return True

    def release(self) -> None:
        """Give the claim up."""
        if self._release is not None:
            self._release()


def is_claimed(path: Path) -> bool:
    """Whether somebody holds a claim on a path."""
    claim = Claim(path)
    if not claim._file.exists():
        return False
    try:
        return not claim.take()
    except WriteError:
        return False
    finally:
        claim.release()


def _give_up(stream: IO[bytes], file: Path) -> None:
    if os.name != "nt":  # which does not remove an open file; an empty one that stays does no harm
        file.unlink(missing_ok=True)
    stream.close()


if sys.platform == "win32":

    def _lock(stream: IO[bytes]) -> bool:
        import msvcrt

        try:
            msvcrt.locking(stream.fileno(), msvcrt.LK_NBLCK, 1)
        except PermissionError:
            return False
        return True

else:

    def _lock(stream: IO[bytes]) -> bool:
        import fcntl

        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:  # this file system knows no locks
            return True
        try:  # who held it may have removed the file between opening and locking
            return os.path.samestat(os.fstat(stream.fileno()), os.stat(stream.name))
        except FileNotFoundError:
            return False
