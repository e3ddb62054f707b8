"""A long run on its way to files from which another process goes on, and back; no pickle, nothing half-written.

A checkpoint is an uncompressed ``.npz``: ``header.json`` says what was computed from what, ``state/...`` holds the
arrays of `State.checkpoint`, ``losses/...`` the curves so far. The checksums of the archive guard every byte.
"""

from __future__ import annotations

import hashlib
import json
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_dipmtv import __version__
from napari_dipmtv.data import MapStack
from napari_dipmtv.errors import InputError, ReadError, expected
from napari_dipmtv.io.atomic import atomic_write, output_folder
from napari_dipmtv.io.guard import ReadWarning, reading
from napari_dipmtv.settings.base import StageSettings

FORMAT, VERSION = "napari-dipmtv checkpoint", 1
HEADER = "header.json"
_NAME = "iteration_{:08d}.npz"
_KEPT = 2  # the newest, and the one before it should the newest be damaged


@dataclass(frozen=True, slots=True)
class Task:
    """What a run computes: ``method``, its ``settings`` in the types of JSON, and the `fingerprint` of the ``data``."""

    method: str
    settings: Mapping[str, Any]
    data: str

    @classmethod
    def of(cls, series: MapStack, method: str, settings: StageSettings, *further: MapStack) -> Task:
        """Describe the reconstruction of a series, or of several together."""
        data = " ".join(fingerprint(one) for one in (series, *further))
        return cls(method, settings.model_dump(mode="json"), data)


@dataclass(frozen=True, slots=True, eq=False)
class Checkpoint:
    """A run after ``iteration`` steps.

    Attributes
    ----------
    task : Task
    iteration : int
    seconds : float
        Computing time so far, over all processes.
    losses : mapping of str to list of float
        Curves so far.
    state : mapping of str to array
        What ``resume`` of `napari_dipmtv.tomo.reconstruct.reconstruct` takes.
    path : Path, optional
        The file that it was read from.
    """

    task: Task
    iteration: int
    seconds: float
    losses: Mapping[str, list[float]]
    state: Mapping[str, NDArray[Any]]
    path: Path | None = None


def fingerprint(series: MapStack) -> str:
    """SHA-256 over everything in a stack of maps that a reconstruction looks at."""
    facts = [series.channels, series.tilts_deg, series.pixel_nm, series.counts_per_unit]
    digest = hashlib.sha256(json.dumps(facts).encode())
    for array in (series.data, series.covariance, series.valid):
        digest.update(str(None if array is None else (array.dtype.str, array.shape)).encode())
        if array is not None:
            digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def save_checkpoint(checkpoint: Checkpoint, folder: Path) -> Path:
    """Write a checkpoint atomically, read it back, and only then remove older ones but for the last.

    Raises
    ------
    WriteError
        The older checkpoints are untouched.
    """
    folder = output_folder(folder)
    for orphan in folder.glob(".iteration_*.partial-*"):  # of a process that was killed while it wrote
        orphan.unlink(missing_ok=True)
    size = sum(array.nbytes for array in checkpoint.state.values())
    path = folder / _NAME.format(checkpoint.iteration)
    atomic_write(path, lambda partial: _write(checkpoint, partial), verify=_verify, size_bytes=size)
    files = checkpoint_files(folder)
    older = [file for file in files if file.name < path.name]
    for file in {*files} - {path, *older[: _KEPT - 1]}:  # later ones belong to a run that was given up
        file.unlink(missing_ok=True)
    return path


def checkpoint_files(folder: Path) -> list[Path]:
    """The checkpoints of a folder, the furthest first."""
    return sorted(Path(folder).glob("iteration_*.npz"), reverse=True)


def load_checkpoint(folder: Path) -> Checkpoint:
    """Read the furthest checkpoint of a folder that is whole; a damaged one is passed over with a `ReadWarning`.

    Raises
    ------
    ReadError
        When there is none.
    """
    files = checkpoint_files(folder)
    if not files:
        advice = "Check the name of the folder, or start without resuming"
        raise ReadError(expected(f"folder {folder}", "a checkpoint of a run", "none", advice))
    failures: list[ReadError] = []
    for file in files:
        try:
            checkpoint = _read(file)
        except ReadError as error:
            failures.append(error)
            continue
        for failure in failures:
            said = f"{failure} The checkpoint before it, of iteration {checkpoint.iteration}, is used."
            warnings.warn(said, ReadWarning, stacklevel=2)
        return checkpoint
    raise failures[0]


def peek_checkpoint(folder: Path) -> Checkpoint | None:
    """Like `load_checkpoint`, but of the ``state`` only when the run ends; None where there is no whole one."""
    for file in checkpoint_files(folder):
        try:
            return _read(file, with_state=False)
        except ReadError:
            continue
    return None


def must_continue(checkpoint: Checkpoint, task: Task) -> None:
    """Refuse to go on with other data, another method or other settings; only ``iterations`` may differ.

    Raises
    ------
    InputError
        Naming what differs, or when no iterations are left, also because the run had ended by itself.
    """
    then, what = checkpoint.task, f"resuming from iteration {checkpoint.iteration}"
    if then.data != task.data:
        advice = "Give the same maps, angles and options as in the first run, or start a new one"
        raise InputError(expected(what, "the maps of the first run", "other maps or angles", advice))
    if then.method != task.method:
        raise InputError(
            expected(what, f"method {then.method}, as in the first run", task.method, "Choose that method")
        )
    names = sorted({*then.settings, *task.settings} - {"iterations"})
    changed = [name for name in names if then.settings.get(name) != task.settings.get(name)]
    if changed:
        first = ", ".join(f"{name}={then.settings.get(name)}" for name in changed)
        now = ", ".join(f"{name}={task.settings.get(name)}" for name in changed)
        advice = "Leave these settings as they were, or start a new run"
        raise InputError(expected(what, f"{first}, as in the first run", now, advice))
    if task.settings["iterations"] <= checkpoint.iteration:
        advice = f"Ask for more than {checkpoint.iteration} iterations"
        raise InputError(expected(what, "iterations left to do", task.settings["iterations"], advice))
    ends = int(checkpoint.state.get("ends", 0))  # of a deep image prior that had seen enough of the data
    if 0 < ends <= checkpoint.iteration and task.settings["iterations"] == then.settings["iterations"]:
        advice = f"Ask for another number than {then.settings['iterations']} to go on beyond it"
        raise InputError(
            expected(what, "iterations left to do", f"a run that ended itself at {ends}", advice)
        )


def _write(checkpoint: Checkpoint, path: Path) -> None:
    task = checkpoint.task
    header = {
        "format": FORMAT,
        "version": VERSION,
        "package": __version__,
        "method": task.method,
        "settings": task.settings,
        "data": task.data,
        "iteration": checkpoint.iteration,
        "seconds": checkpoint.seconds,
    }
    arrays = {f"state/{name}": value for name, value in checkpoint.state.items()}
    arrays |= {f"losses/{name}": np.asarray(curve, float) for name, curve in checkpoint.losses.items()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(HEADER, json.dumps(header, indent=1))
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as stream:
                np.lib.format.write_array(stream, array, allow_pickle=False)


def _verify(path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        damaged = archive.testzip()
    if damaged is not None:
        raise OSError(f"{damaged} reads back other than written")


def _read(path: Path, *, with_state: bool = True) -> Checkpoint:
    with reading(path), np.load(path, allow_pickle=False) as archive:
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.zip.infolist()):
            raise ValueError("compressed entries, which no checkpoint has")  # they could unpack to any size
        header = json.loads(archive[HEADER])
        if header["format"] != FORMAT or header["version"] > VERSION:
            got = f"{header['format']}, version {header['version']}"
            advice = "Update napari-dipmtv, or start again"
            raise ReadError(expected(f"file {path}", f"{FORMAT}, version <= {VERSION}", got, advice))
        wanted = ("losses/", "state/" if with_state else "state/ends")
        arrays = {name: archive[name] for name in archive.files if name.startswith(wanted)}
        return Checkpoint(
            task=Task(header["method"], header["settings"], header["data"]),
            iteration=int(header["iteration"]),
            seconds=float(header["seconds"]),
            losses={name: array.tolist() for name, array in _under(arrays, "losses/").items()},
            state=_under(arrays, "state/"),
            path=path,
        )


def _under(arrays: Mapping[str, NDArray[Any]], prefix: str) -> dict[str, NDArray[Any]]:
    return {name[len(prefix) :]: array for name, array in arrays.items() if name.startswith(prefix)}
