"""The fit of all pixels at once against HyperSpy's pixel by pixel."""

from __future__ import annotations

import numpy as np
import pytest
from hyperspy_oracle import hyperspy_fit
from synthetic_spectra import LOW, m_references

from napari_dipmtv.spectra.background import power_law_basis
from napari_dipmtv.spectra.linear_fit import fit_counts

FREE = np.array([False, False, True, True])


@pytest.fixture(scope="module")
def problem():
    """Pixels (6, 6) with more to less Fe, from about 5 to 500 counts in the edge."""
    rng = np.random.default_rng(8)
    window = LOW.window(42, 80)
    e = LOW.values[window]
    basis = np.vstack([power_law_basis(e, (1.5, 3.5)), m_references()[:, window]])
    weights = np.concatenate([rng.uniform(2, 6, (6, 6, 2)), rng.uniform(5, 500, (6, 6, 2))], axis=-1)
    model = weights @ basis
    return e, basis, rng.poisson(model).astype(float), model


def ours(problem, free=FREE):
    _, basis, counts, _ = problem
    fits = fit_counts(counts.reshape(36, -1), basis, free)
    sigma = np.sqrt(np.diagonal(fits.covariance, axis1=1, axis2=2))
    return fits.weights.reshape(6, 6, -1), sigma.reshape(6, 6, -1)


def test_abundances_agree_with_hyperspy_within_its_errors(problem):
    e, basis, counts, model = problem
    weights, sigma = ours(problem)
    theirs, error = hyperspy_fit(counts, e, basis, model)  # free weights, variance of the truth
    inside = weights[..., 0] > 0  # where no bound acts on the background
    assert inside.mean() > 0.8
    assert np.abs((weights - theirs) / error)[inside].max() < 0.5
    np.testing.assert_allclose(sigma[inside], error[inside], rtol=0.15)


def test_bounded_abundances_agree_with_hyperspy(problem):
    e, basis, counts, model = problem
    weights, _ = ours(problem, np.zeros(4, dtype=bool))
    theirs, _ = hyperspy_fit(counts, e, basis, model, optimizer="trf", lowest=[0.0] * 4, bounded=True)
    _, error = hyperspy_fit(counts, e, basis, model)
    assert theirs.min() >= 0
    assert np.abs((weights - theirs) / error).max() < 0.5
