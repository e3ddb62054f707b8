"""A reference of another grid, place, turn, scale and channel order finds its way onto the volume."""

from __future__ import annotations

import numpy as np
import pytest

from napari_dipmtv.data import Volume
from napari_dipmtv.errors import InputError
from napari_dipmtv.inspect import score
from napari_dipmtv.inspect.register import register
from napari_dipmtv.phantom import make_volume
from napari_dipmtv.settings.phantom import PhantomSettings

PARTICLE = PhantomSettings(
    field_voxels=24,
    size_nm=12,
    skin_nm=1.5,
    shell_nm=2.5,
    void_radius_nm=1.2,
    void_x_nm=1,
    void_y_nm=-1,
    void_z_nm=0,
)


@pytest.fixture(scope="module")
def volume() -> Volume:
    truth = make_volume(PARTICLE)
    noise = np.random.default_rng(0).normal(0, 4, truth.data.shape).astype(np.float32)
    return truth.replace(data=truth.data + noise)


def test_a_turned_moved_and_finer_reference_comes_back(volume: Volume) -> None:
    """0.8 nm voxels, turned by 7 deg, 1.6 and -2.4 nm away, 0.3 times as dense, channels exchanged."""
    moved = np.roll(
        make_volume(PARTICLE.replace(field_voxels=30, voxel_nm=0.8, rotation_y_deg=19)).data, (2, -3), (1, 3)
    )
    given = Volume(0.3 * moved[::-1], volume.channels[::-1], 0.8)
    found = register(given, volume)
    assert found.shift_nm == pytest.approx((1.6, 0, -2.4), abs=0.15)
    assert found.turn_deg == pytest.approx(7, abs=1)
    assert found.scale == pytest.approx(1 / 0.3, rel=0.05)
    assert found.volume.channels == volume.channels
    scores = score(found.volume, make_volume(PARTICLE))
    assert scores.nrmse < 0.25  # interpolated twice
    assert min(scores.iou.values()) > 0.8


def test_what_cannot_be_compared_is_refused(volume: Volume) -> None:
    with pytest.raises(InputError, match="Rename its channels"):
        register(volume.replace(channels=("Fe", "O")), volume)
    with pytest.raises(InputError, match="an empty one"):
        register(volume.replace(data=volume.data * 0), volume)
    noise = np.random.default_rng(1).random(volume.data.shape, np.float32)
    with pytest.raises(InputError, match="same object"):
        register(volume.replace(data=noise), volume)
