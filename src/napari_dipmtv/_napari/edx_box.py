"""EDX spectrum images and the names of X-ray lines to maps: lines, settings and the button that begins."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtWidgets import QFileDialog, QFormLayout, QLineEdit, QSpinBox, QVBoxLayout, QWidget

from napari_dipmtv._napari.forms import SettingsForm
from napari_dipmtv._napari.runs import telling
from napari_dipmtv._napari.stage_widget import button, enable
from napari_dipmtv.io.project import EdxImages
from napari_dipmtv.settings.edx import EdxSettings

if TYPE_CHECKING:
    from napari_dipmtv._napari.bench import Bench

TIP = "Choose a folder with one EDX spectrum image per tilt (bcf, emd, hspy …); each line becomes a channel"


class EdxBox(QWidget):
    """Asks for lines and a folder, and has the maps made as new data."""

    def __init__(self, bench: Bench) -> None:
        super().__init__()
        self._bench = bench
        self.lines = QLineEdit()
        self.lines.setPlaceholderText("Fe_Ka, O_Ka")
        self.lines.setToolTip("X-ray lines that become channels, separated by commas")
        self.binning = QSpinBox()
        self.binning.setRange(1, 64)
        self.binning.setToolTip("So many pixels along y and x are added up while reading; counts stay counts")
        self.form = SettingsForm(EdxSettings)
        self.choose = button("EDX spectrum images …", TIP)
        layout, words = QVBoxLayout(self), QFormLayout()
        layout.setContentsMargins(0, 0, 0, 0)
        words.addRow("Lines", self.lines)
        words.addRow("Add up pixels", self.binning)
        layout.addLayout(words)
        layout.addWidget(self.form)
        layout.addWidget(self.choose)
        self.choose.clicked.connect(self._ask)
        self.lines.textChanged.connect(self._check)
        self.form.validityChanged.connect(self._check)
        self._check()

    @property
    def names(self) -> tuple[str, ...]:
        """The lines that are asked for."""
        return tuple(filter(None, (word.strip() for word in self.lines.text().split(","))))

    def open_folder(self, folder: Path) -> None:
        """Make the maps of a folder."""
        with telling():
            self._bench.load_edx(
                EdxImages(
                    folder=folder,
                    lines=self.names,
                    bin_pixels=self.binning.value(),
                    settings=self.form.value(),
                )
            )

    def take(self, images: EdxImages) -> None:
        """Show the words of a project that was opened."""
        self.lines.setText(", ".join(images.lines))
        self.binning.setValue(images.bin_pixels)
        self.form.setValue(images.settings)

    def _ask(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, "Folder of EDX spectrum images")
        if folder:
            self.open_folder(Path(folder))

    def _check(self, *_: object) -> None:
        enable(self.choose, TIP, self.form.problem or ("" if self.names else "Name the X-ray lines first."))
