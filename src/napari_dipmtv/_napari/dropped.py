"""Spectrum images that napari opens one by one, as when several are dropped at once, to one tilt series."""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from napari_dipmtv.data import EnergyAxis

FILE = "spectrum file"  # in the metadata of the layer of a single file, with its path

# files of each viewer that were opened since the event loop had its last turn, and whether they hold the zero loss
_opened: weakref.WeakKeyDictionary[ViewerModel, dict[Path, bool]] = weakref.WeakKeyDictionary()


def gather(path: Path, energy: EnergyAxis) -> None:
    """Note a file that is being opened; those that come together are joined once napari has shown them all."""
    from napari import current_viewer
    from qtpy.QtCore import QTimer

    viewer = current_viewer()
    if viewer is None:  # a reader may be called without a window
        return
    if viewer not in _opened:
        _opened[viewer] = {}
        QTimer.singleShot(0, partial(_join, weakref.ref(viewer)))
    _opened[viewer][path] = energy.start_ev <= 0 <= energy.stop_ev


def tidy(viewer: ViewerModel, files: Iterable[Path]) -> None:
    """Remove the layers of single files that are in a series now."""
    inside = {str(file.resolve()) for file in files}
    for layer in list(viewer.layers):
        if layer.metadata.get("dipmtv") == FILE and layer.metadata["path"] in inside:
            viewer.layers.remove(layer)


def _join(viewer_of: weakref.ref[ViewerModel]) -> None:
    """Read the files again as a series where low losses and core losses came together and nothing is loaded yet."""
    from napari.utils.notifications import show_info

    from napari_dipmtv._napari.bench import bench_of
    from napari_dipmtv._napari.hand_over import TAKEN

    viewer = viewer_of()
    files = {} if viewer is None else _opened.pop(viewer, {})
    if viewer is None or set(files.values()) != {True, False}:
        return
    bench = bench_of(viewer)
    if bench.empty and not bench.job.running:
        bench.load_spectra(tuple(files))
    else:
        show_info(TAKEN)
