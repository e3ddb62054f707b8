"""Spectra of known plural scattering: thickness, single scattering, core loss without it; denoising."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter1d

from napari_dipmtv.data import DualSpectrumImage, EnergyAxis, SpectrumImage, SpectrumSeries
from napari_dipmtv.errors import InputError
from napari_dipmtv.spectra import denoise, fourier_log, fourier_ratio, thickness
from napari_dipmtv.spectra.background import fit_power_law, power_law
from napari_dipmtv.spectra.decompose import singular_spectra
from napari_dipmtv.spectra.plural import zero_loss_window

LOW = EnergyAxis(-10.0, 0.25, 561)
CORE = EnergyAxis(600.0, 0.5, 400)
THICKNESS = np.array([0.1, 0.3, 0.6, 0.9])  # t/λ
ORIGIN = 40  # channel of 0 eV
ELECTRONS = 1e6


def series_of(single):
    """Poisson series of a single-scattering distribution (p, e) that starts at 0 eV, unit zero loss."""
    size = 4 * single.shape[1]
    return np.fft.irfft(np.exp(np.fft.rfft(single, size)), size)[:, : single.shape[1]]


@pytest.fixture(scope="module")
def known():
    """Low and core loss of four thicknesses with a zero-loss peak of 0.9 eV, and their single scattering."""
    loss = np.arange(3000) * LOW.step_ev
    plasmon = np.exp(-0.5 * ((loss - 23.0) / 3.5) ** 2)
    single = THICKNESS[:, None] * plasmon / plasmon.sum()
    whole = series_of(single) * np.exp(-THICKNESS)[:, None]  # the first channel is the zero loss
    low = np.zeros((4, LOW.size))
    low[:, ORIGIN:] = whole[:, : LOW.size - ORIGIN]
    low = gaussian_filter1d(low, 0.9 / 2.355 / LOW.step_ev, axis=1) * ELECTRONS
    once = np.zeros_like(low)
    once[:, ORIGIN:] = (single * np.exp(-THICKNESS)[:, None])[:, : LOW.size - ORIGIN] * ELECTRONS
    e = np.arange(300.0, 800.0, LOW.step_ev)  # finer and longer than recorded
    edge = 1e-4 * (e / 600) ** -3.0 + np.where(e > 708, 1e-4 * (e / 708) ** -3.0, 0)
    edge += 4e-4 * np.exp(-0.5 * ((e - 710) / 1.5) ** 2)
    plural = np.array([np.convolve(edge, w)[: e.size] for w in whole])
    core_single = np.exp(-THICKNESS)[:, None] * edge
    recorded, ideal = (_recorded(e, s) * ELECTRONS for s in (plural, core_single))
    pair = DualSpectrumImage(
        SpectrumImage(low[None], LOW, 1.0, 0.0), SpectrumImage(recorded[None], CORE, 1.0, 0.0)
    )
    return pair, once, ideal


def _recorded(e, spectra):
    """Channels of the core-loss axis: the two fine ones around each of them, averaged."""
    return np.array(
        [0.5 * (np.interp(CORE.values - 0.125, e, s) + np.interp(CORE.values + 0.125, e, s)) for s in spectra]
    )


def test_thickness_is_found_within_a_twentieth(known):
    found = thickness(SpectrumSeries((known[0],)))
    np.testing.assert_allclose(found.t_over_lambda[0, 0], THICKNESS, rtol=0.05)


def test_error_of_the_thickness_is_the_scatter(known):
    rng = np.random.default_rng(0)
    counts = rng.poisson(np.repeat(known[0].low_loss.counts * 2e-3, 400, axis=0))
    image = known[0].low_loss.replace(counts=counts)
    found = thickness(SpectrumSeries((DualSpectrumImage(image, image),)))
    np.testing.assert_allclose(found.t_over_lambda[0].std(axis=0), found.error[0].mean(axis=0), rtol=0.12)


def test_fourier_log_leaves_single_scattering(known):
    pair, once, _ = known
    found = fourier_log(pair.low_loss).counts[0]
    window = LOW.window(8, 110)
    for i in range(4):
        wanted = gaussian_filter1d(once[i], 0.9 / 2.355 / LOW.step_ev)[window]
        assert np.abs(found[i, window] - wanted).max() < 0.03 * wanted.max()
    double = LOW.window(42, 50)
    assert known[0].low_loss.counts[0, 3, double].sum() > 20 * abs(
        found[3, double].sum() - once[3, double].sum()
    )


def above_background(counts):
    """Take off the power law through 600 to 690 eV."""
    return counts - power_law(*fit_power_law(counts, CORE, 600, 690), CORE, 690)


def test_fourier_ratio_leaves_the_single_core_loss(known):
    pair, _, ideal = known
    found = fourier_ratio(pair).counts[0].astype(float)
    edges, wanted = above_background(found), above_background(ideal)
    recorded = above_background(pair.core_loss.counts[0].astype(float))
    window, behind = (
        CORE.window(700, 799),
        CORE.window(728, 736),
    )  # an edge scattered by one plasmon lies there
    for i in range(4):
        assert np.abs(edges[i, window] - wanted[i, window]).max() < 0.02 * wanted[i, window].max()
        assert edges[i, behind].sum() == pytest.approx(wanted[i, behind].sum(), rel=0.03)
    assert recorded[3, behind].sum() > 2 * wanted[3, behind].sum()
    np.testing.assert_allclose(found[:, :100], pair.core_loss.counts[0, :, :100], rtol=0.01)  # the background


def test_fourier_ratio_takes_an_edge_without_background(known):
    """What eXSpy and DigitalMicrograph want as input: the pre-edge holds nothing."""
    pair, _, ideal = known
    edge = np.where(CORE.values > 705, above_background(pair.core_loss.counts[0].astype(float)), 0.0)
    found = fourier_ratio(DualSpectrumImage(pair.low_loss, pair.core_loss.replace(counts=edge[None])))
    wanted = above_background(ideal)
    window = CORE.window(706, 799)
    np.testing.assert_allclose(
        found.counts[0, :, window].sum(axis=1), wanted[:, window].sum(axis=1), rtol=0.02
    )


def test_a_broad_zero_loss_peak_is_counted_whole(known):
    """The same electrons at 0.9 and 2.5 eV resolution give the same thickness: the tails are no losses."""
    low = known[0].low_loss
    blurred = gaussian_filter1d(low.counts, np.sqrt(2.5**2 - 0.9**2) / 2.355 / LOW.step_ev, axis=-1)
    sharp, broad = (
        thickness(SpectrumSeries((DualSpectrumImage(image, image),))).t_over_lambda[0, 0]
        for image in (low, low.replace(counts=blurred))
    )
    np.testing.assert_allclose(broad, sharp, rtol=0.02)
    assert np.diff(LOW.values[zero_loss_window(low)][[0, -1]]) == pytest.approx(8.0)
    assert np.diff(LOW.values[zero_loss_window(low.replace(counts=blurred))][[0, -1]]) > 13


def test_fourier_ratio_refuses_a_core_loss_of_finer_channels(known):
    pair = known[0]
    fine = pair.core_loss.replace(energy=EnergyAxis(600.0, 0.1, CORE.size))
    with pytest.raises(InputError, match=r"0\.25 eV or more"):
        fourier_ratio(DualSpectrumImage(pair.low_loss, fine))


def mixed_image(rng):
    weights = np.stack([np.ones((40, 40)), np.tile(np.linspace(0, 1, 40), (40, 1))])
    e = np.arange(120)
    parts = np.stack([5 * (1 + e / 30) ** -1.5 + 0.2, 3 * np.exp(-0.5 * ((e - 60) / 6) ** 2)])
    truth = np.einsum("cyx,ce->yxe", weights, parts)
    return truth, rng.poisson(truth).astype(np.float32)


def test_scree_tells_structure_from_noise():
    rng = np.random.default_rng(1)
    truth, counts = mixed_image(rng)
    _, scree = singular_spectra([counts], 2)
    assert scree.significant == 2
    assert scree.variances[2] == pytest.approx(scree.noise_edge, rel=0.1)
    _, flat = singular_spectra([rng.poisson(np.full(truth.shape, 4.0))], 2)
    assert flat.significant == 1  # the mean


def test_denoising_removes_noise_and_keeps_structure():
    truth, counts = mixed_image(np.random.default_rng(1))
    image = SpectrumImage(counts, EnergyAxis(0.0, 1.0, 120), 1.0, 0.0)
    raw = SpectrumSeries((DualSpectrumImage(image, image),))
    quiet = denoise(raw, 2).series.tilts[0]
    before, after = (np.linalg.norm(c - truth) for c in (counts, quiet.core_loss.counts))
    assert after < 0.25 * before
    assert quiet.core_loss.counts.sum() == pytest.approx(counts.sum(), rel=1e-3)
    np.testing.assert_array_equal(raw.tilts[0].core_loss.counts, counts)
    with pytest.raises(InputError, match="components"):
        denoise(raw, 0)
