"""Spectrum images become channel maps: prepare, learn references, unmix.

The names are bound here, not on demand: some verbs share the name of their module, and the verb must win.
"""

from napari_dipmtv.spectra.automatic import auto_l_references
from napari_dipmtv.spectra.background import fit_power_law
from napari_dipmtv.spectra.dose import Dose, dose
from napari_dipmtv.spectra.l_references import (
    given_l_references,
    l_references,
    region_plural,
    region_spectrum,
)
from napari_dipmtv.spectra.m_references import m_references
from napari_dipmtv.spectra.prepare import prepare
from napari_dipmtv.spectra.references import LReferences, MReferences, References
from napari_dipmtv.spectra.unmix import SpectrumFit, Unmixed, fit_spectrum, unmix
from napari_dipmtv.spectra.zero_loss import ZeroLoss, zero_loss

__all__ = [
    "Dose",
    "LReferences",
    "MReferences",
    "References",
    "SpectrumFit",
    "Unmixed",
    "ZeroLoss",
    "auto_l_references",
    "dose",
    "fit_power_law",
    "fit_spectrum",
    "given_l_references",
    "l_references",
    "m_references",
    "prepare",
    "region_plural",
    "region_spectrum",
    "unmix",
    "zero_loss",
]
