"""One project file for window, command line and notebook; what an earlier step outdates is seen and never mixed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from plugin_fakes import maps, series
from qtpy.QtWidgets import QApplication
from typer.testing import CliRunner

from napari_dipmtv._napari.bench import Bench, bench_of
from napari_dipmtv._napari.main_widget import MainWidget
from napari_dipmtv._napari.project_file import as_python, default_output
from napari_dipmtv._napari.results_list import changed, story
from napari_dipmtv.cli.app import app
from napari_dipmtv.data import Region
from napari_dipmtv.io.map_folder import save_maps
from napari_dipmtv.io.project import Inputs, Project, RegionOutline, load_project
from napari_dipmtv.io.volumes import load_volume
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
    main = MainWidget(bench.viewer_for_test)
    qtbot.addWidget(main)
    bench.main_for_test = main
    with qtbot.waitSignal(bench.job.finished, timeout=20_000):
        main.panels[0].open_paths([tmp_path / "data"])
    bench.assume_aligned()
    with qtbot.waitSignal(bench.results_changed, timeout=20_000):
        bench.reconstruct("sirt", SIRT, "cpu", None)
    qtbot.waitUntil(lambda: not bench.job.running)
    return bench


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

    by_command = project.replace(output=str(tmp_path / "by_command"))
    from napari_dipmtv.io.project import save_project

    save_project(by_command, tmp_path / "again.dipmtv.json")
    done = CliRunner().invoke(app, ["run", str(tmp_path / "again.dipmtv.json")])
    assert done.exit_code == 0, done.output
    assert np.allclose(load_volume(tmp_path / "by_command").data, wanted, atol=1e-6)

    lines = as_python(worked.project(tmp_path / "by_python"))
    assert "iterations" in lines
    exec(compile(lines, "copied", "exec"), {})
    assert np.allclose(load_volume(tmp_path / "by_python").data, wanted, atol=1e-6)
    assert errors == []


def test_reopen_where_one_was(worked: Bench, qtbot: Any, tmp_path: Path, errors: list[str]) -> None:
    with qtbot.waitSignal(worked.job.finished, timeout=20_000):
        worked.segment(SegmentSettings(smallest_part_voxels=1))
    qtbot.waitUntil(lambda: not worked.job.running)
    path = tmp_path / "cube.dipmtv.json"
    save(worked, qtbot, path)
    from napari.components import ViewerModel

    viewer = ViewerModel()
    other = bench_of(viewer)
    main = MainWidget(viewer)
    qtbot.addWidget(main)
    with qtbot.waitSignal(other.job.finished, timeout=20_000):
        other.open_project(path)
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


def test_results_of_other_settings_are_left_alone(
    worked: Bench, qtbot: Any, tmp_path: Path, errors: list[str]
) -> None:
    from napari.components import ViewerModel

    from napari_dipmtv.io.project import Reconstruct, save_project

    path = tmp_path / "cube.dipmtv.json"
    save(worked, qtbot, path)
    project = load_project(path)
    save_project(
        project.model_copy(update={"reconstruct": Reconstruct(method="sirt", settings={"iterations": 8})}),
        path,
    )
    viewer = ViewerModel()
    other = bench_of(viewer)
    with qtbot.waitSignal(other.job.finished, timeout=20_000):
        other.open_project(path)
    assert not other.session.has("volume")
    assert other.session.has("maps")
    [words] = errors
    assert "other settings" in words


def test_the_file_is_kept_up_to_date(worked: Bench, qtbot: Any, tmp_path: Path) -> None:
    path = tmp_path / "cube.dipmtv.json"
    save(worked, qtbot, path)
    with qtbot.waitSignal(worked.results_changed, timeout=20_000):
        worked.reconstruct("sirt", SirtSettings(iterations=3), "cpu", None)
    assert load_project(path).reconstruct.method_settings() == SirtSettings(iterations=3)


def test_other_data_leave_the_saved_file_alone(worked: Bench, qtbot: Any, tmp_path: Path) -> None:
    path = tmp_path / "cube.dipmtv.json"
    save(worked, qtbot, path)
    before = path.read_bytes()
    with qtbot.waitSignal(worked.job.finished, timeout=20_000):
        worked.main_for_test.panels[0].open_paths([tmp_path / "data"])
    worked.session.put("maps", maps(n=14))
    assert path.read_bytes() == before
    assert worked.project_path is None


def test_simulated_data_say_why_they_cannot_be_saved(bench: Bench, tmp_path: Path, errors: list[str]) -> None:
    bench.session.load("series", series())
    bench.save_project(tmp_path / "a.dipmtv.json", tmp_path)
    assert "data from files" in errors[0]
    assert list(tmp_path.iterdir()) == []


def test_copies_go_to_the_clipboard(worked: Bench, qtbot: Any, tmp_path: Path) -> None:
    menu = worked.main_for_test.project
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
    steps = worked.main_for_test.steps
    assert steps.button(4).text() == "✓ Reconstruct"
    worked.assume_aligned()
    assert steps.button(3).text() == "✓ Align"
    assert steps.button(4).text() == "↻ Reconstruct"
    assert "Run this step again" in steps.button(4).toolTip()
    results = worked.main_for_test.panels[4].results
    assert "stale" in results.list.item(0).text()
    assert not any(layer.name.endswith("(SIRT)") for layer in worked.layers.viewer.layers)
    worked.session.load("maps", maps())
    assert steps.button(4).text() == "5 Reconstruct"


def test_the_history_tells_every_run(worked: Bench, qtbot: Any) -> None:
    dialog = worked.main_for_test.project.show_history()
    qtbot.addWidget(dialog)
    told = [[dialog.table.item(r, c).text() for c in (1, 2)] for r in range(dialog.table.rowCount())]
    assert told == [["reconstruct", "Iterations 7"], ["load", "usual"]]
    assert "done in" in dialog.table.item(0, 3).text()
    assert changed(SIRT) == {"Iterations": 7}
    assert "Iterations 7" in story(worked.session.results[0])


def test_a_region_with_a_hole_survives_the_project() -> None:
    mask = np.zeros((12, 14), bool)
    mask[2:10, 3:12] = True
    mask[4:6, 5:8] = False
    from napari_dipmtv._napari.project_file import _outline

    outline = RegionOutline.from_mapping(_outline(Region(10.0, mask)).model_dump(mode="json"))
    assert np.array_equal(outline.region((12, 14)).mask, mask)


@pytest.mark.parametrize("given", [{}, {"maps": {"a": "a.tif"}, "angles": "a.txt", "map_folder": "b"}])
def test_a_project_has_one_kind_of_data(given: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="either"):
        Project(inputs=Inputs.from_mapping(given))
