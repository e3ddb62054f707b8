"""A series and axes of settings to a table of scores, job by job; what is in the ledger is not computed again."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from napari_dipmtv.data import MapStack, Region, SpectrumSeries, Volume
from napari_dipmtv.errors import ComputeError, DeviceError, InputError, expected
from napari_dipmtv.settings.sweep import SweepSettings
from napari_dipmtv.states import State
from napari_dipmtv.sweep.ledger import Ledger
from napari_dipmtv.sweep.scoring import check_scoring, score_of
from napari_dipmtv.sweep.space import Axis, Point, drawn, grid
from napari_dipmtv.sweep.task import MODELS, AnyMethod, AnySettings, Stages, Task, known_name
from napari_dipmtv.sweep.workers import distributed, held, serial, threads_limited


@dataclass(frozen=True, slots=True)
class Trial:
    """One point: the searched settings, their ``score`` (lower is better; None: failed), and the time it took."""

    point: Mapping[str, Any]
    score: float | None
    seconds: float
    error: str = ""


@dataclass(frozen=True, slots=True)
class SweepTable:
    """All trials of a search so far, in the order of the search, and the task that they belong to."""

    task: Task
    axes: tuple[Axis, ...]
    trials: tuple[Trial, ...]

    def best(self) -> Trial:
        """The trial of the lowest score; raises `InputError` when none has a score."""
        scored = [trial for trial in self.trials if trial.score is not None]
        if not scored:
            said = next((trial.error for trial in self.trials), "no trial")
            raise InputError(expected("search", "a scored trial", said, "Change the axes"))
        return min(scored, key=lambda trial: trial.score if trial.score is not None else float("inf"))

    def best_settings(self) -> AnySettings:
        """The settings of the method with those of the best trial."""
        return self.task.at(dict(self.best().point))[0]

    def best_stages(self) -> Stages:
        """The settings of the stages before the method, by name, with those of the best trial."""
        return self.task.at(dict(self.best().point))[1]


def sweep(
    data: SpectrumSeries | MapStack,
    axes: Sequence[Axis],
    settings: SweepSettings | None = None,
    method: AnyMethod = "cs-tv",
    base: AnySettings | None = None,
    *,
    haadf: MapStack | None = None,
    stages: Stages | None = None,
    regions: Mapping[str, Region] | None = None,
    truth: Volume | None = None,
    ledger: Path | None = None,
    client: Any = None,
    device: str = "cpu",
) -> Iterator[State[SweepTable]]:
    """Search settings of a method, and of the stages before it where the data begin there.

    Parameters
    ----------
    data : SpectrumSeries, ChannelMaps or TiltSeries
        Raw spectra, maps that are not aligned, or an aligned series. What lies between them and the volume is done
        anew for every point.
    axes : sequence of Axis
        Named after a setting of the method ("tv_strength"), or of a stage ("align.rounds", "unmix.abundances").
    settings : SweepSettings, optional
    method, base
        The method and the settings that are not searched.
    haadf : MapStack, optional
        For the fused methods, aligned where the data are.
    stages : mapping of str to StageSettings, optional
        Settings of the stages that are not searched, by "prepare", "references", "unmix", "align".
    regions : mapping of str to Region, optional
        Of pure phases in prepared spectra; without them they are found.
    truth : Volume, optional
        For scoring by truth.
    ledger : Path, optional
        File of JSON lines: trials in it are taken from it, new ones are added as they end. Records of other data,
        methods or settings in the same file do not disturb.
    client : distributed.Client, optional
        Jobs run on its workers instead of here, with the same results to the last bit.
    device : str

    Yields
    ------
    State of SweepTable
        One after each trial, with the losses "score" and "best".

    Raises
    ------
    InputError
        For axes that do not fit, or a scoring that the data do not allow.
    """
    task = Task(
        data=data,
        method=method,
        base=base if base is not None else MODELS[method](),
        how=settings or SweepSettings(),
        stages=stages or {},
        haadf=haadf,
        regions=regions or {},
        truth=truth,
        device=device,
    )
    yield from sweep_of(task, axes, ledger=ledger, client=client)


def sweep_of(
    task: Task, axes: Sequence[Axis], *, ledger: Path | None = None, client: Any = None
) -> Iterator[State[SweepTable]]:
    """Search a task; parameters, states and errors of `sweep`."""
    check_axes(axes, task)
    check_scoring(task, tuple(axis.name for axis in axes))
    how, book = task.how, Book(task, tuple(axes), Ledger(ledger) if ledger is not None else None)
    if how.search == "bayesian":
        yield from _bayesian(book, client)
    else:
        points = list(grid(axes) if how.search == "grid" else drawn(axes, how.trials, how.seed))
        yield from _all(book, points, client)


def check_axes(axes: Sequence[Axis], task: Task) -> None:
    """Refuse a search without axes, one setting on two axes, and a setting of no stage of the data."""
    names = [axis.name for axis in axes]
    if not names or len(set(names)) < len(names):
        advice = "Name each searched setting once"
        raise InputError(expected("axes of the search", "one or more settings", names or "none", advice))
    for name in names:
        known_name(task, name)


class Book:
    """The trials of one search by key, in memory and, where there is one, in a ledger."""

    def __init__(self, task: Task, axes: tuple[Axis, ...], ledger: Ledger | None) -> None:
        self.task, self.axes, self.ledger = task, axes, ledger
        self._mark = task.mark()
        self.trials: dict[str, Trial] = {}

    def key(self, point: Point) -> str:
        """SHA-256 of everything that decides the score of a point."""
        words = json.dumps([self._mark, sorted(point.items())])
        return hashlib.sha256(words.encode()).hexdigest()[:32]

    def known(self, key: str) -> Trial | None:
        """The trial of a key from the ledger."""
        record = self.ledger.records.get(key) if self.ledger is not None else None
        if record is None:
            return None
        return Trial(record["point"], record["score"], record["seconds"], record["error"])

    def put(self, key: str, trial: Trial) -> None:
        """Keep a trial; it is on the disk when this returns."""
        if self.ledger is not None:
            record = {"method": self.task.method, "point": trial.point, "score": trial.score}
            self.ledger.add(key, record | {"seconds": trial.seconds, "error": trial.error})
        self.trials[key] = trial

    def state(self, order: Sequence[str], total: int) -> State[SweepTable]:
        """Where the search stands; trials in the order of ``order``."""
        trials = tuple(self.trials[key] for key in order if key in self.trials)
        table = SweepTable(self.task, self.axes, trials)
        scores = [trial.score for trial in trials if trial.score is not None]
        losses = {"score": scores[-1], "best": min(scores)} if scores else {}
        return State(len(trials), total, losses, lambda: table, stage="searching")


def run_trial(task: Task, point: Point) -> Trial:
    """Score one point with the threads of the search; a failed computation is a trial without a score."""
    begin = time.monotonic()
    with threads_limited(task.how.threads):
        try:
            score = score_of(task, point)
        except (InputError, ComputeError, DeviceError) as error:
            return Trial(point, None, time.monotonic() - begin, str(error))
    return Trial(point, score, time.monotonic() - begin)


def _all(book: Book, points: list[Point], client: Any) -> Iterator[State[SweepTable]]:
    jobs = {book.key(point): point for point in points}
    order = list(jobs)
    for key in order:
        if (trial := book.known(key)) is not None:
            book.put(key, trial)
            yield book.state(order, len(order))
    left = {key: point for key, point in jobs.items() if key not in book.trials}
    for key, trial in _done(book.task, left, client):
        book.put(key, trial)
        yield book.state(order, len(order))


def _done(task: Task, jobs: Mapping[str, Point], client: Any) -> Iterator[tuple[str, Trial]]:
    if client is None:
        return serial(run_trial, {key: (task, point) for key, point in jobs.items()})
    shared = held(client, task)
    return distributed(run_trial, {key: (shared, point) for key, point in jobs.items()}, client)


def _bayesian(book: Book, client: Any) -> Iterator[State[SweepTable]]:
    from napari_dipmtv.sweep.bayesian import Suggester

    how, order = book.task.how, list[str]()
    suggester = Suggester(book.axes, how.seed)
    for _ in range(how.trials):
        number, point = suggester.ask()
        key = book.key(point)
        trial = book.known(key) or book.trials.get(key)
        if trial is None:
            _, trial = next(iter(_done(book.task, {key: point}, client)))
        book.put(key, trial)
        suggester.tell(number, trial.score)
        order = [*dict.fromkeys([*order, key])]
        yield book.state(order, how.trials)
