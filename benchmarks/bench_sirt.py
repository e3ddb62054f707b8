"""Run SIRT beside ASTRA, ETSpy and scikit-image's SART on the same counted particle: time, memory, error."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import report  # first: pins the threads

# isort: split
import numpy as np
import torch

from napari_dipmtv.data import TiltSeries
from napari_dipmtv.phantom import count_series, make_volume
from napari_dipmtv.projection.backends import astra_vectors
from napari_dipmtv.projection.geometry import Geometry
from napari_dipmtv.settings.phantom import PhantomSettings
from napari_dipmtv.settings.tomo import Backend, SirtSettings
from napari_dipmtv.states import run
from napari_dipmtv.tomo.problem import pose
from napari_dipmtv.tomo.sirt import sirt

TILTS = tuple(np.linspace(-70, 70, 9))
SIZE, STEPS = 128, 100
ONE_IN = {"etspy": 8, "sart": 16}  # slices that the slow ones run; their time is scaled


def ours(series: TiltSeries, backend: Backend = "own") -> np.ndarray:
    """(z, y, x)."""
    posed = pose(series, torch.device("cpu"), backend=backend)
    return run(sirt(posed, SirtSettings(iterations=STEPS))).value.data[0]


def with_astra(series: TiltSeries) -> np.ndarray:
    """ASTRA's own SIRT, slice by slice."""
    import astra

    n = series.data.shape[3]
    grid = astra.create_vol_geom(n, n)
    views = astra.create_proj_geom("parallel_vec", n, astra_vectors(Geometry.of_series(series)))
    volume, sinogram = astra.data2d.create("-vol", grid), astra.data2d.create("-sino", views)
    config = astra.astra_dict("SIRT")
    config["ProjectorId"] = astra.create_projector("linear", views, grid)
    config |= {"ProjectionDataId": sinogram, "ReconstructionDataId": volume, "option": {"MinConstraint": 0}}
    out = np.empty((n, series.data.shape[2], n), np.float32)
    for y in range(series.data.shape[2]):
        astra.data2d.store(sinogram, series.data[0, :, y])
        astra.data2d.store(volume, 0)
        algorithm = astra.algorithm.create(config)
        astra.algorithm.run(algorithm, STEPS)
        astra.algorithm.delete(algorithm)
        out[:, y] = astra.data2d.get(volume)
    return out


def with_etspy(series: TiltSeries) -> np.ndarray:
    """ETSpy on the CPU, one core, some slices; (z, y, x)."""
    from etspy import recon

    stack = np.ascontiguousarray(
        series.data[0, :, :: ONE_IN["etspy"]].transpose(0, 2, 1)
    )  # tilt, detector, slice
    made = recon.run(
        stack,
        np.asarray(TILTS),
        "SIRT",
        niterations=STEPS,
        constrain=True,
        thresh=0,
        cuda=False,
        ncores=1,
        show_progressbar=False,
    )
    return np.asarray(made).transpose(1, 0, 2)


def with_sart(series: TiltSeries) -> np.ndarray:
    """scikit-image's SART, 10 iterations (each uses the views one after another), some slices."""
    from skimage.transform import iradon_sart

    slices = []
    for y in range(0, series.data.shape[2], ONE_IN["sart"]):
        x = None
        for _ in range(10):
            sinogram = series.data[0, :, y].T.astype(np.float64)
            x = iradon_sart(sinogram, theta=np.asarray(TILTS), image=x, clip=(0, np.inf))
        slices.append(x)
    return np.stack(slices, axis=1)


def nearest(found: np.ndarray, wanted: np.ndarray) -> float:
    """Relative distance, in the handedness that fits best: tools differ in it."""
    ways = (found, found[::-1], found[:, :, ::-1], found[::-1, :, ::-1])
    return min(float(np.linalg.norm(way - wanted)) for way in ways) / float(np.linalg.norm(wanted))


def main() -> None:
    """Measure and print."""
    chosen = report.options(__doc__ or "")
    if chosen.device == "cuda":
        return  # bench_engine.py has the GPU
    torch.set_num_threads(1)
    volume = make_volume(PhantomSettings(field_voxels=SIZE, voxel_nm=48 / SIZE))
    one = volume.replace(data=volume.data.sum(axis=0, keepdims=True), channels=("Fe",))
    series, truth = count_series(one, TILTS, relative_noise=0.1), one.data[0]
    contenders: tuple[tuple[str, Callable[[TiltSeries], np.ndarray], int], ...] = (
        ("ours", ours, 1),
        ("ours, ASTRA's weights", partial(ours, backend="astra"), 1),
        ("ASTRA CPU, linear", with_astra, 1),
        ("ETSpy, CPU, one core", with_etspy, ONE_IN["etspy"]),
        ("scikit-image SART, 10 iterations", with_sart, ONE_IN["sart"]),
    )
    rows, astra, base = [], with_astra(series), None
    for name, work, sampled in contenders:
        work(
            series.replace(data=series.data[:, :, SIZE // 2 :][:, :, :2])
        )  # imports and first touch are not counted
        found, took, memory = report.once(partial(work, series))
        took *= sampled
        base = took if base is None else base
        room = "" if memory is None or sampled > 1 else f"{memory:.0f} MB"
        off, apart = nearest(found, truth[:, ::sampled]), nearest(found, astra[:, ::sampled])
        rows.append([name, f"{took:.2f} s", f"{took / base:.1f}", room, f"{off:.3f}", f"{apart:.0e}"])
    head = ("code", "time", "ratio", "peak memory", "error", "difference from ASTRA")
    text = (
        f"By `benchmarks/bench_sirt.py`: {STEPS} non-negative iterations, {SIZE}³, 9 tilts, 10 % noise;\n"
        f"processor time of one thread on {report.machine()}\nError: relative, against the truth.\n"
        f"ETSpy projects with ASTRA's strip weights; one slice in {ONE_IN['etspy']} was run, of SART one in "
        f"{ONE_IN['sart']},\nand the time scaled. With ASTRA's weights the two are one iteration; with ours the "
        f"rounding of ASTRA's ray positions\n(float32, some 1e-5) remains.\n\n"
        f"{report.table(head, rows)}"
    )
    report.finish("SIRT", text, write=chosen.write)


if __name__ == "__main__":
    main()
