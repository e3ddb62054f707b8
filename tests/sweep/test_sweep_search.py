"""Searches of settings: axes, scores, ledger, stop and resume."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_dipmtv.data import TiltSeries, Volume
from napari_dipmtv.errors import DeviceError, InputError, ReadError
from napari_dipmtv.settings.sweep import SweepSettings
from napari_dipmtv.settings.tomo import CsTvSettings, SirtSettings
from napari_dipmtv.states import run
from napari_dipmtv.sweep import search
from napari_dipmtv.sweep.figures import figure, rows
from napari_dipmtv.sweep.judging import splits
from napari_dipmtv.sweep.ledger import Ledger
from napari_dipmtv.sweep.scoring import deviance
from napari_dipmtv.sweep.search import sweep
from napari_dipmtv.sweep.space import drawn, grid, parse_axis

ITERATIONS = [parse_axis("iterations=1,6,200", SirtSettings)]


def test_axes_mean_what_they_say() -> None:
    assert parse_axis("tv_strength=0.01:1:log:3", CsTvSettings).values == (0.01, 0.1, 1.0)
    assert parse_axis("iterations=10:20:3", CsTvSettings).values == (10, 15, 20)
    assert parse_axis("tv=vectorial,per-channel", CsTvSettings).values == ("vectorial", "per-channel")
    axes = [parse_axis("iterations=1,2", CsTvSettings), parse_axis("tv_strength=0.1,0.2", CsTvSettings)]
    assert [tuple(p.values()) for p in grid(axes)] == [(1, 0.1), (1, 0.2), (2, 0.1), (2, 0.2)]


@pytest.mark.parametrize(
    "word", ["tv_strength", "nothing=1", "tv_strength=-1,2", "iterations=5:2", "tv_strength=0:1:log"]
)
def test_wrong_axes_are_refused(word: str) -> None:
    with pytest.raises(InputError):
        parse_axis(word, CsTvSettings)


def test_random_points_stay_inside_and_are_the_same_for_more_trials() -> None:
    axes = [parse_axis("tv_strength=0.01:1:log", CsTvSettings), parse_axis("iterations=5:50", CsTvSettings)]
    few, many = list(drawn(axes, 5, 3)), list(drawn(axes, 40, 3))
    assert many[:5] == few
    values = np.array([p["tv_strength"] for p in many])
    assert values.min() >= 0.01
    assert values.max() <= 1
    assert 10 < (values < 0.1).sum() < 30  # half of the draws lie below the middle of a logarithmic range
    assert all(isinstance(p["iterations"], int) for p in many)


def test_deviance_of_the_truth_is_that_of_noise(ball: Volume) -> None:
    from napari_dipmtv.phantom.dose import count_series

    dense = ball.replace(
        data=ball.data + 1.0
    )  # many counts in every pixel: there the deviance is chi-squared
    seen = count_series(dense, tuple(range(-60, 61, 15)), counts_per_unit=20.0, seed=2)
    assert deviance(dense, seen) == pytest.approx(1.0, abs=0.05)
    assert deviance(ball, seen) > 10


def test_held_out_folds_cover_every_view_once(counted_ball: TiltSeries) -> None:
    parts = list(splits(counted_ball, SweepSettings(scoring="held-out", folds=3)))
    assert sorted(t for _, out in parts for t in out.tilts_deg) == list(counted_ball.tilts_deg)
    assert all(len(kept.tilts_deg) + len(out.tilts_deg) == 9 for kept, out in parts)


@pytest.mark.parametrize("scoring", ["thinned", "held-out"])
def test_scores_without_truth_find_the_strength_that_the_truth_wants(
    counted_ball: TiltSeries, ball: Volume, scoring: str
) -> None:
    """Too little total variation follows the noise, far too much dissolves the ball; truth and scores say so."""
    axes, base = [parse_axis("tv_strength=0.001,0.1,20", CsTvSettings)], CsTvSettings(iterations=60)
    by_truth = run(sweep(counted_ball, axes, SweepSettings(scoring="truth"), "cs-tv", base, truth=ball)).value
    assert by_truth.best().point == {"tv_strength": 0.1}
    how = SweepSettings.from_mapping({"scoring": scoring})
    assert run(sweep(counted_ball, axes, how, "cs-tv", base)).value.best().point == {"tv_strength": 0.1}
    assert by_truth.best_settings() == base.replace(tv_strength=0.1)


def test_a_stopped_search_goes_on_and_nothing_is_computed_twice(
    counted_ball: TiltSeries, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    book = tmp_path / "sweep.jsonl"
    whole = run(sweep(counted_ball, ITERATIONS, None, "sirt")).value
    for _ in islice(sweep(counted_ball, ITERATIONS, None, "sirt", ledger=book), 2):
        pass
    with book.open("ab") as stream:
        stream.write(b'{"key": "torn')  # killed while it wrote
    calls: list[dict[str, object]] = []
    original = search.run_trial

    def counted(task: search.Task, point: dict[str, object]) -> search.Trial:
        calls.append(point)
        return original(task, point)

    monkeypatch.setattr(search, "run_trial", counted)
    again = run(sweep(counted_ball, ITERATIONS, None, "sirt", ledger=book)).value
    assert calls == [{"iterations": 200}]
    assert [t.score for t in again.trials] == [t.score for t in whole.trials]
    assert len(book.read_text().splitlines()) == 3
    run(sweep(counted_ball.replace(data=counted_ball.data * 2), ITERATIONS, None, "sirt", ledger=book))
    assert len(calls) == 4  # other data are other jobs


@pytest.fixture
def ends_early(monkeypatch: pytest.MonkeyPatch) -> Callable[[BaseException], None]:
    """Let every reconstruction end with an error after two steps, as Ctrl-C or a GPU may end it."""
    module = importlib.import_module("napari_dipmtv.tomo.reconstruct")
    original = module._method_states

    def install(error: BaseException) -> None:
        def states(*args: Any) -> Iterator[Any]:
            yield from islice(original(*args), 2)
            raise error

        monkeypatch.setattr(module, "_method_states", states)

    return install


def test_what_a_stop_left_half_done_is_not_scored(
    counted_ball: TiltSeries, tmp_path: Path, ends_early: Callable[[BaseException], None]
) -> None:
    book = tmp_path / "sweep.jsonl"
    ends_early(KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        run(sweep(counted_ball, ITERATIONS, None, "sirt", ledger=book))
    assert not book.exists()
    ends_early(DeviceError("device cuda: expected an answer, got none. Restart."))
    found = run(sweep(counted_ball, ITERATIONS, None, "sirt", ledger=book)).value
    assert all("expected an answer" in trial.error for trial in found.trials)


def test_a_failing_point_is_told_and_does_not_end_the_search(counted_ball: TiltSeries) -> None:
    from napari_dipmtv.settings.tomo import DipSettings

    base = DipSettings(
        iterations=1, filters=(4,), skips=(2,), network_input="random", crop=False, cavities=False
    )
    axes = [parse_axis("data_term=covariance,poisson", DipSettings)]
    found = run(sweep(counted_ball, axes, None, "dipm-tv", base)).value
    assert "covariance" in found.trials[0].error
    assert found.best() is found.trials[1]


def test_bayesian_search_repeats_itself_and_beats_the_first_guess(
    counted_ball: TiltSeries, tmp_path: Path
) -> None:
    pytest.importorskip("optuna")
    axes = [parse_axis("iterations=1:60:log", SirtSettings)]
    how = SweepSettings(search="bayesian", trials=12)
    book = tmp_path / "bayes.jsonl"
    first = run(sweep(counted_ball, axes, how, "sirt", ledger=book)).value
    assert [t.point for t in run(sweep(counted_ball, axes, how, "sirt", ledger=book)).value.trials] == [
        t.point for t in first.trials
    ]
    assert len({t.point["iterations"] for t in first.trials}) > 4
    assert len(book.read_text().splitlines()) == len({t.point["iterations"] for t in first.trials})
    worst, best = (f(t.score or 0.0 for t in first.trials) for f in (max, min))
    assert first.best().score == best < worst


def test_scoring_that_the_data_cannot_bear_is_refused(counted_ball: TiltSeries) -> None:
    plain = counted_ball.replace(counts_per_unit=None)
    with pytest.raises(InputError, match="counts or a covariance"):
        next(sweep(plain, ITERATIONS, None, "sirt"))
    with pytest.raises(InputError, match="true volume"):
        next(sweep(plain, ITERATIONS, SweepSettings(scoring="truth"), "sirt"))


def test_table_and_figures(counted_ball: TiltSeries) -> None:
    axes = [parse_axis("iterations=2,6", CsTvSettings), parse_axis("tv_strength=0.1,0.2,0.4", CsTvSettings)]
    found = run(sweep(counted_ball, axes, None, "cs-tv")).value
    listed = rows(found)
    assert [row["score"] for row in listed] == sorted(row["score"] for row in listed)
    image = figure(found).axes[0].images[0].get_array()
    assert image.shape == (3, 2)
    assert float(image.min()) == pytest.approx(listed[0]["score"])


def test_f52_a_ledger_with_a_damaged_line_says_which(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text(json.dumps({"key": "a", "score": 1}) + "\nrubbish\n" + json.dumps({"key": "b"}) + "\n")
    with pytest.raises(ReadError, match="line 2"):
        Ledger(path)
