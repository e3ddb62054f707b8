"""What the engine owes on the reference cube: 64³ x 2 channels, nine tilts, 27 % noise."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from napari_dipmtv.data import TiltSeries, Volume
from napari_dipmtv.inspect import score
from napari_dipmtv.tomo.reconstruct import reconstruct

pytestmark = [pytest.mark.real_data, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def cube(data_folder: Path) -> tuple[TiltSeries, Volume]:
    """The counted series and the truth."""
    path = data_folder / "reference_cube64" / "cube64.npz"
    if not path.is_file():
        pytest.skip("the reference cube is absent")
    with np.load(path) as saved:
        gain = float(saved["counts_per_unit"])
        channels = tuple(str(name) for name in saved["channels"])
        maps = saved["counts"].astype(np.float32) / gain
        series = TiltSeries(maps, channels, tuple(saved["tilts_deg"]), 0.5, counts_per_unit=gain)
        return series, Volume(saved["truth"].astype(np.float32), channels, 0.5)


def test_cs_tv(cube: tuple[TiltSeries, Volume]) -> None:
    series, truth = cube
    assert score(reconstruct(series, "cs-tv").volume, truth).nrmse <= 0.38


@pytest.mark.slow
def test_dipm_tv(cube: tuple[TiltSeries, Volume]) -> None:
    series, truth = cube
    assert score(reconstruct(series, "dipm-tv").volume, truth).nrmse <= 0.29


@pytest.mark.slow
def test_the_fixed_seed_gives_the_same_volume_twice(cube: tuple[TiltSeries, Volume]) -> None:
    series, _ = cube
    from napari_dipmtv.settings.tomo import DipSettings

    first, second = (reconstruct(series, "dipm-tv", DipSettings(iterations=25)).volume.data for _ in range(2))
    np.testing.assert_array_equal(first, second)
