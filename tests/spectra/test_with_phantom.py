"""The whole way, from simulated dual EELS with plural scattering and drift to maps of Fe atoms."""

from __future__ import annotations

import numpy as np
import pytest

from napari_dipmtv.data import Region
from napari_dipmtv.phantom import simulate
from napari_dipmtv.settings.simulation import SimulationSettings
from napari_dipmtv.settings.spectra import ReferenceSettings, UnmixSettings
from napari_dipmtv.spectra import dose, given_l_references, l_references, m_references, prepare, unmix
from napari_dipmtv.states import run


@pytest.fixture(scope="module")
def simulation():
    settings = SimulationSettings(dose_e_per_a2=3e5, tilt_start_deg=-40, tilt_stop_deg=40, tilt_step_deg=40)
    return simulate(settings)


def foreign_shares(simulation):
    maps, shares = simulation.fe_maps, []
    for own, region in enumerate(simulation.regions.values()):
        view = int(np.argmin(np.abs(np.array(maps.tilts_deg) - region.tilt_deg)))
        fe = maps.data[:, view][:, region.mask].sum(axis=1)
        shares.append(float(fe[1 - own] / fe.sum()))
    return shares


def test_simulated_series_gives_the_true_fe_maps(simulation):
    series = run(prepare(simulation.series)).value
    in_feo, in_fe3o4 = foreign_shares(simulation)
    settings = ReferenceSettings(purify="known", known_in_reduced=in_feo, known_in_oxidised=in_fe3o4)
    references = m_references(series, l_references(series, simulation.regions, settings), settings)
    unmixed = run(unmix(series, references)).value
    truth, found = simulation.fe_maps.data, unmixed.maps.data
    scale = (truth.sum(axis=0) * found.sum(axis=0)).sum() / (found.sum(axis=0) ** 2).sum()
    total = scale * found.sum(axis=0)
    assert np.linalg.norm(total - truth.sum(axis=0)) < 0.06 * np.linalg.norm(truth.sum(axis=0))
    for channel in (0, 1):
        assert np.corrcoef(found[channel].ravel(), truth[channel].ravel())[0, 1] > 0.95
    inside = truth.sum(axis=0) > 0.3 * truth.sum() / np.count_nonzero(truth.sum(axis=0))
    assert np.median(unmixed.chi_square[inside]) == pytest.approx(1, abs=0.1)
    # cross-talk: how much of each true channel shows in the other map
    mixing = np.linalg.lstsq(truth.reshape(2, -1).T, scale * found.reshape(2, -1).T, rcond=None)[0].T
    np.testing.assert_allclose(mixing, np.eye(2), atol=0.12)


def test_dose_of_the_simulation_is_found(simulation):
    total = simulation.settings.dose_e_per_a2
    iron = simulation.fe_maps.data[:, 1].sum(axis=0)
    low = simulation.settings.low_loss_share
    found = dose(simulation.series, Region(0.0, iron == 0), core_to_low_time=(1 - low) / low)
    assert found.total == pytest.approx(total, rel=0.02)


def test_without_the_plural_correction_the_maps_mix(simulation):
    """Why the double plasmon enters the fit: without it thickness shows as a change of phase."""
    series = run(prepare(simulation.series)).value
    mixing = []
    for on in (False, True):
        settings = ReferenceSettings(plural_scattering=on)
        pure = given_l_references(series, simulation.l_references, settings)
        found = run(
            unmix(series, m_references(series, pure, settings), UnmixSettings(plural_scattering=on))
        ).value.maps
        q = np.linalg.lstsq(
            simulation.fe_maps.data.reshape(2, -1).T, found.data.reshape(2, -1).T, rcond=None
        )[0].T
        mixing.append(np.abs(2 * q / q.sum() - np.eye(2)).max())
    assert mixing[1] < 0.06 < 0.12 < mixing[0]
