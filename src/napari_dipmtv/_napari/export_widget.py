"""Step 7: what has been reached becomes files that other programs read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt, QUrl
from qtpy.QtGui import QDesktopServices
from qtpy.QtWidgets import (
    QCheckBox,
    QFileDialog,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QListWidget,
    QListWidgetItem,
)

from napari_dipmtv._napari.job_bar import JobBar
from napari_dipmtv._napari.runs import telling
from napari_dipmtv._napari.session import ADVICE, Stage
from napari_dipmtv._napari.stage_widget import StageWidget, button, enable, section

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from napari_dipmtv.io.project import Project
    from napari_dipmtv.pipeline import ExportFormat

# what the formats hold, the stage that they need, and what each of them is good for
GROUPS: Mapping[str, tuple[Stage, Mapping[ExportFormat, tuple[str, str]]]] = {
    "Volume": (
        "volume",
        {
            "ome-tiff": ("OME-TIFF", "Opens in napari and Fiji; keeps voxel size and channel names"),
            "ome-zarr": ("OME-Zarr", "A folder with a pyramid of resolutions, for napari and web viewers"),
            "mrc": ("MRC", "Opens in IMOD, Chimera and tomviz"),
            "hspy": ("HyperSpy", "Opens in HyperSpy"),
            "emd": ("EMD", "Opens in tomviz and HyperSpy"),
        },
    ),
    "Surfaces": (
        "segmentation",
        {
            "stl": ("STL", "Surface of every phase in nm, for printing and rendering"),
            "ply": ("PLY", "Surface of every phase in nm, for Blender, MeshLab and ParaView"),
            "obj": ("OBJ", "Surface of every phase in nm, for nearly every 3-D program"),
        },
    ),
    "Figures": (
        "volume",
        {
            "png": ("PNG", "Slices, phases, profile and losses as pictures"),
            "svg": ("SVG", "Slices, phases, profile and losses for a paper, with editable lines and text"),
            "html": ("Report page", "Figures, measures, settings and versions on one page for any browser"),
        },
    ),
}
PER_ROW = 2


class ExportWidget(StageWidget):
    """Chooses folder and formats, writes and lists the files."""

    title = "8 · Export"
    intro = (
        "Writes volume, phases, measures (CSV), maps and a report of all settings (JSON). "
        "Every file is complete or not there."
    )

    def __init__(self, napari_viewer: ViewerModel) -> None:
        super().__init__(napari_viewer)
        self.folder = QLineEdit()
        self.folder.setPlaceholderText("folder for the results")
        self.folder.setToolTip("Folder that the files are written into; it is made when it is missing")
        self.browse = button("Choose …", "Choose the folder for the results")
        self.formats: dict[ExportFormat, QCheckBox] = {
            name: QCheckBox(title) for _, formats in GROUPS.values() for name, (title, _) in formats.items()
        }
        self.formats["ome-tiff"].setChecked(True)
        self.replace = QCheckBox("Replace files of the same name")
        self.replace.setToolTip(
            "Without it an export into a folder with such files writes nothing and says so"
        )
        self.job_bar = JobBar(self.bench.job, "export", "Export", "Write the files")
        self.files = QListWidget()
        self.files.setToolTip("Files of the last export; a double click opens one")
        self._lay_out()
        self._connect()
        self.refresh()

    def take_settings(self, project: Project) -> None:
        """Show the settings of a project that was opened."""
        self.folder.setText(str(project.output))

    def refresh(self) -> None:
        """Say what would be written and allow what is possible."""
        for needs, formats in GROUPS.values():
            reason = "" if self.session.has(needs) else ADVICE[needs]
            for name, (_, tip) in formats.items():
                enable(self.formats[name], tip, reason)
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
        if not reason and self.session.has("volume") and not self.chosen:
            reason = "Choose at least one format."
        self.job_bar.block(reason)

    @property
    def chosen(self) -> tuple[ExportFormat, ...]:
        """Names of the formats that are ticked and can be written."""
        return tuple(name for name, box in self.formats.items() if box.isChecked() and box.isEnabled())

    def _lay_out(self) -> None:
        where, what = QHBoxLayout(), QGridLayout()
        where.addWidget(self.folder)
        where.addWidget(self.browse)
        row = 0
        for title, (_, formats) in GROUPS.items():
            what.addWidget(QLabel(title), row, 0, 1, PER_ROW)
            for i, name in enumerate(formats):
                what.addWidget(self.formats[name], row + 1 + i // PER_ROW, i % PER_ROW)
            row = what.rowCount()
        what.setColumnStretch(PER_ROW, 1)
        self.body.addLayout(where)
        self.body.addLayout(what)
        self.body.addWidget(self.replace)
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
        self.files.itemActivated.connect(_open)

    def _choose(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, "Folder for the results")
        if folder:
            self.folder.setText(folder)

    def _start(self) -> None:
        with telling():
            self.files.clear()
            folder = Path(self.folder.text().strip()).expanduser()
            self.bench.export(folder, self.chosen, overwrite=self.replace.isChecked())

    def _list(self, files: list[Path]) -> None:
        self.files.clear()
        for file in files:
            item = QListWidgetItem(f"{file.name} · {_bytes(file) / 1e3:,.0f} kB")
            item.setToolTip(str(file))
            item.setData(Qt.ItemDataRole.UserRole, str(file))
            self.files.addItem(item)


def _bytes(path: Path) -> int:
    """Size of a file, or of all files in a folder such as an OME-Zarr."""
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())


def _open(item: QListWidgetItem) -> None:
    QDesktopServices.openUrl(QUrl.fromLocalFile(item.data(Qt.ItemDataRole.UserRole)))
