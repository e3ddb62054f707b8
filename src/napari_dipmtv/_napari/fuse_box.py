"""HAADF files and a fused method to a run: what step 5 offers where a HAADF series exists."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QFileDialog, QFormLayout, QVBoxLayout, QWidget

from napari_dipmtv._napari.forms import SettingsForm
from napari_dipmtv._napari.haadf_source import HaadfSource
from napari_dipmtv._napari.session import TITLES
from napari_dipmtv._napari.stage_widget import button, choice, enable
from napari_dipmtv.settings.fused import FUSED_METHODS

if TYPE_CHECKING:
    from napari_dipmtv.io.project import Project

TIPS = {
    "fused": "The volume of least joint misfit and total variation: seconds to minutes, reproducible",
    "fused-dipm-tv": "DIPm-TV with a HAADF term: slower, and the most accurate on phantoms",
    "fused-published": "The procedure released with Nat. Commun. 15, 3555 (2024), for comparison",
}
FUSE_TIP = "Reconstruct one volume that explains the maps and the HAADF series"


class FuseBox(QWidget):
    """Asks for the HAADF series and a method; emits ``fuse_wanted``."""

    fuse_wanted = Signal()

    def __init__(self) -> None:
        super().__init__()
        self._reason = ""
        self.source = SettingsForm(HaadfSource)
        self.choose_images = button("HAADF images …", "Choose the stack of HAADF tilts")
        self.choose_angles = button("HAADF angles …", "Choose the file with one tilt angle per image")
        self.method = choice()
        self.forms = {name: SettingsForm(model) for name, model in FUSED_METHODS.items()}
        for name in FUSED_METHODS:
            self.method.addItem(TITLES[name], name)
            self.method.setItemData(self.method.count() - 1, TIPS[name], Qt.ItemDataRole.ToolTipRole)
        self.start = button("Fuse", FUSE_TIP)
        self._lay_out()
        self.choose_images.clicked.connect(lambda: self._ask("images", "HAADF images"))
        self.choose_angles.clicked.connect(lambda: self._ask("angles", "HAADF angles"))
        self.method.currentIndexChanged.connect(self._choose_method)
        self.start.clicked.connect(self.fuse_wanted)
        for form in (self.source, *self.forms.values()):
            form.valueChanged.connect(lambda _: self.allow(self._reason))
            form.validityChanged.connect(lambda _: self.allow(self._reason))
        self._choose_method()

    def allow(self, reason: str) -> None:
        """Offer the run, or let the button say why not."""
        self._reason = reason
        wrong = reason or self.source.problem or self.form.problem
        enable(self.start, FUSE_TIP, wrong or self.source.value().problem)

    def take(self, project: Project) -> None:
        """Show what a project says of its HAADF series."""
        self.source.setValue(HaadfSource.of_project(project.inputs, aligned=project.aligned))
        self.method.setCurrentIndex(self.method.findData(project.fuse.method))
        self.form.setValue(project.fuse.method_settings())

    @property
    def form(self) -> SettingsForm:
        """The form of the chosen method."""
        return self.forms[self.method.currentData()]

    def _lay_out(self) -> None:
        column, files, choice = QVBoxLayout(self), QVBoxLayout(), QFormLayout()
        column.setContentsMargins(0, 0, 0, 0)
        files.addWidget(self.choose_images)
        files.addWidget(self.choose_angles)
        choice.addRow("Method", self.method)
        column.addWidget(self.source)
        column.addLayout(files)
        column.addLayout(choice)
        for form in self.forms.values():
            column.addWidget(form)
        column.addWidget(self.start)

    def _ask(self, name: str, title: str) -> None:
        file, _ = QFileDialog.getOpenFileName(self, title)
        if file:
            self.source.setValue(self.source.value().replace(**{name: str(Path(file))}))
            self.allow(self._reason)

    def _choose_method(self, *_: object) -> None:
        for form in self.forms.values():
            form.setVisible(form is self.form)
        self.method.setToolTip(TIPS[self.method.currentData()])
        self.allow(self._reason)
