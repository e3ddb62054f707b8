"""The export dock: formats with what they need, files that are replaced only where that is ticked."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import pytest
from plugin_fakes import cube, maps
from qtpy.QtCore import Qt

from napari_dipmtv._napari.bench import Bench
from napari_dipmtv._napari.export_widget import ExportWidget
from napari_dipmtv._napari.session import ADVICE, Reconstruction
from napari_dipmtv.data import TiltSeries
from napari_dipmtv.pipeline import ExportFormat
from napari_dipmtv.settings.inspect import SegmentSettings


@pytest.fixture
def widget(bench: Bench, qtbot: Any) -> ExportWidget:
    made = ExportWidget(bench.viewer_for_test)
    qtbot.addWidget(made)
    return made


def test_export_says_what_is_missing(widget: ExportWidget, bench: Bench, qtbot: Any, tmp_path: Path) -> None:
    assert "nothing to export" in widget.job_bar.start.toolTip()
    bench.session.load("maps", maps())
    assert widget.job_bar.start.toolTip() == "Choose a folder first."
    widget.folder.setText(str(tmp_path / "out"))
    with qtbot.waitSignal(bench.exported, timeout=5000):
        qtbot.mouseClick(widget.job_bar.start, Qt.MouseButton.LeftButton)
    assert (tmp_path / "out" / "maps_FeO.tif").is_file()
    assert widget.files.count() == len(list((tmp_path / "out").iterdir()))


def test_f53_the_export_dock_replaces_files_only_where_that_is_ticked(
    widget: ExportWidget, bench: Bench, qtbot: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[str] = []
    monkeypatch.setattr("napari_dipmtv._napari.runs.show_error", shown.append)
    (tmp_path / "maps_FeO.tif").write_bytes(b"of last week")
    bench.session.load("maps", maps())
    widget.folder.setText(str(tmp_path))
    qtbot.mouseClick(widget.job_bar.start, Qt.MouseButton.LeftButton)
    qtbot.waitUntil(lambda: bool(shown), timeout=5000)
    assert "maps_FeO.tif" in shown[0]
    assert "Replace" in shown[0]
    assert [path.name for path in tmp_path.iterdir()] == ["maps_FeO.tif"]
    assert (tmp_path / "maps_FeO.tif").read_bytes() == b"of last week"
    widget.replace.setChecked(True)
    with qtbot.waitSignal(bench.exported, timeout=5000):
        qtbot.mouseClick(widget.job_bar.start, Qt.MouseButton.LeftButton)
    assert (tmp_path / "maps_FeO.tif").read_bytes() != b"of last week"


def test_the_export_dock_offers_every_format_and_says_what_it_needs(
    widget: ExportWidget, bench: Bench, qtbot: Any, tmp_path: Path
) -> None:
    assert set(widget.formats) == set(get_args(ExportFormat))
    widget.folder.setText(str(tmp_path / "out"))
    for box in widget.formats.values():
        box.setChecked(True)
    bench.session.load("maps", maps())
    assert widget.chosen == ()  # maps are always written; nothing else is there
    assert widget.formats["stl"].toolTip() == ADVICE["segmentation"]
    assert widget.formats["html"].toolTip() == ADVICE["volume"]
    bench.session.put("tilt_series", maps(kind=TiltSeries))
    bench.session.add_result(reconstruction(bench))
    assert {"mrc", "svg", "html"} <= set(widget.chosen)
    assert not {"stl", "ply", "obj"} & set(widget.chosen)
    bench.segment(SegmentSettings(smallest_void_voxels=1))
    qtbot.waitUntil(lambda: bench.session.has("measures"), timeout=60_000)
    assert set(widget.chosen) == set(widget.formats)

    with qtbot.waitSignal(bench.exported, timeout=60_000) as exported:
        qtbot.mouseClick(widget.job_bar.start, Qt.MouseButton.LeftButton)
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"volume.ome.zarr", "volume.hspy", "measures.csv", "report.html", "report.json"} <= names
    for ending in (".tif", ".mrc", ".emd", ".stl", ".ply", ".obj", ".png", ".svg"):
        assert any(name.endswith(ending) for name in names), ending
    listed = [widget.files.item(i).text() for i in range(widget.files.count())]
    assert len(listed) == len(exported.args[0])
    zarr = next(line for line in listed if line.startswith("volume.ome.zarr"))
    assert int(zarr.split("·")[1].split()[0].replace(",", "")) > 5  # all of the folder, in kB

    for box in widget.formats.values():
        box.setChecked(False)
    assert widget.job_bar.start.toolTip() == "Choose at least one format."


def reconstruction(bench: Bench) -> Reconstruction:
    """A block as if it had been reconstructed."""
    series = bench.session.value("tilt_series")
    losses = {"data": [1.0, 0.5]}
    return Reconstruction(cube(), "SIRT", series, "sirt", {}, "cpu", losses, 2, 0.1, False)


def test_an_export_that_cannot_be_written_is_told(
    widget: ExportWidget, bench: Bench, qtbot: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[str] = []
    monkeypatch.setattr("napari_dipmtv._napari.runs.show_error", shown.append)
    (tmp_path / "file").write_text("in the way")
    bench.session.load("maps", maps())
    widget.folder.setText(str(tmp_path / "file"))
    with qtbot.waitSignal(bench.job.failed, timeout=5000):
        qtbot.mouseClick(widget.job_bar.start, Qt.MouseButton.LeftButton)
    assert "folder" in shown[0]
    assert bench.session.has("maps")
    assert widget.job_bar.start.isEnabled()
