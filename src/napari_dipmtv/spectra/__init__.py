"""Spectrum images become channel maps: prepare, learn references, unmix.

The names are bound here, not on demand: some verbs share the name of their module, and the verb must win.
"""

from napari_dipmtv.spectra.automatic import auto_l_references
from napari_dipmtv.spectra.background import fit_power_law
from napari_dipmtv.spectra.blind import blind_l_references
from napari_dipmtv.spectra.decompose import Denoised, Scree, denoise
from napari_dipmtv.spectra.deconvolve import fourier_log, fourier_ratio
from napari_dipmtv.spectra.diagnostics import ReferenceOverlay, fit_region, reference_overlay
from napari_dipmtv.spectra.dose import Dose, dose
from napari_dipmtv.spectra.efficiency import DoseEfficiency, dose_efficiency
from napari_dipmtv.spectra.l_references import (
    given_l_references,
    l_references,
    region_plural,
    region_spectrum,
)
from napari_dipmtv.spectra.m_references import m_references
from napari_dipmtv.spectra.prepare import prepare
from napari_dipmtv.spectra.purify_volume import (
    VolumeMixing,
    mixing_in_volume,
    mixing_steps,
    purified_in_volume,
)
from napari_dipmtv.spectra.references import LReferences, MixingRange, MReferences, References
from napari_dipmtv.spectra.thickness import Thickness, thickness
from napari_dipmtv.spectra.unmix import SpectrumFit, Unmixed, fit_spectrum, unmix
from napari_dipmtv.spectra.zero_loss import ZeroLoss, zero_loss

__all__ = [
    "Denoised",
    "Dose",
    "DoseEfficiency",
    "LReferences",
    "MReferences",
    "MixingRange",
    "ReferenceOverlay",
    "References",
    "Scree",
    "SpectrumFit",
    "Thickness",
    "Unmixed",
    "VolumeMixing",
    "ZeroLoss",
    "auto_l_references",
    "blind_l_references",
    "denoise",
    "dose",
    "dose_efficiency",
    "fit_power_law",
    "fit_region",
    "fit_spectrum",
    "fourier_log",
    "fourier_ratio",
    "given_l_references",
    "l_references",
    "m_references",
    "mixing_in_volume",
    "mixing_steps",
    "prepare",
    "purified_in_volume",
    "reference_overlay",
    "region_plural",
    "region_spectrum",
    "thickness",
    "unmix",
    "zero_loss",
]
