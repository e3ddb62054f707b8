"""Few chemical tilts and many HAADF tilts to one chemical volume: the entrance to the fused procedures."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from numpy.typing import NDArray

from napari_dipmtv.data import TiltSeries, Volume
from napari_dipmtv.settings.fused import (
    FUSED_METHODS,
    FusedDipSettings,
    FusedMethod,
    FusedMethodSettings,
    PublishedFusedSettings,
)
from napari_dipmtv.states import State, never, run
from napari_dipmtv.tomo.device_faults import explained
from napari_dipmtv.tomo.devices import pick_device
from napari_dipmtv.tomo.dip_tv import dipm_tv
from napari_dipmtv.tomo.fused_dip import HaadfData, must_be_tilted
from napari_dipmtv.tomo.fused_joint import fused_joint
from napari_dipmtv.tomo.fused_problem import FusedProblem, pose_fused
from napari_dipmtv.tomo.fused_published import fused_published
from napari_dipmtv.tomo.reconstruct import ReconResult, finished, must_suit_network, settings_of


def fuse(
    chemical: TiltSeries,
    haadf: TiltSeries,
    method: FusedMethod = "fused",
    settings: FusedMethodSettings | None = None,
    device: str = "auto",
    *,
    resume: Mapping[str, NDArray[Any]] | None = None,
    on_state: Callable[[State[Volume]], None] | None = None,
    should_stop: Callable[[], bool] = never,
) -> ReconResult:
    """Reconstruct a chemical volume from chemical maps and a HAADF series of the same object.

    Parameters
    ----------
    chemical : TiltSeries
        Aligned maps (c, t, y, x), few tilts.
    haadf : TiltSeries
        Aligned HAADF images (1, t, y, x) with the background of vacuum subtracted, on the same pixels; other and more
        tilts. One view of each at the same tilt is the two-dimensional case.
    method : {"fused", "fused-dipm-tv", "fused-published"}
        Our joint likelihood, DIPm-TV with a HAADF term, or the released procedure.
    settings : settings of the method, optional
    device : {"auto", "cpu", "cuda", "mps"}
    resume : mapping, optional
        A checkpoint of an earlier run (`State.checkpoint`) on the same data with the same settings, but for
        ``iterations``.
    on_state, should_stop : callables, optional
        See `napari_dipmtv.states.run`.

    Returns
    -------
    ReconResult
        One voxel thick for single views; ``residual`` is that of the chemical maps. Losses: see `fused_joint`,
        `napari_dipmtv.tomo.dip_tv.dipm_tv` ("further" is the HAADF misfit) and `fused_published`.

    Raises
    ------
    InputError, GeometryError
        For settings of another method and series that do not fit together; see `pose_fused`.
    DeviceError
        For a device that is not there, or that gave up before there was anything to keep.
    """
    problem, settings = _prepared(chemical, haadf, method, settings, device)
    result = run(_states(problem, settings, resume), on_state=on_state, should_stop=should_stop)
    return finished(result, problem.chemical, method, settings)


def fuse_states(
    chemical: TiltSeries,
    haadf: TiltSeries,
    method: FusedMethod = "fused",
    settings: FusedMethodSettings | None = None,
    device: str = "auto",
    *,
    resume: Mapping[str, NDArray[Any]] | None = None,
) -> Iterator[State[Volume]]:
    """Like `fuse`, as an iterator of states for whoever wants to look, draw or stop between steps."""
    return _states(*_prepared(chemical, haadf, method, settings, device), resume)


def _prepared(
    chemical: TiltSeries,
    haadf: TiltSeries,
    method: FusedMethod,
    settings: FusedMethodSettings | None,
    device: str,
) -> tuple[FusedProblem, FusedMethodSettings]:
    chosen: FusedMethodSettings = settings_of(method, settings, FUSED_METHODS)
    problem = pose_fused(chemical, haadf, pick_device(device))
    if isinstance(chosen, FusedDipSettings):
        must_be_tilted(problem.chemical)
        must_suit_network(chemical, chosen)
    return problem, chosen


def _states(
    problem: FusedProblem, settings: FusedMethodSettings, resume: Mapping[str, NDArray[Any]] | None
) -> Iterator[State[Volume]]:
    if isinstance(settings, PublishedFusedSettings):
        states = fused_published(problem, settings, resume=resume)
    elif isinstance(settings, FusedDipSettings):
        further = HaadfData(problem.haadf, settings) if settings.haadf_weight else None
        states = dipm_tv(problem.chemical, settings, resume=resume, further=further)
    else:
        states = fused_joint(problem, settings, resume=resume)
    return explained(states, problem.device, lambda: "Bin both series by two, or choose the cpu")
