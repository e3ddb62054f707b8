"""Maps of X-ray lines in the window: what is asked for reaches the pipeline, and the maps become new data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from napari.components import ViewerModel
from plugin_fakes import Steps, maps
from qtpy.QtCore import Qt

from napari_dipmtv import pipeline
from napari_dipmtv._napari.bench import Bench
from napari_dipmtv._napari.edx_box import EdxBox
from napari_dipmtv._napari.load_widget import LoadWidget
from napari_dipmtv._napari.project_file import default_output
from napari_dipmtv._napari.results_list import changed
from napari_dipmtv.io.hspy import Axis, hspy_bytes
from napari_dipmtv.io.project import EdxImages, Inputs, load_project
from napari_dipmtv.settings.edx import EdxSettings


@pytest.fixture
def box(bench: Bench, qtbot: Any) -> EdxBox:
    made = EdxBox(bench)
    qtbot.addWidget(made)
    return made


def test_lines_are_asked_for_first(box: EdxBox) -> None:
    assert box.choose.toolTip() == "Name the X-ray lines first."
    assert not box.choose.isEnabled()
    box.lines.setText(" Fe_Ka,O_Ka , ")
    assert box.names == ("Fe_Ka", "O_Ka")
    assert box.choose.isEnabled()


def test_a_folder_becomes_maps(
    box: EdxBox, bench: Bench, qtbot: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []

    def states(source: Path, lines: Any, settings: EdxSettings, *, bin_pixels: int) -> Any:
        asked.append((source, lines, settings.also, bin_pixels))
        return Steps(3, value=lambda _: maps())()

    monkeypatch.setattr(pipeline, "edx_states", states)
    box.lines.setText("Fe_Ka")
    box.binning.setValue(4)
    box.form.setValue(EdxSettings(also="Cu"))
    with qtbot.waitSignal(bench.job.finished, timeout=20_000):
        box.open_folder(tmp_path)
    assert asked == [(tmp_path, ("Fe_Ka",), "Cu", 4)]
    assert bench.session.value("maps").channels == maps().channels
    assert bench.session.inputs == (tmp_path,)


def x_rays(folder: Path) -> Path:
    """EDX spectrum images (y, x, e) of two tilts, 4 x 6 pixels of 1 nm, 0 to 9 keV."""
    folder.mkdir()
    axes = [Axis(name, size, 1.0, 0.0, "nm", navigate=True) for name, size in (("y", 4), ("x", 6))]
    axes.append(Axis("Energy", 90, 0.1, 0.0, "keV", navigate=False))
    for tilt in (-10, 10):
        counts = np.random.default_rng(tilt + 10).poisson(3.0, (4, 6, 90)).astype(">u2")
        kind = {"Signal": {"signal_type": "EDS_TEM"}}
        (folder / f"tilt_{tilt:+d}.hspy").write_bytes(hspy_bytes(counts, axes, f"tilt {tilt}", kind))
    return folder


def test_a_project_of_x_rays_reopens_with_its_lines_and_settings(
    box: EdxBox, bench: Bench, qtbot: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = x_rays(tmp_path / "edx")
    monkeypatch.setattr(
        "napari_dipmtv._napari.edx_box.QFileDialog.getExistingDirectory", lambda *_: str(folder)
    )
    settings = EdxSettings(method="sum")
    qtbot.keyClicks(box.lines, "Fe_Ka")
    box.binning.setValue(2)
    box.form.setValue(settings)
    with qtbot.waitSignal(bench.job.finished, timeout=20_000):
        qtbot.mouseClick(box.choose, Qt.MouseButton.LeftButton)
    made = bench.session.value("maps")
    assert made.data.shape == (1, 2, 2, 3)
    path = tmp_path / "iron.dipmtv.json"
    bench.save_project(path, default_output(path))
    project = load_project(path)
    assert project.inputs == Inputs(
        edx=EdxImages(folder=folder, lines=("Fe_Ka",), bin_pixels=2, settings=settings)
    )
    assert np.array_equal(pipeline.load_inputs(project).data, made.data)  # as the command does

    viewer = ViewerModel()
    again = LoadWidget(viewer)
    qtbot.addWidget(again)
    with qtbot.waitSignal(again.bench.job.finished, timeout=20_000):
        again.bench.open_project(path)
    assert np.array_equal(again.session.value("maps").data, made.data)
    assert (again.edx.names, again.edx.binning.value(), again.edx.form.value()) == (("Fe_Ka",), 2, settings)
    assert again.bench.project().inputs == project.inputs


def test_a_wrong_folder_is_told(
    box: EdxBox, bench: Bench, qtbot: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    monkeypatch.setattr("napari_dipmtv._napari.runs.show_error", told.append)
    box.lines.setText("Fe_Ka")
    with qtbot.waitSignal(bench.job.failed, timeout=20_000):
        box.open_folder(tmp_path)
    assert len(told) == 1
    assert not bench.session.has("maps")


def test_the_story_of_a_result_tells_of_images_that_have_no_usual_folder() -> None:
    images = EdxImages(folder=Path("edx"), lines=("Fe_Ka",), bin_pixels=2)
    assert changed(images) == {"Folder": Path("edx"), "Lines": ("Fe_Ka",), "Add up pixels": 2}
    assert changed(images, images.replace(bin_pixels=1)) == {"Add up pixels": 2}
