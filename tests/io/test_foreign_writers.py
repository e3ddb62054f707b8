"""Spectrum images as other programs write them: right counts, axes, units and tilt, or one clear error."""

from __future__ import annotations

import shutil
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from foreign_files import write_zspy

from napari_dipmtv.data import EnergyAxis, SpectrumSeries
from napari_dipmtv.errors import ReadError
from napari_dipmtv.io.companions import load_companions
from napari_dipmtv.io.guard import sha256
from napari_dipmtv.io.headers import probe
from napari_dipmtv.io.reports import provenance
from napari_dipmtv.io.spectrum_images import load_spectrum_image, save_series
from napari_dipmtv.io.tilt_table import survey

COUNTS = np.random.default_rng(0).poisson(40.0, (3, 4, 30)).astype(np.uint16)  # (y, x, e)
ENERGY = EnergyAxis(-5.0, 0.5, 30)
WRITERS = {".hspy": "hspy", ".emd": "emd", ".rpl": "ripple", ".nxs": "nexus"}


def signal() -> dict[str, Any]:
    """What HyperSpy hands to a writer of RosettaSciIO."""
    axes = [("y", "nm", 0.37, 0.0), ("x", "nm", 0.37, 0.0), ("Energy loss", "eV", 0.5, -5.0)]
    microscope = {"Stage": {"tilt_alpha": 10.0}, "beam_energy": 200.0}
    return {
        "data": COUNTS,
        "axes": [
            {
                "_type": "UniformDataAxis",
                "name": name,
                "units": units,
                "scale": scale,
                "offset": offset,
                "size": COUNTS.shape[i],
                "navigate": i < 2,
                "is_binned": False,
                "index_in_array": i,
            }
            for i, (name, units, scale, offset) in enumerate(axes)
        ],
        "metadata": {
            "General": {"title": "low loss"},
            "Signal": {"signal_type": "EELS"},
            "Acquisition_instrument": {"TEM": microscope},
        },
        "original_metadata": {},
        "attributes": {"_lazy": False, "ragged": False},
        "learning_results": {},
        "models": {},
        "package_info": {"package": "hyperspy", "package_version": "2.5.0"},
        "tmp_parameters": {},
    }


@pytest.mark.parametrize("suffix", WRITERS)
def test_files_of_rosettasciio(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"tilt_10{suffix}"
    import_module(f"rsciio.{WRITERS[suffix]}").file_writer(str(path), signal())
    image = load_spectrum_image(path)
    np.testing.assert_array_equal(image.counts, COUNTS)
    assert image.energy == ENERGY
    assert image.pixel_nm == pytest.approx(0.37)
    assert image.tilt_deg == 10.0
    assert [header.kind for header in probe(path)] == ["low-loss"]


@pytest.mark.parametrize("zipped", [False, True])
def test_zarr_of_hyperspy(tmp_path: Path, zipped: bool) -> None:
    path = write_zspy(tmp_path / "tilt_10.zspy", COUNTS, zipped=zipped)
    rows = survey(tmp_path).rows
    assert [(row.path, row.tilt_deg, row.tilt_from, row.problems) for row in rows] == [
        (path, 10.0, "metadata", ())
    ]
    assert survey(path).rows == rows
    image = load_spectrum_image(path)
    np.testing.assert_array_equal(image.counts, COUNTS)
    assert (image.energy, image.pixel_nm, image.beam_kev) == (ENERGY, 0.37, 200.0)
    assert list(provenance({}, inputs=[tmp_path])["inputs"].values()) == [sha256(path)]


def write_image(path: Path, image: np.ndarray, title: str) -> None:
    """One image as HyperSpy writes it."""
    whole = signal()
    whole["axes"] = [
        {**axis, "size": size, "navigate": False}
        for axis, size in zip(whole["axes"], image.shape, strict=False)
    ]
    whole |= {"data": image, "metadata": {"General": {"title": title}, "Signal": {"signal_type": ""}}}
    import_module("rsciio.hspy").file_writer(str(path), whole)


def test_adf_images_beside_dual_eels(tmp_path: Path, series: SpectrumSeries) -> None:
    save_series(series, tmp_path)
    assert load_companions(survey(tmp_path)) is None
    images = np.random.default_rng(0).random((3, 5, 4)).astype(np.float32)
    for pair, image in zip(series.tilts, images, strict=True):
        write_image(tmp_path / f"SI_ADF_{pair.tilt_deg:+g}deg.hspy", image, "survey")
        write_image(tmp_path / f"SI_BF_{pair.tilt_deg:+g}deg.hspy", -image, "survey")
    table = survey(tmp_path)
    assert not table.problems
    found = load_companions(table)
    assert found is not None
    np.testing.assert_array_equal(found.data[0], images)
    assert (found.channels, found.tilts_deg, found.pixel_nm) == (("HAADF",), series.tilts_deg, 0.37)
    (tmp_path / "SI_ADF_+17.5deg.hspy").unlink()
    with pytest.raises(ReadError, match=r"one at each tilt, got none for lowloss_\+017\.5"):
        load_companions(survey(tmp_path))


def part(path: Path, name: str) -> Path:
    return path / "Experiments/low loss" / name


def test_f13_damaged_zarr_is_refused(tmp_path: Path) -> None:
    path = write_zspy(tmp_path / "whole.zspy", COUNTS)
    first = sha256(path)
    for name, damage in {
        "data/1/0/0": None,
        "data/0/0/0": b"\x02\x01 too short",
        "data/.zarray": b"{",
        "axis-2/.zattrs": b"[]",
    }.items():
        copy = Path(shutil.copytree(path, tmp_path / "copy.zspy"))
        part(copy, name).unlink()
        if damage is not None:
            part(copy, name).write_bytes(damage)
        with pytest.raises(ReadError, match=r"copy\.zspy"):
            load_spectrum_image(copy)
        assert sha256(copy) != first
        shutil.rmtree(copy)
    assert not survey(path).problems


def test_f14_zarr_that_claims_too_much_is_refused(tmp_path: Path) -> None:
    path = write_zspy(tmp_path / "a.zspy", COUNTS, shape=(400_000, 400, 3000), chunks=(400_000, 400, 3000))
    with pytest.raises(ReadError, match=r"claims 894 GiB"):
        probe(path)


def test_f15_zarr_with_code_or_links_is_refused(tmp_path: Path) -> None:
    pickled = write_zspy(tmp_path / "a.zspy", COUNTS, dtype="|O", filters=[{"id": "pickle"}], fill_value=None)
    with pytest.raises(ReadError, match=r"a\.zspy"):
        probe(pickled)
    packed = write_zspy(tmp_path / "b.zspy", COUNTS, compressor={"id": "pickle", "protocol": 5})
    with pytest.raises(ReadError, match=r"b\.zspy.*pickle"):
        probe(packed)
    linked = write_zspy(tmp_path / "c.zspy", COUNTS)
    shutil.move(part(linked, "data"), tmp_path / "elsewhere")
    part(linked, "data").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ReadError, match="links elsewhere"):
        probe(linked)
    formula = write_zspy(tmp_path / "d.zspy", COUNTS)
    part(formula, "axis-2/.zattrs").write_text(
        '{"_type": "FunctionalDataAxis", "expression": "x.y", "size": 30}'
    )
    with pytest.raises(ReadError, match="expression"):
        probe(formula)
