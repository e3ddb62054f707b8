"""A small particle with known truth, counted at nine tilts."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from particles import counted, particle

from napari_dipmtv.data import TiltSeries, Volume


@pytest.fixture(scope="session")
def truth() -> Volume:
    """The particle."""
    return particle()


@pytest.fixture(scope="session")
def series(truth: Volume) -> TiltSeries:
    """Its projections with about 25 % noise."""
    return counted(truth, 2.0)
