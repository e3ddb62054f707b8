"""Curves and small images to matplotlib canvases in the colours of napari's theme."""

from __future__ import annotations

import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.backends.backend_qtagg import FigureCanvasQTAgg
from matplotlib.figure import Figure
from matplotlib.transforms import offset_copy
from napari.utils.theme import get_theme
from numpy.typing import ArrayLike
from qtpy.compat import isalive
from qtpy.QtCore import QEvent
from qtpy.QtWidgets import QSizePolicy

from napari_dipmtv._napari.turns import ALONE, Pieces, turns
from napari_dipmtv._napari.window import real_viewer

if TYPE_CHECKING:
    from napari.components import ViewerModel

# Okabe and Ito, safe for colour-blind eyes, without the yellow that a light theme swallows; the first are near the
# colours of the channel layers
LINE_COLOURS = ("#E69F00", "#56B4E9", "#CC79A7", "#009E73", "#D55E00", "#8C8C8C")
LEGEND_COLUMNS, LEGEND_ROW_PT = 3, 11.0
X_LABEL_PT, Y_LABEL_PT = -17.0, -35.0  # from the axes, in points: beyond ticks of six characters


@dataclass(frozen=True, slots=True)
class Room:
    """Margins around the axes of a figure and gaps between them, in points: what ticks and words need.

    They are given, not measured: to measure every word takes a window longer than all the rest of a drawing.
    """

    left: float = 46.0
    right: float = 8.0
    bottom: float = 28.0
    top: float = 14.0
    across: float = 32.0  # between columns
    down: float = 48.0  # between rows


class Plot(FigureCanvasQTAgg):
    """A canvas that follows the theme; what it shows is set as a whole, and drawn once somebody can see it."""

    _room = Room()
    _built = False  # the figure holds what is to be shown
    _drawn = False
    _drawing_now = False

    def __init__(self, viewer: ViewerModel, height_px: int = 170, tooltip: str = "") -> None:
        super().__init__(Figure())
        self._viewer = weakref.ref(real_viewer(viewer))
        self._last: tuple[Any, tuple[Any, ...]] | None = None
        self.setMinimumHeight(height_px)
        self.setMaximumHeight(2 * height_px)
        self.setMinimumWidth(200)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setFixedHeight(height_px)
        self.setToolTip(tooltip)
        viewer.events.theme.connect(self._restyle)
        self._restyle()

    def draw(self) -> None:
        """Draw now, unless the drawing comes late and the dock is gone."""
        if isalive(self):
            _window = self.window()  # held, so that no garbage collection takes the dock away meanwhile
            self._build()
            self._drawn = self._drawing_now = True
            try:
                super().draw()
            finally:
                self._drawing_now = False

    def draw_idle(self) -> None:
        """Draw in a turn of the event loop of its own, or when the plot comes to light."""
        if self._drawing_now or not isalive(self):
            return
        self._drawn = False
        if self.isVisible() and not turns().has(self):
            turns().take(self, "draw", self._drawing(), lambda: isalive(self) and self.isVisible())

    def showEvent(self, event: QEvent) -> None:
        """Catch up with what was changed while nobody looked."""
        super().showEvent(event)
        if not self._drawn:
            self.draw_idle()

    def resizeEvent(self, event: QEvent) -> None:
        """Keep the margins as wide as the words are."""
        super().resizeEvent(event)
        self._set_margins()

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
        self._last, self._built = (draw, what), False
        self.draw_idle()

    def _drawing(self) -> Pieces:
        self._build()
        yield
        for axes in self.figure.axes:
            for axis in (axes.xaxis, axes.yaxis):
                axis.get_major_ticks(len(axis.get_majorticklocs()))  # ticks are made before they are drawn
        yield ALONE
        self.draw()

    def _build(self) -> None:
        """Bring the figure to what was set last."""
        if self._built or self._last is None:
            return
        draw, what = self._last
        self._built, self._room = True, Room()
        self.figure.clear()
        draw(*what)
        self._set_margins()

    def _set_margins(self) -> None:
        if not self.figure.axes:
            return
        grid, room = self.figure.axes[0].get_gridspec(), self._room
        width_pt, height_pt = (max(72 * float(inches), 1.0) for inches in self.figure.get_size_inches())
        across, down = grid.ncols - 1, grid.nrows - 1
        panel = max((width_pt - room.left - room.right - across * room.across) / (across + 1), 1.0)
        row = max((height_pt - room.bottom - room.top - down * room.down) / (down + 1), 1.0)
        self.figure.subplots_adjust(
            left=min(room.left / width_pt, 0.45),
            right=max(1 - room.right / width_pt, 0.55),
            bottom=min(room.bottom / height_pt, 0.45),
            top=max(1 - room.top / height_pt, 0.55),
            wspace=room.across / panel,
            hspace=room.down / row,
        )

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
        if len(labels) > 1:
            self._room = replace(
                self._room, top=self._room.top + LEGEND_ROW_PT * -(-len(labels) // LEGEND_COLUMNS)
            )
        for i, (title, names) in enumerate(panels.items()):
            words = title or (labels[0] if len(labels) == 1 else "")  # one curve needs no legend
            axes = self._axes(1, len(panels), i + 1, words, "", y_label if i == 0 else "")
            for name in names:
                label = name.split("|")[0]
                marker = "" if np.size(curves[name][0]) > 1 else "."  # no line goes through a single point
                axes.plot(*curves[name], marker=marker, label=label, color=colour[label], lw=1.3)
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
            loc="upper center",
            ncols=min(LEGEND_COLUMNS, len(handles)),
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
        legend = axes.legend(fontsize=7, labelcolor=self._text, loc=place, handlelength=1.5)
        ground = self.figure.get_facecolor()  # it may lie over curves
        legend.get_frame().set(facecolor=ground, alpha=0.75, edgecolor="none")

    def _axes(self, rows: int, columns: int, index: int, title: str, x_label: str, y_label: str) -> Any:
        axes = self.figure.add_subplot(rows, columns, index)
        axes.set_facecolor("none")
        axes.set_title(title, fontsize=8, color=self._text, y=1.0)  # to find a place for it would take long
        axes.set_xlabel(x_label, fontsize=8, color=self._text)
        axes.set_ylabel(y_label, fontsize=8, color=self._text)
        for axis, place, right, up in (
            (axes.xaxis, (0.5, 0), 0, X_LABEL_PT),
            (axes.yaxis, (0, 0.5), Y_LABEL_PT, 0),
        ):
            axis.set_label_coords(*place, offset_copy(axes.transAxes, self.figure, right, up, "points"))
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
        self._built = False
        self.draw_idle()
