"""What a trust study has found so far to plots: evidence against chance, the null test, the detection curve."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_dipmtv._napari.plots import LINE_COLOURS, Plot
from napari_dipmtv.trust.result import SEEN, CavityTest, Detection, NullTest

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from napari_dipmtv.trust.result import TrustReport

ROW_PX = 150
ORANGE, BLUE, GREEN, GREY = LINE_COLOURS[0], LINE_COLOURS[1], LINE_COLOURS[3], LINE_COLOURS[-1]
BINS = 24


@dataclass(frozen=True, slots=True)
class Row:
    """One plot: its words, and what draws it."""

    title: str
    x_label: str
    y_label: str
    draw: Callable[[Any], None]


class TrustPlot(Plot):
    """One row per question that has been answered, as high as that takes."""

    def __init__(self, viewer: ViewerModel) -> None:
        super().__init__(
            viewer,
            ROW_PX,
            "Orange: your data. Gray and blue: repeats without the feature. Below: how often planted ones are found",
        )

    def report(self, report: TrustReport, empty: str) -> None:
        """Draw what a report holds, or say why it is empty."""
        rows = _rows(report)
        self.setFixedHeight(ROW_PX * max(1, len(rows)))
        if rows:
            self._show(self._draw_rows, rows)
        else:
            super().clear(empty)

    def clear(self, message: str = "") -> None:
        """Show nothing but a message."""
        self.setFixedHeight(ROW_PX)
        super().clear(message)

    def _draw_rows(self, rows: list[Row]) -> None:
        for i, row in enumerate(rows):
            axes = self._axes(len(rows), 1, i + 1, row.title, row.x_label, row.y_label)
            row.draw(axes)
            self._legend(axes)


def _rows(report: TrustReport) -> list[Row]:
    rows = []
    cavity, null, found = report.cavity, report.null, report.detection
    if cavity is not None and len(cavity.null):
        draw = partial(_evidence, found=cavity)
        rows.append(Row("evidence for a void", "evidence / nats", "measurements", draw))
    if null is not None and null.repeats:
        label = f"strength / {null.unit}" if null.unit else "strength"
        draw = partial(_null, found=null)
        rows.append(Row(f"repeats without the {null.feature}", label, "repeats", draw))
    if found is not None and found.tried.sum():
        draw = partial(_detection, found=found)
        rows.append(Row(f"planted {found.feature}s", "size / nm", "share found", draw))
    return rows


def _evidence(axes: Any, found: CavityTest) -> None:
    axes.hist(found.null, BINS, color=GREY, label="by chance")
    if len(found.refitted):
        height = 0.5 * axes.get_ylim()[1]
        axes.plot(
            found.refitted, np.full(len(found.refitted), height), "v", ms=4, color=BLUE, label="refitted"
        )
    axes.axvline(found.level, color=GREEN, lw=1, ls="--", label="demanded above")
    axes.axvline(found.evidence, color=ORANGE, lw=1.6, label="your data")


def _null(axes: Any, found: NullTest) -> None:
    strengths = np.concatenate([found.anywhere, found.there, [found.observed]])
    bins = np.linspace(min(0.0, float(strengths.min())), 1.05 * float(strengths.max()) + 1e-9, BINS)
    axes.hist(found.anywhere, bins, color=GREY, label="anywhere")
    if found.feature == "void":
        axes.hist(found.there, bins, color=BLUE, alpha=0.6, label="same place")
    axes.axvline(found.observed, color=ORANGE, lw=1.6, label=f"your data, p = {found.p_anywhere:.2g}")


def _detection(axes: Any, found: Detection) -> None:
    tried = np.maximum(found.tried, 1)
    axes.plot(found.sizes_nm, found.found / tried, "o", ms=4, color=BLUE, label=f"p ≤ {SEEN:g}")
    axes.plot(found.sizes_nm, found.segmented / tried, "x", ms=4, color=GREEN, label="segmented")
    if len(found.curve):
        axes.plot(found.curve_size_nm, found.curve, color=BLUE, lw=1.2)
    axes.axhline(0.9, color=GREY, lw=0.8, ls=":")
    if np.isfinite(found.smallest_nm):
        axes.axvline(found.smallest_nm, color=ORANGE, lw=1, label=f"90 % at {found.smallest_nm:.2g} nm")
    axes.set_ylim(-0.05, 1.08)
