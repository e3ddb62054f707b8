"""Knobs of the way from EDX spectrum images to maps of X-ray line intensities."""

from __future__ import annotations

from typing import Literal

from napari_dipmtv.settings.base import StageSettings, knob


class EdxSettings(StageSettings):
    """How the counts of an X-ray line are taken out of each pixel's spectrum."""

    method: Literal["fit", "windows", "sum"] = knob(
        "fit",
        "Intensity from",
        "Fit: Gaussian lines on a straight background around each line, so that lines that overlap are told "
        "apart. Windows: counts in a window less those in two background windows. Sum: all counts in the "
        "window, background included; they stay counted events, for the Poisson data term.",
    )
    resolution_ev: float = knob(
        130.0,
        "Detector resolution",
        "Full width at half maximum of Mn Kα. Larger gives wider windows and lines.",
        unit="eV",
        ge=50,
        le=300,
    )
    also: str = knob(
        "",
        "Other elements",
        "Elements whose lines lie near those asked for, separated by commas, for example Cu, Ga: the fit "
        "takes their counts away and gives no map of them. Each neighbour that overlaps adds noise.",
        empty="none",
    )
    window_fwhm: float = knob(
        2.0,
        "Line window",
        "Full width of the window around a line, in widths of the line. Larger takes more of the line and "
        "more background; 2 takes 98 %.",
        unit="FWHM",
        ge=0.5,
        le=4,
    )
    background_fwhm: float = knob(
        1.0,
        "Background windows",
        "Width of each of the two background windows. Larger is less noisy and may reach other lines.",
        unit="FWHM",
        ge=0.2,
        le=4,
        advanced=True,
    )
    background_gap_fwhm: float = knob(
        0.5,
        "Gap to the background",
        "Distance between the line window and each background window. Larger leaves out more of the tails.",
        unit="FWHM",
        ge=0,
        le=4,
        advanced=True,
    )
    fit_fwhm: float = knob(
        3.0,
        "Range of the fit",
        "Energies up to so many line widths on each side of the line are fitted. Larger fixes the background "
        "better as long as it is straight.",
        unit="FWHM",
        ge=1.5,
        le=8,
        advanced=True,
    )
    variance_px: float = knob(
        2.0,
        "Smoothing of the variance",
        "The expected counts, from which the variance follows, are averaged over neighbours this far (sigma "
        "of a Gaussian). Larger is calmer where counts are few; 0 takes each pixel alone.",
        unit="px",
        ge=0,
        le=20,
        advanced=True,
    )
