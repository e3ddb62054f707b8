"""Step 5: an aligned series becomes volumes, which grow in the viewer while they are made."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QFormLayout, QVBoxLayout
from superqt.utils import signals_blocked

from napari_dipmtv._napari.estimate_box import EstimateBox
from napari_dipmtv._napari.forms import SettingsForm, folded
from napari_dipmtv._napari.fuse_box import FuseBox
from napari_dipmtv._napari.job import Progress
from napari_dipmtv._napari.job_bar import JobBar
from napari_dipmtv._napari.loss_plot import LossPlot
from napari_dipmtv._napari.preferences import preferences
from napari_dipmtv._napari.results_list import ResultsList
from napari_dipmtv._napari.resume_box import ResumeBox
from napari_dipmtv._napari.runs import notes_of, telling
from napari_dipmtv._napari.session import TITLES, Reconstruction
from napari_dipmtv._napari.stage_widget import StageWidget, choice, note, section
from napari_dipmtv._napari.stream_box import StreamBox
from napari_dipmtv.settings.presets import PRESETS, preset_of
from napari_dipmtv.settings.tomo import METHODS

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from napari_dipmtv.io.project import Project
    from napari_dipmtv.states import Result
    from napari_dipmtv.tomo.memory import Smaller

OWN = "own settings"
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
    "wbp": "Weighted back-projection: instant; streaks and noise stay",
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
        self.bench.look_for_run()
        self.refresh()

    def take_settings(self, project: Project) -> None:
        """Show the settings of a project that was opened."""
        chosen = project.reconstruct
        self.method.setCurrentIndex(self.method.findData(chosen.method))
        self.form.setValue(chosen.method_settings())
        self.device.setCurrentIndex(self.device.findData(chosen.device))
        self.fuse.take(project)

    def refresh(self) -> None:
        """Say what is there and allow what is possible."""
        self.job_bar.block(self.missing or self.form.problem)
        self._allow()
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
        self.method = choice("How the volume is computed")
        self.forms = {}
        self.pages = (
            QVBoxLayout()
        )  # of which one is visible: a QStackedWidget stays as tall as its tallest page
        for name, tip in METHOD_TIPS.items():
            self.method.addItem(TITLES[name], name)
            self.method.setItemData(self.method.count() - 1, tip, Qt.ItemDataRole.ToolTipRole)
            self.forms[name] = SettingsForm(METHODS[name])
            self.pages.addWidget(self.forms[name])
        self.preset = choice("Settings for common situations; the fields below show what they are")
        self.device = choice("Where it is computed; the usual one is set in napari's preferences")
        for name, tip in DEVICES.items():
            self.device.addItem(name, name)
            self.device.setItemData(self.device.count() - 1, tip, Qt.ItemDataRole.ToolTipRole)
        self.device.setCurrentIndex(self.device.findData(chosen.device))
        self.stream = StreamBox(chosen.preview, chosen.preview_interval_s)
        self.estimate = EstimateBox()
        self.resume = ResumeBox()
        self.fuse = FuseBox()
        self.job_bar = JobBar(
            self.bench.job,
            "reconstruct",
            "Reconstruct",
            "Start the reconstruction of all channels",
            keeps=True,
        )
        self.plot = LossPlot(viewer)
        self.notes = note()
        self.notes.setToolTip("What the run has to say besides its progress; it stays with the result")
        self.notes.hide()
        self.results = ResultsList()

    def _lay_out(self) -> None:
        choices = QFormLayout()
        choices.addRow("Method", self.method)
        choices.addRow("Preset", self.preset)
        choices.addRow("Device", self.device)
        self.body.addLayout(choices)
        self.body.addLayout(self.pages)
        haadf = folded(
            "Fuse with a HAADF series", self.fuse, "One volume that explains maps and HAADF images"
        )
        run = (self.stream, self.estimate, self.resume, self.job_bar, haadf, self.notes, self.plot)
        for control in (*run, section("Finished"), self.results):
            self.body.addWidget(control)

    def _connect(self) -> None:
        self.method.currentIndexChanged.connect(self._choose_method)
        self.preset.activated.connect(lambda _: self._take_preset())
        for form in self.forms.values():
            form.validityChanged.connect(lambda _: self.refresh())
            form.valueChanged.connect(lambda _: self._name_preset())
        self.job_bar.start_clicked.connect(self._start)
        self.estimate.ask_wanted.connect(self._ask)
        self.estimate.smaller_wanted.connect(self._shrink)
        self.resume.resume_wanted.connect(self._resume)
        self.fuse.fuse_wanted.connect(self._fuse)
        self.resume.forget_wanted.connect(self.bench.forget_offer)
        self.bench.estimated.connect(self.estimate.tell)
        self.bench.shrunk.connect(self._take_smaller)
        self.bench.offer_changed.connect(self._allow)
        self.bench.job.started.connect(self._allow)
        self.bench.job.ended.connect(self._allow)
        self.bench.job.stated.connect(self._on_state)
        self.bench.job.stopped.connect(self._on_stopped)
        self.bench.job.failed.connect(self._on_failed)
        self.stream.changed.connect(self._set_pace)
        self.bench.results_changed.connect(self._list_results)
        self.results.show_wanted.connect(self.bench.show_result)
        self.results.beside_wanted.connect(self.bench.compare)
        self.results.difference_wanted.connect(self.bench.subtract)
        self.results.settings_wanted.connect(self.take_over)
        self._choose_method()

    def take_over(self, made: Reconstruction) -> None:
        """Set method and settings as they were for a result."""
        if made.method not in METHODS:
            self.fuse.method.setCurrentIndex(self.fuse.method.findData(made.method))
            self.fuse.form.setValue(made.settings["reconstruct"])
            return
        self.method.setCurrentIndex(self.method.findData(made.method))
        self.form.setValue(made.settings["reconstruct"])
        self._name_preset()

    def _choose_method(self, *_: object) -> None:
        for page in self.forms.values():
            page.setVisible(page is self.form)
        method = self.method.currentData()
        self.method.setToolTip(METHOD_TIPS[method])
        with signals_blocked(self.preset):
            self.preset.clear()
            for name, preset in PRESETS[method].items():
                self.preset.addItem(name, name)
                self.preset.setItemData(self.preset.count() - 1, preset.when, Qt.ItemDataRole.ToolTipRole)
            self.preset.addItem(OWN, "")
        self._name_preset()
        self.refresh()

    def _take_preset(self) -> None:
        chosen = self.preset.currentData()
        if chosen:
            self.form.setValue(PRESETS[self.method.currentData()][chosen].settings)

    def _name_preset(self) -> None:
        """Show which preset the form holds."""
        if self.form.problem:
            return
        name = preset_of(self.method.currentData(), self.form.value())
        with signals_blocked(self.preset):
            self.preset.setCurrentIndex(self.preset.findData(name))

    def _allow(self, *_: object) -> None:
        """Offer what can be done besides the start, or say why not."""
        busy = self.bench.job.why_not
        self.estimate.allow(self.missing or self.form.problem or busy)
        self.resume.show_offer(self.bench.offer, busy)
        self.fuse.allow(self.missing or busy)

    def _ask(self) -> None:
        with telling():
            self.estimate.say("Timing a few steps …")
            self.bench.estimate(self.method.currentData(), self.form.value(), self.device.currentData())

    def _shrink(self) -> None:
        with telling():
            self.bench.shrink(self.method.currentData(), self.form.value(), self.device.currentData())

    def _take_smaller(self, found: Smaller | None) -> None:
        self.estimate.tell_smaller(found)
        if found is not None:
            self.form.setValue(found.settings)
            self.device.setCurrentIndex(self.device.findData(found.device))

    def _start(self) -> None:
        with telling():
            self._begin()
            self.bench.reconstruct(
                self.method.currentData(), self.form.value(), self.device.currentData(), self.stream.every_s
            )

    def _fuse(self) -> None:
        box = self.fuse
        with telling():
            self._begin()
            self.bench.fuse(
                box.source.value(),
                box.method.currentData(),
                box.form.value(),
                self.device.currentData(),
                self.stream.every_s,
            )

    def _resume(self, more: int) -> None:
        offer = self.bench.offer
        with telling():
            if offer is not None:
                box = self.fuse if offer.run.fused else self
                box.method.setCurrentIndex(box.method.findData(offer.run.method))
                box.form.setValue(offer.run.settings(more))
            self._begin()
            self.bench.resume(more, self.device.currentData(), self.stream.every_s)

    def _begin(self) -> None:
        self.plot.begin()
        self._tell_notes(())

    def _tell_notes(self, said: tuple[str, ...]) -> None:
        self.notes.setText(" ".join(f"⚠ {words[:1].upper()}{words[1:]}." for words in said))
        self.notes.setVisible(bool(said))

    def _on_stopped(self, _: int, result: Result | None) -> None:
        if self.bench.job.name == self.job_bar.kind and result is not None:
            self.estimate.take(" ".join(result.notes))

    def _on_failed(self, _: int, sentence: str) -> None:
        if self.bench.job.name == self.job_bar.kind:
            self.estimate.take(sentence)

    def _on_state(self, _: int, progress: Progress) -> None:
        if self.job_bar.mine:
            self._tell_notes(notes_of(progress))
            self.plot.take(progress)

    def _set_pace(self) -> None:
        if self.job_bar.mine:
            self.bench.job.stream_every(self.stream.every_s)

    def _list_results(self) -> None:
        results = self.session.results
        self.results.fill(results, [self.session.is_current(made) for made in results])
