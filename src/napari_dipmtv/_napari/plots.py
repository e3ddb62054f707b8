"""Curves and small images to matplotlib canvases in the colours of napari's theme."""

from __future__ import annotations

import weakref
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from matplotlib.backends.backend_qtagg import FigureCanvasQTAgg
from matplotlib.figure import Figure
from napari.utils.theme import get_theme
from numpy.typing import ArrayLike
from qtpy.compat import isalive
from qtpy.QtCore import QEvent
from qtpy.QtWidgets import QSizePolicy

from napari_dipmtv._napari.window import real_viewer

if TYPE_CHECKING:
    from napari.components import ViewerModel

# Okabe and Ito, safe for colour-blind eyes, without the yellow that a light theme swallows; the first are near the
# colours of the channel layers
LINE_COLOURS = ("#E69F00", "#56B4E9", "#CC79A7", "#009E73", "#D55E00", "#8C8C8C")


class Plot(FigureCanvasQTAgg):
    """A canvas that follows the theme; what it shows is set as a whole."""

    layout: Literal["constrained", "none"] = "constrained"

    def __init__(self, viewer: ViewerModel, height_px: int = 170, tooltip: str = "") -> None:
        super().__init__(Figure(layout=self.layout))
        self._viewer = weakref.ref(real_viewer(viewer))
        self.setMinimumHeight(height_px)
        self.setMaximumHeight(2 * height_px)
        self.setMinimumWidth(200)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setFixedHeight(height_px)
        self.setToolTip(tooltip)
        self._last: tuple[Any, tuple[Any, ...]] | None = None
        viewer.events.theme.connect(self._restyle)
        self._restyle()

    def draw(self) -> None:
        """Draw, unless the drawing comes late and the dock is gone."""
        if isalive(self):
            _window = self.window()  # held, so that no garbage collection takes the dock away meanwhile
            super().draw()

    def wheelEvent(self, event: QEvent) -> None:
        """Leave the wheel to the scroll area around the plot."""
        event.ignore()

    def clear(self, message: str = "") -> None:
        """Show nothing but a message."""
        self._show(self._draw_message, message)

    def curves(
        self,
        curves: Mapping[str, tuple[ArrayLike, ArrayLike]],
        x_label: str,
        y_label: str,
        *,
        panels: Mapping[str, Sequence[str]] | None = None,
        at_least: tuple[float, float] | None = None,
    ) -> None:
        """Draw named curves (x, y); ``panels`` puts them side by side, title: names; y shows ``at_least`` this range.

        What follows a ``|`` in a name tells curves of one label, and colour, apart.
        """
        self._show(self._draw_curves, curves, x_label, y_label, panels or {"": tuple(curves)}, at_least)

    def images(
        self, images: Mapping[str, ArrayLike], x_label: str, y_label: str, y_range: tuple[float, float]
    ) -> None:
        """Draw named images (row, x) side by side, their rows from the first to the second value of ``y_range``."""
        self._show(self._draw_images, images, x_label, y_label, y_range)

    def _show(self, draw: Any, *what: Any) -> None:
        self._last = (draw, what)
        self.figure.clear()
        draw(*what)
        self.draw_idle()

    def _draw_message(self, message: str) -> None:
        self.figure.text(0.5, 0.5, message, ha="center", va="center", color=self._text, fontsize=8, wrap=True)

    def _draw_curves(
        self,
        curves: Mapping[str, Any],
        x_label: str,
        y_label: str,
        panels: Mapping[str, Sequence[str]],
        at_least: tuple[float, float] | None,
    ) -> None:
        labels = list(dict.fromkeys(name.split("|")[0] for name in curves))
        colour = dict(zip(labels, LINE_COLOURS * (1 + len(labels) // len(LINE_COLOURS)), strict=False))
        for i, (title, names) in enumerate(panels.items()):
            words = title or (labels[0] if len(labels) == 1 else "")  # one curve needs no legend
            axes = self._axes(1, len(panels), i + 1, words, "", y_label if i == 0 else "")
            for name in names:
                label = name.split("|")[0]
                axes.plot(*curves[name], label=label, color=colour[label], lw=1.3)
            counted = all(np.equal(np.round(curves[name][0]), curves[name][0]).all() for name in names)
            axes.xaxis.get_major_locator().set_params(integer=counted)  # there is no round 2.5
            if at_least is not None:
                low, high = axes.get_ylim()
                axes.set_ylim(min(low, at_least[0]), max(high, at_least[1]))
        self.figure.supxlabel(x_label, fontsize=8, color=self._text)  # under all, wider than a narrow panel
        if len(labels) > 1:
            self._legend_above()

    def _legend_above(self) -> None:
        """One legend above all panels, where it hides no curve however narrow they are."""
        handles = {line.get_label(): line for axes in self.figure.axes for line in axes.lines}
        self.figure.legend(
            handles.values(),
            handles.keys(),
            loc="outside upper center",
            ncols=min(3, len(handles)),
            fontsize=7,
            frameon=False,
            labelcolor=self._text,
            handlelength=1.5,
            borderaxespad=0.1,
        )

    def _draw_images(
        self, images: Mapping[str, Any], x_label: str, y_label: str, y_range: tuple[float, float]
    ) -> None:
        for i, (title, image) in enumerate(images.items()):
            axes = self._axes(1, len(images), i + 1, title, x_label, y_label if i == 0 else "")
            rows, width = np.shape(image)
            half = (y_range[1] - y_range[0]) / (rows - 1) / 2 if rows > 1 else 0.5
            extent = (0, width, y_range[1] + half, y_range[0] - half)
            axes.imshow(image, aspect="auto", cmap="cividis", extent=extent)

    def _legend(self, axes: Any, place: str = "best") -> None:
        axes.legend(fontsize=7, frameon=False, labelcolor=self._text, loc=place, handlelength=1.5)

    def _axes(self, rows: int, columns: int, index: int, title: str, x_label: str, y_label: str) -> Any:
        axes = self.figure.add_subplot(rows, columns, index)
        axes.set_facecolor("none")
        axes.set_title(title, fontsize=8, color=self._text, y=1.0)  # to find a place for it would take long
        axes.set_xlabel(x_label, fontsize=8, color=self._text)
        axes.set_ylabel(y_label, fontsize=8, color=self._text)
        axes.tick_params(which="both", labelsize=7, colors=self._text)
        for side, spine in axes.spines.items():
            spine.set_color(self._text)
            spine.set_visible(side in ("left", "bottom"))
        return axes

    def _restyle(self, *_: object) -> None:
        viewer = self._viewer()
        if viewer is None or not isalive(self):  # napari keeps the connection of a dock that was closed
            return
        theme = get_theme(viewer.theme)
        self._text = theme.text.as_hex()
        self.figure.set_facecolor(theme.background.as_hex())
        if self._last is not None:
            draw, what = self._last
            self._show(draw, *what)
        else:
            self.draw_idle()
