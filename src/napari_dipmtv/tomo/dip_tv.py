"""Aligned maps to a volume by a deep image prior with total variation: DIPm-TV (one network) and DIP-TV (one each)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from napari_dipmtv.data import TiltSeries, Volume
from napari_dipmtv.settings.tomo import CsTvSettings, DipSettings
from napari_dipmtv.states import State
from napari_dipmtv.tomo.cavities import Cavity, find_cavities, openings
from napari_dipmtv.tomo.crop import Crop, crop_to_object
from napari_dipmtv.tomo.cs_tv import cs_tv
from napari_dipmtv.tomo.data_term import data_kind, data_misfit
from napari_dipmtv.tomo.dip_fit import DipFit, under
from napari_dipmtv.tomo.problem import Problem, pose
from napari_dipmtv.tomo.thinning import thin

BEHIND = "CS-TV still foretells the held-out dose better: take more iterations, or CS-TV"
CLEARLY = 1.05  # times the held-out misfit of CS-TV; at little noise a good fit stays a few per cent behind
REHEARSALS = 30  # steps towards the CS-TV input
# Variance of what a network cannot draw, of the mean variance of the maps. Without it the sum of strongly
# anti-correlated channels, known fifty times better than their difference, pulls the weights until that is lost.
MODEL_ERROR = 0.5
LAST = 8  # the last eighth of the steps sees all data; as many steps without progress end the fit early
WITH_NOISE = ("poisson", "covariance")  # data terms that know the noise


def dipm_tv(
    problem: Problem, settings: DipSettings, *, resume: Mapping[str, NDArray[Any]] | None = None
) -> Iterator[State[Volume]]:
    """Fit one network with a shared decoder to all channels.

    Minimises ``D(P x, y) + strength * TV(x) / mass`` over the weights of ``x = f(z + noise)``; what is returned is the
    running average of the output. Source: arXiv 2606.10893, with data term, total variation, network input and
    stopping of our own (docs/method.md says why); `settings.presets` holds the published choices.

    Parameters
    ----------
    problem : Problem
    settings : DipSettings
    resume : mapping, optional
        A checkpoint of an earlier run with the same settings but for ``iterations``.

    Yields
    ------
    State of Volume
        Losses "data" and "tv" (relative, ``TV / mass``) of the step, and "validation" where a part of the dose is held
        out. The states of the CS-TV volume come first, as iteration 0.
    """
    return _run(problem, settings, "DIPm-TV", resume, alone=False)


def dip_tv(
    problem: Problem, settings: DipSettings, *, resume: Mapping[str, NDArray[Any]] | None = None
) -> Iterator[State[Volume]]:
    """Fit a network of its own to each channel, side by side; the channels know nothing of each other."""
    return _run(problem, settings, "DIP-TV", resume, alone=True)


def _run(
    problem: Problem,
    settings: DipSettings,
    stage: str,
    resume: Mapping[str, NDArray[Any]] | None,
    *,
    alone: bool,
) -> Iterator[State[Volume]]:
    """First volume, box, rehearsal, fit."""
    seen, held_out = _split(problem.series, settings)
    problem = replace(problem, normalise=settings.normalise)
    if resume is not None:
        crop = Crop.from_array(problem, resume["box"])
        saved = [torch.from_numpy(resume[f"{i}/input"])[0] for i in range(problem.shape[0] if alone else 1)]
        networks = Networks(crop, settings, saved, alone=alone)
        yield from _fit(networks, seen, held_out, settings, stage, resume)
        return
    guide: Volume | None = None
    if settings.crop or settings.network_input == "cs-tv":
        for state in cs_tv(replace(problem, series=seen), _first_settings(settings, joint=not alone)):
            yield _before(state, settings, f"{stage}, CS-TV first")
        guide = state.snapshot()
    crop = crop_to_object(problem, guide) if settings.crop and guide is not None else Crop.nothing(problem)
    inputs = None
    if guide is not None and settings.network_input == "cs-tv":
        inputs = torch.chunk(crop.inside(guide), problem.shape[0] if alone else 1)
    networks = Networks(crop, settings, inputs, alone=alone)
    for step in range(1, REHEARSALS + 1 if inputs is not None else 1):
        networks.rehearse(last=step == REHEARSALS)
        yield _before(state, settings, f"{stage}, learning CS-TV {step}/{REHEARSALS}")
    yield from _fit(networks, seen, held_out, settings, stage, {})


def _fit(
    networks: Networks,
    seen: TiltSeries,
    held_out: TiltSeries | None,
    settings: DipSettings,
    stage: str,
    saved: Mapping[str, NDArray[Any]],
) -> Iterator[State[Volume]]:
    """Fit the seen part of the dose until the held-out part has had enough, then all of it for the last steps."""
    clock = Clock.of(settings, saved)
    networks.show(seen)
    watch = None if held_out is None else Watch(networks, held_out, settings)
    if watch is not None and "watch/least" in saved:
        watch.restore(under(saved, "watch"))
    if clock.in_last_steps and watch is not None:
        networks.show(networks.crop.whole.series)
    if saved:
        networks.restore(saved)
    while clock.iteration < clock.total:
        if clock.last_steps_begin:
            if watch is not None:
                networks.show(networks.crop.whole.series)
            if watch is None or not watch.behind:  # a fit that is still far off would open its own mistakes
                networks.open_cavities()
        clock.tick()
        losses = networks.step(clock.progress)
        if watch is not None and not clock.in_last_steps:
            losses["validation"] = watch.look()
            if watch.over:
                watch.go_back()
                clock.end_soon()

        behind = watch is not None and clock.in_last_steps and watch.behind
        said = ", ".join(dict.fromkeys([stage, *networks.notes, *([BEHIND] if behind else [])]))
        kept = partial(_checkpoint, replace(clock), networks, watch)
        yield State(clock.iteration, clock.total, losses, networks.volume, kept, said)


def _checkpoint(clock: Clock, networks: Networks, watch: Watch | None) -> dict[str, NDArray[Any]]:
    watched = {} if watch is None else watch.checkpoint()
    return clock.checkpoint() | networks.checkpoint() | watched


@dataclass
class Clock:
    """Where a run stands, and when it will end."""

    asked: int  # iterations
    total: int  # the same, or less when the run ends early
    iteration: int = 0
    progress: float = 0.0  # 0 to 1

    @classmethod
    def of(cls, settings: DipSettings, saved: Mapping[str, NDArray[Any]]) -> Clock:
        """Start at zero or where a checkpoint was made; a run that may be longer now goes on at a higher rate."""
        if not saved:
            return cls(settings.iterations, settings.iterations)
        done, ended_early = int(saved["iteration"]), int(saved["ends"])
        if ended_early and int(saved["asked"]) == settings.iterations:
            return cls(settings.iterations, ended_early, done, float(saved["progress"]))
        same = int(saved["asked"]) == settings.iterations
        progress = float(saved["progress"]) if same else done / settings.iterations
        return cls(settings.iterations, settings.iterations, done, progress)

    @property
    def last_steps(self) -> int:
        """How many steps see all data."""
        return max(1, self.asked // LAST)

    @property
    def last_steps_begin(self) -> bool:
        """True before the first of the last steps."""
        return self.iteration == self.total - self.last_steps

    @property
    def in_last_steps(self) -> bool:
        """True during and after them."""
        return self.iteration > self.total - self.last_steps

    def tick(self) -> None:
        """Begin the next step."""
        self.iteration += 1
        self.progress += (1 - self.progress) / (self.total - self.iteration + 1)

    def end_soon(self) -> None:
        """Only the last steps remain."""
        self.total = min(self.total, self.iteration + self.last_steps)

    def checkpoint(self) -> dict[str, NDArray[Any]]:
        """All fields as arrays."""
        ends = self.total if self.total < self.asked else 0
        return {
            "iteration": np.array(self.iteration),
            "asked": np.array(self.asked),
            "ends": np.array(ends),
            "progress": np.array(self.progress),
        }


class Networks:
    """The networks of a run, one or one for each channel, seen as one."""

    def __init__(
        self,
        crop: Crop,
        settings: DipSettings,
        inputs: Sequence[torch.Tensor] | None,
        *,
        alone: bool,
    ) -> None:
        self.crop, self.settings = crop, settings
        guided = inputs is not None and settings.network_input == "cs-tv"
        self.first = torch.cat(list(inputs)) if inputs is not None and guided else None
        self.cavities: tuple[Cavity, ...] = ()
        whole = crop.problem
        self.parts = [whole]
        if alone:
            own = (one_channel(whole.series, c) for c in range(whole.shape[0]))
            self.parts = [
                replace(pose(series, whole.device, whole.projector), normalise=whole.normalise)
                for series in own
            ]
        self.fits = [
            DipFit(part, settings, None if inputs is None else inputs[i]) for i, part in enumerate(self.parts)
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

    def open_cavities(self) -> None:
        """Take out the cavities that all data demand; their shape is fitted from then on."""
        whole = self.crop.problem
        kind = data_kind(whole.series, self.settings.data_term)
        if not self.settings.cavities or kind not in WITH_NOISE or self.fits[0].opening is not None:
            return
        self.cavities = find_cavities(
            self.output(), whole.projector, data_misfit(whole, self.settings.data_term)
        )
        if self.cavities:
            share = openings(self.cavities, whole.shape[1:])
            for fit in self.fits:
                fit.open(share)

    @property
    def notes(self) -> tuple[str, ...]:
        """What the person who waits should know."""
        found = (f"cavity {n} (evidence {c.evidence:.0f})" for n, c in enumerate(self.cavities, 1))
        return (*found, *(fit.note for fit in self.fits if fit.note))

    def volume(self) -> Volume:
        """Copy what was reached to the host, in data units and the whole field."""
        data = np.concatenate([fit.volume().data for fit in self.fits])
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


class Watch:
    """The part of the dose that the networks do not see: when its misfit grows, they have begun to follow the noise."""

    def __init__(self, networks: Networks, held_out: TiltSeries, settings: DipSettings) -> None:
        self.networks = networks
        self.problem = networks.crop.problem
        self.misfit = data_misfit(self.problem, settings.data_term, networks.crop.cut(held_out))
        self.patience = max(20, settings.iterations // LAST)
        self.first = float("inf") if networks.first is None else self._misfit(networks.first)
        self.least, self.age = float("inf"), 0
        self.best: list[dict[str, torch.Tensor]] = []

    def look(self) -> float:
        """Misfit of the held-out part now."""
        misfit = self._misfit(self.networks.output())
        self.age += 1
        if misfit < self.least:
            self.least, self.age = misfit, 0
            self.best = [fit.remember() for fit in self.networks.fits]
        return misfit

    def _misfit(self, x: torch.Tensor) -> float:
        return float(self.misfit.loss(self.problem.projector(x.to(self.problem.device))))

    @property
    def behind(self) -> bool:
        """True while the CS-TV volume, made from the same part of the dose, foretells the other part clearly better."""
        return self.least > CLEARLY * self.first

    @property
    def over(self) -> bool:
        """True when the misfit has not fallen for a while."""
        return self.age >= self.patience

    def go_back(self) -> None:
        """Return the networks to where the misfit was least."""
        for fit, best in zip(self.networks.fits, self.best, strict=True):
            fit.recall(best)

    def checkpoint(self) -> dict[str, NDArray[Any]]:
        """Copy everything that changes to plain arrays."""
        saved = {"watch/least": np.array(self.least), "watch/age": np.array(self.age)}
        for i, best in enumerate(self.best):
            saved |= {f"watch/{i}/{name}": value.cpu().numpy().copy() for name, value in best.items()}
        return saved

    def restore(self, saved: Mapping[str, NDArray[Any]]) -> None:
        """Go back to a checkpoint."""
        self.least, self.age = float(saved["least"]), int(saved["age"])
        every = range(len(self.networks.fits)) if "0/weight" in saved else ()
        self.best = [
            {
                name: torch.from_numpy(value).to(self.problem.device)
                for name, value in under(saved, str(i)).items()
            }
            for i in every
        ]


def one_channel(series: TiltSeries, channel: int) -> TiltSeries:
    """Give one channel of a series, with its variance."""
    c = slice(channel, channel + 1)
    covariance = None if series.covariance is None else series.covariance[c, c]
    return series.replace(data=series.data[c], channels=series.channels[c], covariance=covariance)


def _split(series: TiltSeries, settings: DipSettings) -> tuple[TiltSeries, TiltSeries | None]:
    """The part of the dose to fit and the part to judge by; all and none for maps without statistics."""
    if not settings.held_out or data_kind(series, settings.data_term) not in WITH_NOISE:
        return series, None
    return thin(series, 1 - settings.held_out, np.random.default_rng(settings.seed))


def _first_settings(settings: DipSettings, *, joint: bool) -> CsTvSettings:
    term = "auto" if settings.data_term in ("l1", "l2") else settings.data_term
    kind = "vectorial" if joint else "per-channel"
    return CsTvSettings(iterations=150, tv_strength=0.06, tv=kind, data_term=term, tolerance=2e-2)


def _before(state: State[Volume], settings: DipSettings, stage: str) -> State[Volume]:
    """A state of the preparation, as iteration 0 of the fit."""
    return replace(state, iteration=0, total=settings.iterations, losses={}, checkpoint=None, stage=stage)
