"""Knobs of a hyper-parameter search: how points are chosen, and how a point is scored."""

from __future__ import annotations

from typing import Literal

from napari_dipmtv.settings.base import StageSettings, knob

Search = Literal["grid", "random", "bayesian"]
Scoring = Literal["thinned", "held-out", "truth"]


class SweepSettings(StageSettings):
    """How settings are searched and judged."""

    search: Search = knob(
        "grid",
        "Search",
        "Grid takes all combinations; random draws them; Bayesian asks where the next one promises most (needs optuna) "
        "and runs them one after the other.",
    )
    trials: int = knob(
        30, "Trials", "Points of a random or Bayesian search. More come closer to the best.", ge=1, le=10000
    )
    scoring: Scoring = knob(
        "thinned",
        "Scoring",
        "Thinned: reconstruct a share of the dose and predict the rest; needs counts or a covariance. Held-out: leave "
        "every few views out and predict them. Truth: distance from a known volume.",
    )
    share: float = knob(
        0.8,
        "Share of the dose",
        "Part that is reconstructed when scoring by thinning; the rest judges. The best settings are those of that "
        "lower dose.",
        gt=0,
        lt=1,
    )
    folds: int = knob(
        3,
        "Folds",
        "Groups into which the views are dealt when scoring by held-out views; each is left out once.",
        ge=2,
        le=20,
    )
    seed: int = knob(0, "Seed", "Start of the random numbers of search and thinning.", ge=0, le=2**31 - 1)
    threads: int = knob(
        1,
        "Threads",
        "Threads of every job, here and on other machines: equal numbers give equal volumes to the last bit.",
        ge=1,
        le=256,
    )
