"""F13: a damaged file ends in one `ReadError`, or in exactly the data that were in it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import scipy.io

from napari_dipmtv.data import ChannelMaps, Segmentation, SpectrumSeries, Volume
from napari_dipmtv.errors import ReadError
from napari_dipmtv.io.maps import load_saved_maps, save_maps
from napari_dipmtv.io.spectrum_images import load_spectrum_image, save_series
from napari_dipmtv.io.stacks import read_stack
from napari_dipmtv.io.volumes import load_labels, load_volume, save_labels, save_volume

Seed = tuple[Path, Callable[[Path], np.ndarray]]
FLIPS = 25


def stack(path: Path) -> np.ndarray:
    return read_stack(path, "Fe").data


@pytest.fixture(
    params=[
        "spectrum.hspy",
        "volume.tif",
        "volume.hspy",
        "labels.tif",
        "maps.tif",
        "a.npz",
        "a.mat",
        "a.npy",
        "a.mrc",
    ]
)
def seed(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    series: SpectrumSeries,
    volume: Volume,
    maps: ChannelMaps,
    ball: Segmentation,
) -> Seed:
    """A small good file with the way to read it."""
    match request.param:
        case "spectrum.hspy":
            return save_series(series, tmp_path)[0], lambda path: load_spectrum_image(path).counts
        case "volume.tif":
            return save_volume(volume.replace(data=volume.data[:1], channels=("Fe",)), tmp_path)[0], _volume
        case "volume.hspy":
            return save_volume(volume, tmp_path, ("hspy",))[0], _volume
        case "labels.tif":
            return save_labels(ball, tmp_path / "labels.tif"), lambda path: load_labels(path).labels
        case "maps.tif":
            return save_maps(maps, tmp_path)[0], lambda path: load_saved_maps(path.parent).data
        case "a.npz":
            np.savez_compressed(tmp_path / "a.npz", Fe=volume.data[0])
        case "a.mat":
            scipy.io.savemat(tmp_path / "a.mat", {"Fe": volume.data[0]}, do_compression=True)
        case "a.npy":
            np.save(tmp_path / "a.npy", volume.data[0])
        case "a.mrc":
            path = save_volume(volume, tmp_path, ("mrc",))[0]
            return path, stack
    return tmp_path / request.param, stack


def _volume(path: Path) -> np.ndarray:
    volume = load_volume(path)
    return np.concatenate([volume.data.ravel(), [np.float32(volume.voxel_nm)]])


def read_or_refuse(read: Callable[[Path], np.ndarray], path: Path, good: np.ndarray) -> bool:
    """True where the file was refused; data that differ fail the test."""
    try:
        data = read(path)
    except ReadError as error:
        refusal = str(error)
    else:
        np.testing.assert_array_equal(data, good)
        return False
    assert path.name in refusal or path.parent.name in refusal
    return True


def test_f13_truncated_file_is_refused(seed: Seed) -> None:
    path, read = seed
    raw, good = path.read_bytes(), read(path)
    for quarter in (0, 1, 2, 3):
        path.write_bytes(raw[: len(raw) * quarter // 4])
        assert read_or_refuse(read, path, good)
    path.write_bytes(raw)
    np.testing.assert_array_equal(read(path), good)


def test_f13_flipped_bytes_are_refused_or_harmless(seed: Seed) -> None:
    path, read = seed
    if path.name in {"a.npy", "volume_FeO.mrc"}:
        pytest.skip("npy and mrc carry no checksum")
    raw, good = path.read_bytes(), read(path)
    rng = np.random.default_rng(13)
    refused = 0
    for place in rng.integers(0, len(raw), FLIPS):
        damaged = bytearray(raw)
        damaged[place] ^= 1 << rng.integers(8)
        path.write_bytes(damaged)
        refused += read_or_refuse(read, path, good)
    assert refused > 0


@pytest.mark.real_data
@pytest.mark.parametrize("name", ["L2083_edx_spectrum_images/0.bcf", "format_fixtures/EELS_SI.dm4"])
def test_f13_truncated_microscope_files(data_folder: Path, tmp_path: Path, name: str) -> None:
    raw = (data_folder / name).read_bytes()
    path = tmp_path / Path(name).name
    for quarter in (1, 3):
        path.write_bytes(raw[: len(raw) * quarter // 4])
        with pytest.raises(ReadError, match=path.name):
            load_spectrum_image(path, tilt_deg=0)
