"""The parts of the search: the most likely volume, accelerated moves, and angles that nothing tells."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from napari_dipmtv.alignment import apply, estimate
from napari_dipmtv.alignment.gauge import Pose
from napari_dipmtv.alignment.mapping import displacements
from napari_dipmtv.alignment.matcher import Matcher
from napari_dipmtv.alignment.most_likely import MostLikely
from napari_dipmtv.alignment.moves import Moves
from napari_dipmtv.data import Alignment, ChannelMaps, TiltSeries
from napari_dipmtv.projection.geometry import Geometry
from napari_dipmtv.projection.sparse import SparseProjector
from napari_dipmtv.settings.align import AlignSettings
from napari_dipmtv.states import run

QUICK = AlignSettings(find_axis_angle=False, coarsest_binning=1)


@pytest.fixture(scope="module")
def likely() -> MostLikely:
    return MostLikely(torch.device("cpu"))


@pytest.fixture(scope="module")
def beside(plant):
    """An axis 6 px beside the centre, which a reconstruction takes over most willingly."""
    return plant(np.zeros((9, 2)), 0.0, 6.0, relative_noise=0.1, seed=21)


def balls(n: int, offset_px: float, seed: int) -> ChannelMaps:
    """Counts of a homogeneous ball on the axis: the same disc in every view."""
    y, x = np.meshgrid(*[np.arange(n) - (n - 1) / 2] * 2, indexing="ij")
    thickness = 2 * np.sqrt(np.clip((0.3 * n) ** 2 - y**2 - (x - offset_px) ** 2, 0, None))
    counts = np.random.default_rng(seed).poisson(np.tile(thickness, (1, 9, 1, 1)))
    return ChannelMaps(counts, ("A",), tuple(np.arange(-70, 71, 17.5)), 1.0, counts_per_unit=1.0)


def test_the_most_likely_volume_explains_clean_views_and_keeps_their_sum(likely, tilts):
    truth = np.zeros((1, 24, 8, 24), np.float32)
    truth[:, 7:15, 2:7, 8:19] = 3
    projector = SparseProjector(Geometry.of(truth.shape[1:], tilts))
    series = TiltSeries(projector(torch.from_numpy(truth)).numpy(), ("A",), tilts, 1.0)
    volume = likely(series)
    again = projector(torch.from_numpy(volume.data)).numpy()
    assert np.linalg.norm(again - series.data) < 0.05 * np.linalg.norm(series.data)
    assert volume.data.sum() == pytest.approx(truth.sum(), rel=0.02)
    assert volume.data.min() >= 0


def test_f25_the_most_likely_volume_does_not_look_at_masked_pixels(likely, tilts):
    data = np.random.default_rng(0).poisson(4, (1, 9, 6, 20)).astype(np.float32)
    valid = np.random.default_rng(1).random((9, 6, 20)) > 0.2
    spoilt = np.where(valid[None], data, 1000)
    a, b = (likely(TiltSeries(d, ("A",), tilts, 1.0, valid=valid)).data for d in (data, spoilt))
    np.testing.assert_array_equal(a, b)


def test_accelerated_moves_close_the_gap_that_plain_ones_leave(beside, likely):
    """Matching alone closes a fixed share of the offset per round; the mixing learns that share."""
    matcher = Matcher(beside.maps.replace(data=beside.maps.data[:1], channels=("A",)), 1.0, likely)
    far = []
    for remembered in (True, False):
        match, moves = matcher.judge(Pose(np.zeros((9, 2)), 0.0), 1), Moves()
        for _ in range(6):
            moves = moves if remembered else Moves()
            pose = moves.next(match, beside.maps.tilts_deg, 1, QUICK.replace(max_update_px=2))
            match = matcher.judge(pose, 1)
        far.append(match.misfit)
    assert far[0] < 0.8 * far[1]


def test_f24_a_ball_has_no_axis_angle_and_says_so(likely):
    states = list(
        estimate(balls(32, 2.0, 3), AlignSettings(rounds=2, coarsest_binning=1), reconstruct=likely)
    )
    found = states[-1].snapshot()
    assert found.axis_angle_deg == 0
    assert found.axis_angle_error_deg == np.inf
    assert "do not tell the axis angle" in states[-1].stage
    assert states[-1].iteration == states[-1].total == 4


@pytest.mark.parametrize("seed", [17, 42, 67])
def test_f24_the_luckiest_of_many_angles_is_no_proof(likely, seed):
    """Of all angles in a wide range the best one lowers the misfit of a ball by three standard deviations."""
    settings = AlignSettings(rounds=1, coarsest_binning=1, max_axis_angle_deg=20)
    found = run(estimate(balls(24, 1.0, seed), settings, reconstruct=likely)).value
    assert found.axis_angle_deg == 0
    assert found.axis_angle_error_deg == np.inf


def test_a_known_axis_angle_is_applied_and_searched_around(likely):
    """A ball tells no angle, so the given one stays; without a search it is taken as it is."""
    given = AlignSettings(rounds=1, coarsest_binning=1, axis_angle_deg=-7.5, max_axis_angle_deg=1)
    for settings, error in ((given, np.inf), (given.replace(find_axis_angle=False), None)):
        found = run(estimate(balls(24, 1.0, 5), settings, reconstruct=likely)).value
        assert found.axis_angle_deg == -7.5
        assert found.axis_angle_error_deg == error


@pytest.mark.parametrize("angle_deg", [-8.0, 2.5])
def test_f24_a_turned_axis_is_found_and_its_error_stated(plant, likely, angle_deg):
    shifts = np.random.default_rng(4).uniform(-2, 2, (9, 2))
    planted = plant(shifts, angle_deg, 0.0, relative_noise=0.15, seed=4)
    near = {"axis_angle_deg": -7.0, "max_axis_angle_deg": 2} if angle_deg < 0 else {"max_axis_angle_deg": 12}
    settings = AlignSettings(rounds=3, **near)
    found = run(estimate(planted.maps, settings, reconstruct=likely)).value
    assert 0.03 < found.axis_angle_error_deg < 0.3
    assert abs(found.axis_angle_deg - angle_deg) < 0.3


def test_f22_order_and_sense_of_the_tilts_mirror_the_alignment(plant, likely):
    """Views in reverse with all tilts negated are the same experiment seen from behind: z is mirrored, nothing else."""
    planted = plant(np.random.default_rng(5).uniform(-2, 2, (9, 2)), 0.0, 1.0, relative_noise=0.2, seed=5)
    maps, settings = planted.maps, QUICK.replace(rounds=2)
    behind = ChannelMaps(maps.data, maps.channels, tuple(-t for t in maps.tilts_deg), 1.0)
    a, b = (run(estimate(m, settings, reconstruct=likely)).value for m in (maps, behind))
    np.testing.assert_allclose(displacements(a), displacements(b)[::-1], atol=0.02)
    assert b.axis_offset_px == pytest.approx(a.axis_offset_px, abs=0.02)


@pytest.mark.parametrize(("ny", "nx"), [(31, 40), (40, 31), (17, 33)])
def test_f27_odd_and_even_sizes_have_their_centre_in_the_middle(likely, ny, nx):
    """A ball in the very middle of the view is aligned already, whatever the parity."""
    y, x = np.meshgrid(np.arange(ny) - (ny - 1) / 2, np.arange(nx) - (nx - 1) / 2, indexing="ij")
    disc = np.sqrt(np.clip(36.0 - y**2 - x**2, 0, None))
    maps = ChannelMaps(np.tile(disc, (1, 9, 1, 1)), ("A",), tuple(np.arange(-70, 71, 17.5)), 1.0)
    found = run(estimate(maps, QUICK.replace(rounds=2), reconstruct=likely)).value
    np.testing.assert_allclose(displacements(found), 0, atol=0.05)
    assert found.axis_offset_px == pytest.approx(0, abs=0.1)


def test_f03_negative_noise_after_a_subtraction_does_not_move_the_views(plant, likely, residual):
    planted = plant(np.zeros((9, 2)), 0.0, 0.0, relative_noise=0.15, seed=6)
    noise = np.random.default_rng(6).normal(
        scale=0.03 * planted.maps.data.max(), size=planted.maps.data.shape
    )
    maps = planted.maps.replace(data=planted.maps.data + noise, counts_per_unit=None)
    assert (maps.data < 0).mean() > 0.2
    found = run(estimate(maps, QUICK.replace(rounds=6), reconstruct=likely)).value
    assert max(residual(displacements(found), planted)) < 0.2


def test_no_view_moves_further_than_allowed(beside, likely):
    settings = QUICK.replace(start="none", rounds=3, max_update_px=0.3)
    states = list(estimate(beside.maps, settings, reconstruct=likely))
    poses = [displacements(state.snapshot()) for state in states]
    assert max(np.abs(np.diff(poses, axis=0)).max(), 0.01) < 0.45  # 0.3 and the gauge taken out again


def test_one_interpolation_of_the_raw_views_gives_the_result(plant, likely):
    """Applying the found alignment at once equals applying it to the raw maps: the search leaves no trace."""
    planted = plant(np.random.default_rng(7).uniform(-2, 2, (9, 2)), 0.0, 0.0, relative_noise=0.2, seed=7)
    raw = planted.maps.data.copy()
    found = run(estimate(planted.maps, QUICK.replace(rounds=1), reconstruct=likely)).value
    np.testing.assert_array_equal(planted.maps.data, raw)
    kept = Alignment(found.shifts_px, found.axis_angle_deg, found.axis_offset_px)
    np.testing.assert_array_equal(apply(planted.maps, found).data, apply(planted.maps, kept).data)
