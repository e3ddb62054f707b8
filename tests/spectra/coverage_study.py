"""Simulated low losses of known iron, prepared and unmixed, to how often the stated errors hold the truth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from napari_dipmtv.data import DualSpectrumImage, EnergyAxis, ReferenceSpectrum, SpectrumImage, SpectrumSeries
from napari_dipmtv.phantom.scattering import Scattering
from napari_dipmtv.settings.simulation import SimulationSettings
from napari_dipmtv.settings.spectra import PrepareSettings
from napari_dipmtv.spectra import MReferences, prepare, unmix
from napari_dipmtv.states import run

LEVELS = (5, 15, 50, 150, 500)  # electrons in the M edge of a pixel
PATHS_NM = np.array([12.0, 8.0])  # through FeO and Fe3O4
FE_PER_NM3 = np.array([48.1, 40.3])
WINDOW_EV = (42.0, 80.0)


@dataclass(frozen=True)
class Coverage:
    """Of FeO, Fe3O4 and their sum: shares within 1 and 1.96 sigma, mean over truth less 1, and its error."""

    within_68: np.ndarray  # (3,)
    within_95: np.ndarray  # (3,)
    bias: np.ndarray  # (3,)
    bias_error: np.ndarray  # (3,)
    chi_square: float


def measured(edge_electrons: float, side: int, seed: int) -> tuple[SpectrumSeries, MReferences, np.ndarray]:
    """One view, a third vacuum, with drift of the energy; true references; electrons of each oxide's edge."""
    scattering = Scattering.of(SimulationSettings())
    window = scattering.low.window(*WINDOW_EV)
    edges = scattering.m_references()
    shares = PATHS_NM * FE_PER_NM3 * edges[:, window].sum(axis=1)  # of the electrons of a pixel
    unlost = float(np.exp(-(PATHS_NM @ scattering.single_low[:, 0].real)))
    electrons = edge_electrons / (shares.sum() * unlost)
    rng = np.random.default_rng(seed)
    drift = 0.3 + 0.1 * rng.standard_normal((side, side))
    paths = np.broadcast_to(PATHS_NM, (side, side, 2)).copy()
    paths[:, : side // 3] = 0
    expected = scattering.low_loss(paths.reshape(-1, 2), drift.ravel()) * electrons
    low = SpectrumImage(rng.poisson(expected).reshape(side, side, -1), scattering.low, 1.0, 0.0)
    core = SpectrumImage(np.ones((side, side, 9)), EnergyAxis(640.0, 20.0, 9), 1.0, 0.0)  # not looked at
    spectra = tuple(
        ReferenceSpectrum(name, edge / edge[window].sum(), scattering.low)
        for name, edge in zip(("FeO", "Fe3O4"), edges, strict=True)
    )
    references = MReferences(spectra, WINDOW_EV, (2.1, 3.1, 4.1), 1.0)
    return SpectrumSeries((DualSpectrumImage(low, core),)), references, electrons * shares


def coverage(edge_electrons: float, side: int, seed: int = 0) -> Coverage:
    """Prepare and unmix as by default, and compare every pixel of matter with what was planted."""
    series, references, truth = measured(edge_electrons, side, seed)
    prepared = run(prepare(series, PrepareSettings(spike_sigma=0))).value
    unmixed = run(unmix(prepared, references)).value
    matter = np.s_[:, side // 3 + 1 :]
    maps = unmixed.maps
    found = np.array([m[matter].ravel() for m in (*maps.data[:, 0], maps.data[:, 0].sum(axis=0))])
    variances = (
        maps.covariance[0, 0, 0],
        maps.covariance[1, 1, 0],
        maps.covariance[:, :, 0].sum(axis=(0, 1)),
    )
    sigma = np.sqrt([v[matter].ravel() for v in variances])
    wanted = np.append(truth, truth.sum())[:, None]
    pull = np.abs(found - wanted) / sigma
    return Coverage(
        (pull < 1).mean(axis=1),
        (pull < 1.96).mean(axis=1),
        found.mean(axis=1) / wanted[:, 0] - 1,
        found.std(axis=1) / wanted[:, 0] / np.sqrt(found.shape[1]),
        float(unmixed.chi_square[0][matter].mean()),
    )
