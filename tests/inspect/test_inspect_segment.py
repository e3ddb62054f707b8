"""Phases, names and voids of bodies of known geometry."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from napari_dipmtv.data import Volume
from napari_dipmtv.errors import InputError
from napari_dipmtv.inspect import left_out, match_voids, segment
from napari_dipmtv.settings.inspect import SegmentSettings

NAMES = {0: "vacuum", 1: "FeO core", 2: "Fe3O4 shell", 3: "FeO skin", 4: "void"}


@pytest.mark.parametrize("body", ["ball", "box"])
def test_core_shell_skin_and_void_are_told_apart(core_shell, body):
    volume = core_shell(48, body, 18, 2, 6, void_px=4)
    found = segment(volume)
    assert found.phases == NAMES
    centre = 23
    profile = found.labels[centre, centre, centre:]
    order = [int(v) for v, before in zip(profile[1:], profile, strict=False) if v != before]
    assert order[-3:] == [2, 3, 0]  # outwards: shell, skin, vacuum
    assert found.mask("void")[25, 21, 25]
    volumes = {"ball": lambda r: 4 / 3 * np.pi * r**3, "box": lambda r: 8 * r**3}[body]
    assert found.mask("FeO skin").sum() == pytest.approx(volumes(18) - volumes(16), rel=0.05)
    assert found.mask("Fe3O4 shell").sum() == pytest.approx(volumes(16) - volumes(10), rel=0.05)


@pytest.mark.parametrize("threshold", ["fraction", "otsu"])
def test_volume_of_a_ball(ball, threshold):
    volume = Volume(7 * ball(40, 14.0)[None], ("HAADF",), 1.0)
    found = segment(volume, SegmentSettings(threshold=threshold))
    assert found.phases == {0: "vacuum", 1: "material", 2: "void"}
    assert found.mask("material").sum() == pytest.approx(4 / 3 * np.pi * 14**3, rel=0.02)
    assert not found.mask("void").any()


def test_three_channels_are_named_by_channel(ball):
    whole, middle, core = (ball(40, r) for r in (15, 11, 7))
    volume = Volume(np.stack([core, middle - core, whole - middle]), ("Ge", "Sb", "Te"), 1.0)
    found = segment(volume)
    assert found.phases == {0: "vacuum", 1: "Ge", 2: "Sb", 3: "Te", 4: "void"}
    assert found.mask("Sb").sum() == pytest.approx(4 / 3 * np.pi * (11**3 - 7**3), rel=0.05)


def test_two_channels_side_by_side_can_be_named_plainly(ball):
    whole = ball(32, 12)
    left = np.arange(32) < 16
    volume = Volume(np.stack([whole * left, whole * ~left]), ("Au", "Ag"), 1.0)
    found = segment(volume, SegmentSettings(model="plain"))
    assert set(found.phases.values()) == {"vacuum", "Au", "Ag", "void"}
    assert found.mask("Au").sum() == found.mask("Ag").sum()


def test_a_bridge_between_skin_and_core_is_cut(core_shell):
    volume = core_shell(48, "ball", 18, 2, 6)
    data = volume.data.copy()
    data[:, 24, 24:26, 24:44] = volume.data[:, 23:24, 24:25, 23:24][
        :, 0
    ]  # a rod of core matter through the shell
    plain, bridged = segment(volume), segment(volume.replace(data=data))
    for phase in ("FeO core", "FeO skin"):
        assert (plain.mask(phase) ^ bridged.mask(phase)).sum() < 0.02 * plain.mask(phase).sum() + 20
    assert not bridged.mask("FeO core")[24, 24, 38:].any()


def test_a_core_close_to_the_surface_stays_core(ball):
    """An eccentric core comes nearer to the surface than mid-shell; being enclosed, it is core."""
    whole, inside, core = ball(48, 18), ball(48, 16), ball(48, 8, (0, 0, 6.5))
    volume = Volume(np.stack([whole - inside + core, inside - core]), ("A", "B"), 1.0)
    found = segment(volume)
    assert found.mask("A core").sum() == pytest.approx(4 / 3 * np.pi * 8**3, rel=0.05)


def test_specks_of_noise_neither_name_the_core_nor_stay(core_shell, ball):
    """Noise around a particle makes many small pieces; each has a middle, all of the other channel."""
    particle = core_shell(48, "ball", 14, 2, 5)
    specks = sum(
        ball(48, 1.8, (z, y, x)) for z in (-20, 20) for y in range(-20, 21, 5) for x in range(-20, 21, 5)
    )
    noisy = particle.replace(data=particle.data + np.stack([0 * specks, 40.3 * specks]).astype(np.float32))
    found = segment(noisy)
    assert found.phases == NAMES
    assert np.array_equal(found.labels, segment(particle).labels)


def test_a_small_particle_beside_a_large_one_stays(ball):
    volume = Volume(7 * (ball(48, 12, (-8, 0, 0)) + ball(48, 2.6, (16, 0, 0)))[None], ("HAADF",), 1.0)
    assert segment(volume).mask("material")[36:].sum() == pytest.approx(4 / 3 * np.pi * 2.6**3, rel=0.25)


def test_an_open_pore_is_no_void(core_shell):
    volume = core_shell(48, "box", 18, 2, 6, void_px=4)
    data = volume.data.copy()
    data[:, 25, 21, 25:] = 0  # a channel from the void to the outside
    assert not segment(volume.replace(data=data)).mask("void").any()
    assert segment(volume).mask("void").any()


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_noise_and_blur_move_little(core_shell, seed):
    volume = core_shell(48, "box", 18, 2, 6, void_px=4.5)
    noise = np.random.default_rng(seed).normal(0, 5, volume.data.shape)
    noisy = volume.replace(data=gaussian_filter(volume.data, (0, 0.7, 0.7, 0.7)) + noise)
    truth, found = segment(volume), segment(noisy)
    match = match_voids(found, truth)
    assert match.iou > 0.6
    assert match.distance_nm < 0.25
    for phase in ("FeO core", "Fe3O4 shell", "FeO skin"):
        a, b = truth.mask(phase), found.mask(phase)
        assert (a & b).sum() / (a | b).sum() > 0.8
    solid = segment(core_shell(48, "box", 18, 2, 6).replace(data=noisy.data + (truth.labels == 4) * 48.1))
    assert solid.mask("void").sum() == 0  # noise alone makes none


def test_a_faint_void_needs_a_higher_void_threshold(core_shell):
    volume = core_shell(48, "box", 18, 2, 6, void_px=5)
    without = core_shell(48, "box", 18, 2, 6)
    faint = volume.replace(data=0.4 * volume.data + 0.6 * without.data)
    assert not segment(faint).mask("void").any()
    found = segment(faint, SegmentSettings(void_fraction=0.8))
    assert match_voids(found, segment(volume)).iou > 0.5


def test_small_pieces_go_to_their_surroundings(core_shell):
    volume = core_shell(48, "box", 18, 2, 6)
    data = volume.data.copy()
    data[:, 24, 24, 24] = (0, 40)  # one voxel of shell in the core
    data[0, 2, 2, 2] = 48  # one voxel of matter in the vacuum
    data[:, 20, 20, 20] = 0  # one empty voxel in the core
    assert np.array_equal(segment(volume.replace(data=data)).labels, segment(volume).labels)


def test_empty_volumes_are_refused():
    with pytest.raises(InputError, match="some positive density"):
        segment(Volume(np.zeros((1, 4, 4, 4)), ("A",), 1.0))


def test_settings_survive_json():
    settings = SegmentSettings(void_fraction=0.7, model="plain")
    assert SegmentSettings.model_validate_json(settings.model_dump_json()) == settings


def test_dust_is_left_out_and_said(ball):
    data = ball(40, 12.0)
    assert left_out(Volume(data[None], ("HAADF",), 1.0)) == []
    data[1:3, 1:5, 1:4] = 1.0
    data[-3:-1, -5:-1, -4:-1] = 1.0
    volume = Volume(data[None], ("HAADF",), 1.0)
    (said,) = left_out(volume)
    assert "2 separate pieces of 48 voxels in all" in said
    assert segment(volume).labels[:6, :6, :6].max() == 0
