"""Follow time per step and peak memory of the methods from 32³ to 128³ voxels, each beside the estimate of memory.

Every row is a process of its own, on the whole field, 2 channels and 9 tilts; ``bench_scaling.py --one 64 dipm-tv
float32`` gives one as JSON. About five minutes.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import report  # first: pins the threads

# isort: split
import numpy as np

SIZES = (32, 64, 96, 128)
PUBLISHED = "published"  # the recipe of the EELS simulation
METHODS = (
    ("sirt", "float32"),
    ("cs-tv", "float32"),
    ("dipm-tv", "float32"),
    ("dipm-tv", "bfloat16"),
    (PUBLISHED, "float32"),
)
STEPS = {"sirt": 12, "cs-tv": 12}  # and 2 of the networks
FIGURE = Path(__file__).with_name("scaling.png")


def measure(n: int, method: str, precision: str) -> dict[str, float]:
    """Let this process grow by the first steps; gives seconds of one step, and peak and estimate in bytes."""
    import torch

    from napari_dipmtv.data import TiltSeries
    from napari_dipmtv.settings.presets import preset
    from napari_dipmtv.settings.tomo import METHODS, DipSettings
    from napari_dipmtv.tomo.memory import memory_bytes
    from napari_dipmtv.tomo.reconstruct import reconstruct_states

    torch.set_num_threads(1)
    axis = np.linspace(-1, 1, n)
    disc = 20.0 * (axis[:, None] ** 2 + axis**2 < 0.6)
    counts = np.random.default_rng(0).poisson(np.broadcast_to(disc, (2, 9, n, n))).astype(np.float32)
    series = TiltSeries(counts, ("a", "b"), tuple(np.linspace(-70, 70, 9)), 0.5, counts_per_unit=1.0)
    recipe = method == PUBLISHED
    settings = preset("dipm-tv", "published EELS simulation") if recipe else METHODS[method]()  # type: ignore[index]
    settings = settings.replace(iterations=STEPS.get(method, 2))
    if isinstance(settings, DipSettings):
        settings = settings.replace(
            precision=precision, network_input="random", crop=False, cavities=False, polish=0
        )
    name = "dipm-tv" if recipe else method
    times, _, peak_mb = report.once(lambda: list(_timed(reconstruct_states(series, name, settings, "cpu"))))  # type: ignore[arg-type]
    estimate = memory_bytes(series, name, settings, torch.device("cpu"))  # type: ignore[arg-type]
    return {
        "seconds": float(np.median(times[1:])),
        "peak": 1048576 * (peak_mb or np.nan),
        "estimate": estimate,
    }


def _timed(states: Iterator[Any]) -> Iterator[float]:
    begin = time.process_time()
    for _ in states:
        yield time.process_time() - begin
        begin = time.process_time()


def in_words(row: dict[str, Any]) -> list[str]:
    """One line of the table."""
    peak, estimate = row["peak"] / 1e6, row["estimate"] / 1e6
    return [
        f"{row['n']}³",
        row["method"],
        row["precision"],
        f"{row['seconds'] * 1e3:.0f} ms" if row["seconds"] >= 0.01 else f"{row['seconds'] * 1e3:.1f} ms",
        f"{peak:.0f} MB",
        f"{estimate:.0f} MB",
        f"{estimate / peak:.2f}",
    ]


def draw(rows: list[dict[str, Any]]) -> None:
    """Both quantities over the side of the volume."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, panels = plt.subplots(1, 2, figsize=(8.5, 3.2), layout="constrained")
    for method, precision in METHODS:
        mine = [row for row in rows if (row["method"], row["precision"]) == (method, precision)]
        sides = [row["n"] for row in mine]
        label = f"{method}, {precision}" if method == "dipm-tv" else method
        panels[0].plot(sides, [row["seconds"] for row in mine], "o-", label=label)
        panels[1].plot(sides, [row["peak"] / 1e9 for row in mine], "o-")
    panels[0].set_ylabel("processor time of one step / s")
    panels[1].set_ylabel("peak memory / GB")
    for panel in panels:
        panel.set(xscale="log", yscale="log", xlabel="voxels along a side")
        panel.set_xticks(SIZES, map(str, SIZES))
        panel.minorticks_off()
        panel.grid(alpha=0.3)
    figure.legend(loc="outside right upper", fontsize=7)
    figure.savefig(FIGURE, dpi=110)


def main() -> None:
    """Give one row as JSON, or print the table."""
    if len(sys.argv) == 5 and sys.argv[1] == "--one":
        print(json.dumps(measure(int(sys.argv[2]), *sys.argv[3:])))
        return
    chosen = report.options(__doc__ or "")
    if chosen.device == "cuda":
        return  # bench_engine.py has the GPU
    rows = []
    for n in SIZES:
        for method, precision in METHODS:
            command = [sys.executable, __file__, "--one", str(n), method, precision]
            done = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
            rows.append({"n": n, "method": method, "precision": precision, **done})
    head = ("volume", "method", "precision", "one step", "peak memory", "estimate", "estimate / peak")
    text = (
        f"By `benchmarks/bench_scaling.py`: whole field, 2 channels, 9 tilts; processor time of one thread on "
        f"{report.machine(('torch', 'numpy'))}\nMemory on top of that of program and maps.\n\n"
        f"{report.table(head, map(in_words, rows))}\n\n![Scaling]({FIGURE.name})"
    )
    if chosen.write:
        draw(rows)
    report.finish("Scaling", text, write=chosen.write)


if __name__ == "__main__":
    main()
