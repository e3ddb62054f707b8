"""The viewer that napari hands to a dock to the viewer itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from napari.components import ViewerModel


def real_viewer(viewer: ViewerModel) -> ViewerModel:
    """Take off the proxy around the viewer of a dock that was opened from the menu *Plugins*.

    napari makes a new one for every dock and drops it at once, so that no two docks would share it and whatever is held
    weakly by it would be gone.
    """
    found: ViewerModel = getattr(viewer, "__wrapped__", viewer)
    return found
