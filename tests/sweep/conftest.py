"""A small counted series that many jobs can reconstruct in a moment."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from napari_dipmtv.data import TiltSeries, Volume
from napari_dipmtv.phantom.dose import count_series


@pytest.fixture(scope="session")
def ball() -> Volume:
    """Two half balls of 16 voxels."""
    z, y, x = np.mgrid[:16, :16, :16] - 7.5
    inside = (z**2 + y**2 + x**2 < 30).astype(np.float32)
    return Volume(np.stack([inside * (y < 0), inside * (y >= 0)]), ("a", "b"), 1.0)


@pytest.fixture(scope="session")
def counted_ball(ball: Volume) -> TiltSeries:
    """Nine noisy views."""
    return count_series(ball, tuple(float(t) for t in range(-60, 61, 15)), relative_noise=0.3, seed=1)


@pytest.fixture(scope="session")
def client() -> Iterator[Any]:
    """A client of a cluster of one local worker process, which takes seconds to begin."""
    pytest.importorskip("distributed")
    from napari_dipmtv.sweep.workers import cluster

    with cluster(None, 1, 1) as one:
        yield one
