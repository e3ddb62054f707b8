"""A 3-D view to a short film in which the particle turns once, one frame at a time so that the window stays awake."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, QTimer, Signal

from napari_dipmtv.data import F32
from napari_dipmtv.errors import DipmtvError, InputError, expected

if TYPE_CHECKING:
    from napari.components import ViewerModel

FORMATS = (".gif", ".webp", ".png")  # of which Pillow writes films
UP = (0.0, -1.0, 0.0)  # y points down in images


class Turntable(QObject):
    """Takes the frames and writes the film; ``done`` carries the file, ``failed`` a sentence."""

    progressed = Signal(int, int)
    done = Signal(object)  # Path
    failed = Signal(str)

    def __init__(self, viewer: ViewerModel, path: Path, frames: int = 36, frame_ms: int = 80) -> None:
        super().__init__()
        if path.suffix.lower() not in FORMATS:
            raise InputError(expected("film", f"a name with {', '.join(FORMATS)}", path.name, "Rename it"))
        self._viewer, self._path, self._frame_ms = viewer, path, frame_ms
        self._directions = around(viewer.scene.camera.view_direction, frames)
        self._before = viewer.scene.camera.angles
        self._frames: list[Any] = []
        self._timer = QTimer(self)
        self._timer.setInterval(0)
        self._timer.timeout.connect(self._step)

    def start(self) -> None:
        """Begin; returns at once."""
        self._timer.start()

    def stop(self) -> None:
        """Give up and turn back."""
        self._timer.stop()
        self._viewer.scene.camera.angles = self._before

    def _step(self) -> None:
        camera = self._viewer.scene.camera
        camera.set_view_direction(view_direction=self._directions[len(self._frames)], up_direction=UP)
        self._frames.append(self._viewer.screenshot(canvas_only=True, flash=False)[..., :3])
        self.progressed.emit(len(self._frames), len(self._directions))
        if len(self._frames) == len(self._directions):
            self.stop()
            self._write()

    def _write(self) -> None:
        try:
            write_film(self._frames, self._path, self._frame_ms)
        except DipmtvError as error:
            self.failed.emit(str(error))
        else:
            self.done.emit(self._path)


def around(direction: tuple[float, ...], count: int) -> list[tuple[float, float, float]]:
    """View directions (z, y, x) once around the vertical axis y, beginning with the given one."""
    z, y, x = (float(part) for part in direction)
    angles = [2 * math.pi * i / count for i in range(count)]
    return [(z * math.cos(a) - x * math.sin(a), y, z * math.sin(a) + x * math.cos(a)) for a in angles]


def write_film(frames: list[F32], path: Path, frame_ms: int) -> Path:
    """Write frames (y, x, 3) uint8 as an endless film; raises `WriteError`, and leaves nothing half written."""
    from PIL import Image

    from napari_dipmtv.io.atomic import atomic_write

    first, *rest = [Image.fromarray(frame) for frame in frames]
    kind = {".gif": "GIF", ".webp": "WEBP", ".png": "PNG"}[path.suffix.lower()]

    def write(partial: Path) -> None:
        first.save(partial, format=kind, save_all=True, append_images=rest, duration=frame_ms, loop=0)

    atomic_write(path, write)
    return path
