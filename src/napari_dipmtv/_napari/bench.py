"""The workplace of one viewer: stage by stage it runs the verbs, keeps their values and has them drawn."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari.utils.notifications import show_warning

from napari_dipmtv import pipeline
from napari_dipmtv._napari import binding
from napari_dipmtv._napari.aligning import Aligning
from napari_dipmtv._napari.drawing import volume_group
from napari_dipmtv._napari.finished import save_finished
from napari_dipmtv._napari.iterators import once
from napari_dipmtv._napari.loading import stage_of
from napari_dipmtv._napari.project_file import Reopened, project_of, reopen, source_of, stage_settings
from napari_dipmtv._napari.reconstructing import Offer
from napari_dipmtv._napari.report import report_of
from napari_dipmtv._napari.runs import telling
from napari_dipmtv._napari.session import Reconstruction, Stage
from napari_dipmtv._napari.window import real_viewer
from napari_dipmtv.alignment import AlignmentHistory
from napari_dipmtv.data import Region, SpectrumSeries
from napari_dipmtv.errors import DipmtvError
from napari_dipmtv.io.claim import is_claimed
from napari_dipmtv.io.project import Nudge, Project, load_project, save_project
from napari_dipmtv.states import Result

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from napari_dipmtv.settings.base import StageSettings
    from napari_dipmtv.settings.inspect import SegmentSettings
    from napari_dipmtv.settings.spectra import PrepareSettings, ReferenceSettings, UnmixSettings

_benches: weakref.WeakKeyDictionary[ViewerModel, Bench] = weakref.WeakKeyDictionary()


def bench_of(viewer: ViewerModel) -> Bench:
    """The workplace of a viewer, made at the first call; all docks of the viewer share it."""
    viewer = real_viewer(viewer)
    if viewer not in _benches:
        _benches[viewer] = Bench(viewer)
    return _benches[viewer]


class Bench(Aligning):
    """The verbs of all stages; the docks call them."""

    def __init__(self, viewer: ViewerModel) -> None:
        super().__init__(viewer)
        binding.warn()
        self.session.changed.connect(self._autosave)
        self.job.ended.connect(self._save_results)

    def prepare(self, settings: PrepareSettings) -> None:
        """Bring the spectra to electrons on one energy axis."""
        series = self.session.value("series")
        self._run(
            "prepare",
            "prepared",
            lambda: pipeline.prepare_states(series, settings),
            self._keeper("prepared"),
            settings,
        )

    def make_references(self, regions: Mapping[str, Region] | str, settings: ReferenceSettings) -> None:
        """Make L references of regions (or "auto") and learn the M references from them."""
        series = self.session.value("prepared")

        def keep(result: Result[Any]) -> None:
            self.session.regions = regions
            self.session.put("references", result.value)

        self._run(
            "references",
            "references",
            lambda: pipeline.reference_states(series, regions, settings),
            keep,
            settings,
        )

    def unmix(self, settings: UnmixSettings) -> None:
        """Split every pixel into background and M references."""
        series, references = self.session.value("prepared"), self.session.value("references")

        def keep(result: Result[Any]) -> None:
            self.session.put("unmixed", result.value)
            self.session.put("maps", result.value.maps)

        self._run(
            "unmix",
            "unmixed",
            lambda: pipeline.unmix_states(series, references, settings),
            keep,
            settings,
        )

    def segment(self, settings: SegmentSettings) -> None:
        """Name the phases of the current volume and measure them."""
        volume = self.session.value("volume").volume

        def compute() -> Any:
            segmentation = pipeline.segment(volume, settings)
            return segmentation, pipeline.measure(segmentation, volume)

        def keep(result: Result[Any]) -> None:
            segmentation, measures = result.value
            self.session.put("segmentation", segmentation)
            self.session.put("measures", measures)

        self._run("segment", "segmentation", lambda: once("Segmenting", compute), keep, settings)

    def export(
        self,
        folder: Path,
        formats: Sequence[str],
        also: Callable[[], list[Path]] = list,
        *,
        overwrite: bool = True,
    ) -> None:
        """Write what has been reached into a folder, with a report of how it was made, and what ``also`` writes.

        A volume brings the maps that it was made of, which are no longer the present ones when it is of an earlier
        alignment.
        """
        session = self.session
        made: Reconstruction | None = session.value("volume") if session.has("volume") else None
        present = next(
            (session.value(stage) for stage in ("tilt_series", "maps") if session.has(stage)), None
        )
        phases = session.value("segmentation") if session.has("segmentation") else None
        measures = session.value("measures") if session.has("measures") else ()

        def write() -> list[Path]:  # in the worker, while the session may change
            written = pipeline.export(
                folder,
                volume=made.volume if made else None,
                segmentation=phases,
                measures=measures,
                maps=made.series if made else present,
                provenance=report_of(made, session.inputs) if made else None,
                formats=tuple(formats),
                overwrite=overwrite,
            )
            return [*written, *also()]

        self._run("export", None, lambda: once("Writing", write), lambda r: self.exported.emit(r.value))

    def _write_output(self) -> None:
        """Bring the output folder of the project up to date: the current result, and all that are listed."""
        results, output = self.session.results, self._output
        self.export(output, ("ome-tiff",), also=lambda: save_finished(results, output))

    def project(self, output: Path | None = None) -> Project:
        """What has been done so far, to be repeated without a window; raises `InputError` for data of no file."""
        return project_of(self.session, self._settings, output or self._output)

    def save_project(self, path: Path, output: Path) -> None:
        """Write the project file, and results into ``output`` once there are some; later steps save again."""
        with telling():
            project = self.project(output)
            self._hold(path, lambda: save_project(project, path))
            self._output = output
            if self.session.has("volume"):
                self._write_output()

    def open_project(self, path: Path) -> None:
        """Load data, settings and, where they belong together, results of a project."""

        def read() -> tuple[Project, Any, Reopened, Any]:
            project = load_project(path)
            data, found = pipeline.load_inputs(project), reopen(project)
            return project, data, found, _measured(found)

        def keep(result: Result[Any]) -> None:
            project, data, found, measures = result.value
            self._hold(None)  # nothing is saved while it is put together
            self._output = project.output
            alone = project.inputs.replace(haadf=None, haadf_angles=None)
            self.session.load(stage_of(data), data, inputs=alone.paths)
            self._settings = {**stage_settings(project), **source_of(project.inputs)}
            if isinstance(data, SpectrumSeries):
                self.session.regions = pipeline.regions_of(project, data) or "auto"
            self.settings_loaded.emit(project)
            self._restore(found, project.nudges, measures)
            try:
                self._hold(path)
            except DipmtvError as error:
                show_warning(f"{error} What is done here is not saved by itself.")
            if found.run is not None and not is_claimed(found.run.folder):
                self._put_offer(Offer(found.run, found.tilt_series))

        self._run("load", "series", lambda: once("Opening", read), keep)

    def _restore(self, found: Reopened, moves: tuple[Nudge, ...], measures: Any) -> None:
        if found.note:
            show_warning(found.note)
        if found.tilt_series is not None:
            if found.tilt_series.alignment is not None:
                history = AlignmentHistory.resumed(found.tilt_series.alignment, moves, "reopened")
                self.session.alignments = history
            self.session.restore({"tilt_series": found.tilt_series})
        self.session.restore_results(found.finished)
        if found.volume is None:
            return
        group = volume_group(found.finished.index(found.volume))
        self.layers.show_volume(found.volume.volume, found.volume.title, group)
        self.session.put("volume", found.volume)
        if found.segmentation is not None:
            self.session.restore({"segmentation": found.segmentation, "measures": measures})
        self.open_up()

    def _autosave(self, _: Stage) -> None:
        """Keep the saved project file up to date."""
        if self.project_path is not None and self.session.inputs:
            with telling():
                save_project(self.project(), self.project_path)

    def _save_results(self, _: int) -> None:
        """Bring the results of a saved project up to date, so that it reopens where one was."""
        made = self.job.name in ("reconstruct", "segment") and self.session.has("volume")
        if made and self.project_path is not None and not self.job.running:
            self._write_output()

    def settings_of(self, stage: str, usual: StageSettings) -> StageSettings:
        """Settings with which a stage was last run, else the usual ones."""
        return self._settings.get(stage, usual)

    def show_phases(self, wanted: bool) -> None:
        """Show the phases, or the densities that they were made from."""
        current: Reconstruction = self.session.value("volume")
        self.layers.look_at("labels" if wanted else volume_group(self.session.results.index(current)))

    def show_one_phase(self, name: str | None) -> None:
        """Show one phase alone, or all (None)."""
        channels = self.session.value("volume").volume.channels
        only = None if name is None else (name,)
        self.layers.show_segmentation(self.session.value("segmentation"), channels, only)


def _measured(found: Reopened) -> Any:
    """Measures of the phases of a project, where it has any."""
    if found.volume is None or found.segmentation is None:
        return ()
    return pipeline.measure(found.segmentation, found.volume.volume)
