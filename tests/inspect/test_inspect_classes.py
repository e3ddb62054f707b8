"""Ways to draw the line between phases, each on volumes whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from napari_dipmtv.data import Volume
from napari_dipmtv.errors import InputError
from napari_dipmtv.inspect import match_voids, segment
from napari_dipmtv.settings.inspect import SegmentSettings


@pytest.fixture
def grey(ball) -> Volume:
    """One channel of two densities, 10 in a ball and 25 in its core, with noise."""
    data = 10 * ball(32, 12) + 15 * ball(32, 6)
    noise = np.random.default_rng(3).normal(0, 1, data.shape)
    return Volume((data + noise)[None], ("HAADF",), 1.0)


@pytest.mark.parametrize("threshold", ["multi-otsu", "mixture"])
def test_grey_values_of_one_channel(grey, threshold):
    found = segment(grey, SegmentSettings(threshold=threshold, classes=3))
    assert found.phases == {0: "vacuum", 1: "HAADF 1", 2: "HAADF 2", 3: "void"}
    core, whole = (4 / 3 * np.pi * r**3 for r in (6, 12))
    assert found.mask("HAADF 2").sum() == pytest.approx(core, rel=0.08)
    assert (found.labels > 0).sum() == pytest.approx(whole, rel=0.06)


def test_two_classes_are_material_and_vacuum(grey):
    assert segment(grey, SegmentSettings(threshold="mixture", classes=2)).phases[1] == "material"


def test_levels_by_hand_cut_where_they_are_set(ball):
    radius = 10.0
    z, y, x = np.mgrid[:30, :30, :30] - 14.5
    ramp = np.clip(1 - np.sqrt(z * z + y * y + x * x) / 14, 0, None).astype(np.float32)
    volume = Volume(ramp[None], ("HAADF",), 1.0)
    bulk = np.median(ramp[ramp > 0])  # any number will do: the levels are shares of what Otsu leaves
    found = {p: segment(volume, SegmentSettings(threshold="levels", levels_percent=(p,))) for p in (40, 80)}
    sizes = [int((s.labels > 0).sum()) for s in found.values()]
    assert sizes[0] > sizes[1] > 0
    radii = [(3 * n / 4 / np.pi) ** (1 / 3) for n in sizes]
    # on a ramp the radius falls in proportion to the level
    assert (14 - radii[1]) / (14 - radii[0]) == pytest.approx(2, rel=0.03)
    assert bulk > 0
    assert radius < 14


def test_levels_by_hand_one_per_channel(core_shell):
    volume = core_shell(36, "box", 13, 2, 4)
    usual = segment(volume)
    assert np.array_equal(
        segment(volume, SegmentSettings(threshold="levels", levels_percent=(50, 50))).labels, usual.labels
    )
    strict = segment(volume, SegmentSettings(threshold="levels", levels_percent=(50, 200)))
    assert strict.mask("Fe3O4 shell").sum() < 0.1 * usual.mask("Fe3O4 shell").sum()


@pytest.mark.parametrize("percents", [(), (50, 50, 50)])
def test_levels_that_do_not_fit_are_refused(core_shell, percents):
    with pytest.raises(InputError, match="one for each of FeO, Fe3O4"):
        segment(core_shell(24, "box", 8, 1, 3), SegmentSettings(threshold="levels", levels_percent=percents))


@pytest.mark.parametrize("percents", [(), (50, 50), (80, 20)])
def test_levels_of_one_channel_must_rise(grey, percents):
    with pytest.raises(InputError, match="ascending percents"):
        segment(grey, SegmentSettings(threshold="levels", levels_percent=percents))


def test_a_mixture_sees_through_anticorrelated_noise(core_shell):
    """Unmixing moves counts from one phase to the other: the sum stays calm, the difference does not."""
    volume = core_shell(40, "box", 15, 3, 5)
    rng = np.random.default_rng(1)
    wrong = rng.normal(0, 14, volume.data.shape[1:])
    noisy = volume.replace(data=volume.data + np.stack([wrong, -wrong]) + rng.normal(0, 2, volume.data.shape))
    truth, found = segment(volume), segment(noisy, SegmentSettings(threshold="mixture"))
    for phase in ("FeO core", "Fe3O4 shell", "FeO skin"):
        a, b = truth.mask(phase), found.mask(phase)
        assert (a & b).sum() / (a | b).sum() > 0.85, phase


def test_the_boundary_of_unequal_phases_is_unbiased(ball):
    """Where a dense and a light phase share a voxel, the fuller one has it, not the denser one."""
    whole, core = ball(36, 14), gaussian_filter(ball(36, 8), 1.5)
    volume = Volume(np.stack([30 * core, 10 * (whole - core)]), ("dense", "light"), 1.0)
    found = segment(volume, SegmentSettings(model="plain"))
    assert found.mask("dense").sum() == pytest.approx((core > 0.5).sum(), rel=0.08)


def test_a_faint_void_is_found_against_its_surrounding(core_shell):
    volume, without = core_shell(44, "box", 16, 2, 5, void_px=4.5), core_shell(44, "box", 16, 2, 5)
    faint = gaussian_filter(0.45 * volume.data + 0.55 * without.data, (0, 0.7, 0.7, 0.7))
    faint += np.random.default_rng(0).normal(0, 1.2, faint.shape)
    noisy = volume.replace(data=faint)
    assert not segment(noisy).mask("void").any()
    settings = SegmentSettings(void_reference="surrounding", void_fraction=0.8)
    match = match_voids(segment(noisy, settings), segment(volume))
    assert match.iou > 0.75
    assert match.distance_nm < 0.25
    solid = without.replace(data=noisy.data + 0.45 * (without.data - volume.data))
    assert segment(solid, settings).mask("void").sum() == 0


def test_empty_voids_are_the_same_either_way(core_shell):
    volume = core_shell(44, "box", 16, 2, 5, void_px=4)
    both = [segment(volume, SegmentSettings(void_reference=r)).labels for r in ("bulk", "surrounding")]
    assert np.array_equal(*both)


def test_an_open_pore_is_no_void_of_its_surrounding(core_shell):
    volume = core_shell(40, "box", 15, 2, 5, void_px=4)
    data = volume.data.copy()
    data[:, 21, 17, 21:] = 0  # a channel from the void to the outside
    settings = SegmentSettings(void_reference="surrounding")
    assert not segment(volume.replace(data=data), settings).mask("void").any()


def test_particles_of_different_size_keep_their_layers(core_shell):
    """The skin of the small one lies as deep as the shell of the large one does not."""
    large, small = core_shell(40, "box", 17, 2, 7), core_shell(40, "box", 8, 1.5, 2.5)
    both = segment(large.replace(data=np.concatenate([large.data, small.data], axis=3))).labels
    assert np.array_equal(both[..., :40], segment(large).labels)
    assert np.array_equal(both[..., 40:], segment(small).labels)
