"""``napari-dipmtv unmix``: every way to give references, what is written, what is said."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tifffile
from typer.testing import CliRunner

from napari_dipmtv.cli.app import app
from napari_dipmtv.io.hspy import Axis, hspy_bytes
from napari_dipmtv.phantom import eels, simulate
from napari_dipmtv.settings.simulation import SimulationSettings

SETTINGS = SimulationSettings.from_mapping(
    {
        "phantom": {"field_voxels": 20, "size_nm": 13, "shell_nm": 2.5, "void_radius_nm": 1, "supersampling": 1},
        "tilt_step_deg": 70,
        "image_drift_px": 0.5,
        "dose_e_per_a2": 1e6,
    }
)  # fmt: skip


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    folder = tmp_path_factory.mktemp("spectra")
    simulation = simulate(SETTINGS)
    simulation.write(folder)
    side = simulation.fe_maps.data.shape[-1]
    axes = [Axis(name, side, simulation.fe_maps.pixel_nm, 0.0, "nm", navigate=False) for name in "yx"]
    for tilt, image in zip(simulation.fe_maps.tilts_deg, simulation.fe_maps.data.sum(axis=0), strict=True):
        (folder / f"ADF_{tilt:+g}deg.hspy").write_bytes(hspy_bytes(image, axes, "survey", {}))
    return folder, simulation


def unmix(folder, out, *words):
    return CliRunner().invoke(app, ["unmix", str(folder), "--out", str(out), *map(str, words)])


def check_maps(out: Path, simulation, least):
    for i, name in enumerate(("FeO", "Fe3O4")):
        maps, variance = (tifffile.imread(out / f"{kind}_{name}.tif") for kind in ("maps", "variance"))
        assert maps.shape == variance.shape == simulation.fe_maps.data[i].shape
        assert (variance[maps != 0] > 0).all()
        assert np.corrcoef(maps.ravel(), simulation.fe_maps.data[i].ravel())[0, 1] > least
    table = np.genfromtxt(out / "m_references.csv", delimiter=",", names=True)
    assert table.dtype.names == ("energy_ev", "FeO", "Fe3O4")
    np.testing.assert_array_equal(
        tifffile.imread(out / "haadf/maps_HAADF.tif"), simulation.fe_maps.data.sum(axis=0)
    )


def test_automatic_references(measured, tmp_path):
    folder, simulation = measured
    done = unmix(folder, tmp_path / "maps", "--reference", "auto")
    assert done.exit_code == 0, done.output
    check_maps(tmp_path / "maps", simulation, 0.85)
    told = json.loads((tmp_path / "maps/report.json").read_text())["references"]
    assert {(r["reference"], r["other"]) for r in told["ranges"]} == {("FeO", "Fe3O4"), ("Fe3O4", "FeO")}
    assert all(r["least"] <= 0 <= r["most"] for r in told["ranges"])
    assert any("found automatically in the purest 2%" in sentence for sentence in told["assumed"])
    assert any("purify=volume takes that off" in sentence for sentence in told["assumed"])
    why = "not purified in the volume. tilts to purify in the volume: expected 7 or more, got 3"
    assert any(why in sentence for sentence in told["assumed"])
    assert why in " ".join(done.stderr.split())


def test_spectrum_files_of_hyperspy_and_msa(measured, tmp_path):
    import hyperspy.api as hs

    folder, simulation = measured
    words = []
    for reference, suffix in zip(simulation.l_references, ("hspy", "msa"), strict=True):
        signal = hs.signals.Signal1D(reference.intensity)
        signal.axes_manager[0].offset = reference.energy.start_ev
        signal.axes_manager[0].scale = reference.energy.step_ev
        signal.axes_manager[0].units = "eV"
        signal.metadata.General.title = reference.name
        path = tmp_path / f"{reference.name}.{suffix}"
        signal.save(path)
        words += ["--reference", f"{reference.name}={path}"]
    done = unmix(folder, tmp_path / "maps", *words)
    assert done.exit_code == 0, done.output
    check_maps(tmp_path / "maps", simulation, 0.9)
    done = unmix(folder, tmp_path / "binned", *words, "--bin-pixels", 2)
    assert done.exit_code == 0, done.output
    whole, binned = (tifffile.imread(tmp_path / out / "maps_Fe3O4.tif") for out in ("maps", "binned"))
    assert binned.shape == (whole.shape[0], 10, 10)
    blocks = whole.reshape(-1, 10, 2, 10, 2).sum(axis=(2, 4))
    assert np.corrcoef(binned.ravel(), blocks.ravel())[0, 1] > 0.99
    assert binned.sum() == pytest.approx(whole.sum(), rel=0.03)


def test_manganese_by_its_own_windows(tmp_path, monkeypatch):
    """The edges of the simulator moved to Mn: L3 from 708 to 640 eV, M2,3 from 57 to 51 eV; plasmon and O-K stay."""
    m_edge, l_edge = eels.m_edge, eels.l_edge
    monkeypatch.setattr(eels, "m_edge", lambda oxide, e: m_edge(oxide, e + 6.0))
    monkeypatch.setattr(eels, "l_edge", lambda oxide, e: l_edge(oxide, e + 68.0))
    simulation = simulate(SETTINGS.replace(dose_e_per_a2=3e6))
    simulation.write(tmp_path / "spectra")
    done = unmix(tmp_path / "spectra", tmp_path / "maps", "--reference", "auto", "--metal", "Mn")
    assert done.exit_code == 0, done.output
    names = ("Mn_reduced", "Mn_oxidised")
    for i, name in enumerate(names):
        maps = tifffile.imread(tmp_path / f"maps/maps_{name}.tif")
        assert np.corrcoef(maps.ravel(), simulation.fe_maps.data[i].ravel())[0, 1] > 0.85
    table = np.genfromtxt(tmp_path / "maps/m_references.csv", delimiter=",", names=True)
    assert table.dtype.names == ("energy_ev", *names)
    strongest = table["energy_ev"][np.argmax(table["Mn_reduced"])]
    assert strongest == pytest.approx(51.0, abs=1.0)


def test_windows_of_another_metal(measured, tmp_path):
    done = unmix(measured[0], tmp_path / "maps", "--reference", "auto", "--metal", "Xx")
    assert done.exit_code == 2
    assert "Fe, Mn, Co" in done.stderr
    done = unmix(measured[0], tmp_path / "maps", "--reference", "auto", "--metal", "Ce", "--json")
    assert done.exit_code == 2  # Ce-M lies beyond the recorded core loss, and that is said
    assert "energy window" in json.loads(done.stdout)["error"]
    assert not (tmp_path / "maps").exists() or not list((tmp_path / "maps").glob("*.tif"))
