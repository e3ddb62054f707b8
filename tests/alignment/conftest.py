"""A small turned two-channel particle, its planted misaligned counts, and a plain SIRT."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from scipy.ndimage import affine_transform

from napari_dipmtv.alignment.mapping import rotation
from napari_dipmtv.data import F32, F64, ChannelMaps, TiltSeries, Volume
from napari_dipmtv.projection.geometry import Geometry
from napari_dipmtv.projection.sparse import SparseProjector

TILTS = tuple(np.arange(-70, 71, 17.5))


def particle(n: int = 64, half: float = 0.55) -> F32:
    """A box with a core of another channel and a hole, off centre and turned; (c, z, y, x), values 0-1."""
    z, y, x = np.meshgrid(*[np.linspace(-1, 1, n)] * 3, indexing="ij")
    a, b = np.deg2rad(12), np.deg2rad(7)
    x, z = x * np.cos(a) + z * np.sin(a), z * np.cos(a) - x * np.sin(a)
    x, y = x * np.cos(b) + y * np.sin(b), y * np.cos(b) - x * np.sin(b)
    soft = n / 4  # an edge about one voxel wide
    depth = half - np.maximum(np.maximum(np.abs(x), np.abs(y) * 0.9), np.abs(z) * 1.1)
    hole = np.sqrt((x - 0.1) ** 2 + (y + 0.1) ** 2 + z**2) - 0.12
    body, core = (np.clip(d * soft + 0.5, 0, 1) for d in (depth, depth - 0.15))
    return np.stack([core * np.clip(hole * soft + 0.5, 0, 1), body - core]).astype(np.float32)


@dataclass(frozen=True)
class Planted:
    """Misaligned maps and what was planted."""

    maps: ChannelMaps
    displacements_px: F64  # (t, 2): dy, dx + axis offset
    angle_deg: float


def _plant(
    shifts_px: F64, angle_deg: float, offset_px: float, *, relative_noise: float, seed: int
) -> Planted:
    """Project the particle, turn and displace the clean views (cubic), then count."""
    truth = particle()
    clean = SparseProjector(Geometry.of(truth.shape[1:], TILTS))(torch.from_numpy(truth)).numpy()
    total = shifts_px + np.array([0.0, offset_px])
    back = np.linalg.inv(rotation(angle_deg))
    middle = (np.array(clean.shape[2:]) - 1) / 2
    raw = np.empty_like(clean)
    for t, shift in enumerate(total):
        for c in range(len(raw)):
            raw[c, t] = affine_transform(clean[c, t], back, middle - back @ (middle + shift), order=3)
    raw = np.clip(raw, 0, None)
    # relative noise of counts N: |N - mean| / |mean| = sqrt(sum mean / counts_per_unit) / |mean|
    counts_per_unit = float(raw.sum() / (relative_noise**2 * (raw**2).sum()))
    counts = np.random.default_rng(seed).poisson(raw * counts_per_unit)
    maps = ChannelMaps(counts / counts_per_unit, ("A", "B"), TILTS, 1.0, counts_per_unit=counts_per_unit)
    return Planted(maps, total, angle_deg)


def _residual(found_px: F64, planted: Planted) -> tuple[float, float]:
    """Rms of (dy, dx) errors in px after the best movement of the object: a constant in y, an orbit in x."""
    error = (found_px - planted.displacements_px) @ rotation(planted.angle_deg)
    angles = np.deg2rad(TILTS)
    orbit = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    x = error[:, 1] - orbit @ np.linalg.lstsq(orbit, error[:, 1], rcond=None)[0]
    return float(error[:, 0].std()), float(np.sqrt((x**2).mean()))


@pytest.fixture(scope="session")
def tilts() -> tuple[float, ...]:
    """Nine tilts, 17.5 deg apart."""
    return TILTS


@pytest.fixture(scope="session")
def plant() -> Callable[..., Planted]:
    """Make misaligned counted maps."""
    return _plant


@pytest.fixture(scope="session")
def residual() -> Callable[[F64, Planted], tuple[float, float]]:
    """Judge found displacements."""
    return _residual


@pytest.fixture(scope="session")
def sirt() -> Callable[[TiltSeries], Volume]:
    """60 plain SIRT iterations with masks and positivity."""
    projectors: dict[Geometry, SparseProjector] = {}

    def reconstruct(series: TiltSeries) -> Volume:
        geometry = Geometry.of_series(series)
        A = projectors.setdefault(geometry, SparseProjector(geometry))
        y = torch.from_numpy(series.data)
        valid = (
            torch.ones(y.shape)
            if series.valid is None
            else torch.from_numpy(series.valid[None] * np.float32(1))
        )
        rows = valid / A(torch.ones((1, *A.volume_shape))).clamp(min=1)
        columns = 1 / A.T(valid).clamp(min=1)
        x = torch.zeros((len(y), *A.volume_shape))
        for _ in range(60):
            x = (x + columns * A.T(rows * (y - A(x)))).clamp(min=0)
        return Volume(x.numpy(), series.channels, series.pixel_nm)

    return reconstruct
