"""Scores so far to the point that promises most, by optuna's tree-structured Parzen estimator."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from napari_dipmtv.errors import InputError, expected
from napari_dipmtv.sweep.space import Axis, Point


class Suggester:
    """Asks optuna for points and tells it their scores; the same seed and scores give the same points.

    Raises
    ------
    InputError
        When optuna is not installed.
    """

    def __init__(self, axes: Sequence[Axis], seed: int) -> None:
        try:
            import optuna
        except ImportError as error:
            advice = "Run: pip install 'napari-dipmtv[sweep]', or search=random"
            raise InputError(expected("Bayesian search", "the package optuna", "none", advice)) from error
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._failed = optuna.trial.TrialState.FAIL
        self._axes = axes
        self._study: Any = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed))

    def ask(self) -> tuple[Any, Point]:
        """The next trial of optuna, and its point."""
        trial = self._study.ask()
        return trial, {axis.name: self._suggested(trial, axis) for axis in self._axes}

    def tell(self, trial: Any, score: float | None) -> None:
        """Give the score of a trial, or None where it failed."""
        if score is None:
            self._study.tell(trial, state=self._failed)
        else:
            self._study.tell(trial, score)

    @staticmethod
    def _suggested(trial: Any, axis: Axis) -> Any:
        if axis.low is None or axis.high is None:
            # by number: lists are no categories to optuna
            return axis.values[trial.suggest_categorical(axis.name, list(range(len(axis.values))))]
        if axis.whole:
            return trial.suggest_int(axis.name, round(axis.low), round(axis.high), log=axis.log)
        return float(f"{trial.suggest_float(axis.name, axis.low, axis.high, log=axis.log):.6g}")
