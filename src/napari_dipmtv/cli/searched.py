"""A folder of maps or a project to what a search begins with: no earlier than the first stage that is searched."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from napari_dipmtv.cli.conversation import progress
from napari_dipmtv.cli.map_source import HaadfFrom
from napari_dipmtv.cli.options import as_aligned, known_method, read_saved, settings_from
from napari_dipmtv.data import MapStack, Region, SpectrumSeries, Volume
from napari_dipmtv.errors import InputError, expected
from napari_dipmtv.settings.sweep import SweepSettings

if TYPE_CHECKING:
    from napari_dipmtv.io.project import Project
    from napari_dipmtv.sweep.task import AnyMethod, AnySettings, Stages, Task

SPECTRAL = ("prepare", "references", "unmix")


@dataclass(frozen=True, slots=True, eq=False)
class Subject:
    """What is searched; see `napari_dipmtv.sweep.task.Task`. ``project``: the file that it came from."""

    data: SpectrumSeries | MapStack
    method: AnyMethod
    base: AnySettings
    haadf: MapStack | None = None
    stages: Stages = field(default_factory=dict)
    regions: Mapping[str, Region] = field(default_factory=dict)
    project: Project | None = None

    def task(self, how: SweepSettings, truth: Volume | None, device: str) -> Task:
        """The same with the scoring."""
        from napari_dipmtv.sweep.task import Task

        return Task(
            self.data,
            self.method,
            self.base,
            how,
            stages=self.stages,
            haadf=self.haadf,
            regions=self.regions,
            truth=truth,
            device=device,
        )


def subject_of(
    source: Path,
    haadf_from: HaadfFrom,
    axes: Sequence[str],
    method: str | None,
    base: Sequence[str] | None,
    as_json: bool,
) -> Subject:
    """Read what the words of the command name.

    Raises
    ------
    InputError
        For options beside a project that it says itself.
    """
    stages = {word.partition("=")[0].rpartition(".")[0].strip() for word in axes}
    if source.is_dir():
        return _of_folder(source, haadf_from, "align" in stages, method, base, as_json)
    given = {"--method": method, "--haadf": haadf_from.haadf}
    twice = [option for option, value in given.items() if value is not None]
    if twice:
        got = " and ".join(twice)
        raise InputError(expected(got, "none with a project, which says it", "one", "Leave it out"))
    return _of_project(source, stages, base, as_json)


def _of_folder(
    folder: Path,
    haadf_from: HaadfFrom,
    aligns: bool,
    method: str | None,
    base: Sequence[str] | None,
    as_json: bool,
) -> Subject:
    from napari_dipmtv.sweep.task import MODELS

    maps = read_saved(folder)
    images = haadf_from.read(maps.pixel_nm)
    chosen = known_method(method or ("cs-tv" if images is None else "fused"), MODELS)
    settings = settings_from(MODELS[chosen], base)
    if aligns:
        return Subject(maps, chosen, settings, images)
    haadf = None if images is None else as_aligned(images, as_json)
    return Subject(as_aligned(maps, as_json), chosen, settings, haadf)


def _of_project(path: Path, stages: set[str], base: Sequence[str] | None, as_json: bool) -> Subject:
    from napari_dipmtv import pipeline
    from napari_dipmtv.io.project import load_project

    project = load_project(path)
    chosen = project.reconstruct if project.inputs.haadf is None else project.fuse
    fixed = chosen.method_settings()
    settings = settings_from(type(fixed), base, fixed.model_dump(mode="json"))
    own: Stages = {name: getattr(project, name) for name in (*SPECTRAL, "align")}
    searched = [stage for stage in own if stage in stages]
    if searched and (project.aligned or project.nudges):
        got = "moves by hand" if project.nudges else '"aligned": true'
        advice = "Search the settings of the method alone, or take it out of the project"
        raise InputError(expected(f"search of {', '.join(searched)}", "a project without it", got, advice))
    with progress("preparing", as_json) as watch:
        if any(stage in SPECTRAL for stage in searched):
            spectra = pipeline.load_inputs(project)
            regions = pipeline.regions_of(project, spectra) if isinstance(spectra, SpectrumSeries) else {}
            images = pipeline.project_haadf(project, spectra.pixel_nm)
            return Subject(spectra, chosen.method, settings, images, own, regions, project)
        if searched:
            maps = pipeline.project_maps(project, on_state=watch)
            images = pipeline.project_haadf(project, maps.pixel_nm)
            return Subject(maps, chosen.method, settings, images, {"align": project.align}, project=project)
        series, haadf = pipeline.project_both(project, on_state=watch)
    return Subject(series, chosen.method, settings, haadf, project=project)


def best_project(project: Project, method: AnySettings, stages: Stages, output: Path) -> Project:
    """The project with the settings of the best trial, and an output folder of its own."""
    group = "reconstruct" if project.inputs.haadf is None else "fuse"
    chosen = getattr(project, group).replace(settings=method.model_dump(mode="json"))
    return project.replace(**{group: chosen, **dict(stages), "output": output})
