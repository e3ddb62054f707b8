"""One series to many reconstructions of what else could have been measured: mean, spread, probabilities.

Members differ in the noise of the data and, for the deep image priors, in their seed; seeds alone would leave out most
of the error. Two ways to draw the data:

- ``model``: the reconstructed volume is projected and measured again. Noise is added once, to a volume of which the
  truth is known, so that the bias of method and geometry shows as well, as far as the volume resembles the real one.
- ``bootstrap``: the measured data are resampled. Nothing depends on the volume, but noise is added to noise: members
  are rougher than the volume under test.

The interval of a measure is ``2 value - mean ± t s √(1 + 1/K)`` with the value in the volume under test, mean and
standard deviation ``s`` of the K members, and Student's t: what the members lost or gained against the volume that they
were measured from, the volume has lost or gained against the object (basic bootstrap: B. Efron and R. J. Tibshirani, An
Introduction to the Bootstrap, 1993, section 13).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from copy import copy
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from napari_dipmtv.data import F32, F64, Segmentation, TiltSeries, Volume
from napari_dipmtv.errors import InputError, expected
from napari_dipmtv.inspect import measure, segment
from napari_dipmtv.settings.inspect import SegmentSettings
from napari_dipmtv.states import State
from napari_dipmtv.trust.repeats import Maker, within
from napari_dipmtv.trust.resample import bootstrap, generator, measured_again, projections
from napari_dipmtv.trust.result import Interval

Resampling = Literal["model", "bootstrap"]
COUNTS = ("voids",)  # whole numbers have no interval like this; their probability per voxel says more
_MEMBERS = 3  # place in the random numbers of a study


@dataclass(frozen=True, slots=True, eq=False)
class Ensemble:
    """What the members so far say.

    Attributes
    ----------
    mean, std : Volume
        (c, z, y, x); the standard deviation of one reconstruction, 0 below two members.
    probability : mapping of str to float32 array (z, y, x)
        Share of the members in which a voxel belongs to the phase, void and vacuum included.
    intervals : tuple of Interval
        Of every measure of the volume under test that at least two members share.
    members : int
    """

    mean: Volume
    std: Volume
    probability: Mapping[str, F32]
    intervals: tuple[Interval, ...]
    members: int


def ensemble(
    series: TiltSeries,
    volume: Volume,
    maker: Maker,
    *,
    members: int = 20,
    resampling: Resampling = "model",
    segmentation: SegmentSettings | None = None,
    seed: int = 0,
    resume: Mapping[str, Any] | None = None,
) -> Iterator[State[Ensemble]]:
    """Reconstruct resampled data again and again.

    Parameters
    ----------
    series : TiltSeries
    volume : Volume
        The data reconstructed by ``maker``.
    maker : Maker
    members : int
    resampling : {"model", "bootstrap"}
        See the module.
    segmentation : SegmentSettings, optional
    seed : int
        Member i is the same whether the study was interrupted or not.
    resume : mapping, optional
        A checkpoint of an earlier run on the same data and settings.

    Yields
    ------
    State of Ensemble
        One per member, and one per step of the reconstruction inside it; loss "spread" is the root-mean-square standard
        deviation over that of the mean volume.

    Raises
    ------
    InputError
        For a bootstrap of maps without statistics, or a checkpoint of another grid.
    """
    clean = projections(volume, series)
    residual = (series.data - clean).astype(np.float32)
    sums = _Sums(volume, segment(volume, segmentation), resume)

    def state(stage: str) -> State[Ensemble]:
        now = copy(sums)  # a state stays what it was, whoever looks at it later
        losses = {"spread": now.spread}
        return State(now.count, members, losses, now.result, now.saved, f"ensemble, {stage}")

    yield state("resampling")
    for i in range(sums.count, members):
        random = generator(seed, _MEMBERS, i)
        if resampling == "model":
            drawn = measured_again(clean, series, random, residual)
        else:
            drawn = bootstrap(series, random)
        for step in within(maker.states(drawn, i + 1), state):
            if isinstance(step, State):
                yield step
            else:
                sums.add(step[0], segment(step[0], segmentation))
        yield state(f"member {sums.count} of {members}")


class _Sums:
    """Running mean and squares (Welford), counts of phases and table of measures; never changed in place."""

    def __init__(self, volume: Volume, phases: Segmentation, resume: Mapping[str, Any] | None) -> None:
        self.volume = volume
        self.phases = tuple(dict.fromkeys(phases.phases.values()))
        self.reference = {m.name: (m.value, m.unit) for m in measure(phases, volume)}
        shape = volume.data.shape
        self.mean: F32 = np.zeros(shape, np.float32)
        self.squares: F32 = np.zeros(shape, np.float32)
        self.counts: NDArray[np.uint16] = np.zeros((len(self.phases), *shape[1:]), np.uint16)
        self.measures: F64 = np.zeros((0, len(self.reference)))
        if resume is not None:
            self._restore(resume)

    @property
    def count(self) -> int:
        return len(self.measures)

    @property
    def spread(self) -> float:
        size = float(np.sqrt((self.mean**2).mean()))
        return float(np.sqrt(self.squares.mean() / max(self.count - 1, 1))) / size if size > 0 else 0.0

    def add(self, volume: Volume, phases: Segmentation) -> None:
        found = {m.name: m.value for m in measure(phases, volume)}
        row = [found.get(name, np.nan) for name in self.reference]
        self.measures = np.concatenate([self.measures, np.array(row)[None]])
        step = volume.data - self.mean
        self.mean = self.mean + step / np.float32(self.count)
        self.squares = self.squares + step * (volume.data - self.mean)
        self.counts = self.counts + np.stack([phases.mask(name) for name in self.phases]).astype(np.uint16)

    def result(self) -> Ensemble:
        std = np.sqrt(np.maximum(self.squares, 0) / np.float32(max(self.count - 1, 1)))
        share = self.counts / np.float32(max(self.count, 1))
        return Ensemble(
            mean=self.volume.replace(data=self.mean),
            std=self.volume.replace(data=std),
            probability={name: share[k].astype(np.float32) for k, name in enumerate(self.phases)},
            intervals=tuple(self._intervals()),
            members=self.count,
        )

    def saved(self) -> dict[str, Any]:
        arrays = {
            "mean": self.mean,
            "squares": self.squares,
            "counts": self.counts,
            "measures": self.measures,
        }
        return {name: np.array(array) for name, array in arrays.items()}

    def _intervals(self) -> Iterator[Interval]:
        for column, (name, (value, unit)) in enumerate(self.reference.items()):
            members = self.measures[:, column]
            members = members[np.isfinite(members)]
            if name not in COUNTS and len(members) >= 2 and np.isfinite(value):
                yield interval(name, unit, value, members)

    def _restore(self, saved: Mapping[str, Any]) -> None:
        if saved["mean"].shape != self.mean.shape or saved["counts"].shape != self.counts.shape:
            got = saved["mean"].shape
            raise InputError(expected("checkpoint", self.mean.shape, got, "Start this part again"))
        self.mean, self.squares = saved["mean"], saved["squares"]
        self.counts, self.measures = saved["counts"], saved["measures"]


def interval(name: str, unit: str, value: float, members: F64) -> Interval:
    """Basic bootstrap interval of a measure from the values (k,) of at least two members; see the module."""
    from scipy.stats import t

    count = len(members)
    mean, std = float(members.mean()), float(members.std(ddof=1))
    centre = 2 * value - mean
    half = [float(t.ppf(q, count - 1)) * std * (1 + 1 / count) ** 0.5 for q in (0.84, 0.975)]
    lows, highs = [centre - h for h in half], [centre + h for h in half]
    return Interval(name, unit, value, mean, std, lows[0], highs[0], lows[1], highs[1])
