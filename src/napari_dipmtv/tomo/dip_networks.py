"""A cropped problem to the networks that fit it: one for all channels, or one for each, seen as one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from napari_dipmtv.data import TiltSeries, Volume
from napari_dipmtv.projection.projector import Projector
from napari_dipmtv.settings.tomo import DipSettings
from napari_dipmtv.states import State
from napari_dipmtv.tomo.cavities import Cavity, find_cavities, openings
from napari_dipmtv.tomo.crop import Crop
from napari_dipmtv.tomo.data_term import data_kind, data_misfit
from napari_dipmtv.tomo.dip_fit import DipFit, FurtherTerm, under
from napari_dipmtv.tomo.polish import Polish
from napari_dipmtv.tomo.problem import Problem, pose

# Variance of what a network cannot draw, of the mean variance of the maps. Without it the sum of strongly
# anti-correlated channels, known fifty times better than their difference, pulls the weights until that is lost.
MODEL_ERROR = 0.5
WITH_NOISE = ("poisson", "covariance")  # data terms that know the noise


class Further(Protocol):
    """Further data of the same object, such as HAADF: where the fit begins, and what it must explain besides."""

    @property
    def name(self) -> str:
        """What the volume is called with which the fit begins in place of CS-TV."""

    @property
    def rehearsals(self) -> int:
        """Steps of the network towards that volume."""

    def guide(self, problem: Problem) -> Iterator[State[Volume]]:
        """The quick volume from both data; ``problem`` holds the part of the dose that the network may see."""

    def term(self, crop: Crop) -> FurtherTerm:
        """The misfit of the cropped volume."""


class Networks:
    """The networks of a run, one or one for each channel, seen as one."""

    def __init__(
        self,
        crop: Crop,
        settings: DipSettings,
        inputs: Sequence[torch.Tensor] | None,
        *,
        alone: bool,
        further: Further | None = None,
    ) -> None:
        self.crop, self.settings, self.further = crop, settings, further
        guided = inputs is not None and settings.network_input == "cs-tv"
        self.first = torch.cat(list(inputs)) if inputs is not None and guided else None
        self.cavities: tuple[Cavity, ...] = ()
        self.polished: list[torch.Tensor] = []
        whole = crop.problem
        self.parts = [whole]
        if alone:
            own = (one_channel(whole.series, c) for c in range(whole.shape[0]))
            self.parts = [
                replace(pose(series, whole.device, whole.projector), normalise=whole.normalise)
                for series in own
            ]
        term = None if further is None else further.term(crop)
        self.fits = [
            DipFit(part, settings, None if inputs is None else inputs[i], term)
            for i, part in enumerate(self.parts)
        ]

    def show(self, series: TiltSeries) -> None:
        """Fit this series, of the whole problem's shape, from now on."""
        cut = self.crop.cut(series)
        own = [cut] if len(self.parts) == 1 else [one_channel(cut, c) for c in range(len(self.parts))]
        for fit, part, data in zip(self.fits, self.parts, own, strict=True):
            fit.show(data_misfit(part, self.settings.data_term, data, slack=MODEL_ERROR))

    def rehearse(self, *, last: bool) -> None:
        """Take one step towards the volume that the networks look at."""
        for fit in self.fits:
            fit.rehearse(last=last)

    def step(self, progress: float) -> dict[str, float]:
        """One step of each; the mean of their losses."""
        steps = [fit.step(progress) for fit in self.fits]
        return {name: sum(step[name] for step in steps) / len(steps) for name in steps[0]}

    def output(self) -> torch.Tensor:
        """What all networks would return, in units of the cropped problem; (c, z, y, x)."""
        return torch.cat([fit.output() for fit in self.fits])

    @property
    def projector(self) -> Projector:
        """The projector of all channels; where shifts are refined there is one network."""
        return self.fits[0].projector

    def open_cavities(self) -> None:
        """Take out the cavities that all data demand; their shape is fitted from then on."""
        whole = self.crop.problem
        kind = data_kind(whole.series, self.settings.data_term)
        if not self.settings.cavities or kind not in WITH_NOISE or self.fits[0].opening is not None:
            return
        misfit = data_misfit(whole, self.settings.data_term)
        self.cavities = find_cavities(self.output(), self.projector, misfit)
        if self.cavities:
            share = openings(self.cavities, whole.shape[1:])
            for fit in self.fits:
                fit.open(share)

    @property
    def began_with(self) -> str:
        """What the volume is called with which the fit began."""
        return began_with(self.further)

    @property
    def notes(self) -> tuple[str, ...]:
        """What the person who waits should know."""
        found = (f"cavity {n} (evidence {c.evidence:.0f})" for n, c in enumerate(self.cavities, 1))
        return (*found, *(fit.note for fit in self.fits if fit.note))

    def polishes(self) -> list[Polish]:
        """The output of each network, ready to follow the data that it is shown."""
        tv = self.settings.tv
        return [
            Polish(fit.output(), fit.projector, fit.misfit, part.mass, tv)
            for fit, part in zip(self.fits, self.parts, strict=True)
        ]

    def polish(self, steps: int) -> None:
        """Let the output follow the data for some steps; from now on that is the volume."""
        parts = self.polishes()
        for _ in range(steps):
            self.polished = [part.step() for part in parts]

    def volume(self) -> Volume:
        """Copy what was reached to the host, in data units and the whole field."""
        outputs = self.polished or [fit.output() for fit in self.fits]
        data = np.concatenate([part.volume(x).data for part, x in zip(self.parts, outputs, strict=True)])
        series = self.crop.whole.series
        return self.crop.outside(Volume(data, series.channels, series.pixel_nm))

    def checkpoint(self) -> dict[str, NDArray[Any]]:
        """Copy everything that changes to plain arrays."""
        saved: dict[str, NDArray[Any]] = {"box": np.array(self.crop.box)}
        for i, fit in enumerate(self.fits):
            saved |= {f"{i}/{name}": value for name, value in fit.checkpoint().items()}
        return saved

    def restore(self, saved: Mapping[str, NDArray[Any]]) -> None:
        """Go back to a checkpoint."""
        for i, fit in enumerate(self.fits):
            fit.restore(under(saved, str(i)))


def began_with(further: Further | None) -> str:
    """What the volume is called with which a fit begins."""
    return "CS-TV" if further is None else further.name


def one_channel(series: TiltSeries, channel: int) -> TiltSeries:
    """Give one channel of a series, with its variance."""
    c = slice(channel, channel + 1)
    covariance = None if series.covariance is None else series.covariance[c, c]
    return series.replace(data=series.data[c], channels=series.channels[c], covariance=covariance)
