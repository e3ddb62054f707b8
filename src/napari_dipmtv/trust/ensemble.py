"""One series to many reconstructions of what else could have been measured: mean, spread, probabilities, intervals.

Members differ in the noise of the data and, for the deep image priors, in their seed; seeds alone would leave out most
of the error. How the data of the members are drawn, and what is read from them, says `napari_dipmtv.trust.members`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from copy import copy
from dataclasses import dataclass
from typing import Any

import numpy as np

from napari_dipmtv.data import F32, F64, TiltSeries, Volume
from napari_dipmtv.errors import InputError, expected
from napari_dipmtv.settings.inspect import SegmentSettings
from napari_dipmtv.states import State
from napari_dipmtv.trust.members import Members, Resampling, members_of
from napari_dipmtv.trust.repeats import Arrays, Maker, Repeats, here, within
from napari_dipmtv.trust.resample import generator
from napari_dipmtv.trust.result import Interval

_MEMBERS = 3  # place in the random numbers of a study


@dataclass(frozen=True, slots=True, eq=False)
class Ensemble:
    """What the members so far say.

    Attributes
    ----------
    mean, std : Volume
        (c, z, y, x) of the reconstructed members; the standard deviation of one of them, 0 below two.
    probability : mapping of str to float32 array (z, y, x)
        Of each phase in each voxel, void and vacuum included: how often it would be there with the errors that the
        members have at this place, or, of a bootstrap, the share of the members that show it.
    intervals : tuple of Interval
        Of every measure of the volume under test that enough members share.
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
    resampling: Resampling = "planted",
    segmentation: SegmentSettings | None = None,
    seed: int = 0,
    resume: Mapping[str, Any] | None = None,
    done_by: Repeats = here,
) -> Iterator[State[Ensemble]]:
    """Reconstruct resampled data again and again.

    Parameters
    ----------
    series : TiltSeries
    volume : Volume
        The data reconstructed by ``maker``.
    maker : Maker
    members : int
    resampling : {"planted", "bootstrap"}
        See `napari_dipmtv.trust.members`.
    segmentation : SegmentSettings, optional
    seed : int
        Member i is the same whether the study was interrupted or not.
    resume : mapping, optional
        A checkpoint of an earlier run on the same data and settings.
    done_by : Repeats
        How the members are done.

    Yields
    ------
    State of Ensemble
        One per member, and one per step of the reconstruction inside it; loss "spread" is the root-mean-square standard
        deviation over that of the mean volume.

    Raises
    ------
    InputError
        For a volume without matter, a bootstrap of maps without statistics, or a checkpoint of another grid.
    """
    source = members_of(resampling, series, volume, segmentation)
    sums = _Sums(volume, source, resume)

    def state(stage: str) -> State[Ensemble]:
        now = copy(sums)  # a state stays what it was, whoever looks at it later
        losses = {"spread": now.spread}
        return State(now.count, members, losses, now.result, now.saved, f"ensemble, {stage}")

    yield state("resampling")
    for found in done_by(_member, _Job(source, maker, seed), range(sums.count, members)):
        if isinstance(found, str):
            yield state(found)
        else:
            sums.add(*found)
            yield state(f"member {sums.count} of {members}")


@dataclass(frozen=True, slots=True, eq=False)
class _Job:
    """What all members share."""

    source: Members
    maker: Maker
    seed: int


def _member(job: _Job, number: int) -> Iterator[str | Arrays]:
    """One member: its measures (n,), shares of its phases (p, z, y, x), and the reconstruction (c, z, y, x)."""
    source = copy(job.source)  # it remembers what it has drawn
    drawn = source.draw(generator(job.seed, _MEMBERS, number))
    for step in within(job.maker.states(drawn, number + 1), str):
        if isinstance(step, str):
            yield step
        else:
            yield *source.read(step[0]), step[0].data


class _Sums:
    """Running mean and squares (Welford), sums of shares and rows of measures; never changed in place."""

    def __init__(self, volume: Volume, source: Members, resume: Mapping[str, Any] | None) -> None:
        self.volume, self.source = volume, source
        shape = volume.data.shape
        self.mean: F32 = np.zeros(shape, np.float32)
        self.squares: F32 = np.zeros(shape, np.float32)
        self.shares: F32 = np.zeros((len(source.phases), *shape[1:]), np.float32)
        self.measures: F64 = np.zeros((0, len(source.names)))
        if resume is not None:
            self._restore(resume)

    @property
    def count(self) -> int:
        return len(self.measures)

    @property
    def spread(self) -> float:
        size = float(np.sqrt((self.mean**2).mean()))
        return float(np.sqrt(self.squares.mean() / max(self.count - 1, 1))) / size if size > 0 else 0.0

    def add(self, row: F64, shares: F32, data: F32) -> None:
        self.measures = np.concatenate([self.measures, row[None]])
        step = data - self.mean
        self.mean = self.mean + step / np.float32(self.count)
        self.squares = self.squares + step * (data - self.mean)
        self.shares = self.shares + shares

    def result(self) -> Ensemble:
        std = np.sqrt(np.maximum(self.squares, 0) / np.float32(max(self.count - 1, 1)))
        share = self.shares / np.float32(max(self.count, 1))
        return Ensemble(
            mean=self.volume.replace(data=self.mean),
            std=self.volume.replace(data=std),
            probability=dict(zip(self.source.phases, share, strict=True)),
            intervals=tuple(self.source.intervals(self.measures)),
            members=self.count,
        )

    def saved(self) -> dict[str, Any]:
        arrays = {
            "mean": self.mean,
            "squares": self.squares,
            "shares": self.shares,
            "measures": self.measures,
        }
        return {name: np.array(array) for name, array in arrays.items()}

    def _restore(self, saved: Mapping[str, Any]) -> None:
        for name, own in (("mean", self.mean), ("shares", self.shares), ("measures", self.measures)):
            first = 1 if name == "measures" else 0
            if name not in saved or saved[name].shape[first:] != own.shape[first:]:
                got = saved[name].shape if name in saved else "none"
                raise InputError(
                    expected("checkpoint", f"{name} of {own.shape}", got, "Start this part again")
                )
        self.mean, self.squares = saved["mean"], saved["squares"]
        self.shares, self.measures = saved["shares"], saved["measures"]
