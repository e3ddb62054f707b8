"""Volumes and phases for other programs, read back by those programs; kills, full disks and leftovers."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import get_args

import h5py
import numpy as np
import pytest
import tifffile

from napari_dipmtv.cli.volumes import FORMATS
from napari_dipmtv.data import Segmentation, Volume
from napari_dipmtv.errors import ReadError, WriteError
from napari_dipmtv.inspect import Measure
from napari_dipmtv.io import atomic
from napari_dipmtv.io.atomic import atomic_folder, output_folder, sweep
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


@pytest.fixture
def labels(volume: Volume) -> Segmentation:
    values = (volume.data[0] > 0.5).astype(np.uint8) + (volume.data[1] > 0.8)
    return Segmentation(values, {0: "vacuum", 1: "FeO", 2: "Fe₃O₄"}, volume.voxel_nm)


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


NURSERY = """
import os, sys
from pathlib import Path
import numpy as np
from napari_dipmtv.data import Segmentation, Volume
from napari_dipmtv.io.reports import save_report
from napari_dipmtv.io.volumes import save_volume
folder = Path(sys.argv[1])
names = {k: str(k) for k in range(256)}

def save(value):
    volume = Volume(np.full((1, 32, 32, 32), value, np.float32), ("Fe",), 1.0)
    phases = Segmentation(np.full((32, 32, 32), value % 256, np.uint8), names, 1.0)
    save_volume(volume, folder, ("ome-tiff", "mrc", "emd", "hspy", "ome-zarr"), phases)
    save_report({"value": value, "curve": [value] * 2000}, folder / "report.json")

save(1)  # everything is loaded now, and in the file system
print("ready", flush=True)
for line in sys.stdin:
    child = os.fork()
    if child == 0:
        value = int(line)
        while True:
            save(value)
            value += 1
    print(child, flush=True)
    os.waitpid(child, 0)
    print("dead", flush=True)
"""


@posix
def test_f52_twenty_kills_leave_no_broken_file(tmp_path: Path) -> None:
    """One process after another exports over old results and is killed at a random moment."""
    words = [sys.executable, "-c", NURSERY, str(tmp_path)]
    pipe = subprocess.PIPE
    rng = np.random.default_rng(5)
    with subprocess.Popen(words, stdin=pipe, stdout=pipe, text=True, bufsize=1) as nursery:
        assert nursery.stdin is not None
        assert nursery.stdout is not None
        assert nursery.stdout.readline() == "ready\n"
        caught = 0
        for kill in range(20):
            print(2 + 1000 * kill, file=nursery.stdin, flush=True)
            child = int(nursery.stdout.readline())
            time.sleep(float(rng.uniform(0.01, 0.15)))
            os.kill(child, signal.SIGKILL)
            assert nursery.stdout.readline() == "dead\n"
            caught += any(".partial-" in path.name or ".aside-" in path.name for path in tmp_path.iterdir())
            sweep(tmp_path)
            _whole(tmp_path)
        nursery.stdin.close()
    assert caught > 5  # they were killed while writing, not before
    for entry in tmp_path.iterdir():
        os.utime(entry, (0, 0))
    sweep(tmp_path)
    assert {p.name for p in tmp_path.iterdir()} == {*FILES, "volume.ome.zarr", "report.json"}


FILES = ("volume_Fe.tif", "volume_Fe.mrc", "volume_Fe.emd", "volume.hspy")


def _whole(folder: Path) -> None:
    """Every result is there and of one value."""
    for name in FILES:
        assert len(np.unique(load_volume(folder / name).data)) == 1
    data, labels = load_ome_zarr(folder / "volume.ome.zarr")
    assert len(np.unique(data.data)) == 1
    assert labels is not None
    assert float(data.data[0, 0, 0, 0]) % 256 == labels.labels[0, 0, 0]
    told = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    assert told["curve"] == [told["value"]] * 2000


FULL = """
import resource, sys
from pathlib import Path
import numpy as np
from napari_dipmtv.data import Segmentation, Volume
from napari_dipmtv.errors import WriteError
from napari_dipmtv.io.ome_zarr import save_ome_zarr
from napari_dipmtv.io.volumes import save_volume
folder = Path(sys.argv[1])
noise = np.random.default_rng(0).random((1, 40, 40, 40), dtype=np.float32)
volume, phases = Volume(noise, ("Fe",), 1.0), Segmentation(noise[0] > 0.5, {0: "vacuum", 1: "x"}, 1.0)
import zarr
resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
for work in (
    lambda: save_ome_zarr(volume, folder / "volume.ome.zarr", phases),
    lambda: save_volume(volume, folder, ("emd",)),
):
    try:
        work()
    except WriteError as error:
        print("refused", error)
"""


@posix
def test_f51_full_disk_leaves_the_old_folder_and_no_partial(tmp_path: Path) -> None:
    old = Volume(np.full((1, 8, 8, 8), 7, np.float32), ("Fe",), 1.0)
    save_ome_zarr(old, tmp_path / "volume.ome.zarr")
    (tmp_path / "volume_Fe.emd").write_bytes(b"old")
    before = sorted(tmp_path.iterdir())
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout.count("refused")) == (0, 2), done.stderr
    assert sorted(tmp_path.iterdir()) == before
    np.testing.assert_array_equal(load_ome_zarr(tmp_path / "volume.ome.zarr")[0].data, old.data)
    assert (tmp_path / "volume_Fe.emd").read_bytes() == b"old"


def test_f53_a_folder_is_replaced_whole(tmp_path: Path, volume: Volume) -> None:
    path = save_ome_zarr(volume, tmp_path / "volume.ome.zarr")
    save_ome_zarr(volume.replace(data=volume.data * 2), path)
    np.testing.assert_array_equal(load_ome_zarr(path)[0].data, volume.data * 2)
    assert list(tmp_path.iterdir()) == [path]


def test_f53_a_command_replaces_results_only_when_told(tmp_path: Path, volume: Volume) -> None:
    from typer.testing import CliRunner

    from napari_dipmtv.cli.app import app

    save_volume(volume, tmp_path / "volume")
    out = tmp_path / "out"
    out.mkdir()
    (out / "volume_FeO.mrc").write_bytes(b"of last week")
    (out / "notes.txt").write_text("mine", encoding="utf-8")
    words = [
        "export",
        str(tmp_path / "volume"),
        "--format",
        "emd",
        "--format",
        "mrc",
        "--out",
        str(out),
        "--json",
    ]
    done = CliRunner().invoke(app, words)
    assert done.exit_code != 0
    said = json.loads(done.stdout)["error"]
    assert "volume_FeO.mrc" in said
    assert "--overwrite" in said
    assert sorted(path.name for path in out.iterdir()) == ["notes.txt", "volume_FeO.mrc"]  # the EMD neither
    assert (out / "volume_FeO.mrc").read_bytes() == b"of last week"
    assert CliRunner().invoke(app, [*words, "--overwrite"]).exit_code == 0
    np.testing.assert_array_equal(load_volume(out / "volume_FeO.mrc").data, volume.data[:1])


def test_f53_every_name_that_an_export_writes_is_looked_for(
    tmp_path: Path, volume: Volume, labels: Segmentation
) -> None:
    measures = (Measure("void volume", 1.0, "nm³"),)
    given = {"volume": volume, "segmentation": labels, "measures": measures, "provenance": {"a": 1}}
    formats = tuple(name for name in get_args(ExportFormat) if name not in ("svg", "html"))
    for path in export(tmp_path / "first", **given, formats=formats):
        alone = tmp_path / f"alone-{path.name}"
        alone.mkdir()
        (alone / path.name).write_bytes(b"")
        with pytest.raises(WriteError, match="no results of the same name"):
            export(alone, **given, formats=formats, overwrite=False)


def test_f53_a_failure_after_the_rename_puts_the_old_folder_back(
    tmp_path: Path, volume: Volume, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save_ome_zarr(volume, tmp_path / "volume.ome.zarr")
    rename = Path.rename

    def fail(self: Path, target: Path) -> Path:
        if ".partial-" in self.name:
            raise PermissionError("locked by another program")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises(WriteError, match="locked by another program"):
        save_ome_zarr(volume.replace(data=volume.data * 2), path)
    np.testing.assert_array_equal(load_ome_zarr(path)[0].data, volume.data)
    assert list(tmp_path.iterdir()) == [path]


@posix
def test_f54_a_link_in_place_of_a_folder_is_refused(tmp_path: Path, volume: Volume) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (tmp_path / "a.ome.zarr").symlink_to(outside)
    with pytest.raises(WriteError, match="symbolic link"):
        save_ome_zarr(volume, tmp_path / "a.ome.zarr")
    (tmp_path / "file").write_bytes(b"mine")
    with pytest.raises(WriteError, match="expected a folder"):
        atomic_folder(tmp_path / "file", lambda partial: partial.mkdir())
    assert (tmp_path / "file").read_bytes() == b"mine"


@posix
def test_f52_leftovers_of_dead_processes_are_swept(tmp_path: Path) -> None:
    dead = subprocess.Popen([sys.executable, "-c", "pass"])
    dead.wait()
    old_file = tmp_path / f".volume.partial-{dead.pid}-0123abcd.tif"
    old_folder = tmp_path / f".volume.ome.partial-{dead.pid}-0123abcd.zarr"
    aside = tmp_path / f".volume.aside-{dead.pid}-0123abcd.ome.zarr"
    second = tmp_path / f".other.aside-{dead.pid}-0123abcd.ome.zarr"
    kept = [
        tmp_path / f".volume.partial-{os.getpid()}-0123abcd.tif",  # of a process that lives
        tmp_path / f".volume.partial-{dead.pid}-99999999.mrc",  # touched a moment ago
        tmp_path / ".volume.partial-notes.tif",  # not one of ours
        tmp_path / f"volume.partial-{dead.pid}-0123abcd.tif",
    ]
    for folder in (old_folder, aside, second):
        folder.mkdir()
        (folder / "zarr.json").write_text("{}")
    (tmp_path / "other.ome.zarr").mkdir()  # the new one is in place: the old one may go
    for path in (old_file, *kept):
        path.write_bytes(b"")
    for path in (old_file, old_folder, second, kept[0], kept[2], kept[3]):
        os.utime(path, (0, 0))
    output_folder(tmp_path)
    there = {path.name for path in tmp_path.iterdir()}
    assert there == {path.name for path in kept} | {"volume.ome.zarr", "other.ome.zarr"}
    assert (tmp_path / "volume.ome.zarr/zarr.json").exists()


def test_f52_nothing_is_swept_where_processes_cannot_be_asked_too_early(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    leftover = tmp_path / f".volume.partial-{os.getpid()}-0123abcd.tif"
    leftover.write_bytes(b"")
    monkeypatch.setattr(atomic, "_runs", lambda process: False)
    assert sweep(tmp_path) == []
    os.utime(leftover, (0, 0))
    assert sweep(tmp_path) == [leftover]


def test_f56_labels_of_another_volume_are_refused(tmp_path: Path, volume: Volume, ball: Segmentation) -> None:
    from typer.testing import CliRunner

    from napari_dipmtv.cli.app import app
    from napari_dipmtv.io.volumes import save_labels

    save_volume(volume, tmp_path / "volume")
    other = save_labels(ball, tmp_path / "labels.tif")
    words = [
        "export",
        str(tmp_path / "volume"),
        "--labels",
        str(other),
        "--out",
        str(tmp_path / "out"),
        "--json",
    ]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 2
    assert "Segment this volume" in json.loads(done.stdout)["error"]
    assert not (tmp_path / "out").exists()
