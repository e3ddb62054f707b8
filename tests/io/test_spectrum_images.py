"""Spectrum images: HyperSpy round trip, units, tilts, pairs and the files of microscopes."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from foreign_files import write

from napari_dipmtv.data import DualSpectrumImage, EnergyAxis, SpectrumSeries
from napari_dipmtv.errors import GeometryError, ReadError
from napari_dipmtv.io import headers
from napari_dipmtv.io.spectrum_images import (
    load_series,
    load_spectrum_image,
    probe,
    save_series,
    save_spectrum_image,
)
from napari_dipmtv.io.uneven import channel_edges, rebin_uniform, uniform_axis
from napari_dipmtv.io.units import ev_per, length_nm

TILTS = (-40.0, 0.0, 17.5)


def test_f55_series_round_trip(tmp_path: Path, series: SpectrumSeries) -> None:
    paths = save_series(series, tmp_path / "new" / "folder")
    assert [path.name for path in paths[:2]] == ["lowloss_-040.0.hspy", "coreloss_-040.0.hspy"]
    assert paths[-1].name == "coreloss_+017.5.hspy"
    back = load_series(tmp_path / "new" / "folder")
    assert back.tilts_deg == TILTS
    for one, two in zip(series.tilts, back.tilts, strict=True):
        for image, loaded in ((one.low_loss, two.low_loss), (one.core_loss, two.core_loss)):
            np.testing.assert_array_equal(loaded.counts, image.counts)
            assert (loaded.energy, loaded.pixel_nm, loaded.beam_kev) == (image.energy, image.pixel_nm, 200.0)
            assert loaded.metadata["gain"] == 1.25


def test_f55_hyperspy_opens_what_we_write(tmp_path: Path, series: SpectrumSeries) -> None:
    hs = pytest.importorskip("hyperspy.api")
    pytest.importorskip("exspy")
    path = save_series(series, tmp_path)[-1]
    signal = hs.load(path)
    assert type(signal).__name__ == "EELSSpectrum"
    np.testing.assert_array_equal(signal.data, series.tilts[-1].core_loss.counts)
    energy = signal.axes_manager["Energy loss"]
    assert (energy.offset, energy.scale, str(energy.units), energy.navigate) == (700.0, 0.5, "eV", False)
    assert [(axis.name, axis.scale, axis.units) for axis in signal.axes_manager.navigation_axes] == [
        ("x", 0.37, "nm"),
        ("y", 0.37, "nm"),
    ]
    assert signal.metadata.Acquisition_instrument.TEM.beam_energy == 200.0
    assert signal.metadata.Acquisition_instrument.TEM.Stage.tilt_alpha == 17.5


def test_hyperspy_written_file_opens_here(tmp_path: Path) -> None:
    hs = pytest.importorskip("hyperspy.api")
    signal = hs.signals.Signal1D(np.arange(24, dtype=np.uint16).reshape(2, 3, 4))
    for axis, (name, scale, unit) in zip(
        signal.axes_manager._axes, [("y", 2e-3, "µm"), ("x", 2e-3, "µm"), ("E", 0.3, "keV")], strict=True
    ):
        axis.name, axis.scale, axis.units = name, scale, unit
    signal.save(tmp_path / "tilt_-12.hspy")
    image = load_spectrum_image(tmp_path / "tilt_-12.hspy")
    np.testing.assert_array_equal(image.counts, np.arange(24).reshape(2, 3, 4))
    assert image.pixel_nm == pytest.approx(2.0)
    assert image.energy == EnergyAxis(0.0, 300.0, 4)
    assert image.tilt_deg == -12


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (0, 2, 1)])
def test_f11_energy_axis_is_found_by_its_unit(tmp_path: Path, order: tuple[int, int, int]) -> None:
    image = load_spectrum_image(write(tmp_path / "tilt_5.hspy", order=order))
    np.testing.assert_array_equal(image.counts, np.arange(360).reshape(3, 4, 30))


def test_f17_descending_energies_are_turned(tmp_path: Path) -> None:
    image = load_spectrum_image(write(tmp_path / "tilt_5.hspy", start=20.0, step=-1.0))
    assert image.energy == EnergyAxis(-9.0, 1.0, 30)
    np.testing.assert_array_equal(image.counts[0, 0], np.arange(30)[::-1])


@pytest.mark.parametrize(
    ("unit", "nm"),
    [("nm", 0.5), ("µm", 500.0), ("\u03bcm", 500.0), ("um", 500.0), ("m", 0.5e9), ("Å", 0.05), ("pm", 5e-4)],
)
def test_f10_lengths_become_nm(tmp_path: Path, unit: str, nm: float) -> None:
    assert length_nm(0.5, unit) == pytest.approx(nm)
    image = load_spectrum_image(write(tmp_path / "tilt_1.hspy", units=(unit, "eV"), pixel=(0.5, 0.5)))
    assert image.pixel_nm == pytest.approx(nm)


@pytest.mark.parametrize(
    ("unit", "size"),
    [("", 1.0), ("px", 1.0), ("1/nm", 0.5), ("<undefined>", 1.0), ("nm", 0.0), ("nm", -1.0), ("Mm", 1.0)],
)
def test_f10_missing_calibration_is_asked_for(tmp_path: Path, unit: str, size: float) -> None:
    path = write(tmp_path / "tilt_1.hspy", units=(unit, "eV"), pixel=(size, size))
    with pytest.raises(ReadError, match=r"tilt_1\.hspy.*Give pixel_nm"):
        load_spectrum_image(path)
    assert probe(path)[0].pixel_nm is None
    assert load_spectrum_image(path, pixel_nm=0.8).pixel_nm == 0.8


def test_f10_oblong_pixels_and_nameless_energies_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ReadError, match="square pixels"):
        probe(write(tmp_path / "a.hspy", pixel=(1.0, 2.0)))
    with pytest.raises(ReadError, match=r"energy axis.*Calibrate"):
        probe(write(tmp_path / "b.hspy", units=("nm", "")))
    assert ev_per("keV") == 1000
    assert ev_per("MeV") is None


def test_f15_f16_expression_axis_is_refused(tmp_path: Path) -> None:
    import h5py

    path = write(tmp_path / "tilt_1.hspy")
    with h5py.File(path, "a") as file:
        axis = file["Experiments/tilt_1/axis-2"]
        axis.attrs["_type"] = "FunctionalDataAxis"
        axis.attrs["expression"] = "a * x + b"
    with pytest.raises(ReadError, match="not evaluated"):
        probe(path)


def uneven(path: Path, energies: np.ndarray) -> Path:
    """A foreign file (3, 4, 30) whose energies are a list of values."""
    import h5py

    write(path)
    with h5py.File(path, "a") as file:
        axis = file[f"Experiments/{path.stem}/axis-2"]
        axis.attrs["_type"] = "DataAxis"
        del axis.attrs["scale"], axis.attrs["offset"]
        axis["axis"] = energies
    return path


@pytest.mark.parametrize("turned", [False, True])
def test_f16_uneven_energies_are_rebinned_with_all_counts(tmp_path: Path, turned: bool) -> None:
    energies = np.geomspace(300, 900, 30)
    image = load_spectrum_image(uneven(tmp_path / "tilt_1.hspy", energies[::-1] if turned else energies))
    counts = np.arange(360.0).reshape(3, 4, 30)
    np.testing.assert_allclose(image.counts.sum(axis=2), counts.sum(axis=2), rtol=1e-6)
    # a flat density (counts per eV) stays flat, and the mean energy of a spectrum stays
    edges = channel_edges(energies)
    flat = rebin_uniform(np.diff(edges)[None, None], edges)
    np.testing.assert_allclose(flat, uniform_axis(edges).step_ev, rtol=1e-5)
    spectrum = counts[1, 2, ::-1] if turned else counts[1, 2]
    centres = (edges[1:] + edges[:-1]) / 2
    mean = (image.counts[1, 2] @ image.energy.values) / image.counts[1, 2].sum()
    assert mean == pytest.approx(spectrum @ centres / spectrum.sum(), abs=0.6 * image.energy.step_ev)


def test_f16_energies_that_jump_back_are_refused(tmp_path: Path) -> None:
    energies = np.geomspace(300, 900, 30)
    energies[7] = energies[3]
    with pytest.raises(ReadError, match="ascending"):
        probe(uneven(tmp_path / "tilt_1.hspy", energies))


@pytest.mark.parametrize(
    ("stage", "name", "tilt"),
    [
        (17.48, "tilt_17.5.hspy", 17.48),
        (0.0, "tilt_17.5.hspy", 17.5),
        (None, "tilt_17.5.hspy", 17.5),
        (17.48, "a.hspy", 17.48),
        (0.0, "a.hspy", 0.0),
    ],
)
def test_f23_tilt_from_stage_and_name(tmp_path: Path, stage: float | None, name: str, tilt: float) -> None:
    assert load_spectrum_image(write(tmp_path / name, tilt=stage)).tilt_deg == tilt


def test_f22_tilt_unknown_or_in_conflict(tmp_path: Path) -> None:
    with pytest.raises(ReadError, match=r"a\.hspy.*Give the tilt"):
        load_spectrum_image(write(tmp_path / "a.hspy"))
    path = write(tmp_path / "tilt_30.hspy", tilt=-30.0)
    assert probe(path)[0].conflict
    with pytest.raises(ReadError, match="-30 in the metadata and 30 in the name"):
        load_spectrum_image(path)
    assert load_spectrum_image(path, tilt_deg=-30).tilt_deg == -30


def test_f23_stage_tilts_of_zero_everywhere_are_refused(tmp_path: Path) -> None:
    for i in range(4):
        write(tmp_path / f"view{i}_LL.hspy", tilt=0.0)
        write(tmp_path / f"view{i}_HL.hspy", start=700.0, tilt=0.0)
    with pytest.raises(GeometryError, match="different angles"):
        load_series(tmp_path)
    assert load_series(tmp_path, tilts_deg=(-60, 30, 0, 60)).tilts_deg == (-60, 0, 30, 60)
    with pytest.raises(GeometryError, match="expected 4"):
        load_series(tmp_path, tilts_deg=(-60, 0, 60))


def test_pairs_without_zero_loss_are_told_by_name(tmp_path: Path) -> None:
    write(tmp_path / "tilt_10_lowloss.hspy", start=30.0)
    write(tmp_path / "tilt_10_coreloss.hspy", start=90.0)
    pair = load_series(tmp_path).tilts[0]
    assert (pair.low_loss.energy.start_ev, pair.core_loss.energy.start_ev) == (30.0, 90.0)
    write(tmp_path / "tilt_20_SI.hspy", start=30.0)
    with pytest.raises(ReadError, match=r"tilt_20_SI\.hspy.*Rename"):
        load_series(tmp_path)


def test_f13_one_bad_file_loads_nothing(tmp_path: Path, series: SpectrumSeries) -> None:
    paths = save_series(series, tmp_path)
    paths[3].write_bytes(paths[3].read_bytes()[:-200])
    with pytest.raises(ReadError, match=re.escape(paths[3].name)) as caught:
        load_series(tmp_path)
    assert caught.value.__cause__ is not None


def test_f22_lonely_low_loss_and_unequal_shapes(tmp_path: Path, series: SpectrumSeries) -> None:
    paths = save_series(series, tmp_path)
    extra = write(tmp_path / "lowloss_+060.0.hspy", start=-5.0)
    with pytest.raises(GeometryError, match="4 low-loss, 3 core-loss"):
        load_series(tmp_path)
    write(tmp_path / "coreloss_+050.0.hspy", start=700.0)
    with pytest.raises(GeometryError, match=r"lowloss_\+060.*coreloss_\+050"):
        load_series(tmp_path)
    (tmp_path / "coreloss_+050.0.hspy").rename(tmp_path / "coreloss_+060.0.hspy")
    with pytest.raises(GeometryError, match="one shape and one pixel"):
        load_series(tmp_path)
    extra.unlink()
    (tmp_path / "coreloss_+060.0.hspy").unlink()
    assert load_series(paths[::-1]).tilts_deg == TILTS


def test_f13_nothing_to_load(tmp_path: Path) -> None:
    for source in (tmp_path, tmp_path / "absent", []):
        with pytest.raises(ReadError):
            load_series(source)
    (tmp_path / "a.xyz").write_bytes(b"unknown")
    with pytest.raises(ReadError, match=r"\.hspy.*ending '\.xyz'"):
        load_series(tmp_path / "a.xyz")


def test_f14_claims_are_refused_before_allocation(tmp_path: Path) -> None:
    import h5py

    path = write(tmp_path / "tilt_1.hspy")
    with h5py.File(path, "a") as file:
        group = file["Experiments/tilt_1"]
        del group["data"]
        group.create_dataset("data", (2000, 2000, 2500), "f4", chunks=(1, 100, 2500), compression="gzip")
    assert path.stat().st_size < 100_000
    with pytest.raises(ReadError, match=r"claims 37\.3 GiB"):
        probe(path)
    small = write(tmp_path / "tilt_2.hspy")
    with pytest.raises(ReadError, match="give max_bytes"):
        load_spectrum_image(small, max_bytes=1000)


def test_f15_links_to_other_files_are_refused(tmp_path: Path) -> None:
    import h5py

    path, other = write(tmp_path / "tilt_1.hspy"), write(tmp_path / "tilt_2.hspy")
    with h5py.File(path, "a") as file:
        del file["Experiments/tilt_1/data"]
        file["Experiments/tilt_1/data"] = h5py.ExternalLink(str(other), "Experiments/tilt_2/data")
    with pytest.raises(ReadError, match="links elsewhere"):
        probe(path)


def test_f15_pickled_prz_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "tilt_1.prz"
    with path.open("wb") as stream:
        np.savez(stream, meta_data=np.array([{"harmless": 1}], dtype=object))
    with pytest.raises(ReadError, match="objects in meta_data"):
        probe(path)


def test_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def need_sparse(name: str) -> Any:
        raise ImportError("The 'sparse' library was not found.")

    h5py = pytest.importorskip("h5py")
    h5py.File(tmp_path / "a.emd", "w").close()
    monkeypatch.setattr(headers, "import_module", need_sparse)
    with pytest.raises(ReadError, match="pip install sparse"):
        probe(tmp_path / "a.emd")


def test_single_image_round_trip(tmp_path: Path, series: SpectrumSeries) -> None:
    image = series.tilts[0].core_loss.replace(tilt_deg=3.0)
    back = load_spectrum_image(save_spectrum_image(image, tmp_path / "one.hspy"))
    np.testing.assert_array_equal(back.counts, image.counts)
    assert back.tilt_deg == 3.0


def test_fine_tilts_have_distinct_names(tmp_path: Path, series: SpectrumSeries) -> None:
    def at(pair: DualSpectrumImage, tilt: float) -> DualSpectrumImage:
        return DualSpectrumImage(pair.low_loss.replace(tilt_deg=tilt), pair.core_loss.replace(tilt_deg=tilt))

    tilts = (-0.0, 17.481, 17.5)
    fine = SpectrumSeries(tuple(at(pair, tilt) for pair, tilt in zip(series.tilts, tilts, strict=True)))
    names = [path.name for path in save_series(fine, tmp_path)]
    assert names[::2] == ["lowloss_+000.0.hspy", "lowloss_+017.481.hspy", "lowloss_+017.5.hspy"]
    assert load_series(tmp_path).tilts_deg == tilts


@pytest.mark.real_data
def test_bruker_tilt_series(data_folder: Path) -> None:
    folder = data_folder / "L2083_edx_spectrum_images"
    found = {path.name: probe(path)[0] for path in (folder / "-40.bcf", folder / "35.bcf")}
    assert {name: header.tilt_deg for name, header in found.items()} == {"-40.bcf": -40.0, "35.bcf": 35.0}
    image = load_spectrum_image(folder / "-40.bcf")
    assert image.counts.shape == (256, 256, 2048)
    assert image.pixel_nm == pytest.approx(13.0814, rel=1e-4)
    assert image.energy.step_ev == pytest.approx(10.003)
    iron = image.energy.window(6300, 6500)
    assert image.counts[..., iron].sum() > 2 * image.counts[..., image.energy.window(5000, 5200)].sum()
    with pytest.raises(GeometryError, match="1 EDS"):
        load_series(folder / "-40.bcf")


@pytest.mark.real_data
def test_digital_micrograph_spectrum_image(data_folder: Path) -> None:
    image = load_spectrum_image(data_folder / "format_fixtures" / "EELS_SI.dm4", tilt_deg=0)
    assert image.counts.shape == (2, 2, 2048)
    assert image.energy == EnergyAxis(300.0, 1.0, 2048)
    assert image.pixel_nm == pytest.approx(1.99207, rel=1e-4)
    spectrum = image.counts.sum((0, 1))
    assert spectrum[image.energy.window(535, 560)].mean() > spectrum[image.energy.window(500, 525)].mean()
    with pytest.raises(ReadError, match="one spectrum image"):
        load_spectrum_image(data_folder / "pytemlib_eels" / "EELS_STO.dm3", tilt_deg=0)


@pytest.mark.real_data
def test_velox_with_three_ranges(data_folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("sparse")
    shutil.unpack_archive(data_folder / "format_fixtures" / "velox_EELS_EDS.zip", tmp_path)
    path = next(tmp_path.glob("*.emd"))
    assert sorted(header.kind for header in probe(path)) == ["EDS", "core-loss", "core-loss", "low-loss"]
    pair = load_series(path, tilts_deg=[5.0], core_ev=532).tilts[0]
    assert pair.low_loss.counts.shape == (16, 20, 2048)
    assert pair.core_loss.energy.start_ev == pytest.approx(480)
    assert pair.pixel_nm == pytest.approx(158.658, rel=1e-4)
