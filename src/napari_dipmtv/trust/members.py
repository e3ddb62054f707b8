"""One series to resampled series, and what each reconstruction of them says: its measures, and where its phases are.

``planted``: the segmented volume is refined to a particle that explains the data (`napari_dipmtv.trust.refine`).
Particles like it, each deformed a little and with every phase known, are measured like the data, reconstructed,
segmented and refined. What is found in them lies beside what was planted: that is the error of the whole chain, bias
and all. With ``log X`` of the data and errors ``e = log X* - log T*`` of the members, the estimate is
``log X - mean e`` and its interval ``± t s sqrt(1 + 1/K)`` (basic bootstrap: B. Efron and R. J. Tibshirani, An
Introduction to the Bootstrap, 1993, section 13); places are taken as they are, not by their logarithm. Where the
data fit worse than those of the members do, the particle is not quite like these, and ``s`` grows by the root of the
ratio of the misfits.

``bootstrap``: the data themselves are resampled. Nothing depends on a model, but only the noise shows, and no bias.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, Protocol

import numpy as np

from napari_dipmtv.data import F32, F64, Segmentation, TiltSeries, Volume
from napari_dipmtv.inspect import measure, segment
from napari_dipmtv.inspect.matter import VACUUM
from napari_dipmtv.settings.inspect import SegmentSettings
from napari_dipmtv.trust.grain import grained
from napari_dipmtv.trust.refine import Refined, refine
from napari_dipmtv.trust.resample import bootstrap, measured_again, projections
from napari_dipmtv.trust.result import Interval

Resampling = Literal["planted", "bootstrap"]
MISFIT = "misfit"  # of each member, last in its row
FAILED = 1.5  # a misfit so many times the usual one: core and shell exchanged, and it would be seen in the data too
COUNTS = ("voids",)  # whole numbers have no interval like this; their probability per voxel says more


class Members(Protocol):
    """How the members of an ensemble are drawn and read."""

    names: tuple[str, ...]
    """Of the measures in a row."""
    phases: tuple[str, ...]
    """Of the shares, in their order."""

    def draw(self, random: np.random.Generator) -> TiltSeries:
        """Data of the next member."""
        ...

    def read(self, volume: Volume) -> tuple[F64, F32]:
        """Row of measures (n,) and shares of the phases (p, z, y, x) of the reconstructed member."""
        ...

    def intervals(self, rows: F64) -> Iterator[Interval]:
        """Of the measures, from the rows (k, n) of all members."""
        ...


def members_of(
    resampling: Resampling, series: TiltSeries, volume: Volume, settings: SegmentSettings | None
) -> Members:
    """Choose how members are drawn; raises `InputError` where the volume holds no matter."""
    if resampling == "planted":
        return PlantedMembers(series, volume, settings)
    return ResampledMembers(series, volume, settings)


class PlantedMembers:
    """Particles like the one under test, whose phases are known. See the module."""

    def __init__(self, series: TiltSeries, volume: Volume, settings: SegmentSettings | None) -> None:
        self.series, self.settings = series, settings
        found = segment(volume, settings)
        self.raw = {one.name: one.value for one in measure(found, volume)}
        self.base = grained(series, refine(series, found))
        self.estimates = {n: v for n, v in self.base.particle.measures().items() if n in self.raw}
        self.names = (*self.estimates, MISFIT)
        self.phases = tuple(dict.fromkeys(found.phases.values()))
        explained = projections(self.base.particle.volume, series)
        self._residual = (series.data - explained).astype(np.float32)
        self._last: tuple[Refined, TiltSeries] | None = None

    def draw(self, random: np.random.Generator) -> TiltSeries:
        """Deform the particle and measure it."""
        other = self.base.deformed(random)
        clean = projections(other.particle.volume, self.series)
        drawn = measured_again(clean, self.series, random, self._residual)
        self._last = other, drawn
        return drawn

    def read(self, volume: Volume) -> tuple[F64, F32]:
        """Errors (n,) of the measures, and where the phases of the data would be with this member's errors."""
        assert self._last is not None
        planted, drawn = self._last
        refined = refine(drawn, segment(volume, self.settings))
        truth, found = planted.particle.measures(), refined.particle.measures()
        row = [_error(name, found.get(name), truth.get(name)) for name in self.estimates] + [refined.misfit]
        shape = self.base.shape
        moved = shape.distances + shape.apart(planted.shape.distances, refined.shape)
        return np.array(row), self._everywhere(shape.shares(moved))

    def intervals(self, rows: F64) -> Iterator[Interval]:
        """From the errors; none where fewer than half of the members have the measure."""
        usual = float(np.median(rows[:, -1])) if len(rows) else 1.0
        worse = max(1.0, self.base.misfit / usual)
        sound = _like_the_data(rows, usual)
        for column, (name, (value, unit)) in enumerate(self.estimates.items()):
            errors = sound[:, column]
            errors = errors[np.isfinite(errors)]
            if len(errors) >= max(2, len(rows) / 2) and np.isfinite(value) and (value > 0 or _is_place(name)):
                yield _pivotal(name, unit, self.raw[name], value, errors, worse**0.5)

    def _everywhere(self, shares: F32) -> F32:
        """1 (p, z, y, x) for the phase that fills most of each voxel of the field, from the shares of the box."""
        shape = self.base.shape
        whole = np.zeros((len(self.phases), *shape.phases.labels.shape), np.float32)
        for name, share in zip(shape.names, shares, strict=True):
            whole[self.phases.index(name)][shape.box] += share
        whole[self.phases.index(VACUUM)] = 1 - whole.sum(axis=0)
        fullest: F32 = (np.arange(len(whole))[:, None, None, None] == whole.argmax(axis=0)).astype(np.float32)
        return fullest


class ResampledMembers:
    """The data with noise added to noise. See the module."""

    def __init__(self, series: TiltSeries, volume: Volume, settings: SegmentSettings | None) -> None:
        self.series, self.settings = series, settings
        found = segment(volume, settings)
        self.reference = {m.name: (m.value, m.unit) for m in measure(found, volume)}
        self.names = tuple(self.reference)
        self.phases = tuple(dict.fromkeys(found.phases.values()))

    def draw(self, random: np.random.Generator) -> TiltSeries:
        """Resample; raises `InputError` for maps without statistics."""
        return bootstrap(self.series, random)

    def read(self, volume: Volume) -> tuple[F64, F32]:
        """Measures of the reconstructed member, and its phases."""
        phases: Segmentation = segment(volume, self.settings)
        found = {m.name: m.value for m in measure(phases, volume)}
        row = np.array([found.get(name, np.nan) for name in self.names])
        return row, np.stack([phases.mask(name) for name in self.phases]).astype(np.float32)

    def intervals(self, rows: F64) -> Iterator[Interval]:
        """Of every measure that at least two members share."""
        for column, (name, (value, unit)) in enumerate(self.reference.items()):
            values = rows[:, column]
            values = values[np.isfinite(values)]
            if name not in COUNTS and len(values) >= 2 and np.isfinite(value):
                yield interval(name, unit, value, values)


def _like_the_data(rows: F64, usual: float) -> F64:
    """Rows (k, n) of members in which, as in the data, no phases were exchanged and none of the measures is missing.

    What most members lack is not asked for: a void that few of them show says little about those that do.
    """
    fitting = rows[rows[:, -1] <= FAILED * usual]
    there = np.isfinite(fitting)
    complete = fitting[there[:, there.mean(axis=0) > 0.5].all(axis=1)] if len(fitting) else fitting
    return complete if len(complete) >= max(2, len(rows) / 2) else fitting


def interval(name: str, unit: str, value: float, members: F64) -> Interval:
    """Basic bootstrap interval ``2 value - mean ± t s sqrt(1 + 1/k)`` from the values (k,) of at least two members."""
    best, std = 2 * value - float(members.mean()), float(members.std(ddof=1))
    lows, highs = _ends(best, std, len(members))
    return Interval(name, unit, value, best, std, lows[0], highs[0], lows[1], highs[1])


def _pivotal(name: str, unit: str, raw: float, value: float, errors: F64, wider: float) -> Interval:
    """Interval of a refined measure from the errors (k,) of at least two members, so many times as wide."""
    shift, std = float(errors.mean()), float(errors.std(ddof=1)) * wider
    if _is_place(name):
        lows, highs = _ends(value - shift, std, len(errors))
        return Interval(name, unit, raw, value - shift, std, lows[0], highs[0], lows[1], highs[1])
    centre = np.log(value) - shift
    low, high = (np.exp(ends) for ends in _ends(centre, std, len(errors)))
    best = float(np.exp(centre))
    return Interval(name, unit, raw, best, best * std, *map(float, (low[0], high[0], low[1], high[1])))


def _ends(centre: float, std: float, count: int) -> tuple[list[float], list[float]]:
    """Lower and upper ends of the 68 and 95 % intervals of one more value."""
    from scipy.stats import t

    half = [float(t.ppf(q, count - 1)) * std * (1 + 1 / count) ** 0.5 for q in (0.84, 0.975)]
    return [centre - h for h in half], [centre + h for h in half]


def _is_place(name: str) -> bool:
    return " centre " in name


def _error(name: str, found: tuple[float, str] | None, truth: tuple[float, str] | None) -> float:
    """Of a member: the difference of places, of the logarithms of all else; NaN where one of them is missing."""
    if found is None or truth is None:
        return float("nan")
    if _is_place(name):
        return found[0] - truth[0]
    return float(np.log(found[0] / truth[0])) if found[0] > 0 and truth[0] > 0 else float("nan")
