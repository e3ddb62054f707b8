"""The size of a reconstruction and its settings to the memory that it takes, and to settings that take less."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch.autograd.graph import saved_tensors_hooks

from napari_dipmtv.data import TiltSeries
from napari_dipmtv.settings.tomo import CsTvSettings, DipSettings, Method, MethodSettings
from napari_dipmtv.tomo.network import DipNetwork
from napari_dipmtv.tomo.precision import use_bfloat16
from napari_dipmtv.tomo.problem import rows
from napari_dipmtv.tomo.total_variation import total_variation

# Calibrated on the CPU with torch 2.13: peak of the resident memory of one step, 32³ to 128³, 2 channels, 9 tilts;
# benchmarks/bench_scaling.py measures it again, and a test holds the estimate to a factor of 1.5.
_TORCH = 190_000_000  # code and scratch of the convolution kernels, whatever the size
_PEAK = 1.45  # peak of forward and backward pass over what is kept between them
_BFLOAT16 = 0.7  # of that in bfloat16: what is resized or summed stays float32
_CODE = 20_000_000  # the same of the methods without a network
_CLASSIC = {True: 10, False: 8}  # volumes in memory: CS-TV with its dual field, and all others
_WEIGHT_BYTES = 100  # per matrix weight while the matrix is built: indices and values in 64 bit, sorted


@dataclass(frozen=True, slots=True)
class Smaller:
    """One way to need less memory: what to change, in words and as settings and device, and what it then takes."""

    words: str
    settings: MethodSettings
    device: str
    memory_bytes: int


def memory_bytes(series: TiltSeries, method: Method, settings: MethodSettings, device: torch.device) -> int:
    """Peak memory of a reconstruction on top of what the process and its input take already.

    A deep image prior that crops to the object takes less, by the share of the box in the field.

    Nothing is allocated: the network runs once on torch's meta device, which knows shapes only, and what autograd
    would keep is counted.

    Parameters
    ----------
    series : TiltSeries
        (c, t, y, x); the volume is as thick as it is wide.
    method, settings, device
        See `napari_dipmtv.tomo.reconstruct.reconstruct`.
    """
    channels, views, ny, nx = (int(n) for n in series.data.shape)
    shape = (channels, nx, ny, nx)
    volume = 4 * channels * nx * ny * nx
    matrix = _WEIGHT_BYTES * 2 * views * nx * nx
    maps = (
        4 * channels * views * ny * nx * (2 * channels + 4)
    )  # target, covariance and its inverse, residuals
    if not isinstance(settings, DipSettings):
        return _CODE + matrix + maps + _CLASSIC[isinstance(settings, CsTvSettings)] * volume
    networks = 1 if method == "dipm-tv" else channels
    share = _BFLOAT16 if _in_half(settings, device) else 1.0
    alone = (channels // networks, *shape[1:])
    kept, weights = _kept_by_autograd(alone, settings)
    inputs = 4 * _inputs(alone[0], settings) * nx * ny * nx
    # weights, gradient and two moments of AdamW; the input once for each network; its noisy copy is among the kept
    network = networks * (4 * weights + inputs) + int(_PEAK * share * kept)
    return _TORCH + matrix + maps + 2 * volume + network


def smaller(
    series: TiltSeries, method: Method, settings: MethodSettings, device: torch.device
) -> Iterator[Smaller]:
    """Ways to need less memory, the one that costs the result least first; each builds on the one before."""
    if isinstance(settings, DipSettings):
        if not _in_half(settings, device):
            settings = settings.replace(precision="bfloat16")
            yield _rung("precision=bfloat16", series, method, settings, device)
        while max(settings.filters) > 8 and min(settings.filters) > 2:
            settings = settings.replace(filters=tuple(max(2, f // 2) for f in settings.filters))
            words = f"filters=[{','.join(map(str, settings.filters))}]"
            yield _rung(words, series, method, settings, device)
    if device.type != "cpu":
        yield _rung("device cpu", series, method, settings, torch.device("cpu"))
    ny = series.data.shape[2]
    if ny >= 64:  # the rows along the tilt axis are independent but for network and total variation
        yield _rung(
            f"maps cropped to {ny // 2} rows, one half at a time",
            rows(series, 0, ny // 2),
            method,
            settings,
            device,
        )


def advice(series: TiltSeries, method: Method, settings: MethodSettings, device: torch.device) -> str:
    """One sentence on what would need less memory than these settings."""
    now = memory_bytes(series, method, settings, device)
    ways = [f"{way.words} ({size(way.memory_bytes)})" for way in smaller(series, method, settings, device)]
    if not ways:
        return f"This needs {size(now)}: crop or bin the maps"
    return f"This needs {size(now)}; try in this order, each with those before it: {'; '.join(ways)}"


def size(count: int) -> str:
    """A number of bytes for people."""
    return f"about {count / 1e9:.1f} GB" if count >= 1e9 else f"about {count / 1e6:.0f} MB"


def _rung(
    words: str, series: TiltSeries, method: Method, settings: MethodSettings, device: torch.device
) -> Smaller:
    return Smaller(words, settings, device.type, memory_bytes(series, method, settings, device))


def _kept_by_autograd(shape: tuple[int, ...], settings: DipSettings) -> tuple[int, int]:
    """Bytes that one forward pass to (c, z, y, x) keeps for the backward pass, and bytes of the weights."""
    kept: dict[int, int] = {}
    alive = []  # so that no two tensors share an address

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        alive.append(storage)
        kept[storage._cdata] = storage.nbytes()
        return tensor

    inputs = _inputs(shape[0], settings)
    with torch.device("meta"), torch.random.fork_rng(devices=[]):
        network = DipNetwork(inputs, shape[0], settings.filters, settings.skips, output=settings.output)
        z = torch.zeros((1, inputs, *shape[1:]))
        with saved_tensors_hooks(keep, lambda tensor: tensor):
            total_variation(network(z)[0].float(), settings.tv)
    weights = sum(p.numel() * p.element_size() for p in network.parameters())
    return sum(kept.values()), weights


def _in_half(settings: DipSettings, device: torch.device) -> bool:
    """Whether the network will be in bfloat16; where that was asked for, without a trial on the device."""
    return settings.precision == "bfloat16" or use_bfloat16(settings.precision, device)


def _inputs(channels: int, settings: DipSettings) -> int:
    """Channels that the network looks at: those of a CS-TV volume, or random ones."""
    return channels if settings.network_input == "cs-tv" else settings.input_channels
