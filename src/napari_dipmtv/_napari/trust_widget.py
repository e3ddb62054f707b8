"""Step 7: "is the void real?" asked of the current volume, and answered in words, plots and probabilities."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtGui import QFontDatabase
from qtpy.QtWidgets import QFileDialog, QFormLayout, QPlainTextEdit
from superqt.utils import signals_blocked

from napari_dipmtv._napari.forms import SettingsForm, folded
from napari_dipmtv._napari.job import Progress
from napari_dipmtv._napari.job_bar import JobBar, duration
from napari_dipmtv._napari.runs import telling
from napari_dipmtv._napari.stage_widget import StageWidget, button, choice, enable, note
from napari_dipmtv._napari.trust_plot import TrustPlot
from napari_dipmtv.errors import InputError
from napari_dipmtv.settings.trust import TrustSettings
from napari_dipmtv.trust.words import answers, report_text

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from napari_dipmtv._napari.trusting import Finding
    from napari_dipmtv.trust.result import TrustReport

REDRAW_S = 2.0
OWN = "own settings"
NO_ANSWER = "There is no answer yet"
QUICK = TrustSettings(
    repeats=39,
    likelihood_repeats=200,
    likelihood_planted=20,
    refits=5,  # of fewer the largest says too little: the evidence asked for becomes far too high
    planted_repeats=4,
    planted_sizes=4,
    members=8,
    held_out=False,
)
# how thorough: settings, and when to take them
PRESETS: Mapping[str, tuple[TrustSettings, str]] = {
    "quick look": (
        QUICK,
        "A first answer: 39 repeats can show p = 0.025 at best, and the intervals are wide",
    ),
    "full study": (
        TrustSettings(),
        "For a paper: 99 repeats, a detection curve of five sizes, held-out views",
    ),
}


class TrustWidget(StageWidget):
    """Asks, shows what is known so far, and saves the report."""

    title = "7 · Trust"
    intro = (
        "Is it real? The feature is taken out, the particle is measured and reconstructed again and again with the "
        "noise and the tilts of your data. How often does such a feature appear by itself?"
    )
    needs = "segmentation"

    def __init__(self, napari_viewer: ViewerModel) -> None:
        super().__init__(napari_viewer)
        self._drawn = 0.0  # when the plots were drawn last
        self._make_controls(napari_viewer)
        self._lay_out()
        self._connect()
        self._take_preset()
        self.refresh()

    def refresh(self) -> None:
        """Say what is there and allow what is possible."""
        has = self.session.has("trust")
        self.job_bar.block(self.missing or self.form.problem)
        self._name_start()
        self.status.setText(self.missing or "Choose what to ask, and how thoroughly.")
        if has:
            self._show_finding(self.session.value("trust"))
        elif self.bench.trail.study is None:
            self.plot.clear("The answer appears here")
            self.words.setText("")
            self.report.setPlainText("")
        self._list_phases()
        enable(self.save, self._save_tip, "" if has else "Ask first.")

    def _make_controls(self, viewer: ViewerModel) -> None:
        self.depth = choice("How many repeats are made; the settings below show what that is")
        for name, (_, when) in PRESETS.items():
            self.depth.addItem(name, name)
            self.depth.setItemData(self.depth.count() - 1, when, Qt.ItemDataRole.ToolTipRole)
        self.depth.addItem(OWN, "")
        self.form = SettingsForm(TrustSettings, main=("feature",))
        self.job_bar = JobBar(
            self.bench.job,
            "trust",
            "Is the void real?",
            "Ask the data. It can be stopped at any time and goes on from there",
            keeps=True,
        )
        self.words = note()
        self.words.setToolTip("The answer so far; every number holds for the method that made the repeats")
        self.plot = TrustPlot(viewer)
        self.probability = choice()
        self.probability.setPlaceholderText("choose a phase")
        self._probability_tip = (
            "Show how likely every voxel belongs to this phase, in a slice through the feature"
        )
        self.report = QPlainTextEdit()
        self.report.setReadOnly(True)
        self.report.setPlaceholderText("The report appears here")
        self.report.setFont(QFontDatabase.systemFont(QFontDatabase.SystemFont.FixedFont))
        self.report.setLineWrapMode(QPlainTextEdit.LineWrapMode.WidgetWidth)
        self.report.setMinimumHeight(260)
        self.report.setToolTip("Everything that the study found, as it is saved")
        self.save = button("Save report …", "")
        self._save_tip = "Write trust.txt, trust.json with every number, and the pictures into a folder"

    def _lay_out(self) -> None:
        rows = QFormLayout()
        rows.addRow("How thorough", self.depth)
        self.body.addLayout(rows)
        shown = QFormLayout()
        shown.addRow("Probability of", self.probability)
        for control in (self.form, self.job_bar, self.words, self.plot):
            self.body.addWidget(control)
        self.body.addLayout(shown)
        self.body.addWidget(folded("The whole report", self.report, "Every number with its caveats"))
        self.body.addWidget(self.save)

    def _connect(self) -> None:
        self.depth.activated.connect(lambda _: self._take_preset())
        self.form.valueChanged.connect(lambda _: self._on_settings())
        self.form.validityChanged.connect(lambda _: self.refresh())
        self.job_bar.start_clicked.connect(self._start)
        self.bench.job.started.connect(self._name_start)
        self.bench.job.stated.connect(self._on_state)
        self.bench.job.failed.connect(self._on_failed)
        self.bench.job.ended.connect(self._name_start)
        self.probability.activated.connect(lambda _: self._show_probability())
        self.save.clicked.connect(self._choose_folder)

    def _take_preset(self) -> None:
        chosen = self.depth.currentData()
        if chosen:
            feature = self.form.field("feature").read()
            self.form.setValue(PRESETS[chosen][0].replace(feature=feature))

    def _on_settings(self) -> None:
        """Show which preset the form holds, and what pressing the button would ask."""
        value = self.form.value().replace(feature=TrustSettings().feature)
        name = next((name for name, (settings, _) in PRESETS.items() if settings == value), "")
        with signals_blocked(self.depth):
            self.depth.setCurrentIndex(self.depth.findData(name))
        self._name_start()

    def _name_start(self, *_: object) -> None:
        if self.form.problem:
            return
        settings = self.form.value()
        words = f"Is the {settings.feature} real?"
        with suppress(InputError):  # of a volume of an earlier alignment, which pressing the button tells
            words = "Go on" if not self.missing and self.bench.can_go_on(settings) else words
        self.job_bar.start.setText(words)

    def _start(self) -> None:
        with telling():
            self.bench.ask_trust(self.form.value())
            self.refresh()

    def _on_state(self, _: int, progress: Progress) -> None:
        """Show once in a while what is known: drawing takes longer than many a repeat."""
        study, now = self.bench.trail.study, time.monotonic()
        if self.job_bar.mine and study is not None and now - self._drawn > REDRAW_S:
            self._drawn = now
            self._show_report(study.report, "So far: ", "The first repeats are being made")

    def _on_failed(self, *_: object) -> None:
        study = self.bench.trail.study
        if self.bench.job.name == self.job_bar.kind and study is not None:
            self._show_report(study.report, "So far: ", NO_ANSWER)

    def _show_finding(self, found: Finding) -> None:
        self._show_report(found.study.report, "Stopped early: " if found.stopped else "", NO_ANSWER)
        done = (
            "Stopped; press Go on for the rest" if found.stopped else f"Answered in {duration(found.seconds)}"
        )
        self.status.setText(f"{done}.{' ' + self.bench.trail.problem if self.bench.trail.problem else ''}")

    def _show_report(self, report: TrustReport, so_far: str, empty: str) -> None:
        self.plot.report(report, empty)
        self.words.setText("<br><br>".join(f"{so_far}{line}" for line in marked(report)))
        self.report.setPlainText(report_text(report))

    def _list_phases(self) -> None:
        """Offer the probabilities that the study has made."""
        found: Finding | None = self.session.value("trust") if self.session.has("trust") else None
        made = None if found is None else found.study.ensemble
        names = [] if made is None else [name for name in made.probability if name != "vacuum"]
        if names != [self.probability.itemText(i) for i in range(self.probability.count())]:
            self.probability.clear()
            self.probability.addItems(names)
            self.probability.setCurrentIndex(-1)
        missing = "" if names else "They come with the last part of a study, the ensemble."
        enable(self.probability, self._probability_tip, missing)

    def _show_probability(self) -> None:
        with telling():
            self.bench.show_probability(self.probability.currentText())

    def _choose_folder(self) -> None:
        start = self.bench.trust_folder
        folder = QFileDialog.getExistingDirectory(
            self, "Folder for the trust report", str(start.parent if start else "")
        )
        if folder:
            with telling():
                self.bench.save_trust(Path(folder))


def marked(report: TrustReport) -> list[str]:
    """The sentences that matter first, with what they answer."""
    marks = {True: "✓ ", False: "? ", None: ""}
    return [marks[yes] + sentence for yes, sentence in answers(report)]
