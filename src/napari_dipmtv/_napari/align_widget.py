"""Step 4: maps become an aligned tilt series whose tilt axis is vertical and central."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_dipmtv._napari.forms import SettingsForm, folded
from napari_dipmtv._napari.job_bar import JobBar
from napari_dipmtv._napari.nudge_box import NudgeBox
from napari_dipmtv._napari.plots import Plot
from napari_dipmtv._napari.runs import telling
from napari_dipmtv._napari.stage_widget import StageWidget, button, enable, note
from napari_dipmtv.data import F32, MapStack, TiltSeries
from napari_dipmtv.settings.align import AlignSettings

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from napari_dipmtv.io.project import Project


class AlignWidget(StageWidget):
    """Runs the alignment, or takes the maps as aligned, and shows before and after."""

    title = "4 · Align"
    intro = "Finds shifts and tilt axis on the sum of the channels and applies them to all, with one interpolation."
    needs = "maps"

    def __init__(self, napari_viewer: ViewerModel) -> None:
        super().__init__(napari_viewer)
        self.form = SettingsForm(AlignSettings)
        self.job_bar = JobBar(
            self.bench.job,
            "align",
            "Align",
            "Estimate the alignment by projection matching, then apply it once",
            keeps=True,
        )
        self.already = button("Already aligned", "")
        self._already_tip = "Take the maps as they are: tilt axis vertical, through the centre of the image"
        self.sinograms = Plot(
            napari_viewer, 170, "Signal along x for every tilt, before and after: smooth curves are good"
        )
        self.quality = Plot(
            napari_viewer, 140, "Re-projection error of each round: it should fall and level off"
        )
        self.nudges = NudgeBox(self.bench)
        self.words = note()
        self.words.setToolTip("What was found")
        self._lay_out()
        self._connect()
        self.refresh()

    def take_settings(self, project: Project) -> None:
        """Show the settings of a project that was opened."""
        self.form.setValue(project.align)

    def refresh(self) -> None:
        """Say what is there and allow what is possible."""
        self.job_bar.block(self.missing or self.form.problem)
        enable(self.already, self._already_tip, self.missing or self.bench.job.why_not)
        self._allow_nudges()
        if self.session.has("tilt_series") and self.session.has("maps"):
            self._show(self.session.value("maps"), self.session.value("tilt_series"))
            return
        self.status.setText(self.missing or "Ready to align.")
        self.quality.clear("The error of each round appears here")
        self.words.setText("")
        if self.session.has("maps"):
            self._draw_sinograms({"before": self.session.value("maps")})
        else:
            self.sinograms.clear("Sinograms appear here")

    def _lay_out(self) -> None:
        for control in (self.form, self.job_bar, self.already, self.sinograms, self.quality, self.words):
            self.body.addWidget(control)
        words = "Move single views with buttons or Alt and the arrow keys"
        self.body.addWidget(folded("Move a view by hand", self.nudges, words))

    def _connect(self) -> None:
        self.form.validityChanged.connect(lambda _: self.refresh())
        self.job_bar.start_clicked.connect(self._start)
        self.already.clicked.connect(self.bench.assume_aligned)
        self.bench.job.started.connect(self._on_run)
        self.bench.job.ended.connect(self._on_run)

    def _allow_nudges(self) -> None:
        aligned = self.session.has("tilt_series") and self.session.has("maps")
        self.nudges.allow("Align the maps first." if not aligned else self.bench.job.why_not)

    def _on_run(self, _: int) -> None:
        self._allow_nudges()
        enable(self.already, self._already_tip, self.missing or self.bench.job.why_not)

    def _start(self) -> None:
        with telling():
            self.bench.align(self.form.value())

    def _show(self, maps: MapStack, series: TiltSeries) -> None:
        self._draw_sinograms({"before": maps, "after": series})
        found = series.alignment
        if found is None or not len(found.quality):
            self.quality.clear("Taken as aligned: nothing was estimated")
            self.words.setText("")
        else:
            self.quality.curves(
                {"re-projection": (np.arange(1, len(found.quality) + 1), found.quality)},
                "round",
                "relative error",
            )
            largest = float(np.abs(found.shifts_px).max())
            self.words.setText(
                f"Tilt axis {found.axis_angle_deg:+.2f}° from vertical, {found.axis_offset_px:+.2f} px from the "
                f"centre; largest shift {largest:.2f} px."
            )
        self.status.setText(f"{len(series.tilts_deg)} views are aligned. Go on with step 5.")

    def _draw_sinograms(self, stacks: dict[str, MapStack]) -> None:
        tilts = next(iter(stacks.values())).tilts_deg
        images = {name: _sinogram(stack) for name, stack in stacks.items()}
        self.sinograms.images(images, "x / px", "tilt / deg", (tilts[0], tilts[-1]))


def _sinogram(stack: MapStack) -> F32:
    """Sum of the channels and of y: (t, x)."""
    image: F32 = stack.data.sum(axis=(0, 2))
    return image
