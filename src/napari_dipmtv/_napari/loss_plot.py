"""The progress of a reconstruction to its loss curves, redrawn once in a while."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from napari_dipmtv._napari.job import Progress
from napari_dipmtv._napari.plots import Plot

if TYPE_CHECKING:
    from napari.components import ViewerModel

REDRAW_S = 1.0  # drawing the curves takes longer than many a step


class LossPlot(Plot):
    """Misfits in one panel, total variation in another."""

    def __init__(self, viewer: ViewerModel) -> None:
        super().__init__(
            viewer, 160, "Losses of the run: misfit of the data, of views left out, and total variation"
        )
        self._drawn_s = 0.0  # when the curves were drawn last
        self.begin()

    def begin(self) -> None:
        """Wait for a run."""
        self.clear("The losses appear here")

    def take(self, progress: Progress) -> None:
        """Show how far a run has come, unless that was done a moment ago; its end is always shown."""
        now, over = time.monotonic(), progress.iteration == progress.total
        if not progress.losses or (now - self._drawn_s <= REDRAW_S and not over):
            return
        self._drawn_s = now
        curves = {name: tuple(zip(*values, strict=True)) for name, values in progress.losses.items()}
        show = self.curves if over else self.follow  # laid out anew where time is no matter
        show(curves, "iteration", "loss", log=True, panels=loss_panels(tuple(curves)))


def loss_panels(names: tuple[str, ...]) -> dict[str, list[str]]:
    """Curves that mean the same share a panel: misfits on one side, total variation on the other."""
    variation = [name for name in names if "tv" in name.lower()]
    misfit = [name for name in names if name not in variation]
    both = {"misfit": misfit, "total variation": variation}
    return {title: chosen for title, chosen in both.items() if chosen}
