"""The progress of a reconstruction to its loss curves, redrawn once in a while.

Ticks and labels are plain ones: to set powers of ten takes a window long.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator, StrMethodFormatter

from napari_dipmtv._napari.job import Progress
from napari_dipmtv._napari.plots import LINE_COLOURS, Plot

if TYPE_CHECKING:
    from napari.components import ViewerModel

REDRAW_S = 1.0  # drawing the curves takes longer than many a step
TICKS = 3

Curves = Mapping[str, tuple[Sequence[int], Sequence[float]]]  # name: iterations, values


class LossPlot(Plot):
    """Misfits in one panel, total variation in another."""

    def __init__(self, viewer: ViewerModel) -> None:
        self._lines: dict[str, Any] = {}  # of the curves that are shown
        super().__init__(
            viewer, 160, "Losses of the run: misfit of the data, of views left out, and total variation"
        )
        self._drawn_s = 0.0  # when the curves were drawn last
        self.begin()

    def begin(self) -> None:
        """Wait for a run."""
        self._lines = {}
        self.clear("The losses appear here")

    def take(self, progress: Progress) -> None:
        """Show how far a run has come, unless that was done a moment ago; its end is always shown."""
        now, over = time.monotonic(), progress.iteration == progress.total
        if not progress.losses or (now - self._drawn_s <= REDRAW_S and not over):
            return
        self._drawn_s = now
        curves: Curves = {name: tuple(zip(*values, strict=True)) for name, values in progress.losses.items()}
        if self._built and self._lines.keys() == curves.keys():
            self._move(curves)
        else:
            self._show(self._draw_losses, curves)

    def _move(self, curves: Curves) -> None:
        """Only the points of the lines change."""
        self._last = (self._draw_losses, (curves,))
        for name, points in curves.items():
            self._lines[name].set_data(*points)
        for axes in self.figure.axes:
            axes.relim()
            axes.autoscale_view()
            _scale(axes)
        self.draw_idle()

    def _draw_losses(self, curves: Curves) -> None:
        self._lines = {}
        colours = dict(zip(curves, LINE_COLOURS * (1 + len(curves) // len(LINE_COLOURS)), strict=False))
        panels = loss_panels(tuple(curves))
        for i, (title, names) in enumerate(panels.items()):
            axes = self._axes(1, len(panels), i + 1, title, "iteration", "" if i else "loss")
            axes.xaxis.set_major_locator(MaxNLocator(TICKS, integer=True))
            for name in names:
                [self._lines[name]] = axes.plot(*curves[name], label=name, color=colours[name], lw=1.3)
            _scale(axes)
            self._legend(axes)


def _scale(axes: Any) -> None:
    """A logarithmic axis with few labels, or a linear one once a curve is not positive everywhere."""
    positive = all(min(line.get_ydata()) > 0 for line in axes.lines)
    if positive and axes.get_yscale() == "linear":
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 3.0)))
        axes.yaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    elif not positive and axes.get_yscale() == "log":
        axes.set_yscale("linear")


def loss_panels(names: tuple[str, ...]) -> dict[str, list[str]]:
    """Curves that mean the same share a panel: misfits on one side, total variation on the other."""
    variation = [name for name in names if "tv" in name.lower()]
    misfit = [name for name in names if name not in variation]
    both = {"misfit": misfit, "total variation": variation}
    return {title: chosen for title, chosen in both.items() if chosen}
