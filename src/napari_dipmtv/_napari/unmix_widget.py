"""Step 3: prepared spectra and references become one map per phase and tilt, with an error for every pixel."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from qtpy.QtWidgets import QCheckBox
from superqt.utils import signals_blocked

from napari_dipmtv._napari.forms import SettingsForm
from napari_dipmtv._napari.job_bar import JobBar
from napari_dipmtv._napari.plots import Plot
from napari_dipmtv._napari.runs import telling
from napari_dipmtv._napari.stage_widget import StageWidget, enable, note
from napari_dipmtv.data import ChannelMaps
from napari_dipmtv.settings.spectra import UnmixSettings

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from napari_dipmtv.io.project import Project
    from napari_dipmtv.spectra.unmix import Unmixed

CHI_SQUARES = (0.5, 1.5)  # always in view, so that a good fit looks flat


class UnmixWidget(StageWidget):
    """Runs the unmixing and shows how well it fits."""

    title = "3 · Unmix"
    intro = "Splits the low loss of every pixel into background and the two references."
    needs = "references"

    def __init__(self, napari_viewer: ViewerModel) -> None:
        super().__init__(napari_viewer)
        self._shown: Unmixed | None = None
        self.form = SettingsForm(UnmixSettings)
        self.job_bar = JobBar(
            self.bench.job,
            "unmix",
            "Unmix",
            "Fit background and references to the low loss of every pixel of every tilt",
        )
        self.plot = Plot(
            napari_viewer,
            160,
            "Reduced chi-square of every view where there is matter: 1 is as good as the noise allows",
        )
        self.words = note()
        self.words.setToolTip("How well the fit describes the spectra")
        self.quality = QCheckBox("Show χ² and signal to noise")
        for control in (self.form, self.job_bar, self.plot, self.words, self.quality):
            self.body.addWidget(control)
        self.quality.toggled.connect(self._show_quality)
        self.form.validityChanged.connect(lambda _: self.refresh())
        self.job_bar.start_clicked.connect(self._start)
        self.refresh()

    def take_settings(self, project: Project) -> None:
        """Show the settings of a project that was opened."""
        self.form.setValue(project.unmix)

    def refresh(self) -> None:
        """Say what is there and allow what is possible."""
        self.job_bar.block(self.missing or self.form.problem)
        tip = "Two more layers: how well the fit explains each pixel (1 is as good as noise allows); and its signal"
        enable(self.quality, tip, "" if self.session.has("unmixed") else "Unmix first.")
        self.follow_layers()
        unmixed = self.session.value("unmixed") if self.session.has("unmixed") else None
        if unmixed is not None and unmixed is not self._shown:
            self._show(unmixed)
        self._shown = unmixed
        if unmixed is None:
            self.status.setText(self.missing or "Ready to unmix.")
            self.plot.clear("The quality of the fit appears here")
            self.words.setText("")

    def follow_layers(self) -> None:
        """Tell whether the maps of the quality are shown; new maps come without them."""
        with signals_blocked(self.quality):
            self.quality.setChecked(self.bench.layers.shows("quality"))

    def _show_quality(self, wanted: bool) -> None:
        with telling():
            if not wanted:
                self.bench.layers.clear("quality")
                self.bench.layers.look_at("maps")
                return
            unmixed: Unmixed = self.session.value("unmixed")
            found = np.stack([unmixed.chi_square, unmixed.snr])  # (c, t, y, x)
            maps = unmixed.maps
            self.bench.layers.show_quality(
                ChannelMaps(found, ("Chi-square", "Signal to noise"), maps.tilts_deg, maps.pixel_nm)
            )

    def _start(self) -> None:
        with telling():
            self.bench.unmix(self.form.value())

    def _show(self, unmixed: Unmixed) -> None:
        tilts = unmixed.maps.tilts_deg
        chi_square = np.where(_matter(unmixed), unmixed.chi_square, np.nan)  # (t, y, x)
        views = np.nanmedian(chi_square, axis=(1, 2))
        self.plot.curves(
            {"median chi-square": (tilts, views)}, "tilt / deg", "reduced χ²", at_least=CHI_SQUARES
        )
        self.status.setText(f"Maps of {' and '.join(unmixed.maps.channels)} are ready. Go on with step 4.")
        lines = [
            f"Median reduced chi-square where there is matter: {np.nanmedian(chi_square):.3g}.",
            *unmixed.notes,
        ]
        self.words.setText("<br>".join(f"• {line}" for line in lines))


def _matter(unmixed: Unmixed) -> NDArray[np.bool_]:
    """Pixels (t, y, x) that show matter: vacuum has next to no counts, and its chi-square says nothing."""
    total = unmixed.maps.data.sum(axis=0)
    return total > 0.2 * np.percentile(total, 99)
