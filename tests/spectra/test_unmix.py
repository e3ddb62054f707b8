"""Planted abundances come back within their errors, empty pixels average to zero, fits add up."""

from __future__ import annotations

import numpy as np
import pytest
from synthetic_spectra import LOW, cube_abundances, m_edge, m_references, make_series

from napari_dipmtv.data import EnergyAxis, ReferenceSpectrum, Region, SpectrumImage, SpectrumSeries
from napari_dipmtv.errors import InputError
from napari_dipmtv.settings.spectra import PrepareSettings, ReferenceSettings, UnmixSettings
from napari_dipmtv.spectra import MReferences, dose, fit_spectrum, region_spectrum, unmix
from napari_dipmtv.spectra.linear_fit import fit_counts
from napari_dipmtv.spectra.nnls import nnls
from napari_dipmtv.spectra.plural import plural_scattering, zero_loss_counts
from napari_dipmtv.states import run

PLAIN = UnmixSettings(plural_scattering=False)
TILTS = (-10.0, 10.0)
COUNTS = 100.0 * 50.0  # electrons in the M edge per unit abundance


def true_references():
    spectra = [ReferenceSpectrum(n, s, LOW) for n, s in zip(("FeO", "Fe3O4"), m_references(), strict=True)]
    return MReferences(tuple(spectra), (42.0, 80.0), (1.5, 2.5, 3.5), 1.0)


@pytest.fixture(scope="module")
def measured():
    abundances = np.stack([cube_abundances(24) for _ in TILTS], axis=1)
    return make_series(abundances, tilts=TILTS, l_counts=100.0), abundances


def test_planted_abundances_are_recovered_within_their_errors(measured):
    series, abundances = measured
    result = run(unmix(series, true_references(), PLAIN))
    maps = result.value.maps
    assert result.iterations == result.total == 2
    assert maps.channels == ("FeO", "Fe3O4")
    for i in (0, 1):
        pull = (maps.data[i] - COUNTS * abundances[i]) / np.sqrt(maps.covariance[i, i])
        assert abs(pull.mean()) < 0.15
        assert pull.std() == pytest.approx(1, abs=0.1)
    assert np.median(result.value.chi_square) == pytest.approx(1, abs=0.1)
    assert (
        maps.covariance[0, 1].mean() < 0
    )  # the two references share one edge: what one gains the other loses
    np.testing.assert_array_equal(maps.covariance[0, 1], maps.covariance[1, 0])
    fe = maps.data.sum(axis=0)
    assert result.value.snr.flat[fe.argmax()] > 5


def test_f03_empty_pixels_average_to_zero_only_when_unbiased():
    series = make_series(np.zeros((2, 2, 40, 40)), tilts=TILTS, l_counts=100.0)
    unbiased = run(unmix(series, true_references(), PLAIN)).value.maps
    clipped = run(unmix(series, true_references(), PLAIN.replace(abundances="non-negative"))).value.maps
    for i in (0, 1):
        sem = unbiased.data[i].std() / np.sqrt(unbiased.data[i].size)
        assert abs(unbiased.data[i].mean()) < 3 * sem
        assert clipped.data[i].min() >= 0
        clipped_sem = clipped.data[i].std() / np.sqrt(clipped.data[i].size)
        assert clipped.data[i].mean() > 10 * clipped_sem  # why unbiased is the default
    assert "below zero" in " ".join(run(unmix(series, true_references(), PLAIN)).value.notes)


def test_plural_scattering_of_a_known_series_is_found_exactly():
    """A Poisson series of scattering events is cut into single and plural."""
    axis = EnergyAxis(-10.0, 0.25, 520)
    e = axis.values[40:]
    thickness = np.array([0.1, 0.4, 0.8])[:, None]
    single = thickness * np.exp(-0.5 * ((e - 23) / 3) ** 2) / (3 * np.sqrt(2 * np.pi) / 0.25)
    n = 4 * e.size
    series = np.fft.irfft(np.expm1(np.fft.rfft(single, n)), n)[:, : e.size]
    counts = np.zeros((1, 3, axis.size))
    counts[0, :, 40:] = 1e6 * series
    counts[0, :, 40] += 1e6
    low_loss = SpectrumImage(counts, axis, 1.0, 0.0)
    plural = plural_scattering(low_loss, 400)[0]
    np.testing.assert_allclose(plural[:, 60:400], 1e6 * (series - single)[:, 20:360], atol=30)
    assert plural[2].max() > 1000  # the double plasmon is there to be found
    np.testing.assert_allclose(zero_loss_counts(low_loss), 1e6, rtol=1e-6)


def test_f01_unusable_pixels_get_no_weight_and_do_not_spread(measured):
    series, _ = measured
    pair = series.tilts[0]
    counts = pair.low_loss.counts.copy()
    counts[5, 7, 300] = np.nan
    holed = SpectrumSeries(
        (type(pair)(pair.low_loss.replace(counts=counts), pair.core_loss), series.tilts[1])
    )
    maps = run(unmix(holed, true_references(), PLAIN)).value.maps
    assert not maps.valid[0, 5, 7]
    assert maps.valid.sum() == maps.valid.size - 1
    clean = run(unmix(series, true_references(), PLAIN)).value.maps
    good = maps.valid[0]
    np.testing.assert_allclose(maps.data[:, 0][:, good], clean.data[:, 0][:, good], rtol=0.02, atol=3.0)


def test_snapshot_holds_the_tilts_done_so_far(measured):
    states = unmix(measured[0], true_references(), PLAIN)
    first = next(states)
    assert first.snapshot().maps.data.shape[1] == 1
    assert first.total == 2
    last = next(states)
    assert last.snapshot().maps.tilts_deg == TILTS


def test_parts_of_a_fit_add_up(measured):
    series, abundances = measured
    mask = abundances.sum(axis=0)[0] > 0.5
    spectrum = region_spectrum(series, Region(-10.0, mask), low_loss=True)
    fit = fit_spectrum(spectrum, LOW, true_references(), PLAIN)
    np.testing.assert_allclose(fit.background + fit.components.sum(axis=0) + fit.residual, fit.data)
    truth = COUNTS * abundances[:, 0][:, mask].sum(axis=1)
    assert (np.abs(fit.abundances - truth) < 5 * np.sqrt(np.diag(fit.covariance))).all()
    assert fit.names == ("FeO", "Fe3O4")
    assert fit.energy_ev[0] == 42.0
    with pytest.raises(InputError, match="finite"):
        fit_spectrum(np.full(LOW.size, np.nan), LOW, true_references(), PLAIN)


def test_collinear_references_are_refused(measured):
    twice = tuple(ReferenceSpectrum(n, m_references()[0], LOW) for n in ("FeO", "Fe3O4"))
    with pytest.raises(InputError, match="condition number"):
        unmix(measured[0], MReferences(twice, (42.0, 80.0), (2.5,), 1.0), PLAIN)


def test_zero_loss_outside_the_axis_is_refused(measured):
    window = LOW.window(20, 100)
    cut = [
        type(p)(
            p.low_loss.replace(
                counts=p.low_loss.counts[..., window],
                energy=type(LOW)(20.0, 0.25, window.stop - window.start),
            ),
            p.core_loss,
        )
        for p in measured[0].tilts
    ]
    with pytest.raises(InputError, match="plural scattering off"):
        unmix(SpectrumSeries(tuple(cut)), true_references())
    run(unmix(SpectrumSeries(tuple(cut)), true_references(), PLAIN))


def test_dose_counts_the_electrons_of_vacuum():
    rng = np.random.default_rng(0)
    series = make_series(np.zeros((2, 2, 8, 8)), tilts=TILTS, noise=False, zero_loss=1e4)
    pairs = [
        type(p)(
            p.low_loss.replace(counts=3.0 * rng.poisson(1e4 / LOW.size, p.low_loss.counts.shape)), p.core_loss
        )
        for p in series.tilts
    ]
    vacuum = Region(0.0, np.ones((8, 8), dtype=bool))
    found = dose(SpectrumSeries(tuple(pairs)), vacuum, gain=3.0, core_to_low_time=9.0)
    assert found.per_tilt == pytest.approx(1e4 * 10 / 100, rel=0.02)  # 1 nm pixels: 100 Å²
    assert found.total == pytest.approx(2 * found.per_tilt)


@pytest.mark.parametrize("model", [PrepareSettings, ReferenceSettings, UnmixSettings])
def test_settings_survive_json_and_refuse_nonsense(model):
    assert model.model_validate_json(model().model_dump_json()) == model()
    name = next(iter(model.model_fields))
    with pytest.raises(InputError, match=name):
        model().replace(**{name: "nonsense"})


def test_few_counts_are_fitted_as_well_as_the_likelihood_allows():
    """Fifty electrons, two edges that look alike: weights by the counts scatter less by pulling all down."""
    e = np.linspace(42, 93, 500)
    edges = np.stack([m_edge(e, 54.8, 0.3), m_edge(e, 53.8, 0.5)])
    basis = np.vstack(
        [(e / e.mean()) ** -1.5, (e / e.mean()) ** -3.5, edges / edges.sum(axis=1, keepdims=True)]
    )
    rng = np.random.default_rng(0)
    true = np.column_stack([rng.uniform(0.02, 0.05, (800, 2)), rng.uniform(0, 50, (800, 2))])
    counts = rng.poisson(true @ basis).astype(float)
    ours = fit_counts(counts, basis, np.zeros(4, bool)).weights
    likeliest = np.maximum(ours, 1e-2)  # expectation maximisation, which climbs the Poisson likelihood
    for _ in range(200):
        likeliest *= (counts / (likeliest @ basis)) @ basis.T / basis.sum(axis=1)
    weight = 1 / np.maximum(counts, 1)
    gram = np.einsum("pe,ke,le->pkl", weight, basis, basis, optimize=True)
    by_counts = nnls(gram, (weight * counts) @ basis.T)
    error = [float(np.sqrt(np.mean((x - true)[:, 2:] ** 2))) for x in (ours, likeliest)]
    assert error[0] < 1.02 * error[1]
    bias = [float((x - true)[:, 2:].sum(axis=1).mean()) / 50 for x in (ours, by_counts)]
    assert abs(bias[0]) < 0.04
    assert bias[1] < -0.08
