"""A volume and its data to the likelihood of a void: the evidence in the data, what chance gives, what would be found.

The particle without its void, as the data like it best (`napari_dipmtv.trust.refine`), is measured again thousands of
times; each measurement is asked, like the data, which enclosed ball it most wants empty (`napari_dipmtv.trust.scan`).
No reconstruction is needed for that. But that particle stands for the truth there, while the data meet one that was
fitted to them: so a few of these measurements are also reconstructed, segmented, fitted and tested like the data.
Phases of uniform density have no grey voids: one that the reconstruction shows half empty, and no threshold finds,
keeps all of its evidence.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from napari_dipmtv.data import F64, TiltSeries, Volume
from napari_dipmtv.errors import InputError, expected
from napari_dipmtv.inspect import segment
from napari_dipmtv.inspect.matter import VOID
from napari_dipmtv.settings.inspect import SegmentSettings
from napari_dipmtv.states import State
from napari_dipmtv.trust.logistic import detection_curve
from napari_dipmtv.trust.repeats import Arrays, Maker, Repeats, here, within
from napari_dipmtv.trust.resample import generator, measured_again
from napari_dipmtv.trust.result import LEAST_NATS, SEEN, CavityTest, refit_level
from napari_dipmtv.trust.scan import CLEAR_PX, CavityScan
from napari_dipmtv.trust.void import find_void

TARGET = 0.9  # the smallest void that the data support is found this often
BATCH = 25  # measurements at once, between two states
DIAMETERS_PX = (2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0)  # of the planted balls
_NULL, _PLANTED, _REFIT = 6, 7, 8  # places in the random numbers of a study


def cavity_test(
    series: TiltSeries,
    volume: Volume,
    maker: Maker,
    *,
    repeats: int = 1000,
    planted: int = 50,
    refits: int = 9,
    segmentation: SegmentSettings | None = None,
    seed: int = 0,
    resume: Mapping[str, Any] | None = None,
    done_by: Repeats = here,
) -> Iterator[State[CavityTest]]:
    """Weigh the most likely cavity of the data against chance.

    Parameters
    ----------
    series : TiltSeries
        With counts or a covariance.
    volume : Volume
        The data reconstructed by ``maker``. Its phases, the largest segmented void filled, are fitted to the data.
    maker : Maker
        Reconstructs the refits.
    repeats : int
        Measurements of the particle without its void.
    planted : int
        Balls per size, each at another enclosed place, whose evidence is asked for. All take part in one curve.
    refits : int
        Measurements that are reconstructed and fitted like the data; 0 leaves them out.
    segmentation : SegmentSettings, optional
    seed : int
    resume : mapping, optional
        A checkpoint of an earlier run on the same data and settings: the refits.
    done_by : Repeats
        How the refits are done.

    Yields
    ------
    State of CavityTest
        Between batches, and between the steps of the refits.

    Raises
    ------
    InputError
        For maps without statistics, or a particle too thin to enclose a ball.
    """
    filled, centre = without_void(series, volume, segmentation)
    scan = CavityScan(filled, series)
    best = scan.best(series.data)
    apart = np.nan if centre is None else float(np.linalg.norm(centre - np.array(best.centre_px)))
    null: list[float] = []
    found: list[F64] = []
    again = [] if resume is None else [float(e) for e in np.atleast_1d(resume["refitted"])]
    sizes = _sizes(scan)

    def state(stage: str) -> State[CavityTest]:
        n, f, r = np.array(null), np.array(found).reshape(-1, len(sizes)), np.array(again)

        def snapshot() -> CavityTest:
            return _result(
                best.evidence, 2 * best.radius_px, apart, volume.voxel_nm, n, r, f, sizes, maker.words
            )

        return State(len(r), refits, {}, snapshot, lambda: {"refitted": r}, f"likelihood, {stage}")

    clean = scan.unflat(scan.mean)
    while len(null) < repeats:
        random = generator(seed, _NULL, len(null))
        count = min(BATCH, repeats - len(null))
        drawn = np.stack([measured_again(clean, series, random, series.data).data for _ in range(count)])
        null += scan.evidence(drawn).max(axis=0).tolist()
        yield state(f"repeat {len(null)} of {repeats}")
    for i in range(planted):
        found.append(_planted(scan, sizes, generator(seed, _PLANTED, i)))
        yield state(f"planted {i + 1} of {planted}")
    job = _Job(series, clean, maker, segmentation, seed)
    for found_again in done_by(_refit, job, range(len(again), refits)):
        if isinstance(found_again, str):
            yield state(found_again)
        else:
            again.append(float(found_again[0]))
            yield state(f"refit {len(again)} of {refits}")


@dataclass(frozen=True, slots=True, eq=False)
class _Job:
    """What all refits share; ``clean`` are the projections of the particle without its void."""

    series: TiltSeries
    clean: F64
    maker: Maker
    segmentation: SegmentSettings | None
    seed: int


def _refit(job: _Job, number: int) -> Iterator[str | Arrays]:
    """A measurement without the void, gone through like the data: its evidence."""
    drawn = measured_again(job.clean, job.series, generator(job.seed, _REFIT, number), job.series.data)
    for step in within(job.maker.states(drawn, number), str):
        if isinstance(step, str):
            yield step
        else:
            other, _ = without_void(drawn, step[0], job.segmentation)
            yield (np.array(CavityScan(other, drawn).best(drawn.data).evidence),)


def without_void(
    series: TiltSeries, volume: Volume, segmentation: SegmentSettings | None
) -> tuple[Volume, F64 | None]:
    """The best particle without the largest segmented void, and the centre (z, y, x) of that or None."""
    phases = segment(volume, segmentation)
    feature, _ = find_void(volume, phases)
    centre = feature.centre_px if phases.mask(VOID).any() else None
    return feature.explained(series, grain=False).absent, centre


def _sizes(scan: CavityScan) -> F64:
    """Diameters (voxels) of the planted balls that the particle can enclose."""
    widest = 2 * (float(scan.depth.max()) - CLEAR_PX - 0.5)
    sizes = np.array([size for size in DIAMETERS_PX if size <= widest])
    if len(sizes) < 2:
        wanted = f"room for a ball of {DIAMETERS_PX[1]:g} voxels"
        thick = 2 * (DIAMETERS_PX[1] / 2 + CLEAR_PX + 0.5)
        advice = (
            f"A void is looked for in particles more than {thick:.0f} voxels thick: bin the maps less, so that a voxel "
            'is smaller; or ask about the skin alone ("--feature skin")'
        )
        nothing = "none" if widest <= 0 else f"for one of {widest:.2g}"
        raise InputError(expected("particle", wanted, nothing, advice))
    return sizes


def _planted(scan: CavityScan, sizes_px: F64, random: np.random.Generator) -> F64:
    """Most evidence (sizes,) anywhere when one ball of each size is emptied at a random enclosed place."""
    expected_data = []
    for size in sizes_px:
        places = np.argwhere(scan.depth > size / 2 + CLEAR_PX)
        centre = places[random.integers(len(places))] + random.uniform(-0.5, 0.5, 3)
        expected_data.append(scan.mean - scan.drops(centre[None], size / 2).toarray()[0])
    series = scan.series
    drawn = [measured_again(scan.unflat(one), series, random, series.data).data for one in expected_data]
    return np.asarray(scan.evidence(np.stack(drawn)).max(axis=0))


def _result(
    evidence: float,
    size_px: float,
    apart_px: float,
    voxel_nm: float,
    null: F64,
    refitted: F64,
    planted: F64,
    sizes_px: F64,
    words: str,
) -> CavityTest:
    level = (
        float(max(LEAST_NATS, refit_level(refitted), np.quantile(null, 1 - SEEN)))
        if len(null)
        else float("inf")
    )
    tried = np.full(len(sizes_px), float(len(planted)))
    seen = (planted > level).sum(axis=0).astype(np.float64)
    sizes = sizes_px * voxel_nm
    smallest, low, high, *_ = detection_curve(sizes, tried, seen, TARGET)
    return CavityTest(
        evidence=evidence,
        size_nm=size_px * voxel_nm,
        apart_nm=apart_px * voxel_nm,
        null=null,
        refitted=refitted,
        method=words,
        level=level,
        sizes_nm=sizes,
        tried=tried,
        found=seen,
        smallest_nm=smallest,
        low_nm=low,
        high_nm=high,
    )
