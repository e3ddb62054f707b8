"""Few chemical tilts and many HAADF tilts to one chemical volume: the entrance to both fused procedures."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import torch

from napari_dipmtv.data import TiltSeries, Volume
from napari_dipmtv.errors import InputError, expected
from napari_dipmtv.settings.fused import (
    FUSED_METHODS,
    FusedMethod,
    FusedMethodSettings,
    FusedSettings,
    PublishedFusedSettings,
)
from napari_dipmtv.states import State, never, run
from napari_dipmtv.tomo.device_faults import explained
from napari_dipmtv.tomo.fused_joint import fused_joint
from napari_dipmtv.tomo.fused_problem import FusedProblem, pose_fused
from napari_dipmtv.tomo.fused_published import fused_published
from napari_dipmtv.tomo.problem import pick_device


@dataclass(frozen=True, slots=True, eq=False)
class FusedResult:
    """A volume reconstructed from two modalities, and how it was made.

    Attributes
    ----------
    volume : Volume
        (c, z, y, x) float32, in the units of the chemical maps per voxel; one voxel thick for single views.
    method, settings, device
        What was run, where.
    losses : mapping of str to list of float
        Curves over the iterations; see `fused_joint` and `fused_published`.
    iterations, seconds : int, float
        Done, and the time it took.
    stopped : bool
        True when it was ended early on request.
    residual : float
        ``|P x - y| / |y|`` of the chemical maps over the usable pixels.
    notes : tuple of str
        What went wrong on the way.
    """

    volume: Volume
    method: FusedMethod
    settings: FusedMethodSettings
    device: str
    losses: Mapping[str, list[float]]
    iterations: int
    seconds: float
    stopped: bool
    residual: float
    notes: tuple[str, ...] = ()


def fuse(
    chemical: TiltSeries,
    haadf: TiltSeries,
    method: FusedMethod = "fused",
    settings: FusedMethodSettings | None = None,
    device: str = "auto",
    *,
    on_state: Callable[[State[Volume]], None] | None = None,
    should_stop: Callable[[], bool] = never,
) -> FusedResult:
    """Reconstruct a chemical volume from chemical maps and a HAADF series of the same object.

    Parameters
    ----------
    chemical : TiltSeries
        Aligned maps (c, t, y, x), few tilts.
    haadf : TiltSeries
        Aligned HAADF images (1, t, y, x) with the background of vacuum subtracted, on the same pixels; other and more
        tilts. One view of each at the same tilt is the two-dimensional case.
    method : {"fused", "fused-published"}
        Our joint likelihood, or the released procedure.
    settings : settings of the method, optional
    device : {"auto", "cpu", "cuda", "mps"}
    on_state, should_stop : callables, optional
        See `napari_dipmtv.states.run`.

    Raises
    ------
    InputError, GeometryError
        For settings of another method and series that do not fit together; see `pose_fused`.
    DeviceError
        For a device that is not there, or that gave up before there was anything to keep.
    """
    problem, settings = _prepared(chemical, haadf, method, settings, device)
    result = run(_states(problem, settings), on_state=on_state, should_stop=should_stop)
    return FusedResult(
        volume=result.value,
        method=method,
        settings=settings,
        device=str(problem.device),
        losses=result.losses,
        iterations=result.iterations,
        seconds=result.seconds,
        stopped=result.stopped,
        residual=_residual(problem, result.value),
        notes=result.notes,
    )


def fuse_states(
    chemical: TiltSeries,
    haadf: TiltSeries,
    method: FusedMethod = "fused",
    settings: FusedMethodSettings | None = None,
    device: str = "auto",
) -> Iterator[State[Volume]]:
    """Like `fuse`, as an iterator of states for whoever wants to look, draw or stop between steps."""
    return _states(*_prepared(chemical, haadf, method, settings, device))


def _prepared(
    chemical: TiltSeries,
    haadf: TiltSeries,
    method: FusedMethod,
    settings: FusedMethodSettings | None,
    device: str,
) -> tuple[FusedProblem, FusedMethodSettings]:
    if method not in FUSED_METHODS:
        raise InputError(expected("method", " or ".join(FUSED_METHODS), repr(method), "Choose one of them"))
    wanted = FUSED_METHODS[method]
    settings = wanted() if settings is None else settings
    if not isinstance(settings, wanted):
        got = type(settings).__name__
        raise InputError(expected(f"settings of {method}", wanted.__name__, got, "Use the method's settings"))
    return pose_fused(chemical, haadf, pick_device(device)), settings


def _states(problem: FusedProblem, settings: FusedMethodSettings) -> Iterator[State[Volume]]:
    states = (
        fused_published(problem, settings)
        if isinstance(settings, PublishedFusedSettings)
        else fused_joint(problem, settings)
    )
    return explained(states, problem.device, lambda: "Bin both series by two, or choose the cpu")


def _residual(problem: FusedProblem, volume: Volume) -> float:
    y = torch.from_numpy(problem.chemical.series.data).to(problem.device)
    model = problem.chemical.projector(torch.from_numpy(volume.data).to(problem.device))
    return float((problem.chemical.valid * (model - y)).norm() / y.norm().clamp(min=1e-30))


__all__ = ["FusedResult", "FusedSettings", "PublishedFusedSettings", "fuse", "fuse_states"]
