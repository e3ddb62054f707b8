"""A device that lacks memory or an operation, or dies on the way, to one `DeviceError` that says what to do."""

from __future__ import annotations

import gc
import traceback
from collections.abc import Callable, Iterator
from typing import Literal, TypeVar

import torch

from napari_dipmtv.errors import DeviceError, DipmtvError, expected
from napari_dipmtv.states import State
from napari_dipmtv.tomo.devices import release

T = TypeVar("T")
Fault = Literal["memory", "device", "missing"]

# what the allocators of CPU (Linux, Windows), CUDA libraries and Apple GPUs say; only torch's own one has a type
_MEMORY_WORDS = (
    "out of memory",
    "not enough memory",
    "can't allocate memory",
    "alloc_failed",
    "std::bad_alloc",
)
_DEVICE_WORDS = (
    "cuda error",
    "cudnn error",
    "cublas_status",
    "cudnn_status",
    "cufft error",
    "mps backend",
    "nvml",
)
# an operation, or one for this number format, that torch does not have for the device
_MISSING_WORDS = ("not currently implemented for the", "not implemented for", "could not run")


def explained(
    states: Iterator[State[T]], device: torch.device, smaller: Callable[[], str]
) -> Iterator[State[T]]:
    """Pass states on, and end them with a `DeviceError` where the device gives up; other errors pass.

    Parameters
    ----------
    states : generator of State
    device : torch.device
    smaller : callable
        Says which settings would need less memory; asked only then.

    Raises
    ------
    DeviceError
        For too little memory, with ``smaller``, for a GPU that failed, or for one that torch cannot use for every
        step. The tensors of the failed step are free by
        then: the error of torch holds the frames that hold them, so it is let go first.
    """
    try:
        yield from states
        return
    except (RuntimeError, MemoryError) as error:
        kind = fault(error)
        if kind is None:
            raise
        said = str(error).splitlines()[0] if str(error) else type(error).__name__
        traceback.clear_frames(error.__traceback__)
    if kind == "device":  # its context is dead; asking it for anything raises the next error
        advice = "Restart the program, then go on from the last checkpoint, or choose cpu"
        raise DeviceError(expected(f"device {device}", "an answer", f"'{said}'", advice))
    if kind == "missing":
        advice = "Choose cpu, or install a newer torch"
        raise DeviceError(expected(f"device {device}", "every step of this method", f"'{said}'", advice))
    gc.collect()
    release(device)
    raise DeviceError(expected(f"memory of {device}", "enough for this run", f"'{said}'", smaller()))


def fault(error: BaseException) -> Fault | None:
    """Tell a lack of memory and a dead device from every other error."""
    if isinstance(error, DipmtvError):
        return None
    text = str(error).lower()
    if isinstance(error, torch.OutOfMemoryError | MemoryError) or any(word in text for word in _MEMORY_WORDS):
        return "memory"
    if isinstance(error, NotImplementedError):
        return "missing" if any(word in text for word in _MISSING_WORDS) else None
    return "device" if any(word in text for word in _DEVICE_WORDS) else None
