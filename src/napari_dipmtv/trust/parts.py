"""The parts of a trust study one after the other, the study that grows from them, and what is needed to go on later."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np

from napari_dipmtv.data import TiltSeries, Volume
from napari_dipmtv.inspect import segment
from napari_dipmtv.settings.inspect import SegmentSettings
from napari_dipmtv.settings.tomo import METHODS, Method
from napari_dipmtv.settings.trust import TrustSettings
from napari_dipmtv.states import State
from napari_dipmtv.trust.cavity_test import cavity_test
from napari_dipmtv.trust.compare import Comparison, compare
from napari_dipmtv.trust.coverage import coverage
from napari_dipmtv.trust.ensemble import Ensemble, ensemble
from napari_dipmtv.trust.feature import Feature
from napari_dipmtv.trust.filling import matter_of
from napari_dipmtv.trust.halves import resolution
from napari_dipmtv.trust.held_out import held_out
from napari_dipmtv.trust.null_test import detection, null_test
from napari_dipmtv.trust.repeats import Maker, Repeats, here, within
from napari_dipmtv.trust.resample import noise_kind
from napari_dipmtv.trust.result import TrustReport
from napari_dipmtv.trust.skin import find_skin
from napari_dipmtv.trust.void import find_void

COMPARED: tuple[Method, ...] = ("sirt", "cs-tv", "dip-tv", "dipm-tv")
FINEST_PX = 1.5  # smallest planted void
LARGEST_PX = 8.0  # the largest is at least this


@dataclass(frozen=True, slots=True, eq=False)
class Study:
    """What a study gives: the report, and the volumes behind its pictures.

    Attributes
    ----------
    report : TrustReport
    volume : Volume
        Under test: its feature was tested.
    observed : Volume
        The same data by the method of the repeats.
    feature : Feature or None
        None where the test was not reached.
    ensemble : Ensemble or None
    comparison : Comparison or None
    """

    report: TrustReport
    volume: Volume
    observed: Volume
    feature: Feature | None = None
    ensemble: Ensemble | None = None
    comparison: Comparison | None = None


@dataclass(eq=False)
class Work:
    """The parts of a study on their way, the report that grows, and what is needed to go on later."""

    series: TiltSeries
    settings: TrustSettings
    segmentation: SegmentSettings | None
    maker: Maker
    whole: Maker
    saved: dict[str, dict[str, Any]]
    mark: str
    doing: Repeats = here
    done: int = 0
    now: Study | None = None
    notes: list[str] = field(default_factory=list)

    @property
    def total(self) -> int:
        """Reconstructions, about; the parts count in these."""
        s = self.settings
        views = len(self.series.tilts_deg) if s.held_out else 0
        return (
            1
            + 2
            + s.refits * (s.feature == "void")
            + views
            + s.repeats
            + s.planted_sizes * s.planted_repeats
            + s.members
            + len(COMPARED) * s.compare
        )

    def done_by(self, part: str) -> Repeats:
        """How the repeats of a part are done, under a name that no other study has."""
        return partial(self.doing, name=f"{self.mark[:16]}-{part}")

    def state(self, stage: str, iteration: int) -> State[Study]:
        """Where the study stands; everything so far in the checkpoint."""
        now = self.now
        assert now is not None  # the first reconstruction gives a study before it reports
        saved = {part: dict(rows) for part, rows in self.saved.items()}

        def checkpoint() -> dict[str, Any]:
            flat = {f"{part}/{name}": value for part, rows in saved.items() for name, value in rows.items()}
            return {"fingerprint": np.array(self.mark), **flat}

        return State(min(iteration, self.total), self.total, {}, lambda: now, checkpoint, stage)

    def part(
        self, name: str, states: Iterator[State[Any]], put: Callable[[Any], Study], count: int
    ) -> Iterator[State[Study]]:
        """Run one part: keep its checkpoints, put its last result into the study."""
        kept = -1
        for last in states:
            if last.iteration != kept:  # once per reconstruction, not per step
                kept, self.now = last.iteration, put(last.snapshot())
                if last.checkpoint is not None:
                    self.saved[name] = last.checkpoint()
            yield self.state(last.stage, self.done + last.iteration)
        self.now = put(last.snapshot())
        self.done += count

    def reconstruct(self, volume: Volume | None) -> Iterator[State[Study]]:
        """The data by the method of the repeats; it is also the volume under test where none is given."""
        kept = self.saved.get("volume")
        shape = self.series.data.shape
        nothing = Volume(
            np.zeros((shape[0], shape[3], *shape[2:])), self.series.channels, self.series.pixel_nm
        )
        blank = self._report()
        observed = nothing if kept is None else nothing.replace(data=kept["data"])
        if kept is None:
            start = Study(blank, nothing, nothing)

            def waiting(stage: str) -> State[Study]:
                return State(0, self.total, {}, lambda: start, None, f"reconstructing, {stage}")

            for step in within(self.maker.states(self.series), waiting):
                if isinstance(step, State):
                    yield step
                else:
                    observed = step[0]
            self.saved["volume"] = {"data": observed.data}
        if volume is None:
            self.notes.append(f"The volume under test was made by {self.maker.words}, like the repeats.")
        under_test = observed if volume is None else volume
        extent = _extent_nm(under_test)
        self.now = Study(
            replace(
                blank,
                method=self.maker.words if volume is None else self.whole.words,
                coverage=coverage(self.series.tilts_deg, extent, self.series.pixel_nm),
            ),
            under_test,
            observed,
        )
        self.done += 1
        yield self.state("reconstructed", self.done)

    def resolution(self, given: tuple[TiltSeries, TiltSeries] | None) -> Iterator[State[Study]]:
        """Two halves, edges, spectrum."""
        s = self.settings
        states = resolution(
            self.series,
            self.study.observed,
            self.maker,
            given=given,
            cone_deg=s.cone_deg,
            masked=s.masked,
            seed=s.seed,
            resume=self.saved.get("resolution"),
        )
        yield from self.part("resolution", states, lambda found: self._with(resolution=found), 2)

    def cavity(self) -> Iterator[State[Study]]:
        """The evidence for a void, by likelihood; the volume under test may be a better one than the repeats make."""
        s, study = self.settings, self.study
        given = study.volume is not study.observed
        maker = self.maker
        if given:
            maker = Maker(*s.of_refits(self.whole.method, self.whole.settings), self.whole.device)
        states = cavity_test(
            self.series,
            study.volume,
            maker,
            repeats=s.likelihood_repeats,
            planted=s.likelihood_planted,
            refits=s.refits,
            segmentation=self.segmentation,
            seed=s.seed,
            resume=self.saved.get("cavity"),
            done_by=self.done_by("cavity"),
        )
        yield from self.part("cavity", states, lambda found: self._with(cavity=found), s.refits)

    def held_out(self) -> Iterator[State[Study]]:
        """Each view from the others."""
        done_by = self.done_by("held_out")
        states = held_out(self.series, self.maker, resume=self.saved.get("held_out"), done_by=done_by)
        yield from self.part(
            "held_out", states, lambda found: self._with(held_out=(found,)), len(self.series.tilts_deg)
        )

    def null_and_detection(self) -> Iterator[State[Study]]:
        """The feature taken out, and put back in several sizes."""
        s, study = self.settings, self.study
        phases = segment(study.volume, self.segmentation)
        feature: Feature
        if s.feature == "void":
            feature, note = find_void(study.volume, phases, s.probe_nm)
            self.notes.append(note)
        else:
            feature = find_skin(study.volume, phases)
        self.now = replace(self.study, feature=feature)
        sizes = planted_sizes(feature.size_nm, self.series.pixel_nm, s.planted_sizes, s.feature)
        states = null_test(
            self.series,
            feature,
            study.observed,
            self.maker,
            repeats=s.repeats,
            sizes_nm=sizes,
            segmentation=self.segmentation,
            seed=s.seed,
            resume=self.saved.get("null"),
            done_by=self.done_by("null"),
        )
        yield from self.part("null", states, lambda found: self._with(null=found), s.repeats)
        planted = detection(
            self.series,
            feature,
            self.saved["null"],
            self.maker,
            sizes,
            repeats=s.planted_repeats,
            segmentation=self.segmentation,
            seed=s.seed,
            resume=self.saved.get("detection"),
            done_by=self.done_by("detection"),
        )
        count = s.planted_repeats * s.planted_sizes
        yield from self.part("detection", planted, lambda found: self._with(detection=found), count)

    def ensemble(self) -> Iterator[State[Study]]:
        """Resampled data."""
        s = self.settings
        states = ensemble(
            self.series,
            self.study.observed,
            self.maker,
            members=s.members,
            resampling=s.resampling,
            segmentation=self.segmentation,
            seed=s.seed,
            resume=self.saved.get("ensemble"),
            done_by=self.done_by("ensemble"),
        )

        def put(found: Ensemble) -> Study:
            with_intervals = self._with(intervals=found.intervals, members=found.members)
            return replace(with_intervals, ensemble=found)

        yield from self.part("ensemble", states, put, s.members)

    def compare(self, truth: Volume | None) -> Iterator[State[Study]]:
        """All methods; starts anew after an interruption."""
        own = self.whole
        makers = [own if own.method == m else Maker(m, METHODS[m](), own.device) for m in COMPARED]
        states = compare(
            self.series, makers, truth=truth, segmentation=self.segmentation, seed=self.settings.seed
        )

        def put(found: Comparison) -> Study:
            return replace(self._with(methods=found.rows), comparison=found)

        yield from self.part("compare", states, put, len(makers))

    @property
    def study(self) -> Study:
        """The study so far."""
        assert self.now is not None
        return self.now

    def _with(self, **parts: Any) -> Study:
        report = replace(self.study.report, **parts, notes=tuple(self.notes))
        return replace(self.study, report=report)

    def _report(self) -> TrustReport:
        return TrustReport(
            channels=self.series.channels,
            voxel_nm=self.series.pixel_nm,
            tilts_deg=self.series.tilts_deg,
            method=self.whole.words,
            repeat_method=self.maker.words,
            noise=noise_kind(self.series),
        )


def planted_sizes(found_nm: float, voxel_nm: float, count: int, feature: str) -> tuple[float, ...]:
    """Sizes from one and a half voxels (half a voxel for a skin) up to beyond the found one, evenly spaced."""
    if feature == "skin":
        low, high = 0.5 * voxel_nm, max(1.5 * found_nm, 2.5 * voxel_nm)
    else:
        low, high = FINEST_PX * voxel_nm, max(1.5 * found_nm, LARGEST_PX * voxel_nm)
    return tuple(float(size) for size in np.linspace(low, high, count))


def _extent_nm(volume: Volume) -> float:
    """Diameter of the matter across the tilt axis (z, x), at least one voxel."""
    seen = matter_of(volume).any(axis=1)
    if not seen.any():
        return volume.voxel_nm * int(volume.data.shape[3])
    z, x = np.nonzero(seen)
    across_px: int = 1 + max(int(axis.max() - axis.min()) for axis in (z, x))
    return across_px * volume.voxel_nm
