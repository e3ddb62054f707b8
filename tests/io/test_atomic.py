"""Writing: old or new, never mixed; names that stay in the folder."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_dipmtv.errors import InputError, WriteError
from napari_dipmtv.io import atomic
from napari_dipmtv.io.atomic import atomic_write, safe_name, safe_names, write_bytes
from napari_dipmtv.io.guard import plain

posix = pytest.mark.skipif(os.name == "nt", reason="signals and limits of POSIX")

FULL = """
import resource, sys
from pathlib import Path
import numpy as np
from napari_dipmtv.data import DualSpectrumImage, EnergyAxis, SpectrumImage, SpectrumSeries, Volume
from napari_dipmtv.errors import WriteError
from napari_dipmtv.io.spectrum_images import save_series
from napari_dipmtv.io.volumes import save_volume
folder = Path(sys.argv[1])
noise = np.random.default_rng(0).random((1, 40, 40, 40), dtype=np.float32)
low, core = (SpectrumImage(noise[0], EnergyAxis(start, 1.0, 40), 1.0, 0.0) for start in (-5.0, 700.0))
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
for kind in ("ome-tiff", "mrc", "hspy"):
    try:
        save_volume(Volume(noise, ("Fe",), 1.0), folder, (kind,))
    except WriteError as error:
        print("refused", error)
try:
    save_series(SpectrumSeries((DualSpectrumImage(low, core),)), folder)
except WriteError as error:
    print("refused", error)
"""


def run(script: str, folder: Path, **options: object) -> subprocess.Popen[str]:
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([sys.executable, "-c", script, str(folder)], **pipes, **options)


def test_f53_replaces_the_old_file(tmp_path: Path) -> None:
    target = write_bytes(tmp_path / "a.json", b"old")
    write_bytes(target, b"new")
    assert target.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize(
    "failure", [OSError(28, "No space left"), PermissionError("locked"), ValueError("bad")]
)
def test_f51_failed_write_keeps_the_old_file(tmp_path: Path, failure: Exception) -> None:
    target = write_bytes(tmp_path / "a.json", b"old")

    def write(partial: Path) -> None:
        partial.write_bytes(b"ne")
        raise failure

    with pytest.raises(WriteError, match=r"a\.json.*older one is unchanged.*save elsewhere") as caught:
        atomic_write(target, write)
    assert caught.value.__cause__ is failure
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


def test_f51_failed_verification_and_interrupt_leave_nothing(tmp_path: Path) -> None:
    def refuse(partial: Path) -> None:
        raise InputError("not what was written")

    def half(partial: Path) -> None:
        partial.write_bytes(b"half")

    def interrupt(partial: Path) -> None:
        half(partial)
        raise KeyboardInterrupt

    with pytest.raises(WriteError, match="not what was written"):
        atomic_write(tmp_path / "a", half, verify=refuse)
    with pytest.raises(KeyboardInterrupt):
        atomic_write(tmp_path / "a", interrupt)
    assert list(tmp_path.iterdir()) == []


def test_f51_full_disk_is_seen_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = type("Usage", (), {"free": 1_000_000})()
    monkeypatch.setattr(atomic.shutil, "disk_usage", lambda path: usage)
    with pytest.raises(WriteError, match="expected 1 MB free"):
        atomic_write(tmp_path / "a", lambda partial: pytest.fail("wrote"), size_bytes=900_000)
    assert write_bytes(tmp_path / "b", b"x" * 800_000).stat().st_size == 800_000


@posix
def test_f51_limit_of_file_size_leaves_old_and_no_partial(tmp_path: Path) -> None:
    for name in ("volume_Fe.tif", "volume_Fe.mrc", "volume.hspy", "lowloss_+000.0.hspy"):
        (tmp_path / name).write_bytes(b"old")
    before = {path.name for path in tmp_path.iterdir()}
    process = run(FULL, tmp_path)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out.count("refused")) == (0, 4), err
    assert {path.name for path in tmp_path.iterdir()} == before
    assert all(path.read_bytes() == b"old" for path in tmp_path.iterdir())


@posix
def test_f54_symbolic_link_is_not_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_bytes(b"mine")
    (tmp_path / "link").symlink_to(outside)
    with pytest.raises(WriteError, match="symbolic link"):
        write_bytes(tmp_path / "link", b"theirs")
    assert outside.read_bytes() == b"mine"


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("../x", "_x"),
        ("C:\\x", "C__x"),
        ("CON", "_CON"),
        ("nul.txt", "_nul.txt"),
        ("volume.", "volume"),
        ("🧲", "_"),
        ("", "unnamed"),
        ("..", "unnamed"),
        ("a" * 300, "a" * 100),
        ("Fe²⁺", "Fe2_"),
        ("Fe₃O₄", "Fe3O4"),
    ],
)
def test_f54_evil_names(text: str, name: str) -> None:
    assert safe_name(text).replace("?", "_") == name


@given(st.text())
def test_f54_any_text_stays_in_the_folder(text: str) -> None:
    folder = Path("folder").resolve()
    name = safe_name(text)
    assert (folder / name).resolve().parent == folder
    assert 0 < len(name) <= 100
    assert name.strip(".") == name
    assert safe_name(name) == name


@given(st.lists(st.text(), min_size=2, max_size=6))
def test_f54_names_stay_distinct(texts: list[str]) -> None:
    names = safe_names(texts)
    assert len({name.lower() for name in names}) == len(texts)
    assert all(safe_name(name) == name for name in names)


def test_plain_makes_json() -> None:
    value = {"a": np.float32(2), "b": (1, np.nan), "c": np.arange(2), "d": Path("x")}
    assert plain(value) == {"a": 2.0, "b": [1, None], "c": [0, 1], "d": "x"}
