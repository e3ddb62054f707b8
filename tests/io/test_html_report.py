"""The page of a run: everything in it, nothing outside of it, nothing of it taken for markup."""

from __future__ import annotations

import base64
import csv
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from napari_dipmtv.cli.app import app
from napari_dipmtv.data import Segmentation, Volume
from napari_dipmtv.errors import ReadError
from napari_dipmtv.inspect import Measure, Spread
from napari_dipmtv.io.html_report import html_of_folder, html_report
from napari_dipmtv.io.ome import read_ome
from napari_dipmtv.io.volumes import load_labels, load_volume, save_labels, save_volume

VOID_TAGS = {"meta", "img"}
STORY = {
    "created": "2025-01-02T03:04:05+00:00",
    "versions": {"numpy": "2.1"},
    "device": "cpu",
    "seconds": 12.345678,
    "settings": {"dipm-tv": {"iterations": 250, "filters": [16, 32], "bf16": True}},
    "tilts_deg": [-60.0, 0.0, 60.0],
    "inputs": {"maps/feo.tif": "ab" * 32},
    "losses": {"data": [3.0, 2.0, 1.0]},
    "notes": ["One tilt was left out."],
}


class Page(HTMLParser):
    """Checks that tags are closed in order; collects texts and everything that a browser would fetch."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.texts: list[str] = []
        self.sources: list[str] = []
        self.tags: set[str] = set()
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.sources += [str(v) for k, v in attrs if k in ("src", "href", "srcset", "data", "action")]
        assert not any(name.startswith("on") for name, _ in attrs)
        if tag not in VOID_TAGS:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())


@pytest.fixture
def phases(volume: Volume) -> Segmentation:
    return Segmentation(volume.data[0] > 0.5, {0: "vacuum", 1: "FeO"}, volume.voxel_nm)


def test_the_page_tells_everything() -> None:
    measures = (Measure("FeO volume", 1234.5678, "nm³", 21.0), Measure("voids", 1.0, ""))
    trust = {"verdict": ["The void is real"], "null test": {"false voids": 0, "trials": 20}}
    page = Page(
        html_report(STORY, title="Cube 7", measures=measures, trust=trust, pictures={"slices": b"\x89PNG"})
    )
    for words in (
        "Cube 7",
        "1235",
        "± 21",
        "nm³",
        "The void is real",
        "false voids",
        "iterations",
        "250",
        "16, 32",
    ):
        assert words in page.text, words
    for words in ("maps/feo.tif", "abab", "numpy", "One tilt was left out.", "-60, 0, 60", "yes", "12.35"):
        assert words in page.text, words
    assert "3, 2, 1" not in page.text  # curves are pictures


def test_a_spread_shows_its_interval() -> None:
    row = Spread("void volume", "nm³", 60.0, 5.0, 55.0, 65.0, 49.5, 70.5, 12, 3.0)
    page = Page(html_report({}, measures=[row], particles=[[row], [row]]))
    assert "49.5 … 70.5" in page.text
    assert "95 % interval" in page.text
    assert "Particle 2" in page.text


def test_the_page_opens_without_a_network(tmp_path: Path, volume: Volume, phases: Segmentation) -> None:
    from napari_dipmtv.pipeline import export

    export(tmp_path, volume=volume, segmentation=phases, provenance=STORY, formats=("ome-tiff",))
    html = html_of_folder(tmp_path)
    page = Page(html)
    assert len(page.sources) == 4  # slices, phases, profile, losses
    for source in page.sources:
        kind, content = source.split(",", 1)
        assert kind == "data:image/png;base64"
        assert base64.b64decode(content).startswith(b"\x89PNG")
    assert not page.tags & {"script", "link", "iframe", "object", "form", "base"}
    assert not re.search(r"@import|url\(|https?://", html)
    assert "default-src 'none'" in html
    assert "prefers-color-scheme: dark" in html
    assert "@media print" in html


def test_words_are_never_markup() -> None:
    evil = '<script>alert(1)</script><img src="https://example.org/x.png" onerror=go()>'
    story = {"settings": {evil: {evil: evil}}, "inputs": {evil: evil}, "notes": [evil], evil: [evil]}
    page = Page(
        html_report(
            story,
            title=evil,
            measures=[{"name": evil, "value": evil, "unit": evil, "uncertainty": None}],
            trust={evil: evil},
            pictures={evil: b"\x89PNG"},
        )
    )
    assert "script" not in page.tags
    assert all(source.startswith("data:") for source in page.sources)
    assert page.text.count("<script>alert(1)</script>") > 8


def test_command_reports_a_folder(tmp_path: Path, volume: Volume) -> None:
    folder = tmp_path / "run 1"
    save_volume(volume, folder)
    (folder / "report.json").write_text(json.dumps(STORY))
    (folder / "trust.json").write_text(json.dumps({"resolution_nm": 1.25}))
    (folder / "measures.csv").write_text(
        "name,value,unit,uncertainty\nvoid volume,60.5,nm³,\n", encoding="utf-8"
    )
    rows = "particle,name,value,unit,uncertainty\n1,void volume,60.5,nm³,\n2,void volume,7,nm³,1\n"
    (folder / "particles.csv").write_text(rows, encoding="utf-8")
    done = CliRunner().invoke(app, ["report", str(folder), "--out", str(tmp_path / "page.html")])
    assert done.exit_code == 0, done.output
    page = Page((tmp_path / "page.html").read_text(encoding="utf-8"))
    for words in ("run 1", "1.25", "60.5", "Particle 2"):
        assert words in page.text
    assert CliRunner().invoke(app, ["report", str(folder), "--title", "Mine"]).exit_code == 0
    assert "<h1>Mine</h1>" in (folder / "report.html").read_text(encoding="utf-8")
    again = html_of_folder(folder)  # the page itself is no picture of the run
    assert again.count("<img") == 2


def test_f13_folders_without_a_story_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ReadError, match="nothing there"):
        html_of_folder(tmp_path)
    (tmp_path / "report.json").write_text("[1]")
    with pytest.raises(ReadError, match="a JSON object"):
        html_of_folder(tmp_path)
    done = CliRunner().invoke(app, ["report", str(tmp_path)])
    assert done.exit_code == 2
    assert not (tmp_path / "report.html").exists()


def test_segment_measures_two_particles_and_reports(tmp_path: Path) -> None:
    z, y, x = np.indices((24, 24, 24))
    balls = [((x - c) ** 2 + (y - 11.5) ** 2 + (z - 11.5) ** 2 < r * r) for c, r in ((5.5, 5), (17.5, 4))]
    shells = [((x - c) ** 2 + (y - 11.5) ** 2 + (z - 11.5) ** 2 < r * r) for c, r in ((5.5, 3), (17.5, 2.5))]
    core, whole = shells[0] | shells[1], balls[0] | balls[1]
    data = np.stack([core * 48.0, (whole & ~core) * 40.0])
    save_volume(Volume(data, ("FeO", "Fe3O4"), 0.5), tmp_path / "volume", ("emd",))
    words = [
        "segment",
        str(tmp_path / "volume"),
        "--set",
        "threshold=mixture",
        "--out",
        str(tmp_path / "phases"),
    ]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    names = {path.name for path in (tmp_path / "phases").iterdir()}
    profiles = {"profile_depth.csv", "profile_radius.csv"}
    maps = {"fe3_share.tif", "thickness_FeO_skin.ply", "thickness_Fe3O4_shell.ply"}
    tables = {"labels.tif", "measures.csv", "particles.csv", "report.json", "report.html"}
    assert names == tables | profiles | maps
    share, told = read_ome(tmp_path / "phases/fe3_share.tif")
    assert (told["axes"], told["pixel_nm"]) == ("ZYX", 0.5)
    assert share[core].max() < 0.1
    assert share[whole & ~core].min() == pytest.approx(2 / 3)
    assert "void volume" in done.output  # the measures themselves, not only where they are
    with (tmp_path / "phases/profile_depth.csv").open(encoding="utf-8-sig", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert list(rows[0]) == ["depth_nm", "voxels", "FeO mean", "FeO std", "Fe3O4 mean", "Fe3O4 std"]
    outer = next(row for row in rows if float(row["depth_nm"]) > 0)
    assert float(outer["Fe3O4 mean"]) > 30 > float(outer["FeO mean"])
    report = json.loads((tmp_path / "phases/report.json").read_text())
    iron = 48 * core.sum(), 40 * (whole & ~core).sum()
    assert report["fe3_share"] == pytest.approx(2 / 3 * iron[1] / sum(iron), rel=0.02)
    page = Page((tmp_path / "phases/report.html").read_text(encoding="utf-8"))
    assert "Particle 2" in page.text
    formats = ("--format", "ome-zarr", "--format", "ply", "--labels", str(tmp_path / "phases/labels.tif"))
    done = CliRunner().invoke(
        app, ["export", str(tmp_path / "volume"), *formats, "--out", str(tmp_path / "out")]
    )
    assert done.exit_code == 0, done.output
    assert load_volume(tmp_path / "out").channels == ("FeO", "Fe3O4")
    assert (tmp_path / "out/mesh_FeO_core.ply").exists()
    assert not list((tmp_path / "out").glob("*.stl"))


def test_edited_phases_are_measured_as_they_are(tmp_path: Path, ball: Segmentation) -> None:
    """What somebody painted in napari goes in, and comes out measured."""
    volume = Volume((ball.labels == 1)[None] * 10.0, ("core",), ball.voxel_nm)
    painted = Segmentation(np.where(ball.labels == 2, 1, ball.labels), ball.phases, ball.voxel_nm)
    save_volume(volume, tmp_path / "volume")
    words = ["segment", str(tmp_path / "volume"), "--out", str(tmp_path / "out"), "--json"]
    labels = ["--labels", str(save_labels(painted, tmp_path / "labels.tif"))]
    done = CliRunner().invoke(app, [*words, *labels])
    assert done.exit_code == 0, done.output
    found = {one["name"]: one["value"] for one in json.loads(done.stdout)["measures"]}
    assert found["voids"] == 0
    np.testing.assert_array_equal(load_labels(tmp_path / "out/labels.tif").labels, painted.labels)
    assert CliRunner().invoke(app, [*words, *labels, "--set", "smoothing_px=1"]).exit_code == 2


def test_a_folder_of_a_trust_study_makes_a_page(tmp_path: Path) -> None:
    """Verdict first, words with their columns, numbers of long lists in short."""
    found = {
        "created": STORY["created"],
        "settings": {"trust": {"repeats": 19}},
        "verdict": ["The void is more than noise."],
        "text": "IS IT REAL?\nViews.\n\nDetection\nSmall.\n  1.5 nm: found 0\n  4.8 nm: found 2\nEnd.",
        "about_measures": "Intervals of noise.",
        "null": {"anywhere": [0.25] * 99, "p": 0.01, "unit": ""},
        "fsc": [
            {"channel": "FeO", "resolution_nm": {"0.143": 2.5}},
            {"channel": "sum", "resolution_nm": None},
        ],
    }
    (tmp_path / "trust.json").write_text(json.dumps(found))
    rows = (
        "name,value,unit,uncertainty,by_repeats,std,low95,high95\nvoid volume,60.51,nm³,5,71.2,4,49.5,70.49\n"
    )
    (tmp_path / "measures.csv").write_text(rows + "voids,1,,,,,,\n", encoding="utf-8")
    html = html_of_folder(tmp_path)
    page = Page(html)
    assert page.text.index("more than noise") < page.text.index("Measures") < page.text.index("Detection")
    assert "<pre>1.5 nm: found 0\n4.8 nm: found 2</pre><p>End.</p>" in html
    for words in (
        "60.5",
        "± 5.0",
        "71.2",
        "49.5 … 70.5",
        "Intervals of noise.",
        "99 numbers from 0.25 to 0.25",
    ):
        assert words in page.text, words
    assert "68 % interval" not in page.text
    assert html.count("<h2>Settings</h2>") == 1


def test_meshes_without_labels_are_refused(tmp_path: Path, volume: Volume) -> None:
    save_volume(volume, tmp_path / "volume")
    words = ["export", str(tmp_path / "volume"), "--format", "obj", "--out", str(tmp_path / "out")]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 2
    assert "Run segment first" in done.output
    assert not (tmp_path / "out").exists()
