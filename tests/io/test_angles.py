"""Tilt tables and file names."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from napari_dipmtv.errors import GeometryError, ReadError
from napari_dipmtv.io.angles import check_angles, load_angles, tilt_from_name, tilts_from_names

DEGREES = (-60.0, 10.5, 0.0, 60.0)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.txt", "# tilt\n-60\n10.5 ; good\n0\n\n60"),
        ("a.rawtlt", " -60.00\n 10.50\n 0.00\n 60.00\n"),
        ("a.tlt", "\ufeff\u221260\r\n10.5\r\n0\r\n60\r\n"),
        ("a.csv", "view,angle_deg\n1,-60\n2,10.5\n3,0\n4,60\n"),
        ("a.csv", "tilt;dose\n-60;1\n10.5;2\n0;3\n60;4\n"),
        ("a.csv", "-60\n10.5\n0\n60\n"),
        ("a.tsv", "Tilt\tfile\n-60\ta\n10.5\tb\n0\tc\n60\td\n"),
        ("a.json", "[-60, 10.5, 0, 60]"),
        ("a.json", '{"unit": "deg", "tilts": [-60, 10.5, 0, 60]}'),
    ],
)
def test_f22_angles_keep_the_order_of_the_file(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    assert load_angles(tmp_path / name, 4) == DEGREES


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.txt", b"-60\n1O.5\n", "1O.5"),
        ("a.txt", b"-60,5\n", "decimal point"),
        ("a.txt", b"-60 10 20\n", "One number per line"),
        ("a.txt", b"\xff\xfe\x00", "Unicode"),
        ("a.csv", b"view,dose\n1,2\n", "angle_deg"),
        ("a.csv", b"tilt,angle\n1,2\n", "one column"),
        ("a.csv", b"view,angle_rad\n1,2\n", "degrees"),
        ("a.csv", b"view,angle\n1,2\n2\n", "angle in degrees"),
        ("a.json", b'{"a": 1}', "one list"),
        ("a.json", b"[1, true]", "one list"),
        ("a.json", b"[[1, 2]]", "one list"),
        ("a.json", b"[1, 2", "JSONDecodeError"),
        ("a.pkl", b"", "one of .txt"),
    ],
)
def test_f22_unreadable_table(tmp_path: Path, name: str, content: bytes, words: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ReadError, match=words):
        load_angles(tmp_path / name)


def test_f22_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ReadError, match=r"no\.tlt.*nothing there"):
        load_angles(tmp_path / "no.tlt")


@pytest.mark.parametrize(
    ("angles", "words"),
    [
        ([math.radians(a) for a in range(-60, 61, 10)], "radians"),
        ([-1.2, -0.5, 0.0, 0.5], "radians"),
        ([0.0] * 9, "0 9 times"),
        ([1.0, 1.0, 2.0], "distinct"),
        ([0.0, math.nan, 1.0], "finite"),
        ([-190.0, 0.0, 20.0], "-180 to 180"),
        ([], "none"),
    ],
)
def test_f21_f22_f23_angles_that_cannot_be(angles: list[float], words: str) -> None:
    with pytest.raises(GeometryError, match=words):
        check_angles(angles, None, "tilts")


@pytest.mark.parametrize("angles", [[-1.0, 0.0, 1.0], [-3.2, -1, 0, 3.3], [10.0], list(range(-70, 71, 2))])
def test_f21_degrees_pass(angles: list[float]) -> None:
    assert check_angles(angles, len(angles), "tilts") == tuple(angles)


def test_f22_wrong_count() -> None:
    with pytest.raises(GeometryError, match=r"expected 9 .*got 8"):
        check_angles(range(0, 80, 10), 9, "tilts")


@pytest.mark.parametrize(
    ("name", "tilt"),
    [
        ("tilt_+17.5.dm4", 17.5),
        ("sample_tilt-40_EDS.bcf", -40.0),
        ("Tilt 35.emd", 35.0),
        ("-40.bcf", -40.0),
        ("0.bcf", 0.0),
        ("35.bcf", 35.0),
        ("cube_m35deg.dm4", -35.0),
        ("cube_p5.5deg_LL.dm4", 5.5),
        ("cube 10° core.dm4", 10.0),
        ("lowloss_+017.5.hspy", 17.5),
        ("coreloss_-040.0.hspy", -40.0),
        ("SI_\u221240.dm4", -40.0),
        ("input_0091.mat", None),
        ("0091.tif", None),
        ("2024-11-03.dm4", None),
        ("Fe3O4_map.tif", None),
        ("a_+10_b_-10.tif", None),
        ("tilt_400.tif", None),
        ("EELS Spectrum Image (low-loss).dm4", None),
    ],
)
def test_tilt_from_name(name: str, tilt: float | None) -> None:
    assert tilt_from_name(name) == tilt


def test_names_that_count_are_no_tilts() -> None:
    assert tilts_from_names([Path(f"{i}.tif") for i in range(1, 14)]) is None
    assert tilts_from_names([Path(f"{i}.tif") for i in (-10, 0, 10)]) == (-10, 0, 10)
