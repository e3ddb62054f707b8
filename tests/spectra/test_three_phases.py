"""A third species: metallic iron beside Fe2+ and Fe3+, from regions or spectra to three maps."""

from __future__ import annotations

import numpy as np
import pytest
from synthetic_spectra import CORE, LOW, l_edge, m_edge, make_series

from napari_dipmtv.data import ReferenceSpectrum, Region
from napari_dipmtv.settings.spectra import ReferenceSettings, UnmixSettings
from napari_dipmtv.spectra import given_l_references, l_references, m_references, unmix
from napari_dipmtv.states import run

NAMES = ("Fe", "FeO", "Fe2O3")
SINGLE = ReferenceSettings(plural_scattering=False, background_terms=2)


def true_l(e=CORE.values):
    lines = ([(707.0, 0.45)], [(707.8, 1.0), (710.5, 0.35)], [(709.5, 1.0), (708.0, 0.35)])
    edges = np.stack([l_edge(e, line, ratio) for line, ratio in zip(lines, (3.0, 4.4, 5.5), strict=True)])
    return edges / edges[:, e >= 735].sum(axis=1, keepdims=True)


def true_m(e=LOW.values):
    edges = np.stack([m_edge(e, 60.5, 0.3), m_edge(e, 54.8, 0.5), m_edge(e, 52.8, 0.45)])
    return edges / edges[:, (e > 50) & (e < 80)].sum(axis=1).mean()


@pytest.fixture(scope="module", params=["with vacuum", "film"])
def grains(request):
    """Three pure stripes, a field in which they are mixed, and some vacuum or none; (c, t, y, x)."""
    abundances = np.random.default_rng(1).dirichlet((1.0, 1.0, 1.0), (1, 24, 24)).transpose(3, 0, 1, 2)
    for i in range(3):
        abundances[:, 0, :6, 8 * i : 8 * i + 8] = np.eye(3)[i][:, None, None]
    if request.param == "with vacuum":
        abundances[:, :, 20:] = 0
    return make_series(abundances, edges=(true_l, true_m), seed=3), abundances


def stripe(i):
    mask = np.zeros((24, 24), dtype=bool)
    mask[:6, 8 * i : 8 * i + 8] = True
    return Region(0.0, mask)


@pytest.mark.parametrize("source", ["spectra", "regions"])
def test_three_species_become_three_maps(grains, source):
    series, abundances = grains
    if source == "spectra":
        pure = [ReferenceSpectrum(name, edge, CORE) for name, edge in zip(NAMES, true_l(), strict=True)]
        taught = given_l_references(series, pure, SINGLE)
    else:
        taught = l_references(series, {name: stripe(i) for i, name in enumerate(NAMES)}, SINGLE)
    learnt = m_references(series, taught, SINGLE)
    film = abundances.sum(axis=0).min() > 0
    assert any("shows no vacuum" in note for note in learnt.notes) == film
    window = learnt.energy.window(50, 80)
    for reference, truth in zip(learnt.spectra, true_m(), strict=True):
        planted = np.interp(learnt.energy.values[window], LOW.values, truth)
        assert np.corrcoef(reference.intensity[window], planted)[0, 1] > 0.997
    maps = run(unmix(series, learnt, UnmixSettings(plural_scattering=False))).value.maps
    assert maps.channels == NAMES
    assert maps.covariance.shape == (3, 3, 1, 24, 24)
    found = maps.data / maps.data.sum() * abundances.sum()
    for name, ours, truth in zip(NAMES, found, abundances, strict=True):
        assert ours.sum() == pytest.approx(truth.sum(), rel=0.08), name
        assert np.corrcoef(ours.ravel(), truth.ravel())[0, 1] > 0.95, name
