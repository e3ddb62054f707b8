"""Maps to an aligned series and its judgement: found, moved by hand, undone, views left out; the verbs of step 4."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Signal

from napari_dipmtv import pipeline
from napari_dipmtv._napari.fusing import Fusing
from napari_dipmtv._napari.iterators import mapped, once
from napari_dipmtv._napari.preferences import preferences
from napari_dipmtv._napari.runs import telling
from napari_dipmtv.alignment import AlignmentHistory, AlignmentReport, guided
from napari_dipmtv.data import Alignment, ChannelMaps, TiltSeries
from napari_dipmtv.errors import InputError, expected
from napari_dipmtv.settings.align import AlignSettings
from napari_dipmtv.states import Result, State

if TYPE_CHECKING:
    from pathlib import Path

    from napari.components import ViewerModel

    from napari_dipmtv.io.tilt_rows import TiltTable

PREVIEW_PX = 64  # views are reduced to about this size for the quick reconstruction that judges a move


@dataclass(frozen=True, slots=True, eq=False)
class Aligned:
    """An aligned series and how good it is."""

    series: TiltSeries
    report: AlignmentReport


class Aligning(Fusing):
    """The verbs of step 4. The history of the session says which alignment counts; a run brings the series after it."""

    views_left_out = Signal()  # or given back
    aligned_so_far = Signal(object)  # Aligned, while the estimate goes on

    def __init__(self, viewer: ViewerModel) -> None:
        super().__init__(viewer)
        self._guide: tuple[ChannelMaps, str, ChannelMaps | None] | None = None  # of these maps, by that name
        self.job.ended.connect(self._catch_up)

    def align(self, settings: AlignSettings) -> None:
        """Estimate the alignment and apply it, once; ``aligned_so_far`` is emitted now and then on the way."""
        maps, source, chosen = self.session.value("maps"), self._source, preferences()
        device = chosen.device

        def states() -> Iterator[State[Any]]:
            both = self._guided(maps, settings, source)
            found = pipeline.align_states(both[1], settings, device)
            return mapped(found, lambda alignment: _judged(*both, alignment, settings, device))

        def keep(result: Result[Aligned]) -> None:
            self.session.alignments = _begun(result.value.series, "projection matching")
            self._put(result)

        stream_s = chosen.preview_interval_s if chosen.preview else None
        self._run("align", "tilt_series", states, keep, settings, stream_s=stream_s, keeps=True)

    def assume_aligned(self) -> None:
        """Take the maps as they are."""
        with telling():
            self._refuse_while_running()
            series = pipeline.assume_aligned(self.session.value("maps"))
            self.session.alignments = _begun(series, "taken as aligned")
            self.session.alignment_report = None
            self.session.put("tilt_series", series)

    def nudge(self, view: int, dx_px: float, dy_px: float) -> None:
        """Move the content of one aligned view to the right and down, starting from the unaligned maps again.

        While an earlier move is still being applied the moves add up.
        """
        self._go_to(lambda history: history.nudged(view, dx_px, dy_px))

    def undo_alignment(self) -> None:
        """Go back to the alignment before the last move or search."""
        self._go_to(AlignmentHistory.undone)

    def redo_alignment(self) -> None:
        """Go forward again."""
        self._go_to(AlignmentHistory.redone)

    def leave_out(self, view: int, out: bool) -> None:
        """Take the weight of one view away, or give it back; the other views stay where they are."""
        settings = self.align_settings
        views = tuple(sorted({*settings.exclude_views} - {view} | ({view} if out else set())))
        self._apply(settings.replace(exclude_views=views))

    @property
    def moving(self) -> bool:
        """True while a move is being applied, when the next one may be made already."""
        return self.job.running and self.job.name == "move"

    def _on_preview(self, run: int, shot: Any) -> None:
        if isinstance(shot, Aligned):
            self.aligned_so_far.emit(shot)
        else:
            super()._on_preview(run, shot)

    def _go_to(self, step: Callable[[AlignmentHistory], AlignmentHistory]) -> None:
        if not self.moving:
            self._refuse_while_running()
        self.session.alignments = step(self._history)
        self._catch_up()

    @property
    def _history(self) -> AlignmentHistory:
        history = self.session.alignments
        if history is None:
            raise InputError(expected("alignment", "one that was made here", "none", "Align the maps first"))
        return history

    def _catch_up(self, *_: object) -> None:
        """Apply the alignment that counts, unless the series is of that one already."""
        history, session = self.session.alignments, self.session
        if history is None or self.job.running or not (session.has("maps") and session.has("tilt_series")):
            return
        if session.value("tilt_series").alignment is not history.now:
            self._apply(self.align_settings)

    def _apply(self, settings: AlignSettings) -> None:
        maps, wanted, device = self.session.value("maps"), self._history.now, preferences().device
        reached, source = self.session.value("tilt_series"), self._source

        def keep(result: Result[Aligned]) -> None:
            self._settings["align"] = settings
            self._put(result)
            self.views_left_out.emit()

        def give_up() -> None:
            self.session.alignments = _begun(reached, "before a move that failed")

        def compute() -> Aligned:
            return _judged(*self._guided(maps, settings, source), wanted, settings, device)

        self._run("move", "tilt_series", lambda: once("Moving", compute), keep, on_failed=give_up)

    @property
    def _source(self) -> TiltTable | Path | None:
        """Where the maps come from, if images recorded with them can lie there."""
        inputs = self.session.inputs
        return self.session.tilts or (inputs[0] if len(inputs) == 1 else None)

    def _guided(
        self, maps: ChannelMaps, settings: AlignSettings, source: TiltTable | Path | None
    ) -> tuple[ChannelMaps, ChannelMaps]:
        """Maps, and what is looked at to align them; images recorded with them are read once, by the run."""
        if self._guide is None or self._guide[0] is not maps or self._guide[1] != settings.signal:
            self._guide = (maps, settings.signal, pipeline.guide_of(maps, settings, source))
        images = self._guide[2]
        return (maps, maps) if images is None else guided(maps, images)

    def _put(self, result: Result[Aligned]) -> None:
        self.session.alignment_report = result.value.report
        self.session.put("tilt_series", result.value.series)

    @property
    def align_settings(self) -> AlignSettings:
        """With which the series was made, else the usual ones."""
        settings = self._settings.get("align", AlignSettings())
        assert isinstance(settings, AlignSettings)
        return settings


def _begun(series: TiltSeries, made_by: str) -> AlignmentHistory:
    found = series.alignment
    assert found is not None  # every series of this step has one
    return AlignmentHistory.begin(found, made_by)


def _judged(
    maps: ChannelMaps, seen: ChannelMaps, alignment: Alignment, settings: AlignSettings, device: str
) -> Aligned:
    """Apply an alignment to the maps, and judge it on what is looked at, reduced so that nobody waits for a move."""
    scale = max(1, round(max(maps.data.shape[2:]) / PREVIEW_PX))
    report = pipeline.report_alignment(seen, alignment, settings, device, scale=scale)
    return Aligned(pipeline.apply_found(maps, alignment, settings), report)
