"""A feature to how often it appears where there is none, and how often one of known size is found where it was put.

The particle without the feature is the one that the data like best: phases of uniform density whose boundaries and
densities are fitted to the projections (`napari_dipmtv.trust.refine`). A reconstruction with the feature filled in
would not do: it has been through the method already, and a second pass makes fewer pits in it than the first made. That
particle is not known exactly either: every repeat deforms it a little.

Every repeat goes the whole way: the particle with or without the feature is projected with the geometry of the data,
given the noise of the data, and reconstructed with one method. What the repeats cannot show is an error of the data
that is no noise: references that are not pure, a wrong alignment, diffraction contrast.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from typing import Any

import numpy as np

from napari_dipmtv.data import F32, F64, TiltSeries, Volume
from napari_dipmtv.errors import InputError, expected
from napari_dipmtv.inspect import segment
from napari_dipmtv.settings.inspect import SegmentSettings
from napari_dipmtv.states import State
from napari_dipmtv.trust.feature import Feature
from napari_dipmtv.trust.logistic import detection_curve
from napari_dipmtv.trust.repeats import Arrays, Maker, Repeats, here, within
from napari_dipmtv.trust.resample import generator, measured_again, projections
from napari_dipmtv.trust.result import SEEN, Detection, NullTest, p_value

FEWEST = 19  # repeats that can show p = 0.05
TARGET = 0.9  # the smallest void that the data support is found this often
_NULL, _PLANTED = 1, 2  # places in the random numbers of a study


def null_test(
    series: TiltSeries,
    feature: Feature,
    observed: Volume,
    maker: Maker,
    *,
    repeats: int = 99,
    sizes_nm: Sequence[float] = (),
    segmentation: SegmentSettings | None = None,
    seed: int = 0,
    resume: Mapping[str, Any] | None = None,
    done_by: Repeats = here,
) -> Iterator[State[NullTest]]:
    """Take the feature out, measure that volume again and again, and see how strong it looks by itself.

    Parameters
    ----------
    series : TiltSeries
        The data.
    feature : Feature
        Of a volume of these data.
    observed : Volume
        The data reconstructed by ``maker``: its strength is what the repeats are compared with.
    maker : Maker
        Reconstructs the repeats.
    repeats : int
    sizes_nm : sequence of float
        Further sizes whose strength is kept for `detection` (in the checkpoint).
    segmentation : SegmentSettings, optional
    seed : int
        Each repeat draws its own random numbers from it; a resumed study repeats none and changes none.
    resume : mapping, optional
        A checkpoint of an earlier run on the same data and settings.
    done_by : Repeats
        How the repeats are done.

    Yields
    ------
    State of NullTest
        One per repeat, and one per step of the reconstruction inside it. The checkpoint holds "strengths"
        (repeats, sizes, 2) and "segmented" (repeats,).
    """
    sizes = (feature.size_nm, *sizes_nm)
    feature = feature.explained(series)
    residual = (series.data - projections(feature.volume, series)).astype(np.float32)
    strength = feature.strength(observed, feature.size_nm)[0]
    rows = _Rows(resume, len(sizes))

    def state(stage: str) -> State[NullTest]:
        now = copy(rows)  # a state stays what it was, whoever looks at it later

        def snapshot() -> NullTest:
            return _null(feature, strength, maker, now)

        losses = {"p": p_value(strength, rows.strengths[:, 0, 1])}
        return State(rows.count, repeats, losses, snapshot, now.saved, f"null test, {stage}")

    yield state("taking the feature out")
    job = _Job(series, feature, residual, maker, sizes, segmentation, seed)
    for found in done_by(_without, job, range(rows.count, repeats)):
        if isinstance(found, str):
            yield state(found)
        else:
            rows.add(found[0], float(found[1]))
            yield state(f"repeat {rows.count} of {repeats}")


def detection(
    series: TiltSeries,
    feature: Feature,
    null: Mapping[str, Any],
    maker: Maker,
    sizes_nm: Sequence[float],
    *,
    repeats: int = 10,
    segmentation: SegmentSettings | None = None,
    seed: int = 0,
    resume: Mapping[str, Any] | None = None,
    done_by: Repeats = here,
) -> Iterator[State[Detection]]:
    """Plant the feature in known sizes and see how often it is found.

    Found means: stronger than all but 5 % of the null repeats were anywhere, ``p <= 0.05``. "segmented" counts the
    repeats in which the segmentation shows the feature in its place.

    Parameters
    ----------
    series, feature, maker, segmentation, seed, resume, done_by
        As in `null_test`.
    null : mapping
        The last checkpoint of `null_test` with the same ``sizes_nm``.
    sizes_nm : sequence of float
    repeats : int
        Per size. The sizes take turns, so that an early end leaves a coarse curve of all of them.

    Raises
    ------
    InputError
        For fewer than 19 null repeats, which cannot show p = 0.05, or other sizes.
    """
    levels = np.asarray(null["strengths"])[:, 1:, 1]  # (repeats, sizes)
    if levels.shape[0] < FEWEST or levels.shape[1] != len(sizes_nm):
        wanted = f"{FEWEST} repeats or more, with {len(sizes_nm)} sizes"
        raise InputError(expected("null test", wanted, levels.shape, "Run the null test to its end first"))
    feature = feature.explained(series)
    residual = (series.data - projections(feature.volume, series)).astype(np.float32)
    rows = _Rows(resume, 1)
    total = repeats * len(sizes_nm)

    def state(stage: str) -> State[Detection]:
        now = copy(rows)

        def snapshot() -> Detection:
            return _detection(feature, sizes_nm, now, maker)

        return State(rows.count, total, {}, snapshot, now.saved, f"detection, {stage}")

    yield state("putting the feature in")
    job = _Job(series, feature, residual, maker, tuple(sizes_nm), segmentation, seed)
    for found in done_by(_with, job, range(rows.count, total)):
        if isinstance(found, str):
            yield state(found)
        else:
            there = float(found[0])
            seen = p_value(there, levels[:, rows.count % len(sizes_nm)]) <= SEEN
            rows.add([(there, float(seen))], float(found[1]))
            yield state(f"repeat {rows.count} of {total}")


@dataclass(frozen=True, slots=True, eq=False)
class _Job:
    """What all repeats share; the feature is `Feature.explained`."""

    series: TiltSeries
    feature: Feature
    residual: F32
    maker: Maker
    sizes_nm: tuple[float, ...]
    segmentation: SegmentSettings | None
    seed: int


def _without(job: _Job, number: int) -> Iterator[str | Arrays]:
    """A repeat without the feature: its strengths (sizes, 2) times its `smoother`, and the largest size segmented."""
    random = generator(job.seed, _NULL, number)
    clean = projections(job.feature.drawn(random).absent, job.series)
    drawn = measured_again(clean, job.series, random, job.residual)
    for step in within(job.maker.states(drawn, number), str):
        if isinstance(step, str):
            yield step
        else:
            found = [
                job.feature.smoother * np.array(job.feature.strength(step[0], size)) for size in job.sizes_nm
            ]
            shown = job.feature.segmented(segment(step[0], job.segmentation))[1]
            yield np.array(found), np.array(shown)


def _with(job: _Job, number: int) -> Iterator[str | Arrays]:
    """A repeat with the feature, the sizes in turns: strength, and the size segmented in its place."""
    size = job.sizes_nm[number % len(job.sizes_nm)]
    random = generator(job.seed, _PLANTED, number)
    clean = projections(job.feature.drawn(random).planted(size), job.series)
    drawn = measured_again(clean, job.series, random, job.residual)
    for step in within(job.maker.states(drawn, number), str):
        if isinstance(step, str):
            yield step
        else:
            shown = job.feature.segmented(segment(step[0], job.segmentation))[0]
            yield np.array(job.feature.strength(step[0], size)[0]), np.array(shown)


class _Rows:
    """What every repeat gave so far: strengths (repeats, sizes, 2) and segmented sizes (repeats,); never changed in
    place, so that a shallow copy stays what it was."""

    def __init__(self, resume: Mapping[str, Any] | None, sizes: int) -> None:
        self.strengths: F64 = np.zeros((0, sizes, 2))
        self.sizes: F64 = np.zeros(0)
        if resume is not None:
            self.strengths, self.sizes = np.asarray(resume["strengths"]), np.asarray(resume["segmented"])
            if self.strengths.shape[1:] != (sizes, 2) or len(self.strengths) != len(self.sizes):
                got = self.strengths.shape
                raise InputError(expected("checkpoint", f"{sizes} sizes", got, "Start this part again"))

    @property
    def count(self) -> int:
        return len(self.sizes)

    def add(self, strengths: F64 | Sequence[tuple[float, float]], size_nm: float) -> None:
        self.strengths = np.concatenate([self.strengths, np.array(strengths)[None]])
        self.sizes = np.append(self.sizes, size_nm)

    def saved(self) -> dict[str, Any]:
        return {"strengths": self.strengths, "segmented": self.sizes}


def _null(feature: Feature, observed: float, maker: Maker, rows: _Rows) -> NullTest:
    return NullTest(
        feature=feature.name,
        size_nm=feature.size_nm,
        observed=observed,
        unit=feature.unit,
        there=rows.strengths[:, 0, 0],
        anywhere=rows.strengths[:, 0, 1],
        segmented=int((rows.sizes >= feature.size_nm).sum()),
        method=maker.words,
        misfit=feature.misfit,
    )


def _detection(feature: Feature, sizes_nm: Sequence[float], rows: _Rows, maker: Maker) -> Detection:
    which = np.arange(rows.count) % len(sizes_nm)
    found, shown = rows.strengths[:, 0, 1], (rows.sizes > 0).astype(float)
    counts = [
        np.asarray(np.bincount(which, w, len(sizes_nm)), np.float64)
        for w in (np.ones(rows.count), found, shown)
    ]
    sizes = np.array(sizes_nm, float)
    smallest, low, high, at, curve = detection_curve(sizes, counts[0], counts[1], TARGET)
    return Detection(
        feature=feature.name,
        sizes_nm=sizes,
        tried=counts[0],
        found=counts[1],
        segmented=counts[2],
        smallest_nm=smallest,
        low_nm=low,
        high_nm=high,
        curve_size_nm=at,
        curve=curve,
        method=maker.words,
    )
