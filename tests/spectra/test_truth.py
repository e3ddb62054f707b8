"""What unmixing claims about itself: bias, error bars and dose efficiency on simulated spectra."""

from __future__ import annotations

import numpy as np
import pytest
from coverage_study import FE_PER_NM3, LEVELS, PATHS_NM, coverage

from napari_dipmtv.data import DualSpectrumImage, Region, SpectrumSeries
from napari_dipmtv.errors import InputError
from napari_dipmtv.phantom import simulate
from napari_dipmtv.phantom.scattering import Scattering
from napari_dipmtv.settings.simulation import SimulationSettings
from napari_dipmtv.settings.spectra import ReferenceSettings, UnmixSettings
from napari_dipmtv.spectra import (
    blind_l_references,
    dose_efficiency,
    fit_region,
    given_l_references,
    m_references,
    prepare,
    reference_overlay,
    unmix,
)
from napari_dipmtv.spectra.background import power_law_basis
from napari_dipmtv.spectra.plural import brightest_zero_loss, zero_loss_counts
from napari_dipmtv.states import run


def held(found, nominal, within):
    """The bars of FeO, Fe3O4 and their sum hold the truth as often as they say; at 5 electrons a little oftener."""
    np.testing.assert_array_less(nominal - within, found)
    np.testing.assert_array_less(found, nominal + within)


@pytest.mark.parametrize("edge_electrons", LEVELS)
def test_error_bars_hold_from_5_to_500_electrons(edge_electrons):
    """Few pixels of what the table in the docs is made of, through `prepare` and `unmix` as by default."""
    found = coverage(edge_electrons, side=36)
    extra = 0.05 if edge_electrons < 15 else 0.0
    held(found.within_68, 0.683 + extra, 0.065)
    held(found.within_95, 0.95 + extra / 3, 0.03)
    assert (np.abs(found.bias) < 0.02 + 3.5 * found.bias_error).all()


@pytest.mark.slow
@pytest.mark.parametrize("edge_electrons", LEVELS)
def test_error_bars_hold_over_thousands_of_pixels(edge_electrons):
    """Each spectrum counts one electron more than it holds: of 5 that makes the bars a tenth too long."""
    found = coverage(edge_electrons, side=96, seed=1)
    extra = 0.05 if edge_electrons < 15 else 0.0
    held(found.within_68, 0.683 + extra, 0.04 if extra else 0.025)
    held(found.within_95, 0.95 + extra / 3, 0.015)
    assert abs(found.bias[2]) < 0.005 + 3.5 * found.bias_error[2]
    assert (np.abs(found.bias) < 0.02 + 3.5 * found.bias_error).all()
    assert found.chi_square == pytest.approx(1, abs=0.15 if edge_electrons < 15 else 0.07)


@pytest.fixture(scope="module")
def measured():
    settings = SimulationSettings(dose_e_per_a2=1e5, tilt_start_deg=-35, tilt_stop_deg=35, tilt_step_deg=35)
    simulation = simulate(settings)
    series = run(prepare(simulation.series)).value
    references = given_l_references(series, simulation.l_references)
    return simulation, series, references, m_references(series, references)


def matter(simulation):
    metal = simulation.fe_maps.data.sum(axis=0)
    return metal > 0.5 * np.percentile(metal, 99)


def test_m_references_of_the_simulator(measured):
    simulation, _, _, learnt = measured
    for found, true in zip(learnt.spectra, simulation.m_references, strict=True):
        window = found.energy.window(51, 78)
        planted = np.interp(found.energy.values[window], true.energy.values, true.intensity)
        assert np.corrcoef(found.intensity[window], planted)[0, 1] > 0.99


def ratios(found, simulation):
    """Fe of each oxide over its truth, and of both, in all pixels with matter."""
    inside, true = matter(simulation), simulation.fe_maps.data
    each = [found[c][inside].sum() / true[c][inside].sum() for c in (0, 1)]
    return np.array([*each, found[:, inside].sum() / true[:, inside].sum()])


def test_maps_of_true_references_are_unbiased_within_2_percent(measured):
    simulation, series, _, learnt = measured
    true = type(learnt)(simulation.m_references, learnt.window_ev, learnt.exponents, 1.0)
    unmixed = run(unmix(series, true)).value
    np.testing.assert_allclose(ratios(unmixed.maps.data, simulation), 1, atol=0.02)
    assert np.median(unmixed.chi_square[matter(simulation)]) == pytest.approx(1, abs=0.03)


@pytest.fixture(scope="module")
def bright():
    """A hundred times the dose: what is left is systematic."""
    settings = SimulationSettings(dose_e_per_a2=1e7, tilt_start_deg=-35, tilt_stop_deg=35, tilt_step_deg=35)
    simulation = simulate(settings)
    return simulation, run(prepare(simulation.series)).value


def test_no_view_is_biased_by_its_part_of_a_channel(bright):
    """Rounding the drift to whole channels alone would displace views by 0.1 eV: 4 % of FeO, and 11 % per pixel."""
    simulation, series = bright
    learnt = m_references(series, given_l_references(series, simulation.l_references))
    true = type(learnt)(simulation.m_references, learnt.window_ev, learnt.exponents, 1.0)
    found = run(unmix(series, true)).value.maps.data
    inside, planted = matter(simulation), simulation.fe_maps.data
    for channel in (0, 1):
        for view, mask in enumerate(inside):
            ratio = found[channel, view][mask].sum() / planted[channel, view][mask].sum()
            assert ratio == pytest.approx(1, abs=0.01)
        error = np.sqrt(np.mean((found[channel] - planted[channel])[inside] ** 2))
        assert error < 0.04 * planted[channel][inside].mean()


def test_learnt_references_are_unbiased_within_1_percent(bright):
    """True L references teach M; the plural scattering of the core loss alone would lift FeO by 5 %."""
    simulation, series = bright
    learnt = m_references(series, given_l_references(series, simulation.l_references))
    found = ratios(run(unmix(series, learnt)).value.maps.data, simulation)
    np.testing.assert_allclose(found / found[2], 1, atol=0.01)
    without = ReferenceSettings(plural_scattering=False)
    core_only = given_l_references(series, simulation.l_references, without)
    mixed = run(unmix(series, core_only, UnmixSettings(plural_scattering=False))).value.maps.data
    mixed_ratios = ratios(mixed, simulation)
    assert mixed_ratios[0] / mixed_ratios[2] > 1.03


def least_sigma(edge, counts, exponents, e):
    """Smallest standard deviation of the metal of one edge that counts allow (Cramér and Rao)."""
    basis = np.vstack([power_law_basis(e, exponents), edge])
    information = (basis / np.maximum(counts, 1e-9)) @ basis.T
    return np.sqrt(np.linalg.inv(information)[-2:, -2:].sum())


def test_m_against_l_is_what_the_cross_sections_predict(measured):
    simulation, series, l_references, learnt = measured
    ratio = 1 / simulation.settings.low_loss_share - 1
    found = dose_efficiency(series, l_references, learnt, ratio)
    fe = np.median(simulation.fe_maps.data.sum(axis=0)[matter(simulation)])
    paths = (PATHS_NM * fe / (PATHS_NM @ FE_PER_NM3))[None]
    scattering = Scattering.of(simulation.settings)
    snr = []
    spectra = (scattering.low_loss, scattering.core_loss)
    edges = (scattering.m_references(), scattering.l_references())
    for references, spectrum, edge, electrons in zip(
        (learnt, l_references), spectra, edges, simulation.settings.electrons_per_pixel, strict=True
    ):
        axis = scattering.low if references is learnt else scattering.core
        window = axis.window(*references.window_ev)
        whole = electrons * spectrum(paths, np.zeros(1))[0, window]
        unlost = np.exp(-(paths / (127.0, 130.0)).sum())  # of the electrons, so of the single-scattering edge
        per_fe = electrons * edge[:, window] * unlost
        snr.append(fe / least_sigma(per_fe, whole, references.exponents, axis.values[window]))
    predicted = snr[0] / snr[1] * np.sqrt(ratio)
    assert found.snr_ratio == pytest.approx(predicted, rel=0.2)
    assert found.dose_ratio == pytest.approx(found.snr_ratio**2)
    assert found.counts_ratio == pytest.approx(86 * 0.85, rel=0.4)  # M over L cross-section, other windows
    assert f"{found.dose_ratio:.0f} times the dose" in found.words
    other = type(learnt)(learnt.spectra[:1], learnt.window_ev, learnt.exponents, 1.0)
    with pytest.raises(InputError, match="references"):
        dose_efficiency(series, l_references, other, ratio)


def test_blind_references_of_the_simulator(measured):
    simulation, series, _, _ = measured
    found, scree = blind_l_references(series)
    assert found.names == ("FeO", "Fe3O4")
    assert scree.variances[0] > scree.variances[1] > scree.noise_edge
    for reference, true in zip(found.spectra, simulation.l_references, strict=True):
        window = reference.energy.window(703, 800)
        planted = np.interp(reference.energy.values[window], true.energy.values, true.intensity)
        assert np.corrcoef(reference.intensity[window], planted)[0, 1] > 0.95
    with pytest.raises(InputError, match="Draw regions"):
        blind_l_references(series, ReferenceSettings(purify="known"))


def test_the_fit_of_one_pixel_is_that_of_the_map(measured):
    """The same counts and the references moved alike: the same abundances, and a chi-square of one."""
    simulation, series, _, learnt = measured
    unmixed = run(unmix(series, learnt, UnmixSettings())).value
    scale = brightest_zero_loss(series) / zero_loss_counts(series.tilts[1].low_loss)
    chi_squares = []
    for y, x in np.argwhere(matter(simulation)[1])[::20]:
        mask = np.zeros(scale.shape, dtype=bool)
        mask[y, x] = True
        fit = fit_region(series, learnt, Region(0.0, mask))
        error = np.sqrt(np.diag(fit.covariance))
        apart = fit.abundances - unmixed.maps.data[:, 1, y, x] / scale[y, x]
        assert (np.abs(apart) < 0.3 * error).all()
        chi_squares.append(fit.chi_square)
    freedom = fit.data.size - 5
    assert np.mean(chi_squares) == pytest.approx(1, abs=4 * np.sqrt(2 / freedom / len(chi_squares)))


def test_a_region_without_usable_pixels_is_refused(measured):
    _, series, _, learnt = measured
    low = series.tilts[1].low_loss
    dark = DualSpectrumImage(low.replace(counts=np.full_like(low.counts, np.nan)), series.tilts[1].core_loss)
    with pytest.raises(InputError, match="usable pixels"):
        fit_region(SpectrumSeries((dark,)), learnt, Region(0.0, np.ones(low.counts.shape[:2], dtype=bool)))


def test_a_plot_gets_all_it_draws(measured):
    simulation, series, l_references, learnt = measured
    region = Region(0.0, matter(simulation)[1])
    for references in (l_references, learnt):
        fit = fit_region(series, references, region)
        np.testing.assert_allclose(fit.background + fit.components.sum(axis=0) + fit.residual, fit.data)
        overlay = reference_overlay(references)
        assert overlay.pure.shape == overlay.mixed.shape == (2, overlay.energy_ev.size)
        assert overlay.condition == references.condition
