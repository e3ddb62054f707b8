"""Step 1: files or a simulation become spectrum images or maps of the session; spectra are prepared."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from napari.utils.notifications import show_info
from qtpy.QtCore import Qt
from qtpy.QtGui import QDragEnterEvent, QDropEvent
from qtpy.QtWidgets import (
    QAbstractItemView,
    QCheckBox,
    QFileDialog,
    QHBoxLayout,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)
from superqt.utils import signals_blocked

from napari_dipmtv._napari.demo_settings import demo_settings
from napari_dipmtv._napari.edx_box import EdxBox
from napari_dipmtv._napari.forms import SettingsForm, folded
from napari_dipmtv._napari.job_bar import JobBar
from napari_dipmtv._napari.quick_box import QuickBox
from napari_dipmtv._napari.runs import telling
from napari_dipmtv._napari.sources import MapSource, kind_of
from napari_dipmtv._napari.stage_widget import StageWidget, button, enable, section
from napari_dipmtv._napari.tilt_box import TiltBox
from napari_dipmtv.io.headers import SPECTRUM_SUFFIXES
from napari_dipmtv.settings.simulation import SimulationSettings
from napari_dipmtv.settings.spectra import PrepareSettings

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from napari_dipmtv.data import MapStack, SpectrumSeries
    from napari_dipmtv.io.project import Project
    from napari_dipmtv.io.tilt_rows import TiltTable


class LoadWidget(StageWidget):
    """Opens spectrum images, maps or the demo, and prepares spectra."""

    title = "1 · Load"
    intro = (
        "Open a folder of dual EELS spectrum images, or maps you already have. You may also drop them here."
    )

    def __init__(self, napari_viewer: ViewerModel) -> None:
        super().__init__(napari_viewer)
        self.setAcceptDrops(True)
        self._make_controls()
        self._lay_out()
        self._connect()
        self.refresh()

    def open_paths(self, paths: list[Path]) -> None:
        """Read whatever has been chosen or dropped."""
        with telling():
            kind = kind_of(paths)
            if kind == "angles":
                self.map_source.setValue(self.map_source.value().replace(angles=str(paths[0])))
                show_info(f"{paths[0].name} is taken for the tilt angles. Now open or drop the maps.")
            elif kind == "project":
                self.bench.open_project(paths[0])
            elif kind in ("spectra", "tilt table"):
                alone = len(paths) == 1 and (kind == "tilt table" or paths[0].is_dir())
                self.bench.load_spectra(paths[0] if alone else paths)
            else:
                self.bench.load_maps(paths, self.map_source.value())

    def take_settings(self, project: Project) -> None:
        """Show the settings of a project that was opened."""
        self.prepare_form.setValue(project.prepare)
        if project.inputs.edx is not None:
            self.edx.take(project.inputs.edx)

    def refresh(self) -> None:
        """Fill the table and say what is loaded."""
        if self.session.has("series"):
            self._fill_spectra(self.session.value("series"))
        elif self.session.has("maps"):
            self._fill_maps(self.session.value("maps"), "Go on with step 4.")
        elif self.session.has("tilt_series"):
            self._fill_maps(self.session.value("tilt_series"), "They are aligned already: go on with step 5.")
        else:
            self.status.setText("Nothing is loaded yet.")
            self.table.setRowCount(0)
        if self.session.tilts is not None:
            self.tilts.show_table(self.session.tilts, loaded=True)
        self.tilts.setVisible(self.session.tilts is not None)
        self.table.setVisible(self.table.rowCount() > 0 and self.session.tilts is None)
        spectra = self.session.has("series")
        missing = "" if spectra else "Load spectrum images first; maps need no preparation."
        self.prepare_bar.block(missing or self.prepare_form.problem)
        enable(self.energy_slider, self._slider_tip, missing)
        self.follow_layers()

    def follow_layers(self) -> None:
        """Tell whether the spectra are shown."""
        with signals_blocked(self.energy_slider):
            self.energy_slider.setChecked(self.bench.layers.shows("spectra"))

    def dragEnterEvent(self, event: QDragEnterEvent) -> None:
        """Take files and folders."""
        if event.mimeData().hasUrls():
            event.acceptProposedAction()

    def dropEvent(self, event: QDropEvent) -> None:
        """Open what is dropped."""
        event.acceptProposedAction()
        self.open_paths([Path(url.toLocalFile()) for url in event.mimeData().urls()])

    def _make_controls(self) -> None:
        self.open_spectra = button(
            "Spectrum images …",
            f"Choose a folder with a low-loss and a core-loss file per tilt ({', '.join(SPECTRUM_SUFFIXES)})",
        )
        self.open_maps = button(
            "Maps …",
            "Choose one image stack per channel (mrc, rec, st, tif, npy …); give the angles below first",
        )
        self.open_folder = button(
            "Map folder …",
            "Choose a folder with one map file per view, or a folder that this plugin has saved",
        )
        self.open_demo = button(
            "Load demo data",
            "Simulate a dual EELS tilt series of a known FeO/Fe3O4 cube with a void; nothing is downloaded",
        )
        self.choose_angles = button("Angle file …", "Choose the file with one tilt angle per view")
        self.map_source = SettingsForm(MapSource)
        self.demo_form = SettingsForm(SimulationSettings)
        self.demo_form.setValue(demo_settings())
        self.edx = EdxBox(self.bench)
        self.load_bar = JobBar(self.bench.job, "load", "", "Load data with the buttons above")
        self.table = QTableWidget(0, 4)
        self.table.setToolTip("The views of the series, sorted by tilt")
        self.table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.table.verticalHeader().setVisible(False)
        self.table.setMinimumHeight(150)
        self.tilts = TiltBox()
        self.quick = QuickBox(self.bench)
        self._slider_tip = "Show the spectra themselves with a slider for the energy, besides their sums"
        self.energy_slider = QCheckBox("Energy slider")
        self.prepare_form = SettingsForm(PrepareSettings)
        self.prepare_bar = JobBar(
            self.bench.job,
            "prepare",
            "Prepare spectra",
            "Bring the zero-loss peak of every pixel to 0 eV, remove spikes and count in electrons",
        )

    def _lay_out(self) -> None:
        buttons, more = QHBoxLayout(), QHBoxLayout()
        buttons.addWidget(self.open_spectra)
        buttons.addWidget(self.open_maps)
        more.addWidget(self.open_demo)
        more.addWidget(self.open_folder)
        self.body.addLayout(buttons)
        self.body.addLayout(more)
        words = QWidget()
        inside = QVBoxLayout(words)
        inside.setContentsMargins(0, 0, 0, 0)
        inside.addWidget(self.map_source)
        inside.addWidget(self.choose_angles)
        self.body.addWidget(folded("About the maps: angles, pixels", words, "What map files do not tell"))
        self.body.addWidget(
            folded("About the demo: particle, dose", self.demo_form, "What the demo simulates")
        )
        self.edx_group = folded("Maps of X-ray lines (EDX)", self.edx, "EDX spectrum images, one per tilt")
        self.body.addWidget(self.edx_group)
        self.body.addWidget(self.load_bar)
        self.body.addWidget(self.table)
        self.body.addWidget(self.tilts)
        self.body.addWidget(self.quick)
        self.body.addWidget(self.energy_slider)
        self.body.addWidget(section("Prepare the spectra"))
        self.body.addWidget(self.prepare_form)
        self.body.addWidget(self.prepare_bar)

    def _connect(self) -> None:
        self.open_spectra.clicked.connect(self._choose_spectra)
        self.open_maps.clicked.connect(self._choose_maps)
        self.open_folder.clicked.connect(self._choose_folder)
        self.choose_angles.clicked.connect(self._choose_angles)
        self.open_demo.clicked.connect(self._load_demo)
        self.tilts.read_wanted.connect(self.bench.load_spectra)
        self.tilts.save_wanted.connect(self.bench.save_tilts)
        self.bench.refused.connect(self._show_refused)
        self.energy_slider.toggled.connect(self._toggle_spectra)
        self.prepare_form.validityChanged.connect(lambda _: self.refresh())
        self.prepare_bar.start_clicked.connect(self._prepare)

    def _choose_spectra(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, "Folder of spectrum images")
        if folder:
            self.bench.load_spectra(Path(folder))

    def _choose_maps(self) -> None:
        files, _ = QFileDialog.getOpenFileNames(self, "One stack of maps per channel")
        if files:
            self.open_paths([Path(file) for file in files])

    def _choose_folder(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, "Folder of maps")
        if folder:
            self.open_paths([Path(folder)])

    def _choose_angles(self) -> None:
        file, _ = QFileDialog.getOpenFileName(self, "Tilt angles")
        if file:
            self.open_paths([Path(file)])

    def _load_demo(self) -> None:
        with telling():
            self.bench.load_demo(self.demo_form.value())

    def _prepare(self) -> None:
        with telling():
            self.bench.prepare(self.prepare_form.value())

    def _toggle_spectra(self, wanted: bool) -> None:
        with telling():
            self.bench.show_spectra(wanted)

    def _show_refused(self, table: TiltTable) -> None:
        """Show files that could not be read, to be corrected; what was loaded before stays."""
        self.tilts.show_table(table, loaded=False)
        self.tilts.setVisible(True)
        self.table.setVisible(False)

    def _fill_spectra(self, series: SpectrumSeries) -> None:
        ny, nx, _ = series.tilts[0].low_loss.counts.shape
        state = "prepared" if self.session.has("prepared") else "not prepared yet"
        self.status.setText(
            f"{len(series.tilts)} tilts of {ny} × {nx} px at {series.pixel_nm:g} nm, dual EELS, {state}."
        )
        rows = [
            (f"{pair.tilt_deg:+.1f}°", _range(pair.low_loss), _range(pair.core_loss), pair.low_loss.title)
            for pair in series.tilts
        ]
        self._fill(("Tilt", "Low loss / eV", "Core loss / eV", "Title"), rows)

    def _fill_maps(self, maps: MapStack, next_step: str) -> None:
        _, views, ny, nx = maps.data.shape
        used = views if maps.valid is None else int(maps.valid.any(axis=(1, 2)).sum())
        self.status.setText(
            f"{used} of {views} views usable, {ny} × {nx} px at {maps.pixel_nm:g} nm, "
            f"channels {', '.join(maps.channels)}. {next_step}"
        )
        totals = maps.data.sum(axis=(2, 3))  # (c, t)
        rows = [
            (f"{tilt:+.1f}°", *(f"{total:.4g}" for total in totals[:, t]))
            for t, tilt in enumerate(maps.tilts_deg)
        ]
        self._fill(("Tilt", *(f"Sum {channel}" for channel in maps.channels)), rows)

    def _fill(self, heads: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
        self.table.setColumnCount(len(heads))
        self.table.setHorizontalHeaderLabels(heads)
        self.table.setRowCount(len(rows))
        for r, row in enumerate(rows):
            for c, text in enumerate(row):
                item = QTableWidgetItem(text)
                item.setTextAlignment(Qt.AlignmentFlag.AlignCenter)
                item.setToolTip(text)
                self.table.setItem(r, c, item)
        self.table.resizeColumnsToContents()
        self.table.horizontalHeader().setStretchLastSection(True)


def _range(image: object) -> str:
    energy = image.energy
    return f"{energy.start_ev:.0f} – {energy.stop_ev:.0f}"
