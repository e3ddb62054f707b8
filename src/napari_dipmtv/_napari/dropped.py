"""Spectrum images that napari opens one by one, as when several are dropped at once, to a tilt series or to layers."""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from napari_dipmtv._napari.layer_data import LayerData, spectra_axes

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from napari_dipmtv._napari.bench import Bench
    from napari_dipmtv._napari.turns import Pieces

FILE = "spectrum file"  # in the metadata of the layer of a single file, with its path

# files of each viewer that were opened since the event loop had its last turn
_opened: weakref.WeakKeyDictionary[ViewerModel, list[Path]] = weakref.WeakKeyDictionary()


def read_aside(path: Path) -> bool:
    """Have a file read by a thread, joined with those that napari opens in the same moment; False without a window."""
    from napari import current_viewer
    from qtpy.QtCore import QTimer

    viewer = current_viewer()
    if viewer is None:
        return False
    if viewer not in _opened:
        _opened[viewer] = []
        QTimer.singleShot(0, partial(_begin, weakref.ref(viewer)))
    _opened[viewer].append(path)
    return True


def file_layer(path: Path) -> LayerData:
    """One spectrum image as (energy, tilt, 1, y, x) with one tilt; raises as `load_spectrum_image`."""
    import numpy as np

    from napari_dipmtv.io.spectrum_images import load_spectrum_image

    image = load_spectrum_image(path)
    data = np.moveaxis(image.counts, 2, 0)[:, None, None]  # (e, t, z, y, x)
    axes = spectra_axes(image.energy, (image.tilt_deg,), image.pixel_nm, image.counts.shape[:2])
    looks = {
        "name": image.title or path.stem,
        "contrast_limits": (0.0, max(float(np.nanpercentile(data, 99.5)), 1e-6)),
        "metadata": {**axes.pop("metadata"), "dipmtv": FILE, "path": str(path.resolve())},
    }
    return data, {**looks, **axes}, "image"


def tidy(viewer: ViewerModel, files: Iterable[Path]) -> None:
    """Remove the layers of single files that are in a series now."""
    inside = {str(file.resolve()) for file in files}
    for layer in list(viewer.layers):
        if layer.metadata.get("dipmtv") == FILE and layer.metadata["path"] in inside:
            viewer.layers.remove(layer)


def _begin(viewer_of: weakref.ref[ViewerModel]) -> None:
    from napari_dipmtv._napari.bench import bench_of

    viewer = viewer_of()
    files = [] if viewer is None else _opened.pop(viewer, [])
    if viewer is not None and files:
        bench = bench_of(viewer)
        bench.layers.take(f"open {files}", _opening(bench, files))


def _opening(bench: Bench, files: Sequence[Path]) -> Pieces:
    """Read a series where low losses and core losses came together and nothing is loaded yet, else show each file."""
    from napari.utils.notifications import show_info

    from napari_dipmtv._napari.hand_over import TAKEN
    from napari_dipmtv._napari.turns import aside
    from napari_dipmtv.io.tilt_table import survey

    table = yield from aside(lambda: survey(files))
    kinds = {row.header.kind for row in table.rows if row.header}
    together = len(files) > 1 and kinds >= {"low-loss", "core-loss"}
    if together and bench.empty and not bench.job.running:
        bench.load_spectra(tuple(files))
        return
    names = ", ".join(path.name for path in files)
    show_info(TAKEN if together else f"Reading {names}: the layers come by themselves.")
    for path in files:  # each by itself, so that a bad one takes none of the others with it
        bench.layers.take(f"show {path}", bench.layers.adding(partial(file_layer, path)))
