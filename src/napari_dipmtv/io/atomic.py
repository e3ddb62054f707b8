"""A result to a file, or a folder, under its final name, whole or not at all."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import time
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from napari_dipmtv.errors import DipmtvError, WriteError, expected

_DEVICES = {"CON", "PRN", "AUX", "NUL", *(f"{port}{n}" for port in ("COM", "LPT") for n in range(10))}
_LONGEST_NAME = 100
_SPARE_SPACE = 1.2
_LEFTOVER = re.compile(r"^\..+\.(partial|aside)-(\d+)-[0-9a-f]{8}(\.[^.]+)*$")
_IDLE_SECONDS = 600.0  # a process of another computer may write into the same shared folder


def atomic_write(
    path: Path,
    write: Callable[[Path], None],
    *,
    verify: Callable[[Path], None] | None = None,
    size_bytes: int = 0,
) -> Path:
    """Write a file so that a crash, a full disk or a kill leaves either the old or the new one, complete.

    Parameters
    ----------
    path : Path
        Final name. Its folder must exist; a symbolic link there is refused, not followed.
    write : callable
        Writes everything to the temporary path that it is given (same folder, same suffix).
    verify : callable, optional
        Reads the temporary file back and raises when it is not what was meant.
    size_bytes : int
        Estimate; 1.2 times as much must be free.

    Returns
    -------
    Path
        The final path.

    Raises
    ------
    WriteError
        The temporary file is removed and an old file of that name is untouched.
    """
    path = Path(path)
    _check_target(path, size_bytes)
    if path.is_dir():
        raise WriteError(expected(f"file {path}", "a file", "a folder", "Choose another name"))
    partial = _beside(path, "partial")
    with _failing_whole(path):
        try:
            write(partial)
            _flush(partial)
            if verify is not None:
                verify(partial)
            os.replace(partial, path)
            _flush(path.parent)
        finally:
            partial.unlink(missing_ok=True)
    return path


def atomic_folder(
    path: Path,
    write: Callable[[Path], None],
    *,
    verify: Callable[[Path], None] | None = None,
    size_bytes: int = 0,
) -> Path:
    """Write a result that is a folder (OME-Zarr), like `atomic_write`.

    No system replaces a folder that is not empty in one step: the old one is renamed aside, the new one takes its
    name, the old one is removed. A kill exactly between the two renames leaves the old one aside, complete, and
    the next `sweep` of the place puts it back.

    Raises
    ------
    WriteError
        The new folder is removed and an old one of that name is as it was.
    """
    path = Path(path)
    sweep(path.parent)
    _check_target(path, size_bytes)
    if path.is_file():
        raise WriteError(expected(f"folder {path}", "a folder", "a file", "Choose another name"))
    partial, aside = _beside(path, "partial"), _beside(path, "aside")
    with _failing_whole(path):
        try:
            write(partial)
            for entry in sorted(partial.rglob("*"), reverse=True):
                _flush(entry)
            if verify is not None:
                verify(partial)
            if path.exists():
                path.rename(aside)
            partial.rename(path)
            _flush(path.parent)
        finally:
            if aside.exists() and not path.exists():
                aside.rename(path)
            for rest in (partial, aside):
                shutil.rmtree(rest, ignore_errors=True)
    return path


def sweep(folder: Path) -> list[Path]:
    """Remove what killed processes left behind in a folder, and put back an old result that one had set aside.

    Only names that `atomic_write` and `atomic_folder` give, of processes that do not run here any more; what is to
    be removed must also have lain untouched for ten minutes.

    Returns
    -------
    list of Path
        What was removed or put back.
    """
    swept = []
    for entry in sorted(Path(folder).iterdir()) if Path(folder).is_dir() else ():
        match = _LEFTOVER.match(entry.name)
        if match is None or entry.is_symlink() or _runs(int(match[2])):
            continue
        home = entry.with_name(_home_of(entry))
        if match[1] == "aside" and not home.exists():
            entry.rename(home)
        elif time.time() - entry.stat().st_mtime < _IDLE_SECONDS:
            continue
        elif entry.is_dir():
            shutil.rmtree(entry, ignore_errors=True)
        else:
            entry.unlink(missing_ok=True)
        swept.append(entry)
    return swept


def _beside(path: Path, kind: str) -> Path:
    """A hidden name in the same folder; an aside one keeps the whole name, so that it can be put back."""
    stem = path.name.split(".")[0] if kind == "aside" else path.stem[:40]
    suffix = path.name.removeprefix(stem) if kind == "aside" else path.suffix
    return path.with_name(f".{stem}.{kind}-{os.getpid()}-{secrets.token_hex(4)}{suffix}")


def _home_of(aside: Path) -> str:
    stem, _, rest = aside.name[1:].partition(".aside-")
    return stem + "".join(rest.partition(".")[1:])


def _runs(process: int) -> bool:
    """Whether a process of this number is alive here; Windows is not asked, there signal 0 would end it."""
    if os.name == "nt":
        return False
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # somebody else's
        return True
    return True


@contextmanager
def _failing_whole(path: Path) -> Iterator[None]:
    """Every failure inside as a `WriteError` that says what became of the old result."""
    try:
        yield
    except DipmtvError as error:
        raise WriteError(f"file {path} was not written, an older one is unchanged. {error}") from error
    except Exception as error:
        raise WriteError(
            expected(
                f"file {path}",
                "to be written; an older one is unchanged",
                f"{type(error).__name__}: {error}",
                "Free some space, close the program that holds the file, or save elsewhere",
            )
        ) from error


def write_bytes(path: Path, content: bytes) -> Path:
    """Write bytes atomically, see `atomic_write`."""
    return atomic_write(path, lambda partial: _put(partial, content), size_bytes=len(content))


def output_folder(folder: Path) -> Path:
    """Make a folder for results and sweep it; raises `WriteError` where that is impossible."""
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise WriteError(
            expected(f"folder {folder}", "a folder that can be made", error, "Choose another folder")
        ) from error
    sweep(folder)
    return folder


def safe_name(text: str) -> str:
    """Clean a title or channel name into one that is a file name on every system.

    Letters, digits, ``.``, ``_`` and ``-`` stay, at most 100; the rest becomes ``_``. No leading or trailing
    dots, no device names of Windows, never empty. Superscripts become digits, so "Fe²⁺" gives "Fe2_".
    """
    ascii_text = unicodedata.normalize("NFKD", text).encode("ascii", "replace").decode()
    name = re.sub(r"[^A-Za-z0-9._-]", "_", ascii_text)[:_LONGEST_NAME].strip(".")
    if name.split(".")[0].upper() in _DEVICES:
        name = f"_{name}"[:_LONGEST_NAME].rstrip(".")
    return name or "unnamed"


def safe_names(texts: Sequence[str]) -> tuple[str, ...]:
    """Clean several names; those that become equal (also but for case) are numbered."""
    names: list[str] = []
    for text in texts:
        clean = name = safe_name(text)
        count = 1
        while name.lower() in {taken.lower() for taken in names}:
            count += 1
            name = f"{clean[: _LONGEST_NAME - 5]}_{count}"
        names.append(name)
    return tuple(names)


def _check_target(path: Path, size_bytes: int) -> None:
    what = f"file {path}"
    if path.is_symlink():
        raise WriteError(
            expected(what, "a plain file or none", "a symbolic link", "Remove the link or save elsewhere")
        )
    if not path.parent.is_dir():
        raise WriteError(
            expected(what, "a file in an existing folder", "none", "Make the folder or choose another name")
        )
    free = shutil.disk_usage(path.parent).free
    if free < _SPARE_SPACE * size_bytes:
        wanted = f"{_SPARE_SPACE * size_bytes / 1e6:.0f} MB free"
        raise WriteError(expected(what, wanted, f"{free / 1e6:.0f} MB", "Free some space or save elsewhere"))


def _put(path: Path, content: bytes) -> None:
    with path.open("wb") as stream:
        stream.write(content)


def _flush(path: Path) -> None:
    """Push a file, or the entries of a folder, to the disk; Windows flushes folders by itself."""
    if path.is_dir() and os.name == "nt":
        return
    handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
