"""Every real file at hand: right axes and units, or a clear problem."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from napari_dipmtv.data import EnergyAxis
from napari_dipmtv.errors import InputError, ReadError
from napari_dipmtv.io.companions import load_companions
from napari_dipmtv.io.headers import opened_signals, probe
from napari_dipmtv.io.maps import load_map_folder
from napari_dipmtv.io.reference_spectra import load_reference
from napari_dipmtv.io.spectrum_images import load_spectrum_image
from napari_dipmtv.io.stacks import read_stack
from napari_dipmtv.io.tilt_table import survey

pytestmark = pytest.mark.real_data

NO_SPECTRUM_IMAGE = (  # images or single spectra: read, and found to hold none
    "format_fixtures/panta_rhei_sample.prz",
    "format_fixtures/fei_example_tem_stack.emd",
    "pytemlib_eels/AL-DFoffset0.00.dm3",
    "pytemlib_eels/EELS_STO.dm3",
)


def test_dust_series(data_folder: Path) -> None:
    table = survey(data_folder / "L2083_edx_spectrum_images")
    assert not table.problems
    headers = table.headers("EDS")
    assert [header.tilt_deg for header in headers] == list(range(-40, 40, 5))
    assert {row.tilt_from for row in table.rows} == {"file name"}
    for header in headers:
        assert header.shape == (256, 256, 2048)
        assert header.pixel_nm == pytest.approx(13.0814, rel=1e-4)
        assert header.beam_kev == 200
        assert header.energy.step_ev == pytest.approx(10.003)
    haadf = load_companions(table, bin_pixels=4)
    assert haadf is not None
    assert haadf.data.shape == (1, 16, 64, 64)
    assert haadf.pixel_nm == pytest.approx(4 * 13.0814, rel=1e-4)
    assert load_companions(table, "BF") is None


MEMORY = """
import sys
from pathlib import Path
from napari_dipmtv.io.tilt_table import survey
files = len(survey(Path(sys.argv[1])).headers())
# not the peak of getrusage, which holds that of the process this one was forked from
status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
print(files, int(status["VmHWM"].split()[0]) / 1024**2)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak of memory from /proc")
def test_f12_sixteen_files_open_in_little_memory(data_folder: Path) -> None:
    folder = str(data_folder / "L2083_edx_spectrum_images")
    done = subprocess.run([sys.executable, "-c", MEMORY, folder], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    files, gib = done.stdout.split()
    assert files == "16"
    assert float(gib) < 1


@pytest.mark.parametrize("name", NO_SPECTRUM_IMAGE)
def test_files_without_a_spectrum_image(data_folder: Path, name: str) -> None:
    path = data_folder / name
    assert probe(path) == ()
    row = survey(path).rows[0]
    assert not row.use
    assert row.problems == ("images or single spectra only",)
    with pytest.raises(ReadError, match="one spectrum image"):
        load_spectrum_image(path, tilt_deg=0)


def test_panta_rhei_metadata_is_read_without_its_pickle(data_folder: Path) -> None:
    with opened_signals(data_folder / "format_fixtures/panta_rhei_sample.prz") as signals:
        assert [signal["data"].shape for signal in signals] == [(16, 16)]
        assert np.asarray(signals[0]["data"])[0, 0] == 0x8D61
        assert all(axis["units"] for axis in signals[0]["axes"])


def test_velox_series_table(data_folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("sparse")
    shutil.unpack_archive(data_folder / "format_fixtures/velox_EELS_EDS.zip", tmp_path)
    rows = survey(tmp_path).rows if list(tmp_path.glob("*.emd")) else survey(next(tmp_path.glob("*"))).rows
    kinds = sorted(row.header.kind for row in rows if row.header)
    assert kinds == ["EDS", "core-loss", "core-loss", "low-loss"]
    eels = [row for row in rows if row.header and row.header.kind != "EDS"]
    assert [row.problems for row in eels] == 3 * [("no tilt angle in the metadata or the file name",)]
    x_rays = next(row.header for row in rows if row.header and row.header.kind == "EDS")
    assert x_rays.energy == EnergyAxis(-200.0, 10.0, 4096)
    assert x_rays.pixel_nm == pytest.approx(158.658, rel=1e-4)


@pytest.mark.parametrize(
    ("name", "axis", "peak_ev"),
    [
        (
            "pytemlib_eels/EELS_STO.dm3",
            (350.0, 0.25, 2048),
            462.5,
        ),  # Ti L2 is the highest after the background
        ("pytemlib_eels/AL-DFoffset0.00.dm3", (-3.609, 0.020126, 2048), 0.0),
    ],
)
def test_single_spectra(data_folder: Path, name: str, axis: tuple[float, float, int], peak_ev: float) -> None:
    reference = load_reference(data_folder / name, "x")
    energy = reference.energy
    assert (energy.start_ev, energy.step_ev, energy.size) == pytest.approx(axis, rel=1e-3)
    window = energy.window(max(energy.start_ev, peak_ev - 20), peak_ev + 20)
    line = reference.intensity[window] - np.linspace(
        *reference.intensity[window][[0, -1]], window.stop - window.start
    )
    assert energy.values[window][int(np.argmax(line))] == pytest.approx(peak_ev, abs=4)


def test_every_spectrum_that_ships_with_exspy() -> None:
    exspy = pytest.importorskip("exspy")
    files = [p for p in Path(exspy.__file__).parent.rglob("*") if p.suffix in {".msa", ".hspy"}]
    assert len(files) >= 6
    read, refused = {}, {}
    for path in files:
        try:
            read[path.name] = load_reference(path, "x").energy
        except InputError as error:
            refused[path.name] = str(error)
    assert all("linescan" in name and name in words for name, words in refused.items())  # they have two axes
    assert read["coreloss_spectrum.msa"] == EnergyAxis(360.0, 0.2, 2048)
    assert read["lowloss_spectrum.msa"] == EnergyAxis(-40.0, 0.2, 2048)
    assert read["EDS_TEM_FePt_nanoparticles.hspy"].step_ev == pytest.approx(20.028)
    chromium = read["Cr_L_cl.hspy"]
    assert (chromium.start_ev, chromium.step_ev, chromium.size) == pytest.approx((560.0, 0.1, 400))


def test_quantum_dot_maps(data_folder: Path) -> None:
    maps = load_map_folder(
        data_folder / "quantum_dot_edx/QD1", ("Se", "S", "Zn"), range(-60, 61, 10), 1.0, counts=True
    )
    assert maps.data.shape == (3, 13, 256, 256)
    assert maps.counts_per_unit == 1.0
    totals = maps.data.sum(axis=(2, 3))
    assert totals.min() > 400
    assert totals.max() < 7000


def test_eels_maps_of_nanocubes(data_folder: Path) -> None:
    path = data_folder / "co3o4_mn3o4_eels_maps/Co3O4_Mn3O4.h5"
    for name in ("HAADF", "Co", "Mn", "O"):
        assert read_stack(path, name).data.shape == (400, 400)
    with pytest.raises(ReadError, match="HAADF"):
        read_stack(path, "Fe")


def test_what_is_no_data_is_told(data_folder: Path) -> None:
    for name in ("README.md", "pytemlib_eels/LICENSE", "L2083_edx_spectrum_images/about_dataset.txt"):
        with pytest.raises(ReadError, match="the ending"):
            probe(data_folder / name)
