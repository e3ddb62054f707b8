"""A trust study to pictures: null test and detection, resolution, uncertainty, methods."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from napari_dipmtv.data import Volume
from napari_dipmtv.io.atomic import write_bytes
from napari_dipmtv.io.figures import FigureFormat, figure_bytes
from napari_dipmtv.trust.ensemble import Ensemble
from napari_dipmtv.trust.result import SEEN, CavityTest, SpectrumResolution, TrustReport
from napari_dipmtv.trust.study import Study
from napari_dipmtv.trust.void import VoidFeature

BLUE, ORANGE, GREEN, GREY = "#0072b2", "#d55e00", "#009e73", "#888888"  # Okabe-Ito, told apart by all eyes


def save_figures(study: Study, folder: Path, formats: Sequence[FigureFormat] = ("png",)) -> list[Path]:
    """Draw what the study has: ``trust_null``, ``trust_cavity``, ``trust_resolution``, ``trust_uncertainty``,
    ``trust_methods``.

    Raises
    ------
    WriteError
    """
    report = study.report
    drawn = {}
    if report.null is not None and report.null.repeats:
        drawn["null"] = _null_figure(study)
    if report.cavity is not None and len(report.cavity.null):
        drawn["cavity"] = cavity_figure(report.cavity)
    if report.resolution is not None or report.coverage is not None:
        drawn["resolution"] = _resolution_figure(report)
    if study.ensemble is not None and study.ensemble.members > 1:
        drawn["uncertainty"] = _uncertainty_figure(study.ensemble, _plane(study))
    if study.comparison is not None:
        drawn["methods"] = _slices_figure(dict(study.comparison.volumes), _plane(study))
    return [
        write_bytes(folder / f"trust_{name}.{kind}", figure_bytes(figure, kind))
        for name, figure in drawn.items()
        for kind in formats
    ]


def _null_figure(study: Study) -> Any:
    null, found = study.report.null, study.report.detection
    assert null is not None
    figure = _figure(11, 3.4)
    left, middle, right = figure.subplots(1, 3)
    bins = np.linspace(min(0, null.there.min()), max(null.observed, null.anywhere.max()) * 1.05, 30)
    left.hist(null.anywhere, bins, color=GREY, label="repeats without it, anywhere")
    if null.feature == "void":
        left.hist(null.there, bins, color=BLUE, alpha=0.6, label="same place")
    left.axvline(null.observed, ymax=0.7, color=ORANGE, label=f"data, p = {null.p_anywhere:.2g}")
    left.set(xlabel=f"strength {null.unit}".strip(), ylabel="repeats", title=f"{null.feature}: null test")
    left.margins(y=0.45)  # bars and line end below the legend
    left.legend(fontsize=7, loc="upper left", frameon=False)
    if found is not None and found.tried.sum():
        share = found.found / np.maximum(found.tried, 1)
        middle.plot(found.curve_size_nm, found.curve, color=BLUE)
        middle.plot(found.sizes_nm, share, "o", color=BLUE, label=f"p <= {SEEN:g}")
        middle.plot(
            found.sizes_nm, found.segmented / np.maximum(found.tried, 1), "x", color=GREEN, label="segmented"
        )
        middle.axhline(0.9, color=GREY, linewidth=0.8, linestyle=":")
        middle.axvline(null.size_nm, color=ORANGE, linewidth=0.8, label="found size")
        middle.set(
            xlabel="size (nm)", ylabel="share found", ylim=(-0.03, 1.03), title="planted and looked for"
        )
        middle.legend(fontsize=7)
    _draw_slice(right, study.observed, _plane(study), "the data, sum of the channels")
    return figure


def cavity_figure(found: CavityTest) -> Any:
    """Draw the evidence of the data beside what chance and the whole chain give, and the share of planted balls."""
    figure = _figure(7.6, 3.4)
    left, right = figure.subplots(1, 2)
    every = np.concatenate([found.null, found.refitted, [found.evidence, found.level]])
    left.hist(found.null, np.linspace(every.min(), every.max() + 1, 40), color=GREY, label="chance")
    if len(found.refitted):
        heights = np.full(len(found.refitted), 0.03 * left.get_ylim()[1])
        left.plot(found.refitted, heights, "^", color=BLUE, label="reconstructed and fitted again")
    left.axvline(found.level, color="black", linestyle=":", label=f"level, {found.level:.1f} nats")
    left.axvline(found.evidence, color=ORANGE, label=f"data, {found.evidence:.1f} nats")
    left.set(xlabel="evidence of the best ball (nats)", ylabel="measurements", title="likelihood of a void")
    left.legend(fontsize=7)
    right.plot(found.sizes_nm, found.found / np.maximum(found.tried, 1), "o-", color=BLUE)
    right.axhline(0.9, color=GREY, linewidth=0.8, linestyle=":")
    right.axvline(found.size_nm, color=ORANGE, linewidth=0.8, label="best ball of the data")
    right.set(
        xlabel="diameter (nm)", ylabel="share found", ylim=(-0.03, 1.03), title="planted and looked for"
    )
    right.legend(fontsize=7)
    return figure


def _resolution_figure(report: TrustReport) -> Any:
    figure = _figure(14, 3.4)
    left, published, middle, right = figure.subplots(1, 4)
    found = report.resolution
    colours = {"all": "black", "x": BLUE, "y": GREEN, "z": ORANGE}
    if found is not None and found.fsc:
        last = found.fsc[-1].channel
        for curve in (c for c in found.fsc if c.channel == last):
            left.plot(
                curve.frequency_per_nm,
                curve.correlation,
                color=colours[curve.direction],
                label=curve.direction,
            )
            if curve.direction == "all":
                left.plot(curve.frequency_per_nm, curve.half_bit, color=GREY, linestyle="--", label="1/2 bit")
        for level in (0.143, 0.5):
            left.axhline(level, color=GREY, linewidth=0.8, linestyle=":")
        left.set(xlabel="frequency (1/nm)", ylabel="FSC", ylim=(-0.2, 1.05), title=f"halves, {last}")
        left.legend(fontsize=7)
    else:
        left.axis("off")
    if found is not None:
        _draw_spectra(published, found.spectra)
        for edge in found.edges:
            middle.plot(edge.distance_nm, edge.profile, ".", markersize=2, color=colours[edge.direction])
            label = f"{edge.direction}: {edge.width_nm:.2g} nm"
            middle.plot(edge.distance_nm, edge.fitted, color=colours[edge.direction], label=label)
        middle.set(xlabel="depth below the surface (nm)", ylabel="filling", title="edge, 10-90 %")
        if found.edges:
            middle.legend(fontsize=7)
    if report.coverage is not None:
        k = report.coverage.highest_per_nm
        right.imshow(
            report.coverage.measured, origin="lower", extent=(-k, k, -k, k), cmap="gray", vmin=0, vmax=1
        )
        right.set(
            xlabel="kx (1/nm)", ylabel="kz (1/nm)", title=f"measured: {100 * report.coverage.share:.0f} %"
        )
    return figure


def _draw_spectra(axis: Any, spectra: Sequence[SpectrumResolution]) -> None:
    """The published measure beside the correlation, and what it cannot tell."""
    colours = {"x": BLUE, "y": GREEN, "z": ORANGE}
    for one in spectra:
        colour = colours[one.axis]
        said = "never" if np.isnan(one.resolution_nm) else f"{one.resolution_nm:.2g} nm"
        axis.plot(one.frequency_per_nm, one.power, ".", markersize=2, color=colour)
        axis.plot(one.frequency_per_nm, one.fitted, color=colour, label=f"{one.axis}: {said}")
        axis.plot(one.frequency_per_nm, one.noise, color=colour, linewidth=0.8, linestyle=":")
    axis.set(xlabel="frequency (1/nm)", ylabel="log10 power", title="published: measures smoothness")
    if spectra:
        axis.legend(fontsize=7)


def _uncertainty_figure(found: Ensemble, y: int) -> Any:
    phases = [name for name in found.probability if name != "vacuum"]
    figure = _figure(2.4 * (2 + len(phases)), 2.7)
    axes = figure.subplots(1, 2 + len(phases))
    _draw_slice(axes[0], found.mean, y, "mean")
    _draw_slice(axes[1], found.std, y, "standard deviation")
    for axis, name in zip(axes[2:], phases, strict=True):
        image = axis.imshow(found.probability[name][:, y], origin="lower", cmap="viridis", vmin=0, vmax=1)
        axis.set(xticks=[], yticks=[])
        axis.set_title(f"P({name})", fontsize=8)
    figure.colorbar(image, ax=list(axes), shrink=0.8)
    return figure


def _slices_figure(volumes: dict[str, Volume], y: int) -> Any:
    figure = _figure(2.6 * len(volumes), 2.9)
    axes = figure.subplots(1, len(volumes), squeeze=False)[0]
    for axis, (name, volume) in zip(axes, volumes.items(), strict=True):
        _draw_slice(axis, volume, y, name)
    return figure


def _draw_slice(axis: Any, volume: Volume, y: int, title: str) -> None:
    """The plane across the tilt axis, channels added up."""
    axis.imshow(volume.data.sum(axis=0)[:, y], origin="lower", cmap="magma", vmin=0)
    axis.set(xticks=[], yticks=[])
    axis.set_title(title, fontsize=8)


def _plane(study: Study) -> int:
    """Position along the tilt axis that shows the feature."""
    if isinstance(study.feature, VoidFeature):
        return round(float(study.feature.centre_px[1]))
    return int(study.volume.data.shape[2] // 2)


def _figure(width: float, height: float) -> Any:
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="compressed")
