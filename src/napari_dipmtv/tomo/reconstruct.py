"""A method's name, a tilt series and settings to a volume: the one entrance to all reconstructions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from numpy.typing import NDArray

from napari_dipmtv.data import TiltSeries, Volume
from napari_dipmtv.errors import DipmtvError, InputError, expected
from napari_dipmtv.settings.base import StageSettings
from napari_dipmtv.settings.fused import FusedMethod, FusedMethodSettings
from napari_dipmtv.settings.tomo import (
    METHODS,
    Backend,
    CsTvSettings,
    DipSettings,
    Method,
    MethodSettings,
    SirtSettings,
    WbpSettings,
)
from napari_dipmtv.states import Result, State, must_be_whole, never, run
from napari_dipmtv.tomo.cs_tv import cs_tv
from napari_dipmtv.tomo.device_faults import explained
from napari_dipmtv.tomo.devices import pick_device
from napari_dipmtv.tomo.dip_tv import dip_tv, dipm_tv
from napari_dipmtv.tomo.memory import advice
from napari_dipmtv.tomo.problem import Problem, pose
from napari_dipmtv.tomo.sirt import sirt
from napari_dipmtv.tomo.wbp import wbp

S = TypeVar("S", bound=StageSettings)


@dataclass(frozen=True, slots=True, eq=False)
class ReconResult:
    """A reconstructed volume and how it was made.

    Attributes
    ----------
    volume : Volume
        (c, z, y, x) float32, in the units of the maps per voxel.
    method, settings, device
        What was run, where.
    losses : mapping of str to list of float
        Curves over the iterations.
    iterations, seconds : int, float
        Done, and the time it took.
    stopped : bool
        True when it was ended early on request; the volume is what was reached.
    residual : float
        ``|P x - y| / |y|`` of the final volume over the usable pixels.
    notes : tuple of str
        What went wrong on the way, in words.
    fault : DipmtvError, optional
        What ended it, where no person did.
    """

    volume: Volume
    method: Method | FusedMethod
    settings: MethodSettings | FusedMethodSettings
    device: str
    losses: Mapping[str, list[float]]
    iterations: int
    seconds: float
    stopped: bool
    residual: float
    notes: tuple[str, ...] = ()
    fault: DipmtvError | None = None

    def whole(self) -> Volume:
        """Give the volume where one that was ended early is of no use; see `napari_dipmtv.states.must_be_whole`."""
        must_be_whole(self)
        return self.volume


def reconstruct(
    series: TiltSeries,
    method: Method = "dipm-tv",
    settings: MethodSettings | None = None,
    device: str = "auto",
    *,
    resume: Mapping[str, NDArray[Any]] | None = None,
    on_state: Callable[[State[Volume]], None] | None = None,
    should_stop: Callable[[], bool] = never,
) -> ReconResult:
    """Reconstruct a volume from an aligned tilt series.

    Parameters
    ----------
    series : TiltSeries
        Aligned maps (c, t, y, x).
    method : {"wbp", "sirt", "cs-tv", "dip-tv", "dipm-tv"}
    settings : settings of the method, optional
        Defaults when left out.
    device : {"auto", "cpu", "cuda", "mps"}
    resume : mapping, optional
        A checkpoint of an earlier run (`State.checkpoint`) on the same series with the same settings, but for
        ``iterations``; see `napari_dipmtv.io.checkpoints` for files.
    on_state, should_stop : callables, optional
        See `napari_dipmtv.states.run`. Ctrl-C, a lack of memory and a device that fails keep the volume reached so
        far; ``notes`` then says why.

    Raises
    ------
    InputError
        For settings of another method, fewer than three usable views, a channel without signal, maps too small for
        the network, or a checkpoint of another run.
    DeviceError
        For a device that is not there, or that gave up before there was anything to keep.
    """
    problem, settings = prepare(series, method, settings, device)
    states = _states(problem, method, settings, resume)
    result = run(states, on_state=on_state, should_stop=should_stop)
    return finished(result, problem, method, settings)


def finished(
    result: Result[Volume],
    problem: Problem,
    method: Method | FusedMethod,
    settings: MethodSettings | FusedMethodSettings,
) -> ReconResult:
    """Tell how a run went; ``problem`` holds the maps that the volume is compared with."""
    return ReconResult(
        volume=result.value,
        method=method,
        settings=settings,
        device=str(problem.device),
        losses=result.losses,
        iterations=result.iterations,
        seconds=result.seconds,
        stopped=result.stopped,
        residual=data_residual(problem, result.value),
        notes=result.notes,
        fault=result.fault,
    )


def reconstruct_states(
    series: TiltSeries,
    method: Method = "dipm-tv",
    settings: MethodSettings | None = None,
    device: str = "auto",
    *,
    resume: Mapping[str, NDArray[Any]] | None = None,
) -> Iterator[State[Volume]]:
    """Like `reconstruct`, but give the iterator of states to whoever wants to look, draw or stop between steps.

    A lack of memory and a device that fails end it with a `DeviceError` in plain words.
    """
    problem, settings = prepare(series, method, settings, device)
    return _states(problem, method, settings, resume)


def prepare(
    series: TiltSeries, method: Method, settings: MethodSettings | None, device: str
) -> tuple[Problem, MethodSettings]:
    """Check what is asked for and set up the problem on the device."""
    settings = check(series, method, settings)
    backend: Backend = "own" if isinstance(settings, WbpSettings) else settings.projector
    return pose(series, pick_device(device), backend=backend), settings


def check(series: TiltSeries, method: Method, settings: MethodSettings | None) -> MethodSettings:
    """Give the settings, or the defaults of the method, once they have proved to suit method and maps.

    Raises
    ------
    InputError
        For settings of another method, and for maps too small for the levels of the network.
    """
    settings = settings_of(method, settings, METHODS)
    must_suit_network(series, settings)
    return settings


def settings_of(method: str, settings: S | None, methods: Mapping[Any, type[S]]) -> S:
    """Give the settings, or the defaults of the method, one of ``methods``.

    Raises
    ------
    InputError
        For another method, and for settings of another one.
    """
    if method not in methods:
        raise InputError(expected("method", ", ".join(methods), repr(method), "Choose one of them"))
    wanted = methods[method]
    settings = wanted() if settings is None else settings
    if not isinstance(settings, wanted):
        raise InputError(
            expected(
                f"settings of {method}", wanted.__name__, type(settings).__name__, "Use the method's settings"
            )
        )
    return settings


def must_suit_network(series: TiltSeries, settings: StageSettings) -> None:
    """Refuse maps too small for the levels of a network; raises `InputError`."""
    levels, smallest = (
        len(settings.filters) if isinstance(settings, DipSettings) else 0,
        min(series.data.shape[2:]),
    )
    if levels and smallest <= 2**levels:
        raise InputError(
            expected(
                f"{levels} levels of filters",
                f"more than {2**levels} pixels along each side of the maps",
                smallest,
                "Give fewer filters and skips, or choose sirt or cs-tv",
            )
        )


def data_residual(problem: Problem, volume: Volume) -> float:
    """``|P x - y| / |y|`` over the usable pixels."""
    y = torch.from_numpy(problem.series.data).to(problem.device)
    r = problem.valid * (problem.projector(torch.from_numpy(volume.data).to(problem.device)) - y)
    return float(r.norm() / y.norm().clamp(min=1e-30))


def _states(
    problem: Problem, method: Method, settings: MethodSettings, resume: Mapping[str, NDArray[Any]] | None
) -> Iterator[State[Volume]]:
    states = _method_states(problem, method, settings, resume)
    return explained(states, problem.device, lambda: advice(problem.series, method, settings, problem.device))


def _method_states(
    problem: Problem, method: Method, settings: MethodSettings, resume: Mapping[str, NDArray[Any]] | None
) -> Iterator[State[Volume]]:
    if isinstance(settings, DipSettings):
        return (dipm_tv if method == "dipm-tv" else dip_tv)(problem, settings, resume=resume)
    if isinstance(settings, SirtSettings):
        return sirt(problem, settings, resume=resume)
    if isinstance(settings, CsTvSettings):
        return cs_tv(problem, settings, resume=resume)
    if resume is not None:
        raise InputError(
            expected("resume", "a method of many steps", method, "Start again; it takes a second")
        )
    return wbp(problem, settings)
