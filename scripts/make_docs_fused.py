"""The simulated particle and the real nanocube maps, fused, to the figures and numbers of docs/fused.md."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
from scipy.ndimage import distance_transform_edt, gaussian_filter
from scipy.optimize import curve_fit
from scipy.special import ndtr

from napari_dipmtv.data import F32, F64, TiltSeries
from napari_dipmtv.phantom.fused import simulate_fused
from napari_dipmtv.settings.fused import FusedDipSettings, FusedSettings, PublishedFusedSettings
from napari_dipmtv.settings.tomo import CsTvSettings
from napari_dipmtv.tomo.fused import fuse, fuse_states
from napari_dipmtv.tomo.reconstruct import reconstruct

ROOT = Path(__file__).resolve().parents[1]
DATA = Path(os.environ.get("DIPMTV_DATA", ROOT.parent / "shared" / "data"))
IMAGES = ROOT / "docs" / "images"


def particle() -> dict[str, F32]:
    """Reconstruct the simulated particle in four ways, print the errors and give the volumes by name."""
    measured = simulate_fused()
    truth, chemical, haadf = measured.truth, measured.chemical, measured.haadf
    first = fuse_states(chemical, haadf, "fused-published", PublishedFusedSettings(iterations=100))
    volumes = {
        "truth": truth.data,
        "chemistry alone, Poisson": list(first)[-1].snapshot().data,
        "chemistry alone, CS-TV": reconstruct(chemical, "cs-tv", CsTvSettings(tv_strength=0.05)).volume.data,
        "fused, as published": fuse(chemical, haadf, "fused-published").volume.data,
        "fused, joint likelihood": fuse(chemical, haadf).volume.data,
        "fused, DIPm-TV": fuse(
            chemical, haadf, "fused-dipm-tv", FusedDipSettings(iterations=150)
        ).volume.data,
    }
    for name, x in volumes.items():
        each = [np.linalg.norm(a - b) / np.linalg.norm(b) for a, b in zip(x, truth.data, strict=True)]
        print(name, f"{np.linalg.norm(x - truth.data) / np.linalg.norm(truth.data):.3f}", np.round(each, 3))
    return volumes


def nanocubes(part: slice = slice(None), iterations: int = 300) -> tuple[F32, F32, F32]:
    """Fuse one real projection of Co3O4/Mn3O4 nanocubes; maps and fused maps (c, y, x), HAADF (y, x)."""
    with h5py.File(DATA / "co3o4_mn3o4_eels_maps" / "Co3O4_Mn3O4.h5") as file:
        maps = np.stack([file[name][part, part] for name in ("Co", "Mn", "O")])
        vacuum = np.percentile(file["HAADF"][()], 2)
        haadf = np.clip(file["HAADF"][part, part].astype(np.float32) - vacuum, 0, None)
    # counts: where the variance between neighbours is the mean, their scale is right
    maps *= (
        2
        * maps.mean(axis=(1, 2), keepdims=True)
        / (np.diff(maps, axis=2) ** 2).mean(axis=(1, 2), keepdims=True)
    )
    haadf /= haadf.mean()
    series = TiltSeries(maps[:, None], ("Co", "Mn", "O"), (0.0,), 1.0, counts_per_unit=1.0)
    image = TiltSeries(haadf[None, None], ("HAADF",), (0.0,), 1.0)
    found = fuse(series, image, settings=FusedSettings(iterations=iterations))
    return maps, found.volume.data[:, 0], haadf


class StepAndNoise(NamedTuple):
    """Of maps: how wide the step is at an edge (sigma, with its standard error), and the noise over its height."""

    width_px: float
    width_error_px: float
    noise: float


def step_and_noise(maps: F32, haadf: F32) -> StepAndNoise:
    """Judge the sum of the maps (c, y, x) at and between the edges that the HAADF shows.

    The edge of the particles is where the smoothed HAADF passes half of its bright level. The mean of all pixels at one
    distance from it is a profile with little noise, however noisy the map is; an error function is fitted to it. The
    noise is the standard deviation around the local mean, deep in the particles and far outside.
    """
    smooth = gaussian_filter(haadf, 1.5)
    inside = smooth > 0.5 * np.percentile(smooth, 90)
    distance = distance_transform_edt(inside) - distance_transform_edt(~inside)
    distance -= 0.5 * np.sign(distance)  # px from the edge, which lies between two pixels
    total = maps.sum(axis=0)
    near = np.abs(distance) < 10
    bins = np.round(2 * distance[near])
    where = np.unique(bins)
    profile = np.array([total[near][bins == b].mean() for b in where])
    weight = np.array([np.sqrt((bins == b).sum()) for b in where])
    first = (profile[0], profile[-1] - profile[0], 0.0, 2.0)
    found, covariance = curve_fit(_step, where / 2, profile, first, sigma=1 / weight)
    flat = np.abs(distance) > 5
    rest = (total - gaussian_filter(total, 4))[flat]
    return StepAndNoise(abs(found[3]), covariance[3, 3] ** 0.5, float(rest.std() / abs(found[1])))


def _step(x: F64, low: float, height: float, place: float, sigma: float) -> F64:
    step: F64 = low + height * ndtr((x - place) / sigma)
    return step


def draw_particle(volumes: dict[str, F32]) -> None:
    """Central slices across the tilt axis; red Cu, green Co, blue Au."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(14, 3.2), dpi=110, layout="constrained")
    axes: Any = figure.subplots(1, len(volumes))
    top = volumes["truth"].max(axis=(1, 2, 3))
    for axis, (name, x) in zip(axes, volumes.items(), strict=True):
        axis.imshow(np.clip(x[:, :, 30] / top[:, None, None], 0, 1).transpose(1, 2, 0), origin="lower")
        axis.set(title=name, xticks=[], yticks=[])
    figure.savefig(IMAGES / "fused_particle.png")


def draw_nanocubes(maps: F32, found: F32, haadf: F32) -> None:
    """Measured above, fused below, each channel to one scale; the HAADF beside them."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 5.6), dpi=110, layout="constrained")
    axes: Any = figure.subplots(2, 4)
    for column, name in enumerate(("Co", "Mn", "O")):
        top = float(np.percentile(found[column], 99.5))
        for row, image in enumerate((maps[column], found[column])):
            axes[row, column].imshow(image, cmap="magma", vmin=0, vmax=top)
            axes[row, column].set(title=f"{name}, {('measured', 'fused')[row]}", xticks=[], yticks=[])
    axes[0, 3].imshow(haadf, cmap="gray")
    axes[0, 3].set(title="HAADF", xticks=[], yticks=[])
    axes[1, 3].axis("off")
    figure.savefig(IMAGES / "fused_nanocubes.png")


if __name__ == "__main__":
    measured_maps, fused_maps, haadf_image = nanocubes()
    for name, x in (("measured", measured_maps), ("fused", fused_maps)):
        print(name, step_and_noise(x, haadf_image))
    draw_nanocubes(measured_maps, fused_maps, haadf_image)
    draw_particle(particle())
