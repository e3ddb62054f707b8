"""What a viewer has done to a project that repeats it without a window, and a project back to where somebody was."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from napari_dipmtv._napari.finished import digest, load_finished, losses_of
from napari_dipmtv._napari.haadf_source import HaadfSource
from napari_dipmtv._napari.regions import pixel_outlines
from napari_dipmtv._napari.report import report_of
from napari_dipmtv._napari.session import TITLES, Reconstruction, Session
from napari_dipmtv._napari.sources import MapSource
from napari_dipmtv.data import Region, Segmentation, TiltSeries
from napari_dipmtv.errors import InputError, ReadError, expected
from napari_dipmtv.io.checkpoints import fingerprint
from napari_dipmtv.io.map_folder import INDEX
from napari_dipmtv.io.project import (
    PROJECT_SUFFIX,
    EdxImages,
    Fuse,
    Inputs,
    Project,
    Reconstruct,
    RegionOutline,
)
from napari_dipmtv.io.run_folder import RUNS, SavedRun, load_series, saved_runs
from napari_dipmtv.settings.base import StageSettings
from napari_dipmtv.settings.tomo import METHODS

# stages of the window whose settings are fields of a project of the same name
_SAME = ("prepare", "references", "unmix", "align", "segment")


@dataclass(frozen=True, slots=True, eq=False)
class Reopened:
    """What was found in the output folder of a project and is of its settings; None where there is none."""

    tilt_series: TiltSeries | None = None
    volume: Reconstruction | None = None
    segmentation: Segmentation | None = None
    note: str = ""  # why results were left alone
    run: SavedRun | None = None  # what a reconstruction of ``tilt_series`` can go on from
    finished: tuple[
        Reconstruction, ...
    ] = ()  # all that were listed, ``volume`` among them, of whatever settings


def project_of(session: Session, settings: Mapping[str, StageSettings], output: Path) -> Project:
    """Write down what has been done so far.

    Parameters
    ----------
    session : Session
    settings : mapping of str to StageSettings
        Of every stage, as it was last run.
    output : Path
        Folder of the results.

    Raises
    ------
    InputError
        For data that came from no file, or from several spectrum files instead of a folder.
    """
    given: dict[str, Any] = {name: settings[name] for name in _SAME if name in settings}
    if session.has("volume"):
        made: Reconstruction = session.value("volume")
        if made.method in METHODS:
            chosen = made.settings.get("reconstruct", METHODS[made.method]())
            given["reconstruct"] = Reconstruct(
                method=made.method, settings=chosen.model_dump(exclude_defaults=True), device=made.device
            )
        else:
            given["reconstruct"] = Reconstruct(device=made.device)
    inputs = _inputs(session, settings.get("load"))
    haadf = settings.get("haadf")
    if isinstance(haadf, HaadfSource) and not haadf.problem:
        inputs, given["fuse"] = inputs.replace(**haadf.in_project()), settings.get("fuse", Fuse())
    return Project(inputs=inputs, output=output, **given, **way_of(session))


def way_of(session: Session) -> dict[str, Any]:
    """What is no setting of a stage but led to the aligned maps, by the fields of a project, in plain types."""
    regions = session.regions if isinstance(session.regions, Mapping) else {}
    way: dict[str, Any] = {
        "regions": {name: _outline(region).model_dump(mode="json") for name, region in regions.items()}
    }
    if session.has("tilt_series"):
        found = session.value("tilt_series").alignment
        way["aligned"] = found is None or not found.quality  # only an estimate has a quality
        way["nudges"] = [list(move) for move in session.nudges]
    return way


def stage_settings(project: Project) -> dict[str, StageSettings]:
    """Settings of every stage for the forms, by the names of the runs."""
    named = {name: getattr(project, name) for name in _SAME}
    if project.inputs.haadf is None:
        return {**named, "reconstruct": project.reconstruct.method_settings()}
    haadf = HaadfSource.of_project(project.inputs, aligned=project.aligned)
    return {**named, "haadf": haadf, "fuse": project.fuse, "reconstruct": project.fuse.method_settings()}


def source_of(inputs: Inputs) -> dict[str, MapSource | EdxImages]:
    """The words on the map or EDX files of a project as the load step takes them."""
    if inputs.spectrum_images is not None:
        return {}
    if inputs.edx is not None:
        return {"load": inputs.edx}
    angles = "" if inputs.angles is None else str(inputs.angles)
    channels = ", ".join(inputs.maps)
    source = MapSource(
        angles=angles,
        channels=channels,
        pixel_nm=inputs.pixel_nm or 0.0,
        counts=inputs.counts,
        tilt_axis=inputs.tilt_axis,
    )
    return {"load": source}


def story_of(session: Session, settings: Mapping[str, StageSettings], device: str) -> dict[str, Any]:
    """What a run leaves beside its checkpoints, so that a project knows its own runs again; of JSON types."""
    told = {name: model.model_dump(mode="json") for name, model in settings.items() if name in _SAME}
    return {"settings": {**told, **way_of(session)}, "device": device}


def default_output(path: Path) -> Path:
    """Folder of the results beside a project file."""
    return path.with_name(f"{path.name.removesuffix(PROJECT_SUFFIX)}_results")


def reopen(project: Project) -> Reopened:
    """Read the results of a project and find its last run, unless they were made with other settings.

    Raises
    ------
    ReadError
        For a damaged folder.
    """
    found = _among(load_finished(project.output), _results(project), project)
    runs = (run for run in saved_runs(project.output / RUNS) if _same_way(project, run.story))
    run = next(runs, None)
    if run is None:
        return found
    if found.tilt_series is None:
        return replace(found, tilt_series=load_series(run), run=run)
    return replace(found, run=run) if _of(found.tilt_series, run) else found


def _of(series: TiltSeries, run: SavedRun) -> bool:
    """True where these are the maps of a run; behind theirs a fused one tells those of its HAADF series."""
    return run.task.data.split()[0] == fingerprint(series)


def _among(listed: tuple[tuple[Reconstruction, ...], str], found: Reopened, project: Project) -> Reopened:
    """Say which of the listed results is the one that was found, or else is of the settings of the project."""
    finished, damaged = listed
    if found.volume is None:
        fitting = [made for made in finished if _same(project, report_of(made, ()))]
        if fitting:
            found = Reopened(fitting[-1].series, fitting[-1])
        elif finished and found.note:
            found = replace(found, note=f"{found.note} Step 5 lists them.")
    else:
        voxels = digest(found.volume.volume)
        made = next((made for made in finished if digest(made.volume) == voxels), None)
        if made is None:
            finished = (*finished, found.volume)
        else:
            found = replace(found, tilt_series=made.series, volume=made)
    return replace(found, finished=finished, note=" ".join(filter(None, (found.note, damaged))))


def _results(project: Project) -> Reopened:
    from napari_dipmtv.io.map_folder import load_saved_series
    from napari_dipmtv.io.volumes import load_labels, load_volume

    folder = project.output
    report = _report(folder / "report.json")
    if report is None or not any(folder.glob("volume_*.tif")):
        return Reopened()
    if not _same(project, report):
        return Reopened(note=f"The results in {folder} were made with other settings and are left alone.")
    if not (folder / INDEX).is_file():
        return Reopened(note=f"The results in {folder} come without their aligned maps and are left alone.")
    series = load_saved_series(folder)
    made = _reconstruction(project, report, load_volume(folder), series)
    labels = folder / "labels.tif"
    return Reopened(series, made, load_labels(labels) if labels.is_file() else None)


def _inputs(session: Session, source: StageSettings | None) -> Inputs:
    paths = session.inputs
    if not paths:
        advice = "Write simulated data to a folder first (napari-dipmtv simulate) and load that"
        raise InputError(expected("project", "data from files", "simulated or sample data", advice))
    if isinstance(source, EdxImages):
        return Inputs(edx=source)
    if not isinstance(source, MapSource):
        if len(paths) != 1 or not (paths[0].is_dir() or paths[0].suffix == ".csv"):
            advice = "Save the table of tilts in step 1"
            raise InputError(
                expected("spectrum images", "a folder or a saved table", f"{len(paths)} files", advice)
            )
        return Inputs(spectrum_images=paths[0])
    if len(paths) == 1 and (paths[0].is_dir() or paths[0].name == INDEX):
        folder = paths[0] if paths[0].is_dir() else paths[0].parent
        if not (folder / INDEX).is_file():
            advice = "Export the maps (step 8) and load the folder that this writes"
            raise InputError(expected("project", "maps in stacks or saved here", "a file per view", advice))
        return Inputs(map_folder=folder)
    maps: dict[str, Path] = dict.fromkeys(session.value("maps").channels, paths[0])
    if len(paths) > 1:
        maps = dict(zip(session.value("maps").channels, paths, strict=True))
    return Inputs(
        maps=maps,
        angles=Path(source.angles),
        pixel_nm=source.pixel_nm or None,
        counts=source.counts,
        tilt_axis=source.tilt_axis,
    )


def _outline(region: Region) -> RegionOutline:
    first, *further = pixel_outlines(region)
    return RegionOutline(tilt_deg=region.tilt_deg, outline_px=first, further_px=tuple(further))


def _report(path: Path) -> dict[str, Any] | None:
    if not path.is_file():
        return None
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ReadError(expected(f"file {path}", "a report", error, "Run the project again")) from error
    return report if isinstance(report, dict) else None


def _same(project: Project, report: Mapping[str, Any]) -> bool:
    """The method and every setting that the report knows are those of the project."""
    stage = "reconstruct" if project.inputs.haadf is None else "fuse"
    chosen: Reconstruct | Fuse = getattr(project, stage)
    if report.get("method") != chosen.method:
        return False
    noted = report.get("settings", {}).get(stage)
    if isinstance(noted, Mapping) and "method" in noted:
        noted = noted.get("settings", {})  # as `run_project` reports it
    wanted = chosen.method_settings()
    return (noted is None or type(wanted).from_mapping(dict(noted)) == wanted) and _same_way(project, report)


def _same_way(project: Project, report: Mapping[str, Any]) -> bool:
    """Everything up to the aligned maps that the report knows is as in the project."""
    told = report.get("settings", {})
    for name in ("regions", "aligned", "nudges"):
        if name in told and told[name] != project.model_dump(mode="json", include={name})[name]:
            return False
    models = {name: getattr(project, name) for name in _SAME if name != "segment"}
    return all(
        type(model).from_mapping(dict(told[name])) == model for name, model in models.items() if name in told
    )


def _reconstruction(
    project: Project, report: Mapping[str, Any], volume: Any, series: TiltSeries
) -> Reconstruction:
    method = (project.reconstruct if project.inputs.haadf is None else project.fuse).method
    return Reconstruction(
        volume=volume,
        title=f"{TITLES[method]}, reopened",
        series=series,
        method=method,
        settings=stage_settings(project),
        device=str(report.get("device", "")),
        losses=losses_of(report),
        iterations=int(report.get("iterations", 0)),
        seconds=float(report.get("seconds") or 0.0),
        stopped=bool(report.get("stopped", False)),
        notes=tuple(map(str, report.get("notes", ()))),
        way=project.model_dump(mode="json", include={"regions", "aligned", "nudges"}),
    )
