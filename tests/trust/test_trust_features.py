"""A void and a skin are taken out, put back in known sizes, and measured."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import binary_dilation, binary_erosion

from napari_dipmtv.errors import InputError
from napari_dipmtv.inspect import segment
from napari_dipmtv.settings.inspect import SegmentSettings
from napari_dipmtv.trust.filling import filling_of, filling_weights, matter_of
from napari_dipmtv.trust.result import p_value
from napari_dipmtv.trust.skin import find_skin
from napari_dipmtv.trust.void import VoidFeature, ball, find_void

LOOSE = SegmentSettings(smallest_void_voxels=4)


@pytest.fixture(scope="module")
def void(hollow) -> VoidFeature:
    return find_void(hollow, segment(hollow, LOOSE))[0]


def test_filling_is_one_in_every_phase(hollow) -> None:
    filling = filling_of(hollow, filling_weights(hollow))
    empty = binary_dilation(ball(filling.shape, np.full(3, 12.5), 4.4) > 0)
    full = binary_erosion(matter_of(hollow), iterations=2) & ~empty
    assert filling[full] == pytest.approx(1.0, abs=0.03)


def test_void_is_found_with_its_size_and_place(void) -> None:
    assert void.size_nm == pytest.approx(4.4, abs=0.5)
    assert void.centre_px == pytest.approx([12.5] * 3, abs=0.3)


def test_absent_has_the_matter_of_the_surrounding_and_leaves_the_rest(void, hollow, solid) -> None:
    inside = ball(hollow.data.shape[1:], void.centre_px, 4.4) > 0
    filled = filling_of(void.absent, filling_weights(solid))
    assert filled[inside] == pytest.approx(1.0, abs=0.04)
    assert (void.absent.data[0][inside] > 0.7 * solid.data[0][inside]).all()  # of the phase of the walls
    far = np.abs(np.indices(inside.shape) - 12.5).max(axis=0) > 6
    assert np.array_equal(void.absent.data[:, far], hollow.data[:, far])


@pytest.mark.parametrize("size", [2.0, 3.5, 5.0])
def test_planted_void_misses_its_volume(void, size: float) -> None:
    lost = (void.absent.data - void.planted(size).data).sum() / 48.1
    assert lost == pytest.approx(np.pi / 6 * size**3, rel=0.06)


def test_strength_is_the_missing_share(void, hollow) -> None:
    assert void.strength(hollow, void.size_nm)[0] > 0.7
    assert abs(void.strength(void.absent, void.size_nm)[0]) < 0.05
    there, anywhere = void.strength(hollow, void.size_nm)
    assert anywhere == there


def test_a_deeper_hole_elsewhere_counts_anywhere_but_not_there(void, solid) -> None:
    elsewhere = ball(solid.data.shape[1:], np.array([12.5, 12.5, 16.5]), 3.0)
    there, anywhere = void.strength(solid.replace(data=solid.data * (1 - elsewhere)), 3.0)
    assert anywhere > 0.5
    assert there < anywhere - 0.2


def test_without_a_segmented_void_the_emptiest_place_is_tested(hollow) -> None:
    blind = segment(hollow, SegmentSettings(smallest_void_voxels=500))
    feature, note = find_void(hollow, blind, probe_nm=4.0)
    assert "No void is segmented" in note
    assert feature.centre_px == pytest.approx([12.5] * 3, abs=1.0)


def test_skin_thickness_goes_away_and_comes_back(hollow) -> None:
    skin = find_skin(hollow, segment(hollow))
    assert skin.size_nm == pytest.approx(1.3, abs=0.25)
    assert skin.strength(skin.absent, 0)[0] == pytest.approx(0, abs=1e-3)
    found = [skin.strength(skin.planted(t), t)[0] for t in (0.0, 0.6, 1.3, 2.0)]
    assert found == pytest.approx([0.0, 0.6, 1.3, 2.0], abs=0.3)
    total = filling_of(hollow, filling_weights(hollow)).sum()
    for other in (skin.absent, skin.planted(1.0)):  # matter is exchanged, not lost
        assert filling_of(other, filling_weights(hollow)).sum() == pytest.approx(total, rel=0.03)


def test_skin_needs_core_and_shell(hollow) -> None:
    alone = hollow.replace(data=hollow.data[:1], channels=("FeO",))
    with pytest.raises(InputError, match="core and a shell"):
        find_skin(alone, segment(alone))


def test_p_value_is_never_zero_and_counts_ties() -> None:
    repeats = np.arange(99, dtype=float)
    assert p_value(1000.0, repeats) == pytest.approx(0.01)
    assert p_value(98.0, repeats) == pytest.approx(0.02)
    assert p_value(-1.0, repeats) == 1.0
    assert p_value(0.0, np.zeros(0)) == 1.0
