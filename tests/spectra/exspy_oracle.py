"""The measured dual spectrum that ships with eXSpy, and what eXSpy makes of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from napari_dipmtv.data import DualSpectrumImage, EnergyAxis, SpectrumImage
from napari_dipmtv.io.reference_spectra import load_reference
from napari_dipmtv.spectra.background import fit_power_law, power_law
from napari_dipmtv.spectra.zero_loss import zero_loss


def one_pixel(counts, energy):
    return SpectrumImage(np.asarray(counts, dtype=np.float32)[None, None], energy, 1.0, 0.0)


def at_zero(image):
    """Move the axis so that the zero-loss peak lies at 0 eV; give the drift as well."""
    drift = float(zero_loss(image).drift_ev[0, 0])
    axis = image.energy
    return image.replace(energy=EnergyAxis(axis.start_ev - drift, axis.step_ev, axis.size)), drift


def measured_pair():
    """Mn-L and O-K with their low loss, both moved by the position of the zero-loss peak."""
    import exspy

    folder = Path(exspy.__file__).parent / "tests/components"
    low, core = (load_reference(folder / f"{kind}loss_spectrum.msa", kind) for kind in ("low", "core"))
    low_loss, drift = at_zero(one_pixel(low.intensity, low.energy))
    axis = EnergyAxis(core.energy.start_ev - drift, core.energy.step_ev, core.energy.size)
    return DualSpectrumImage(low_loss, one_pixel(core.intensity, axis))


def exspy_signal(image, counts=None):
    """The same spectrum in eXSpy."""
    import exspy

    signal = exspy.signals.EELSSpectrum(np.array(image.counts[0, 0] if counts is None else counts, float))
    axis = signal.axes_manager[-1]
    axis.offset, axis.scale, axis.units = image.energy.start_ev, image.energy.step_ev, "eV"
    return signal


def exspy_ratio(pair, edge):
    """eXSpy's Fourier ratio.

    It wants the background removed and the zero loss at 0 eV: an offset of the peak moves the result. In version
    0.3.2 its reconvolution peak has unit area per eV while its zero loss is a sum of channels, so the result is too
    large by 1 / step. Deconvolution takes off less than half of the edges here: which of the two conventions is
    installed shows in the sum, and the factor is undone where it is there.
    """
    found = exspy_signal(pair.core_loss, edge).fourier_ratio_deconvolution(exspy_signal(pair.low_loss)).data
    step = pair.core_loss.energy.step_ev
    per_ev = abs(np.log(found.sum() * step / edge.sum())) < abs(np.log(found.sum() / edge.sum()))
    return found * step if per_ev else found


def above_background(counts, energy):
    """Edges of one spectrum: less the power law below O-K."""
    return (counts - power_law(*fit_power_law(counts[None], energy, 400, 520), energy, 520))[0]
