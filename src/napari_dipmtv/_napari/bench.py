"""The workplace of one viewer: stage by stage it runs the verbs, keeps their values and has them drawn."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari.utils.notifications import show_error, show_info, show_warning
from qtpy.QtCore import QObject, Signal

from napari_dipmtv import pipeline
from napari_dipmtv._napari.closing import Closing
from napari_dipmtv._napari.drawing import draw, volume_group
from napari_dipmtv._napari.half_cut import HalfCut
from napari_dipmtv._napari.iterators import mapped, once
from napari_dipmtv._napari.job import Job
from napari_dipmtv._napari.layers import Layers
from napari_dipmtv._napari.preferences import preferences
from napari_dipmtv._napari.report import report_of
from napari_dipmtv._napari.session import STAGES, Reconstruction, Session, Stage
from napari_dipmtv._napari.sources import MapSource, read_maps
from napari_dipmtv._napari.view_angle import look_flat, look_into
from napari_dipmtv.data import Region, Volume
from napari_dipmtv.errors import DipmtvError, InputError
from napari_dipmtv.states import Result, State

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from napari_dipmtv.settings.align import AlignSettings
    from napari_dipmtv.settings.base import StageSettings
    from napari_dipmtv.settings.inspect import SegmentSettings
    from napari_dipmtv.settings.simulation import SimulationSettings
    from napari_dipmtv.settings.spectra import PrepareSettings, ReferenceSettings, UnmixSettings
    from napari_dipmtv.settings.tomo import Method, MethodSettings

TITLES: Mapping[str, str] = {"sirt": "SIRT", "cs-tv": "CS-TV", "dip-tv": "DIP-TV", "dipm-tv": "DIPm-TV"}

SLOW_PREVIEW_S = 2.0  # a window that is busy longer with a preview gets slices instead of surfaces

_benches: weakref.WeakKeyDictionary[ViewerModel, Bench] = weakref.WeakKeyDictionary()


def bench_of(viewer: ViewerModel) -> Bench:
    """The workplace of a viewer, made at the first call; all docks of the viewer share it."""
    if viewer not in _benches:
        _benches[viewer] = Bench(viewer)
    return _benches[viewer]


@contextmanager
def telling() -> Iterator[None]:
    """Show what went wrong on purpose as a notification of napari instead of raising it."""
    try:
        yield
    except DipmtvError as error:
        show_error(str(error))


class Bench(QObject):
    """Wires session, layers and job of one viewer; the docks call it and watch it.

    ``changed`` and ``results_changed`` repeat the signals of the session, so that Qt cuts the connection to a dock that
    is deleted.
    """

    changed = Signal(str)
    results_changed = Signal()
    exported = Signal(list)  # of Path
    cut_changed = Signal(object)  # HalfCut

    def __init__(self, viewer: ViewerModel) -> None:
        super().__init__()
        self.session = Session()
        self.layers = Layers(viewer)
        self.job = Job(min_preview_s=lambda: preferences().preview_interval_s)
        self._closing = Closing(viewer, self.job)
        self._target: Stage | None = None  # the stage that the run will set
        self._keep: Callable[[Result[Any]], None] | None = None
        self._streamed_title = ""
        self._may_flatten = False
        self._settings: dict[str, StageSettings] = {}  # of every stage, as it was last run
        self.session.changed.connect(self._on_changed)
        self.session.results_changed.connect(self._on_results_changed)
        self.job.preview.connect(self._on_preview)
        self.job.finished.connect(self._on_result)
        self.job.stopped.connect(self._on_result)
        self.job.failed.connect(self._on_failed)

    # -- the stages

    def load_spectra(self, source: Path | Sequence[Path]) -> None:
        """Read a folder, or files, of spectrum images as new data."""

        def keep(result: Result[Any]) -> None:
            self.session.load("series", result.value, inputs=_paths(source))

        self._run("load", "series", lambda: once("Reading", lambda: pipeline.load(source)), keep)

    def load_maps(self, paths: Sequence[Path], source: MapSource) -> None:
        """Read maps as new data, to go on with at the alignment."""

        def keep(result: Result[Any]) -> None:
            self.session.load("maps", result.value, inputs=_paths(paths))

        self._run("load", "maps", lambda: once("Reading", lambda: read_maps(paths, source)), keep, source)

    def load_demo(self, settings: SimulationSettings) -> None:
        """Simulate a dual EELS tilt series as new data, with the regions that a person would draw."""
        from napari_dipmtv.phantom import simulate

        def keep(result: Result[Any]) -> None:
            self.session.load("series", result.value.series, demo_regions=result.value.regions)

        self._run("load", "series", lambda: once("Simulating", lambda: simulate(settings)), keep, settings)

    def show_spectra(self, wanted: bool) -> None:
        """Add or remove the spectrum images with their energy slider."""
        if not wanted:
            self.layers.clear("spectra")
            if self.session.has("series"):
                self.layers.look_at("sums")
            return
        self.layers.show_spectra(self.session.value("prepared" if self.session.has("prepared") else "series"))

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
        self._run(
            "references",
            "references",
            lambda: once("Learning references", lambda: pipeline.references(series, regions, settings)),
            self._keeper("references"),
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

    def align(self, settings: AlignSettings) -> None:
        """Estimate the alignment and apply it, once."""
        maps, device = self.session.value("maps"), preferences().device

        def states() -> Iterator[State[Any]]:
            found = pipeline.align_states(maps, settings, device)
            return mapped(found, lambda alignment: pipeline.apply_found(maps, alignment, settings))

        self._run("align", "tilt_series", states, self._keeper("tilt_series"), settings)

    def assume_aligned(self) -> None:
        """Take the maps as they are."""
        with telling():
            self._refuse_while_running()
            self.session.put("tilt_series", pipeline.assume_aligned(self.session.value("maps")))

    def reconstruct(self, method: Method, settings: MethodSettings, device: str, stream: bool) -> None:
        """Reconstruct a volume; its layers grow while it is made when ``stream`` is True."""
        series, title = self.session.value("tilt_series"), TITLES[method]

        def keep(result: Result[Volume]) -> None:
            shown = f"{title}, stopped at {result.iterations}" if result.stopped else title
            made = Reconstruction(
                volume=result.value,
                title=shown,
                series=series,
                method=method,
                settings=dict(self._settings),
                device=device,
                losses=result.losses,
                iterations=result.iterations,
                seconds=result.seconds,
                stopped=result.stopped,
            )
            self.layers.finish_stream(made.volume, shown, volume_group(len(self.session.results)))
            self.session.add_result(made)

        self._streamed_title = f"{title}, running"
        self._run(
            "reconstruct",
            "volume",
            lambda: pipeline.reconstruct_states(series, method, settings, device),
            keep,
            settings,
            stream=stream,
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

    def export(self, folder: Path, formats: Sequence[str]) -> None:
        """Write what has been reached into a folder, with a report of how it was made."""
        session = self.session
        made: Reconstruction | None = session.value("volume") if session.has("volume") else None
        maps = next((session.value(stage) for stage in ("tilt_series", "maps") if session.has(stage)), None)

        def write() -> list[Path]:
            return pipeline.export(
                folder,
                volume=made.volume if made else None,
                segmentation=session.value("segmentation") if session.has("segmentation") else None,
                measures=session.value("measures") if session.has("measures") else (),
                maps=maps,
                provenance=report_of(made, session.inputs) if made else None,
                formats=tuple(formats),
            )

        self._run("export", None, lambda: once("Writing", write), lambda r: self.exported.emit(r.value))

    def show_result(self, result: Reconstruction) -> None:
        """Make a finished reconstruction the current one and show it again, its layers too where they were deleted."""
        with telling():
            self._refuse_while_running()
            group = volume_group(self.session.results.index(result))
            if not self.layers.alive(group):
                self.layers.clear(group)
                self.layers.show_volume(result.volume, result.title, group)
            self.layers.look_at(group)
            self.session.put("volume", result)

    def cut(self, cut: HalfCut) -> None:
        """Cut all volumes and phases by one plane."""
        self.layers.cut(cut)
        self.cut_changed.emit(cut)

    def open_up(self) -> None:
        """Look into the cut volume in 3-D."""
        self.cut(replace(self.layers.half_cut, enabled=True))
        look_into(self.layers.viewer, self.layers.half_cut)

    def show_phases(self, wanted: bool) -> None:
        """Show the phases, or the densities that they were made from."""
        current: Reconstruction = self.session.value("volume")
        self.layers.look_at("labels" if wanted else volume_group(self.session.results.index(current)))

    # -- runs

    def _run(
        self,
        name: str,
        target: Stage | None,
        states: Callable[[], Iterator[State[Any]]],
        keep: Callable[[Result[Any]], None],
        settings: StageSettings | None = None,
        *,
        stream: bool = False,
    ) -> None:
        """Start a run, or say why not; ``keep`` is called with the result in the GUI thread."""

        def keep_both(result: Result[Any]) -> None:
            if name == "load":
                self._settings.clear()
            if settings is not None:
                self._settings[name] = settings
            keep(result)

        try:
            self._refuse_while_running()
        except InputError as error:
            show_warning(str(error))
            return
        self._target, self._keep = target, keep_both
        self.job.start(name, states, stream=stream)

    def _refuse_while_running(self) -> None:
        if self.job.why_not:
            raise InputError(self.job.why_not)

    def _on_result(self, _: int, result: Result[Any] | None) -> None:
        keep, self._keep, self._target = self._keep, None, None
        if result is not None and keep is not None:
            with telling():
                keep(result)
        else:
            self.layers.end_stream()

    def _on_failed(self, _: int, message: str) -> None:
        self._keep, self._target = None, None
        self.layers.end_stream()
        show_error(message)

    def _on_preview(self, _: int, volume: Volume) -> None:
        first = "stream" not in self.layers.groups()
        if not self.layers.stream(volume, self._streamed_title):
            self.job.stop_streaming()
        elif first:
            self._may_flatten = True
            self.open_up()
        elif self._may_flatten and self.job.preview_cost_s > SLOW_PREVIEW_S:
            self._may_flatten = False  # once: whoever goes back to 3-D wants it
            look_flat(self.layers.viewer, "xz")
            show_info("This computer draws in 3-D slowly: the growing volume is shown as a slice.")

    # -- what a changed value means

    def _keeper(self, stage: Stage) -> Callable[[Result[Any]], None]:
        return lambda result: self.session.put(stage, result.value)

    def _on_changed(self, stage: Stage) -> None:
        if self._target is not None and STAGES.index(stage) < STAGES.index(self._target):
            self.job.cancel()  # what the run works on has been replaced
        draw(stage, self.session, self.layers)
        self.changed.emit(stage)

    def _on_results_changed(self) -> None:
        self.results_changed.emit()


def _paths(source: Path | Sequence[Path]) -> tuple[Path, ...]:
    return (source,) if isinstance(source, Path) else tuple(source)
