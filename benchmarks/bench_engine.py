"""Time projector, SIRT, CS-TV and DIPm-TV beside ASTRA's CPU code on the same data, one thread each.

Prints a table with ratios; ``--write`` keeps it in ``benchmarks/results.md`` with a description of the machine.
"""

from __future__ import annotations

import argparse
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import astra
import numpy as np
import torch

from napari_dipmtv.phantom import count_series, make_volume
from napari_dipmtv.projection.geometry import Geometry
from napari_dipmtv.projection.sparse import SparseProjector
from napari_dipmtv.settings.phantom import PhantomSettings
from napari_dipmtv.settings.tomo import CsTvSettings, DipSettings, SirtSettings
from napari_dipmtv.states import run
from napari_dipmtv.tomo.cs_tv import cs_tv
from napari_dipmtv.tomo.dip_tv import dipm_tv
from napari_dipmtv.tomo.problem import pose
from napari_dipmtv.tomo.sirt import sirt

TILTS = tuple(np.linspace(-70, 70, 9))
CPU = torch.device("cpu")


def seconds(work: Callable[[], object], repeats: int = 5) -> float:
    """Median wall time after one warm-up call."""
    work()
    times = []
    for _ in range(repeats):
        begin = time.perf_counter()
        work()
        times.append(time.perf_counter() - begin)
    return float(np.median(times))


class Astra:
    """Slice-wise projection and SIRT of ASTRA on the CPU, with the same (linear) weights."""

    def __init__(self, n: int) -> None:
        self.n = n
        grid = astra.create_vol_geom(n, n)
        geometry = astra.create_proj_geom("parallel", 1.0, n, np.deg2rad(TILTS))
        self.projector = astra.create_projector("linear", geometry, grid)
        self.volume = astra.data2d.create("-vol", grid)
        self.sinogram = astra.data2d.create("-sino", geometry)

    def _algorithm(self, kind: str, target: str) -> int:
        config = astra.astra_dict(kind)
        config |= {
            "ProjectorId": self.projector,
            "ProjectionDataId": self.sinogram,
            target: self.volume,
            "option": {"MinConstraint": 0} if kind == "SIRT" else {},
        }
        return int(astra.algorithm.create(config))

    def pair(self, slices: int) -> None:
        """One projection and one back-projection of every slice."""
        for kind, target in (("FP", "VolumeDataId"), ("BP", "ReconstructionDataId")):
            algorithm = self._algorithm(kind, target)
            for _ in range(slices):
                astra.algorithm.run(algorithm)
            astra.algorithm.delete(algorithm)

    def sirt(self, series: np.ndarray, iterations: int) -> np.ndarray:
        """Non-negative SIRT of a one-channel series (t, y, x); (z, y, x)."""
        out = np.empty((self.n, series.shape[1], self.n), np.float32)
        for y in range(series.shape[1]):
            astra.data2d.store(self.sinogram, series[:, y])
            astra.data2d.store(self.volume, 0)
            algorithm = self._algorithm("SIRT", "ReconstructionDataId")
            astra.algorithm.run(algorithm, iterations)
            astra.algorithm.delete(algorithm)
            out[:, y] = astra.data2d.get(self.volume)[::-1]  # ASTRA counts rows downwards
        return out


def projection_rows(n: int) -> list[tuple[str, str, str, str]]:
    """Projector pair and SIRT, ours and ASTRA's."""
    volume = make_volume(PhantomSettings(field_voxels=n, voxel_nm=48 / n))
    series = count_series(volume.replace(data=volume.data[:1], channels=("FeO",)), TILTS, relative_noise=0.1)
    A = SparseProjector(Geometry.of((n, n, n), TILTS))
    x = torch.from_numpy(volume.data[:1])
    peer = Astra(n)
    ours, theirs = seconds(lambda: A.T(A(x))), seconds(lambda: peer.pair(n), 3)
    rows = [
        (
            f"projector pair {n}³, 9 tilts",
            f"{ours * 1e3:.1f} ms",
            f"{theirs * 1e3:.0f} ms",
            f"{theirs / ours:.1f}",
        )
    ]
    problem, settings = pose(series, CPU), SirtSettings(iterations=100)
    begin = time.perf_counter()
    found = run(sirt(problem, settings)).value.data[0]
    ours, begin = time.perf_counter() - begin, time.perf_counter()
    wanted = peer.sirt(series.data[0], 100)
    theirs = time.perf_counter() - begin
    gap = np.linalg.norm(found - wanted) / np.linalg.norm(wanted)
    label = f"SIRT {n}³, 100 iterations (difference {gap:.0e})"
    return [*rows, (label, f"{ours:.2f} s", f"{theirs:.1f} s", f"{theirs / ours:.1f}")]


def method_rows(n: int) -> list[tuple[str, str, str, str]]:
    """Seconds per iteration of CS-TV and DIPm-TV on two channels."""
    series = count_series(
        make_volume(PhantomSettings(field_voxels=n, voxel_nm=48 / n)), TILTS, relative_noise=0.27
    )
    problem = pose(series, CPU)
    rows = []
    for name, states in (
        ("CS-TV", cs_tv(problem, CsTvSettings(iterations=40, tolerance=0))),
        ("DIPm-TV", dipm_tv(problem, DipSettings(iterations=8, network_input="random"))),
    ):
        times = [time.perf_counter() for _ in states]
        rows.append((f"{name} {n}³ x 2, per iteration", f"{np.median(np.diff(times)) * 1e3:.0f} ms", "", ""))
    return rows


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="keep the table in benchmarks/results.md")
    parser.add_argument("--size", type=int, default=128, help="voxels along each side for projector and SIRT")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows = [*projection_rows(arguments.size), *method_rows(48), *method_rows(64)]
    lines = ["| what | ours | ASTRA CPU | ratio |", "| --- | --- | --- | --- |"]
    lines += [f"| {' | '.join(row)} |" for row in rows]
    table = "\n".join(lines)
    print(table)
    if arguments.write:
        machine = f"{platform.machine()}, {os.cpu_count()} cores, one thread, torch {torch.__version__}"
        text = f"# Measured\n\nBy `benchmarks/bench_engine.py` on {machine}.\n\n{table}\n"
        Path(__file__).with_name("results.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
