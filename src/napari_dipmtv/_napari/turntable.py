"""A 3-D view to a short film in which the particle turns once, one frame at a time so that the window stays awake."""

from __future__ import annotations

import importlib.util
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QObject, QTimer, Signal

from napari_dipmtv.errors import DipmtvError, InputError, expected

if TYPE_CHECKING:
    from napari.components import ViewerModel

PICTURES = {".gif": "GIF", ".webp": "WEBP", ".png": "PNG"}  # of which Pillow writes films
FORMATS = (*PICTURES, ".mp4")
U8 = NDArray[np.uint8]
UP = (0.0, -1.0, 0.0)  # y points down in images


class Turntable(QObject):
    """Takes the frames and writes the film; ``done`` carries the file, ``failed`` a sentence."""

    progressed = Signal(int, int)
    done = Signal(object)  # Path
    failed = Signal(str)

    def __init__(self, viewer: ViewerModel, path: Path, frames: int = 36, frame_ms: int = 80) -> None:
        super().__init__()
        check_format(path)
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


def check_format(path: Path) -> None:
    """Refuse what cannot be written, before anything turns.

    Raises
    ------
    InputError
        For an unknown kind of film, and for MP4 without an encoder, which this package does not bring.
    """
    kind = path.suffix.lower()
    if kind not in FORMATS:
        raise InputError(expected("film", f"a name with {', '.join(FORMATS)}", path.name, "Rename it"))
    if kind == ".mp4" and importlib.util.find_spec("imageio_ffmpeg") is None:
        advice = "Run: pip install 'napari-dipmtv[film]', or save it as GIF or WebP"
        raise InputError(expected("MP4", "the package imageio-ffmpeg", "none", advice))


def write_film(frames: list[U8], path: Path, frame_ms: int) -> Path:
    """Write frames (y, x, 3) as a film, endless unless it is an MP4; nothing is left half written.

    Raises
    ------
    InputError, WriteError
    """
    from napari_dipmtv.io.atomic import atomic_write

    check_format(path)
    write = _write_mp4 if path.suffix.lower() == ".mp4" else _write_pictures
    return atomic_write(path, lambda partial: write(frames, partial, frame_ms))


def _write_pictures(frames: list[U8], path: Path, frame_ms: int) -> None:
    from PIL import Image

    first, *rest = [Image.fromarray(frame) for frame in frames]
    kind = PICTURES[path.suffix.lower()]
    first.save(path, format=kind, save_all=True, append_images=rest, duration=frame_ms, loop=0)


def _write_mp4(frames: list[U8], path: Path, frame_ms: int) -> None:
    """H.264 in 4:2:0, which everything plays and which wants even sizes: an odd last row or column is cut off."""
    import imageio_ffmpeg

    height, width = (size - size % 2 for size in frames[0].shape[:2])
    film = imageio_ffmpeg.write_frames(
        str(path), (width, height), fps=1000 / frame_ms, codec="libx264", quality=8, macro_block_size=2
    )
    film.send(None)
    for frame in frames:
        film.send(np.ascontiguousarray(frame[:height, :width]))
    film.close()
