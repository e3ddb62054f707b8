"""A file that may be damaged, huge or hostile to either its content or one `ReadError` that names it."""

from __future__ import annotations

import hashlib
import math
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from napari_dipmtv.errors import ReadError, expected

GIB = 1024**3
_MEMORY_SHARE = 0.6
_SUSPICIOUS_RATIO = 200  # claimed bytes per byte on disk; honest spectrum images stay far below


class ReadWarning(UserWarning):
    """Something about a file that was read and that the person should know; the data are usable."""


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn every failure inside the block into one `ReadError` with the file and the original message.

    The readers of the microscope formats raise a dozen unrelated exception types for a damaged file
    (`struct.error`, `KeyError`, `UnboundLocalError`, ...), so the net is wide on purpose.
    """
    if not path.exists():
        raise ReadError(
            expected(f"file {path}", "an existing file", "nothing there", "Check the name and the drive")
        )
    try:
        yield
    except ReadError:
        raise
    except ImportError as error:
        name = error.name or "sparse"
        raise ReadError(
            expected(f"file {path}", f"the package '{name}' to read it", error, f"Run: pip install {name}")
        ) from error
    except Exception as error:
        raise ReadError(
            expected(
                f"file {path}",
                "a complete file of its kind",
                f"{type(error).__name__}: {error}",
                "The file is damaged, cut short or of another kind; copy or export it again",
            )
        ) from error


def check_size(path: Path, shape: Sequence[int], itemsize: int, max_bytes: int | None = None) -> int:
    """Refuse a claimed array before any memory is asked for.

    Parameters
    ----------
    path : Path
        The file (or folder) that makes the claim.
    shape, itemsize : sequence of int, int
        What its header says.
    max_bytes : int, optional
        Limit that the person confirmed. Without it: 60 % of the free memory, and no more than 200 times the
        size of the file once the claim is above 1 GiB.

    Returns
    -------
    int
        The claimed number of bytes.

    Raises
    ------
    ReadError
        When the claim is larger than the limit.
    """
    claim = check_claim(path, shape, itemsize, max_bytes)
    limit = int(_MEMORY_SHARE * available_bytes()) if max_bytes is None else max_bytes
    if claim > limit:
        raise ReadError(_too_large(path, shape, claim, limit))
    return claim


def check_claim(
    path: Path,
    shape: Sequence[int],
    itemsize: int,
    max_bytes: int | None = None,
    held_bytes: int | None = None,
) -> int:
    """Refuse a claim that the file cannot hold, without asking whether it fits into the memory.

    For what is opened lazily. Above 1 GiB a file may claim 200 times its own size (``held_bytes``, where it is a
    folder), unless ``max_bytes`` says that it is trusted.

    Returns
    -------
    int
        The claimed number of bytes.

    Raises
    ------
    ReadError
        When the claim is not to be believed.
    """
    claim = math.prod(int(n) for n in shape) * int(itemsize)
    limit = claim
    if held_bytes is None and path.is_file():
        held_bytes = path.stat().st_size
    if max_bytes is None and held_bytes is not None:
        limit = max(GIB, _SUSPICIOUS_RATIO * held_bytes)
    if claim > limit or any(int(n) < 0 for n in shape):
        raise ReadError(_too_large(path, shape, claim, limit))
    return claim


def _too_large(path: Path, shape: Sequence[int], claim: int, limit: int) -> str:
    return expected(
        f"file {path}",
        f"at most {limit / GIB:.3g} GiB",
        f"a header that claims {claim / GIB:.3g} GiB, shape {tuple(int(n) for n in shape)}",
        "Crop or bin the data first (spectra: --bin-pixels), or give max_bytes if the file is to be trusted",
    )


def available_bytes() -> int:
    """Memory to be had without swapping, in bytes; half of the machine where the system does not tell."""
    try:
        with open("/proc/meminfo", encoding="ascii") as lines:
            for line in lines:
                if line.startswith("MemAvailable:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    except (AttributeError, ValueError, OSError):
        return 4 * GIB  # Windows: what a small laptop has free


def natural_key(path: Path) -> list[tuple[int, str]]:
    """Sort key that puts ``view_9`` before ``view_10``."""
    return [
        (int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", path.name.lower())
    ]


def sha256(path: Path) -> str:
    """SHA-256 of a file as hexadecimal digits; of a folder, that of the names and digests of its files."""
    if path.is_dir():
        inside = sorted(inner for inner in path.rglob("*") if inner.is_file())
        lines = "".join(f"{inner.relative_to(path).as_posix()} {sha256(inner)}\n" for inner in inside)
        return hashlib.sha256(lines.encode()).hexdigest()
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def plain(value: Any) -> Any:
    """Give a nested value back in the types of JSON; tuples become lists, not-finite numbers None."""
    if isinstance(value, dict) or hasattr(value, "items"):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, bool | int | str):
        return value
    return str(value)
