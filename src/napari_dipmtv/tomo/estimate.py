"""A tilt series and a method to what its reconstruction will take, before it starts: time and memory."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch

from napari_dipmtv.data import TiltSeries
from napari_dipmtv.errors import DeviceError, expected
from napari_dipmtv.settings.tomo import DipSettings, Method, MethodSettings, WbpSettings
from napari_dipmtv.states import State, run
from napari_dipmtv.tomo import devices, memory
from napari_dipmtv.tomo.problem import rows
from napari_dipmtv.tomo.reconstruct import check, reconstruct_states

TIMED_STEPS = 2  # behind the first one, which also compiles kernels
TRIAL_ROWS = 32  # of the maps; more where a deep network cannot do with them
_SURE = 1.5  # the memory is known to this factor


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a reconstruction will take.

    Attributes
    ----------
    seconds_per_iteration, seconds : float
        Of one step, and of all steps that were asked for; NaN until steps have been timed.
    memory_bytes : int
        Peak on top of what the process and its input take, right within a factor of 1.5.
    available_bytes : int
        What the device can give now.
    note : str
        What would need less memory, where it will be short; else empty.
    """

    seconds_per_iteration: float
    seconds: float
    memory_bytes: int
    available_bytes: int
    note: str = ""

    @property
    def fits(self) -> bool:
        """False where the memory is certainly too small."""
        return self.memory_bytes < _SURE * self.available_bytes

    def must_fit(self) -> None:
        """Raise `DeviceError` where the memory is certainly too small: a system short of memory ends the program."""
        if not self.fits:
            raise DeviceError(
                expected(
                    "memory",
                    f"{memory.size(self.memory_bytes)} for this reconstruction",
                    f"{memory.size(self.available_bytes)} free",
                    self.note,
                )
            )


def estimate(
    series: TiltSeries,
    method: Method = "dipm-tv",
    settings: MethodSettings | None = None,
    device: str = "auto",
) -> Estimate:
    """Say how long a reconstruction will take and how much memory; see `estimate_states`."""
    return run(estimate_states(series, method, settings, device)).value


def estimate_states(
    series: TiltSeries,
    method: Method = "dipm-tv",
    settings: MethodSettings | None = None,
    device: str = "auto",
) -> Iterator[State[Estimate]]:
    """Count the memory, then take a few steps on a slab of the maps and scale their time to all rows.

    Slices across the tilt axis cost the same each, so that a slab of 32 rows tells the time of 128. The time is that
    of all steps on the whole field: a deep image prior that crops to the object takes less, and its first CS-TV volume
    is not part of it.

    Parameters
    ----------
    series, method, settings, device
        As for `napari_dipmtv.tomo.reconstruct.reconstruct`.

    Yields
    ------
    State of Estimate
        The first one, at once, has no times yet. Where the memory does not suffice no step is taken.

    Raises
    ------
    InputError, DeviceError
        As the reconstruction would.
    """
    settings = check(series, method, settings)
    where = devices.pick_device(device)
    reached = _memory(series, method, settings, where)
    wanted = steps(settings)
    total = min(1 + TIMED_STEPS, wanted) if reached.fits else 0
    yield State(0, total, {}, lambda found=reached: found, stage="estimating")  # type: ignore[misc]
    if not reached.fits:
        return
    slab = _slab(series, settings)
    scale = series.data.shape[2] / slab.data.shape[2]
    begin, fastest = time.perf_counter(), float("inf")
    for state in reconstruct_states(slab, method, _quick(settings, len(slab.channels)), device):
        devices.wait_for(where)
        now = time.perf_counter()
        if state.iteration > 1 or wanted == 1:
            fastest = min(fastest, now - begin)
            each = scale * fastest
            reached = replace(reached, seconds_per_iteration=each, seconds=each * wanted)
        yield State(state.iteration, total, {}, lambda found=reached: found, stage="estimating")  # type: ignore[misc]
        begin = time.perf_counter()


def steps(settings: MethodSettings) -> int:
    """How many steps a method takes at most; weighted back-projection takes one."""
    return 1 if isinstance(settings, WbpSettings) else settings.iterations


def _memory(series: TiltSeries, method: Method, settings: MethodSettings, device: torch.device) -> Estimate:
    needed, available = memory.memory_bytes(series, method, settings, device), devices.available_bytes(device)
    note = memory.advice(series, method, settings, device) if needed > available else ""
    return Estimate(float("nan"), float("nan"), needed, available, note)


def _slab(series: TiltSeries, settings: MethodSettings) -> TiltSeries:
    """Rows from the middle: enough for the network, few enough to be quick; the row of most signal among them."""
    levels = len(settings.filters) if isinstance(settings, DipSettings) else 0
    height, ny = max(TRIAL_ROWS, 2 ** (levels + 1)), series.data.shape[2]
    if ny <= height:
        return series
    brightest = int(series.data.sum(axis=(0, 1, 3)).argmax())
    first = min(max(0, brightest - height // 2), ny - height)
    slab = rows(series, first, first + height)
    seen = (slab.data.sum(axis=(1, 2, 3)) > 0).all()  # a channel may live in other rows
    views = len(slab.tilts_deg) if slab.valid is None else slab.valid.any(axis=(1, 2)).sum()
    return slab if seen and views >= 3 else series


def _quick(settings: MethodSettings, channels: int) -> MethodSettings:
    """The same steps, but only a few of them and nothing before or between them."""
    if isinstance(settings, WbpSettings):
        return settings
    few = min(1 + TIMED_STEPS, settings.iterations)
    if not isinstance(settings, DipSettings):
        return settings.replace(iterations=few)
    seen = channels if settings.network_input == "cs-tv" else settings.input_channels
    return settings.replace(
        iterations=few, network_input="random", input_channels=seen, crop=False, cavities=False, polish=0
    )
