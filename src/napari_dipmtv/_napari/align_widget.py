"""Step 4: maps become an aligned tilt series whose tilt axis is vertical and central."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.compat import isalive

from napari_dipmtv._napari.forms import SettingsForm, folded
from napari_dipmtv._napari.job import Progress
from napari_dipmtv._napari.job_bar import JobBar
from napari_dipmtv._napari.nudge_box import NudgeBox
from napari_dipmtv._napari.ortho import OrthoPlot
from napari_dipmtv._napari.plots import Plot
from napari_dipmtv._napari.runs import telling
from napari_dipmtv._napari.stage_widget import StageWidget, button, enable, note
from napari_dipmtv.data import F32, Alignment, MapStack, TiltSeries
from napari_dipmtv.settings.align import AlignSettings

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from napari_dipmtv._napari.aligning import Aligned
    from napari_dipmtv.alignment import AlignmentReport
    from napari_dipmtv.io.project import Project


class AlignWidget(StageWidget):
    """Runs the alignment, or takes the maps as aligned, shows how good it is, and lets a person mend single views."""

    title = "4 · Align"
    intro = "Finds shifts and tilt axis on the sum of the channels and applies them to all, with one interpolation."
    needs = "maps"

    def __init__(self, napari_viewer: ViewerModel) -> None:
        super().__init__(napari_viewer)
        self._shown: tuple[object, ...] | None = (
            None  # what the plots show; None while they show what is sought
        )
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
        self._make_plots(napari_viewer)
        self.nudges = NudgeBox(self.bench)
        self.words = note()
        self.words.setToolTip("What was found")
        self._lay_out()
        self._connect(napari_viewer)
        self.refresh()

    def take_settings(self, project: Project) -> None:
        """Show the settings of a project that was opened."""
        self.form.setValue(project.align)

    def refresh(self) -> None:
        """Say what is there and allow what is possible."""
        self.job_bar.block(self.missing or self.form.problem)
        enable(self.already, self._already_tip, self.missing or self.bench.job.why_not)
        self._allow_nudges()
        values = [self.session.value(each) for each in ("maps", "tilt_series") if self.session.has(each)]
        shown = (*values, self.session.alignment_report)
        if self._shown is not None and [*map(id, shown)] == [*map(id, self._shown)]:
            return
        self._shown = shown
        if len(values) == 2:
            self._show(*values)
            return
        aligned = "The maps came aligned. Go on with step 5." if self.session.has("tilt_series") else ""
        self.status.setText(aligned or self.missing or "Ready to align.")
        self.quality.clear("The error of each round appears here")
        self._judge(None)
        self.words.setText("")
        if self.session.has("maps"):
            self._draw_sinograms({"before": self.session.value("maps")})
        else:
            self.sinograms.clear("Sinograms appear here")

    def _make_plots(self, viewer: ViewerModel) -> None:
        tip = "Signal along x for every tilt, before and after: smooth curves are good"
        self.sinograms = Plot(viewer, 170, tip)
        tip = "Re-projection error of each round: within one scale it should fall and level off"
        self.quality = Plot(viewer, 140, tip)
        tip = "Re-projection error of each view: one that stands out may need a move by hand"
        self.views = Plot(viewer, 140, tip)
        self.planes = OrthoPlot(viewer)
        self.planes.setToolTip(
            "Planes of a quick reconstruction; edges are sharp where the views fit together"
        )

    def _lay_out(self) -> None:
        for control in (self.form, self.job_bar, self.already, self.words, self.sinograms, self.quality):
            self.body.addWidget(control)
        tip = "Move single views with buttons or Alt and the arrow keys, or leave them out"
        self.mend = folded("Mend single views", self.nudges, tip)
        for control in (self.views, self.planes, self.mend):
            self.body.addWidget(control)

    def _connect(self, viewer: ViewerModel) -> None:
        self.form.validityChanged.connect(lambda _: self.refresh())
        self.job_bar.start_clicked.connect(self._start)
        self.already.clicked.connect(self.bench.assume_aligned)
        self.bench.job.started.connect(self._on_run)
        self.bench.job.stated.connect(self._on_round)
        self.bench.job.ended.connect(self._on_run)
        self.bench.views_left_out.connect(self._on_left_out)
        self.bench.aligned_so_far.connect(self._on_so_far)
        viewer.dims.events.point.connect(self._on_slider)

    def _allow_nudges(self) -> None:
        aligned = self.session.has("tilt_series") and self.session.has("maps")
        self.nudges.allow("" if aligned else "Align the maps first.")

    def _on_run(self, _: int) -> None:
        self._allow_nudges()
        enable(self.already, self._already_tip, self.missing or self.bench.job.why_not)
        if self._shown is None and not self.bench.job.running:
            self.refresh()  # what was sought is dropped

    def _on_round(self, _: int, progress: Progress) -> None:
        if self.job_bar.mine and "reprojection" in progress.losses:
            self._shown = None
            rounds, errors = zip(*progress.losses["reprojection"], strict=True)
            self.quality.curves({"re-projection": (rounds, errors)}, "round", "relative error")

    def _on_so_far(self, reached: Aligned) -> None:
        if self.session.has("maps"):
            self._shown = None
            self._draw_sinograms({"before": self.session.value("maps"), "so far": reached.series})
            self._judge(reached.report)

    def _on_left_out(self) -> None:
        self.form.field("exclude_views").write(self.bench.align_settings.exclude_views)

    def _on_slider(self, *_: object) -> None:
        if isalive(self):
            self.nudges.tell()

    def _start(self) -> None:
        with telling():
            self.bench.align(self.form.value())

    def _show(self, maps: MapStack, series: TiltSeries) -> None:
        self._draw_sinograms({"before": maps, "after": series})
        found = series.alignment
        if found is None or not len(found.quality):
            self.quality.clear("Taken as aligned: nothing was estimated")
        else:
            self.quality.curves(rounds_by_scale(found), "round", "relative error")
        report = self.session.alignment_report
        self._judge(report)
        told = [] if found is None else [f"{found}."]
        self.words.setText(" ".join([*told, *(report.notes if report else ())]))
        self.status.setText(f"{len(series.tilts_deg)} views are aligned. Go on with step 5.")

    def _judge(self, report: AlignmentReport | None) -> None:
        self.planes.setVisible(report is not None)
        self.planes.show_volume(report.volume if report else None)
        if report is None:
            self.views.clear("The error of each view appears here")
        else:
            curve = {"error of each view": (report.tilts_deg, report.view_errors)}
            self.views.curves(curve, "tilt / deg", "relative error")

    def _draw_sinograms(self, stacks: dict[str, MapStack]) -> None:
        tilts = next(iter(stacks.values())).tilts_deg
        images = {name: _sinogram(stack) for name, stack in stacks.items()}
        self.sinograms.images(images, "x / px", "tilt / deg", (tilts[0], tilts[-1]))


def rounds_by_scale(found: Alignment) -> dict[str, tuple[list[int], list[float]]]:
    """Errors of the rounds, one curve (round, error) per scale: finer maps hold more noise and do not compare."""
    scales = found.scales or (1,) * len(found.quality)
    curves: dict[str, tuple[list[int], list[float]]] = {}
    for number, (scale, error) in enumerate(zip(scales, found.quality, strict=True), start=1):
        name = "full size" if scale == 1 else f"reduced 1:{scale}"
        rounds, errors = curves.setdefault(name, ([], []))
        rounds.append(number)
        errors.append(error)
    return curves


def _sinogram(stack: MapStack) -> F32:
    """Sum of the channels and of y: (t, x)."""
    image: F32 = stack.data.sum(axis=(0, 2))
    return image
