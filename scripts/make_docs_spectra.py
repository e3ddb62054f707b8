"""The simulator and the spectra stage to the figures and tables of ``docs/spectra.md``."""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from napari_dipmtv.data import DualSpectrumImage, Region, SpectrumSeries
from napari_dipmtv.phantom import simulate
from napari_dipmtv.pipeline import ReferencePair, references
from napari_dipmtv.settings.simulation import SimulationSettings
from napari_dipmtv.spectra import (
    dose_efficiency,
    fit_region,
    fourier_log,
    fourier_ratio,
    given_l_references,
    m_references,
    prepare,
    reference_overlay,
    thickness,
    unmix,
)
from napari_dipmtv.spectra.decompose import singular_spectra
from napari_dipmtv.states import run

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "spectra"))
import spectra_tables  # noqa: E402 - beside this script
from exspy_oracle import above_background, exspy_ratio, measured_pair  # noqa: E402

IMAGES = ROOT / "docs/images"
COLOURS = ("#E69F00", "#56B4E9")
SETTINGS = SimulationSettings()  # nine views: enough for references that are purified in the volume


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


def draw_measured() -> None:
    """Deconvolution of the measured spectra that ship with eXSpy, beside eXSpy's own: ``deconvolution.png``."""
    pair = measured_pair()
    low, core = pair.low_loss, pair.core_loss
    edges = above_background(core.counts[0, 0].astype(float), core.energy)
    edges[core.energy.values < 520] = 0.0
    ours = fourier_ratio(DualSpectrumImage(low, core.replace(counts=edges[None, None]))).counts[0, 0]
    theirs = exspy_ratio(pair, edges)
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4), layout="constrained")
    left.semilogy(low.energy.values, low.counts[0, 0], color="0.5", label="counted")
    left.semilogy(low.energy.values, fourier_log(low).counts[0, 0], color=COLOURS[0], label="Fourier-log")
    left.set(title="low loss", xlim=(-15, 120), ylim=(50, 8e4), xlabel="energy loss / eV", ylabel="counts")
    e = core.energy.values
    right.plot(e, edges, color="0.5", label="counted, background off")
    right.plot(e, ours, color=COLOURS[0], label="Fourier ratio")
    right.plot(e, theirs, color="k", ls=":", label="eXSpy's Fourier ratio")
    right.set(title="O-K and Mn-L", xlim=(520, 750), xlabel="energy loss / eV", ylabel="counts")
    for place in (left, right):
        place.legend(frameon=False)
    figure.savefig(IMAGES / "deconvolution.png", dpi=80)
    window = core.energy.window(530, 745)
    same = np.corrcoef(ours[window], theirs[window])[0, 1]
    print(f"eXSpy: correlation {same:.4f}, sum {ours[window].sum() / theirs[window].sum():.4f}")


def draw_simulated(series: SpectrumSeries, pair: ReferencePair) -> None:
    """References, the fit of a region, and maps of a simulated series: ``spectra.png``."""
    unmixed = run(unmix(series, pair.m)).value
    flat = int(np.argmin(np.abs(unmixed.maps.tilts_deg)))
    metal = unmixed.maps.data.sum(axis=0)
    region = Region(unmixed.maps.tilts_deg[flat], metal[flat] > 0.7 * np.percentile(metal, 99))
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
        (unmixed.maps.data[0, flat], thickness(series).t_over_lambda[flat], unmixed.chi_square[flat]),
        ("FeO map / electrons", "t/λ", "reduced χ²"),
        strict=True,
    ):
        figure.colorbar(place.imshow(image, cmap="cividis"), ax=place, shrink=0.8)
        place.set(title=title, xticks=[], yticks=[])
    figure.savefig(IMAGES / "spectra.png", dpi=80)


def main() -> None:
    """Draw ``spectra.png`` and ``deconvolution.png``, and write the tables into the page."""
    IMAGES.mkdir(parents=True, exist_ok=True)
    draw_measured()
    simulation = simulate(SETTINGS)
    series = run(prepare(simulation.series)).value
    pair = references(series, simulation.regions)
    print(*pair.m.notes, sep="\n")
    draw_simulated(series, pair)
    true = given_l_references(series, simulation.l_references)
    learnt = m_references(series, true)
    print(dose_efficiency(series, true, learnt, 1 / SETTINGS.low_loss_share - 1).words)
    window = series.tilts[0].low_loss.energy.window(*pair.m.window_ev)
    scree = singular_spectra([t.low_loss.counts[..., window] for t in series.tilts], 3)[1]
    print(f"low loss: {scree.significant} components stand out of the noise, {scree.variances[:5].round(2)}")
    spectra_tables.main([])


if __name__ == "__main__":
    sys.exit(main())
