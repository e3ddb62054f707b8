"""Energies to inelastic scattering of FeO and Fe3O4: plasmons, Fe-M, background, O-K and Fe-L.

All shapes are single-scattering probabilities at 200 kV and 20 mrad collection. Edge energies and intensity
ratios: P. A. van Aken et al., Phys. Chem. Miner. 25, 323 (1998) (Fe-L), Phys. Chem. Miner. 26, 584 (1999)
(Fe-M2,3), and J. Jasinski et al., Microsc. Microanal. 12 (2006) (L3/L2, γ-Fe2O3 and FeO).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from napari_dipmtv.data import F64

BEAM_KEV = 200.0
COLLECTION_MRAD = 20.0

# Windows that hold what is called "the edge" when a cross-section or a share of the beam is given.
M_WINDOW_EV = (51.0, 81.0)  # 30 eV, from below the Fe3+ pre-peak
L_WINDOW_EV = (704.0, 754.0)  # 50 eV

# Cross-sections per Fe atom, from the shares of the beam that 40 nm of FeO (48.1 Fe nm⁻³) scatter into the
# windows.
M_SHARE, L_SHARE, SHARE_PATH_NM, SHARE_DENSITY_NM3 = 0.031, 3.6e-4, 40.0, 48.1
M_SECTION_NM2 = M_SHARE / (SHARE_PATH_NM * SHARE_DENSITY_NM3)
L_SECTION_NM2 = L_SHARE / (SHARE_PATH_NM * SHARE_DENSITY_NM3)
O_K_SECTION_NM2 = 1.06e-7  # per O atom, 50 eV from 532 eV; hydrogenic model, as computed by eXSpy
O_K_WINDOW_EV = (532.0, 582.0)

# Core-loss background at 700 eV per eV and nm of oxide, and its exponent [our choice]: the L3 maximum of
# 40 nm then stands about four times above it.
BACKGROUND_AT_700 = 1.5e-7
BACKGROUND_EXPONENT = 3.0


@dataclass(frozen=True, slots=True)
class Valence:
    """Edge shapes of one Fe ion: peaks as (energy in eV, height or relative area)."""

    m_prepeak: tuple[float, float]  # height relative to the main maximum
    l3_lines: tuple[tuple[float, float], ...]  # shares of the L3 area
    l2_lines: tuple[tuple[float, float], ...]  # shares of the L2 area
    l3_over_l2: float
    holes: int  # in the 3d shell; the white lines grow with them


M_MAXIMUM_EV = 57.0
M_PEAK_EV = (
    M_MAXIMUM_EV - 0.3
)  # the rise is steeper than the fall: 0.9 eV of resolution moves the maximum up to 57.0
SPIN_ORBIT_EV = 13.0  # L2 above L3
FE2 = Valence(
    (M_MAXIMUM_EV - 2.2, 0.55), ((707.8, 0.76), (710.5, 0.24)), ((720.8, 0.6), (723.3, 0.4)), 4.4, 4
)
FE3 = Valence(
    (M_MAXIMUM_EV - 4.2, 0.40), ((708.0, 0.27), (709.5, 0.73)), ((720.9, 0.4), (722.8, 0.6)), 5.5, 5
)
L3_FWHM_EV, L2_FWHM_EV = 1.8, 2.4  # multiplet and lifetime width, without the spectrometer
LINE_PER_HOLE_EV = 5.5  # white-line area over the height of the continuum behind the edge, per 3d hole


@dataclass(frozen=True, slots=True)
class Oxide:
    """What one oxide does to the beam."""

    name: str
    fe2_share: float  # of its Fe atoms; the rest is Fe3+
    oxygen_per_fe: float
    plasmon_ev: float
    plasmon_width_ev: float
    mean_free_path_nm: float  # all inelastic scattering, 200 kV


OXIDES = (
    Oxide("FeO", 1.0, 1.0, 23.0, 9.0, 127.0),
    Oxide("Fe3O4", 1 / 3, 4 / 3, 23.6, 10.0, 130.0),
)


def plasmon(oxide: Oxide, energy_ev: F64) -> F64:
    """Drude energy-loss function of the bulk plasmon, per eV, unit area over the positive energies given."""
    e = np.maximum(energy_ev, 0.0)
    peak, width = oxide.plasmon_ev, oxide.plasmon_width_ev
    loss = e * width * peak**2 / ((e**2 - peak**2) ** 2 + (e * width) ** 2)
    return np.asarray(loss / _area(energy_ev, loss))


def m_edge(oxide: Oxide, energy_ev: F64) -> F64:
    """Fe-M2,3 cross-section per Fe atom in nm²/eV."""
    return oxide.fe2_share * _m_ion(FE2, energy_ev) + (1 - oxide.fe2_share) * _m_ion(FE3, energy_ev)


def l_edge(oxide: Oxide, energy_ev: F64) -> F64:
    """Fe-L2,3 cross-section per Fe atom in nm²/eV; the continuum is the same for every valence."""
    return oxide.fe2_share * _l_ion(FE2, energy_ev) + (1 - oxide.fe2_share) * _l_ion(FE3, energy_ev)


def o_k_edge(oxide: Oxide, energy_ev: F64) -> F64:
    """O-K cross-section per Fe atom in nm²/eV: a step at 532 eV and the broad maximum 8 eV above it."""
    onset, decay = O_K_WINDOW_EV[0], 3.0
    shape = _step(energy_ev, onset, 1.5) * (energy_ev / onset) ** -decay + 1.2 * _peak(
        energy_ev, onset + 8, 6.0
    )
    return oxide.oxygen_per_fe * O_K_SECTION_NM2 * shape / _area(energy_ev, shape, O_K_WINDOW_EV)


def background(energy_ev: F64) -> F64:
    """Power-law background of the core loss, probability per eV and nm of oxide."""
    return np.asarray(BACKGROUND_AT_700 * (energy_ev / 700.0) ** -BACKGROUND_EXPONENT)


def _m_ion(ion: Valence, energy_ev: F64) -> F64:
    """Steep rise to the maximum, slow decay, and the pre-peak; scaled to the cross-section of the window."""
    below = np.exp(-(((energy_ev - M_PEAK_EV) / 1.2) ** 2))
    past = np.maximum(energy_ev - M_PEAK_EV, 0.0)
    above = 1 / (1 + (past / 9.0) ** 2) * (1 + past / M_PEAK_EV) ** -1.5
    energy, height = ion.m_prepeak
    shape = np.where(energy_ev < M_PEAK_EV, below, above) + height * _peak(energy_ev, energy, 1.5)
    return M_SECTION_NM2 * shape / _area(energy_ev, shape, M_WINDOW_EV)


def _l_ion(ion: Valence, energy_ev: F64) -> F64:
    """White lines on a two-step continuum (2:1); the window's cross-section of FeO sets the common scale."""
    return L_SECTION_NM2 * _l_shape(ion, energy_ev) / _area(energy_ev, _l_shape(FE2, energy_ev), L_WINDOW_EV)


def _l_shape(ion: Valence, energy_ev: F64) -> F64:
    lines = LINE_PER_HOLE_EV * ion.holes
    l2 = lines / (1 + ion.l3_over_l2)
    shape = _continuum(energy_ev)
    for members, area, fwhm in ((ion.l3_lines, lines - l2, L3_FWHM_EV), (ion.l2_lines, l2, L2_FWHM_EV)):
        for energy, share in members:
            shape = shape + area * share * _peak(energy_ev, energy, fwhm) / (
                fwhm * np.sqrt(np.pi / np.log(16))
            )
    return shape


def _continuum(energy_ev: F64) -> F64:
    """Height 1 just behind L2, falling slowly."""
    l3 = 709.0
    steps = (2 * _step(energy_ev, l3, 1.0) + _step(energy_ev, l3 + SPIN_ORBIT_EV, 1.0)) / 3
    return np.asarray(steps * (np.maximum(energy_ev, 1.0) / l3) ** -3.0)


def _peak(energy_ev: F64, centre_ev: float, fwhm_ev: float) -> F64:
    return np.asarray(np.exp(-np.log(16) * ((energy_ev - centre_ev) / fwhm_ev) ** 2))


def _step(energy_ev: F64, onset_ev: float, width_ev: float) -> F64:
    from scipy.special import ndtr

    return np.asarray(ndtr((energy_ev - onset_ev) / width_ev))


def _area(energy_ev: F64, shape: F64, window_ev: tuple[float, float] | None = None) -> float:
    """Sum of a sampled shape times the channel width, over all or over a window."""
    step = float(energy_ev[1] - energy_ev[0])
    inside = slice(None) if window_ev is None else (energy_ev >= window_ev[0]) & (energy_ev < window_ev[1])
    return float(shape[inside].sum() * step)
