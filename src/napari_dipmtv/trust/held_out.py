"""A series to how well each of its views is predicted by all the others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from napari_dipmtv.data import F64, TiltSeries
from napari_dipmtv.errors import InputError, expected
from napari_dipmtv.states import State
from napari_dipmtv.trust.repeats import Arrays, Maker, Repeats, here, within
from napari_dipmtv.trust.resample import noise_variance, projections
from napari_dipmtv.trust.result import HeldOut

FEWEST_VIEWS = 4  # a reconstruction wants three


def held_out(
    series: TiltSeries,
    maker: Maker,
    *,
    resume: Mapping[str, Any] | None = None,
    done_by: Repeats = here,
) -> Iterator[State[HeldOut]]:
    """Leave each view out once, reconstruct from the others, and predict it.

    An error near the noise says that the method invents nothing that a further view would contradict; the views at the
    ends of the tilt range are predicted beyond it, and worse.

    Parameters
    ----------
    series : TiltSeries
    maker : Maker
    resume : mapping, optional
        A checkpoint of an earlier run.
    done_by : Repeats
        How the reconstructions are done.

    Raises
    ------
    InputError
        For fewer than four views.
    """
    views = len(series.tilts_deg)
    if views < FEWEST_VIEWS:
        raise InputError(
            expected("held-out views", f"at least {FEWEST_VIEWS} views", views, "Leave this part out")
        )
    noise = _noise(series)
    errors: list[float] = [] if resume is None else list(resume["errors"])

    def state(stage: str) -> State[HeldOut]:
        known = np.array(errors)
        n = len(known)
        losses = {"error": float(known.mean())} if n else {}

        def snapshot() -> HeldOut:
            return HeldOut(maker.method, series.tilts_deg[:n], known, noise[:n])

        return State(n, views, losses, snapshot, lambda: {"errors": known}, f"held out, {stage}")

    yield state("leaving views out")
    for found in done_by(_left_out, (series, maker), range(len(errors), views)):
        if isinstance(found, str):
            yield state(found)
        else:
            errors.append(float(found[0]))
            yield state(f"view {len(errors)} of {views}")


def _left_out(job: tuple[TiltSeries, Maker], t: int) -> Iterator[str | Arrays]:
    """The error of one view, predicted from all the others."""
    series, maker = job
    for step in within(maker.states(without_view(series, t), t), str):
        if isinstance(step, str):
            yield step
        else:
            yield (np.array(_error(series, projections(step[0], series), t)),)


def without_view(series: TiltSeries, t: int) -> TiltSeries:
    """The series without one view."""
    return series.only(np.arange(len(series.tilts_deg)) != t).replace(alignment=None)


def _error(series: TiltSeries, predicted: F64, t: int) -> float:
    good = np.ones(series.data.shape[2:], bool) if series.valid is None else series.valid[t]
    measured = series.data[:, t][:, good]
    size = float(np.linalg.norm(measured))
    return float(np.linalg.norm(predicted[:, t][:, good] - measured)) / size if size > 0 else float("nan")


def _noise(series: TiltSeries) -> F64:
    variance = noise_variance(series)
    if variance is None:
        return np.full(len(series.tilts_deg), np.nan)
    good = np.ones(series.data.shape[1:], bool) if series.valid is None else series.valid
    power = (series.data.astype(np.float64) ** 2 * good).sum(axis=(0, 2, 3))
    noise: F64 = np.sqrt((variance * good).sum(axis=(0, 2, 3)) / np.maximum(power, 1e-30))
    return noise
