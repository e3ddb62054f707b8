"""Follow the cost of one step with channels and tilts, and compute from it what 512³ voxels and 1000 particles need.

Processor times are measured here; times on a GPU are computed from the work of the network and the rates of the card,
and are marked so. The schedule is simulated event by event, with early ends and lost GPUs. About a minute.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import report  # first: pins the threads

# isort: split
import numpy as np
import torch
from schedule import simulated
from torch.utils.flop_counter import FlopCounterMode

from napari_dipmtv.data import TiltSeries
from napari_dipmtv.settings.fused import FusedSettings
from napari_dipmtv.settings.tomo import CsTvSettings, DipSettings, Method, SirtSettings
from napari_dipmtv.tomo.fused import fuse_states
from napari_dipmtv.tomo.memory import memory_bytes
from napari_dipmtv.tomo.network import DipNetwork
from napari_dipmtv.tomo.reconstruct import reconstruct_states

SIDE = 64
VARIED = ((2, 9), (4, 9), (2, 18))  # channels, tilts
ALONE: dict[Method, SirtSettings | CsTvSettings | DipSettings] = {
    "sirt": SirtSettings(),
    "cs-tv": CsTvSettings(tolerance=0),
    "dipm-tv": DipSettings(network_input="random", crop=False, cavities=False, polish=0),
}
# H200: bf16 products and memory traffic as measured by others, and the part of them that 3-D convolutions reach
PRODUCTS_PER_S, BYTES_PER_S, REACHED = 790e12, 4.3e12, 1 / 2.5
TRAFFIC = 7.0  # bytes moved in a step per byte that autograd keeps, counted operation by operation on a like network
PARTICLES, STEPS, LOSS_HOURS, HOST_S = 1000, 400, 500.0, 20.0


def maps(n: int, channels: int, tilts: int) -> TiltSeries:
    """Counts of a disc seen from all sides; what is in them does not change the cost of a step."""
    axis = np.linspace(-1, 1, n)
    disc = 20.0 * (axis[:, None] ** 2 + axis**2 < 0.6)
    counts = np.random.default_rng(0).poisson(np.broadcast_to(disc, (channels, tilts, n, n)))
    names = ("Fe", "O", "Co", "Mn")[:channels]
    angles = tuple(np.linspace(-70, 70, tilts))
    return TiltSeries(counts.astype(np.float32), names, angles, 0.5, counts_per_unit=1.0)


def steps() -> Iterator[list[str]]:
    """Time of one step of each method as channels or tilts double."""
    for method, settings in ALONE.items():
        count = 3 if method == "dipm-tv" else 12
        times = [
            step_ms(reconstruct_states(maps(SIDE, c, t), method, settings, "cpu"), count) for c, t in VARIED
        ]
        yield [method, *map(_ms, times), f"{times[1] / times[0]:.2f}", f"{times[2] / times[0]:.2f}"]
    fused = FusedSettings(start_iterations=1)
    times = [
        step_ms(fuse_states(maps(SIDE, c, t), maps(SIDE, 1, 47), "fused", fused, "cpu"), 12)
        for c, t in VARIED
    ]
    yield [
        "fused, 47 HAADF tilts",
        *map(_ms, times),
        f"{times[1] / times[0]:.2f}",
        f"{times[2] / times[0]:.2f}",
    ]


def step_ms(states: Iterator[object], count: int) -> float:
    """Median processor time of a step behind the first two, in ms; the generator keeps what is computed once."""
    for _ in islice(states, 2):
        pass
    return 1e3 * report.seconds(lambda: next(states), count - 1)


def _ms(value: float) -> str:
    return f"{value:.1f} ms" if value < 100 else f"{value:.0f} ms"


def memory() -> Iterator[list[str]]:
    """Estimated memory of whole fields; a deep image prior that crops takes less."""
    for n in (128, 256, 512):
        series = _shape_only(n)
        network = DipSettings(network_input="random", crop=False)
        asked: list[tuple[Method, SirtSettings | CsTvSettings | DipSettings]] = [
            ("sirt", SirtSettings()),
            ("cs-tv", CsTvSettings()),
            ("dipm-tv", network.replace(precision="float32")),
            ("dipm-tv", network.replace(precision="bfloat16")),
        ]
        needs = [memory_bytes(series, *each, torch.device("cpu")) / 1e9 for each in asked]
        yield [f"{n}³ x 2", *(f"{gb:.1f} GB" for gb in needs)]


def _shape_only(n: int) -> TiltSeries:
    """A series of ones."""
    data = np.ones((2, 9, n, n), np.float32)
    return TiltSeries(data, ("a", "b"), tuple(np.linspace(-70, 70, 9)), 0.5, counts_per_unit=1.0)


def gpu_step_s(n: int) -> float:
    """Computed seconds of one DIPm-TV step of n³ x 2 voxels in bfloat16: the slower of arithmetic and traffic."""
    settings = DipSettings()
    with torch.device("meta"):
        network = DipNetwork(2, 2, settings.filters, settings.skips, output=settings.output)
        looked_at = torch.zeros(1, 2, n, n, n)
        with FlopCounterMode(display=False) as counter:
            network(looked_at).sum().backward()
    series = _shape_only(n)
    half = settings.replace(precision="bfloat16", network_input="random", crop=False)
    classic = memory_bytes(series, "cs-tv", CsTvSettings(), torch.device("cpu"))
    kept = memory_bytes(series, "dipm-tv", half, torch.device("cpu")) - classic
    return max(counter.get_total_flops() / PRODUCTS_PER_S, TRAFFIC * kept / BYTES_PER_S) / REACHED


def particles() -> np.ndarray:
    """Seconds of 1000 particles on a GPU: sides of about 96 voxels, give or take a quarter; most runs end early."""
    random = np.random.default_rng(1)
    sides = np.clip(96 * np.exp(0.25 * random.normal(size=PARTICLES)), 48, 192)
    taken = STEPS * random.uniform(0.4, 1.0, PARTICLES)
    per_voxel = gpu_step_s(128) / 128**3
    return HOST_S + taken * per_voxel * sides**3


def campaigns(per_cpu_voxel_s: float) -> Iterator[list[str]]:
    """The campaign on 1, 8 and 64 GPUs, and on 64 processor cores."""
    jobs = particles()
    for gpus in (1, 8, 64):
        went = simulated(jobs, gpus, LOSS_HOURS)
        yield [f"{gpus} GPU", f"{went.hours:.2f} h", f"{100 * went.busy:.0f} %", str(went.redone)]
    ratio = per_cpu_voxel_s / (gpu_step_s(128) / 128**3)
    went = simulated(HOST_S + (jobs - HOST_S) * ratio, 64, LOSS_HOURS)
    yield ["64 processor cores", f"{went.hours:.0f} h", f"{100 * went.busy:.0f} %", str(went.redone)]


def main() -> None:
    """Measure, compute and print."""
    chosen = report.options(__doc__ or "")
    torch.set_num_threads(1)
    timed = list(steps())
    dip = next(float(row[1].split()[0]) for row in timed if row[0] == "dipm-tv") / 1e3 / SIDE**3
    head = (f"{SIDE}³", "2 channels, 9 tilts", "4 channels", "18 tilts", "channels x 2", "tilts x 2")
    needs = ("whole field, 9 tilts", "SIRT", "CS-TV", "DIPm-TV, float32", "DIPm-TV, bfloat16")
    went = ("1000 particles", "wall time", "busy", "jobs done again")
    text = (
        f"By `benchmarks/bench_campaign.py`, processor time of one thread on {report.machine(('torch',))}\n\n"
        f"{report.table(head, timed)}\n\nMemory, estimated:\n\n{report.table(needs, memory())}\n\n"
        f"Computed, not measured: one step of DIPm-TV on an H200 takes {1e3 * gpu_step_s(128):.1f} ms at 128³ x 2 "
        f"and {1e3 * gpu_step_s(512):.0f} ms at 512³ x 2. A simulated schedule of {PARTICLES} particles of about "
        f"96³ voxels, {STEPS} steps at most, {HOST_S:g} s each for reading, CS-TV and measures, a GPU lost every "
        f"{LOSS_HOURS:g} h:\n\n"
        f"{report.table(went, campaigns(dip))}"
    )
    report.finish("Campaign", text, write=chosen.write)


if __name__ == "__main__":
    main()
