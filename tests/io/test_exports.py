"""Volumes and phases for other programs, read back by those programs."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import get_args

import h5py
import numpy as np
import pytest
import tifffile

from napari_dipmtv.cli.volumes import FORMATS
from napari_dipmtv.data import Segmentation, Volume
from napari_dipmtv.errors import ReadError
from napari_dipmtv.inspect import Measure
from napari_dipmtv.io.emd import emd_bytes, read_emd
from napari_dipmtv.io.figures import figures
from napari_dipmtv.io.meshes import (
    obj_bytes,
    ply_bytes,
    save_meshes,
    save_thickness,
    signed_volume,
    surface,
)
from napari_dipmtv.io.ome_zarr import load_ome_zarr, save_ome_zarr
from napari_dipmtv.io.volumes import VOLUME_FORMATS, VolumeFormat, load_labels, load_volume, save_volume
from napari_dipmtv.pipeline import ExportFormat, export

zarr = pytest.importorskip("zarr")
posix = pytest.mark.skipif(os.name == "nt", reason="signals and limits of POSIX")


def test_f55_ome_zarr_comes_back_exactly(tmp_path: Path, volume: Volume, labels: Segmentation) -> None:
    path = save_ome_zarr(volume, tmp_path / "volume.ome.zarr", labels)
    back, phases = load_ome_zarr(path)
    np.testing.assert_array_equal(back.data, volume.data)
    assert (back.channels, back.voxel_nm, back.metadata) == (
        volume.channels,
        volume.voxel_nm,
        volume.metadata,
    )
    assert phases is not None
    np.testing.assert_array_equal(phases.labels, labels.labels)
    assert phases.phases == labels.phases
    assert load_volume(tmp_path).channels == volume.channels
    assert load_volume(path).voxel_nm == 0.37


def test_f55_ome_zarr_says_what_the_standard_asks(
    tmp_path: Path, labels: Segmentation, volume: Volume
) -> None:
    """The MUSTs of OME-NGFF 0.5 for images and labels, read with zarr alone, as napari's reader does."""
    path = save_ome_zarr(volume, tmp_path / "a.ome.zarr", labels)
    root = zarr.open_group(path, mode="r")
    assert root.metadata.zarr_format == 3
    for group, axes in ((root, "czyx"), (root["labels/phases"], "zyx")):
        ome = group.attrs["ome"]
        assert ome["version"] == "0.5"
        (scales,) = ome["multiscales"]
        assert [axis["name"] for axis in scales["axes"]] == list(axes)
        assert {a["unit"] for a in scales["axes"] if a["type"] == "space"} == {"nanometer"}
        first = scales["datasets"][0]
        array = group[first["path"]]
        assert list(array.metadata.dimension_names) == list(axes)
        (step,) = first["coordinateTransformations"]
        assert step["type"] == "scale"
        assert step["scale"][-3:] == [0.37] * 3
        assert len(step["scale"]) == array.ndim
    assert root["labels"].attrs["ome"]["labels"] == ["phases"]
    about = root["labels/phases"].attrs["ome"]["image-label"]
    assert about["source"] == {"image": "../../"}
    assert {p["label-value"]: p["phase"] for p in about["properties"]} == {1: "FeO", 2: "Fe₃O₄"}
    assert all(len(c["rgba"]) == 4 for c in about["colors"])
    channels = root.attrs["ome"]["omero"]["channels"]
    assert [c["label"] for c in channels] == ["FeO", "Fe3O4"]
    assert all(len(c["color"]) == 6 and {"min", "max", "start", "end"} == set(c["window"]) for c in channels)


def test_f55_ome_zarr_passes_its_validator(tmp_path: Path, labels: Segmentation, volume: Volume) -> None:
    """The models of OME-NGFF 0.5 by the people who write the standard; they refuse what breaks it."""
    from ome_zarr_models.v05 import Image, ImageLabel, Labels

    path = save_ome_zarr(volume, tmp_path / "a.ome.zarr", labels)
    root = zarr.open_group(path, mode="r+")
    image = Image.from_zarr(root)
    assert [axis.name for axis in image.ome_attributes.multiscales[0].axes] == list("czyx")
    assert Labels.from_zarr(root["labels"]).ome_attributes.labels == ["phases"]
    told = ImageLabel.from_zarr(root["labels/phases"]).ome_attributes.image_label
    assert [colour.label_value for colour in told.colors] == [1, 2]
    broken = json.loads(json.dumps(dict(root.attrs)))
    broken["ome"]["multiscales"][0]["axes"].reverse()
    root.attrs.update(broken)
    with pytest.raises(ValueError, match=r"axes|axis"):
        Image.from_zarr(zarr.open_group(path, mode="r"))


@pytest.mark.parametrize("kind", VOLUME_FORMATS)
def test_f55_napari_opens_every_kind(tmp_path: Path, volume: Volume, kind: VolumeFormat) -> None:
    model = pytest.importorskip("napari.components").ViewerModel()
    from napari_dipmtv._napari.readers import get_folder_reader

    save_volume(volume, tmp_path, (kind,))
    read = get_folder_reader(str(tmp_path))
    assert read is not None
    for data, about, layer_kind in read(str(tmp_path)):
        model._add_layer_from_data(data, about, layer_kind)
    shown = {layer.name.split()[0]: layer for layer in model.layers}
    assert set(shown) == set(volume.channels)
    for channel, data in zip(volume.channels, volume.data, strict=True):
        np.testing.assert_array_equal(shown[channel].data, data)
        np.testing.assert_allclose(shown[channel].scale, 0.37, rtol=1e-6)
        assert {str(unit) for unit in shown[channel].units} == {"nanometer"}


def test_coarser_levels_lie_where_they_belong(tmp_path: Path) -> None:
    data = np.zeros((1, 6, 130, 7), np.float32)
    data[0, 2, 100, 4] = 8.0
    path = save_ome_zarr(Volume(data, ("A",), 0.5), tmp_path / "a.ome.zarr")
    root = zarr.open_group(path, mode="r")
    assert root["1"].shape == (1, 3, 65, 3)
    coarse = root["1"][...]
    assert coarse[0, 1, 50, 2] == 1.0  # the mean of 8 voxels
    scale, shift = root.attrs["ome"]["multiscales"][0]["datasets"][1]["coordinateTransformations"]
    place = np.array([1, 50, 2]) * scale["scale"][1:] + shift["translation"][1:]
    assert np.abs(place - np.array([2, 100, 4]) * 0.5).max() <= 0.25  # half a fine voxel


def test_f13_changed_ome_zarr_is_recognised(tmp_path: Path, volume: Volume) -> None:
    path = save_ome_zarr(volume, tmp_path / "a.ome.zarr")
    chunk = next(p for p in (path / "0").rglob("*") if p.is_file() and p.name != "zarr.json")
    chunk.unlink()  # zarr itself reads a missing chunk as zeros
    with pytest.raises(ReadError, match="changed data"):
        load_ome_zarr(path)
    zarr.open_group(tmp_path / "b.ome.zarr", mode="w")
    with pytest.raises(ReadError, match="napari-dipmtv wrote"):
        load_ome_zarr(tmp_path / "b.ome.zarr")


def test_f55_hyperspy_reads_emd(tmp_path: Path, volume: Volume) -> None:
    from rsciio.emd import file_reader

    paths = save_volume(volume, tmp_path, ("emd",))
    assert [path.name for path in paths] == ["volume_FeO.emd", "volume_Fe3O4.emd"]
    (signal_,) = file_reader(str(paths[1]))
    np.testing.assert_array_equal(signal_["data"], volume.data[1])
    assert [axis["name"] for axis in signal_["axes"]] == ["z", "y", "x"]
    assert [(axis["scale"], axis["units"]) for axis in signal_["axes"]] == [(pytest.approx(0.37), "nm")] * 3
    assert signal_["metadata"]["General"]["title"] == "Fe3O4"
    back = load_volume(paths)
    np.testing.assert_array_equal(back.data, volume.data)
    assert (back.channels, back.voxel_nm, back.metadata) == (volume.channels, 0.37, volume.metadata)


def test_f54_emd_of_an_odd_channel(tmp_path: Path, volume: Volume) -> None:
    path = tmp_path / "a.emd"
    path.write_bytes(emd_bytes(volume.data[0], 0.5, "../Fe²⁺/..", {}))
    assert read_emd(path)[1] == "../Fe²⁺/.."
    with h5py.File(tmp_path / "b.emd", "w") as file:
        file.create_group("data")
    with pytest.raises(ReadError, match="napari-dipmtv wrote"):
        read_emd(tmp_path / "b.emd")


def ply_mesh(raw: bytes) -> tuple[np.ndarray, np.ndarray]:
    head, body = raw.split(b"end_header\n", 1)
    counts = [int(line.split()[-1]) for line in head.decode().splitlines() if line.startswith("element")]
    corners = np.frombuffer(body, "<f4", 3 * counts[0]).reshape(-1, 3)
    faces = np.frombuffer(body[12 * counts[0] :], np.dtype([("n", "u1"), ("c", "<i4", 3)]))
    assert len(faces) == counts[1]
    assert (faces["n"] == 3).all()
    return corners.astype(float), faces["c"]


def test_f55_meshes_hold_the_same_body_in_every_format(tmp_path: Path, ball: Segmentation) -> None:
    paths = save_meshes(ball, tmp_path, ("stl", "ply", "obj"))
    assert {path.name for path in paths} == {
        f"mesh_{p}.{k}" for p in ("core", "void") for k in ("stl", "ply", "obj")
    }
    mesh = surface(ball, "core")
    lines = obj_bytes(*mesh).decode().splitlines()
    corners = np.array([line.split()[1:] for line in lines if line.startswith("v ")], float)
    triangles = np.array([line.split()[1:] for line in lines if line.startswith("f ")], int) - 1
    for one in (ply_mesh(ply_bytes(*mesh)), (corners, triangles)):
        assert signed_volume(*one) == pytest.approx(signed_volume(*mesh), rel=1e-4)
    assert all("nm" in raw[:300].decode(errors="replace") for raw in (ply_bytes(*mesh), obj_bytes(*mesh)))


def test_f55_another_program_reads_the_mesh(tmp_path: Path, ball: Segmentation) -> None:
    vispy = pytest.importorskip("vispy.io")
    corners, triangles = surface(ball, "core")
    save_meshes(ball, tmp_path, ("obj",))
    found, faces, *_ = vispy.read_mesh(str(tmp_path / "mesh_core.obj"))
    assert signed_volume(found.astype(float), faces) == pytest.approx(
        signed_volume(corners, triangles), rel=1e-4
    )


def test_f55_the_thickness_of_a_layer_stands_on_the_surface(tmp_path: Path) -> None:
    z, y, x = np.indices((30, 31, 32)) - np.array([13.0, 15.0, 17.0])[:, None, None, None]
    radius = np.sqrt(z**2 + y**2 + x**2)
    labels = (radius < 12).astype(np.uint8) + (radius < 9) + (radius < 6)
    phases = Segmentation(labels, {0: "vacuum", 1: "FeO skin", 2: "Fe3O4 shell", 3: "FeO core"}, 0.5)
    paths = save_thickness(phases, None, tmp_path)
    assert [path.name for path in paths] == ["thickness_FeO_skin.ply", "thickness_Fe3O4_shell.ply"]
    head, body = paths[0].read_bytes().split(b"end_header\n", 1)
    assert b"quality is the thickness in nm" in head
    count = int(head.split(b"element vertex ")[1].split()[0])
    kind = np.dtype([("at", "<f4", 3), ("quality", "<f4"), ("rgb", "u1", 3)])
    corners = np.frombuffer(body, kind, count)
    faces = np.frombuffer(body[count * kind.itemsize :], np.dtype([("n", "u1"), ("c", "<i4", 3)]))["c"]
    assert np.nanmedian(corners["quality"]) == pytest.approx(1.5, abs=0.15)  # 3 voxels of 0.5 nm
    places = corners["at"].astype(float)
    np.testing.assert_allclose(places.mean(axis=0), [0.75, 0, -0.75], atol=0.1)  # x, y, z from the middle
    assert signed_volume(places, faces) == pytest.approx(4 / 3 * np.pi * 6**3, rel=0.05)


def test_export_writes_every_format_with_its_story(
    tmp_path: Path, volume: Volume, labels: Segmentation
) -> None:
    story = {"settings": {"sirt": {"iterations": 7}}, "tilts_deg": [-60, 0, 60], "versions": {"numpy": "2"}}
    story |= {"losses": {"data": [3.0, 2.0, 1.0]}, "secret": "stays in the report"}
    measures = (Measure("FeO volume", 12.5, "nm³", 0.5),)
    formats = get_args(ExportFormat)
    written = export(
        tmp_path, volume=volume, segmentation=labels, measures=measures, provenance=story, formats=formats
    )
    names = {path.name for path in written}
    assert {"volume.ome.zarr", "volume_FeO.emd", "volume_FeO.tif", "volume_FeO.mrc", "volume.hspy"} <= names
    assert {"mesh_FeO.ply", "figure_slices.svg", "figure_losses.png", "report.html", "measures.csv"} <= names
    assert all(path.exists() for path in written)
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(names)  # nothing else, no temporary names
    for source in ("volume_FeO.tif", "volume_FeO.emd", "volume.hspy", "volume.ome.zarr"):
        paths = (
            [tmp_path / source, tmp_path / source.replace("FeO", "Fe3O4")]
            if "FeO" in source
            else tmp_path / source
        )
        told = load_volume(paths).metadata["provenance"]
        assert told["settings"]["sirt"]["iterations"] == 7, source
        assert told["tilts_deg"] == [-60, 0, 60]
        assert "secret" not in told
    assert load_labels(tmp_path / "labels.tif").phases == labels.phases
    assert tifffile.TiffFile(tmp_path / "volume_FeO.tif").ome_metadata.count("napari-dipmtv") > 0
    page = (tmp_path / "report.html").read_text()
    assert "FeO volume" in page
    assert "12.5" in page


def test_the_command_knows_every_format() -> None:
    assert set(FORMATS) == set(get_args(ExportFormat)) - {"html"}


def test_f55_figures_show_the_void_and_a_scale(volume: Volume, labels: Segmentation) -> None:
    drawn = figures(volume, labels, {"data": [2.0, 1.0], "none": []})
    assert list(drawn) == ["slices", "phases", "profile", "losses"]
    texts = [text.get_text() for axis in drawn["slices"].axes for text in axis.texts]
    assert any(text.endswith(" nm") for text in texts)
    assert figures() == {}
    assert list(figures(volume, None, {"data": [1.0]})) == ["slices"]
