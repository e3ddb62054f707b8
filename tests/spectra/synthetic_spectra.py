"""Small dual EELS series of known truth: Fe2+/Fe3+ edges, background, zero loss, drift, noise."""

from __future__ import annotations

import numpy as np

from napari_dipmtv.data import DualSpectrumImage, EnergyAxis, SpectrumImage, SpectrumSeries

CORE = EnergyAxis(620.0, 0.5, 400)
LOW = EnergyAxis(-16.0, 0.25, 480)


def gauss(e, center, sigma):
    return np.exp(-0.5 * ((e - center) / sigma) ** 2)


def step(e, onset, width=0.6):
    return 0.5 + np.arctan((e - onset) / width) / np.pi


def l_edge(e, lines, ratio):
    """Return white lines (L3; 13.1 eV above, L2 weaker by ratio) on two arctan steps, 1 in the continuum."""
    white = sum(5.0 * height * (gauss(e, c, 0.8) + gauss(e, c + 13.1, 1.0) / ratio) for c, height in lines)
    return white + (step(e, 708.0) * 2 / 3 + step(e, 721.0) / 3) * np.where(e > 700, (e / 735) ** -3.0, 0)


def m_edge(e, pre, height):
    tail = np.where(e > 50, step(e, 54.0) * (np.maximum(e, 50) / 57) ** -2.0, 0)
    return gauss(e, 57.0, 1.8) + height * gauss(e, pre, 1.0) + tail


def l_references(e=CORE.values):
    fe2 = l_edge(e, [(707.8, 1.0), (710.5, 0.35)], 4.4)
    fe3 = l_edge(e, [(709.5, 1.0), (708.0, 0.35)], 5.5)
    both = np.stack([fe2, fe2 / 3 + fe3 * 2 / 3])
    return both / both[:, e >= 735].sum(axis=1, keepdims=True)


def m_references(e=LOW.values):
    fe2, fe3 = m_edge(e, 54.8, 0.5), m_edge(e, 52.8, 0.45)
    both = np.stack([fe2, fe2 / 3 + fe3 * 2 / 3])
    return both / both[:, (e > 50) & (e < 80)].sum(axis=1).mean()


def cube_abundances(size=24, shell=4, skin=1.5, tilt_deg=0.0):
    """Return Fe column densities (2, y, x) of a core-shell-skin cylinder seen across: FeO core and skin."""
    x = np.abs(np.arange(size) - (size - 1) / 2)
    radius = size * 0.42

    def chord(r):
        return 2 * np.sqrt(np.maximum(r * r - x * x, 0))

    inner = chord(radius - skin - shell)
    feo = (chord(radius) - chord(radius - skin) + inner) * 48.1
    oxide = (chord(radius - skin) - inner) * 40.3
    rows = (np.abs(np.arange(size) - (size - 1) / 2) < radius).astype(float)
    rows *= 1 + 0.1 * np.cos(np.radians(tilt_deg))
    return np.stack([rows[:, None] * feo, rows[:, None] * oxide]) / (radius * 48.1)


def make_series(
    abundances,
    *,
    l_counts=400.0,
    ratio=50.0,
    tilts=(0.0,),
    drift_ev=None,
    zero_loss=2e4,
    noise=True,
    seed=0,
    edges=(l_references, m_references),
):
    """Return a series with l_counts continuum counts per unit abundance, in the M edge ratio times that.

    abundances: (c, t, y, x), one for each of the edges; drift_ev: (t, y, x).
    """
    rng = np.random.default_rng(seed)
    drift = np.zeros(abundances.shape[1:]) if drift_ev is None else drift_ev
    pairs = []
    for t, tilt in enumerate(tilts):
        a, shift = abundances[:, t], drift[t][..., None]
        e_core, e_low = CORE.values - shift, LOW.values - shift
        thick = a.sum(axis=0)[..., None]
        core = _at(edges[0], CORE, e_core, a) * l_counts
        core += l_counts * 0.02 * (0.3 + thick) * (e_core / 700) ** -(2.6 + 0.2 * thick)
        low = _at(edges[1], LOW, e_low, a) * l_counts * ratio
        low += zero_loss * gauss(e_low, 0.0, 0.45) * 0.25 / (0.45 * np.sqrt(2 * np.pi))
        low += l_counts * ratio * 0.05 * (0.02 + thick) * gauss(e_low, 23.0, 3.0)
        low += l_counts * ratio * 0.02 * (0.05 + thick) * (np.maximum(e_low, 20) / 40) ** -2.5 * (e_low > 20)
        if noise:
            core, low = rng.poisson(core).astype(float), rng.poisson(low).astype(float)
        pairs.append(
            DualSpectrumImage(SpectrumImage(low, LOW, 1.0, tilt), SpectrumImage(core, CORE, 1.0, tilt))
        )
    return SpectrumSeries(tuple(pairs))


def _at(references, axis, e, abundances):
    spectra = references(axis.values)
    return sum(
        a[..., None] * np.interp(e, axis.values, spectrum)
        for a, spectrum in zip(abundances, spectra, strict=True)
    )
