"""Fourier shell correlation, edge width, power spectrum and sampling against known answers."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from napari_dipmtv.data import Volume
from napari_dipmtv.errors import GeometryError
from napari_dipmtv.trust.coverage import coverage
from napari_dipmtv.trust.edges import WIDTH_10_90, edge_spread, spectrum_resolution
from napari_dipmtv.trust.fsc import crossing_nm, fsc, half_bit_threshold, soft_mask
from napari_dipmtv.trust.void import ball

N = 32


def volume(data: np.ndarray, voxel_nm: float = 1.0) -> Volume:
    return Volume(data[None].astype(np.float32), ("a",), voxel_nm)


def noise(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(N, N, N))


def only(curves, direction: str = "all"):
    return next(curve for curve in curves if curve.direction == direction)


def test_identical_volumes_correlate_fully_up_to_two_voxels() -> None:
    curve = only(fsc(volume(noise(0), 0.5), volume(noise(0), 0.5)))
    assert curve.correlation == pytest.approx(1.0)
    assert curve.frequency_per_nm[-1] == pytest.approx(1.0)  # 1 / (2 voxels)
    assert set(curve.resolution_nm.values()) == {1.0}


def test_independent_noise_scatters_about_zero_as_the_coefficients_say() -> None:
    mask = soft_mask(ball((N, N, N), np.full(3, 15.5), 12.0) > 0.5)
    for window in (None, mask):
        apart = [only(fsc(volume(noise(i)), volume(noise(i + 50)), mask=window)) for i in range(6)]
        outer = apart[0].coefficients > 20
        pulls = np.concatenate([(c.correlation * np.sqrt(2 * c.coefficients))[outer] for c in apart])
        # the real part of a correlation of n complex coefficients scatters by 1 / sqrt(2 n)
        assert abs(pulls.mean()) < 0.4
        assert 0.6 < pulls.std() < 1.5


def test_signal_and_noise_of_equal_power_give_the_correlation_of_their_ratio() -> None:
    signal = noise(0)
    for snr in (0.25, 1.0, 4.0):
        a, b = (volume(np.sqrt(snr) * signal + noise(i)) for i in (1, 2))
        curve = only(fsc(a, b))
        mean = np.average(curve.correlation, weights=curve.coefficients)
        assert mean == pytest.approx(snr / (1 + snr), abs=0.03)


def test_resolution_is_where_the_signal_ends() -> None:
    k = np.sqrt(sum(a * a for a in np.meshgrid(*(np.fft.fftfreq(N),) * 3, indexing="ij")))
    signal = np.fft.ifftn(np.fft.fftn(noise(0)) * (k <= 8.5 / N)).real * 30
    curve = only(fsc(volume(signal + noise(1)), volume(signal + noise(2))))
    assert N / 9 < curve.resolution_nm["0.143"] <= N / 8  # between the last shell with signal and the next
    assert curve.resolution_nm["0.5"] >= curve.resolution_nm["0.143"]


def test_cones_see_the_direction_that_was_blurred() -> None:
    signal = gaussian_filter(noise(0), (2.0, 0, 0)) * 3  # along z
    curves = fsc(volume(signal + noise(1)), volume(signal + noise(2)))
    z, x = (only(curves, axis).resolution_nm["0.143"] for axis in "zx")
    assert z > 1.5 * x


def test_channels_and_their_sum_are_told_apart() -> None:
    a, b = (Volume(np.stack([noise(0), noise(i)]).astype(np.float32), ("Fe", "O"), 1.0) for i in (1, 2))
    curves = fsc(a, b)
    assert [c.channel for c in curves if c.direction == "all"] == ["Fe", "O", "sum"]
    means = [c.correlation[3:].mean() for c in curves if c.direction == "all"]
    assert means == pytest.approx([1.0, 0.0, 0.5], abs=0.06)


def test_halves_of_different_grids_are_refused() -> None:
    with pytest.raises(GeometryError, match="one grid"):
        fsc(volume(noise(0)), volume(noise(0)[1:]))


def test_half_bit_threshold_has_the_published_limits() -> None:
    # van Heel and Schatz (2005): 0.1716 for very large shells, 1 for a single coefficient
    assert half_bit_threshold(np.array([1e12]))[0] == pytest.approx(0.1716, abs=1e-4)
    assert half_bit_threshold(np.array([1.0, 0.1])) == pytest.approx([1.0, 1.0])
    assert half_bit_threshold(np.array([100.0]))[0] == pytest.approx((0.2071 + 0.19102) / (1.2071 + 0.09102))


def test_crossings() -> None:
    k = np.array([0.1, 0.2, 0.3])
    assert crossing_nm(k, np.array([0.5, 0.5, -0.5]), 2.0) == pytest.approx(1 / 0.25)
    assert crossing_nm(k, np.array([0.5, 0.5, 0.1]), 2.0) == 2.0
    assert np.isnan(crossing_nm(k, np.array([-0.5, 0.5, 0.1]), 2.0))


@pytest.mark.parametrize("sigma_px", [1.5, 2.5])
def test_edge_width_of_a_blurred_ball(sigma_px: float) -> None:
    body = gaussian_filter(ball((44, 44, 44), np.full(3, 21.3), 26.0), sigma_px)
    found = edge_spread(volume(body, 0.5))
    assert [edge.direction for edge in found] == ["all", "x", "y", "z"]
    for edge in found:
        assert edge.width_nm == pytest.approx(WIDTH_10_90 * sigma_px * 0.5, rel=0.10)


def test_edge_width_knows_directions_and_two_phases() -> None:
    whole, core = (ball((44, 44, 44), np.full(3, 21.3), d) for d in (28.0, 12.0))
    blur = (0, 3.0, 1.2, 1.2)  # z is the worst, as behind a missing wedge
    data = gaussian_filter(np.stack([48.1 * core, 40.3 * (whole - core)]), blur)
    found = {e.direction: e.width_nm for e in edge_spread(Volume(data, ("FeO", "Fe3O4"), 1.0))}
    assert found["z"] == pytest.approx(3.0 * WIDTH_10_90, rel=0.2)
    assert found["x"] == pytest.approx(1.2 * WIDTH_10_90, rel=0.3)


def test_no_edge_in_an_empty_volume() -> None:
    body = np.zeros((16, 16, 16))
    body[8, 8, 8] = 1
    assert edge_spread(volume(body)) == ()


def test_published_measure_rewards_smoothness_where_the_fsc_does_not() -> None:
    body = ball((48, 48, 48), np.full(3, 23.5), 24.0) * 20
    halves = [volume(body + np.random.default_rng(i).normal(size=body.shape)) for i in (1, 2)]
    smooth = [half.replace(data=gaussian_filter(half.data, (0, 1, 1, 1), mode="wrap")) for half in halves]
    raw, blurred = (only(fsc(*pair)).resolution_nm["0.143"] for pair in (halves, smooth))
    assert blurred == pytest.approx(raw, rel=0.05)  # a linear filter changes no correlation
    rough, flat = (spectrum_resolution(pair[0])[0] for pair in (halves, smooth))
    assert flat.noise[-1] < rough.noise[-1] - 1  # but it lowers the noise line by more than a decade


def test_f26_coverage_states_the_wedge_and_a_gap_in_the_middle() -> None:
    even = coverage(tuple(np.arange(-70.0, 71.0, 17.5)), 30.0, 1.0)
    assert even.largest_gap_deg == pytest.approx(40.0)
    assert even.wedge_share == pytest.approx(40 / 180, abs=0.01)
    assert even.crowther_nm == pytest.approx(30 * np.deg2rad(17.5))
    full = coverage(tuple(np.arange(-90.0, 90.0, 1.0)), 30.0, 1.0)
    assert full.share == 1.0
    assert even.share < 0.5
    holed = coverage((-70.0, -60.0, -50.0, 50.0, 60.0, 70.0), 30.0, 1.0)
    assert holed.largest_gap_deg == pytest.approx(100.0)
    middle = len(holed.measured) // 2
    assert holed.measured[middle, -4] < 0.1  # kx: the 0 deg view, which is missing
    assert even.measured[middle, -4] > 0.9
