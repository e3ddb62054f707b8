"""The command line from simulated spectra to phases; references that cannot serve."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from napari_dipmtv.cli.app import app
from napari_dipmtv.io.map_folder import load_saved_maps, load_saved_series
from napari_dipmtv.io.volumes import load_labels, load_volume

TINY_SIMULATION = (
    "phantom.field_voxels=20",
    "phantom.size_nm=13",
    "phantom.shell_nm=2.5",
    "phantom.void_radius_nm=1",
    "phantom.supersampling=1",
    "tilt_step_deg=35",
    "image_drift_px=0.5",
    "dose_e_per_a2=2e5",
)


def call(*words: object) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


@pytest.fixture(scope="module")
def spectra(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("simulated") / "spectra"
    words = [word for assignment in TINY_SIMULATION for word in ("--set", assignment)]
    done = call("simulate", "--out", folder, *words)
    assert done.exit_code == 0, done.output
    return folder


def test_simulate_writes_pairs_and_truth(spectra: Path) -> None:
    assert len(list(spectra.glob("lowloss_*.hspy"))) == len(list(spectra.glob("coreloss_*.hspy"))) == 5
    assert json.loads((spectra / "truth/truth.json").read_text())["channels"] == ["FeO", "Fe3O4"]


def test_from_spectra_to_phases(spectra: Path, tmp_path: Path) -> None:
    core, shell = "FeO=0:8:12,8:12", "Fe3O4=0:8:12,5:7"
    done = call("unmix", spectra, "--reference", core, "--reference", shell, "--out", tmp_path / "maps")
    assert done.exit_code == 0, done.output
    maps = load_saved_maps(tmp_path / "maps")
    assert maps.channels == ("FeO", "Fe3O4")
    assert maps.covariance is not None
    assert {"variance_FeO.tif", "m_references.csv", "report.json"} <= {
        p.name for p in (tmp_path / "maps").iterdir()
    }

    done = call(
        "align", "--maps", tmp_path / "maps", "--set", "rounds=1", "--out", tmp_path / "aligned", "--json"
    )
    assert done.exit_code == 0, done.output
    shifts = json.loads(done.stdout)["shifts_px"]
    series = load_saved_series(tmp_path / "aligned")
    assert series.alignment is not None
    np.testing.assert_allclose(series.alignment.shifts_px, shifts)

    again = call("align", "--maps", tmp_path / "aligned", "--out", tmp_path / "again")
    assert again.exit_code == 2
    assert "not aligned yet" in again.stderr

    done = call(
        "reconstruct", "--maps", tmp_path / "aligned", "--method", "sirt", "--out", tmp_path / "volume"
    )
    assert done.exit_code == 0, done.output
    done = call("segment", tmp_path / "volume", "--out", tmp_path / "phases")
    assert done.exit_code == 0, done.output
    labels = load_labels(tmp_path / "phases/labels.tif")
    assert labels.mask("Fe3O4 shell").any()
    assert "Fe3O4 shell volume" in (tmp_path / "phases/measures.csv").read_text(encoding="utf-8-sig")

    formats = ("--format", "mrc", "--format", "hspy", "--labels", tmp_path / "phases/labels.tif")
    done = call("export", tmp_path / "volume", *formats, "--out", tmp_path / "export")
    assert done.exit_code == 0, done.output
    names = {path.name for path in (tmp_path / "export").iterdir()}
    assert {
        "volume_FeO.mrc",
        "volume_Fe3O4.mrc",
        "volume.hspy",
        "mesh_Fe3O4_shell.stl",
        "labels.tif",
    } <= names
    original = load_volume(tmp_path / "volume")
    np.testing.assert_array_equal(load_volume(tmp_path / "export/volume.hspy").data, original.data)


def test_references_from_a_file_that_simulate_knows(spectra: Path, tmp_path: Path) -> None:
    from napari_dipmtv.io.reference_spectra import save_references
    from napari_dipmtv.phantom import simulate
    from napari_dipmtv.settings.simulation import SimulationSettings

    truth = json.loads((spectra / "truth/truth.json").read_text())["settings"]
    pure = simulate(SimulationSettings.from_mapping(truth)).l_references
    table = save_references(pure, tmp_path / "pure.csv")
    words = ("--reference", f"FeO={table}", "--reference", f"Fe3O4={table}")
    done = call("unmix", spectra, *words, "--out", tmp_path / "maps", "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["references"]["sources"] == {"FeO": "pure.csv", "Fe3O4": "pure.csv"}
    maps, true = load_saved_maps(tmp_path / "maps").data, np.load(spectra / "truth/fe_maps.npy")
    for found, wanted in zip(maps, true, strict=True):
        assert np.corrcoef(found.ravel(), wanted.ravel())[0, 1] > 0.9


@pytest.mark.parametrize(
    ("references", "hint"),
    [
        ([], "auto"),
        (["FeO=0:8:12,8:99"], "20 x 20"),
        (["FeO=0:8:12,8:12", "Fe3O4=nothing.csv"], "nothing.csv"),
        (["FeO=spectrum.xyz"], "xyz"),
        (["FeO"], "NAME=SPEC"),
    ],
)
def test_bad_references_write_nothing(
    spectra: Path, tmp_path: Path, references: list[str], hint: str
) -> None:
    words = [word for reference in references for word in ("--reference", reference)]
    done = call("unmix", spectra, *words, "--out", tmp_path / "maps")
    assert done.exit_code == 2, done.output
    assert hint in done.stderr
    assert not (tmp_path / "maps").exists()


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    done = call("unmix", tmp_path / "empty", "--reference", "auto", "--out", tmp_path / "maps")
    assert done.exit_code == 2
    assert "empty" in done.stderr
