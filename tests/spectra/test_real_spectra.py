"""Measured spectra: what physics and eXSpy say about them, the spectroscopy says as well."""

from __future__ import annotations

import numpy as np
import pytest

from napari_dipmtv.data import DualSpectrumImage, EnergyAxis, SpectrumImage, SpectrumSeries
from napari_dipmtv.io.reference_spectra import load_reference
from napari_dipmtv.io.spectrum_images import load_spectrum_image
from napari_dipmtv.spectra import fit_power_law, fourier_log, thickness
from napari_dipmtv.spectra.background import power_law
from napari_dipmtv.spectra.zero_loss import zero_loss


def one_pixel(counts, energy):
    return SpectrumImage(np.asarray(counts, dtype=np.float32)[None, None], energy, 1.0, 0.0)


def at_zero(image):
    """Move the axis so that the zero-loss peak lies at 0 eV."""
    drift = float(zero_loss(image).drift_ev[0, 0])
    axis = image.energy
    return image.replace(energy=EnergyAxis(axis.start_ev - drift, axis.step_ev, axis.size)), drift


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
