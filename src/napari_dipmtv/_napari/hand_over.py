"""Data that napari has opened by itself to the session of its viewer, so that the docks go on from there."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from napari_dipmtv.errors import InputError

if TYPE_CHECKING:
    from napari_dipmtv._napari.bench import Bench

COMING = "The data are being loaded: their layers come by themselves. The dock DIPm-TV shows how far it is."
TAKEN = "Shown, but the docks keep the data they have. To work with this instead, open it in step 1."


def load_aside(load: Callable[[Bench], None], *, replace: bool = False) -> bool:
    """Have the bench of the current viewer load data in a thread, while the window answers.

    False where there is no viewer, or where the session has data already, which stay unless ``replace``: then it is for
    the caller to give the layers.

    Raises
    ------
    InputError
        Where data are to be replaced while something runs.
    """
    from napari import current_viewer
    from napari.utils.notifications import show_info

    from napari_dipmtv._napari.bench import bench_of

    viewer = current_viewer()
    if viewer is None:
        return False
    bench = bench_of(viewer)
    if replace and bench.job.why_not:
        raise InputError(bench.job.why_not)
    if not replace and (not bench.empty or bench.job.running):
        return False
    load(bench)
    if bench.job.running:
        show_info(COMING)
    return True


def hand_over(adopt: Callable[[Bench], None]) -> None:
    """Call ``adopt`` with the bench of the current viewer once napari has added the layers, which are then adopted.

    Data that the session has already stay, and the person is told so.
    """
    from napari import current_viewer
    from napari.utils.notifications import show_info
    from qtpy.QtCore import QTimer

    from napari_dipmtv._napari.bench import bench_of

    viewer = current_viewer()
    if viewer is None:  # a reader may be called without a window
        return
    bench = bench_of(viewer)
    if bench.empty and not bench.job.running:
        QTimer.singleShot(0, lambda: adopt(bench))
    else:
        show_info(TAKEN)
