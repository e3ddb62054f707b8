"""The one interpolation: identity, conventions with a bright point, validity, covariance, noise, dose."""

from __future__ import annotations

import numpy as np
import pytest

from napari_dipmtv.alignment import apply, assume_aligned, dose_factors, dose_is_uneven, equalise
from napari_dipmtv.alignment.mapping import displacements
from napari_dipmtv.data import Alignment, ChannelMaps
from napari_dipmtv.errors import GeometryError, InputError

SHAPE = (2, 3, 31, 40)  # (c, t, y, x), odd and even
MIDDLE = (np.array(SHAPE[2:]) - 1) / 2


def maps_of(data, **more) -> ChannelMaps:
    return ChannelMaps(data, ("A", "B")[: len(data)], (-40.0, 0.0, 40.0), 1.0, **more)


@pytest.fixture
def noisy() -> ChannelMaps:
    random = np.random.default_rng(0)
    half = random.normal(size=(2, 2, *SHAPE[1:])).astype(np.float32)
    covariance = np.einsum("ik...,jk...->ij...", half, half) + np.eye(2)[:, :, None, None, None]
    valid = random.random(SHAPE[1:]) > 0.02
    return maps_of(random.poisson(5, SHAPE), covariance=covariance, valid=valid, counts_per_unit=3.0)


def test_no_misalignment_changes_not_one_bit(noisy):
    for series in (apply(noisy, Alignment(np.zeros((3, 2)))), assume_aligned(noisy)):
        assert np.array_equal(series.data, noisy.data)
        assert np.array_equal(series.covariance, noisy.covariance)
        assert np.array_equal(series.valid, noisy.valid)
        assert (series.counts_per_unit, series.tilts_deg) == (3.0, noisy.tilts_deg)


@pytest.mark.parametrize("interpolation", ["cubic", "linear", "fourier"])
def test_a_bright_point_comes_home(interpolation):
    """A point at ideal (y, x) = (-4, 6) is planted where the documented map says and must come back there."""
    angle, offset = 10.0, 2.0
    shifts = np.array([[0.0, 0.0], [3.0, -2.0], [-1.5, 4.25]])
    turn = np.deg2rad(angle)
    data = np.zeros((1, *SHAPE[1:]), np.float32)
    grid = np.stack(np.mgrid[: SHAPE[2], : SHAPE[3]], axis=-1)
    for t, (dy, dx) in enumerate(shifts):
        raw_y = dy + 6 * np.sin(turn) - 4 * np.cos(turn)
        raw_x = dx + offset + 6 * np.cos(turn) + 4 * np.sin(turn)
        distance2 = ((grid - MIDDLE - np.array([raw_y, raw_x])) ** 2).sum(axis=-1)
        data[0, t] = np.exp(-distance2 / (2 * 1.5**2))
    out = apply(maps_of(data), Alignment(shifts, angle, offset), interpolation=interpolation).data[0]
    weight = out.sum(axis=(1, 2))
    centres = np.einsum("tyx,yxk->tk", out, grid) / weight[:, None] - MIDDLE
    np.testing.assert_allclose(centres, np.tile([-4.0, 6.0], (3, 1)), atol=0.02)
    np.testing.assert_allclose(weight, 2 * np.pi * 1.5**2, rtol=0.01)


def test_fourier_takes_nothing_off_what_is_fine():
    """Lines a pixel wide, moved by half a pixel and turned: a spline blurs them, the Fourier series does not."""
    shifts = np.array([[0.5, 0.5], [0.25, -1.5], [0.0, 0.5]])
    alignment = Alignment(shifts, 2.0)
    turn, (y, x) = np.deg2rad(2.0), np.mgrid[: SHAPE[2], : SHAPE[3]] - MIDDLE[:, None, None]

    def line(across):
        return np.exp(-(across**2 + 0.06 * (y**2 + x**2)) / 2)

    recorded = []
    for dy, dx in shifts:
        b, a = y - dy, x - dx
        recorded.append(np.exp(-((a * np.cos(turn) + b * np.sin(turn)) ** 2 + 0.06 * (a**2 + b**2)) / 2))
    lost = {}
    for kind in ("linear", "cubic", "fourier"):
        found = apply(maps_of(np.stack([recorded]).astype("f4")), alignment, kind).data[0]
        lost[kind] = np.abs(found - line(x)).max()
    assert lost["fourier"] < 0.01
    assert lost["cubic"] > 3 * lost["fourier"]
    assert lost["linear"] > 3 * lost["cubic"]


def test_whole_pixel_shift_moves_pixels_and_marks_the_edge(noisy):
    clean = noisy.replace(valid=None, covariance=None)
    series = apply(clean, Alignment(np.array([[2.0, 0], [0, -3.0], [0, 0]])))
    np.testing.assert_allclose(series.data[:, 0, :-2], clean.data[:, 0, 2:], atol=1e-4)
    np.testing.assert_allclose(series.data[:, 1, :, 3:], clean.data[:, 1, :, :-3], atol=1e-4)
    expected = np.ones(SHAPE[1:], bool)
    expected[0, -2:], expected[1, :, :3] = False, False
    assert np.array_equal(series.valid, expected)
    assert not series.data[:, ~series.valid].any()


def test_an_unusable_pixel_spoils_its_neighbours_only():
    data = np.full((1, *SHAPE[1:]), 7.0, np.float32)
    data[0, 0, 15, 20] = np.nan
    series = apply(maps_of(data), Alignment(np.array([[0.0, 0.5], [0, 0], [0, 0]])))
    bad = np.argwhere(~series.valid)
    assert {(0, 15, 19), (0, 15, 20)} <= {tuple(p) for p in bad}
    np.testing.assert_allclose(series.data[0][series.valid], 7, rtol=1e-4)  # the hole does not ring


def test_covariance_is_read_by_plain_weights(noisy):
    half = Alignment(np.array([[0.5, 0.5], [0.0, 0.0], [0.0, 0.0]]))
    series = apply(noisy.replace(valid=None), half)
    c = noisy.covariance[:, :, 0]
    mean = (c[..., :-1, :-1] + c[..., 1:, :-1] + c[..., :-1, 1:] + c[..., 1:, 1:]) / 4
    np.testing.assert_allclose(series.covariance[:, :, 0, :-1, :-1], mean, rtol=1e-4, atol=1e-5)
    pixels = np.moveaxis(series.covariance, (0, 1), (-2, -1))
    assert np.linalg.eigvalsh(pixels).min() > 0  # still a covariance, outside the field too


def test_offset_and_shift_add_up(noisy):
    a = apply(noisy, Alignment(np.array([[1.0, 2.5]] * 3), 2.0, 1.5))
    b = apply(noisy, Alignment(np.array([[1.0, 4.0]] * 3), 2.0, 0.0))
    assert np.array_equal(a.data, b.data)
    np.testing.assert_array_equal(displacements(a.alignment), displacements(b.alignment))


def test_an_alignment_of_another_series_is_refused(noisy):
    with pytest.raises(GeometryError, match="3 shifts, one per view"):
        apply(noisy, Alignment(np.zeros((4, 2))))


def test_equalised_counts_stay_counts_of_each_view():
    """Dividing a view by its dose changes its unit, not its Poisson statistics."""
    doses = np.array([0.5, 1.0, 2.4])
    counts = np.random.default_rng(1).poisson(doses[:, None, None] * np.full(SHAPE, 40.0))
    maps = maps_of(counts / 2.0, counts_per_unit=2.0)
    assert dose_is_uneven(dose_factors(maps))
    even = equalise(maps, tuple(doses / doses.mean()))
    np.testing.assert_allclose(even.data * even.gain, counts, rtol=1e-6)
    assert even.counts_per_unit == pytest.approx(tuple(2.0 * doses / doses.mean()))
    scatter = (even.data.var(axis=(0, 2, 3)) * np.array(even.counts_per_unit)) / even.data.mean(
        axis=(0, 2, 3)
    )
    np.testing.assert_allclose(scatter, 1, atol=0.35)  # Poisson in each view's own unit
    assert equalise(maps, (1.0, 1.0, 1.0)).counts_per_unit == 2.0


def test_equalise_scales_a_given_covariance(noisy):
    even = equalise(noisy, (0.5, 1.0, 2.0))
    np.testing.assert_allclose(even.covariance[:, :, 2], noisy.covariance[:, :, 2] / 4)
    with pytest.raises(InputError, match="3 positive numbers"):
        equalise(noisy, (1.0, 1.0))
    with pytest.raises(InputError, match="map at 0 deg"):
        dose_factors(maps_of(np.ones(SHAPE) * np.array([1, 0, 1])[:, None, None]))
