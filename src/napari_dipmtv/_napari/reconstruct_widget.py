"""Step 5: an aligned series becomes volumes, which grow in the viewer while they are made."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QCheckBox, QComboBox, QFormLayout, QListWidget, QListWidgetItem, QVBoxLayout

from napari_dipmtv._napari.bench import TITLES
from napari_dipmtv._napari.forms import SettingsForm
from napari_dipmtv._napari.job import Progress
from napari_dipmtv._napari.job_bar import JobBar, duration
from napari_dipmtv._napari.plots import Plot
from napari_dipmtv._napari.preferences import preferences
from napari_dipmtv._napari.runs import telling
from napari_dipmtv._napari.session import Reconstruction
from napari_dipmtv._napari.stage_widget import StageWidget, section
from napari_dipmtv.settings.tomo import METHODS

if TYPE_CHECKING:
    from napari.components import ViewerModel

REDRAW_S = 1.0
DEVICES = {
    "auto": "A CUDA GPU when there is one, else the processor",
    "cpu": "The processor",
    "cuda": "An NVIDIA GPU",
    "mps": "The GPU of an Apple computer",
}
METHOD_TIPS = {
    "dipm-tv": "All channels from one untrained network with total variation: the method of choice",
    "dip-tv": "One untrained network with total variation for each channel",
    "cs-tv": "The convex fit of least total variation: fast and reproducible",
    "sirt": "Simultaneous iterations without prior: the quick look",
}


class ReconstructWidget(StageWidget):
    """Chooses method, settings and device, watches the run and lists what is finished."""

    title = "5 · Reconstruct"
    intro = "Fits a volume of all channels to the aligned maps."
    needs = "tilt_series"

    def __init__(self, napari_viewer: ViewerModel) -> None:
        super().__init__(napari_viewer)
        self._make_controls(napari_viewer)
        self._lay_out()
        self._connect()
        self._drawn = 0.0  # when the curves were drawn last
        self.refresh()

    def refresh(self) -> None:
        """Say what is there and allow what is possible."""
        self.job_bar.block(self.missing or self.form.problem)
        self.status.setText(self.missing or "Ready to reconstruct.")
        if self.session.has("volume"):
            made: Reconstruction = self.session.value("volume")
            self.status.setText(f"{made.title} is ready. Go on with step 6, or try another method.")
        self._list_results()

    @property
    def form(self) -> SettingsForm:
        """The form of the chosen method."""
        return self.forms[self.method.currentData()]

    def _make_controls(self, viewer: ViewerModel) -> None:
        chosen = preferences()
        self.method = QComboBox()
        self.method.setToolTip("How the volume is computed")
        self.forms = {}
        self.pages = (
            QVBoxLayout()
        )  # of which one is visible: a QStackedWidget stays as tall as its tallest page
        for name, tip in METHOD_TIPS.items():
            self.method.addItem(TITLES[name], name)
            self.method.setItemData(self.method.count() - 1, tip, Qt.ItemDataRole.ToolTipRole)
            self.forms[name] = SettingsForm(METHODS[name])
            self.pages.addWidget(self.forms[name])
        self.device = QComboBox()
        self.device.setToolTip("Where it is computed; the usual one is set in napari's preferences")
        for name, tip in DEVICES.items():
            self.device.addItem(name, name)
            self.device.setItemData(self.device.count() - 1, tip, Qt.ItemDataRole.ToolTipRole)
        self.device.setCurrentIndex(self.device.findData(chosen.device))
        self.live = QCheckBox("Show the volume while it grows")
        self.live.setToolTip(
            "Sends the volume to the viewer now and then, taking at most 5 % of the computing time"
        )
        self.live.setChecked(chosen.preview)
        self.job_bar = JobBar(
            self.bench.job, "reconstruct", "Reconstruct", "Start the reconstruction of all channels"
        )
        self.plot = Plot(viewer, 160, "Losses of the run: data misfit and total variation")
        self.results = QListWidget()
        self.results.setToolTip(
            "Finished reconstructions; double-click to show one again and to go on with it"
        )
        self.results.setMinimumHeight(70)
        self.results.setMaximumHeight(110)

    def _lay_out(self) -> None:
        choices = QFormLayout()
        choices.addRow("Method", self.method)
        choices.addRow("Device", self.device)
        self.body.addLayout(choices)
        self.body.addLayout(self.pages)
        for control in (self.live, self.job_bar, self.plot, section("Finished"), self.results):
            self.body.addWidget(control)

    def _connect(self) -> None:
        self.method.currentIndexChanged.connect(self._choose_method)
        for form in self.forms.values():
            form.validityChanged.connect(lambda _: self.refresh())
        self.job_bar.start_clicked.connect(self._start)
        self.bench.job.stated.connect(self._on_state)
        self.live.toggled.connect(self._stop_streaming)
        self.bench.results_changed.connect(self._list_results)
        self.results.itemDoubleClicked.connect(self._show_again)
        self._choose_method()

    def _choose_method(self) -> None:
        for page in self.forms.values():
            page.setVisible(page is self.form)
        self.method.setToolTip(METHOD_TIPS[self.method.currentData()])
        self.refresh()

    def _start(self) -> None:
        with telling():
            self.plot.clear("The losses appear here")
            self.bench.reconstruct(
                self.method.currentData(), self.form.value(), self.device.currentData(), self.live.isChecked()
            )

    def _on_state(self, _: int, progress: Progress) -> None:
        """Redraw the curves once in a while: drawing them takes longer than many a step."""
        now = time.monotonic()
        if self.job_bar.mine and (now - self._drawn > REDRAW_S or progress.iteration == progress.total):
            self._drawn = now
            self._draw_losses(progress)

    def _draw_losses(self, progress: Progress) -> None:
        if progress.losses:
            curves = {name: tuple(zip(*values, strict=True)) for name, values in progress.losses.items()}
            self.plot.curves(curves, "iteration", "loss", log=True)

    def _stop_streaming(self, wanted: bool) -> None:
        if not wanted and self.job_bar.mine:
            self.bench.job.stop_streaming()

    def _list_results(self) -> None:
        self.results.clear()
        for i, made in enumerate(self.session.results):
            text = f"{i + 1} · {made.title} · {made.iterations} iterations · {duration(made.seconds)}"
            if not self.session.is_current(made):
                text += " · of an earlier alignment"
            item = QListWidgetItem(text)
            item.setToolTip("Double-click to show it again and to go on with it")
            item.setData(Qt.ItemDataRole.UserRole, i)
            self.results.addItem(item)

    def _show_again(self, item: QListWidgetItem) -> None:
        self.bench.show_result(self.session.results[item.data(Qt.ItemDataRole.UserRole)])
