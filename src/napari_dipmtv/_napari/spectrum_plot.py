"""Low-loss and core-loss spectra to two axes with draggable energy windows, in the colours of napari's theme."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from qtpy.QtCore import Signal

from napari_dipmtv._napari.plots import LINE_COLOURS, Plot
from napari_dipmtv.data import F64

if TYPE_CHECKING:
    from napari.components import ViewerModel

Range = Literal["low", "fit", "core"]
RESIDUAL = LINE_COLOURS[-1]  # gray
OF_NO_PHASE = ("pixel", "background", "residual")  # labels of curves
TITLES: dict[Range, str] = {"low": "low loss", "fit": "fit of the low loss", "core": "core loss"}


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    """One line of the plot: electrons per pixel over energy loss in eV."""

    label: str
    energy_ev: F64
    counts: F64
    style: str = "-"


class SpectrumPlot(Plot):
    """Keeps its axes while only numbers change, so that a spectrum can follow the cursor."""

    window_moved = Signal(str, float, float)  # range, from and to in eV

    def __init__(self, viewer: ViewerModel) -> None:
        super().__init__(viewer, 185, "Electrons per pixel; drag across a spectrum to map that energy window")
        self._lines: dict[tuple[Range, str], Any] = {}
        self._panels: dict[Range, Any] = {}
        self._spans: dict[Range, Any] = {}
        self._extents: dict[Range, tuple[float, float]] = {}

    def spectra(self, curves: dict[Range, Sequence[Curve]], log: bool) -> None:
        """Draw the curves; moves the lines where they are the same ones as before."""
        names = {(kind, curve.label) for kind, several in curves.items() for curve in several}
        same = self._last is not None and self._last[0] == self._draw_spectra and self._last[1][1] == log
        if same and self._built and names == set(self._lines):
            self._last = (self._draw_spectra, (curves, log))
            self._move(curves)
            self.draw_idle()
        else:
            self._show(self._draw_spectra, curves, log)

    def clear(self, message: str = "") -> None:
        """Show nothing but a message."""
        self._lines, self._panels, self._spans = {}, {}, {}
        super().clear(message)

    def set_window(self, kind: Range, low_ev: float, high_ev: float) -> None:
        """Show an energy window."""
        self._extents[kind] = (low_ev, high_ev)
        if kind in self._spans:
            self._spans[kind].extents = (low_ev, high_ev)

    def _draw_spectra(self, curves: dict[Range, Sequence[Curve]], log: bool) -> None:
        self._lines, self._panels = {}, {}
        colours = _phase_colours([curve.label for several in curves.values() for curve in several])
        for i, (kind, several) in enumerate(curves.items()):
            y_label = "electrons / px" if i == 0 else ""
            axes = self._axes(1, len(curves), i + 1, TITLES[kind], "energy loss / eV", y_label)
            self._panels[kind] = axes
            for curve in several:
                usual = RESIDUAL if curve.label == "residual" else self._text
                colour = colours.get(curve.label.removeprefix("+ "), usual)
                [self._lines[kind, curve.label]] = axes.plot(
                    curve.energy_ev, curve.counts, curve.style, color=colour, label=curve.label, lw=1.1
                )
            if log and kind == "low":  # the zero-loss peak is thousands of times as high as the edges
                axes.set_yscale("log", nonpositive="mask")
                _raise_floor(axes)
            self._legend(axes, "upper right")
        self._add_spans()

    def _add_spans(self) -> None:
        from matplotlib.widgets import SpanSelector

        self._spans = {}
        for kind, axes in self._panels.items():
            if kind == "fit":  # a part of the low loss, in which windows are dragged
                axes.axhline(0, color=self._text, lw=0.5)
                continue
            move = lambda low, high, kind=kind: self._on_span(kind, low, high)  # noqa: E731
            limits = axes.get_xlim()
            span = self._spans[kind] = SpanSelector(
                axes,
                move,
                "horizontal",
                useblit=True,
                interactive=True,
                drag_from_anywhere=True,
                onmove_callback=move,
                props={"alpha": 0.25, "facecolor": LINE_COLOURS[0]},
            )
            axes.set_xlim(limits)  # the selector begins at 0 eV and would stretch the axis to there
            if kind in self._extents:
                span.extents = self._extents[kind]

    def _on_span(self, kind: Range, low_ev: float, high_ev: float) -> None:
        if high_ev > low_ev:
            self._extents[kind] = (low_ev, high_ev)
            self.window_moved.emit(kind, float(low_ev), float(high_ev))

    def _move(self, curves: dict[Range, Sequence[Curve]]) -> None:
        for kind, several in curves.items():
            for curve in several:
                self._lines[kind, curve.label].set_data(curve.energy_ev, curve.counts)
            self._panels[kind].relim()
            self._panels[kind].autoscale_view()
            if self._panels[kind].get_yscale() == "log":
                _raise_floor(self._panels[kind])


def _phase_colours(labels: Sequence[str]) -> dict[str, str]:
    """Colour of each phase, in all panels that of its map; what is of no phase has none."""
    phases = dict.fromkeys(label.removeprefix("+ ") for label in labels if label not in OF_NO_PHASE)
    return {name: LINE_COLOURS[i % len(LINE_COLOURS)] for i, name in enumerate(phases)}


def _raise_floor(axes: Any) -> None:
    """Show five decades at most: below are rounding errors beside the zero-loss peak."""
    low, high = axes.get_ylim()
    axes.set_ylim(bottom=max(low, 1e-5 * high), auto=True)


def table(curves: dict[Range, Sequence[Curve]]) -> str:
    """The curves as lines of CSV: range, label, energy in eV, electrons per pixel."""
    lines = ["range,curve,energy_ev,electrons_per_px"]
    for kind, several in curves.items():
        for curve in several:
            label = curve.label.replace('"', "'")
            lines += [
                f'{TITLES[kind]},"{label}",{energy:.6g},{count:.9g}'
                for energy, count in zip(curve.energy_ev, np.asarray(curve.counts), strict=True)
            ]
    return "\n".join(lines) + "\n"
