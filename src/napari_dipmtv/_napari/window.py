"""The viewer that napari hands to a dock to the viewer itself, and its window: whether it is there, and is painted."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from qtpy.compat import isalive

if TYPE_CHECKING:
    from napari.components import ViewerModel


def real_viewer(viewer: ViewerModel) -> ViewerModel:
    """Take off the proxy around the viewer of a dock that was opened from the menu *Plugins*.

    napari makes a new one for every dock and drops it at once, so that no two docks would share it and whatever is held
    weakly by it would be gone.
    """
    found: ViewerModel = getattr(viewer, "__wrapped__", viewer)
    return found


def is_open(viewer: ViewerModel | None) -> bool:
    """True unless a viewer is gone or its window was closed; a viewer without a window has none to close."""
    if viewer is None:
        return False
    window = getattr(viewer, "window", None)
    # napari has no public sign of a closed window: `Window.close` takes this attribute away, a click on the cross
    # deletes what it holds
    return window is None or (hasattr(window, "_qt_window") and isalive(window._qt_window))


@contextmanager
def unpainted(viewer: ViewerModel) -> Iterator[None]:
    """Leave the window as it looks, and paint it as a whole afterwards, for 0.02 s, in which it does nothing else."""
    if getattr(viewer, "window", None) is None:  # there is none to paint
        yield
        return
    held = weakref.ref(viewer.window._qt_window)  # who waits in here must not keep it alive once it is closed
    held().setUpdatesEnabled(False)
    try:
        yield
    finally:
        window = held()
        if window is not None and isalive(window):
            window.setUpdatesEnabled(True)
