"""Step 7: what has been reached becomes files that other programs read."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtWidgets import QCheckBox, QFileDialog, QGridLayout, QHBoxLayout, QLineEdit, QListWidget

from napari_dipmtv._napari.job_bar import JobBar
from napari_dipmtv._napari.runs import telling
from napari_dipmtv._napari.stage_widget import StageWidget, button, section

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from napari_dipmtv.io.project import Project

FORMATS = {
    "ome-tiff": ("OME-TIFF", "Opens in napari and Fiji; keeps voxel size and channel names"),
    "mrc": ("MRC", "Opens in IMOD, Chimera and tomviz"),
    "hspy": ("HyperSpy", "Opens in HyperSpy"),
    "stl": ("STL meshes", "Surface of every phase in nm, for rendering and printing; needs a segmentation"),
}


class ExportWidget(StageWidget):
    """Chooses folder and formats, writes and lists the files."""

    title = "7 · Export"
    intro = "Writes volume, phases, measures, maps and a report of all settings. Every file is complete or not there."

    def __init__(self, napari_viewer: ViewerModel) -> None:
        super().__init__(napari_viewer)
        self.folder = QLineEdit()
        self.folder.setPlaceholderText("folder for the results")
        self.folder.setToolTip("Folder that the files are written into; it is made when it is missing")
        self.browse = button("Choose …", "Choose the folder for the results")
        self.formats = {}
        for name, (title, tip) in FORMATS.items():
            self.formats[name] = QCheckBox(title)
            self.formats[name].setToolTip(tip)
        self.formats["ome-tiff"].setChecked(True)
        self.job_bar = JobBar(
            self.bench.job, "export", "Export", "Write the files; those of the same name are replaced"
        )
        self.files = QListWidget()
        self.files.setToolTip("Files of the last export")
        self._lay_out()
        self._connect()
        self.refresh()

    def take_settings(self, project: Project) -> None:
        """Show the settings of a project that was opened."""
        self.folder.setText(str(project.output))

    def refresh(self) -> None:
        """Say what would be written and allow what is possible."""
        there = [
            words
            for stage, words in (
                ("volume", "volume"),
                ("segmentation", "phases"),
                ("measures", "measures"),
                ("maps", "maps"),
            )
            if self.session.has(stage)
        ]
        reason = (
            ""
            if there
            else "There is nothing to export yet: make maps (steps 1 to 3) or a volume (step 5) first."
        )
        self.status.setText(reason or f"Ready to write: {', '.join(there)}.")
        if not reason and not self.folder.text().strip():
            reason = "Choose a folder first."
        if not reason and self.session.has("volume") and not self._volume_formats:
            reason = "Choose at least one format for the volume."
        self.job_bar.block(reason)

    @property
    def chosen(self) -> tuple[str, ...]:
        """Names of the formats that are ticked."""
        return tuple(name for name, box in self.formats.items() if box.isChecked())

    @property
    def _volume_formats(self) -> tuple[str, ...]:
        return tuple(name for name in self.chosen if name != "stl")

    def _lay_out(self) -> None:
        where, what = QHBoxLayout(), QGridLayout()
        where.addWidget(self.folder)
        where.addWidget(self.browse)
        for i, box in enumerate(self.formats.values()):
            what.addWidget(box, i // 2, i % 2)
        self.body.addLayout(where)
        self.body.addLayout(what)
        self.body.addWidget(self.job_bar)
        self.body.addWidget(section("Written"))
        self.body.addWidget(self.files)

    def _connect(self) -> None:
        self.browse.clicked.connect(self._choose)
        self.folder.textChanged.connect(lambda _: self.refresh())
        for box in self.formats.values():
            box.toggled.connect(lambda _: self.refresh())
        self.job_bar.start_clicked.connect(self._start)
        self.bench.exported.connect(self._list)

    def _choose(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, "Folder for the results")
        if folder:
            self.folder.setText(folder)

    def _start(self) -> None:
        with telling():
            self.files.clear()
            self.bench.export(Path(self.folder.text().strip()).expanduser(), self.chosen)

    def _list(self, files: list[Path]) -> None:
        self.files.clear()
        for file in files:
            self.files.addItem(f"{file.name} · {file.stat().st_size / 1e3:,.0f} kB")
            self.files.item(self.files.count() - 1).setToolTip(str(file))
