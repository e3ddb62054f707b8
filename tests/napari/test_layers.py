"""Layers: one scale bar for every stage, streams that survive what people do to layers, one plane for all solids."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from napari.components import ViewerModel
from plugin_fakes import CHANNELS, TILTS, cube, maps, series

from napari_dipmtv._napari.half_cut import HalfCut
from napari_dipmtv._napari.layers import Layers
from napari_dipmtv._napari.view_angle import look_flat, look_into
from napari_dipmtv.data import ChannelMaps, Segmentation
from napari_dipmtv.errors import InputError


@pytest.fixture
def viewer() -> ViewerModel:
    return ViewerModel()


@pytest.fixture
def layers(viewer: ViewerModel, at_once: None, qapp: object) -> Layers:
    return Layers(viewer)


def segmentation() -> Segmentation:
    labels = np.zeros((12, 12, 12), np.uint8)
    labels[2:-2, 2:-2, 2:-2] = 2
    labels[4:-4, 4:-4, 4:-4] = 1
    labels[6, 6, 6] = 3
    return Segmentation(labels, {0: "vacuum", 1: "FeO core", 2: "Fe3O4 shell", 3: "void"}, 0.5)


def test_all_stages_share_units_and_the_scale_bar(viewer: ViewerModel, layers: Layers) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # napari warns when units of layers disagree
        layers.show_sums(series())
        layers.show_spectra(series())
        layers.show_maps(maps(), "maps")
        layers.take("regions", layers.region_layer("FeO", series(), "red"))
        layers.show_volume(cube(), "SIRT", "volume 0")
        layers.show_segmentation(segmentation(), CHANNELS)
    assert [str(unit) for unit in viewer.layers.extent.units] == [
        "electron_volt",
        "degree",
        "nanometer",
        "nanometer",
        "nanometer",
    ]
    assert viewer.canvas.overlays.scale_bar.visible


def test_maps_and_volumes_are_centred_on_the_tilt_axis(viewer: ViewerModel, layers: Layers) -> None:
    layers.show_maps(maps(), "maps")
    layers.show_volume(cube(), "SIRT", "volume 0")
    for layer in viewer.layers:
        low, high = layer.extent.world[:, -2:]
        assert np.allclose(low + high, 0)
    assert viewer.layers[0].extent.world[0, 0] == TILTS[0]


def test_the_canvas_tells_the_real_tilt_of_uneven_series(viewer: ViewerModel, layers: Layers) -> None:
    tilts = (-61.0, -20.0, 3.0, 31.0, 60.0)
    uneven = maps().replace(tilts_deg=tilts)
    layers.show_maps(uneven, "maps")
    for i, tilt in enumerate(tilts):
        viewer.dims.set_current_step(0, i)
        assert viewer.canvas.overlays.text.text == f"tilt {tilt:+.1f}°"
    even = Layers(other := ViewerModel())
    even.show_maps(maps(), "maps")
    other.dims.set_current_step(0, 4)
    assert other.canvas.overlays.text.text == "tilt +60.0°"


def test_maps_are_seen_beside_a_volume_of_even_size(viewer: ViewerModel, layers: Layers) -> None:
    layers.show_volume(cube(12), "SIRT", "volume 0")
    layers.show_maps(maps(), "maps")
    shown = viewer.layers["FeO"]
    assert shown.visible
    assert not viewer.layers["FeO (SIRT)"].visible
    shown._slice_dims(viewer.dims)
    assert shown._slice.image.raw.max() > 0


def test_new_data_go_into_the_same_layers(viewer: ViewerModel, layers: Layers) -> None:
    layers.show_maps(maps(), "maps")
    before = list(viewer.layers)
    double = maps()
    layers.show_maps(ChannelMaps(double.data * 2, CHANNELS, TILTS, 0.5), "maps")
    assert list(viewer.layers) == before
    assert viewer.layers[0].data.max() == 2 * double.data[0].max()
    assert viewer.layers[0].contrast_limits[1] == pytest.approx(np.percentile(double.data[0] * 2, 99.8))


def test_channels_that_are_gone_go_from_the_viewer(viewer: ViewerModel, layers: Layers) -> None:
    layers.show_maps(maps(), "maps")
    layers.show_maps(maps().replace(channels=("Se", "Zn")), "maps")
    assert [layer.name for layer in viewer.layers] == ["Se", "Zn"]


def test_limits_that_somebody_set_stay(viewer: ViewerModel, layers: Layers) -> None:
    layers.grow(cube(), "running")
    viewer.layers[0].contrast_limits = (0.1, 0.7)
    layers.stream(cube(level=3), "running")
    assert viewer.layers[0].contrast_limits == [0.1, 0.7]
    assert viewer.layers[1].contrast_limits[1] > 3


def test_f40_a_deleted_streamed_layer_stays_deleted(viewer: ViewerModel, layers: Layers) -> None:
    layers.grow(cube(), "running")
    del viewer.layers[0]
    assert layers.stream(cube(level=2), "running")
    assert len(viewer.layers) == 1
    assert viewer.layers[0].data.max() == 2
    del viewer.layers[0]
    assert not layers.stream(cube(level=3), "running")
    assert len(viewer.layers) == 0
    layers.finish_stream(cube(level=4), "SIRT", "volume 0")
    assert len(viewer.layers) == 0


def test_f41_renamed_reordered_hidden_and_edited_layers(viewer: ViewerModel, layers: Layers) -> None:
    layers.grow(cube(), "running")
    viewer.layers[0].name = "mine"
    viewer.layers[1].visible = False
    viewer.layers.move(0, 2)
    layers.stream(cube(level=5), "running")
    layers.finish_stream(cube(level=6), "SIRT", "volume 0")
    assert sorted(layer.name for layer in viewer.layers) == ["Fe3O4 (SIRT)", "mine"]
    assert viewer.layers["mine"].data.max() == 12
    assert not viewer.layers["Fe3O4 (SIRT)"].visible


def test_a_result_that_was_never_streamed_is_shown(viewer: ViewerModel, layers: Layers) -> None:
    layers.finish_stream(cube(), "SIRT", "volume 0")
    assert [layer.name for layer in viewer.layers] == ["FeO (SIRT)", "Fe3O4 (SIRT)"]


def test_an_abandoned_stream_leaves_nothing(viewer: ViewerModel, layers: Layers) -> None:
    layers.grow(cube(), "running")
    layers.end_stream()
    assert len(viewer.layers) == 0
    layers.end_stream()  # nothing streamed: nothing to do


@pytest.mark.parametrize("axis", ["z", "y", "x"])
@pytest.mark.parametrize("flip", [False, True])
def test_one_plane_cuts_all_solids(viewer: ViewerModel, layers: Layers, axis: Any, flip: bool) -> None:
    layers.show_maps(maps(), "maps")
    layers.show_volume(cube(), "SIRT", "volume 0")
    layers.cut(HalfCut(True, axis, 1.5, flip))
    layers.show_volume(cube(), "CS-TV", "volume 1")  # comes later, is cut too
    layers.show_segmentation(segmentation(), CHANNELS)
    solids = [layer for layer in viewer.layers if layer.ndim == 3]
    assert len(solids) == 5
    at = "zyx".index(axis)
    for layer in solids:
        [plane] = layer.experimental_clipping_planes
        assert plane.enabled
        assert plane.position[at] == 1.5
        assert plane.normal[at] == (-1 if flip else 1)
        assert np.count_nonzero(plane.normal) == 1
    assert all(len(layer.experimental_clipping_planes) == 0 for layer in viewer.layers if layer.ndim == 4)
    layers.cut(HalfCut(False, axis, 1.5, flip))
    assert all(len(layer.experimental_clipping_planes) == 0 for layer in solids)


@pytest.mark.parametrize("axis", ["z", "y", "x"])
@pytest.mark.parametrize("flip", [False, True])
def test_the_camera_looks_at_the_open_side(
    viewer: ViewerModel, layers: Layers, axis: Any, flip: bool
) -> None:
    layers.show_volume(cube(), "SIRT", "volume 0")
    cut = HalfCut(True, axis, 0.0, flip)
    layers.take("view", look_into(viewer, cut))
    kept = np.array(cut.planes()[0]["normal"])
    looking = np.array(viewer.scene.camera.view_direction)
    assert viewer.dims.ndisplay == 3
    assert kept @ looking > 0.6 * np.linalg.norm(looking)  # from the removed half towards the kept one


def test_flat_views_pass_through_the_middle(viewer: ViewerModel, layers: Layers) -> None:
    layers.show_maps(maps(), "maps")
    layers.show_volume(cube(), "SIRT", "volume 0")
    for plane, displayed in (("xz", ("z", "x")), ("zy", ("y", "z")), ("xy", ("y", "x"))):
        layers.take("view", look_flat(viewer, plane))
        names = dict(zip(range(4), ("tilt", "z", "y", "x"), strict=True))
        assert tuple(names[axis] for axis in viewer.dims.displayed) == displayed
        assert all(abs(viewer.dims.point[axis]) <= 0.25 for axis in (1, 2, 3))


def test_slices_add_up_and_solids_hide(viewer: ViewerModel, layers: Layers) -> None:
    layers.show_volume(cube(), "SIRT", "volume 0")
    assert {layer.blending for layer in viewer.layers} == {"additive"}
    viewer.dims.ndisplay = 3
    assert {layer.blending for layer in viewer.layers} == {"translucent"}
    viewer.dims.ndisplay = 2
    assert {layer.blending for layer in viewer.layers} == {"additive"}


def test_surfaces_stand_at_the_chosen_share_of_the_density(viewer: ViewerModel, layers: Layers) -> None:
    layers.show_volume(cube(), "SIRT", "volume 0")
    assert viewer.layers[0].iso_threshold == pytest.approx(1.0)  # half of 2
    layers.draw_volumes("mip", 0.25)
    assert viewer.layers[0].rendering == "mip"
    assert viewer.layers[0].iso_threshold == pytest.approx(0.5)
    layers.show_volume(cube(), "CS-TV", "volume 1")
    assert viewer.layers[2].rendering == "mip"
    assert viewer.layers[2].iso_threshold == pytest.approx(0.5)


def test_phases_carry_names_and_the_colours_of_their_channels(viewer: ViewerModel, layers: Layers) -> None:
    layers.show_segmentation(segmentation(), CHANNELS)
    layer = viewer.layers["Phases"]
    assert list(layer.features["phase"]) == ["vacuum", "FeO core", "Fe3O4 shell", "void"]
    colours = {value: tuple(np.round(layer.get_color(value), 2)) for value in (1, 2, 3)}
    assert len(set(colours.values())) == 3
    assert colours[1][0] > 0.9 > colours[2][0]  # orange core, blue shell
    assert layer.colormap.color_dict[0][3] == 0


@pytest.mark.parametrize(("offsets", "words"), [((0, 1, 0, 0, 0), "one energy axis")])
def test_spectra_that_cannot_share_a_slider_are_refused(
    layers: Layers, offsets: Any, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    monkeypatch.setattr("napari_dipmtv._napari.turns.show_error", told.append)
    layers.show_spectra(series(offsets))
    assert len(told) == 1
    assert words in told[0]
    assert not layers.shows("spectra")


def test_layers_that_napari_added_as_sample_are_adopted(viewer: ViewerModel, layers: Layers) -> None:
    from napari_dipmtv._napari.layer_data import map_layers

    for data, looks, _ in map_layers(maps(), "maps"):
        viewer.add_image(data, **looks)
    layers.show_maps(maps(), "maps")
    assert [layer.name for layer in viewer.layers] == list(CHANNELS)


def test_a_closed_viewer_is_free_to_go(at_once: None, qapp: object) -> None:
    import gc
    import weakref

    viewer = ViewerModel()
    layers = Layers(viewer)
    layers.show_volume(cube(), "SIRT", "volume 0")
    gone = weakref.ref(viewer)
    del viewer
    gc.collect()
    assert gone() is None
    with pytest.raises(InputError, match="open window"):
        _ = layers.viewer
