"""Time the projector pair beside ASTRA's CPU code and scikit-image, on the same ellipse, with its analytical error.

``--device cuda`` times ours and ASTRA's 3-D kernels on a GPU instead.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import report  # first: pins the threads

# isort: split
import numpy as np
import torch

from napari_dipmtv.projection.backends import AstraCudaProjector
from napari_dipmtv.projection.geometry import Geometry
from napari_dipmtv.projection.sparse import SparseProjector

TILTS = tuple(np.linspace(-70, 70, 9))
SIZES = (32, 64, 96, 128)


def ellipse(n: int, tilts_deg: tuple[float, ...], fine: int = 16) -> tuple[np.ndarray, np.ndarray]:
    """An off-axis ellipse (z, x), and its analytical projections averaged over the bins (t, x)."""
    a, b, phi, z0, x0 = 0.31 * n, 0.17 * n, 0.5, 0.08 * n, -0.11 * n
    points = (np.arange(n * fine) + 0.5) / fine - n / 2
    z, x = np.meshgrid(points - z0, points - x0, indexing="ij")
    u, v = x * np.cos(phi) + z * np.sin(phi), z * np.cos(phi) - x * np.sin(phi)
    image = ((u / a) ** 2 + (v / b) ** 2 <= 1).reshape(n, fine, n, fine).mean((1, 3))
    views = []
    for tilt in np.deg2rad(tilts_deg):
        s = points - x0 * np.cos(tilt) - z0 * np.sin(tilt)
        r2 = (a * np.cos(tilt - phi)) ** 2 + (b * np.sin(tilt - phi)) ** 2
        chord = 2 * a * b / r2 * np.sqrt(np.maximum(r2 - s**2, 0))
        views.append(chord.reshape(n, fine).mean(1))
    return image.astype(np.float32), np.array(views)


def error(views: np.ndarray, wanted: np.ndarray) -> float:
    """Relative, in the sense of rotation and the direction of the detector that fit best."""
    ways = (views, views[:, ::-1], views[::-1], views[::-1, ::-1])
    return min(float(np.linalg.norm(way - wanted)) for way in ways) / float(np.linalg.norm(wanted))


def strip_error(n: int) -> float:
    """Error of the exact projection of square pixels."""
    import astra

    image, wanted = ellipse(n, TILTS)
    views = astra.create_proj_geom("parallel", 1.0, n, np.deg2rad(TILTS))
    projector = astra.create_projector("strip", views, astra.create_vol_geom(n, n))
    return error(astra.create_sino(image, projector)[1], wanted)


def astra_pair(image: np.ndarray) -> tuple[Callable[[], object], Callable[[], np.ndarray]]:
    """One projection and back-projection of one slice, and the projection that it gives."""
    import astra

    n = len(image)
    grid = astra.create_vol_geom(n, n)
    views = astra.create_proj_geom("parallel", 1.0, n, np.deg2rad(TILTS))
    projector = astra.create_projector("linear", views, grid)
    volume, sinogram = astra.data2d.create("-vol", grid, image[::-1]), astra.data2d.create("-sino", views)
    made = []
    for kind, target in (("FP", "VolumeDataId"), ("BP", "ReconstructionDataId")):
        config = astra.astra_dict(kind)
        config |= {"ProjectorId": projector, "ProjectionDataId": sinogram, target: volume}
        made.append(astra.algorithm.create(config))
    return lambda: [astra.algorithm.run(one) for one in made], lambda: _seen(
        astra, made[0], volume, sinogram, image
    )


def _seen(astra: object, forward: int, volume: int, sinogram: int, image: np.ndarray) -> np.ndarray:
    astra.data2d.store(volume, image[::-1])  # type: ignore[attr-defined]
    astra.algorithm.run(forward)  # type: ignore[attr-defined]
    return astra.data2d.get(sinogram)  # type: ignore[attr-defined, no-any-return]


def cpu_rows() -> Iterator[list[str]]:
    """Ours, ASTRA and scikit-image at every size."""
    from skimage.transform import iradon, radon

    for n in SIZES:
        image, wanted = ellipse(n, TILTS)
        x = torch.from_numpy(image)[None, :, None].expand(1, n, n, n).contiguous()
        A = SparseProjector(Geometry.of((n, n, n), TILTS))
        ours = report.seconds(lambda A=A, x=x: A.T(A(x)))
        pair, seen = astra_pair(image)
        astra_s = report.seconds(pair) * n
        skimage_s = report.seconds(lambda i=image: iradon(radon(i, TILTS), TILTS, filter_name=None), 3) * n
        contenders = (
            ("ours", ours, error(A(x)[0, :, 0].numpy(), wanted)),
            ("ASTRA CPU, linear", astra_s, error(seen(), wanted)),
            ("scikit-image radon, iradon", skimage_s, error(radon(image, TILTS).T, wanted)),
        )
        for name, took, off in contenders:
            yield [f"{n}³", name, f"{took * 1e3:.1f} ms", f"{took / ours:.1f}", f"{off:.2%}"]


def cuda_rows() -> Iterator[list[str]]:
    """Ours and ASTRA's 3-D kernels on the GPU."""
    for n in (64, 128, 256):
        geometry = Geometry.of((n, n, n), TILTS)
        image, wanted = ellipse(n, TILTS)
        x = torch.from_numpy(image).cuda()[None, :, None].expand(1, n, n, n).contiguous()
        ours = None
        for name, A in (
            ("ours", SparseProjector(geometry, "cuda")),
            ("ASTRA 3-D", AstraCudaProjector(geometry)),
        ):
            took = report.cuda_seconds(lambda A=A, x=x: A.T(A(x)))
            ours = ours or took
            off = error(A(x)[0, :, 0].cpu().numpy(), wanted)
            yield [f"{n}³", name, f"{took * 1e3:.2f} ms", f"{took / ours:.1f}", f"{off:.2%}"]


def main() -> None:
    """Measure and print."""
    chosen = report.options(__doc__ or "")
    torch.set_num_threads(1)
    head = ("volume, 9 tilts", "code", "projection and back-projection", "ratio", "error")
    if chosen.device == "cuda":
        text = f"Wall time on {report.graphics()}\n\n{report.table(head, cuda_rows())}"
        report.finish("Projector on a GPU", text, write=chosen.write)
        return
    rows = report.table(head, cpu_rows())
    exact = ", ".join(f"{strip_error(n):.2%} at {n}" for n in SIZES)
    text = (
        f"By `benchmarks/bench_projector.py`, processor time of one thread on {report.machine()}\n"
        "Error: relative, against the analytical projection of an off-axis ellipse with a sharp edge. ASTRA and\n"
        "scikit-image work slice by slice; one slice is timed and counted as often as there are slices. The error\n"
        f"is that of an edge drawn in pixels: their exact areas, ASTRA's strip, leave {exact}.\n\n{rows}"
    )
    report.finish("Projector", text, write=chosen.write)


if __name__ == "__main__":
    main()
