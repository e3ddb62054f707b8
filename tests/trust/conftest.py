"""A small particle with a void, counted at nine tilts, and quick makers."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from napari_dipmtv.data import TiltSeries, Volume
from napari_dipmtv.phantom import count_series, make_volume, true_measures
from napari_dipmtv.settings.phantom import PhantomSettings
from napari_dipmtv.settings.tomo import SirtSettings
from napari_dipmtv.trust.repeats import Maker

TILTS = tuple(float(t) for t in np.linspace(-70, 70, 9))


def particle(void_radius_nm: float, field: int = 26) -> Volume:
    """FeO core, 1.5 nm Fe3O4 shell, 1.3 nm FeO skin; the void in the middle."""
    settings = PhantomSettings(
        field_voxels=field,
        size_nm=field * 0.63,
        skin_nm=1.3,
        shell_nm=1.5,
        void_radius_nm=void_radius_nm,
        void_x_nm=0,
        void_y_nm=0,
        void_z_nm=0,
    )
    true = true_measures(settings)
    sizes = {
        "FeO core volume": true.core_nm3,
        "Fe3O4 shell volume": true.shell_nm3,
        "FeO skin volume": true.skin_nm3,
    }
    return make_volume(settings).replace(metadata={"true": sizes})


@pytest.fixture(scope="session")
def hollow() -> Volume:
    """With a void of 4.4 voxels."""
    return particle(2.2)


@pytest.fixture(scope="session")
def solid() -> Volume:
    """Without."""
    return particle(0)


@pytest.fixture(scope="session")
def counted() -> Callable[..., TiltSeries]:
    """Count a volume at nine tilts with 20 % noise."""

    def count(volume: Volume, noise: float = 0.2, seed: int = 0) -> TiltSeries:
        return count_series(volume, TILTS, relative_noise=noise, seed=seed)

    return count


@pytest.fixture(scope="session")
def maker() -> Maker:
    """SIRT: a repeat takes ten milliseconds."""
    return Maker("sirt", SirtSettings(iterations=20), "cpu")
