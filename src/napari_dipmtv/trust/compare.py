"""One series to one table of methods: what each makes of it, and how well that holds."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from napari_dipmtv.data import TiltSeries, Volume
from napari_dipmtv.inspect import measure, score, segment
from napari_dipmtv.settings.inspect import SegmentSettings
from napari_dipmtv.states import State
from napari_dipmtv.trust.edges import edge_spread
from napari_dipmtv.trust.filling import matter_of
from napari_dipmtv.trust.fsc import fsc, soft_mask
from napari_dipmtv.trust.held_out import held_out
from napari_dipmtv.trust.repeats import Maker, within
from napari_dipmtv.trust.resample import generator, halves, noise_kind, projections
from napari_dipmtv.trust.result import MethodRow

QUICK = ("sirt", "cs-tv")  # one more reconstruction per view costs them seconds
_COMPARE = 5  # place in the random numbers of a study
NAN = float("nan")


@dataclass(frozen=True, slots=True, eq=False)
class Comparison:
    """The table, and the volumes by method for the picture."""

    rows: tuple[MethodRow, ...]
    volumes: Mapping[str, Volume]


def compare(
    series: TiltSeries,
    makers: Sequence[Maker],
    *,
    truth: Volume | None = None,
    held_out_of: Sequence[str] = QUICK,
    segmentation: SegmentSettings | None = None,
    seed: int = 0,
) -> Iterator[State[Comparison]]:
    """Reconstruct the same data by several methods: whole, two independent halves, and without each view.

    Parameters
    ----------
    series : TiltSeries
    makers : sequence of Maker
        Of different methods.
    truth : Volume, optional
        Where it is known: scores are added.
    held_out_of : sequence of str
        Methods whose views are predicted, one reconstruction per view.
    segmentation : SegmentSettings, optional
    seed : int

    Yields
    ------
    State of Comparison
        One per method, and one per step of each reconstruction.
    """
    rows: list[MethodRow] = []
    volumes: dict[str, Volume] = {}

    def state(stage: str) -> State[Comparison]:
        now = Comparison(tuple(rows), dict(volumes))
        return State(len(rows), len(makers), {}, lambda: now, None, f"comparing, {stage}")

    split = halves(series, generator(seed, _COMPARE)) if noise_kind(series) != "residual" else ()
    for maker in makers:
        start = time.monotonic()
        made: list[Volume] = []
        for part in (series, *split):
            for step in within(maker.states(part), state):
                if isinstance(step, State):
                    yield step
                else:
                    made.append(step[0])
            if len(made) == 1:
                seconds = time.monotonic() - start
        error = NAN
        if maker.method in held_out_of:
            for one in held_out(series, maker):
                yield state(one.stage)
            error = one.snapshot().mean_error
        volumes[maker.method] = made[0]
        rows.append(_row(maker, series, made, seconds, error, truth, segmentation))
        yield state(f"{len(rows)} of {len(makers)} methods")


def _row(
    maker: Maker,
    series: TiltSeries,
    made: Sequence[Volume],
    seconds: float,
    held_out_error: float,
    truth: Volume | None,
    segmentation: SegmentSettings | None,
) -> MethodRow:
    volume = made[0]
    phases = segment(volume, segmentation)
    measures = {m.name: m.value for m in measure(phases, volume)}
    skin = [v for name, v in measures.items() if name.endswith(" skin thickness")]
    edges = edge_spread(volume)
    scores = None if truth is None else score(volume, truth)
    return MethodRow(
        method=maker.method,
        seconds=seconds,
        residual=_residual(series, volume),
        held_out=held_out_error,
        fsc_nm=_fsc_nm(made),
        edge_nm=edges[0].width_nm if edges else NAN,
        void_nm3=measures.get("void volume", 0.0),
        skin_nm=skin[0] if skin else NAN,
        nrmse=NAN if scores is None else scores.nrmse,
        ssim=NAN if scores is None else scores.ssim,
    )


def _fsc_nm(made: Sequence[Volume]) -> float:
    """Where the sum of the channels, in all directions, falls below 0.143; NaN without halves."""
    if len(made) < 3:
        return NAN
    curves = fsc(made[1], made[2], mask=soft_mask(matter_of(made[0])))
    return next(c.resolution_nm["0.143"] for c in reversed(curves) if c.direction == "all")


def _residual(series: TiltSeries, volume: Volume) -> float:
    good = np.ones(series.data.shape[1:], bool) if series.valid is None else series.valid
    apart = (projections(volume, series) - series.data) * good
    return float(np.linalg.norm(apart) / max(float(np.linalg.norm(series.data * good)), 1e-30))
