"""The table of a tilt series: where each angle comes from, what is wrong with each file, editing, reading in parts."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from foreign_files import write
from typer.testing import CliRunner

from napari_dipmtv.cli.app import app
from napari_dipmtv.data import EnergyAxis, SpectrumSeries
from napari_dipmtv.errors import GeometryError, InputError, ReadError
from napari_dipmtv.io.angles import angles_by_file, load_angles
from napari_dipmtv.io.headers import SpectrumEntry
from napari_dipmtv.io.maps import load_saved_maps
from napari_dipmtv.io.part import Part
from napari_dipmtv.io.spectrum_images import load_series, load_spectrum_image, open_images, save_series
from napari_dipmtv.io.tilt_table import load_table, save_table, survey

RAMP = np.arange(360.0).reshape(3, 4, 30)


def eds(folder: Path, tilts: tuple[float, ...] = (-10, 0, 10)) -> list[Path]:
    """EDX files with the tilt in the name only."""
    return [
        write(
            folder / f"tilt_{tilt:+g}.hspy", start=0.0, step=0.3, units=("nm", "keV"), signal_type="EDS_TEM"
        )
        for tilt in tilts
    ]


def test_good_series_has_no_problems(tmp_path: Path) -> None:
    eds(tmp_path)
    table = survey(tmp_path)
    assert not table.problems
    assert [(row.path.name, row.tilt_deg, row.tilt_from) for row in table.rows] == [
        ("tilt_+0.hspy", 0.0, "file name"),
        ("tilt_+10.hspy", 10.0, "file name"),
        ("tilt_-10.hspy", -10.0, "file name"),
    ]
    assert [header.tilt_deg for header in table.headers("EDS")] == [-10, 0, 10]


def test_f13_a_bad_file_is_a_row_not_a_crash(tmp_path: Path) -> None:
    paths = eds(tmp_path)
    paths[1].write_bytes(paths[1].read_bytes()[:500])
    (tmp_path / "tilt_20.dm4").write_bytes(b"")
    (tmp_path / "tilt_30.bcf").write_bytes(b"AAMVHFSS" + bytes(2000))
    table = survey(tmp_path)
    told = {row.path.name: row.problems for row in table.rows}
    assert not told["tilt_-10.hspy"]
    for name in ("tilt_+0.hspy", "tilt_20.dm4", "tilt_30.bcf"):
        assert len(told[name]) == 1
        assert name in told[name][0]
    with pytest.raises(ReadError, match=r"tilt_20\.dm4.*Or leave the file out"):
        table.headers("EDS")


def test_f23_zeros_in_the_metadata_are_doubted_aloud(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        write(tmp_path / f"{name}.hspy", tilt=0.0)
    table = survey(tmp_path)
    assert all("0.0 deg in every file, which is not believed" in text for text in table.problems)
    assert len(table.problems) == 3
    with pytest.raises(ReadError, match="Correct the table"):
        table.headers()
    for i, name in enumerate("abc"):
        (tmp_path / f"{name}.hspy").rename(tmp_path / f"tilt_{i * 10}.hspy")
    named = survey(tmp_path)
    assert [row.tilt_deg for row in named.rows] == [0, 10, 20]
    assert all("the file name is taken" in text for text in named.problems)


def test_f22_names_that_count_up_are_no_tilts(tmp_path: Path) -> None:
    for i in range(3):
        write(tmp_path / f"{i + 1}.hspy")
    assert all("merely count up" in text for text in survey(tmp_path).problems)


def test_f09_f10_calibrations_are_compared_across_tilts(tmp_path: Path) -> None:
    for tilt in (-20, -10, 0):
        write(tmp_path / f"tilt_{tilt}.hspy")
    write(tmp_path / "tilt_10.hspy", pixel=(0.5, 0.5))
    write(tmp_path / "tilt_20.hspy", step=0.6)
    write(tmp_path / "tilt_30.hspy", shape=(3, 5, 30))
    write(tmp_path / "tilt_40.hspy", units=("px", "eV"))
    write(tmp_path / "tilt_20b_tilt_20.hspy", tilt=20.0)
    told = {row.path.name: "; ".join(row.problems) for row in survey(tmp_path).rows}
    assert "pixels of 0.5 nm, the others 0.37 nm" in told["tilt_10.hspy"]
    assert "energies" in told["tilt_20.hspy"]
    assert "shape (3, 5, 30)" in told["tilt_30.hspy"]
    assert "no calibrated pixel size" in told["tilt_40.hspy"]
    assert "more than once" in told["tilt_20.hspy"]
    assert not told["tilt_0.hspy"]


@pytest.mark.parametrize("kind", ["rawtlt", "mdoc", "csv", "list"])
def test_f22_angles_from_every_kind_of_source(tmp_path: Path, kind: str) -> None:
    for name in ("a", "b", "c"):
        write(tmp_path / f"{name}.hspy")
    angles: Path | tuple[float, ...] | None = tmp_path / f"x.{kind}"
    order = [-5.0, 2.5, 7.0]
    match kind:
        case "rawtlt":
            (tmp_path / "x.rawtlt").write_text("-5\n2.5\n7\n")
            angles = None  # the only one in the folder is taken
        case "mdoc":
            sections = (
                f"[ZValue = {i}]\nTiltAngle = {t}\nSubFramePath = D:\\frames\\{n}.hspy\n"
                for i, (t, n) in enumerate([(7.0, "c"), (-5.0, "a"), (2.5, "b")])
            )
            (tmp_path / "x.mdoc").write_text("PixelSpacing = 3.7\n" + "\n".join(sections))
            angles = None
        case "csv":
            (tmp_path / "x.csv").write_text("tilt_deg;file\n7;c.hspy\n-5;a.hspy\n2.5;b.hspy\n")
        case "list":
            angles = (-5.0, 2.5, 7.0)
    table = survey(tmp_path, angles)
    assert [row.tilt_deg for row in table.rows] == order
    assert {row.tilt_from for row in table.rows} == {"table" if kind == "list" else f"x.{kind}"}


def test_f22_angle_files_that_do_not_fit(tmp_path: Path) -> None:
    paths = eds(tmp_path)
    with pytest.raises(GeometryError, match="2 angles for 3 EDS"):
        survey(tmp_path, (0.0, 5.0))
    wrong_order = survey(tmp_path, (-10.0, 0.0, 10.0))  # natural order of the names is 0, 10, -10
    assert len(wrong_order.problems) == 3
    assert "-10 deg in table, 0 deg in the file name" in wrong_order.problems[0]
    named = tmp_path / "angles.csv"
    named.write_text("file,angle\n" + f"{paths[0].name},1\n{paths[1].name},2\n")
    assert any("angles.csv does not name this file" in text for text in survey(tmp_path, named).problems)
    named.write_text("file,angle\n" + f"{paths[0].name},1\n{paths[0].name},2\n")
    with pytest.raises(GeometryError, match="one angle for each file"):
        angles_by_file(named)
    (tmp_path / "t.mdoc").write_text("TiltAngle = -3.5\n[x]\nTiltAngle = 4\n")
    assert load_angles(tmp_path / "t.mdoc") == (-3.5, 4.0)
    assert angles_by_file(tmp_path / "t.mdoc") is None


def test_table_is_edited_and_given_back(tmp_path: Path) -> None:
    eds(tmp_path)
    write(tmp_path / "spoiled.hspy", units=("px", "keV"), signal_type="EDS_TEM")
    path = save_table(survey(tmp_path), tmp_path / "tilts.csv")
    lines = list(csv.DictReader(path.read_text().splitlines()))
    assert lines[0]["problems"].startswith("no tilt angle")
    by_file = {line["file"]: line for line in lines}
    by_file["spoiled.hspy"]["use"] = "no"
    by_file["tilt_+10.hspy"] |= {"tilt_deg": "12,5", "pixel_nm": "0.4"}
    with path.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(lines[0]))
        writer.writeheader()
        writer.writerows(lines)
    table = load_table(path)
    assert [header.tilt_deg for header in table.headers("EDS")] == [-10, 0, 12.5]
    assert table.headers("EDS")[2].pixel_nm == 0.4
    assert [image.tilt_deg for image in open_images(path)] == [-10, 0, 12.5]
    assert next(row for row in table.rows if row.tilt_deg == 12.5).tilt_from == "tilts.csv"


def test_spoiled_tables_are_refused(tmp_path: Path) -> None:
    eds(tmp_path)
    path = save_table(survey(tmp_path), tmp_path / "tilts.csv")
    text = path.read_text()
    for old, new, words in (
        ("tilt_deg", "angle", "the columns tilt_deg"),
        ("EDS", "XRF", "low-loss, core-loss"),
        (",10,", ",ten,", "a number"),
    ):
        path.write_text(text.replace(old, new))
        with pytest.raises(InputError, match=words):
            load_table(path)
    path.write_text(text.replace("tilt_+10.hspy", "gone.hspy"))
    assert "nothing there" in load_table(path).problems[0]


def test_dual_series_from_a_table(tmp_path: Path, series: SpectrumSeries) -> None:
    save_series(series, tmp_path)
    table = survey(tmp_path)
    assert not table.problems
    assert {row.tilt_from for row in table.rows} == {"metadata"}
    loaded = load_series(table)
    assert loaded.tilts_deg == series.tilts_deg
    np.testing.assert_array_equal(loaded.tilts[2].core_loss.counts, series.tilts[2].core_loss.counts)


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)])
def test_part_is_what_crop_and_binning_of_the_whole_give(tmp_path: Path, order: tuple[int, int, int]) -> None:
    path = write(tmp_path / "tilt_1.hspy", order=order)  # energies -5 ... 9.5 eV in 0.5
    part = load_spectrum_image(path, keep=Part(2, 3, (-3.0, 4.0)))
    channels = RAMP[:2, :, 4:19][..., :15]  # -3 ... 4 eV are 15 channels
    expected = channels.reshape(1, 2, 2, 2, 5, 3).sum(axis=(1, 3, 5))
    np.testing.assert_array_equal(part.counts, expected)
    assert part.energy == EnergyAxis(-2.5, 1.5, 5)
    assert part.pixel_nm == pytest.approx(0.74)
    turned = write(tmp_path / "tilt_2.hspy", start=20.0, step=-1.0)
    crop = load_spectrum_image(turned, keep=Part(energy_ev=(0.0, 4.0)))
    np.testing.assert_array_equal(crop.counts[0, 0], np.arange(30)[::-1][9:14])
    with pytest.raises(InputError, match="at most 3"):
        load_spectrum_image(path, keep=Part(4))
    with pytest.raises(InputError, match="1 or more"):
        Part(0)


def test_f20_file_that_goes_away_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = eds(tmp_path)
    table = survey(tmp_path)
    write(paths[2], start=0.0, step=0.3, units=("nm", "keV"), signal_type="EDS_TEM", shape=(3, 5, 30))
    images = open_images(table)
    assert [next(images).tilt_deg, next(images).tilt_deg] == [-10, 0]
    with pytest.raises(ReadError, match=r"tilt_\+10\.hspy.*a changed file"):
        next(images)

    def unplugged(*_: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(SpectrumEntry, "counts", unplugged)
    with pytest.raises(ReadError, match=r"tilt_-10\.hspy.*Input/output error"):
        next(open_images(table))
    paths[0].unlink()
    with pytest.raises(ReadError, match="nothing there"):
        next(open_images(table))


HUGE = """
import resource, sys
from pathlib import Path
resource.setrlimit(resource.RLIMIT_AS, (2 * 1024**3, 2 * 1024**3))
from napari_dipmtv.errors import ReadError
from napari_dipmtv.io import guard, part, tilt_rows, tilt_table
from napari_dipmtv.io.spectrum_images import load_spectrum_image
guard.available_bytes = tilt_rows.available_bytes = lambda: 2 * 1024**3
path = Path(sys.argv[1])
print(tilt_table.survey(path.parent).problems[0])
try:
    load_spectrum_image(path)
except ReadError as error:
    print(error)
image = load_spectrum_image(path, keep=part.Part(4, 1, (0.0, 15.0)))
print(image.counts.shape, image.counts[1, 2, 3], image.counts.sum())
"""


def test_f12_larger_than_memory_opens_and_is_read_in_part(tmp_path: Path) -> None:
    path = write(tmp_path / "tilt_1.hspy", shape=(2, 2, 2), start=0.0)
    with h5py.File(path, "a") as file:
        group = file["Experiments/tilt_1"]
        del group["data"]
        data = group.create_dataset("data", (512, 512, 4096), "f4", chunks=(8, 512, 32))
        data[4:8, 8:12, 3] = 1.0
        for axis, size in zip(("axis-0", "axis-1", "axis-2"), data.shape, strict=True):
            group[axis].attrs["size"] = size
    with path.open("ab") as stream:
        stream.truncate(40_000_000)  # sparse; an honest file of 4 GiB is not smaller than that
    done = subprocess.run(
        [sys.executable, "-c", HUGE, str(path)], capture_output=True, text=True, timeout=200
    )
    assert done.returncode == 0, done.stderr
    problem, refusal, read = done.stdout.strip().splitlines()
    assert "4.0 GiB, more than the memory takes: crop or bin while reading" in problem
    assert "at most 1.2 GiB" in refusal
    assert read == "(128, 128, 31) 16.0 16.0"


SERIES = """
import sys, time
from pathlib import Path
from napari_dipmtv import pipeline
from napari_dipmtv.io.tilt_table import survey

def gib():  # getrusage would count the process that started this one
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024**2

start = time.monotonic()
table = survey(Path(sys.argv[1]))
print(len(table.headers()), len(table.problems), time.monotonic() - start, gib())
maps = pipeline.edx(table, ["Fe_Ka"], bin_pixels=4)
print(maps.data.shape, maps.data.sum(), time.monotonic() - start, gib())
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from /proc")
def test_sixteen_large_images_open_in_little_memory(tmp_path: Path) -> None:
    """2 GiB of counts in the files, of which one tilt at a time is in memory."""
    counts = np.zeros((256, 256, 2048), np.uint8)
    counts[::7, ::5, 640] = 3
    for tilt in range(-40, 40, 5):
        path = write(
            tmp_path / f"tilt_{tilt}.hspy", shape=(2, 2, 2), signal_type="EDS_TEM", start=4.0, step=10.0
        )
        with h5py.File(path, "a") as file:
            group = file[f"Experiments/tilt_{tilt}"]
            del group["data"]
            group.create_dataset("data", data=counts, chunks=(8, 256, 512), compression="gzip")
            for axis, size in zip(("axis-0", "axis-1", "axis-2"), counts.shape, strict=True):
                group[axis].attrs["size"] = size
    done = subprocess.run([sys.executable, "-c", SERIES, str(tmp_path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    surveyed, mapped = done.stdout.strip().splitlines()
    assert surveyed.startswith("16 0 ")
    assert mapped.startswith("(1, 16, 64, 64) ")
    total = float(mapped.split()[4])
    assert total == pytest.approx(16 * counts.sum(), rel=0.05)
    assert float(surveyed.split()[-1]) < 0.5
    assert float(mapped.split()[-1]) < 2


def test_command_line_from_files_to_percent(tmp_path: Path) -> None:
    pytest.importorskip("exspy")
    rng = np.random.default_rng(1)
    shape = (12, 12, 1000)
    for tilt in (-30, 0, 30):
        path = write(
            tmp_path / f"tilt_{tilt}.hspy",
            start=-0.2,
            step=0.01,
            units=("nm", "keV"),
            signal_type="EDS_TEM",
            shape=shape,
        )
        counts = np.full(shape, 0.02)
        counts[4:8, 4:8, 640 + 20] += 30.0  # a sharp line at 6.40 keV
        counts[4:8, 4:8, 52 + 20] += 20.0  # and one at 0.52 keV
        with h5py.File(path, "a") as file:
            file[f"Experiments/tilt_{tilt}/data"][...] = rng.poisson(counts)
    runner = CliRunner()

    def command(*words: str) -> dict[str, object]:
        done = runner.invoke(app, [*words, "--json"])
        assert done.exit_code == 0, done.output
        return json.loads(done.stdout)

    table = tmp_path / "tilts.csv"
    rows = command("tilts", str(tmp_path), "--table", str(table))["rows"]
    assert [row["tilt_deg"] for row in rows] == [0, 30, -30]  # type: ignore[attr-defined]
    lines = ["--line", "Fe_Ka", "--line", "O_Ka", "--set", "method=windows"]
    out = tmp_path / "maps"
    report = command("edx", str(table), *lines, "--bin-pixels", "2", "--out", str(out))
    maps = load_saved_maps(out)
    assert maps.channels == ("Fe_Ka", "O_Ka")
    assert maps.tilts_deg == (-30, 0, 30)
    assert maps.pixel_nm == pytest.approx(0.74)
    assert maps.covariance is not None
    np.testing.assert_allclose(maps.data.sum(axis=(2, 3)) / 16, [[30] * 3, [20] * 3], rtol=0.1)
    assert report["lines"] == ["Fe_Ka", "O_Ka"]
    assert {path.name for path in out.iterdir()} >= {"maps_Fe_Ka.tif", "variance_O_Ka.tif", "report.json"}
    volume = tmp_path / "volume"
    command("reconstruct", "--maps", str(out), "--method", "sirt", "--iterations", "20", "--out", str(volume))
    factors = ["--k", "Fe_Ka=1.0", "--k", "O_Ka=1.5"]
    percent = command("quantify", str(volume), *factors, "--unit", "wt.%", "--out", str(tmp_path / "wt"))
    assert percent["mean"]["Fe"] == pytest.approx(50, abs=6)  # type: ignore[index]
    assert (tmp_path / "wt" / "volume_Fe.tif").is_file()
    for words in (["edx", str(tmp_path), "--out", str(out)], ["quantify", str(volume), "--k", "Fe_Ka=x"]):
        done = runner.invoke(app, [*words, *([] if "--out" in words else ["--out", str(out)])])
        assert done.exit_code == 2
