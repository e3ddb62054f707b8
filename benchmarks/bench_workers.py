"""Time 40 jobs of a search on one and on two Dask workers of this machine, and compare their scores to the last bit.

Every worker has imported everything before the clock starts. Other programs slow both runs: beside the wall time stands
the processor time of all workers, which shows how much of the machine they got; from it the last column is computed.
About two minutes on two idle cores.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

CORES = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set[int]()

import report  # noqa: E402 - pins this process to one core

if CORES:
    os.sched_setaffinity(0, CORES)  # workers inherit it

# isort: split
import numpy as np  # noqa: E402
import psutil  # noqa: E402

from napari_dipmtv.data import TiltSeries  # noqa: E402
from napari_dipmtv.phantom import count_series, make_volume  # noqa: E402
from napari_dipmtv.settings.phantom import PhantomSettings  # noqa: E402
from napari_dipmtv.settings.sweep import SweepSettings  # noqa: E402
from napari_dipmtv.settings.tomo import CsTvSettings  # noqa: E402
from napari_dipmtv.states import run  # noqa: E402
from napari_dipmtv.sweep.search import sweep  # noqa: E402
from napari_dipmtv.sweep.space import parse_axis  # noqa: E402
from napari_dipmtv.sweep.workers import cluster  # noqa: E402

JOBS = 40
BASE = CsTvSettings(iterations=80, tolerance=0)
AXIS = parse_axis(f"tv_strength=0.01:1:log:{JOBS}", CsTvSettings)
WARM_UP = parse_axis("tv_strength=2.0,3.0,4.0,5.0", CsTvSettings)


def series() -> TiltSeries:
    """The counted cube of FeO and Fe3O4, 64 voxels wide, 9 views."""
    volume = make_volume(PhantomSettings(field_voxels=64, voxel_nm=0.75))
    return count_series(volume, tuple(np.linspace(-70, 70, 9)), relative_noise=0.27)


def timed(maps: TiltSeries, workers: int) -> tuple[float, float, list[float | None]]:
    """Wall and processor seconds of all jobs, and their scores."""
    how = SweepSettings()
    with cluster(None, workers, 1) as client:
        run(sweep(maps, [WARM_UP], how, "cs-tv", BASE.replace(iterations=2), client=client))
        processes = [psutil.Process(info["pid"]) for info in client.run(_who).values()]
        before, begin = _used(processes), time.perf_counter()
        found = run(sweep(maps, [AXIS], how, "cs-tv", BASE, client=client)).value
        wall = time.perf_counter() - begin
        used = _used(processes) - before
    return wall, used, [trial.score for trial in found.trials]


def _who() -> dict[str, int]:
    return {"pid": os.getpid()}


def _used(processes: list[psutil.Process]) -> float:
    return sum(sum(process.cpu_times()[:2]) for process in processes)


def rows(found: dict[int, tuple[float, float, list[float | None]]]) -> Iterator[list[str]]:
    """One per number of workers."""
    alone, alone_used, _ = found[1]
    for workers, (wall, used, _) in found.items():
        share = 100 * used / wall / workers
        speeds = (f"{alone / wall:.2f}", f"{workers * alone_used / used:.2f}")
        yield [str(workers), f"{wall:.1f} s", f"{used:.1f} s", f"{share:.0f} %", *speeds]


def main() -> None:
    """Measure and print."""
    chosen = report.options(__doc__ or "")
    maps = series()
    found = {workers: timed(maps, workers) for workers in (1, 2)}
    machine = report.machine(("torch", "distributed")).replace(" of which one thread was used", "")
    same = "equal to the last bit" if found[1][2] == found[2][2] else "NOT equal"
    head = (
        "workers",
        "wall time",
        "processor time",
        "of a core each",
        "speed",
        "speed with cores of their own",
    )
    text = (
        f"By `benchmarks/bench_workers.py`: {JOBS} CS-TV reconstructions of 64³ x 2 voxels scored by thinned "
        f"counts, one thread each, on {machine} Scores of both runs: {same}."
    )
    report.finish("Workers", f"{text}\n\n{report.table(head, rows(found))}", write=chosen.write)


if __name__ == "__main__":
    main()
