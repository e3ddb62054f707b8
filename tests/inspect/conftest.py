"""Anti-aliased bodies of known geometry."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from napari_dipmtv.data import F32, Volume


def _ball(n: int, radius_px: float, centre_px: tuple[float, float, float] = (0, 0, 0)) -> F32:
    """A ball in a cube of n voxels, its edge one voxel wide."""
    grid = np.mgrid[:n, :n, :n] - (n - 1) / 2
    distance = np.sqrt(((grid - np.array(centre_px)[:, None, None, None]) ** 2).sum(axis=0))
    return np.clip(radius_px - distance + 0.5, 0, 1).astype(np.float32)


def _box(n: int, half_px: float) -> F32:
    """A cube with its edges along the axes."""
    side = np.clip(half_px - np.abs(np.arange(n) - (n - 1) / 2) + 0.5, 0, 1)
    return (side[:, None, None] * side[:, None] * side).astype(np.float32)


def _core_shell(
    n: int, body: str, half_px: float, skin_px: float, shell_px: float, void_px: float = 0
) -> Volume:
    """FeO core (with a void), Fe3O4 shell, FeO skin, in Fe atoms per nm³ on voxels of 0.5 nm."""
    make = {"ball": _ball, "box": _box}[body]
    whole, inside, core = (make(n, half_px - d) for d in (0, skin_px, skin_px + shell_px))
    feo = whole - inside + core * (1 - (_ball(n, void_px, (1.0, -2.0, 2.0)) if void_px else 0))
    return Volume(np.stack([48.1 * feo, 40.3 * (inside - core)]), ("FeO", "Fe3O4"), 0.5)


@pytest.fixture(scope="session")
def ball() -> Callable[..., F32]:
    """Make a ball."""
    return _ball


@pytest.fixture(scope="session")
def core_shell() -> Callable[..., Volume]:
    """Make a core-shell particle."""
    return _core_shell
