"""Finished reconstructions to folders among the results of a project, and back to the list that they came from."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from napari_dipmtv import pipeline
from napari_dipmtv._napari.report import report_of
from napari_dipmtv._napari.session import Reconstruction
from napari_dipmtv.data import TiltSeries, Volume
from napari_dipmtv.errors import DipmtvError
from napari_dipmtv.io.atomic import output_folder, write_bytes
from napari_dipmtv.io.checkpoints import fingerprint
from napari_dipmtv.io.guard import reading
from napari_dipmtv.io.map_folder import INDEX, load_saved_series, save_maps
from napari_dipmtv.io.project import Project
from napari_dipmtv.settings.base import StageSettings
from napari_dipmtv.settings.fused import FUSED_METHODS
from napari_dipmtv.settings.tomo import METHODS

FINISHED = "finished"  # folder of all finished reconstructions, among the results of a project
LIST = "list.json"  # which of them are listed, in order; written last
_REPORT = "report.json"


def save_finished(results: Sequence[Reconstruction], output: Path) -> list[Path]:
    """Write what is listed and not written yet: a folder for each volume, and one for each series of aligned maps.

    Returns
    -------
    list of Path
        What was written; the list is the last.

    Raises
    ------
    WriteError
        The older list stays as it was.
    """
    root = output_folder(output / FINISHED)
    written: list[Path] = []
    names: list[str] = []
    for made in results:
        maps = f"maps_{fingerprint(made.series)[:12]}"
        if not (root / maps / INDEX).is_file():
            written += save_maps(made.series, root / maps)
        name = f"{made.method}_{digest(made.volume)[:12]}"
        if not (root / name / _REPORT).is_file():
            report = {**report_of(made, ()), "title": made.title, "maps": maps}
            written += pipeline.export(root / name, volume=made.volume, provenance=report)
        names.append(name)
    return [*written, write_bytes(root / LIST, json.dumps(names, indent=1).encode())]


def load_finished(output: Path) -> tuple[tuple[Reconstruction, ...], str]:
    """Read the list of a project, and say what of it could not be read; results of one series share it."""
    root = output / FINISHED
    if not (root / LIST).is_file():
        return (), ""
    series: dict[str, TiltSeries] = {}
    found: list[Reconstruction] = []
    damaged: list[str] = []
    with reading(root / LIST):
        names = [Path(name).name for name in json.loads((root / LIST).read_text(encoding="utf-8"))]
    for name in names:
        try:
            found.append(_load(root, name, series))
        except DipmtvError as error:
            damaged.append(str(error))
    return tuple(found), " ".join(damaged)


def losses_of(report: Mapping[str, Any]) -> dict[str, list[float]]:
    """Loss curves of a report, in which a number that is not finite stands as null."""
    curves = report.get("losses", {})
    return {name: [math.nan if value is None else float(value) for value in curves[name]] for name in curves}


def digest(volume: Volume) -> str:
    """SHA-256 over the voxels of a volume."""
    return hashlib.sha256(volume.data.data).hexdigest()


def _load(root: Path, name: str, series: dict[str, TiltSeries]) -> Reconstruction:
    from napari_dipmtv.io.volumes import load_volume

    path = root / name / _REPORT
    with reading(path):
        told: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        method, maps, settings = str(told["method"]), Path(told["maps"]).name, dict(told["settings"])
    if maps not in series:
        series[maps] = load_saved_series(root / maps)
    with reading(path):
        return Reconstruction(
            volume=load_volume(root / name),
            title=str(told["title"]),
            series=series[maps],
            method=method,
            settings=_settings_of(method, settings),
            device=str(told["device"]),
            losses=losses_of(told),
            iterations=int(told["iterations"]),
            seconds=float(told["seconds"]),
            stopped=bool(told["stopped"]),
            notes=tuple(map(str, told["notes"])),
            way={key: settings[key] for key in ("regions", "aligned", "nudges") if key in settings},
        )


def _settings_of(method: str, told: dict[str, Any]) -> dict[str, StageSettings]:
    """The settings of the stages as their models; what stands elsewhere in a project is left out."""
    models = {name: field.annotation for name, field in Project.model_fields.items()}
    models["reconstruct"] = {**METHODS, **FUSED_METHODS}[method]
    return {
        name: model.from_mapping(told[name])
        for name, model in models.items()
        if name in told and isinstance(model, type) and issubclass(model, StageSettings)
    }
