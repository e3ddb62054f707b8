"""Whether, and how often, a volume is shown while it grows."""

from __future__ import annotations

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QCheckBox, QDoubleSpinBox, QHBoxLayout, QLabel, QVBoxLayout, QWidget

from napari_dipmtv._napari.stage_widget import enable


class StreamBox(QWidget):
    """A switch and the shortest time between two pictures; ``changed`` is emitted with every change of either."""

    changed = Signal()

    def __init__(self, on: bool, every_s: float) -> None:
        super().__init__()
        self.live = QCheckBox("Show the volume while it grows")
        self.live.setToolTip(
            "Sends the volume to the viewer now and then, taking at most 5 % of the computing time"
        )
        self.live.setChecked(on)
        self.pace = QDoubleSpinBox()
        self.pace.setRange(0.1, 600)
        self.pace.setDecimals(1)
        self.pace.setValue(every_s)
        rows, below = QVBoxLayout(self), QHBoxLayout()
        rows.setContentsMargins(0, 0, 0, 0)
        rows.addWidget(self.live)
        rows.addLayout(below)
        below.setContentsMargins(22, 0, 0, 0)  # under the words of the switch
        for part in (QLabel("every"), self.pace, QLabel("s")):  # a suffix is clipped where it is narrow
            below.addWidget(part)
        below.addStretch(1)
        self.live.toggled.connect(self._on_change)
        self.pace.valueChanged.connect(self._on_change)
        self._allow()

    @property
    def every_s(self) -> float | None:
        """Shortest time between two pictures; None where none are wanted."""
        return self.pace.value() if self.live.isChecked() else None

    def _on_change(self, *_: object) -> None:
        self._allow()
        self.changed.emit()

    def _allow(self) -> None:
        tip = "Shortest time between two pictures, in seconds; larger leaves more time to compute"
        enable(self.pace, tip, "" if self.live.isChecked() else "The volume is not shown while it grows.")
