"""The name of a device to a torch device, and what CPUs, CUDA cards and Apple GPUs do each in their own way."""

from __future__ import annotations

import numpy as np
import psutil
import torch

from napari_dipmtv.data import F64
from napari_dipmtv.errors import DeviceError, expected


def pick_device(name: str) -> torch.device:
    """Turn "auto", "cpu", "cuda" or "mps" into a torch device; raises `DeviceError` for one that is not there."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name == "cuda" and not torch.cuda.is_available():
        raise DeviceError(
            expected(
                "device", "a CUDA GPU and a CUDA build of torch", "none", "Choose cpu, or install CUDA torch"
            )
        )
    if name == "mps" and not torch.backends.mps.is_available():
        raise DeviceError(expected("device", "an Apple GPU", "none", "Choose cpu"))
    if name not in ("cpu", "cuda", "mps"):
        raise DeviceError(expected("device", "auto, cpu, cuda or mps", name, "Choose one of them"))
    return torch.device(name)


def wait_for(device: torch.device) -> None:
    """Return when the device has done all that it was given: on GPUs work is only queued."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def available_bytes(device: torch.device) -> int:
    """Memory that the device can still give, in bytes."""
    free = int(psutil.virtual_memory().available)
    if device.type == "cuda":
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(torch.cuda.mem_get_info(device)[0] + unused)
    if device.type == "mps":  # shared with the processor, and Metal gives a part of it only
        return min(free, torch.mps.recommended_max_memory() - torch.mps.current_allocated_memory())
    return free


def release(device: torch.device) -> None:
    """Give the memory back that torch holds in store."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
    elif device.type == "mps":
        torch.mps.empty_cache()


def exact(x: torch.Tensor) -> F64:
    """The numbers in float64 and on the host: Apple GPUs know no float64."""
    return x.detach().cpu().numpy().astype(np.float64)
