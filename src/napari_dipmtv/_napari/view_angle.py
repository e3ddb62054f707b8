"""Where one looks from: the whole in 3-D, into a half cut, or flat through the middle."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from napari_dipmtv._napari.half_cut import HalfCut
from napari_dipmtv._napari.turns import ALONE, Pieces
from napari_dipmtv._napari.window import unpainted

if TYPE_CHECKING:
    from napari.components import ViewerModel

Plane = Literal["xy", "xz", "zy"]
ORDERS: dict[Plane, tuple[int, int, int]] = {
    "xy": (0, 1, 2),
    "xz": (1, 0, 2),
    "zy": (2, 1, 0),
}  # of (z, y, x)


def look_into(viewer: ViewerModel, cut: HalfCut) -> Pieces:
    """Turn the viewer to 3-D and the camera to the open side of the cut, piece by piece."""
    _order(viewer, "xy")
    yield ALONE
    with unpainted(viewer):
        viewer.dims.ndisplay = 3
        yield ALONE
        viewer.reset_view()
        up = (0.0, -1.0, 0.0) if cut.axis != "y" else (-1.0, 0.0, 0.0)  # y points down in images
        viewer.scene.camera.set_view_direction(view_direction=cut.view_direction(), up_direction=up)


def turn_flat(viewer: ViewerModel) -> Pieces:
    """Turn the viewer to 2-D, piece by piece."""
    with unpainted(viewer):
        viewer.dims.ndisplay = 2
        yield ALONE
    yield ALONE


def look_flat(viewer: ViewerModel, plane: Plane) -> Pieces:
    """Show one plane through the middle of the volume in 2-D, piece by piece."""
    yield from turn_flat(viewer)
    _order(viewer, plane)
    yield ALONE
    depths = range(max(0, viewer.dims.ndim - 3), viewer.dims.ndim)
    viewer.dims.set_point(tuple(depths), (0.0,) * len(depths))
    yield
    viewer.reset_view()


def _order(viewer: ViewerModel, plane: Plane) -> None:
    lead = viewer.dims.ndim - 3
    viewer.dims.order = (*range(lead), *(lead + axis for axis in ORDERS[plane]))
