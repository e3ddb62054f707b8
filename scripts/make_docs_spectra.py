"""The simulator and the spectra stage to the figures and tables of ``docs/spectra.md``."""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from napari_dipmtv.data import Region
from napari_dipmtv.phantom import simulate
from napari_dipmtv.phantom.scattering import Scattering
from napari_dipmtv.pipeline import ReferencePair, references
from napari_dipmtv.settings.simulation import SimulationSettings
from napari_dipmtv.spectra import (
    dose_efficiency,
    fit_region,
    given_l_references,
    m_references,
    prepare,
    reference_overlay,
    thickness,
    unmix,
)
from napari_dipmtv.spectra.background import power_law_basis
from napari_dipmtv.spectra.decompose import singular_spectra
from napari_dipmtv.spectra.linear_fit import fit_counts
from napari_dipmtv.states import run

IMAGES = Path(__file__).resolve().parents[1] / "docs/images"
COLOURS = ("#E69F00", "#56B4E9")
SETTINGS = SimulationSettings(tilt_start_deg=-35, tilt_stop_deg=35, tilt_step_deg=35)


def draw_references(axes: list[Axes], pair: ReferencePair) -> None:
    """Core-loss and low-loss references side by side."""
    for place, found, title in zip(
        axes, (pair.l, pair.m), ("taught by: core loss", "learnt: low loss"), strict=True
    ):
        overlay = reference_overlay(found)
        for name, curve, colour in zip(overlay.names, overlay.pure, COLOURS, strict=True):
            place.plot(overlay.energy_ev, curve / overlay.pure.max(), color=colour, label=name)
        place.set(title=title, xlabel="energy loss / eV", ylabel="equal metal content")
        place.legend(frameon=False)


def coverage(counts: int, spectra: int = 4000) -> str:
    """One line of the table: how often the error bars hold the truth, and the bias of the metal."""
    scattering = Scattering.of(SETTINGS)
    window = scattering.low.window(42, 80)
    e, edges = scattering.low.values[window], scattering.m_references()[:, window]
    basis = np.vstack([power_law_basis(e, (3.1, 5.1)), edges / edges.sum(axis=1, keepdims=True)])
    truth = counts * np.array([0.4 / e.size, 0.4 / e.size, 0.6, 0.4])
    drawn = np.random.default_rng(counts).poisson(truth @ basis, (spectra, e.size))
    fits = fit_counts(drawn, basis, np.ones(4, dtype=bool))
    metal, error = fits.weights[:, 2:].sum(axis=1), np.sqrt(fits.covariance[:, 2:, 2:].sum(axis=(1, 2)))
    one = [
        *(fits.weights[:, 2:] - truth[2:]).T
        / np.sqrt(np.diagonal(fits.covariance, axis1=1, axis2=2))[:, 2:].T
    ]
    pulls = [*one, (metal - counts) / error]
    shares = [f"{(np.abs(p) < 1).mean():.1%} / {(np.abs(p) < 1.96).mean():.1%}" for p in pulls]
    bias, scatter = metal.mean() / counts - 1, metal.std() / counts / np.sqrt(spectra)
    return f"| {counts} | {' | '.join(shares)} | {bias:+.1%} ± {scatter:.1%} |"


def main() -> None:
    """Draw ``spectra.png`` and print the tables."""
    simulation = simulate(SETTINGS)
    series = run(prepare(simulation.series)).value
    pair = references(series, simulation.regions)
    unmixed = run(unmix(series, pair.m)).value
    metal = unmixed.maps.data.sum(axis=0)
    region = Region(0.0, metal[1] > 0.7 * np.percentile(metal, 99))
    fit = fit_region(series, pair.m, region)
    figure, axes = plt.subplots(2, 3, figsize=(12, 6.4), layout="constrained")
    draw_references([axes[0, 0], axes[0, 1]], pair)
    place = axes[0, 2]
    place.plot(fit.energy_ev, fit.data, color="0.5", lw=0.8, label="counted")
    place.plot(fit.energy_ev, fit.data - fit.residual, color="k", lw=1, label="fit")
    place.plot(fit.energy_ev, fit.background, color="k", ls=":", label="background")
    for name, component, colour in zip(fit.names, fit.components, COLOURS, strict=True):
        place.plot(fit.energy_ev, component, color=colour, label=name)
    place.plot(fit.energy_ev, fit.residual, color="0.7", lw=0.6, label="residual")
    place.set(
        title=f"fit of a region, reduced χ² {fit.chi_square:.2f}",
        xlabel="energy loss / eV",
        ylabel="electrons",
    )
    place.legend(frameon=False, fontsize=7)
    for place, image, title in zip(
        axes[1],
        (unmixed.maps.data[0, 1], thickness(series).t_over_lambda[1], unmixed.chi_square[1]),
        ("FeO map / electrons", "t/λ", "reduced χ²"),
        strict=True,
    ):
        figure.colorbar(place.imshow(image, cmap="cividis"), ax=place, shrink=0.8)
        place.set(title=title, xticks=[], yticks=[])
    IMAGES.mkdir(parents=True, exist_ok=True)
    figure.savefig(IMAGES / "spectra.png", dpi=80)
    print(IMAGES / "spectra.png")
    print(*(coverage(counts) for counts in (5, 15, 50, 150, 500)), sep="\n")
    true = given_l_references(series, simulation.l_references)
    learnt = m_references(series, true)
    print(dose_efficiency(series, true, learnt, 1 / SETTINGS.low_loss_share - 1).words)
    window = series.tilts[0].low_loss.energy.window(*pair.m.window_ev)
    scree = singular_spectra([t.low_loss.counts[..., window] for t in series.tilts], 3)[1]
    print(f"low loss: {scree.significant} components stand out of the noise, {scree.variances[:5].round(2)}")
    for found, planted in zip(pair.m.spectra, simulation.m_references, strict=True):
        inside = found.energy.window(51, 78)
        wanted = np.interp(found.energy.values[inside], planted.energy.values, planted.intensity)
        print(found.name, f"M reference correlates {np.corrcoef(found.intensity[inside], wanted)[0, 1]:.4f}")


if __name__ == "__main__":
    sys.exit(main())
