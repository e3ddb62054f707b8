"""Regions: what is drawn is what is taken."""

from __future__ import annotations

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Shapes
from plugin_fakes import TILTS, series

from napari_dipmtv._napari.layers import Layers
from napari_dipmtv._napari.regions import region_of
from napari_dipmtv.data import Region
from napari_dipmtv.errors import InputError

SHAPE = (10, 12)


@pytest.fixture
def viewer() -> ViewerModel:
    return ViewerModel()


@pytest.fixture
def layers(viewer: ViewerModel, qapp: object, at_once: None) -> Layers:
    return Layers(viewer)


def drawn_in(layers: Layers, name: str) -> Shapes:
    """The layer in which somebody draws a region."""
    layers.take("regions", layers.region_layer(name, series(), "red"))
    return layers.alive("regions")[name]


def box(t: float, y0: float, y1: float, x0: float, x1: float) -> np.ndarray:
    return np.array([[t, 0, y0, x0], [t, 0, y0, x1], [t, 0, y1, x1], [t, 0, y1, x0]])


def test_a_given_region_survives_being_drawn(layers: Layers) -> None:
    """Holes included: a shell seen along the beam is a ring."""
    mask = np.zeros(SHAPE, bool)
    mask[2:8, 2:10] = True
    mask[4:6, 4:7] = False
    layers.draw_regions(series(), {"Fe3O4": Region(30.0, mask)})
    region = layers.region("Fe3O4", series())
    assert region.tilt_deg == 30.0
    assert np.array_equal(region.mask, mask)


def test_the_last_drawn_tilt_counts_and_shapes_join(layers: Layers) -> None:
    layer = drawn_in(layers, "FeO")
    layer.add_rectangles(box(0, 1, 8, 1, 8))
    layer.add_rectangles(box(3, 1.5, 3.5, 1.5, 3.5))
    layer.add_polygons(box(3, 5.5, 7.5, 5.5, 8.5))
    region = region_of(layer, TILTS, SHAPE)
    assert region.tilt_deg == TILTS[3]
    assert region.mask[2:4, 2:4].all()
    assert region.mask[6:8, 6:9].all()
    assert region.mask.sum() == 4 + 6


def test_an_ellipse(layers: Layers) -> None:
    layer = drawn_in(layers, "FeO")
    layer.add_ellipses(box(2, 0.5, 8.5, 1.5, 9.5))
    region = region_of(layer, TILTS, SHAPE)
    assert region.mask.sum() == pytest.approx(np.pi * 16, rel=0.1)
    assert region.mask[4, 5]
    assert not region.mask[1, 2]


def test_nothing_drawn_is_refused(layers: Layers) -> None:
    with pytest.raises(InputError, match="Draw one"):
        layers.region("FeO", series())
    drawn_in(layers, "FeO")
    with pytest.raises(InputError, match="Draw one"):
        layers.region("FeO", series())


def test_a_shape_beside_the_map_is_refused(layers: Layers) -> None:
    layer = drawn_in(layers, "FeO")
    layer.add_rectangles(box(0, 20, 25, 20, 25))
    with pytest.raises(InputError, match="at least one pixel"):
        region_of(layer, TILTS, SHAPE)
