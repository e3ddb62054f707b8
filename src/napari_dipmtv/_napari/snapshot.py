"""A volume folder to a photograph of the particle cut in half; run as a module with FOLDER and OUT.png."""

from __future__ import annotations

import sys
from pathlib import Path

SIZE_PX = (1000, 1000)
CUT_AXIS = "x"
CLOSER = 1.5  # than the whole field of view; the particle fills about half of it


def photograph(folder: Path, picture: Path) -> None:
    """Draw the phases of a volume cut in half, or its channels where the folder holds no ``labels.tif``.

    Parameters
    ----------
    folder : Path
        What ``reconstruct`` and ``segment`` wrote.
    picture : Path
        PNG.

    Raises
    ------
    ReadError, WriteError
    """
    import napari
    from imageio.v3 import imwrite

    from napari_dipmtv._napari.half_cut import HalfCut
    from napari_dipmtv._napari.layers import Layers
    from napari_dipmtv._napari.view_angle import look_into
    from napari_dipmtv.io.atomic import atomic_write
    from napari_dipmtv.io.volumes import load_labels, load_volume

    volume = load_volume(folder)
    labels = folder / "labels.tif"
    cut = HalfCut(enabled=True, axis=CUT_AXIS)
    viewer = napari.Viewer(show_welcome_screen=False)
    try:
        layers = Layers(viewer)
        if labels.is_file():
            layers.show_segmentation(load_labels(labels), volume.channels)
        else:
            layers.show_volume(volume, "volume", "volume")
        layers.take("view", look_into(viewer, cut))
        layers.settle()
        layers.cut(cut)
        viewer.window.resize(*SIZE_PX)
        viewer.scene.camera.zoom *= CLOSER
        image = viewer.screenshot(size=SIZE_PX, canvas_only=True, flash=False)
    finally:
        viewer.close()
    atomic_write(picture, lambda partial: imwrite(partial, image, extension=".png"))


if __name__ == "__main__":
    photograph(Path(sys.argv[1]), Path(sys.argv[2]))
