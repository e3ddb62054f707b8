"""Measured spectra: what physics and eXSpy say about them, the spectroscopy says as well."""

from __future__ import annotations

import numpy as np
import pytest
from exspy_oracle import above_background, at_zero, exspy_ratio, exspy_signal, measured_pair, one_pixel

from napari_dipmtv.data import DualSpectrumImage, SpectrumSeries
from napari_dipmtv.io.reference_spectra import load_reference
from napari_dipmtv.io.spectrum_images import load_spectrum_image
from napari_dipmtv.spectra import fit_power_law, fourier_log, fourier_ratio, thickness
from napari_dipmtv.spectra.background import power_law


@pytest.fixture(scope="module")
def aluminium(data_folder):
    spectrum = load_reference(data_folder / "pytemlib_eels/AL-DFoffset0.00.dm3", "Al")
    return at_zero(one_pixel(spectrum.intensity, spectrum.energy))[0]


@pytest.mark.real_data
def test_thickness_of_aluminium(aluminium):
    """t/λ against the same ratio by hand, and within what the strength of the plasmon series says."""
    pair = DualSpectrumImage(aluminium, aluminium)
    found = thickness(SpectrumSeries((pair,)))
    e, counts = aluminium.energy.values, aluminium.counts[0, 0].astype(float)
    once = (
        counts[(e > 10) & (e < 20)].sum() / counts[np.abs(e) < 4].sum()
    )  # the first plasmon alone: below t/λ
    assert once < found.t_over_lambda[0, 0, 0] < 3 * once
    assert 0 < found.error[0, 0, 0] < 0.01


@pytest.mark.real_data
def test_fourier_log_takes_the_second_plasmon_of_aluminium(aluminium):
    """The bulk plasmon at 15 eV stays, its multiple at 30 eV goes, nothing becomes negative beyond noise."""
    e, counts = aluminium.energy.values, aluminium.counts[0, 0].astype(float)
    single = fourier_log(aluminium).counts[0, 0].astype(float)
    first, second = (e > 13) & (e < 17.5), (e > 28) & (e < 33)
    assert e[first][np.argmax(single[first])] == pytest.approx(15.2, abs=0.5)
    assert single[first].sum() == pytest.approx(counts[first].sum(), rel=0.05)
    assert (
        0.3 < single[second].sum() / counts[second].sum() < 0.7
    )  # of a thin film: the rest are single losses


@pytest.mark.real_data
def test_oxygen_edge_of_a_spectrum_image(data_folder):
    """O-K of a real spectrum image starts at 532 eV, and its background is a power law of a common exponent."""
    image = load_spectrum_image(data_folder / "format_fixtures/EELS_SI.dm4")
    amplitude, exponent = fit_power_law(image.counts, image.energy, 480, 525)
    assert ((exponent > 1) & (exponent < 6)).all()
    edge = image.counts - power_law(amplitude, exponent, image.energy, 525)
    e, mean = image.energy.values, edge.mean(axis=(0, 1))
    assert abs(mean[(e > 500) & (e < 525)].mean()) < 0.05 * mean[(e > 532) & (e < 545)].mean()
    rise = e[(e > 520) & (mean > 0.5 * mean[(e > 525) & (e < 560)].max())][0]
    assert rise == pytest.approx(532, abs=6)


@pytest.fixture(scope="module")
def manganite():
    """The Mn-L/O-K core loss of eXSpy with its low loss: FWHM 3 eV, t/λ about 0.5."""
    pytest.importorskip("exspy")
    return measured_pair()


def ours(pair, edge):
    return fourier_ratio(
        DualSpectrumImage(pair.low_loss, pair.core_loss.replace(counts=np.maximum(edge, 0)[None, None]))
    ).counts[0, 0]


def test_fourier_ratio_agrees_with_exspy(manganite):
    energy = manganite.core_loss.energy
    edge = above_background(manganite.core_loss.counts[0, 0].astype(float), energy)
    edge[energy.values < 520] = 0.0
    window = energy.window(530, 745)
    here, there = ours(manganite, edge)[window], exspy_ratio(manganite, edge)[window]
    assert np.corrcoef(here, there)[0, 1] > 0.995
    assert here.sum() == pytest.approx(there.sum(), rel=0.02)
    assert edge[window].sum() > 1.3 * here.sum()  # a third of it was plural scattering


def test_fourier_ratio_of_known_edges_through_a_measured_low_loss(manganite):
    """Known single scattering, blurred and multiplied by the measured low loss: what was put in comes out."""
    energy, low = manganite.core_loss.energy, manganite.low_loss
    origin = int(np.argmin(np.abs(low.energy.values)))
    counts = low.counts[0, 0].astype(float)
    flank = counts[origin - 45 : origin]
    peak = np.concatenate([flank, [counts[origin]], flank[::-1]])
    peak /= peak.sum()  # the left flank, twice
    losses = counts[origin:].copy()
    losses[:45] = 0.0  # 9 eV
    i0 = counts[: origin + 45].sum()
    line = np.concatenate([[1.0], losses[1:] / i0])
    e = np.arange(100.0, 800.0, energy.step_ev)
    single = 4e4 * ((e > 532) * (e / 532) ** -3.0 + 0.7 * (e > 640) * (e / 640) ** -3.0)
    single += 9e4 * np.exp(-0.5 * ((e - 641.5) / 1.2) ** 2) + 5e4 * np.exp(-0.5 * ((e - 652.5) / 1.4) ** 2)
    background = 1.5e5 * (e / 360) ** -2.5

    def blurred(spectrum):
        return np.interp(energy.values, e, np.convolve(spectrum, peak)[45 : 45 + e.size])

    def recorded(spectrum):
        return blurred(np.convolve(spectrum, line)[: e.size])

    low_loss = np.zeros(low.energy.size)
    low_loss[origin - 45 :] = np.convolve(line, peak)[: low.energy.size - origin + 45] * i0
    pair = DualSpectrumImage(low.replace(counts=low_loss[None, None]), manganite.core_loss)
    whole = pair.core_loss.replace(counts=recorded(single + background)[None, None])
    with_background = fourier_ratio(DualSpectrumImage(pair.low_loss, whole)).counts[0, 0].astype(float)
    for window in (energy.window(540, 630), energy.window(636, 660), energy.window(665, 745)):
        wanted = blurred(single)[window].sum()
        assert ours(pair, recorded(single))[window].sum() == pytest.approx(wanted, rel=0.01)
        assert exspy_ratio(pair, recorded(single))[window].sum() == pytest.approx(wanted, rel=0.02)
        found = above_background(with_background, energy)[window].sum()
        assert found == pytest.approx(wanted, rel=0.04)  # the law fitted below O-K is what is off
    assert recorded(single)[window].sum() > 1.4 * wanted


def test_thickness_agrees_with_exspy(manganite):
    found = thickness(SpectrumSeries((manganite,))).t_over_lambda[0, 0, 0]
    signal = exspy_signal(manganite.low_loss)
    threshold = float(signal.estimate_elastic_scattering_threshold().data[0])
    theirs = float(signal.estimate_thickness(threshold=threshold).data[0])
    assert found == pytest.approx(theirs, rel=0.03)
