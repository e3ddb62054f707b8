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


def test_the_poisson_likelihood_of_hyperspy_finds_the_same(problem):
    """Its optimum, climbed to the end: the weights of the model's variance lose nothing, and gain no bias."""
    e, basis, counts, _ = problem
    units = np.array([4.0, 4.0, 250.0, 250.0])  # with parameters of other sizes it stops short
    counts = counts[:3]
    theirs, _ = hyperspy_fit(
        counts,
        e,
        basis * units[:, None],
        np.maximum(counts, 1),
        optimizer="L-BFGS-B",
        lowest=[1e-9] * 4,  # at 0 a logarithm is not a number
        bounded=True,
        loss_function="ML-poisson",
        options={"maxiter": 1000, "ftol": 1e-12, "gtol": 1e-6},
    )
    weights, sigma = ours(problem, np.zeros(4, dtype=bool))
    likelihoods = []
    for found in (weights[:3], theirs * units):
        model = found @ basis
        likelihoods.append((counts * np.log(model) - model).sum(axis=-1))
    assert np.abs(likelihoods[0] - likelihoods[1]).max() < 0.02  # a standard deviation is a half
    assert np.abs((weights[:3] - theirs * units) / sigma[:3]).max() < 0.2
