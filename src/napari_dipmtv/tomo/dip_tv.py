"""Aligned maps to a volume by a deep image prior with total variation: DIPm-TV (one network) and DIP-TV (one each)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from napari_dipmtv.data import TiltSeries, Volume
from napari_dipmtv.errors import InputError, expected
from napari_dipmtv.settings.tomo import CsTvSettings, DipSettings
from napari_dipmtv.states import State
from napari_dipmtv.tomo.crop import Crop, crop_to_object
from napari_dipmtv.tomo.cs_tv import cs_tv
from napari_dipmtv.tomo.data_term import data_kind
from napari_dipmtv.tomo.dip_fit import under
from napari_dipmtv.tomo.dip_networks import WITH_NOISE, Further, Networks, began_with
from napari_dipmtv.tomo.dip_watch import Clock, Watch, watching
from napari_dipmtv.tomo.problem import Problem
from napari_dipmtv.tomo.thinning import thin

BEHIND = "still foretells the held-out dose better: take more iterations, or CS-TV"
REHEARSALS = 30  # steps towards the CS-TV input


def dipm_tv(
    problem: Problem,
    settings: DipSettings,
    *,
    resume: Mapping[str, NDArray[Any]] | None = None,
    further: Further | None = None,
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
    further : Further, optional
        Other data that the same volume must explain; their misfit is added to the data term.

    Yields
    ------
    State of Volume
        Losses "data" and "tv" (relative, ``TV / mass``) of the step, and "validation" where a part of the dose is held
        out, or "unrest" for maps without statistics. The states of the CS-TV volume come first, as iteration 0.
    """
    return _run(problem, settings, "DIPm-TV", resume, alone=False, further=further)


def dip_tv(
    problem: Problem, settings: DipSettings, *, resume: Mapping[str, NDArray[Any]] | None = None
) -> Iterator[State[Volume]]:
    """Fit a network of its own to each channel, side by side; the channels know nothing of each other.

    Raises
    ------
    InputError
        When shifts of the views are to be refined, which all channels must share.
    """
    if settings.refine_shifts:
        asked = expected("refined shifts", "one network for all channels", "DIP-TV", "Choose DIPm-TV")
        raise InputError(asked)
    return _run(problem, settings, "DIP-TV", resume, alone=True)


def _run(
    problem: Problem,
    settings: DipSettings,
    stage: str,
    resume: Mapping[str, NDArray[Any]] | None,
    *,
    alone: bool,
    further: Further | None = None,
) -> Iterator[State[Volume]]:
    """First volume, box, rehearsal, fit."""
    seen, held_out = _split(problem.series, settings)
    problem = replace(problem, normalise=settings.normalise)
    if resume is not None:
        crop = Crop.from_array(problem, resume["box"])
        saved = [torch.from_numpy(resume[f"{i}/input"])[0] for i in range(problem.shape[0] if alone else 1)]
        networks = Networks(crop, settings, saved, alone=alone, further=further)
        yield from _fit(networks, seen, held_out, settings, stage, resume)
        return
    guide: Volume | None = None
    first = began_with(further)
    if settings.crop or settings.network_input == "cs-tv":
        part = replace(problem, series=seen)
        quick = _first_settings(settings, joint=not alone)
        for state in cs_tv(part, quick) if further is None else further.guide(part):
            yield _before(state, settings, f"{stage}, {first} first")
        guide = state.snapshot()
    crop = Crop.nothing(problem)
    if settings.crop and guide is not None:
        crop = crop_to_object(problem, guide, least_px=2 ** len(settings.filters) + 1)
    inputs = None
    if guide is not None and settings.network_input == "cs-tv":
        inputs = torch.chunk(crop.inside(guide), problem.shape[0] if alone else 1)
    networks = Networks(crop, settings, inputs, alone=alone, further=further)
    rehearsals = (REHEARSALS if further is None else further.rehearsals) if inputs is not None else 0
    for step in range(1, rehearsals + 1):
        networks.rehearse(last=step == rehearsals)
        yield _before(state, settings, f"{stage}, learning {first} {step}/{rehearsals}")
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
    watch = watching(networks, settings, held_out)
    if watch is not None and "watch/least" in saved:
        watch.restore(under(saved, "watch"))
    if clock.in_last_steps and watch is not None:
        watch.show_all()
    if saved:
        networks.restore(saved)
    while clock.iteration < clock.total:
        if clock.last_steps_begin:
            if watch is not None:
                watch.prepare_last_steps(settings.polish if networks.further is None else 0)
                watch.show_all()
            if watch is None or not watch.network_behind:  # a fit that is far off would open its own mistakes
                networks.open_cavities()
        clock.tick()
        losses = networks.step(clock.progress)
        if watch is not None and not clock.in_last_steps:
            losses[watch.sign] = _look(watch, clock)
        if watch is not None and clock.iteration == clock.total:
            networks.polish(watch.polishing)
        behind = watch is not None and clock.in_last_steps and watch.behind
        notes = [*networks.notes, *([f"{networks.began_with} {BEHIND}"] if behind else [])]
        said = ", ".join(dict.fromkeys([stage, *notes]))
        kept = partial(_checkpoint, replace(clock), networks, watch)
        yield State(clock.iteration, clock.total, losses, networks.volume, kept, said)


def _look(watch: Watch, clock: Clock) -> float:
    """The value that the run is judged by, which may end it."""
    value = watch.look()
    watch.note(value)
    if watch.over:
        watch.go_back()
        watch.end(clock)
    return value


def _checkpoint(clock: Clock, networks: Networks, watch: Watch | None) -> dict[str, NDArray[Any]]:
    watched = {} if watch is None else watch.checkpoint()
    return clock.checkpoint() | networks.checkpoint() | watched


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
