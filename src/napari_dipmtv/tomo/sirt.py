"""Aligned maps to a non-negative volume by simultaneous iterative reconstruction (SIRT)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from napari_dipmtv.data import Volume
from napari_dipmtv.errors import InputError, expected
from napari_dipmtv.projection.sparse import slices_fastest
from napari_dipmtv.settings.tomo import SirtSettings
from napari_dipmtv.states import State
from napari_dipmtv.tomo.problem import Problem, sirt_steps


def sirt(
    problem: Problem,
    settings: SirtSettings,
    *,
    start: Volume | None = None,
    resume: Mapping[str, NDArray[Any]] | None = None,
) -> Iterator[State[Volume]]:
    """Run SIRT on all channels at once; 10 steps and 10 more give exactly what 20 give.

    Parameters
    ----------
    problem : Problem
    settings : SirtSettings
    start : Volume, optional
        Where to begin instead of at zero; all iterations are taken from there.
    resume : mapping, optional
        A checkpoint of an earlier run on the same data; goes on with its count of iterations.

    Yields
    ------
    State of Volume
        Loss "residual": ``|P x - y| / |y|`` before the step.

    Raises
    ------
    InputError
        For a volume or a checkpoint of another size, or both ``start`` and ``resume``.
    """
    if start is not None and resume is not None:
        raise InputError(expected("start", "none beside a checkpoint", "both", "Give one of them"))
    done = 0 if resume is None else int(resume["iteration"])
    steps = sirt_steps(problem, _first(problem, None if start is None else start.data, resume))
    for iteration in range(done + 1, settings.iterations + 1):
        x, residual = next(steps)
        yield State(
            iteration,
            settings.iterations,
            {"residual": residual},
            lambda x=x: Volume(x.cpu().numpy(), problem.series.channels, problem.series.pixel_nm),  # type: ignore[misc]
            lambda n=iteration, x=x: {"iteration": np.array(n), "x": x.cpu().numpy().copy()},  # type: ignore[misc]
            stage="SIRT",
        )


def _first(
    problem: Problem, start: NDArray[Any] | None, resume: Mapping[str, NDArray[Any]] | None
) -> torch.Tensor:
    """Where the iteration begins, in data units and in the memory order of the projector."""
    x = slices_fastest(problem.shape, problem.device)
    given = start if resume is None else resume.get("x")
    if given is not None or resume is not None:
        if given is None or given.shape != tuple(x.shape):
            raise InputError(
                expected(
                    "volume to begin with",
                    f"shape {tuple(x.shape)}",
                    "none" if given is None else given.shape,
                    "Use one of the same series",
                )
            )
        x.copy_(torch.from_numpy(given))
    return x
