"""The question whether a void or a skin is real, put to the current volume; it can be stopped, and goes on there."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_dipmtv._napari.iterators import once
from napari_dipmtv._napari.loading import Loading
from napari_dipmtv._napari.preferences import preferences
from napari_dipmtv._napari.trust_layers import GROUP, probability_name
from napari_dipmtv._napari.turns import Pieces
from napari_dipmtv._napari.view_angle import look_flat
from napari_dipmtv.errors import InputError, WriteError, expected
from napari_dipmtv.io.project import PROJECT_SUFFIX
from napari_dipmtv.settings.tomo import METHODS
from napari_dipmtv.settings.trust import TrustSettings
from napari_dipmtv.states import Result, State

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from napari_dipmtv._napari.session import Reconstruction, Stage
    from napari_dipmtv.trust.parts import Study

SAVE_EVERY_S = 15.0


@dataclass(frozen=True, slots=True, eq=False)
class Finding:
    """A study that has ended: what it found, with which settings, how long it took, and whether it was cut short."""

    study: Study
    settings: TrustSettings
    seconds: float
    stopped: bool


@dataclass(slots=True, eq=False)
class Trail:
    """How far a study has come. The run writes it step by step, the window reads it when it likes.

    Attributes
    ----------
    asked : tuple
        Series, reconstruction, settings and segmentation of the question; another question has another trail.
    study : Study or None
        What has been found so far.
    checkpoint : callable or None
        Gives what is needed to go on from here.
    problem : str
        Why that could not be written to disk.
    """

    asked: tuple[Any, ...] = ()
    study: Study | None = None
    checkpoint: Callable[[], dict[str, Any]] | None = None
    problem: str = ""


class Trusting(Loading):
    """The verbs of the trust step."""

    def __init__(self, viewer: ViewerModel) -> None:
        super().__init__(viewer)
        self.trail = Trail()
        self.job.stopped.connect(self._on_trust_cancelled)

    def ask_trust(self, settings: TrustSettings) -> None:
        """Put the question to the current volume, or go on with it where the same question was stopped.

        Raises
        ------
        InputError
            For a volume of an earlier alignment, and before the phases are segmented.
        """
        asked = self._question(settings)
        before = self.trail.checkpoint if self.can_go_on(settings) else None
        trail = Trail(asked, self.trail.study if before else None, before)
        folder = self.trust_folder

        def keep(result: Result[Study]) -> None:
            self.session.put("trust", Finding(result.value, settings, result.seconds, result.stopped))

        states = lambda: _followed(trail, before, folder)  # noqa: E731
        self._run("trust", "trust", states, keep, settings, keeps=True)
        if self.job.running and self.job.name == "trust":
            self.trail = trail

    def can_go_on(self, settings: TrustSettings) -> bool:
        """Tell whether this very question has been stopped half-way."""
        finding = self.session.value("trust") if self.session.has("trust") else None
        finished = finding is not None and not finding.stopped
        return (
            not finished
            and self.trail.checkpoint is not None
            and self.trail.asked == self._question(settings)
        )

    def show_probability(self, phase: str) -> None:
        """Show how likely every voxel belongs to a phase, as a slice through the feature that was tested."""
        self.layers.take("look", self._looking_up(self.session.value("trust").study, phase))

    def _looking_up(self, study: Study, phase: str) -> Pieces:
        yield from self.layers.looking(GROUP)
        for name, layer in self.layers.alive(GROUP).items():
            layer.visible = name == probability_name(phase)
            yield
        viewer = self.layers.viewer
        yield from look_flat(viewer, "xz")
        centre_px = getattr(study.feature, "centre_px", None)  # only a void has a place
        if centre_px is not None:
            middle_px = (study.volume.data.shape[2] - 1) / 2
            across_nm = (float(centre_px[1]) - middle_px) * study.volume.voxel_nm
            viewer.dims.set_point(viewer.dims.ndim - 2, across_nm)

    def save_trust(self, folder: Path) -> None:
        """Write numbers, words and pictures of the study into a folder."""
        found: Finding = self.session.value("trust")
        inputs = self.session.inputs

        def write() -> list[Path]:
            from napari_dipmtv.trust.saving import facts_of, save_study

            facts = facts_of(found.study, found.settings, inputs, found.seconds, stopped=found.stopped)
            return save_study(found.study, facts, folder)

        self._run("trust report", None, lambda: once("Writing", write), lambda r: self.exported.emit(r.value))

    @property
    def trust_folder(self) -> Path | None:
        """Where a study of a saved project keeps its progress, so that it goes on after a restart; None without."""
        if self.project_path is None:
            return None
        return self.project_path.with_name(f"{self.project_path.name.removesuffix(PROJECT_SUFFIX)}_trust")

    def _question(self, settings: TrustSettings) -> tuple[Any, ...]:
        made: Reconstruction = self.session.value("volume")
        self.session.value("segmentation")  # raises where it is missing
        if made.method not in METHODS:
            advice = "Reconstruct the maps alone as well, and ask for that volume"
            raise InputError(expected("volume", f"one by {', '.join(METHODS)}", made.title, advice))
        if not self.session.is_current(made):
            got = f"{made.title} of an earlier alignment"
            raise InputError(expected("volume", "one of the present maps", got, "Reconstruct again"))
        return self.session.value("tilt_series"), made, settings, self._settings.get("segment")

    def _on_trust_cancelled(self, _: int, result: object) -> None:
        if result is None and self.job.name == "trust":
            self._forget_trail()
            if self.trust_folder is not None:
                from napari_dipmtv.trust.progress import PROGRESS

                (self.trust_folder / PROGRESS).unlink(missing_ok=True)

    def _on_changed(self, stage: Stage) -> None:
        if stage == "volume":
            self._forget_trail()  # it holds the arrays of what is gone
        super()._on_changed(stage)

    def _forget_trail(self) -> None:
        self.trail = Trail()


def _followed(
    trail: Trail, before: Callable[[], dict[str, Any]] | None, folder: Path | None
) -> Iterator[State[Study]]:
    """The states of a study, in the worker thread; they leave the trail, and now and then a file to go on from."""
    from napari_dipmtv.trust.progress import PROGRESS
    from napari_dipmtv.trust.study import study

    series, made, settings, segmentation = trail.asked
    device = preferences().device
    own = made.settings.get("reconstruct", METHODS[made.method]())
    resume = before() if before is not None else _left(trail, own, device, folder)
    states = study(
        series,
        settings,
        made.method,
        own,
        volume=made.volume,
        segmentation=segmentation,
        device=device,
        resume=resume,
    )
    saved_at, done = time.monotonic(), False
    try:
        for state in states:
            trail.study = state.snapshot()
            if state.checkpoint is not None:
                trail.checkpoint = state.checkpoint
            yield state
            if time.monotonic() - saved_at > SAVE_EVERY_S:
                _save(trail, folder)
                saved_at = time.monotonic()
        done = True
    finally:
        states.close()  # type: ignore[attr-defined]
        if not done:
            _save(trail, folder)
        elif folder is not None:
            (folder / PROGRESS).unlink(missing_ok=True)


def _save(trail: Trail, folder: Path | None) -> None:
    """Keep the progress on disk; a full disk must not end hours of work, so it is told beside the result."""
    from napari_dipmtv.io.atomic import output_folder
    from napari_dipmtv.trust.progress import save_progress

    if folder is None or trail.checkpoint is None:
        return
    try:
        save_progress(trail.checkpoint(), output_folder(folder))
        trail.problem = ""
    except WriteError as error:
        trail.problem = f"The progress is not on disk: {error}"


def _left(trail: Trail, own: Any, device: str, folder: Path | None) -> Mapping[str, Any] | None:
    """What an earlier window left of this question on disk; None for nothing, or for another question."""
    from napari_dipmtv.trust.progress import load_progress
    from napari_dipmtv.trust.repeats import Maker
    from napari_dipmtv.trust.study import fingerprint

    left = None if folder is None else load_progress(folder)
    if left is None:
        return None
    series, made, settings, segmentation = trail.asked
    maker = Maker(*settings.of_repeats(made.method, own), device)
    mark = fingerprint(series, settings, maker, made.volume, segmentation, None)
    return left if str(left["fingerprint"]) == mark else None
