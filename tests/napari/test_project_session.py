"""One project file for window, command line and notebook; what an earlier step outdates is seen and never mixed."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from napari.components import ViewerModel
from plugin_fakes import as_after_a_restart, maps, series
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QApplication
from typer.testing import CliRunner

from napari_dipmtv._napari.bench import Bench, bench_of
from napari_dipmtv._napari.load_widget import LoadWidget
from napari_dipmtv._napari.main_widget import MainWidget
from napari_dipmtv._napari.project_file import default_output, way_of
from napari_dipmtv._napari.project_menu import ProjectMenu
from napari_dipmtv._napari.reconstruct_widget import ReconstructWidget
from napari_dipmtv._napari.results_list import changed, story
from napari_dipmtv._napari.session import Session
from napari_dipmtv.cli.app import app
from napari_dipmtv.data import Region, TiltSeries
from napari_dipmtv.errors import InputError
from napari_dipmtv.io.map_folder import load_saved_series, save_maps
from napari_dipmtv.io.project import Inputs, Project, RegionOutline, load_project
from napari_dipmtv.io.volumes import load_volume
from napari_dipmtv.pipeline import run_project
from napari_dipmtv.settings.inspect import SegmentSettings
from napari_dipmtv.settings.tomo import SirtSettings

SIRT = SirtSettings(iterations=7)


@pytest.fixture
def errors(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is shown to the person as an error or a warning."""
    shown: list[str] = []
    for home in ("runs.show_error", "runs.show_warning", "bench.show_warning"):
        monkeypatch.setattr(f"napari_dipmtv._napari.{home}", shown.append)
    return shown


@pytest.fixture
def worked(bench: Bench, qtbot: Any, tmp_path: Path, errors: list[str]) -> Bench:
    """A workplace with a volume that was made from files."""
    save_maps(maps(n=16), tmp_path / "data")
    load(bench, qtbot, tmp_path / "data")
    bench.assume_aligned()
    with qtbot.waitSignal(bench.results_changed, timeout=20_000):
        bench.reconstruct("sirt", SIRT, "cpu", None)
    qtbot.waitUntil(lambda: not bench.job.running)
    return bench


def load(bench: Bench, qtbot: Any, folder: Path) -> None:
    """Open a folder as step 1 does."""
    widget = LoadWidget(bench.viewer_for_test)
    qtbot.addWidget(widget)
    with qtbot.waitSignal(bench.job.finished, timeout=20_000):
        widget.open_paths([folder])


def menu_of(bench: Bench, qtbot: Any) -> ProjectMenu:
    menu = ProjectMenu(bench)
    qtbot.addWidget(menu)
    return menu


def save(bench: Bench, qtbot: Any, path: Path) -> None:
    with qtbot.waitSignal(bench.job.finished, timeout=20_000):
        bench.save_project(path, default_output(path))
    qtbot.waitUntil(lambda: not bench.job.running)


def test_one_file_gives_one_volume_in_window_command_and_notebook(
    worked: Bench, qtbot: Any, tmp_path: Path, errors: list[str]
) -> None:
    path = tmp_path / "cube.dipmtv.json"
    save(worked, qtbot, path)
    wanted = worked.session.value("volume").volume.data
    assert np.array_equal(load_volume(tmp_path / "cube_results").data, wanted)
    project = load_project(path)
    assert project.aligned
    assert project.reconstruct.method_settings() == SIRT

    menu = menu_of(worked, qtbot)
    menu.copy_command()
    command, *words = shlex.split(QApplication.clipboard().text())
    assert command == "napari-dipmtv"
    remove_volumes(tmp_path / "cube_results")
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    assert np.allclose(load_volume(tmp_path / "cube_results").data, wanted, atol=1e-6)

    menu.copy_python()
    remove_volumes(tmp_path / "cube_results")
    exec(compile(QApplication.clipboard().text(), "copied", "exec"), {})
    assert np.allclose(load_volume(tmp_path / "cube_results").data, wanted, atol=1e-6)
    assert errors == []


def remove_volumes(folder: Path) -> None:
    """So that the next ones are those that a command makes."""
    for file in folder.glob("volume_*.tif"):
        file.unlink()


def test_a_folder_of_aligned_maps_is_a_project_too(
    bench: Bench, qtbot: Any, tmp_path: Path, errors: list[str]
) -> None:
    aligned = maps(n=16, kind=TiltSeries)
    save_maps(aligned, tmp_path / "aligned")
    load(bench, qtbot, tmp_path / "aligned")
    assert np.array_equal(bench.session.value("tilt_series").data, aligned.data)
    with qtbot.waitSignal(bench.results_changed, timeout=20_000):
        bench.reconstruct("sirt", SIRT, "cpu", None)
    qtbot.waitUntil(lambda: not bench.job.running)
    path = tmp_path / "cube.dipmtv.json"
    save(bench, qtbot, path)
    wanted = bench.session.value("volume").volume.data
    remove_volumes(tmp_path / "cube_results")
    assert len(run_project(load_project(path))) > 2
    assert np.allclose(load_volume(tmp_path / "cube_results").data, wanted, atol=1e-6)
    assert errors == []
    with pytest.raises(InputError, match="moves by hand"):
        run_project(load_project(path).replace(nudges=((0, 1.0, 0.0),)))


def test_results_from_before_a_move_by_hand_are_left_alone(
    worked: Bench, qtbot: Any, tmp_path: Path, errors: list[str]
) -> None:
    """The project knows the move, the results in its folder do not: they are of another alignment."""
    path = tmp_path / "cube.dipmtv.json"
    save(worked, qtbot, path)
    with qtbot.waitSignal(worked.job.finished, timeout=20_000):
        worked.nudge(2, 1.0, 0.0)
    qtbot.waitUntil(lambda: not worked.job.running)
    assert load_project(path).nudges == ((2, 1.0, 0.0),)
    path = as_after_a_restart(path)
    viewer = ViewerModel()
    other = bench_of(viewer)
    with qtbot.waitSignal(other.job.finished, timeout=20_000):
        other.open_project(path)
    assert not other.session.has("volume")
    assert not other.session.has("tilt_series")
    assert "other settings" in errors[0]


def test_reopen_where_one_was(worked: Bench, qtbot: Any, tmp_path: Path, errors: list[str]) -> None:
    with qtbot.waitSignal(worked.job.finished, timeout=20_000):
        worked.segment(SegmentSettings(smallest_part_voxels=1))
    qtbot.waitUntil(lambda: not worked.job.running)
    path = tmp_path / "cube.dipmtv.json"
    save(worked, qtbot, path)
    path = as_after_a_restart(path)
    viewer = ViewerModel()
    other = bench_of(viewer)
    main = MainWidget(viewer)
    qtbot.addWidget(main)
    with qtbot.waitSignal(other.job.finished, timeout=20_000):
        main.panels[0].open_paths([path])  # dropped
    qtbot.waitUntil(lambda: not other.job.running)
    assert errors == []
    assert np.array_equal(
        other.session.value("volume").volume.data, worked.session.value("volume").volume.data
    )
    assert np.array_equal(
        other.session.value("segmentation").labels, worked.session.value("segmentation").labels
    )
    assert other.session.value("volume").settings["reconstruct"] == SIRT
    reconstruct = main.panels[4]
    assert (reconstruct.method.currentData(), reconstruct.form.value()) == ("sirt", SIRT)
    assert [main.steps.button(i).text()[0] for i in (0, 3, 4, 5)] == ["✓"] * 4
    assert other.project_path == path


def test_the_list_of_results_reopens_with_the_one_that_was_chosen(
    worked: Bench, qtbot: Any, tmp_path: Path, errors: list[str]
) -> None:
    """Two volumes of one alignment, the first chosen again: both are listed as they were, the first goes on."""
    dock = ReconstructWidget(worked.viewer_for_test)
    qtbot.addWidget(dock)
    path = tmp_path / "cube.dipmtv.json"
    save(worked, qtbot, path)
    with qtbot.waitSignal(worked.exported, timeout=20_000):
        worked.reconstruct("sirt", SirtSettings(iterations=3), "cpu", None)
    qtbot.waitUntil(lambda: not worked.job.running)
    dock.results.list.setCurrentRow(0)
    qtbot.mouseClick(dock.results.show_one, Qt.MouseButton.LeftButton)
    first, second = worked.session.results

    viewer, again = opened(as_after_a_restart(path), qtbot)
    assert [made.settings["reconstruct"] for made in again.session.results] == [
        SIRT,
        SirtSettings(iterations=3),
    ]
    for made, was in zip(again.session.results, (first, second), strict=True):
        assert np.array_equal(made.volume.data, was.volume.data)
        assert (made.title, made.iterations, made.device) == (was.title, was.iterations, was.device)
        assert made.losses.keys() == was.losses.keys()
        assert again.session.is_current(made)
    assert again.session.value("volume") is again.session.results[0]
    assert again.results.list.count() == 2
    again.results.list.setCurrentRow(1)
    qtbot.mouseClick(again.results.show_one, Qt.MouseButton.LeftButton)
    assert again.session.value("volume") is again.session.results[1]
    assert {layer.metadata["dipmtv"] for layer in viewer.layers if layer.visible} == {"volume 1"}
    assert errors == []
    written = sorted(file.name for file in (tmp_path / "cube_results" / "finished").iterdir())
    assert len([name for name in written if name.startswith("maps_")]) == 1  # of both
    assert len([name for name in written if name.startswith("sirt_")]) == 2


def test_a_damaged_result_is_told_and_the_others_are_listed(
    worked: Bench, qtbot: Any, tmp_path: Path, errors: list[str]
) -> None:
    path = tmp_path / "cube.dipmtv.json"
    save(worked, qtbot, path)
    with qtbot.waitSignal(worked.exported, timeout=20_000):
        worked.reconstruct("sirt", SirtSettings(iterations=3), "cpu", None)
    qtbot.waitUntil(lambda: not worked.job.running)
    names = json.loads((tmp_path / "cube_results/finished/list.json").read_text())
    (tmp_path / "cube_results/finished" / names[0] / "volume_FeO.tif").write_bytes(b"cut short")
    _viewer, again = opened(as_after_a_restart(path), qtbot)
    assert [made.iterations for made in again.session.results] == [3]
    [words] = errors
    assert "volume_FeO.tif" in words


def opened(path: Path, qtbot: Any) -> tuple[ViewerModel, ReconstructWidget]:
    """Another window with a project; whoever asks holds its viewer."""
    viewer = ViewerModel()
    dock = ReconstructWidget(viewer)
    qtbot.addWidget(dock)
    with qtbot.waitSignal(dock.bench.job.finished, timeout=20_000):
        dock.bench.open_project(path)
    qtbot.waitUntil(lambda: not dock.bench.job.running)
    return viewer, dock


def test_of_two_windows_on_one_project_the_first_keeps_it(
    worked: Bench, qtbot: Any, tmp_path: Path, errors: list[str]
) -> None:
    """No file of the project holds a part of each: the second reads it, says so and writes nothing there."""
    path = tmp_path / "cube.dipmtv.json"
    save(worked, qtbot, path)
    _viewer, second = opened(path, qtbot)
    [words] = errors
    assert "one of another window" in words
    assert "not saved by itself" in words
    assert second.bench.project_path is None
    before = {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}
    with qtbot.waitSignal(second.bench.results_changed, timeout=20_000):
        second.bench.reconstruct("sirt", SirtSettings(iterations=3), "cpu", None)
    qtbot.waitUntil(lambda: not second.bench.job.running)
    second.bench.save_project(path, default_output(path))
    assert "save this one under another name" in errors[1]
    assert {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()} == before

    other = tmp_path / "other.dipmtv.json"
    save(second.bench, qtbot, other)
    assert load_project(other).reconstruct.method_settings() == SirtSettings(iterations=3)
    worked.adopt("maps", maps())  # the first goes on with other data
    save(second.bench, qtbot, path)
    assert second.bench.project_path == path
    assert load_project(path).reconstruct.method_settings() == SirtSettings(iterations=3)


def test_results_of_other_settings_are_left_alone(
    worked: Bench, qtbot: Any, tmp_path: Path, errors: list[str]
) -> None:
    from napari_dipmtv.io.project import Reconstruct, save_project

    path = tmp_path / "cube.dipmtv.json"
    save(worked, qtbot, path)
    project = load_project(path)
    save_project(
        project.model_copy(update={"reconstruct": Reconstruct(method="sirt", settings={"iterations": 8})}),
        path,
    )
    path = as_after_a_restart(path)
    viewer = ViewerModel()
    other = bench_of(viewer)
    with qtbot.waitSignal(other.job.finished, timeout=20_000):
        other.open_project(path)
    assert not other.session.has("volume")
    assert other.session.has("maps")
    [words] = errors
    assert "other settings" in words
    assert "Step 5 lists them" in words
    assert [made.iterations for made in other.session.results] == [7]


def test_file_and_results_are_kept_up_to_date(worked: Bench, qtbot: Any, tmp_path: Path) -> None:
    path = tmp_path / "cube.dipmtv.json"
    save(worked, qtbot, path)
    with qtbot.waitSignal(worked.exported, timeout=20_000):  # by itself, behind the run
        worked.reconstruct("sirt", SirtSettings(iterations=3), "cpu", None)
    assert load_project(path).reconstruct.method_settings() == SirtSettings(iterations=3)
    saved = load_volume(tmp_path / "cube_results").data
    assert np.array_equal(saved, worked.session.value("volume").volume.data)
    qtbot.waitUntil(lambda: not worked.job.running)
    assert [entry.stage for entry in worked.session.history][-2:] == ["reconstruct", "export"]


def test_other_data_leave_the_saved_file_alone(worked: Bench, qtbot: Any, tmp_path: Path) -> None:
    path = tmp_path / "cube.dipmtv.json"
    save(worked, qtbot, path)
    before = path.read_bytes()
    load(worked, qtbot, tmp_path / "data")
    worked.session.put("maps", maps(n=14))
    assert path.read_bytes() == before
    assert worked.project_path is None


def test_simulated_data_say_why_they_cannot_be_saved(bench: Bench, tmp_path: Path, errors: list[str]) -> None:
    bench.session.load("series", series())
    bench.save_project(tmp_path / "a.dipmtv.json", tmp_path)
    assert "data from files" in errors[0]
    assert list(tmp_path.iterdir()) == []


def test_copies_go_to_the_clipboard(worked: Bench, qtbot: Any, tmp_path: Path) -> None:
    menu = menu_of(worked, qtbot)
    menu.copy_python()
    assert "run_project(project)" in QApplication.clipboard().text()
    menu.menu().aboutToShow.emit()
    assert not menu.command.isEnabled()
    save(worked, qtbot, tmp_path / "my cube.dipmtv.json")
    menu.menu().aboutToShow.emit()
    assert menu.command.isEnabled()
    menu.copy_command()
    assert QApplication.clipboard().text() == f"napari-dipmtv run '{tmp_path / 'my cube.dipmtv.json'}'"


def test_an_earlier_step_makes_later_ones_stale(worked: Bench, qtbot: Any) -> None:
    main = MainWidget(worked.viewer_for_test)
    qtbot.addWidget(main)
    steps = main.steps
    assert steps.button(4).text() == "✓ Reconstruct"
    worked.assume_aligned()
    assert steps.button(3).text() == "✓ Align"
    assert steps.button(4).text() == "↻ Reconstruct"
    assert "Run this step again" in steps.button(4).toolTip()
    results = main.panels[4].results
    assert "stale" in results.list.item(0).text()
    assert not any(layer.name.endswith("(SIRT)") for layer in worked.layers.viewer.layers)
    worked.session.load("maps", maps())
    assert steps.button(4).text() == "5 Reconstruct"


def test_an_earlier_result_is_exported_with_the_maps_that_it_was_made_of(
    worked: Bench, qtbot: Any, tmp_path: Path
) -> None:
    [old] = worked.session.results
    worked.session.put("tilt_series", old.series.replace(data=2 * old.series.data))
    worked.show_result(old)
    assert not worked.session.is_current(worked.session.value("volume"))
    with qtbot.waitSignal(worked.exported, timeout=20_000):
        worked.export(tmp_path / "out", ("ome-tiff",))
    assert np.array_equal(load_saved_series(tmp_path / "out").data, old.series.data)
    assert np.array_equal(load_volume(tmp_path / "out").data, old.volume.data)


def test_the_history_tells_every_run(worked: Bench, qtbot: Any) -> None:
    menu = menu_of(worked, qtbot)
    dialog = menu.show_history()
    told = [[dialog.table.item(r, c).text() for c in (1, 2)] for r in range(dialog.table.rowCount())]
    assert told == [["reconstruct", "Iterations 7"], ["load", "usual"]]
    assert "done in" in dialog.table.item(0, 3).text()
    assert changed(SIRT) == {"Iterations": 7}
    assert "Iterations 7" in story(worked.session.results[0])


def test_a_region_with_a_hole_survives_the_project() -> None:
    mask = np.zeros((12, 14), bool)
    mask[2:10, 3:12] = True
    mask[4:6, 5:8] = False
    session = Session()
    session.regions = {"core": Region(10.0, mask)}
    outline = RegionOutline.from_mapping(way_of(session)["regions"]["core"])
    assert np.array_equal(outline.region((12, 14)).mask, mask)


@pytest.mark.parametrize("given", [{}, {"maps": {"a": "a.tif"}, "angles": "a.txt", "map_folder": "b"}])
def test_a_project_has_one_kind_of_data(given: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="either"):
        Project(inputs=Inputs.from_mapping(given))
