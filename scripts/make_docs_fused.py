"""The simulated particle and the real nanocube maps, fused, to the figures and numbers of docs/fused.md."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from napari_dipmtv.data import F32, TiltSeries
from napari_dipmtv.phantom.fused import simulate_fused
from napari_dipmtv.settings.fused import PublishedFusedSettings
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
    }
    for name, x in volumes.items():
        each = [np.linalg.norm(a - b) / np.linalg.norm(b) for a, b in zip(x, truth.data, strict=True)]
        print(name, f"{np.linalg.norm(x - truth.data) / np.linalg.norm(truth.data):.3f}", np.round(each, 3))
    return volumes


def nanocubes() -> tuple[F32, F32, F32]:
    """Fuse one real projection of Co3O4/Mn3O4 nanocubes; maps and fused maps (c, y, x), HAADF (y, x)."""
    with h5py.File(DATA / "co3o4_mn3o4_eels_maps" / "Co3O4_Mn3O4.h5") as file:
        maps = np.stack([file[name][()] for name in ("Co", "Mn", "O")])
        haadf = file["HAADF"][()].astype(np.float32)
    # counts: where the variance between neighbours is the mean, their scale is right
    maps *= (
        2
        * maps.mean(axis=(1, 2), keepdims=True)
        / (np.diff(maps, axis=2) ** 2).mean(axis=(1, 2), keepdims=True)
    )
    haadf = np.clip(haadf - np.percentile(haadf, 2), 0, None)
    haadf /= haadf.mean()
    series = TiltSeries(maps[:, None], ("Co", "Mn", "O"), (0.0,), 1.0, counts_per_unit=1.0)
    found = fuse(series, TiltSeries(haadf[None, None], ("HAADF",), (0.0,), 1.0))
    return maps, found.volume.data[:, 0], haadf


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
    draw_nanocubes(*nanocubes())
    draw_particle(particle())
