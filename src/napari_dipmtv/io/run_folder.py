"""A reconstruction on its way to one folder with all it needs to go on: aligned maps, checkpoints and its story.

The folder is ``--maps`` and ``--checkpoint`` of the command ``reconstruct`` as well; that of a fused run, which keeps
its HAADF series too, is those of ``fuse``, with ``--haadf FOLDER/haadf``.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from napari_dipmtv.data import TiltSeries
from napari_dipmtv.errors import DipmtvError, InputError, ReadError, expected
from napari_dipmtv.io.atomic import output_folder
from napari_dipmtv.io.checkpoints import Task, checkpoint_files, fingerprint, peek_checkpoint
from napari_dipmtv.io.claim import is_claimed
from napari_dipmtv.io.guard import reading
from napari_dipmtv.io.map_folder import INDEX, load_saved_series, save_maps
from napari_dipmtv.io.reports import save_report
from napari_dipmtv.settings.fused import FUSED_METHODS, FusedMethod, FusedMethodSettings
from napari_dipmtv.settings.tomo import METHODS, Method, MethodSettings

RUNS = "runs"  # name of the folder of all runs, in a cache or among the results of a project
HAADF = "haadf"  # folder of the HAADF series in that of a fused run
STORY = "run.json"
KEPT = 4  # runs of one place; the checkpoints of a deep image prior may take 100 MB each
_FORMAT, _VERSION = "napari-dipmtv run", 1


@dataclass(frozen=True, slots=True, eq=False)
class SavedRun:
    """A run that somebody may go on with.

    Attributes
    ----------
    folder : Path
    task : Task
    iteration : int
        Of the furthest checkpoint.
    seconds : float
        Computing time up to there.
    losses : mapping of str to list of float
    left : int
        Iterations of those that were asked for; 0 for a run that came to its end.
    story : mapping
        What `begin_run` was told.
    """

    folder: Path
    task: Task
    iteration: int
    seconds: float
    losses: Mapping[str, list[float]]
    left: int
    story: Mapping[str, Any]

    @property
    def method(self) -> Method | FusedMethod:
        """Name of the method."""
        return next(name for name in _models() if name == self.task.method)

    @property
    def fused(self) -> bool:
        """True where a HAADF series lies beside the maps."""
        return self.task.method in FUSED_METHODS

    def settings(self, more: int) -> MethodSettings | FusedMethodSettings:
        """Settings with which the run takes ``more`` iterations beyond the checkpoint.

        Raises
        ------
        InputError
            For settings that another version of this program has written.
        """
        model = _models()[self.method]
        if self.task.settings.keys() != model.model_fields.keys():
            advice = "Go on with the version that wrote it, or start a new run"
            raise InputError(
                expected(f"run {self.folder}", "the settings of this version", "those of another", advice)
            )
        return model.from_mapping({**self.task.settings, "iterations": self.iteration + more})


def begin_run(
    root: Path, series: TiltSeries, task: Task, story: Mapping[str, Any], *, haadf: TiltSeries | None = None
) -> Path:
    """Make the folder of a run, unless it is there, and forget the oldest runs beside it.

    Parameters
    ----------
    root : Path
        Folder of all runs.
    series : TiltSeries
        What is reconstructed.
    task : Task
        Of this series; ``iterations`` may change without another folder.
    story : mapping
        What whoever opens it later wants to know; of JSON types.
    haadf : TiltSeries, optional
        Of a fused run.

    Returns
    -------
    Path
        Folder for `napari_dipmtv.io.recorder.Recorder`.

    Raises
    ------
    WriteError
        For a full disk or a read-only folder.
    """
    folder = output_folder(Path(root) / _name(task))
    if not _holds(folder, task.data):
        save_maps(series, folder)
        if haadf is not None:
            save_maps(haadf, folder / HAADF)
    save_report({"format": _FORMAT, "version": _VERSION, **story}, folder / STORY)
    begun = sorted(Path(root).glob(f"*/{STORY}"), key=lambda path: path.stat().st_mtime, reverse=True)
    for old in [path.parent for path in begun if path.parent != folder][KEPT - 1 :]:
        forget_run(old)
    return folder


def saved_run(folder: Path) -> SavedRun | None:
    """Look at a run without reading its volumes; None for a folder without a story or without a checkpoint."""
    folder = Path(folder)
    reached = peek_checkpoint(folder)
    if reached is None or reached.task.method not in _models() or not (folder / INDEX).is_file():
        return None
    try:
        story = _story(folder / STORY)
    except ReadError:
        return None
    asked, ends = int(reached.task.settings["iterations"]), int(reached.state.get("ends", 0))
    left = max(0, (ends or asked) - reached.iteration)
    return SavedRun(folder, reached.task, reached.iteration, reached.seconds, reached.losses, left, story)


def saved_runs(root: Path) -> list[SavedRun]:
    """All runs of a place, the one that was written last first."""
    found = [saved_run(path.parent) for path in Path(root).glob(f"*/{STORY}")]
    return sorted((run for run in found if run is not None), key=_written, reverse=True)


def load_series(run: SavedRun) -> TiltSeries:
    """Read the aligned maps of a run; raises `ReadError` where they are not those that it began with."""
    return load_both(run)[0]


def load_both(run: SavedRun) -> tuple[TiltSeries, TiltSeries | None]:
    """Read the aligned maps of a run and, of a fused one, its HAADF series; raises `ReadError` like `load_series`."""
    both = load_saved_series(run.folder), load_saved_series(run.folder / HAADF) if run.fused else None
    if _told(*both) != run.task.data:
        advice = "Start a new run"
        raise ReadError(expected(f"folder {run.folder}", "the maps of the run", "others", advice))
    return both


def forget_run(folder: Path) -> None:
    """Remove a run; a folder that holds none, or one that somebody is computing, is left alone."""
    folder = Path(folder)
    if (folder / STORY).is_file() and not folder.is_symlink() and not is_claimed(folder):
        shutil.rmtree(folder, ignore_errors=True)


def _name(task: Task) -> str:
    settings = {name: value for name, value in task.settings.items() if name != "iterations"}
    told = json.dumps([task.method, settings, task.data], sort_keys=True)
    return f"{task.method}_{hashlib.sha256(told.encode()).hexdigest()[:12]}"


def _models() -> dict[Method | FusedMethod, type[MethodSettings] | type[FusedMethodSettings]]:
    return dict(chain(METHODS.items(), FUSED_METHODS.items()))


def _holds(folder: Path, data: str) -> bool:
    haadf = folder / HAADF
    try:
        return _told(load_saved_series(folder), load_saved_series(haadf) if haadf.is_dir() else None) == data
    except DipmtvError:
        return False


def _told(series: TiltSeries, haadf: TiltSeries | None) -> str:
    """What `Task.of` says of the data."""
    return " ".join(fingerprint(one) for one in (series, haadf) if one is not None)


def _story(path: Path) -> dict[str, Any]:
    with reading(path):
        story = json.loads(path.read_text(encoding="utf-8"))
        if story.pop("format") != _FORMAT or story.pop("version") > _VERSION:
            raise ValueError("a file of another kind or of a newer version")
        return dict(story)


def _written(run: SavedRun) -> float:
    return max((file.stat().st_mtime for file in checkpoint_files(run.folder)), default=0.0)
