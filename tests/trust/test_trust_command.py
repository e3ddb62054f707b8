"""The command ``trust`` with a volume and a reference of the user's own: what it writes can be read and used."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from napari_dipmtv.cli.app import app
from napari_dipmtv.io.map_folder import save_maps
from napari_dipmtv.io.ome import read_ome
from napari_dipmtv.io.volumes import save_volume
from napari_dipmtv.trust import parts

SHORT = {
    "repeats": 19,
    "repeat_method": "sirt",
    "members": 2,
    "planted_repeats": 2,
    "planted_sizes": 2,
    "refits": 3,
    "held_out": "false",
    "likelihood_repeats": 50,
    "likelihood_planted": 10,
}


@pytest.fixture(scope="module")
def asked(hollow, counted, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A volume by 15 passes of SIRT, put to the test and compared with a reference that lies elsewhere."""
    folder = tmp_path_factory.mktemp("asked")
    save_maps(counted(hollow, noise=0.15), folder / "maps")
    save_volume(hollow.replace(data=np.roll(0.5 * hollow.data, 2, axis=3)), folder / "reference")
    runner = CliRunner()
    words = ["reconstruct", "--maps", str(folder / "maps"), "--method", "sirt", "--iterations", "15"]
    made = runner.invoke(app, [*words, "--device", "cpu", "--out", str(folder / "volume")])
    assert made.exit_code == 0, made.output
    words = ["trust", str(folder / "maps"), "--volume", str(folder / "volume"), "--device", "cpu"]
    words += ["--reference", str(folder / "reference"), "--out", str(folder / "trust"), "--svg"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parts, "COMPARED", ("sirt",))  # the others take seconds to minutes
        done = runner.invoke(app, [*words, *(f"--set={name}={value}" for name, value in SHORT.items())])
    assert done.exit_code == 0, done.output
    return folder / "trust"


@pytest.fixture(scope="module")
def facts(asked: Path) -> dict:
    return json.loads((asked / "trust.json").read_text(encoding="utf-8"))


def test_the_volume_tells_what_made_it(facts: dict) -> None:
    assert facts["method"] == "sirt, 15 iterations"
    assert facts["settings"]["sirt"]["iterations"] == 15
    assert facts["repeat_method"] == "sirt, 20 iterations"


def test_the_reference_is_found_and_all_methods_stand_beside_it(facts: dict, hollow) -> None:
    assert facts["reference"]["shift_nm"] == pytest.approx([0, 0, 2 * hollow.voxel_nm], abs=0.3)
    assert facts["reference"]["scale"] == pytest.approx(2, rel=0.1)
    assert [row["method"] for row in facts["methods"]] == ["sirt"]
    assert all(0 < row["nrmse"] < 0.6 for row in facts["methods"])
    assert {Path(name).parent.name for name in facts["inputs"]} == {"maps", "volume", "reference"}


def test_measures_stand_with_intervals_and_units(asked: Path, facts: dict) -> None:
    with (asked / "measures.csv").open(encoding="utf-8-sig", newline="") as stream:
        rows = {row["name"]: row for row in csv.DictReader(stream)}
    [found] = [one for one in facts["intervals"] if one["name"] == "particle volume"]
    row = rows["particle volume"]
    assert row["unit"] == "nm³"
    assert float(row["low95"]) == pytest.approx(found["low95"])
    assert float(row["by_repeats"]) == pytest.approx(found["value"])
    assert float(row["value"]) != float(row["by_repeats"])  # another number of passes


def test_probabilities_add_up_and_carry_their_scale(asked: Path, hollow) -> None:
    shares = [read_ome(path) for path in sorted(asked.glob("probability_*.tif"))]
    np.testing.assert_allclose(sum(data for data, _ in shares), 1, atol=1e-6)
    assert {note["pixel_nm"] for _, note in shares} == {hollow.voxel_nm}
    mean, note = read_ome(next(asked.glob("ensemble_mean_*.tif")))
    assert (mean.shape, note["members"]) == (hollow.data.shape[1:], 2)


def test_the_page_answers_first(asked: Path, facts: dict) -> None:
    html = (asked / "report.html").read_text(encoding="utf-8")
    assert "<h1>Is the void real?</h1>" in html
    places = [
        html.index(words) for words in ('<ul class="verdict">', "<h2>Pictures</h2>", "<h2>Measures</h2>")
    ]
    assert places == sorted(places)
    assert facts["verdict"][0].replace("'", "&#x27;") in html
    assert "trust_methods" not in html  # captions are words
    assert html.count("data:image/png") == len(list(asked.glob("trust_*.svg"))) >= 4
    assert "p = 0.05" in (asked / "trust_null.svg").read_text(encoding="utf-8")  # text that can be searched


def test_f53_a_finished_study_is_not_replaced_unasked(asked: Path) -> None:
    before = (asked / "trust.json").read_bytes()
    done = CliRunner().invoke(app, ["trust", str(asked.parent / "maps"), "--out", str(asked), "--json"])
    assert done.exit_code != 0
    assert "--fresh" in json.loads(done.stdout)["error"]
    assert (asked / "trust.json").read_bytes() == before
