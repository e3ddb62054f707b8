"""The Qt binding to a warning where it wears Python down, as PySide6 6.12 does on Python 3.11."""

from __future__ import annotations

import platform
import sys
from functools import cache

import qtpy
from napari.utils.notifications import show_warning
from qtpy.QtCore import QObject, Signal

from napari_dipmtv.errors import expected

CALLS = 50


class Probe(QObject):
    """Something that calls a slot."""

    called = Signal()

    def listen(self) -> None:
        """Do nothing."""


def lost_references() -> int:
    """References to `None` and `True` that are missing after `CALLS` calls of a slot; with none left Python aborts."""
    probe = Probe()
    probe.called.connect(probe.listen)
    before = sys.getrefcount(None) + sys.getrefcount(True)
    for _ in range(CALLS):
        probe.called.emit()
    return before - sys.getrefcount(None) - sys.getrefcount(True)


@cache
def warn() -> None:
    """Say so once where the calls of slots use up references, before there is work that could be lost."""
    if lost_references() < CALLS // 2:
        return
    got = f"{qtpy.API_NAME} {qtpy.PYSIDE_VERSION or qtpy.PYQT_VERSION}"
    show_warning(
        expected(
            "Qt binding",
            "one with which Python runs for hours",
            f"{got}, with which Python {platform.python_version()} aborts after minutes",
            'Close napari and: pip install "PySide6<6.12"',
        )
    )
