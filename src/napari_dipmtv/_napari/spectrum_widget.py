"""The pixel under the cursor and the drawn regions to their spectra, and energy windows in them to maps."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from qtpy.compat import isalive
from qtpy.QtWidgets import QCheckBox, QFileDialog, QHBoxLayout, QLabel
from superqt.utils import qthrottled

from napari_dipmtv._napari.runs import telling
from napari_dipmtv._napari.spectrum_plot import Curve, Range, SpectrumPlot, table
from napari_dipmtv._napari.stage_widget import StageWidget, button, enable
from napari_dipmtv.data import F64, DualSpectrumImage, Region, SpectrumImage, SpectrumSeries
from napari_dipmtv.settings.spectra import UnmixSettings
from napari_dipmtv.spectra import fit_region, region_spectrum

if TYPE_CHECKING:
    from napari.components import ViewerModel

LIVE_MS = 120


class SpectrumWidget(StageWidget):
    """Follows cursor, regions and references of its viewer."""

    title = "Spectrum"
    intro = "The spectrum under the cursor and of each region. Drag across it to map an energy window."
    needs = "series"

    def __init__(self, napari_viewer: ViewerModel) -> None:
        super().__init__(napari_viewer)
        self._pixel: tuple[int, int, int] | None = None  # (t, y, x)
        self.curves: dict[Range, list[Curve]] = {}
        self.live = QCheckBox("Follow the cursor")
        self.log = QCheckBox("Log low loss")
        self.log.setChecked(True)
        self.fit = QCheckBox("Fit")
        self.map = QCheckBox("Window map")
        self.export = button("Export …", "")
        self.plot = SpectrumPlot(napari_viewer)
        self._tips = {
            self.live: "Show the spectrum of the pixel under the mouse; off keeps the last one",
            self.log: "Logarithmic electrons per pixel, so that the edges show beside the zero-loss peak",
            self.map: "Show the sum over the energy window that is marked in the spectrum as a map of every tilt",
            self.export: "Save the plot as picture (PNG, SVG or PDF) and its numbers as CSV beside it",
        }
        self.live.setChecked(True)
        self._lay_out()
        self._connect(napari_viewer)
        self.refresh()

    def refresh(self) -> None:
        """Plot what is there."""
        for control, tip in self._tips.items():
            enable(control, tip, self.missing)
        unlearnt = "" if self.session.has("references") else "Make references first (step 2)."
        fit_tip = "Fit background and references to the low loss, and show them with the residual"
        enable(self.fit, fit_tip, unlearnt)
        self.status.setText(self.missing or "Move the mouse over a map in 2-D.")
        self.redraw()

    def _heading(self) -> QLabel:
        """One line: the dock below the picture is low, and its frame says what it is."""
        label = QLabel(self.intro)
        label.setWordWrap(True)
        return label

    @property
    def series(self) -> SpectrumSeries:
        """The prepared spectra, or the raw ones before that."""
        found: SpectrumSeries = self.session.value("prepared" if self.session.has("prepared") else "series")
        return found

    def point_at(self, pixel: tuple[int, int, int] | None) -> None:
        """Show the spectrum of a pixel (t, y, x)."""
        if pixel is not None and pixel != self._pixel:
            self._pixel = pixel
            t, y, x = pixel
            if not self.map.isChecked():
                self.status.setText(f"Pixel y {y}, x {x} at {self.series.tilts[t].tilt_deg:+.1f}°.")
            self.redraw()

    def redraw(self) -> None:
        """Plot pixel, regions and fit as they are now."""
        if self.missing:
            self.curves = {}
            self.plot.clear("Spectra appear here")
            return
        series = self.series
        self.curves = {"low": [], "fit": [], "core": []}
        for label, low, core, pair in self._spectra(series):
            self.curves["low"].append(Curve(label, pair.low_loss.energy.values, low))
            self.curves["core"].append(Curve(label, pair.core_loss.energy.values, core))
        if self.fit.isEnabled() and self.fit.isChecked():
            self.curves["fit"] = self._fitted()
        if not self.curves["fit"]:
            del self.curves["fit"]
        self.plot.spectra(self.curves, self.log.isChecked())

    def _lay_out(self) -> None:
        row = QHBoxLayout()
        for control in (self.live, self.log, self.fit, self.map):
            row.addWidget(control)
        row.addStretch()
        row.addWidget(self.export)
        self.body.addLayout(row)
        self.body.addWidget(self.plot)

    def _connect(self, viewer: ViewerModel) -> None:
        self._follow = qthrottled(self._on_cursor, timeout=LIVE_MS, parent=self)
        viewer.cursor.events.position.connect(self._on_move)
        self.log.toggled.connect(lambda _: self.redraw())
        self.fit.toggled.connect(lambda _: self.redraw())
        self.map.toggled.connect(self._toggle_map)
        self.plot.window_moved.connect(qthrottled(self._on_window, timeout=LIVE_MS, parent=self))
        self.export.clicked.connect(self._choose_export)

    def _on_move(self, *_: object) -> None:
        if isalive(self) and self.live.isChecked() and self.isVisible() and not self.missing:
            self._follow()

    def _on_cursor(self) -> None:
        if not self.missing:
            ny, nx, _ = self.series.tilts[0].low_loss.counts.shape
            self.point_at(self.bench.layers.pixel_under_cursor(len(self.series.tilts), (ny, nx)))

    def _spectra(self, series: SpectrumSeries) -> list[tuple[str, F64, F64, DualSpectrumImage]]:
        """Label, low loss, core loss and pair of the pixel and of every region; means per pixel."""
        t, y, x = self._where(series)
        pair = series.tilts[t]
        spectra = [("pixel", _at(pair.low_loss, y, x), _at(pair.core_loss, y, x), pair)]
        for name, region in self.bench.layers.drawn_regions(series).items():
            count = np.count_nonzero(region.mask)
            low, core = (region_spectrum(series, region, low_loss=low) / count for low in (True, False))
            spectra.append((name, low, core, _nearest(series, region)))
        return spectra

    def _where(self, series: SpectrumSeries) -> tuple[int, int, int]:
        """The pixel (t, y, x) that was looked at last, or the one in the middle."""
        ny, nx, _ = series.tilts[0].low_loss.counts.shape
        t, y, x = self._pixel or (len(series.tilts) // 2, ny // 2, nx // 2)
        return min(t, len(series.tilts) - 1), min(y, ny - 1), min(x, nx - 1)

    def _fitted(self) -> list[Curve]:
        """The low loss of the pixel as the maps are unmixed, in the window of the fit; nothing of an unusable pixel."""
        series, references = self.series, self.session.value("references").m
        t, y, x = self._where(series)
        if not np.isfinite(series.tilts[t].low_loss.counts[y, x]).all():
            return []
        mask = np.zeros(series.tilts[t].low_loss.counts.shape[:2], bool)
        mask[y, x] = True
        settings = self.bench.settings_of("unmix", UnmixSettings())
        with telling():
            found = fit_region(series, references, Region(series.tilts[t].tilt_deg, mask), settings)
            return [
                Curve("pixel", found.energy_ev, found.data),
                Curve("background", found.energy_ev, found.background, "--"),
                *(
                    Curve(f"+ {name}", found.energy_ev, found.background + part, ":")
                    for name, part in zip(found.names, found.components, strict=True)
                ),
                Curve("residual", found.energy_ev, found.residual),
            ]
        return []

    def _toggle_map(self, wanted: bool) -> None:
        with telling():
            if not wanted:
                self.bench.layers.clear("window")
                return
            edge = self.series.tilts[0].core_loss.energy
            low_ev, high_ev = edge.start_ev + 0.6 * (edge.stop_ev - edge.start_ev), edge.stop_ev
            self.plot.set_window("core", low_ev, high_ev)
            self._on_window("core", low_ev, high_ev)

    def _on_window(self, kind: Range, low_ev: float, high_ev: float) -> None:
        if self.map.isChecked() and not self.missing:
            with telling():
                self.bench.layers.show_window(self.series, kind == "low", low_ev, high_ev)
            self.status.setText(f"The map shows {low_ev:.1f} to {high_ev:.1f} eV.")

    def _choose_export(self) -> None:
        file, _ = QFileDialog.getSaveFileName(self, "Plot", "spectrum.png", "Pictures (*.png *.svg *.pdf)")
        if file:
            self.save(Path(file))

    def save(self, path: Path) -> None:
        """Write the plot as a picture and its numbers as CSV beside it."""
        from napari_dipmtv.io.atomic import atomic_write, write_bytes

        with telling():
            self.plot.draw()
            atomic_write(path, lambda partial: self.plot.figure.savefig(partial, dpi=200))
            write_bytes(path.with_suffix(".csv"), table(self.curves).encode())


def _at(image: SpectrumImage, y: int, x: int) -> F64:
    return np.asarray(image.counts[y, x], dtype=np.float64)


def _nearest(series: SpectrumSeries, region: Region) -> DualSpectrumImage:
    return min(series.tilts, key=lambda pair: abs(pair.tilt_deg - region.tilt_deg))
