"""Names of X-ray lines to filters: rows of weights that turn the counts of a spectrum into line intensities.

The energies and weights of the lines are those of eXSpy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter
from scipy.special import erf

from napari_dipmtv.data import F64, EnergyAxis
from napari_dipmtv.errors import InputError, expected
from napari_dipmtv.settings.edx import EdxSettings
from napari_dipmtv.settings.elements import element_facts

_MN_KA_EV = 5898.7
_NARROWEST_EV = 20.0
_SIGMA_PER_FWHM = 1 / 2.354820045
_WORST_CORRELATION = 0.95  # of two lines in the fit: beyond it a pixel's counts cannot tell them apart


@dataclass(frozen=True, slots=True)
class XrayLine:
    """One X-ray line: ``name`` like "Fe_Ka", energy, and its weight relative to the main line of its family."""

    name: str
    energy_ev: float
    weight: float

    @property
    def element(self) -> str:
        """Symbol of the element."""
        return self.name.split("_")[0]

    @property
    def family(self) -> str:
        """Element and shell, like "Fe_K": lines whose ratios are fixed."""
        return self.name.split("_")[0] + "_" + self.name.split("_")[1][0]


@dataclass(frozen=True, slots=True, eq=False)
class LineFilters:
    """What is multiplied with a spectrum to give line intensities: ``weights`` (k, e) on one energy axis."""

    lines: tuple[str, ...]
    weights: F64
    energy: EnergyAxis
    spread: F64  # (e,) share of the counts that each channel has on average, for the variance of empty pixels


def xray_lines(element: str) -> tuple[XrayLine, ...]:
    """All lines of an element, from eXSpy's tables.

    Raises
    ------
    InputError
        For an unknown symbol, or where eXSpy is not installed.
    """
    lines = element_facts(element)["Atomic_properties"]["Xray_lines"]
    return tuple(
        XrayLine(f"{element}_{line}", 1000 * facts["energy (keV)"], facts["weight"])
        for line, facts in lines.items()
    )


def xray_line(name: str) -> XrayLine:
    """One line by its name, e.g. "Fe_Ka"; raises `InputError` with the names that there are."""
    element = name.partition("_")[0]
    known = {line.name: line for line in xray_lines(element)}
    if name not in known:
        raise InputError(expected("X-ray line", ", ".join(known), name, "Choose one of these"))
    return known[name]


def fwhm_ev(energy_ev: float, resolution_ev: float) -> float:
    """Width of a line in eV from that of Mn Kα (Fiori and Newbury 1978); never below 20 eV."""
    return float(np.sqrt(max(resolution_ev**2 + 2.5 * (energy_ev - _MN_KA_EV), _NARROWEST_EV**2)))


def line_filters(
    lines: Sequence[str], energy: EnergyAxis, spectrum: F64, settings: EdxSettings | None = None
) -> LineFilters:
    """Make the filters that turn a spectrum into the intensities of lines.

    Parameters
    ----------
    lines : sequence of str
        Names such as "Fe_Ka".
    energy : EnergyAxis
    spectrum : float array (e,)
        Typical counts, for example the sum of an image; weights the fit, does not bias it.
    settings : EdxSettings, optional

    Raises
    ------
    InputError
        For unknown lines, lines outside the energies, and lines that cannot be told apart.
    """
    settings = settings or EdxSettings()
    if not lines or len(set(lines)) < len(lines):
        raise InputError(expected("lines", "distinct X-ray lines", list(lines), "Name each line once"))
    wanted = [xray_line(name) for name in lines]
    if settings.method == "fit":
        others = {name.strip() for name in settings.also.split(",") if name.strip()}
        neighbours = [line for e in sorted({*others, *(w.element for w in wanted)}) for line in xray_lines(e)]
        rows = [_fitted(line, neighbours, energy, spectrum, settings) for line in wanted]
    else:
        rows = [_windowed(line, energy, settings) for line in wanted]
    weights = np.stack(rows)
    if settings.method == "sum":
        _check_apart(lines, weights)
    spread = np.clip(spectrum, 0, None) + 1e-12 * max(float(np.max(spectrum)), 1.0)
    return LineFilters(tuple(lines), weights, energy, spread / spread.sum())


def _windowed(line: XrayLine, energy: EnergyAxis, settings: EdxSettings) -> F64:
    """Window sum, less the mean of two background windows ("windows")."""
    width = fwhm_ev(line.energy_ev, settings.resolution_ev)
    half = settings.window_fwhm / 2 * width
    row = np.zeros(energy.size)
    row[_inside(line, energy, line.energy_ev - half, line.energy_ev + half)] = 1.0
    if settings.method == "sum":
        return row
    near = half + settings.background_gap_fwhm * width
    far = near + settings.background_fwhm * width
    channels = row.sum()
    for low, high in ((-far, -near), (near, far)):
        window = _inside(line, energy, line.energy_ev + low, line.energy_ev + high)
        row[window] -= channels / 2 / (window.stop - window.start)
    return row


def _fitted(
    line: XrayLine, neighbours: Sequence[XrayLine], energy: EnergyAxis, spectrum: F64, settings: EdxSettings
) -> F64:
    """Row of the weighted least-squares solution: lines of all families in reach and a straight background."""
    width = fwhm_ev(line.energy_ev, settings.resolution_ev)
    reach = settings.fit_fwhm * width
    window = _inside(line, energy, line.energy_ev - reach, line.energy_ev + reach)
    e = energy.values[window]
    families = {line.family: np.zeros(len(e))}  # the wanted family comes first
    present = {line.family}
    for other in neighbours:
        if abs(other.energy_ev - line.energy_ev) > reach + width:
            continue
        share = _gaussian(other, energy, window, settings)
        shape = families.setdefault(other.family, np.zeros(len(e)))
        shape += other.weight / line.weight * share
        if share.sum() > 0.5:  # a family of which only tails reach in would soften the background
            present.add(other.family)
    x = (e - line.energy_ev) / reach
    shapes = [shape for family, shape in families.items() if family in present]
    design = np.stack([*shapes, np.ones_like(x), x], axis=1)  # (e, n)
    expected_counts = gaussian_filter(spectrum, width * _SIGMA_PER_FWHM / energy.step_ev)[window]
    w = 1 / np.clip(expected_counts, 1e-3 * max(float(expected_counts.max()), 1e-12), None)
    normal = design.T @ (w[:, None] * design)
    _check_separable(line, normal)
    row = np.zeros(energy.size)
    row[window] = np.linalg.solve(normal, design.T * w)[0]
    return row


def _gaussian(line: XrayLine, energy: EnergyAxis, window: slice, settings: EdxSettings) -> F64:
    """Share of a line's counts in each channel of the window."""
    sigma = fwhm_ev(line.energy_ev, settings.resolution_ev) * _SIGMA_PER_FWHM
    channels = np.arange(window.start, window.stop + 1)
    edges = energy.start_ev + energy.step_ev * (channels - 0.5)
    shares: F64 = np.diff(0.5 * erf((edges - line.energy_ev) / (sigma * np.sqrt(2))))
    return shares


def _inside(line: XrayLine, energy: EnergyAxis, low_ev: float, high_ev: float) -> slice:
    if low_ev < energy.start_ev or high_ev > energy.stop_ev:
        raise InputError(
            expected(
                f"line {line.name}",
                f"{low_ev:.0f}-{high_ev:.0f} eV within the spectrum",
                f"{energy.start_ev:.0f}-{energy.stop_ev:.0f} eV",
                "Choose another line of the element or narrower windows",
            )
        )
    return energy.window(low_ev, high_ev)


def _check_separable(line: XrayLine, normal: F64) -> None:
    covariance = np.linalg.pinv(normal)
    deviation = np.sqrt(np.diag(covariance))
    correlation = covariance[0] / (deviation[0] * deviation)
    if len(normal) > 3 and float(np.abs(correlation[1:-2]).max()) > _WORST_CORRELATION:
        raise InputError(
            expected(
                f"line {line.name}",
                "lines of the other elements that can be told apart from it",
                "lines at nearly the same energy",
                "Choose another line of the element, or leave the neighbour out of 'also'",
            )
        )


def _check_apart(lines: Sequence[str], weights: F64) -> None:
    if (weights.sum(axis=0) > 1).any():
        raise InputError(
            expected(
                "windows of counted events",
                "no channel in two windows",
                f"overlapping lines among {', '.join(lines)}",
                "Use method 'fit', or a smaller window_fwhm",
            )
        )
