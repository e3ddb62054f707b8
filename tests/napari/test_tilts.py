"""The table of tilts in the Load dock: what the files say, corrected by hand, read, saved and read again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from napari.utils.notifications import notification_manager
from npe2 import PluginManifest
from plugin_fakes import TILTS, maps, press, series
from qtpy.QtCore import QMimeData, QPointF, Qt, QUrl
from qtpy.QtGui import QDropEvent

from napari_dipmtv._napari.bench import Bench, bench_of
from napari_dipmtv._napari.hand_over import TAKEN
from napari_dipmtv._napari.load_widget import LoadWidget
from napari_dipmtv._napari.main_widget import MainWidget
from napari_dipmtv._napari.sources import kind_of
from napari_dipmtv._napari.tilt_box import HEADS, PROBLEMS
from napari_dipmtv._napari.tilt_edits import BY_HAND, edited, same_view
from napari_dipmtv.io.map_folder import save_maps
from napari_dipmtv.io.spectrum_images import save_series
from napari_dipmtv.io.tilt_table import survey
from napari_dipmtv.pipeline import load_inputs


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_series(series(), tmp_path / "tilts")
    return tmp_path / "tilts"


@pytest.fixture
def dock(bench: Bench, qtbot: Any) -> LoadWidget:
    made = LoadWidget(bench.viewer_for_test)
    qtbot.addWidget(made)
    return made


def opened(dock: LoadWidget, qtbot: Any, *paths: Path) -> None:
    with qtbot.waitSignal(dock.bench.job.finished, timeout=60_000):
        dock.open_paths(list(paths))


def row_of(dock: LoadWidget, words: str) -> int:
    table = dock.tilts.table
    return next(r for r in range(table.rowCount()) if words in table.item(r, 1).text())


def test_the_table_says_what_the_files_say(dock: LoadWidget, qtbot: Any, folder: Path) -> None:
    opened(dock, qtbot, folder)
    table = dock.tilts.table
    assert table.rowCount() == 2 * len(TILTS)
    row = row_of(dock, "coreloss_-060.0")
    assert [table.item(row, c).text() for c in range(len(HEADS))] == [
        "-60",
        "coreloss_-060.0.hspy",
        "",
        "core-loss",
        "metadata",
        "0.5",
        "700 – 702",
    ]
    assert table.isColumnHidden(PROBLEMS)
    assert dock.tilts.told.text() == "All files fit together."
    assert not dock.tilts.read.isEnabled()
    assert dock.tilts.read.toolTip() == "The spectra were read like this."
    assert dock.tilts.isVisibleTo(dock)
    assert not dock.table.isVisibleTo(dock)


def test_a_corrected_angle_and_a_view_left_out_are_read_back(
    dock: LoadWidget, qtbot: Any, folder: Path
) -> None:
    opened(dock, qtbot, folder)
    table = dock.tilts.table
    table.item(row_of(dock, "coreloss_-060.0"), 0).setText("-55,5")
    table.item(row_of(dock, "lowloss_+060.0"), 0).setCheckState(Qt.CheckState.Unchecked)
    assert table.item(row_of(dock, "lowloss_-060.0"), 0).text() == "-55.5"  # its low loss follows
    assert table.item(row_of(dock, "lowloss_-060.0"), HEADS.index("Angle from")).text() == BY_HAND
    assert table.item(row_of(dock, "coreloss_+060.0"), 0).checkState() == Qt.CheckState.Unchecked
    assert dock.tilts.told.text() == "Changed, but not read yet."
    assert dock.session.value("series").tilts_deg == TILTS

    with qtbot.waitSignal(dock.bench.job.finished, timeout=60_000):
        press(dock.tilts.read, qtbot)
    assert dock.session.value("series").tilts_deg == (-55.5, -30, 0, 30)
    assert not dock.tilts.read.isEnabled()


def test_what_is_no_angle_changes_nothing(dock: LoadWidget, qtbot: Any, folder: Path) -> None:
    opened(dock, qtbot, folder)
    before = dock.tilts.value()
    row = row_of(dock, "coreloss_-060.0")
    dock.tilts.table.item(row, 0).setText("steep")
    assert dock.tilts.value() == before
    assert "'steep'" in dock.tilts.told.text()
    assert dock.tilts.table.item(row, 0).text() == "-60"


def test_a_bad_file_is_left_out_and_the_rest_is_read(
    dock: LoadWidget, qtbot: Any, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[Any] = []
    monkeypatch.setattr(notification_manager, "dispatch", told.append)
    bad = folder / "coreloss_+030.0.hspy"
    bad.write_bytes(bad.read_bytes()[:900])
    with qtbot.waitSignal(dock.bench.job.failed, timeout=60_000):
        dock.open_paths([folder])
    assert len(told) == 1
    assert not dock.session.has("series")
    row = row_of(dock, bad.name)
    assert "cut short" in dock.tilts.table.item(row, PROBLEMS).text()
    assert not dock.tilts.table.isColumnHidden(PROBLEMS)
    assert dock.tilts.told.text().startswith("1 problem, ")

    dock.tilts.table.item(row, 0).setCheckState(Qt.CheckState.Unchecked)
    dock.tilts.table.item(row_of(dock, "lowloss_+030.0"), 0).setCheckState(Qt.CheckState.Unchecked)
    with qtbot.waitSignal(dock.bench.job.finished, timeout=60_000):
        press(dock.tilts.read, qtbot)
    assert dock.session.value("series").tilts_deg == (-60, -30, 0, 60)


def test_a_saved_table_is_what_the_project_goes_on_from(
    dock: LoadWidget, qtbot: Any, folder: Path, tmp_path: Path
) -> None:
    opened(dock, qtbot, folder)
    dock.tilts.table.item(row_of(dock, "lowloss_+060.0"), 0).setText("58")
    table = tmp_path / "tilts.csv"
    dock.tilts.save_wanted.emit(dock.tilts.value(), table)
    with qtbot.waitSignal(dock.bench.job.finished, timeout=60_000):
        press(dock.tilts.read, qtbot)
    project = dock.bench.project()
    assert project.inputs.spectrum_images == table
    assert load_inputs(project).tilts_deg == (-60, -30, 0, 30, 58)

    assert kind_of([table]) == "tilt table"
    opened(dock, qtbot, table)
    assert dock.session.value("series").tilts_deg == (-60, -30, 0, 30, 58)


def test_a_list_of_angles_is_no_table(tmp_path: Path) -> None:
    (tmp_path / "angles.csv").write_text("tilt_deg\n-10\n0\n10\n")
    assert kind_of([tmp_path / "angles.csv"]) == "angles"


def test_edits_are_compared_again(folder: Path) -> None:
    table = survey(folder)
    tilts, use = [row.tilt_deg for row in table.rows], [True] * len(table.rows)
    doubled = edited(table, [30.0 if tilt == 0 else tilt for tilt in tilts], use)
    assert sum("more than once" in problem for problem in doubled.problems) == 4
    assert edited(doubled, tilts, use).problems == ()
    assert same_view(table.rows, 0) == [0, 5]
    twice = [row.tilt_deg for row in doubled.rows].index(30.0)
    assert same_view(doubled.rows, twice) == [twice]  # which low loss belongs to it is not known


@pytest.mark.real_data
def test_real_files_are_told_with_their_problems(dock: LoadWidget, qtbot: Any, data_folder: Path) -> None:
    files = sorted((data_folder / "pytemlib_eels").glob("*.dm3"))
    if not files:
        pytest.skip("no EELS files in the data folder")
    with qtbot.waitSignal(dock.bench.job.ended, timeout=60_000):
        dock.open_paths(files)
    assert dock.tilts.table.rowCount() >= len(files)
    assert dock.tilts.told.text().endswith("Nothing was read: correct angles, or untick what is of no use.")


def test_what_is_dropped_anywhere_on_the_dock_is_opened(bench: Bench, qtbot: Any, folder: Path) -> None:
    main = MainWidget(bench.viewer_for_test)
    qtbot.addWidget(main)
    main.show_step(4)
    data = QMimeData()
    data.setUrls([QUrl.fromLocalFile(str(file)) for file in sorted(folder.iterdir())])
    copy, left, no_key = Qt.DropAction.CopyAction, Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier
    with qtbot.waitSignal(bench.job.finished, timeout=60_000):
        main.dropEvent(QDropEvent(QPointF(5, 5), copy, data, left, no_key))
    assert main.stack.currentWidget() is main.panels[0]
    assert bench.session.value("series").tilts_deg == TILTS


def test_a_folder_dropped_on_the_canvas_reaches_the_docks(
    make_napari_viewer: Any, qtbot: Any, folder: Path, tmp_path: Path, npe2pm: Any, repository: Path
) -> None:
    npe2pm.register(PluginManifest.from_file(repository / "napari.yaml"))
    viewer = make_napari_viewer()
    bench = bench_of(viewer)
    viewer.open(str(folder), plugin="napari-dipmtv")
    qtbot.waitUntil(lambda: bench.session.has("series") and not bench.layers.busy, timeout=60_000)
    assert [layer.name for layer in viewer.layers] == ["Low-loss sum", "Core-loss sum"]
    assert bench.project().inputs.spectrum_images == folder
    told: list[Any] = []
    notification_manager.notification_ready.connect(told.append)
    save_maps(maps(), tmp_path / "maps")
    viewer.open(str(tmp_path / "maps"), plugin="napari-dipmtv")
    qtbot.waitUntil(lambda: bool(told))
    notification_manager.notification_ready.disconnect(told.append)
    assert told[-1].message == TAKEN
    assert np.array_equal(bench.session.value("series").tilts_deg, TILTS)  # nothing was thrown away


@pytest.fixture
def current(bench: Bench, npe2pm: Any, repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The viewer of the workplace is that of napari, which knows this plugin."""
    npe2pm.register(PluginManifest.from_file(repository / "napari.yaml"))
    monkeypatch.setattr("napari.current_viewer", lambda: bench.viewer_for_test)


@pytest.mark.parametrize("stacked", [False, True], ids=["one by one", "stacked"])
def test_files_dropped_on_the_canvas_become_one_series_with_its_table(
    bench: Bench, qtbot: Any, folder: Path, current: None, stacked: bool
) -> None:
    viewer = bench.viewer_for_test
    widget = LoadWidget(viewer)
    qtbot.addWidget(widget)
    files = sorted(folder.iterdir())
    viewer.open(files, plugin="napari-dipmtv", stack=stacked)
    qtbot.waitUntil(lambda: bench.session.has("series"), timeout=120_000)
    assert bench.session.value("series").tilts_deg == TILTS
    assert [layer.name for layer in viewer.layers] == ["Low-loss sum", "Core-loss sum"]
    assert widget.tilts.table.rowCount() == len(files)
    assert widget.tilts.told.text() == "All files fit together."


def test_core_losses_alone_stay_what_they_are(bench: Bench, qtbot: Any, folder: Path, current: None) -> None:
    viewer = bench.viewer_for_test
    files = sorted(file for file in folder.iterdir() if "core" in file.name)[:2]
    viewer.open(files, plugin="napari-dipmtv")
    assert not viewer.layers  # no file is read while the window waits
    qtbot.waitUntil(lambda: len(viewer.layers) == 2, timeout=60_000)
    assert all(layer.data.any() for layer in viewer.layers)
    assert bench.empty
    assert not bench.job.running


def test_a_bad_file_among_those_that_are_dropped_takes_no_other_with_it(
    bench: Bench, qtbot: Any, folder: Path, current: None
) -> None:
    viewer = bench.viewer_for_test
    bad, good = sorted(file for file in folder.iterdir() if "core" in file.name)[:2]
    bad.write_bytes(bad.read_bytes()[:100])
    told: list[Any] = []
    notification_manager.notification_ready.connect(told.append)
    viewer.open([bad, good], plugin="napari-dipmtv")
    qtbot.waitUntil(lambda: len(viewer.layers) == 1 and not bench.layers.busy, timeout=60_000)
    notification_manager.notification_ready.disconnect(told.append)
    assert viewer.layers[0].metadata["path"] == str(good.resolve())
    assert any(bad.name in each.message for each in told)
