"""The batched solver against scipy, and the Poisson fit against planted weights."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import nnls as scipy_nnls
from synthetic_spectra import LOW, m_references

from napari_dipmtv.spectra.background import power_law_basis
from napari_dipmtv.spectra.linear_fit import fit_counts
from napari_dipmtv.spectra.nnls import nnls


@pytest.mark.parametrize("size", [1, 2, 3, 5, 8, 12])
def test_equals_scipy_on_random_problems(size):
    rng = np.random.default_rng(size)
    a = rng.random((40, size)) * 10.0 ** rng.uniform(-3, 3, size)
    d = rng.normal(size=(200, 40))
    oracle = np.array([scipy_nnls(a, row)[0] for row in d])
    scale = np.abs(oracle).max(axis=0) + 1e-12
    np.testing.assert_allclose(nnls(a.T @ a, d @ a) / scale, oracle / scale, atol=1e-5)


def test_free_components_equal_a_split_into_two_signs():
    rng = np.random.default_rng(5)
    a, d = rng.random((30, 4)), rng.normal(size=(100, 30))
    free = np.array([False, False, True, True])
    both = np.hstack([a, -a[:, free]])
    oracle = np.array([scipy_nnls(both, row)[0] for row in d])
    oracle[:, 2:4] -= oracle[:, 4:]
    found = nnls(a.T @ a, d @ a, free)
    np.testing.assert_allclose(found, oracle[:, :4], atol=1e-8)
    assert (found[:, 2:] < 0).any()
    assert (found[:, :2] >= 0).all()


def test_one_gram_matrix_per_pixel_and_any_start_give_the_same():
    rng = np.random.default_rng(7)
    a, d = rng.random((30, 4)), rng.normal(size=(60, 30))
    weight = rng.random((60, 30)) + 0.1
    gram = np.einsum("pe,ei,ej->pij", weight, a, a)
    rhs = (d * weight) @ a
    oracle = np.array(
        [scipy_nnls(np.sqrt(w)[:, None] * a, np.sqrt(w) * row)[0] for w, row in zip(weight, d, strict=True)]
    )
    np.testing.assert_allclose(nnls(gram, rhs), oracle, atol=1e-8)
    np.testing.assert_allclose(nnls(gram, rhs, start=rng.random((60, 4)) > 0.5), oracle, atol=1e-8)


@pytest.mark.parametrize("level", [1.0, 10.0, 300.0])
def test_intervals_cover_and_weights_are_unbiased(level):
    """From 1 to 300 counts per channel or so: the intervals hold, the mean error is far below sigma."""
    rng = np.random.default_rng(11)
    window = LOW.window(42, 80)
    e, m = LOW.values[window], m_references()[:, window] * 100
    basis = np.vstack([power_law_basis(e, (1.5, 2.5, 3.5)), m])
    truth = level * np.array([0.2, 0.1, 0.2, 0.5, 0.3])
    counts = rng.poisson(truth @ basis, size=(3000, e.size)).astype(float)
    fits = fit_counts(counts, basis, np.array([False, False, False, True, True]))
    sigma = np.sqrt(np.diagonal(fits.covariance, axis1=1, axis2=2))[:, 3:]
    pull = (fits.weights[:, 3:] - truth[3:]) / sigma
    # where the bound acts on the background, at few counts, the covariance is an upper limit
    for inside, wanted in ((1.0, 0.683), (1.96, 0.95)):
        covered = (np.abs(pull) < inside).mean(axis=0)
        assert ((covered > wanted - 0.02) & (covered < wanted + (0.08 if level < 5 else 0.04))).all()
    assert np.abs(pull.mean(axis=0)).max() < 0.1
    assert fits.chi_square.mean() == pytest.approx(1, abs=0.05)


def test_empty_spectra_keep_an_error_bar():
    window = LOW.window(42, 80)
    basis = np.vstack([power_law_basis(LOW.values[window], (2.5,)), m_references()[:, window]])
    fits = fit_counts(np.zeros((4, basis.shape[1])), basis, np.array([False, True, True]))
    assert np.isfinite(fits.weights).all()
    assert (np.diagonal(fits.covariance, axis1=1, axis2=2) > 0).all()
