"""A precision setting and a device to the number format of the network: bfloat16 where it is there and not slower."""

from __future__ import annotations

import math
import time
from functools import cache

import torch
from torch import nn

from napari_dipmtv.tomo.devices import wait_for

SLOWER = 2.0  # times float32: so far from 1 that a busy machine decides as an idle one does
_REPEATS = 4


def use_bfloat16(precision: str, device: torch.device) -> bool:
    """Tell whether the network runs in bfloat16.

    Parameters
    ----------
    precision : {"auto", "float32", "bfloat16"}
        "auto" wants hardware that multiplies bfloat16 natively and a short trial in which it is not clearly slower:
        some builds of torch have a slow path for 3-D convolutions. "bfloat16" wants that it runs at all.
    device : torch.device
    """
    if precision == "bfloat16":
        return math.isfinite(bfloat16_ratio(str(device)))
    return precision == "auto" and native(device) and bfloat16_ratio(str(device)) < SLOWER


def why_float32(precision: str, device: torch.device) -> str:
    """What to tell where bfloat16 was to be expected and float32 is used; empty otherwise."""
    hoped_for = precision == "bfloat16" or (precision == "auto" and native(device))
    if not hoped_for or use_bfloat16(precision, device):
        return ""
    fault = "does not run" if math.isinf(bfloat16_ratio(str(device))) else "is slower"
    return f"float32, since bfloat16 {fault} here"


def native(device: torch.device) -> bool:
    """Tell whether the hardware says that it multiplies bfloat16 itself."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return device.type == "cpu" and bool(torch.cpu._is_avx512_bf16_supported())


@cache
def bfloat16_ratio(device: str) -> float:
    """Time of a few convolutions in bfloat16 over that in float32, measured once per process; infinite where none run.

    Some 0.2 s on one core; global random numbers and the state of the network are left alone.
    """
    where = torch.device(device)
    try:
        half = _seconds(where, half=True)
    except (RuntimeError, TypeError):  # what the backends raise for a format that they lack
        return math.inf
    return half / _seconds(where, half=False)


def _seconds(device: torch.device, *, half: bool) -> float:
    """Shortest time of forward and backward pass through two convolutions of the network's kind."""
    with torch.random.fork_rng(devices=[]):
        layers = nn.Sequential(
            nn.Conv3d(16, 16, 3, padding=1), nn.BatchNorm3d(16), nn.Conv3d(16, 16, 3, padding=1)
        )
    # large enough in its first axes that torch takes the kernels of real sizes
    layers, z = layers.to(device), torch.full((1, 16, 40, 40, 6), 0.5, device=device)
    times = []
    for _ in range(1 + _REPEATS):  # the first one also prepares the kernels
        begin = time.perf_counter()
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=half):
            x = layers(z)
        x.float().square().mean().backward()
        wait_for(device)
        times.append(time.perf_counter() - begin)
    return min(times[1:])  # the one that other programs disturbed least
