"""Measured peak memory of the first steps of a reconstruction beside the estimate, each in a process of its own.

python benchmarks/bench_memory.py                       # a table
python benchmarks/bench_memory.py 64 dipm-tv float32    # one row, as JSON: voxels along a side, method, precision
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading

import numpy as np
import psutil

CASES = [
    (64, "sirt", "float32"),
    (64, "cs-tv", "float32"),
    (64, "dip-tv", "float32"),
    (32, "dipm-tv", "float32"),
    (64, "dipm-tv", "float32"),
    (64, "dipm-tv", "bfloat16"),
    (128, "dipm-tv", "float32"),
    (128, "dipm-tv", "bfloat16"),
]


def measure(n: int, method: str, precision: str) -> dict[str, float]:
    """Grow this process by two steps on n³ voxels, 2 channels, 9 tilts, and give both numbers in bytes."""
    from napari_dipmtv.data import TiltSeries
    from napari_dipmtv.settings.tomo import METHODS, DipSettings
    from napari_dipmtv.tomo.memory import memory_bytes
    from napari_dipmtv.tomo.problem import pick_device
    from napari_dipmtv.tomo.reconstruct import reconstruct_states

    axis = np.linspace(-1, 1, n)
    disc = 20.0 * (axis[:, None] ** 2 + axis**2 < 0.6)
    counts = np.random.default_rng(0).poisson(np.broadcast_to(disc, (2, 9, n, n))).astype(np.float32)
    series = TiltSeries(counts, ("a", "b"), tuple(np.linspace(-70, 70, 9)), 0.5, counts_per_unit=1.0)
    settings = METHODS[method](iterations=2)
    if isinstance(settings, DipSettings):
        settings = settings.replace(precision=precision, network_input="random", crop=False, cavities=False)
    resident = psutil.Process().memory_info
    before, peak, done = resident().rss, [0], threading.Event()

    def watch() -> None:  # the peak that the system keeps begins with that of the parent process
        while not done.wait(0.002):
            peak[0] = max(peak[0], resident().rss)

    watcher = threading.Thread(target=watch)
    watcher.start()
    for _ in reconstruct_states(series, method, settings, "cpu"):
        pass
    done.set()
    watcher.join()
    return {"peak": peak[0] - before, "estimate": memory_bytes(series, method, settings, pick_device("cpu"))}


def main() -> None:
    """Print one row as JSON, or the table."""
    if len(sys.argv) > 1:
        print(json.dumps(measure(int(sys.argv[1]), *sys.argv[2:])))
        return
    print("size   method    precision    peak MB  estimate MB  ratio")
    for n, method, precision in CASES:
        command = [sys.executable, __file__, str(n), method, precision]
        row = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        peak, estimate = row["peak"] / 1e6, row["estimate"] / 1e6
        print(f"{n:4d}³  {method:8s}  {precision:9s}  {peak:9.0f}  {estimate:11.0f}  {estimate / peak:5.2f}")


if __name__ == "__main__":
    main()
