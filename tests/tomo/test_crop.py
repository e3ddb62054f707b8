"""The box that holds the object: it holds it, and the fit inside it sees the same data."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from particles import counted, error, particle

from napari_dipmtv.data import Volume
from napari_dipmtv.settings.tomo import DipSettings
from napari_dipmtv.tomo.crop import Crop, crop_to_object
from napari_dipmtv.tomo.problem import pose
from napari_dipmtv.tomo.reconstruct import reconstruct

CPU = torch.device("cpu")


def moved(volume: Volume, by: tuple[int, int, int], field: int) -> Volume:
    """The volume in the middle of a larger field, displaced along z, y and x."""
    n = volume.data.shape[1]
    starts = [(field - n) // 2 + step for step in by]
    data = np.zeros((2, field, field, field), np.float32)
    data[(slice(None), *(slice(start, start + n) for start in starts))] = volume.data
    return Volume(data, volume.channels, volume.voxel_nm)


def box_of(volume: Volume) -> Crop:
    """The crop that the true volume gives."""
    return crop_to_object(pose(counted(volume, 5.0), CPU), volume)


@pytest.mark.parametrize("by", [(0, 0, 0), (4, -3, 2), (-5, 6, 0)])
def test_the_box_holds_the_object_and_little_else(by: tuple[int, int, int]) -> None:
    volume = moved(particle(24), by, 40)
    crop = box_of(volume)
    assert np.count_nonzero(volume.data[(slice(None), *crop.slices)]) == np.count_nonzero(volume.data)
    occupied = np.argwhere(volume.data.sum(axis=0) > 0.5)
    for (first, stop), low, high in zip(crop.box, occupied.min(axis=0), occupied.max(axis=0), strict=True):
        assert low - 7 < first < low
        assert high < stop - 1 < high + 8
        assert (stop - first) % 4 == 0


@pytest.mark.parametrize("by", [(0, 0, 0), (4, -3, 2), (-5, 6, 0)])
def test_the_box_alone_projects_like_the_whole(by: tuple[int, int, int]) -> None:
    """Also where its centre lies off the tilt axis, whose displacement the views must then carry."""
    volume = moved(particle(24), by, 40)
    crop = box_of(volume)
    whole = crop.whole.projector(torch.from_numpy(volume.data))
    y0, y1 = crop.box[1]
    inside = crop.inside(volume) * crop.problem.unit[:, None, None, None]
    torch.testing.assert_close(crop.problem.projector(inside), whole[:, :, y0:y1], rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(crop.problem.series.data, crop.whole.series.data[:, :, y0:y1])


def test_what_was_cut_out_goes_back_to_its_place() -> None:
    volume = moved(particle(24), (4, -3, 2), 40)
    crop = box_of(volume)
    np.testing.assert_allclose(
        crop.outside(crop.problem.volume(crop.inside(volume))).data, volume.data, rtol=1e-5, atol=1e-6
    )


def test_an_object_that_touches_the_border_is_not_cut() -> None:
    data = np.zeros((2, 24, 24, 24), np.float32)
    data[0, 8:16, :10, 8:16] = 1  # a rod that leaves the field along the tilt axis
    data[1, 8:16, 10:, 8:16] = 1
    crop = box_of(Volume(data, ("core", "shell"), 0.5))
    assert crop.box[1] == (0, 24)
    assert data[(slice(None), *crop.slices)].sum() == data.sum()


def test_a_haze_or_a_film_is_not_cut_off() -> None:
    volume = particle(24)
    assert box_of(volume).box != Crop.nothing(pose(counted(volume, 5.0), CPU)).box
    hazy = volume.replace(data=volume.data + np.float32(0.05))
    assert box_of(hazy).box == ((0, 24), (0, 24), (0, 24))


def test_specks_of_noise_do_not_widen_the_box() -> None:
    volume = moved(particle(24), (0, 0, 0), 40)
    speckled = volume.data.copy()
    speckled[0, 2, 2, 2] = speckled[1, 37, 5, 36] = 1
    problem = pose(counted(volume, 5.0), CPU)
    assert crop_to_object(problem, volume.replace(data=speckled)).box == crop_to_object(problem, volume).box


@pytest.mark.parametrize("size", [3, 4, 5, 6])
@pytest.mark.parametrize("field", [24, 25])
def test_the_box_of_a_tiny_particle_suits_the_network(size: int, field: int) -> None:
    """Three levels halve a side three times, and reflecting padding needs two voxels then."""
    data = np.zeros((2, field, field, field), np.float32)
    inside = slice(9, 9 + size)
    data[0, inside, inside, inside] = 1
    data[1, 9, inside, inside] = 0.5
    volume = Volume(data, ("core", "shell"), 0.5)
    problem = pose(counted(volume, 50.0), CPU)
    usual = 4 * -(-(size + 4) // 4)
    assert {stop - first for first, stop in crop_to_object(problem, volume).box} == {usual}
    for first, stop in crop_to_object(problem, volume, least_px=9).box:
        assert stop - first == 12
        assert abs((first + stop) / 2 - (9 + size / 2)) < 2.5  # still around the particle


@pytest.mark.parametrize(("size", "shape"), [(3, (24, 24)), (6, (21, 25))])
def test_a_tiny_particle_is_reconstructed(size: int, shape: tuple[int, int]) -> None:
    ny, nx = shape
    data = np.zeros((1, nx, ny, nx), np.float32)
    data[0, 9 : 9 + size, 8 : 8 + size, 10 : 10 + size] = 1
    series = counted(Volume(data, ("core",), 0.5), 200.0)
    found = reconstruct(series, "dipm-tv", DipSettings(iterations=2, polish=0)).volume
    assert found.data.shape == (1, nx, ny, nx)
    assert found.data.sum() > 0


def test_a_field_thinner_than_asked_for_is_kept_whole() -> None:
    data = np.zeros((1, 24, 7, 24), np.float32)
    data[0, 10:13, 2:5, 10:13] = 1
    volume = Volume(data, ("core",), 0.5)
    crop = crop_to_object(pose(counted(volume, 50.0), CPU), volume, least_px=9)
    assert crop.box[1] == (0, 7)


def test_a_cropped_fit_is_as_good_as_a_whole_one() -> None:
    truth = moved(particle(20), (2, 0, -2), 32)
    series = counted(truth, 4.0)
    settings = DipSettings(iterations=40, filters=(8, 16, 16), polish=0)
    cropped, whole = (
        reconstruct(series, "dipm-tv", settings.replace(crop=crop)).volume for crop in (True, False)
    )
    assert (cropped.data[:, 0] == 0).all()
    assert error(cropped, truth) < 1.1 * error(whole, truth)
