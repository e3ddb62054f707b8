"""Writing that is killed, short of space, in the way of older results or handed the wrong labels: nothing is broken."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from napari_dipmtv.data import Segmentation, Volume
from napari_dipmtv.errors import WriteError
from napari_dipmtv.inspect import Measure
from napari_dipmtv.io import atomic
from napari_dipmtv.io.atomic import atomic_folder, output_folder, sweep
from napari_dipmtv.io.ome_zarr import load_ome_zarr, save_ome_zarr
from napari_dipmtv.io.volumes import load_volume, save_volume
from napari_dipmtv.pipeline import ExportFormat, export

zarr = pytest.importorskip("zarr")
posix = pytest.mark.skipif(os.name == "nt", reason="signals and limits of POSIX")


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
