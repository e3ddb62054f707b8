"""What the engine owes on the reference cube: 64³ x 2 channels, nine tilts, 27 % noise."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from napari_dipmtv.data import TiltSeries, Volume
from napari_dipmtv.inspect import score, segment
from napari_dipmtv.inspect.score import overlap
from napari_dipmtv.inspect.segment import VOID
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
def test_dipm_tv_and_its_void(cube: tuple[TiltSeries, Volume]) -> None:
    series, truth = cube
    volume = reconstruct(series, "dipm-tv").volume
    reached = score(volume, truth)
    assert reached.nrmse <= 0.2
    assert reached.ssim >= 0.93
    found, true = segment(volume).mask(VOID), enclosed(truth)
    assert 0.5 * true.sum() < found.sum() < 2 * true.sum()
    # the likelihood itself has its maximum one voxel from the true place: so much the noise leaves open
    assert np.linalg.norm(np.argwhere(found).mean(axis=0) - np.argwhere(true).mean(axis=0)) < 2
    assert overlap(found, true) > 0.25


@pytest.mark.slow
def test_the_fixed_seed_gives_the_same_volume_twice(cube: tuple[TiltSeries, Volume]) -> None:
    series, _ = cube
    from napari_dipmtv.settings.tomo import DipSettings

    first, second = (reconstruct(series, "dipm-tv", DipSettings(iterations=25)).volume.data for _ in range(2))
    np.testing.assert_array_equal(first, second)


def enclosed(truth: Volume) -> NDArray[np.bool_]:
    """The empty voxels inside the true particle."""
    matter = truth.data.sum(axis=0) > 0.5 * np.median(truth.data.sum(axis=0)[truth.data.sum(axis=0) > 0])
    return np.asarray(ndimage.binary_fill_holes(matter) & ~matter)
