"""The workplace of one viewer: stage by stage it runs the verbs, keeps their values and has them drawn."""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_dipmtv import pipeline
from napari_dipmtv._napari.drawing import volume_group
from napari_dipmtv._napari.iterators import mapped, once
from napari_dipmtv._napari.preferences import preferences
from napari_dipmtv._napari.report import report_of
from napari_dipmtv._napari.runs import Runs, telling
from napari_dipmtv._napari.session import Reconstruction
from napari_dipmtv._napari.sources import MapSource, read_maps
from napari_dipmtv.data import Region, Volume
from napari_dipmtv.states import Result, State

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from napari_dipmtv.settings.align import AlignSettings
    from napari_dipmtv.settings.inspect import SegmentSettings
    from napari_dipmtv.settings.simulation import SimulationSettings
    from napari_dipmtv.settings.spectra import PrepareSettings, ReferenceSettings, UnmixSettings
    from napari_dipmtv.settings.tomo import Method, MethodSettings

TITLES: Mapping[str, str] = {"sirt": "SIRT", "cs-tv": "CS-TV", "dip-tv": "DIP-TV", "dipm-tv": "DIPm-TV"}

_benches: weakref.WeakKeyDictionary[ViewerModel, Bench] = weakref.WeakKeyDictionary()


def bench_of(viewer: ViewerModel) -> Bench:
    """The workplace of a viewer, made at the first call; all docks of the viewer share it."""
    if viewer not in _benches:
        _benches[viewer] = Bench(viewer)
    return _benches[viewer]


class Bench(Runs):
    """The verbs of all stages; the docks call them."""

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

    def show_phases(self, wanted: bool) -> None:
        """Show the phases, or the densities that they were made from."""
        current: Reconstruction = self.session.value("volume")
        self.layers.look_at("labels" if wanted else volume_group(self.session.results.index(current)))


def _paths(source: Path | Sequence[Path]) -> tuple[Path, ...]:
    return (source,) if isinstance(source, Path) else tuple(source)
