"""The files of a tilt series with angles, calibrations and problems: to be looked at, corrected and read."""

from __future__ import annotations

from pathlib import Path

from qtpy.QtCore import Qt, Signal
from qtpy.QtGui import QColor
from qtpy.QtWidgets import QFileDialog, QHBoxLayout, QTableWidget, QTableWidgetItem, QVBoxLayout, QWidget
from superqt.utils import signals_blocked

from napari_dipmtv._napari.plots import LINE_COLOURS
from napari_dipmtv._napari.stage_widget import button, enable, note
from napari_dipmtv._napari.tilt_edits import edited, same_view
from napari_dipmtv.io.tilt_rows import TiltRow, TiltTable

HEADS = ("Tilt / °", "File", "Problems", "Kind", "Angle from", "Pixel / nm", "Energies / eV")
TILT, FILE, PROBLEMS = 0, 1, 2
WIDEST_PX = 260
_EDITABLE = Qt.ItemFlag.ItemIsEnabled | Qt.ItemFlag.ItemIsSelectable | Qt.ItemFlag.ItemIsEditable
_FIXED = Qt.ItemFlag.ItemIsEnabled | Qt.ItemFlag.ItemIsSelectable


class TiltBox(QWidget):
    """Shows a `TiltTable`; the tick leaves views out, the first column corrects angles.

    Both change all images of the tilt: a low loss is of no use without its core loss.
    """

    read_wanted = Signal(object)  # TiltTable
    save_wanted = Signal(object, object)  # TiltTable, Path

    def __init__(self) -> None:
        super().__init__()
        self._loaded: TiltTable | None = None
        self._shown = TiltTable(())  # as the files tell it, or as it was read back
        self._now = self._shown
        self.table = QTableWidget(0, len(HEADS))
        self.table.setHorizontalHeaderLabels(HEADS)
        self.table.setToolTip(
            "The files of the series. Untick a view to leave it out; double-click an angle to correct it."
        )
        self.table.verticalHeader().setVisible(False)
        self.table.setMinimumHeight(190)
        self.told = note()
        self.told.setToolTip("What is wrong with the files, and whether they have been read like this")
        self.read = button("Read as ticked", "")
        self.save = button(
            "Save table …",
            "Write the table as CSV, which is opened again like a folder and can be corrected in a spreadsheet",
        )
        buttons, layout = QHBoxLayout(), QVBoxLayout(self)
        buttons.addWidget(self.read)
        buttons.addWidget(self.save)
        layout.setContentsMargins(0, 0, 0, 0)
        for part in (self.table, self.told):
            layout.addWidget(part)
        layout.addLayout(buttons)
        self.table.itemChanged.connect(self._on_edit)
        self.read.clicked.connect(lambda: self.read_wanted.emit(self._now))
        self.save.clicked.connect(self._choose_file)
        self._fill()

    def value(self) -> TiltTable:
        """The table as it stands, with all corrections."""
        return self._now

    def show_table(self, table: TiltTable, *, loaded: bool) -> None:
        """Show a table; ``loaded`` says that the spectra of the session were read by it."""
        self._loaded = table if loaded else None
        self._shown = self._now = table
        self._fill()

    def _on_edit(self, item: QTableWidgetItem) -> None:
        rows = self._now.rows
        tilts, use = [row.tilt_deg for row in rows], [row.use for row in rows]
        ticked = item.checkState() == Qt.CheckState.Checked
        problem = ""
        for i in same_view(rows, item.row()):
            use[i] = ticked
            if item.text() != _tilt_text(rows[item.row()]):
                try:
                    tilts[i] = float(item.text().replace("−", "-").replace(",", ".").rstrip("° "))
                except ValueError:
                    problem = (
                        f"Angle: expected degrees such as -17.5, got '{item.text()}'. Nothing was changed."
                    )
        self._now = edited(self._shown, tilts, use)
        self._fill(problem)

    def _fill(self, problem: str = "") -> None:
        with signals_blocked(self.table):
            self.table.setRowCount(len(self._now.rows))
            for r, row in enumerate(self._now.rows):
                self._fill_row(r, row)
            self.table.setColumnHidden(PROBLEMS, not self._now.problems)
            self.table.resizeColumnsToContents()
            self.table.setColumnWidth(PROBLEMS, min(self.table.columnWidth(PROBLEMS), WIDEST_PX))
        problems = len(self._now.problems)
        words = f"{problems} problem{'s' * (problems != 1)}, see the table. " if problems else ""
        if self._now == self._loaded:
            state = "" if problems else "All files fit together."
        elif self._loaded is None and self._now == self._shown:
            state = "Nothing was read: correct angles, or untick what is of no use."
        else:
            state = "Changed, but not read yet."
        self.told.setText(problem or f"{words}{state}".strip())
        same = "The spectra were read like this." if self._now == self._loaded else ""
        enable(self.read, "Read the ticked spectrum images with these angles, as new data", same)

    def _fill_row(self, r: int, row: TiltRow) -> None:
        header = row.header
        texts = [_tilt_text(row), row.path.name, "; ".join(row.problems), "", row.tilt_from, "", ""]
        if header is not None:
            texts[3] = header.kind
            texts[5] = "" if header.pixel_nm is None else f"{header.pixel_nm:.4g}"
            texts[6] = f"{header.energy.start_ev:.0f} – {header.energy.stop_ev:.0f}"
        for c, text in enumerate(texts):
            item = QTableWidgetItem(text)
            item.setToolTip(str(row.path) if c == FILE else text)
            item.setFlags(_EDITABLE if c == TILT and header is not None else _FIXED)
            if c == TILT:
                item.setFlags(item.flags() | Qt.ItemFlag.ItemIsUserCheckable)
                item.setCheckState(Qt.CheckState.Checked if row.use else Qt.CheckState.Unchecked)
                item.setToolTip("Tick: this view is used. Double-click: correct the angle.")
            elif row.problems and row.use:
                item.setForeground(QColor(LINE_COLOURS[0]))
            if not row.use:
                item.setForeground(Qt.GlobalColor.gray)
            self.table.setItem(r, c, item)

    def _choose_file(self) -> None:
        file, _ = QFileDialog.getSaveFileName(self, "Table of tilts", "tilts.csv", "Table (*.csv)")
        if file:
            self.save_wanted.emit(self._now, Path(file).with_suffix(".csv"))


def _tilt_text(row: TiltRow) -> str:
    return "" if row.tilt_deg is None else f"{row.tilt_deg:+.4g}"
