"""Small nouns with known content, for the round trips."""

from __future__ import annotations

import numpy as np
import pytest

from napari_dipmtv.data import (
    ChannelMaps,
    DualSpectrumImage,
    EnergyAxis,
    Segmentation,
    SpectrumImage,
    SpectrumSeries,
    Volume,
)

TILTS = (-40.0, 0.0, 17.5)


def spectrum_image(start_ev: float, tilt_deg: float, seed: int = 0) -> SpectrumImage:
    """A spectrum image (5 y, 4 x, 30 e) of Poisson counts."""
    counts = np.random.default_rng(seed).poisson(9, (5, 4, 30)).astype(np.float32)
    return SpectrumImage(
        counts, EnergyAxis(start_ev, 0.5, 30), 0.37, tilt_deg, 200.0, metadata={"gain": 1.25}
    )


@pytest.fixture
def series() -> SpectrumSeries:
    return SpectrumSeries(
        tuple(
            DualSpectrumImage(spectrum_image(-5.0, tilt, i), spectrum_image(700.0, tilt, i + 100))
            for i, tilt in enumerate(TILTS)
        )
    )


@pytest.fixture
def maps() -> ChannelMaps:
    rng = np.random.default_rng(1)
    covariance = rng.random((2, 2, 3, 6, 5), dtype=np.float32)
    valid = np.ones((3, 6, 5), bool)
    valid[1, 2, 3] = False
    data = rng.random((2, 3, 6, 5), dtype=np.float32)
    return ChannelMaps(data, ("FeO", "Fe₃O₄"), TILTS, 0.37, covariance, 12.5, valid)


@pytest.fixture
def volume() -> Volume:
    data = np.random.default_rng(2).random((2, 4, 6, 5), dtype=np.float32)
    return Volume(data, ("FeO", "Fe3O4"), 0.37, {"method": "sirt", "iterations": 20})


@pytest.fixture
def ball() -> Segmentation:
    """A ball of radius 7 voxels in phase "core" with a hole of radius 3 in phase "void"."""
    z, y, x = np.indices((18, 17, 20)) - np.array([8.5, 8, 9.5])[:, None, None, None]
    radius = np.sqrt(z**2 + y**2 + x**2)
    labels = (radius <= 7).astype(np.uint8) + (radius <= 3)
    return Segmentation(labels, {0: "vacuum", 1: "core", 2: "void"}, 0.5)


@pytest.fixture
def labels(volume: Volume) -> Segmentation:
    """Two phases of the volume, by the values of its channels."""
    values = (volume.data[0] > 0.5).astype(np.uint8) + (volume.data[1] > 0.8)
    return Segmentation(values, {0: "vacuum", 1: "FeO", 2: "Fe₃O₄"}, volume.voxel_nm)
