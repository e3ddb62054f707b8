"""Save, reopen and repeat: the menu of one viewer's project, and the list of everything that was run."""

from __future__ import annotations

from pathlib import Path
from pprint import pformat
from typing import TYPE_CHECKING

from napari.utils.notifications import show_info
from qtpy.QtWidgets import (
    QAbstractItemView,
    QApplication,
    QDialog,
    QFileDialog,
    QHeaderView,
    QMenu,
    QPushButton,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from napari_dipmtv._napari.project_file import default_output
from napari_dipmtv._napari.results_list import changed
from napari_dipmtv._napari.runs import telling
from napari_dipmtv.io.project import PROJECT_SUFFIX

if TYPE_CHECKING:
    from napari_dipmtv._napari.bench import Bench
    from napari_dipmtv._napari.session import Session
    from napari_dipmtv.io.project import Project

FILTER = f"DIPm-TV project (*{PROJECT_SUFFIX})"


class ProjectMenu(QPushButton):
    """One button with everything that concerns the whole way."""

    def __init__(self, bench: Bench) -> None:
        super().__init__()
        self._bench = bench
        self.setText("Project")
        self.setToolTip(
            "Save the whole way in one file, reopen it, or repeat it from Python or the command line"
        )
        menu = QMenu(self)
        menu.setToolTipsVisible(True)
        self.open = menu.addAction("Open …", self._choose_to_open)
        self.save = menu.addAction("Save with results …", self._choose_to_save)
        menu.addSeparator()
        self.python = menu.addAction("Copy as Python", self.copy_python)
        self.command = menu.addAction("Copy as command", self.copy_command)
        menu.addSeparator()
        self.history = menu.addAction("History …", self.show_history)
        for action, tip in (
            (
                self.open,
                "Load the data and the settings of a project, and its results where they are of its settings",
            ),
            (
                self.save,
                "Write settings and regions to one file and the results to a folder beside it; saved again "
                "by itself after every step",
            ),
            (self.python, "Lines for a notebook that repeat what was done, to the clipboard"),
            (self.command, "Line for a terminal that repeats what was saved, to the clipboard"),
            (self.history, "Every run of this window with its settings and how it ended"),
        ):
            action.setToolTip(tip)
        self.setMenu(menu)
        menu.aboutToShow.connect(self._allow)

    def copy_python(self) -> None:
        """Put lines that repeat the project on the clipboard."""
        with telling():
            QApplication.clipboard().setText(as_python(self._bench.project()))
            show_info("Python lines are on the clipboard.")

    def copy_command(self) -> None:
        """Put the command that repeats the saved project on the clipboard."""
        path = self._bench.project_path
        if path is not None:
            QApplication.clipboard().setText(as_command(path))
            show_info("The command is on the clipboard.")

    def show_history(self) -> HistoryDialog:
        """List every run."""
        dialog = HistoryDialog(self._bench.session, self)
        dialog.show()
        return dialog

    def _allow(self) -> None:
        self.command.setEnabled(self._bench.project_path is not None)

    def _choose_to_open(self) -> None:
        file, _ = QFileDialog.getOpenFileName(self, "Open a project", "", FILTER)
        if file:
            self._bench.open_project(Path(file))

    def _choose_to_save(self) -> None:
        start = self._bench.project_path or Path(f"particle{PROJECT_SUFFIX}")
        file, _ = QFileDialog.getSaveFileName(self, "Save the project", str(start), FILTER)
        if file:
            path = Path(file if file.endswith(PROJECT_SUFFIX) else f"{file}{PROJECT_SUFFIX}")
            self._bench.save_project(path, default_output(path))


class HistoryDialog(QDialog):
    """A table of runs, the newest first."""

    def __init__(self, session: Session, parent: QWidget) -> None:
        super().__init__(parent)
        self.setWindowTitle("History")
        self.resize(640, 300)
        self.table = QTableWidget(len(session.history), 4)
        self.table.setToolTip("Every run of this window; settings are those that differ from the usual ones")
        self.table.setHorizontalHeaderLabels(("At", "Step", "Settings", "Outcome"))
        self.table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.table.verticalHeader().setVisible(False)
        for r, entry in enumerate(reversed(session.history)):
            differing = {} if entry.settings is None else changed(entry.settings)
            words = ", ".join(f"{title} {value}" for title, value in differing.items()) or "usual"
            for c, text in enumerate((entry.at, entry.stage, words, entry.outcome)):
                item = QTableWidgetItem(text)
                item.setToolTip(text)
                self.table.setItem(r, c, item)
        header = self.table.horizontalHeader()
        header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        header.setSectionResizeMode(2, QHeaderView.ResizeMode.Stretch)  # cut short; the tooltip has it whole
        layout = QVBoxLayout(self)
        layout.addWidget(self.table)


def as_python(project: Project) -> str:
    """Lines for a notebook that repeat the project; what is usual is left out."""
    content = project.model_dump(mode="json", exclude_defaults=True)
    return (
        "from napari_dipmtv.io.project import Project\n"
        "from napari_dipmtv.pipeline import run_project\n\n"
        f"project = Project.from_mapping(\n{pformat(content, indent=1, width=100, sort_dicts=False)}\n)\n"
        "files = run_project(project)\n"
    )


def as_command(path: Path) -> str:
    """Line for a shell that repeats the project."""
    from shlex import quote

    return f"napari-dipmtv run {quote(str(path))}"
