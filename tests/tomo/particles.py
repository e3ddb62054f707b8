"""A small particle with known truth, counted at nine tilts."""

from __future__ import annotations

import numpy as np
import torch

from napari_dipmtv.data import TiltSeries, Volume
from napari_dipmtv.projection.geometry import Geometry
from napari_dipmtv.projection.sparse import SparseProjector

TILTS = tuple(float(t) for t in np.linspace(-70, 70, 9))


def particle(n: int = 24) -> Volume:
    """A core in a shell, turned by 12 degrees about y, density 1."""
    z, y, x = np.mgrid[:n, :n, :n] - (n - 1) / 2
    c, s = np.cos(np.deg2rad(12)), np.sin(np.deg2rad(12))
    half = np.max(np.abs([z * c + x * s, y, x * c - z * s]), axis=0) / (n / 2)
    soft = lambda size: np.clip((size - half) * n / 2 + 0.5, 0, 1)  # noqa: E731
    core = soft(0.36)
    return Volume(np.stack([core, soft(0.6) - core]).astype(np.float32), ("core", "shell"), 0.5)


def counted(volume: Volume, counts_per_unit: float, seed: int = 0) -> TiltSeries:
    """Poisson projections of a volume, in its units."""
    _, nz, ny, nx = volume.data.shape
    clean = SparseProjector(Geometry.of((nz, ny, nx), TILTS))(torch.from_numpy(volume.data)).numpy()
    counts = np.random.default_rng(seed).poisson(clean * counts_per_unit).astype(np.float32)
    return TiltSeries(counts / counts_per_unit, volume.channels, TILTS, 0.5, counts_per_unit=counts_per_unit)


def error(volume: Volume, truth: Volume) -> float:
    """Relative error over all channels."""
    return float(np.linalg.norm(volume.data - truth.data) / np.linalg.norm(truth.data))
