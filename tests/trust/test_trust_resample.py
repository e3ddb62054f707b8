"""Halves are independent and of half the dose, whatever the noise; repeats do not depend on what came before."""

from __future__ import annotations

import numpy as np
import pytest

from napari_dipmtv.data import Alignment, TiltSeries
from napari_dipmtv.errors import GeometryError, InputError
from napari_dipmtv.trust.resample import (
    bootstrap,
    generator,
    halves,
    interpolated,
    measured_again,
    noise_variance,
    projections,
    whole_counts,
)

TILTS = (-40.0, 0.0, 40.0)
SHAPE = (2, 3, 60, 60)  # (c, t, y, x)


def counts(mean: float = 4.0, seed: int = 0, gain: float = 0.5) -> TiltSeries:
    drawn = np.random.default_rng(seed).poisson(mean, SHAPE)
    return TiltSeries((drawn / gain).astype(np.float32), ("a", "b"), TILTS, 1.0, counts_per_unit=gain)


def gaussian(seed: int = 0, scale: float = 1.0) -> tuple[TiltSeries, np.ndarray]:
    """Maps of mean 3 with anti-correlated channels, and their covariance."""
    c = np.array([[1.0, -0.8], [-0.8, 1.5]])
    noise = np.moveaxis(np.random.default_rng(seed).multivariate_normal([0, 0], scale * c, SHAPE[1:]), -1, 0)
    field = np.broadcast_to(c[:, :, None, None, None], (2, *SHAPE)).astype(np.float32)
    return TiltSeries((3 + noise).astype(np.float32), ("a", "b"), TILTS, 1.0, covariance=field), c


def test_interpolation_is_told_from_the_alignment_and_from_the_counts_themselves() -> None:
    series, (maps, _) = counts(), gaussian()
    assert not interpolated(series)
    assert not interpolated(maps)
    assert not interpolated(maps.replace(alignment=Alignment(np.array([[1.0, -2], [0, 3], [0, 0]]))))
    for found in (Alignment(np.full((3, 2), 0.3)), Alignment(np.zeros((3, 2)), axis_angle_deg=1.0),
                  Alignment(np.zeros((3, 2)), axis_offset_px=0.5)):  # fmt: skip
        assert interpolated(maps.replace(alignment=found))
        assert interpolated(series.replace(alignment=found))
    between = (series.data[..., 1:] + series.data[..., :-1]) / 2  # aligned elsewhere, without a history
    assert interpolated(series.replace(data=between.astype(np.float32)))


def test_thinned_counts_are_independent_poisson_series_of_half_the_dose() -> None:
    series = counts()
    first, second = halves(series, generator(1))
    a, b = (whole_counts(half, generator(2)).ravel() for half in (first, second))
    assert np.array_equal(a + b, whole_counts(series, generator(3)).ravel())
    assert first.counts_per_unit == series.counts_per_unit / 2
    assert first.data.mean() == pytest.approx(series.data.mean(), rel=0.02)
    assert a.var() == pytest.approx(a.mean(), rel=0.05)
    assert abs(np.corrcoef(a, b)[0, 1]) < 4 / np.sqrt(a.size)


def test_gaussian_split_is_uncorrelated_and_doubles_the_covariance() -> None:
    series, c = gaussian()
    first, second = halves(series, generator(1))
    a, b = (half.data.reshape(2, -1) - 3 for half in (first, second))
    size = a.shape[1]
    assert np.cov(a) == pytest.approx(2 * c, abs=0.15)
    assert np.allclose(a @ b.T / size, 0, atol=5 * 2 * c.max() / np.sqrt(size))
    assert first.covariance == pytest.approx(2 * series.covariance)


def test_gaussian_split_of_an_underestimated_covariance_stays_correlated() -> None:
    series, c = gaussian(scale=1.5)
    a, b = (half.data.reshape(2, -1) - 3 for half in halves(series, generator(1)))
    assert (a @ b.T / a.shape[1]) == pytest.approx(0.5 * c, abs=0.15)


def test_maps_without_statistics_have_no_halves() -> None:
    series = counts().replace(counts_per_unit=None)
    with pytest.raises(InputError, match="even and odd"):
        halves(series, generator(0))
    with pytest.raises(InputError, match="planted"):
        bootstrap(series, generator(0))


def test_rounding_of_fractional_counts_is_unbiased() -> None:
    series = counts().replace(data=np.full(SHAPE, 2.6, np.float32), counts_per_unit=1.0)
    drawn = whole_counts(series, generator(0))
    assert set(np.unique(drawn)) == {2, 3}
    assert drawn.mean() == pytest.approx(2.6, abs=0.02)


def test_bootstrap_differs_from_the_data_as_the_data_do_from_their_mean() -> None:
    series = counts(mean=9.0)
    apart = bootstrap(series, generator(4)).data - series.data
    assert abs(apart.mean()) < 4 * apart.std() / np.sqrt(apart.size)
    assert apart.var() == pytest.approx(float(noise_variance(series).mean()), rel=0.03)


def test_new_measurements_have_the_statistics_of_the_data() -> None:
    series = counts()
    clean = np.full(SHAPE, 6.0)
    again = measured_again(clean, series, generator(5), np.zeros(SHAPE, np.float32))
    assert again.data.mean() == pytest.approx(6.0, rel=0.02)
    assert again.data.var() == pytest.approx(6.0 / 0.5, rel=0.05)
    tied, c = gaussian()
    drawn = measured_again(clean, tied, generator(5), np.zeros(SHAPE, np.float32)).data.reshape(2, -1)
    assert np.cov(drawn) == pytest.approx(c, abs=0.1)
    residual = np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)
    bare = measured_again(clean, series.replace(counts_per_unit=None), generator(5), residual)
    assert np.allclose(np.abs(bare.data - 6), np.abs(residual), atol=1e-5)


def test_a_repeat_is_the_same_whatever_was_drawn_before() -> None:
    series = counts()
    alone = bootstrap(series, generator(7, 3))
    bootstrap(series, generator(7, 2))
    assert np.array_equal(alone.data, bootstrap(series, generator(7, 3)).data)
    assert not np.array_equal(alone.data, bootstrap(series, generator(7, 4)).data)


def test_projections_refuse_a_volume_of_another_field(hollow, counted) -> None:
    series = counted(hollow)
    with pytest.raises(GeometryError, match="reconstruction of this series"):
        projections(hollow.replace(data=hollow.data[..., :-2]), series)
    assert projections(hollow, series).sum(axis=(0, 2, 3)) == pytest.approx(hollow.data.sum(), rel=0.02)
