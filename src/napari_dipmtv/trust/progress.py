"""Checkpoints of a study to one file without pickle, and back."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from napari_dipmtv.io.atomic import atomic_write
from napari_dipmtv.io.guard import reading

PROGRESS = "trust-progress.npz"


def save_progress(checkpoint: Mapping[str, Any], folder: Path) -> Path:
    """Write a checkpoint, whole or not at all; raises `WriteError`."""
    arrays = {name: np.asarray(value) for name, value in checkpoint.items()}

    def write(partial: Path) -> None:
        with partial.open("wb") as stream:
            np.savez(stream, allow_pickle=False, **arrays)

    return atomic_write(folder / PROGRESS, write, size_bytes=sum(array.nbytes for array in arrays.values()))


def load_progress(folder: Path) -> dict[str, Any] | None:
    """Read a checkpoint back; None where there is none. Raises `ReadError` for a damaged file."""
    path = folder / PROGRESS
    if not path.is_file():
        return None
    with reading(path), np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}
