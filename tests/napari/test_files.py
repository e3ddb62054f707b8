"""Readers and writers: what napari opens and saves comes back the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from napari.components import ViewerModel
from plugin_fakes import CHANNELS, TILTS, cube, maps, series

from napari_dipmtv._napari.bench import bench_of
from napari_dipmtv._napari.readers import get_folder_reader, get_spectrum_reader, get_stack_reader
from napari_dipmtv._napari.writers import write_surface, write_volume
from napari_dipmtv.data import Segmentation, TiltSeries
from napari_dipmtv.errors import InputError
from napari_dipmtv.io.map_folder import save_maps
from napari_dipmtv.io.spectrum_images import save_series
from napari_dipmtv.io.volumes import load_labels, load_volume, save_labels, save_volume


def added(reader: Any, path: Path) -> ViewerModel:
    viewer = ViewerModel()
    for data, looks, kind in reader(str(path)):
        getattr(viewer, f"add_{kind}")(data, **looks)
    return viewer


@pytest.mark.parametrize("kind", [maps, lambda: maps(kind=TiltSeries)])
def test_saved_maps(tmp_path: Path, kind: Any) -> None:
    save_maps(kind(), tmp_path)
    viewer = added(get_folder_reader(str(tmp_path)), tmp_path)
    assert [layer.name for layer in viewer.layers] == list(CHANNELS)
    assert np.array_equal(viewer.layers[0].data[:, 0], kind().data[0])
    assert viewer.layers[0].metadata["tilts_deg"] == TILTS


def test_a_folder_of_spectrum_images(tmp_path: Path) -> None:
    bright = series()
    save_series(bright, tmp_path)
    viewer = added(get_folder_reader(str(tmp_path)), tmp_path)
    assert [layer.name for layer in viewer.layers] == ["Low-loss sum", "Core-loss sum"]
    assert viewer.layers[1].data.shape == (5, 1, 10, 12)
    assert (viewer.layers[1].data == 18).all()


def test_one_spectrum_image(tmp_path: Path) -> None:
    files = save_series(series(), tmp_path)
    file = next(path for path in files if "core" in path.name.lower())
    viewer = added(get_spectrum_reader(str(file)), file)
    [layer] = viewer.layers
    assert layer.data.shape == (6, 1, 1, 10, 12)
    assert layer.translate[0] == pytest.approx(700)
    assert str(layer.units[0]) == "electron_volt"


def test_an_mrc_is_a_volume_alone_and_maps_beside_angles(tmp_path: Path) -> None:
    full = cube().replace(data=cube().data + 0.1)  # empty views would be left out
    [file, _] = save_volume(full, tmp_path, ["mrc"])
    viewer = added(get_stack_reader(str(file)), file)
    assert viewer.layers[0].data.shape == (12, 12, 12)
    assert viewer.layers[0].scale[0] == pytest.approx(0.5)
    file.with_suffix(".rawtlt").write_text("\n".join(str(5.0 * i - 30) for i in range(12)))
    viewer = added(get_stack_reader(str(file)), file)
    assert viewer.layers[0].data.shape == (12, 1, 12, 12)


@pytest.mark.parametrize("path", ["a.tif", "a.png", "folder"])
def test_foreign_files_are_left_alone(tmp_path: Path, path: str) -> None:
    (tmp_path / "folder").mkdir()
    for reader in (get_spectrum_reader, get_stack_reader, get_folder_reader):
        assert reader(str(tmp_path / path)) is None


def test_volumes_and_phases_are_written_and_read(tmp_path: Path, at_once: None) -> None:
    viewer = ViewerModel()
    bench_of(viewer).layers.show_volume(cube(), "SIRT", "volume 0")
    labels = np.zeros((12, 12, 12), np.uint8)
    labels[4:8, 4:8, 4:8] = 1
    phases = Segmentation(labels, {0: "vacuum", 1: "FeO core"}, 0.5)
    bench_of(viewer).layers.show_segmentation(phases, CHANNELS)
    written = write_volume(
        str(tmp_path / "out.tif"), [layer.as_layer_data_tuple() for layer in viewer.layers]
    )
    assert len(written) == 3
    volume = load_volume(tmp_path / "out")
    assert np.array_equal(volume.data, cube().data)
    assert (volume.channels, volume.voxel_nm) == (("FeO (SIRT)", "Fe3O4 (SIRT)"), 0.5)
    assert load_labels(tmp_path / "out" / "labels.tif").phases == phases.phases
    again = added(get_folder_reader(str(tmp_path / "out")), tmp_path / "out")
    assert [layer.name for layer in again.layers] == [*volume.channels, "Phases"]


def test_one_labels_layer(tmp_path: Path) -> None:
    layer = ViewerModel().add_labels(np.ones((4, 4, 4), np.uint8), scale=(2, 2, 2))
    data, about, _ = layer.as_layer_data_tuple()
    write_volume(str(tmp_path / "out"), data, about)
    assert load_labels(tmp_path / "out" / "labels.tif").phases == {1: "phase 1"}


def test_maps_are_sent_to_the_export_dock(tmp_path: Path, at_once: None) -> None:
    viewer = ViewerModel()
    bench_of(viewer).layers.show_maps(maps(), "maps")
    with pytest.raises(InputError, match="step 8"):
        write_volume(str(tmp_path / "out"), [viewer.layers[0].as_layer_data_tuple()])


def test_a_surface_in_nm_as_x_y_z(tmp_path: Path) -> None:
    corners = np.array([[0, 0, 0], [1, 0, 0], [0, 2, 0], [0, 0, 3]], float)  # (z, y, x)
    faces = np.array([[0, 1, 2], [0, 1, 3], [0, 2, 3], [1, 2, 3]])
    layer = ViewerModel().add_surface((corners, faces), scale=(0.5,) * 3, translate=(1, 1, 1))
    data, about, _ = layer.as_layer_data_tuple()
    [file] = write_surface(str(tmp_path / "s.stl"), data, about)
    facets = np.frombuffer(
        Path(file).read_bytes()[84:], np.dtype([("n", "<f4", 3), ("c", "<f4", (3, 3)), ("a", "<u2")])
    )
    assert len(facets) == 4
    assert facets["c"].reshape(-1, 3).max(axis=0) == pytest.approx([2.5, 2.0, 1.5])  # x, y, z


def test_phases_saved_by_name_only(tmp_path: Path) -> None:
    save_labels(Segmentation(np.ones((3, 3, 3), np.uint8), {1: "FeO"}, 1.0), tmp_path / "labels.tif")
    assert get_folder_reader(str(tmp_path)) is None
