"""Counted projections: right mean, right noise, whole counts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from napari_dipmtv.data import Volume
from napari_dipmtv.errors import InputError
from napari_dipmtv.phantom import count_series, make_volume
from napari_dipmtv.phantom.dose import detect, project
from napari_dipmtv.settings.phantom import PhantomSettings, cube64

TILTS = tuple(np.arange(-60.0, 61, 30))


@pytest.fixture(scope="module")
def volume() -> Volume:
    return make_volume(PhantomSettings(field_voxels=32, voxel_nm=1.5))


def test_noise_is_what_was_asked_for(volume: Volume) -> None:
    series, clean = count_series(volume, TILTS, relative_noise=0.27, seed=1), project(volume, TILTS)
    assert np.linalg.norm(series.data - clean) / np.linalg.norm(clean) == pytest.approx(0.27, rel=0.03)
    assert series.data.sum(dtype=np.float64) == pytest.approx(clean.sum(), rel=0.01)
    assert series.tilts_deg == TILTS
    assert series.channels == volume.channels


def test_counts_are_whole_and_poisson(volume: Volume) -> None:
    series, clean = count_series(volume, TILTS, counts_per_unit=0.02, seed=2), project(volume, TILTS)
    assert series.counts_per_unit == 0.02
    counts = series.data.astype(np.float64) * 0.02
    np.testing.assert_allclose(counts, counts.round(), atol=1e-3)
    seen = clean > 0.1 * clean.max()
    pull = (counts - 0.02 * clean)[seen] / np.sqrt(0.02 * clean[seen])
    assert pull.mean() == pytest.approx(0, abs=4 / np.sqrt(pull.size))
    assert pull.var() == pytest.approx(1, abs=6 / np.sqrt(pull.size))


def test_seed_decides(volume: Volume) -> None:
    first, same, other = (count_series(volume, TILTS, relative_noise=0.2, seed=s).data for s in (5, 5, 6))
    np.testing.assert_array_equal(first, same)
    assert (first != other).mean() > 0.1


@pytest.mark.parametrize(
    "given", [{}, {"relative_noise": 0.1, "counts_per_unit": 1.0}, {"relative_noise": 0.0}]
)
def test_one_noise_level_must_be_given(volume: Volume, given: dict[str, float]) -> None:
    with pytest.raises(InputError, match="noise level"):
        count_series(volume, TILTS, **given)


def test_empty_volume_is_refused(volume: Volume) -> None:
    with pytest.raises(InputError, match="empty projection"):
        count_series(volume.replace(data=np.zeros_like(volume.data)), TILTS, relative_noise=0.1)


@pytest.mark.real_data
def test_reference_counts_have_27_percent_noise(data_folder: Path) -> None:
    path = data_folder / "reference_cube64" / "cube64.npz"
    if not path.is_file():
        pytest.skip(f"{path.name} absent from the data folder")
    with np.load(path, allow_pickle=False) as file:
        tilts, per_unit, counts = tuple(file["tilts_deg"]), float(file["counts_per_unit"]), file["counts"]
    series = count_series(make_volume(cube64()), tilts, relative_noise=0.27)
    assert series.counts_per_unit == pytest.approx(per_unit, rel=0.01)
    clean = project(make_volume(cube64()), tilts) * per_unit
    pull = (counts - clean)[clean > 3] / np.sqrt(clean[clean > 3])
    assert pull.var() == pytest.approx(1, abs=0.05)  # also proves that both turn the same way


def test_detector_gain_noise_and_spikes() -> None:
    electrons, quiet = np.full((100, 400), 20.0), {"spikes_per_million": 0.0, "spike_counts": 1e5}
    draw = np.random.default_rng
    counts = detect(electrons, draw(0), gain=3.0, readout_counts=4.0, **quiet)
    assert counts.mean() == pytest.approx(60, rel=0.01)
    assert counts.var() == pytest.approx(3**2 * 20 + 4**2, rel=0.03)
    spiky = detect(electrons, draw(0), gain=1.0, readout_counts=0.0, spikes_per_million=500, spike_counts=1e5)
    assert (spiky > 500).sum() == pytest.approx(20, abs=14)
    assert (detect(electrons, draw(0), gain=1.0, readout_counts=0.0, **quiet) > 500).sum() == 0
