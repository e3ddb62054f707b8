"""The view as it is to a picture or a film of the turning particle, with or without axes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from napari.utils.notifications import show_error, show_info
from qtpy.QtWidgets import QCheckBox, QFileDialog, QGridLayout, QWidget

from napari_dipmtv._napari.runs import telling
from napari_dipmtv._napari.stage_widget import button
from napari_dipmtv._napari.turntable import Turntable

if TYPE_CHECKING:
    from napari_dipmtv._napari.bench import Bench


FILMS = "GIF (*.gif);;WebP (*.webp);;MP4 (*.mp4);;Animated PNG, without loss (*.png)"


class PictureBox(QWidget):
    """Axes, scale bar, screenshot and turntable."""

    def __init__(self, bench: Bench) -> None:
        super().__init__()
        self._bench = bench
        self.axes = QCheckBox("Axes")
        self.axes.setToolTip("Show the directions z (beam at 0°), y (tilt axis) and x in the view")
        self.scale_bar = QCheckBox("Scale bar")
        self.scale_bar.setToolTip("Show the scale bar, in nm")
        self.scale_bar.setChecked(True)
        self.picture = button(
            "Save picture …", "Save the view as it is, without the window around it, as PNG"
        )
        self.film = button(
            "Turntable film …",
            "Turn the particle once around the tilt axis and save a GIF, WebP, MP4 or animated PNG",
        )
        self._turntable: Turntable | None = None
        grid = QGridLayout(self)
        grid.setContentsMargins(0, 0, 0, 0)
        for i, control in enumerate((self.axes, self.scale_bar, self.picture, self.film)):
            grid.addWidget(control, i // 2, i % 2)
        self.axes.toggled.connect(self._show_axes)
        self.scale_bar.toggled.connect(self._show_scale_bar)
        self.picture.clicked.connect(self._choose_picture)
        self.film.clicked.connect(self._choose_film)

    def save_picture(self, path: Path) -> None:
        """Write the view to a PNG file."""
        from imageio.v3 import imwrite

        from napari_dipmtv.io.atomic import atomic_write

        with telling():
            image = self._bench.layers.viewer.screenshot(canvas_only=True, flash=False)
            atomic_write(path, lambda partial: imwrite(partial, image, extension=".png"))

    def save_film(self, path: Path, frames: int = 36) -> None:
        """Begin to take a film of the particle turning once."""
        with telling():
            film = self._turntable = Turntable(self._bench.layers.viewer, path, frames)
            self.film.setEnabled(False)
            film.progressed.connect(lambda done, total: self.film.setText(f"Frame {done} of {total}"))
            film.done.connect(lambda file: self._end(f"Saved {file}"))
            film.failed.connect(lambda words: self._end("", words))
            film.start()

    def _end(self, words: str, problem: str = "") -> None:
        self.film.setEnabled(True)
        self.film.setText("Turntable film …")
        self._turntable = None
        show_error(problem) if problem else show_info(words)

    def _choose_picture(self) -> None:
        file, _ = QFileDialog.getSaveFileName(self, "Picture of the view", "view.png", "PNG (*.png)")
        if file:
            self.save_picture(Path(file).with_suffix(".png"))

    def _choose_film(self) -> None:
        file, _ = QFileDialog.getSaveFileName(self, "Film", "turntable.gif", FILMS)
        if file:
            self.save_film(Path(file))

    def _show_axes(self, wanted: bool) -> None:
        with telling():
            self._bench.layers.viewer.scene.overlays.axes.visible = wanted

    def _show_scale_bar(self, wanted: bool) -> None:
        with telling():
            self._bench.layers.viewer.canvas.overlays.scale_bar.visible = wanted
