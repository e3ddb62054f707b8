"""Knobs of the way from spectra to channel maps: preparing, learning references, unmixing."""

from __future__ import annotations

from itertools import pairwise
from typing import Literal, Self

from pydantic import model_validator

from napari_dipmtv.errors import InputError, expected
from napari_dipmtv.settings.base import StageSettings, knob

BackgroundModel = Literal["power laws", "power law", "power law + offset"]


class PrepareSettings(StageSettings):
    """How recorded spectrum images become electrons on one common energy axis."""

    gain: float = knob(
        1.0,
        "Detector gain",
        "Recorded counts per electron; the spectra are divided by it, so that noise is counted in electrons. "
        "A larger gain makes every error bar larger.",
        unit="counts/e",
        gt=0,
    )
    alignment: Literal["integer", "sub-channel", "none"] = knob(
        "integer",
        "Zero-loss alignment",
        "How each pixel is moved so that its zero-loss peak is at 0 eV. Integer moves by whole channels "
        "and keeps the counts exactly Poisson; sub-channel interpolates, which correlates neighbouring "
        "channels (chi-square falls below 1, sums stay right). The drift is always measured to a fraction "
        "of a channel.",
    )
    search_ev: float = knob(
        15.0,
        "Zero-loss search range",
        "How far from 0 eV the peak is looked for, to both sides. Larger finds larger drift, but must stay "
        "below the plasmon.",
        unit="eV",
        gt=0,
        le=100,
    )
    min_quality: float = knob(
        0.5,
        "Lowest zero-loss quality",
        "Share of the zero-loss signal that the common peak shape explains. Pixels below it are marked "
        "unusable; larger marks more.",
        ge=0,
        le=1,
        advanced=True,
    )
    leave_out_bad_tilts: bool = knob(
        False,
        "Leave out bad tilts",
        "Go on without tilts in which no pixel has a usable zero-loss peak. Off refuses them by their angle, so "
        "that none is missed unseen; the maps list the tilts that are left.",
        advanced=True,
    )
    spike_sigma: float = knob(
        8.0,
        "Spike threshold",
        "A channel so many standard deviations above its neighbours in energy and in space is an X-ray "
        "spike and is replaced by what the neighbours predict. Larger removes fewer; 0 removes none.",
        unit="σ",
        ge=0,
    )
    rebin_energy: int = knob(
        1,
        "Energy binning",
        "Neighbouring channels added together. Larger is faster and coarser; counts stay Poisson.",
        unit="channels",
        ge=1,
        le=64,
        advanced=True,
    )
    rebin_pixels: int = knob(
        1,
        "Pixel binning",
        "Pixels added together along y and x. Larger lowers the noise per pixel and the resolution.",
        unit="px",
        ge=1,
        le=64,
        advanced=True,
    )
    deconvolve_core: bool = knob(
        False,
        "Deconvolve the core loss",
        "Take plural scattering out of the core loss by Fourier-ratio deconvolution. Helps where the specimen is "
        "thick (above half a mean free path); neighbouring channels then share noise, so that chi-square of "
        "the core loss no longer tends to 1. The low loss needs none: its plural scattering enters the fit.",
        advanced=True,
    )
    low_stop_ev: float = knob(
        0.0, "Low loss up to", "Channels above it are dropped; 0 keeps all.", unit="eV", ge=0, advanced=True
    )
    core_start_ev: float = knob(
        0.0, "Core loss from", "Channels below it are dropped; 0 keeps all.", unit="eV", ge=0, advanced=True
    )
    core_stop_ev: float = knob(
        0.0, "Core loss up to", "Channels above it are dropped; 0 keeps all.", unit="eV", ge=0, advanced=True
    )


class ReferenceSettings(StageSettings):
    """How the core loss teaches the references of the low loss."""

    core_low_ev: float = knob(
        610.0,
        "Core-loss window from",
        "Start of the core-loss fit. Smaller gives the background a longer arm, which decides how well the metal "
        "content of the references is known, but must stay above the fine structure of O-K, some 70 eV from 532 eV.",
        unit="eV",
        gt=0,
    )
    core_edge_ev: float = knob(
        702.0,
        "L edge from",
        "Where the L edge begins; below it there is only background. Larger uses more channels for the "
        "background.",
        unit="eV",
        gt=0,
    )
    continuum_ev: float = knob(
        735.0,
        "Continuum from",
        "From here to the end of the core-loss window the intensity counts metal atoms, whatever their "
        "valence: the references are brought to equal metal content there. Larger stays clearer of the white "
        "lines and gets noisier.",
        unit="eV",
        gt=0,
    )
    core_high_ev: float = knob(
        800.0,
        "Core-loss window to",
        "End of the core-loss fit and of the continuum. Larger lowers the noise; keep below the next edge "
        "(Fe-L1: 846 eV).",
        unit="eV",
        gt=0,
    )
    low_low_ev: float = knob(
        42.0,
        "Low-loss window from",
        "Start of the low-loss fit. Smaller fixes the plasmon tail better, but must stay above the plasmon.",
        unit="eV",
        gt=0,
    )
    low_edge_ev: float = knob(
        51.0,
        "M edge from",
        "Where the M edge begins; below it there is only the plasmon tail.",
        unit="eV",
        gt=0,
    )
    low_high_ev: float = knob(
        80.0,
        "Low-loss window to",
        "End of the low-loss fit. Larger uses more counts, but more than one plasmon energy above the edge "
        "plural scattering enters.",
        unit="eV",
        gt=0,
    )
    background: BackgroundModel = knob(
        "power laws",
        "Background",
        "Power laws adds up several laws of fixed exponents. Power law is one law whose exponent may differ "
        "a little from pixel to pixel. With an offset it also follows a constant level, such as dark counts, "
        "and gets noisier.",
        advanced=True,
    )
    background_terms: int = knob(
        3,
        "Background terms",
        "How many laws 'power laws' adds up. More follow more shapes and make the maps noisier.",
        ge=1,
        le=4,
        advanced=True,
    )
    background_spread: float = knob(
        1.0,
        "Background spread",
        "How far the exponents of 'power laws' reach to both sides of the one measured below the edge.",
        gt=0,
        le=5,
        advanced=True,
    )
    plural_scattering: bool = knob(
        True,
        "Correct plural scattering",
        "Take the double plasmon under the M edge into account while learning; off where the low loss "
        "holds no zero-loss peak.",
        advanced=True,
    )
    automatic: Literal["low loss", "blind"] = knob(
        "low loss",
        "Automatic references by",
        "How 'auto' finds the phases. Low loss: the two ends of the plane that all M edges span; works at the "
        "lowest dose. Blind: independent components of the core loss, as published; needs more dose.",
        advanced=True,
    )
    purify: Literal["auto", "extreme", "volume", "known", "none"] = knob(
        "auto",
        "Purification",
        "A region of a core-shell particle shows a mixture. Extreme: move each reference to the purest "
        "pixels of all tilts, found in the low loss. Volume: go on from there to what a voxel of each of two phases "
        "holds, by aligning and reconstructing the maps; right where every beam crosses a shell, takes some twenty "
        "seconds. Auto: volume where two phases, the tilts and the counts allow it, else extreme; the notes say which, "
        "and why. Known: take off the shares given below, of two phases. None: take the regions as they are.",
    )
    extreme_share: float = knob(
        0.02,
        "Share of extreme pixels",
        "Which part of the metal signal, at each end of the spread of spectra, counts as pure. Larger is less "
        "noisy and less pure.",
        gt=0,
        le=0.5,
    )
    known_in_reduced: float = knob(
        0.0,
        "Oxidised share in the reduced region",
        "Share of the Fe atoms in the reduced region (FeO) that belong to the other phase (Fe3O4). Used by "
        "Known. Larger takes off more.",
        ge=0,
        lt=1,
    )
    known_in_oxidised: float = knob(
        0.0,
        "Reduced share in the oxidised region",
        "Share of the Fe atoms in the oxidised region (Fe3O4) that belong to the other phase (FeO). Used "
        "by Known. Larger takes off more.",
        ge=0,
        lt=1,
    )

    @model_validator(mode="after")
    def _check_order(self) -> Self:
        core = (self.core_low_ev, self.core_edge_ev, self.continuum_ev, self.core_high_ev)
        low = (self.low_low_ev, self.low_edge_ev, self.low_high_ev)
        for what, energies in (("core-loss", core), ("low-loss", low)):
            if not all(a < b for a, b in pairwise(energies)):
                raise ValueError(f"the {what} energies must ascend, got {energies} eV; correct the windows")
        return self


# L3 and the next edge that the windows must stay clear of; M (N for Ce) and the plasmon below it. Energies of
# the edges: Ahn & Krivanek, EELS Atlas (1983).
_WINDOWS_EV: dict[str, dict[str, float]] = {
    "Fe": {},
    "Mn": {
        "core_low_ev": 590, "core_edge_ev": 634, "continuum_ev": 666, "core_high_ev": 745,
        "low_low_ev": 38, "low_edge_ev": 45, "low_high_ev": 74,
    },
    "Co": {
        "core_low_ev": 710, "core_edge_ev": 773, "continuum_ev": 808, "core_high_ev": 880,
        "low_low_ev": 46, "low_edge_ev": 56, "low_high_ev": 86,
    },
    "Ni": {
        "core_low_ev": 780, "core_edge_ev": 849, "continuum_ev": 886, "core_high_ev": 970,
        "low_low_ev": 50, "low_edge_ev": 63, "low_high_ev": 95,
    },
    "Ce": {
        "core_low_ev": 810, "core_edge_ev": 875, "continuum_ev": 915, "core_high_ev": 1000,
        "low_low_ev": 85, "low_edge_ev": 105, "low_high_ev": 150,
    },
}  # fmt: skip
METALS = tuple(_WINDOWS_EV)


def reference_settings(metal: str) -> ReferenceSettings:
    """Give settings whose windows suit an element: L2,3 teaches M2,3 (Fe, Mn, Co, Ni), M4,5 teaches N4,5 (Ce).

    Raises
    ------
    InputError
        For an element without windows of its own; any other pair of edges is a matter of setting them.
    """
    if metal not in _WINDOWS_EV:
        raise InputError(expected("metal", ", ".join(METALS), metal, "Set the windows of its edges by hand"))
    return ReferenceSettings(**_WINDOWS_EV[metal])


class UnmixSettings(StageSettings):
    """How every pixel is split into background and references."""

    abundances: Literal["unbiased", "non-negative"] = knob(
        "unbiased",
        "Abundances",
        "Unbiased lets noise go below zero, so that empty pixels average to zero and the error bars hold: "
        "what a reconstruction wants, which forbids negative voxels itself. Non-negative keeps abundances "
        "and background at or above zero, looks cleaner and lifts every noisy pixel.",
    )
    plural_scattering: bool = knob(
        True,
        "Correct plural scattering",
        "Account for electrons that scattered more than once: the double plasmon under the M edge enters "
        "the fit as a known part, and each pixel is divided by the share of electrons left in its "
        "zero-loss peak, so that the map grows in proportion to the Fe atoms along the beam. Off where the "
        "low loss holds no zero-loss peak.",
    )
    readout_electrons: float = knob(
        0.0,
        "Read-out noise",
        "Standard deviation of the detector noise per channel, in electrons. Larger gives weak channels "
        "less weight.",
        unit="e",
        ge=0,
        advanced=True,
    )
