"""Tiny volumes, maps and runs that a test can hold, count and see closed."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from napari_dipmtv.data import (
    ChannelMaps,
    DualSpectrumImage,
    EnergyAxis,
    SpectrumImage,
    SpectrumSeries,
    Volume,
)
from napari_dipmtv.states import State

CHANNELS = ("FeO", "Fe3O4")
TILTS = (-60.0, -30.0, 0.0, 30.0, 60.0)


def cube(n: int = 12, level: float = 1.0) -> Volume:
    """A solid block of the first channel inside one of the second."""
    data = np.zeros((2, n, n, n), np.float32)
    data[1, 2:-2, 2:-2, 2:-2] = level
    data[1, 4:-4, 4:-4, 4:-4] = 0
    data[0, 4:-4, 4:-4, 4:-4] = 2 * level
    return Volume(data, CHANNELS, 0.5)


def maps(n: int = 12, kind: type = ChannelMaps) -> Any:
    """Projections along z, the same at every tilt."""
    views = np.repeat(cube(n).data.sum(axis=1)[:, None], len(TILTS), axis=1)
    return kind(views, CHANNELS, TILTS, 0.5)


def series(core_offsets: tuple[float, ...] = (0.0,) * len(TILTS)) -> SpectrumSeries:
    """Dual EELS without features, 10 x 12 pixels."""

    def image(start: float, tilt: float) -> SpectrumImage:
        counts = np.full((10, 12, 6), 3.0, np.float32)
        return SpectrumImage(counts, EnergyAxis(start, 0.5, 6), 0.5, tilt)

    return SpectrumSeries(
        tuple(
            DualSpectrumImage(image(0, t), image(700 + o, t))
            for t, o in zip(TILTS, core_offsets, strict=True)
        )
    )


def press(control: Any, qtbot: Any) -> None:
    """Press a control as a person does: a button with the mouse, a check box (wider than its words) by key."""
    from qtpy.QtCore import Qt
    from qtpy.QtWidgets import QCheckBox

    assert control.isEnabled(), control.toolTip()
    if isinstance(control, QCheckBox):
        qtbot.keyClick(control, Qt.Key.Key_Space)
    else:
        qtbot.mouseClick(control, Qt.MouseButton.LeftButton)


def as_after_a_restart(project: Path) -> Path:
    """A copy of a project with its data and results elsewhere: the window that saved it is still there and keeps it."""
    folder = project.parent.with_name(f"{project.parent.name}_moved")
    shutil.copytree(project.parent, folder)
    return folder / project.name


class Steps:
    """An iterator of states that a test can hold, count and see closed."""

    def __init__(
        self, total: int = 20, *, pause_s: float = 0.005, value: Callable[[int], Any] | None = None
    ) -> None:
        self.total, self.pause_s = total, pause_s
        self.value = value or (lambda i: i)
        self.fail_at: tuple[int, Exception] | None = None
        self.go = threading.Event()
        self.go.set()
        self.done = 0
        self.closed = False
        self.threads: set[int] = set()

    def __call__(self) -> Iterator[State[Any]]:
        try:
            for i in range(1, self.total + 1):
                self.go.wait(10)
                time.sleep(self.pause_s)
                if self.fail_at and self.fail_at[0] == i:
                    raise self.fail_at[1]
                self.done = i
                yield State(i, self.total, {"loss": 1 / i}, lambda i=i: self._snapshot(i), stage="Counting")
        finally:
            self.closed = True
            self.threads.add(threading.get_ident())

    def _snapshot(self, i: int) -> Any:
        self.threads.add(threading.get_ident())
        return self.value(i)
