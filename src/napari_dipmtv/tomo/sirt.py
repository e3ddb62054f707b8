"""Aligned maps to a non-negative volume by simultaneous iterative reconstruction (SIRT)."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from napari_dipmtv.data import Volume
from napari_dipmtv.settings.tomo import SirtSettings
from napari_dipmtv.states import State
from napari_dipmtv.tomo.problem import Problem, sirt_steps


def sirt(problem: Problem, settings: SirtSettings, *, start: Volume | None = None) -> Iterator[State[Volume]]:
    """Run SIRT on all channels at once; 10 steps and 10 more give exactly what 20 give.

    Parameters
    ----------
    problem : Problem
    settings : SirtSettings
    start : Volume, optional
        Where to go on from.

    Yields
    ------
    State of Volume
        Loss "residual": ``|P x - y| / |y|`` before the step.
    """
    x0 = None if start is None else torch.from_numpy(start.data).to(problem.device)
    steps = sirt_steps(problem, x0)
    for iteration in range(1, settings.iterations + 1):
        x, residual = next(steps)
        yield State(
            iteration,
            settings.iterations,
            {"residual": residual},
            lambda x=x: Volume(x.cpu().numpy(), problem.series.channels, problem.series.pixel_nm),  # type: ignore[misc]
            stage="SIRT",
        )
