"""Files, folders, a simulation or what napari has opened to new data of the session."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari.utils.notifications import show_info

from napari_dipmtv import pipeline
from napari_dipmtv._napari.dropped import tidy
from napari_dipmtv._napari.iterators import once
from napari_dipmtv._napari.runs import Runs, telling
from napari_dipmtv._napari.session import Stage
from napari_dipmtv._napari.sources import MapSource, read_maps
from napari_dipmtv._napari.tilt_edits import look_and_read
from napari_dipmtv.data import MapStack, SpectrumSeries, TiltSeries
from napari_dipmtv.io.tilt_table import TiltTable, save_table
from napari_dipmtv.states import Result, State

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from napari_dipmtv.io.project import EdxImages
    from napari_dipmtv.phantom import Simulation
    from napari_dipmtv.settings.simulation import SimulationSettings


class Loading(Runs):
    """The verbs of step 1 that bring new data."""

    def __init__(self, viewer: ViewerModel) -> None:
        super().__init__(viewer)
        self._saved_tilts: tuple[TiltTable, Path] | None = None  # the last table that was written, and where

    def load_spectra(self, source: Path | Sequence[Path] | TiltTable) -> None:
        """Look at a folder or files of spectrum images, or take a table of them, and read them as new data."""
        looked: list[TiltTable] = []

        def keep(result: Result[Any]) -> None:
            self.session.load("series", result.value, inputs=self._inputs(source), tilts=looked[0])
            tidy(self.layers.viewer, (row.path for row in looked[0].rows))

        def tell() -> None:
            if looked:
                self.refused.emit(looked[0])

        self._run("load", "series", lambda: look_and_read(source, looked), keep, on_failed=tell)

    def save_tilts(self, table: TiltTable, path: Path) -> None:
        """Write a table of tilts; a project of spectra that were read by it goes on from the file."""
        with telling():
            self._saved_tilts = (table, save_table(table, path))
            if self.session.tilts == table:
                self.session.inputs = (path,)
            show_info(f"Saved {path}")

    def _inputs(self, source: Path | Sequence[Path] | TiltTable) -> tuple[Path, ...]:
        if not isinstance(source, TiltTable):
            return _paths(source)
        if self._saved_tilts is not None and self._saved_tilts[0] == source:
            return (self._saved_tilts[1],)
        return tuple(dict.fromkeys(row.path for row in source.rows if row.use))

    def load_maps(self, paths: Sequence[Path], source: MapSource) -> None:
        """Read maps as new data, to go on with at the alignment, or behind it with a saved series."""

        def keep(result: Result[Any]) -> None:
            self.session.load(stage_of(result.value), result.value, inputs=_paths(paths))

        self._run("load", "maps", lambda: once("Reading", lambda: read_maps(paths, source)), keep, source)

    def load_edx(self, images: EdxImages) -> None:
        """Make maps of X-ray lines as new data from a folder of EDX spectrum images, one tilt in memory at a time."""

        def keep(result: Result[Any]) -> None:
            self.session.load("maps", result.value, inputs=(images.folder,))

        def states() -> Iterator[State[Any]]:
            return pipeline.edx_states(
                images.folder, images.lines, images.settings, bin_pixels=images.bin_pixels
            )

        self._run("load", "maps", states, keep, images)

    def load_demo(self, settings: SimulationSettings) -> None:
        """Simulate a dual EELS tilt series as new data, with the regions that a person would draw.

        Fills the blanks among the layers, if there are some.
        """

        def compute() -> Simulation:
            from napari_dipmtv.phantom import simulate

            return simulate(settings)

        def keep(result: Result[Any]) -> None:
            self.session.load("series", result.value.series, demo_regions=result.value.regions)

        def end() -> None:
            self.layers.drop_blanks("sums")

        self._run("load", "series", lambda: once("Simulating", compute), keep, settings, on_end=end)

    def load_sample_maps(self, read: Callable[[], MapStack]) -> None:
        """Take maps that come with another package as new data; they fill the blanks among the layers."""

        def keep(result: Result[Any]) -> None:
            self.session.load("maps", result.value)

        def end() -> None:
            self.layers.drop_blanks("maps")

        self._run("load", "maps", lambda: once("Reading", read), keep, on_end=end)

    def show_spectra(self, wanted: bool) -> None:
        """Add or remove the spectrum images with their energy slider."""
        if not wanted:
            self.layers.clear("spectra")
            if self.session.has("series"):
                self.layers.look_at("sums")
            return
        self.layers.show_spectra(self.session.value("prepared" if self.session.has("prepared") else "series"))

    def adopt(
        self,
        stage: Stage,
        value: Any,
        *,
        inputs: tuple[Path, ...] = (),
        tilts: TiltTable | None = None,
        source: MapSource | None = None,
    ) -> None:
        """Begin with data that napari has opened by itself: what was dropped on the window."""
        self._settings = {} if source is None else {"load": source}
        self._hold(None)  # that file is of other data
        self.session.load(stage, value, inputs=inputs, tilts=tilts)

    @property
    def empty(self) -> bool:
        """True while the session has no data at all."""
        return self.session.empty


def stage_of(data: SpectrumSeries | MapStack) -> Stage:
    """The stage at which data are new."""
    if isinstance(data, SpectrumSeries):
        return "series"
    return "tilt_series" if isinstance(data, TiltSeries) else "maps"


def _paths(source: Path | Sequence[Path]) -> tuple[Path, ...]:
    return (source,) if isinstance(source, Path) else tuple(source)
