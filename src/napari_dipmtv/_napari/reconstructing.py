"""An aligned series to volumes: begun, gone on with after a restart, estimated, shown and compared; verbs of step 5."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Signal

from napari_dipmtv._napari.compare import difference, side_by_side
from napari_dipmtv._napari.drawing import volume_group
from napari_dipmtv._napari.iterators import once
from napari_dipmtv._napari.kept_run import KeptRun
from napari_dipmtv._napari.preferences import preferences
from napari_dipmtv._napari.project_file import story_of, way_of
from napari_dipmtv._napari.runs import notes_of, telling
from napari_dipmtv._napari.session import TITLES, Reconstruction
from napari_dipmtv._napari.trusting import Trusting
from napari_dipmtv.data import TiltSeries, Volume
from napari_dipmtv.errors import InputError, expected
from napari_dipmtv.io.claim import is_claimed
from napari_dipmtv.io.run_folder import RUNS, SavedRun, forget_run, saved_runs
from napari_dipmtv.states import Result, State

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from napari_dipmtv.settings.fused import FusedMethod, FusedMethodSettings
    from napari_dipmtv.settings.tomo import Method, MethodSettings


@dataclass(frozen=True, slots=True, eq=False)
class Offer:
    """A run that may be gone on with; its maps are those of the session, or still beside its checkpoint (None)."""

    run: SavedRun
    series: TiltSeries | None = None


class Reconstructing(Trusting):
    """The verbs of step 5; ``offer_changed`` is emitted when there is another run to go on with, or none."""

    offer_changed = Signal()
    shrunk = Signal(object)  # tomo.memory.Smaller, or None where nothing is smaller

    def __init__(self, viewer: ViewerModel) -> None:
        super().__init__(viewer)
        self._output = Path("results")  # of the project
        self._offer: Offer | None = None

    def reconstruct(
        self, method: Method, settings: MethodSettings, device: str, stream_s: float | None
    ) -> None:
        """Reconstruct a volume; its layers grow while it is made, at most every ``stream_s`` seconds (None: not)."""
        self._keep_run(self._new_run(self.session.value("tilt_series"), method, settings, device), stream_s)

    def resume(self, more: int, device: str, stream_s: float | None) -> None:
        """Go on with the run on offer for ``more`` iterations; raises `InputError` where there is none."""
        offer = self.offer
        if offer is None:
            raise InputError(expected("run", "one to go on with", "none", "Start a new one"))
        run = offer.run
        kept = self._new_run(offer.series, run.method, run.settings(more), device, since=run)
        self._keep_run(kept, stream_s)

    @property
    def offer(self) -> Offer | None:
        """The run that can be gone on with here: one of the present tilt series, or any while there are no data."""
        offer = self._offer
        if offer is None or offer.series is None:
            return offer if self.session.empty else None
        present = self.session.value("tilt_series") if self.session.has("tilt_series") else None
        return offer if offer.series is present else None

    def look_for_run(self) -> None:
        """Find what a window that was closed, or a program that was killed, has left; only while there are no data."""
        if self._offer is None and self.session.empty:
            unfinished = (run for run in saved_runs(self._runs) if run.left and not is_claimed(run.folder))
            run = next(unfinished, None)
            self._put_offer(None if run is None else Offer(run))

    def forget_offer(self) -> None:
        """Remove the checkpoints of the run on offer."""
        if self._offer is not None and not self.job.running:
            forget_run(self._offer.run.folder)
            self._put_offer(None)

    def _put_offer(self, offer: Offer | None) -> None:
        self._offer = offer
        self.offer_changed.emit()

    @property
    def _runs(self) -> Path:
        """Folder of the runs: among the results of a saved project, else in the cache."""
        return (preferences().cache if self.project_path is None else self._output) / RUNS

    def _new_run(
        self,
        series: TiltSeries | None,
        method: Method | FusedMethod,
        settings: MethodSettings | FusedMethodSettings,
        device: str,
        *,
        since: SavedRun | None = None,
        both: Callable[[], tuple[TiltSeries, TiltSeries]] | None = None,
    ) -> KeptRun:
        """A run of the present maps, or one that goes on; its story says what else a project would have to know."""
        return KeptRun(
            root=self._runs if since is None else since.folder.parent,
            series=series,
            method=method,
            settings=settings,
            device=device,
            story=story_of(self.session, self._settings, device) if since is None else since.story,
            choice=preferences(),
            since=since,
            unwanted=lambda: self.job.dropping,
            both=both,
        )

    def _keep_run(self, kept: KeptRun, stream_s: float | None) -> None:
        """Start a run whose volume becomes a result and whose checkpoints become an offer."""
        present = kept.series
        self._streamed_title = f"{TITLES[kept.method]}, running"
        began = self._run(
            "reconstruct",
            "volume",
            kept.states,
            lambda result: self._keep_volume(kept, result),
            kept.settings,
            stream_s=stream_s,
            keeps=True,
            on_end=lambda: self._offer_run(kept, present),
        )
        if began and kept.since is not None:
            curves = {name: list(enumerate(curve, 1)) for name, curve in kept.since.losses.items()}
            self.job.progress.losses.update(curves)

    def _remember(self, kept: KeptRun) -> None:
        """Take note of what else belongs to a project that repeats a run."""
        self._settings.pop("haadf", None)  # of another volume

    def _keep_volume(self, kept: KeptRun, result: Result[Volume]) -> None:
        assert kept.series is not None  # it has given a volume
        if self.session.empty:
            self.session.load("tilt_series", kept.series)
        self._remember(kept)
        title = TITLES[kept.method]
        shown = f"{title}, stopped at {result.iterations}" if result.stopped else title
        made = Reconstruction(
            volume=result.value,
            title=shown,
            series=kept.series,
            method=kept.method,
            settings=dict(self._settings),
            device=kept.device,
            losses=kept.losses or result.losses,
            iterations=result.iterations,
            seconds=kept.seconds_before + result.seconds,
            stopped=result.stopped,
            notes=(*notes_of(self.job.progress), *result.notes),
            way=way_of(self.session),
        )
        self.layers.finish_stream(made.volume, shown, volume_group(len(self.session.results)))
        self.session.add_result(made)

    def _offer_run(self, kept: KeptRun, present: TiltSeries | None) -> None:
        """Offer what a run has reached beside the maps that it began with; a fused one may have aligned its own."""
        if kept.reached is not None:
            series = kept.series if present is None else present
            self._put_offer(Offer(kept.reached, None if self.session.empty else series))
        elif kept.since is not None:
            self.offer_changed.emit()

    def estimate(self, method: Method, settings: MethodSettings, device: str) -> None:
        """Time a few steps and tell what the whole reconstruction would take."""
        series = self.session.value("tilt_series")

        def states() -> Iterator[State[Any]]:
            from napari_dipmtv.tomo.estimate import estimate_states

            return estimate_states(series, method, settings, device)

        self._run("estimate", None, states, lambda result: self.estimated.emit(result.value))

    def shrink(self, method: Method, settings: MethodSettings, device: str) -> None:
        """Find settings that need less memory and cost the result least; ``shrunk`` tells them."""
        series = self.session.value("tilt_series")

        def find() -> Any:
            from napari_dipmtv.tomo.devices import available_bytes, pick_device
            from napari_dipmtv.tomo.memory import smaller

            where = pick_device(device)
            ways = [
                way
                for way in smaller(series, method, settings, where)
                if way.settings != settings or way.device != where.type
            ]
            free = available_bytes(where)
            return next((way for way in ways if way.memory_bytes < free), ways[-1] if ways else None)

        self._run(
            "estimate",
            None,
            lambda: once("Looking for smaller settings", find),
            lambda result: self.shrunk.emit(result.value),
        )

    def show_result(self, result: Reconstruction) -> None:
        """Make a finished reconstruction the current one and show it again, its layers too where they were deleted."""
        with telling():
            self._refuse_while_running()
            self.layers.look_at(self._revived(result))
            self.session.put("volume", result)

    def compare(self, results: Sequence[Reconstruction]) -> None:
        """Show finished reconstructions next to each other with the same contrast."""
        with telling():
            self._refuse_while_running()
            self.layers.take(
                "look", side_by_side(self.layers, {self._revived(made): made for made in results})
            )

    def subtract(self, first: Reconstruction, second: Reconstruction) -> None:
        """Show the difference of two finished reconstructions."""
        with telling():
            self._refuse_while_running()
            difference(self.layers, first, second)

    def _revived(self, result: Reconstruction) -> str:
        """Group of the layers of a result, which are made again where somebody has deleted them."""
        group = volume_group(self.session.results.index(result))
        if not self.layers.shows(group):
            self.layers.clear(group)
            self.layers.show_volume(result.volume, result.title, group)
        return group
