"""Time one step of the network of DIPm-TV in the number formats and layouts that torch offers.

``torch.compile`` needs a C++ compiler and some minutes for the first step; ``bench_layout.py eager`` leaves it out.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import report  # first: pins the threads

# isort: split
import torch

from napari_dipmtv.settings.tomo import DipSettings
from napari_dipmtv.tomo.network import DipNetwork

SIDE = 52  # voxels: the box of the reference cube


@dataclass(frozen=True)
class Way:
    """One way to take a step."""

    half: bool = False
    channels_last: bool = False
    fused: bool = False
    compiled: bool = False


WAYS = {
    "float32": Way(),
    "float32, channels last": Way(channels_last=True),
    "bfloat16": Way(half=True),
    "bfloat16, fused AdamW": Way(half=True, fused=True),
    "**bfloat16, channels last** (CPU default)": Way(half=True, channels_last=True),
    "bfloat16, torch.compile": Way(half=True, compiled=True),
    "bfloat16, channels last, torch.compile": Way(half=True, channels_last=True, compiled=True),
}


def step_of(way: Way, device: str) -> Callable[[], None]:
    """Forward and backward pass and the optimiser, as a call without arguments."""
    settings = DipSettings()
    layout = torch.channels_last_3d if way.channels_last else torch.contiguous_format
    torch.manual_seed(0)
    network = DipNetwork(2, 2, settings.filters, settings.skips, output="fractions")
    network = network.to(device).to(memory_format=layout)
    z = torch.rand(1, 2, SIDE, SIDE, SIDE, device=device).to(memory_format=layout)
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-3, fused=way.fused)
    called = torch.compile(network) if way.compiled else network

    def step() -> None:
        with torch.autocast(device, dtype=torch.bfloat16, enabled=way.half):
            x = called(z)
        optimiser.zero_grad(set_to_none=True)
        x.float().square().mean().backward()
        optimiser.step()

    return step


def rows(device: str, *, compiled: bool) -> Iterator[list[str]]:
    """One per way: the first step by the clock, the others by processor time, and the ratio to float32."""
    plain = float("nan")
    for name, way in WAYS.items():
        if way.compiled and not compiled:
            continue
        step = step_of(way, device)
        begin = time.perf_counter()
        step()
        first = time.perf_counter() - begin
        took = report.cuda_seconds(step) if device == "cuda" else report.seconds(step, repeats=7)
        plain = took if name == "float32" else plain
        yield [name, f"{took * 1e3:.0f} ms", f"{plain / took:.2f}", f"{first:.1f} s"]


def main() -> None:
    """Print the table."""
    chosen = report.options(__doc__ or "", names=("eager",))
    torch.set_num_threads(1)
    head = ("way", "one step", "times float32's speed", "first step")
    text = (
        f"By `benchmarks/bench_layout.py`, {SIDE}³ voxels x 2 channels, default network; "
        f"{report.machine(('torch',))}\n\n"
        f"{report.table(head, rows(chosen.device, compiled='eager' not in chosen.names))}"
    )
    report.finish("Number format and layout", text, write=chosen.write)


if __name__ == "__main__":
    main()
