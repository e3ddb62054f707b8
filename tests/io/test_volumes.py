"""Volumes, labels, meshes and reports, read back by the programs that people use."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import mrcfile
import numpy as np
import pytest
import tifffile

from napari_dipmtv.data import Segmentation, Volume
from napari_dipmtv.errors import InputError, ReadError
from napari_dipmtv.io.meshes import save_meshes, signed_volume, surface
from napari_dipmtv.io.reports import provenance, save_report, save_table
from napari_dipmtv.io.volumes import load_labels, load_volume, save_labels, save_volume
from napari_dipmtv.settings.tomo import SirtSettings

KINDS = ("ome-tiff", "mrc", "hspy")


@pytest.mark.parametrize(("kind", "count"), [("ome-tiff", 2), ("hspy", 1), ("mrc", 2)])
def test_f55_volume_comes_back_exactly(tmp_path: Path, volume: Volume, kind: str, count: int) -> None:
    paths = save_volume(volume, tmp_path / "new", (kind,))
    assert len(paths) == count
    back = load_volume(tmp_path / "new")
    np.testing.assert_array_equal(back.data, volume.data if kind != "mrc" else volume.data[::-1])
    assert set(back.channels) == set(volume.channels)
    assert back.voxel_nm == pytest.approx(volume.voxel_nm, rel=1e-6)
    if kind != "mrc":
        assert (back.channels, back.voxel_nm, back.metadata) == (
            volume.channels,
            volume.voxel_nm,
            volume.metadata,
        )


def test_f55_tifffile_and_fiji_see_zyx_in_nm(tmp_path: Path, volume: Volume) -> None:
    path = save_volume(volume, tmp_path)[1]
    with tifffile.TiffFile(path) as file:
        assert file.is_ome
        assert (file.series[0].axes, file.series[0].shape) == ("ZYX", (4, 6, 5))
        np.testing.assert_array_equal(file.asarray(), volume.data[1])
        pixels = tifffile.xml2dict(file.ome_metadata)["OME"]["Image"]["Pixels"]
    assert [pixels[f"PhysicalSize{axis}"] for axis in "XYZ"] == [0.37] * 3
    assert {pixels[f"PhysicalSize{axis}Unit"] for axis in "XYZ"} == {"nm"}
    assert pixels["Channel"]["Name"] == "Fe3O4"


def test_f55_mrcfile_sees_sections_in_angstrom(tmp_path: Path, volume: Volume) -> None:
    path = save_volume(volume, tmp_path, ("mrc",))[0]
    assert mrcfile.validate(path)
    with mrcfile.open(path) as file:
        assert file.is_volume()
        assert (file.header.nx, file.header.ny, file.header.nz) == (5, 6, 4)
        np.testing.assert_array_equal(file.data, volume.data[0])
        assert float(file.voxel_size.x) == pytest.approx(3.7)
        assert float(file.header.dmean) == pytest.approx(volume.data[0].mean(), rel=1e-5)


def test_f55_hyperspy_sees_channels_and_nm(tmp_path: Path, volume: Volume) -> None:
    hs = pytest.importorskip("hyperspy.api")
    signal = hs.load(save_volume(volume, tmp_path, ("hspy",))[0])
    np.testing.assert_array_equal(signal.data, volume.data)
    assert [axis.name for axis in signal.axes_manager._axes] == ["channel", "z", "y", "x"]
    assert [(axis.scale, str(axis.units)) for axis in signal.axes_manager._axes[1:]] == [(0.37, "nm")] * 3


def test_f52_channels_of_two_exports_are_not_mixed(tmp_path: Path, volume: Volume) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    save_volume(volume, old)
    save_volume(volume.replace(data=volume.data * 2), new)
    (new / "volume_FeO.tif").replace(old / "volume_FeO.tif")
    with pytest.raises(ReadError, match="2 channels of one volume"):
        load_volume(old)
    with pytest.raises(ReadError, match="2 channels of one volume"):
        load_volume(old / "volume_FeO.tif")
    with pytest.raises(ReadError, match="Choose one kind"):
        load_volume(tmp_path)


def test_f54_odd_channel_names_keep_their_names_inside(tmp_path: Path, volume: Volume) -> None:
    odd = volume.replace(channels=("../Fe²⁺", "..\\Fe²⁺"))
    paths = save_volume(odd, tmp_path)
    assert [path.parent for path in paths] == [tmp_path] * 2
    assert len(set(paths)) == 2
    assert load_volume(tmp_path).channels == odd.channels


def test_f13_image_edited_elsewhere_is_recognised(tmp_path: Path, volume: Volume) -> None:
    path = save_volume(volume, tmp_path)[0]
    tifffile.imwrite(path, volume.data[0])
    with pytest.raises(ReadError, match="exported"):
        load_volume(path)


def test_f55_labels_come_back_with_their_names(tmp_path: Path, ball: Segmentation) -> None:
    path = save_labels(ball, tmp_path / "labels.tif")
    back = load_labels(path)
    np.testing.assert_array_equal(back.labels, ball.labels)
    assert (back.phases, back.voxel_nm) == (ball.phases, ball.voxel_nm)
    image = tifffile.imread(path)
    assert (image.dtype, image.shape) == (np.uint8, (18, 17, 20))


def test_meshes_are_closed_and_hold_the_volume_of_the_voxels(tmp_path: Path, ball: Segmentation) -> None:
    paths = save_meshes(ball, tmp_path)
    assert [path.name for path in paths] == ["mesh_core.stl", "mesh_void.stl"]
    # marching cubes cuts the corners of voxels: much of a void of 112 voxels, next to nothing of a shell
    for path, phase, tolerance in zip(paths, ("core", "void"), (0.01, 0.08), strict=True):
        raw = path.read_bytes()
        facets = np.frombuffer(
            raw, np.dtype([("n", "<f4", 3), ("v", "<f4", (3, 3)), ("a", "<u2")]), offset=84
        )
        assert int.from_bytes(raw[80:84], "little") == len(facets) > 100
        points, corners = np.unique(facets["v"].reshape(-1, 3), axis=0, return_inverse=True)
        edges = corners.reshape(-1, 3)[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2)
        there, back = ({tuple(edge) for edge in some} for some in (edges, edges[:, ::-1]))
        assert there == back  # each edge is used once in each direction: closed, oriented
        assert len(there) == len(edges)
        voxels = ball.mask(phase).sum() * ball.voxel_nm**3
        assert signed_volume(points.astype(float), corners.reshape(-1, 3)) == pytest.approx(
            voxels, rel=tolerance
        )
        outward = np.einsum("ij,ij->i", facets["n"], facets["v"].mean(axis=1))
        radius = np.linalg.norm(facets["v"].mean(axis=1), axis=1)
        assert (outward[radius > 2.5] > 0).all()
        np.testing.assert_allclose(points.mean(axis=0), 0, atol=0.1)


def test_mesh_axes_are_x_y_z_from_the_centre() -> None:
    labels = np.zeros((9, 11, 13), np.uint8)
    labels[7, 2, 10] = 1  # z, y, x
    corners, triangles = surface(Segmentation(labels, {0: "vacuum", 1: "dot"}, 2.0), "dot")
    np.testing.assert_allclose(corners.mean(axis=0), [8, -6, 6])  # (10 - 6, 2 - 5, 7 - 4) voxels of 2 nm
    assert signed_volume(corners, triangles) > 0
    with pytest.raises(InputError, match="at least one voxel"):
        surface(Segmentation(labels, {0: "vacuum", 1: "dot", 2: "none"}, 2.0), "none")


@dataclass
class Row:
    phase: str
    volume_nm3: float


def test_table_and_report(tmp_path: Path) -> None:
    path = save_table([Row("core, 1", 1.5), Row("Fe₃O₄", float("nan"))], tmp_path / "measures.csv")
    with path.open(encoding="utf-8-sig", newline="") as stream:
        assert list(csv.reader(stream)) == [["phase", "volume_nm3"], ["core, 1", "1.5"], ["Fe₃O₄", "nan"]]
    with pytest.raises(InputError, match="same columns"):
        save_table([{"a": 1}, {"b": 1}], tmp_path / "b.csv")
    (tmp_path / "in.txt").write_bytes(b"abc")
    report = provenance(
        {"reconstruct": SirtSettings(iterations=7)},
        tilts_deg=(-1, 1),
        inputs=[tmp_path / "in.txt"],
        device="cpu",
    )
    saved = json.loads(save_report({**report, "losses": [1.0, np.inf]}, tmp_path / "report.json").read_text())
    assert saved["settings"] == {"reconstruct": SirtSettings(iterations=7).model_dump(mode="json")}
    assert saved["losses"] == [1.0, None]
    assert list(saved["inputs"].values()) == [
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    ]
    assert saved["versions"]["numpy"] == np.__version__


def test_reports_and_project_import_nothing_heavy() -> None:
    heavy = ("torch", "hyperspy", "rsciio", "skimage", "matplotlib", "astra", "dask")
    script = (
        "import sys, napari_dipmtv.io.reports, napari_dipmtv.io.spectrum_images, napari_dipmtv.io.maps, "
        "napari_dipmtv.io.volumes, napari_dipmtv.io.meshes\n"
        f"print(*[name for name in {heavy} if name in sys.modules])"
    )
    result = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env={**os.environ}, check=True
    )
    assert result.stdout.strip() == ""
