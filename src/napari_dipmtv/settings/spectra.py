"""Knobs of the way from spectra to channel maps: preparing, learning references, unmixing."""

from __future__ import annotations

from typing import Literal

from napari_dipmtv.settings.base import StageSettings, knob


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
        640.0,
        "Core-loss window from",
        "Start of the core-loss fit. Smaller gives the background a longer arm, but must stay above the "
        "tail of O-K.",
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
        "From here to the end of the core-loss window the intensity counts Fe atoms, whatever their "
        "valence: the references are brought to equal Fe content there. Larger stays clearer of the white "
        "lines and gets noisier.",
        unit="eV",
        gt=0,
    )
    core_high_ev: float = knob(
        800.0,
        "Core-loss window to",
        "End of the core-loss fit and of the continuum. Larger lowers the noise; keep below Fe-L1 (846 eV).",
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
    background_terms: int = knob(
        3,
        "Background terms",
        "Power laws of fixed exponent that are added up, with weights not below zero, to one background. "
        "More follow more shapes and make the maps noisier.",
        ge=1,
        le=4,
        advanced=True,
    )
    background_spread: float = knob(
        1.0,
        "Background spread",
        "How far the exponents of the terms reach to both sides of the one measured below the edge.",
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
    purify: Literal["extreme", "known", "none"] = knob(
        "extreme",
        "Purification",
        "A region of a core-shell particle shows a mixture. Extreme: move each reference to the purest "
        "pixels of all tilts, found in the low loss. Known: take off the shares given below. None: take "
        "the regions as they are.",
    )
    extreme_share: float = knob(
        0.02,
        "Share of extreme pixels",
        "Which part of the Fe signal, at each end of the spread of spectra, counts as pure. Larger is less "
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


class UnmixSettings(StageSettings):
    """How every pixel is split into background and references."""

    abundances: Literal["unbiased", "non-negative"] = knob(
        "unbiased",
        "Abundances",
        "Unbiased lets noise go below zero, so that empty pixels average to zero and the error bars hold: "
        "what a reconstruction wants, which forbids negative voxels itself. Non-negative looks cleaner and "
        "lifts every noisy pixel. Background weights never go below zero.",
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
