"""Time one iteration of SIRT, CS-TV and DIPm-TV, a whole WBP, and how soon there is a volume to look at.

``--device cuda`` does so on a GPU.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from statistics import median

import report  # first: pins the threads

# isort: split
import numpy as np
import torch

from napari_dipmtv.data import Volume
from napari_dipmtv.phantom import count_series, make_volume
from napari_dipmtv.settings.phantom import PhantomSettings
from napari_dipmtv.settings.tomo import CsTvSettings, DipSettings, Method, SirtSettings, WbpSettings
from napari_dipmtv.states import State
from napari_dipmtv.tomo.cs_tv import cs_tv
from napari_dipmtv.tomo.dip_tv import dipm_tv
from napari_dipmtv.tomo.problem import Problem, pose
from napari_dipmtv.tomo.reconstruct import reconstruct_states
from napari_dipmtv.tomo.sirt import sirt
from napari_dipmtv.tomo.wbp import wbp

TILTS = tuple(np.linspace(-70, 70, 9))
STEPS = 20
FIRST: dict[str, Method] = {"SIRT": "sirt", "DIPm-TV": "dipm-tv"}


def problem(n: int, channels: int, device: torch.device) -> Problem:
    """The counted cube of FeO and Fe3O4, or of FeO alone; everything that is computed once is computed."""
    volume = make_volume(PhantomSettings(field_voxels=n, voxel_nm=48 / n))
    part = volume.replace(data=volume.data[:channels], channels=volume.channels[:channels])
    posed = pose(count_series(part, TILTS, relative_noise=0.27), device)
    assert posed.mass > 0
    return posed


def step_seconds(states: Iterator[State[Volume]], seconds: Callable[..., float]) -> float:
    """Median time of one step."""
    return seconds(lambda: next(states), STEPS - 1)


def first_volume(posed: Problem, method: Method, device: torch.device) -> Volume:
    """What a person sees first after the start: projector, units and one step."""
    return next(reconstruct_states(posed.series, method, device=str(device))).snapshot()


def rows(device: torch.device) -> Iterator[list[str]]:
    """One per method and size."""
    seconds = report.cuda_seconds if device.type == "cuda" else report.seconds
    sizes = ((64, 2), (128, 1), (128, 2)) if device.type == "cpu" else ((64, 2), (128, 2), (256, 2))
    for n, channels in sizes:
        posed = problem(n, channels, device)
        what = f"{n}³ x {channels}"
        counted = CsTvSettings(iterations=200, tolerance=0)
        squares = counted.replace(data_term="least-squares")
        methods: tuple[tuple[str, Iterator[State[Volume]]], ...] = (
            ("SIRT", sirt(posed, SirtSettings(iterations=200))),
            ("CS-TV, Poisson", cs_tv(posed, counted)),
            ("CS-TV, least squares", cs_tv(posed, squares)),
        )
        for name, states in methods:
            yield [what, name, "one step", f"{step_seconds(states, seconds) * 1e3:.1f} ms"]
        took = seconds(lambda p=posed: list(wbp(p, WbpSettings())), 3)
        yield [what, "WBP", "whole", f"{took * 1e3:.0f} ms"]
        if n == 64 or device.type == "cuda":
            dip = dipm_tv(posed, DipSettings(iterations=200, network_input="random", crop=False))
            times = [seconds(lambda dip=dip: next(dip), 1) for _ in range(4)]
            yield [what, "DIPm-TV", "one step", f"{median(times) * 1e3:.0f} ms"]
        if n == 128 and channels == 2:
            for name, method in FIRST.items():
                took = seconds(lambda p=posed, m=method: first_volume(p, m, device), 1)
                yield [what, name, "from start to first volume", f"{took * 1e3:.0f} ms"]


def main() -> None:
    """Measure and print."""
    chosen = report.options(__doc__ or "")
    torch.set_num_threads(1)
    head = ("volume, 9 tilts", "method", "what", "time")
    made = report.table(head, rows(torch.device(chosen.device)))
    if chosen.device == "cuda":
        report.finish("Methods on a GPU", f"Wall time on {report.graphics()}\n\n{made}", write=chosen.write)
        return
    text = f"By `benchmarks/bench_engine.py`, processor time of one thread on {report.machine(('torch', 'numpy'))}"
    report.finish("Methods", f"{text}\n\n{made}", write=chosen.write)


if __name__ == "__main__":
    main()
