"""Fusing in the window: what the box asks for, the volume that comes of it, and the project that repeats it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from napari.components import ViewerModel
from plugin_fakes import TILTS, maps, press
from typer.testing import CliRunner

from napari_dipmtv._napari.bench import Bench
from napari_dipmtv._napari.fuse_box import FuseBox
from napari_dipmtv._napari.haadf_source import HaadfSource
from napari_dipmtv._napari.main_widget import MainWidget
from napari_dipmtv._napari.project_file import stage_settings
from napari_dipmtv._napari.reconstruct_widget import ReconstructWidget
from napari_dipmtv._napari.sources import MapSource
from napari_dipmtv.alignment import assume_aligned
from napari_dipmtv.cli.app import app
from napari_dipmtv.data import TiltSeries
from napari_dipmtv.errors import InputError
from napari_dipmtv.io.map_folder import save_maps
from napari_dipmtv.io.project import Inputs, Project, load_project, save_project
from napari_dipmtv.io.volumes import load_volume
from napari_dipmtv.settings.fused import FusedSettings
from napari_dipmtv.settings.tomo import SirtSettings
from napari_dipmtv.tomo.fused import fuse

QUICK = FusedSettings(iterations=3, start_iterations=3)


@pytest.fixture
def haadf(tmp_path: Path) -> HaadfSource:
    """The sum of the maps as a HAADF series in files."""
    tifffile.imwrite(tmp_path / "h.tif", maps(n=16).data.sum(axis=0))
    np.savetxt(tmp_path / "h.txt", TILTS)
    return HaadfSource(images=str(tmp_path / "h.tif"), angles=str(tmp_path / "h.txt"), align=False)


@pytest.fixture
def ready(bench: Bench, qtbot: Any, tmp_path: Path) -> Bench:
    """A workplace with maps from a folder, taken as aligned."""
    folder = save_maps(maps(n=16), tmp_path / "data")[0].parent
    with qtbot.waitSignal(bench.job.finished, timeout=20_000):
        bench.load_maps([folder], MapSource())
    qtbot.waitUntil(lambda: not bench.job.running)
    bench.assume_aligned()
    return bench


def test_the_box_says_what_it_waits_for(qtbot: Any, haadf: HaadfSource) -> None:
    box = FuseBox()
    qtbot.addWidget(box)
    box.allow("Align the maps first (step 4).")
    assert box.start.toolTip() == "Align the maps first (step 4)."
    box.allow("")
    assert "Name the HAADF images" in box.start.toolTip()
    assert not box.start.isEnabled()
    box.source.setValue(haadf)
    box.allow("")
    assert box.start.isEnabled()
    box.method.setCurrentIndex(box.method.findData("fused-published"))
    assert [name for name, form in box.forms.items() if not form.isHidden()] == ["fused-published"]


def test_a_fused_volume_comes_with_the_project_that_repeats_it(
    ready: Bench, qtbot: Any, haadf: HaadfSource, tmp_path: Path
) -> None:
    with qtbot.waitSignal(ready.results_changed, timeout=60_000):
        ready.fuse(haadf, "fused", QUICK, "cpu", None)
    qtbot.waitUntil(lambda: not ready.job.running)
    made = ready.session.value("volume")
    assert (made.title, made.method, made.iterations) == ("Fused with HAADF", "fused", 3)
    path = save_project(ready.project(tmp_path / "out"), tmp_path / "p.dipmtv.json")
    project: Project = load_project(path)
    assert project.inputs.haadf == tmp_path / "h.tif"
    assert (project.fuse.method, project.fuse.method_settings(), project.aligned) == ("fused", QUICK, True)
    assert stage_settings(project)["haadf"] == haadf
    box = FuseBox()
    qtbot.addWidget(box)
    box.take(project)
    assert (box.source.value(), box.form.value()) == (haadf, QUICK)


def stopped_in_mid_run(bench: Bench, source: HaadfSource, total: int, qtbot: Any) -> ReconstructWidget:
    """Start a fused run by its button, and stop it by the one behind it."""
    dock = ReconstructWidget(bench.viewer_for_test)
    qtbot.addWidget(dock)
    dock.device.setCurrentIndex(dock.device.findData("cpu"))
    dock.fuse.source.setValue(source)
    dock.fuse.form.setValue(QUICK.replace(iterations=total))
    press(dock.fuse.start, qtbot)
    bench.job.pause()
    qtbot.waitUntil(lambda: bench.job.progress.iteration > 0, timeout=60_000)
    with qtbot.waitSignal(bench.job.ended, timeout=60_000):
        press(dock.job_bar.stop, qtbot)
    return dock


def uninterrupted(source: HaadfSource, total: int) -> Any:
    both = maps(n=16, kind=TiltSeries), assume_aligned(source.load(0.5))
    return fuse(*both, "fused", QUICK.replace(iterations=total), "cpu").volume.data


def test_a_fused_run_goes_on_as_if_nobody_had_stopped_it(
    ready: Bench, qtbot: Any, haadf: HaadfSource, tmp_path: Path
) -> None:
    total = 60
    dock = stopped_in_mid_run(ready, haadf, total, qtbot)
    reached = ready.session.value("volume").iterations
    assert 0 < reached < total
    assert dock.resume.resume.text() == f"Resume at iteration {reached}"
    assert dock.resume.more.value() == total - reached
    folder = ready.offer.run.folder
    beside = shutil.copytree(folder, tmp_path / "copied")
    dock.fuse.form.setValue(QUICK)
    with qtbot.waitSignal(ready.job.ended, timeout=60_000):
        press(dock.resume.resume, qtbot)
    made = ready.session.value("volume")
    assert (made.method, made.iterations, made.stopped) == ("fused", total, False)
    np.testing.assert_array_equal(made.volume.data, uninterrupted(haadf, total))
    assert dock.fuse.form.value() == QUICK.replace(iterations=total)
    words = ["fuse", "--maps", beside, "--haadf", beside / "haadf", "--checkpoint", beside, "--resume"]
    done = CliRunner().invoke(app, [str(w) for w in (*words, "--device=cpu", "--out", tmp_path / "out")])
    assert done.exit_code == 0, done.output
    np.testing.assert_array_equal(load_volume(tmp_path / "out").data, made.volume.data)


def test_an_empty_window_goes_on_with_the_fused_run_of_the_last_one(
    ready: Bench, qtbot: Any, haadf: HaadfSource
) -> None:
    stopped_in_mid_run(ready, haadf, 40, qtbot)
    viewer = ViewerModel()
    dock = ReconstructWidget(viewer)
    qtbot.addWidget(dock)
    assert "Fused with HAADF stands at iteration" in dock.resume.words.text()
    with qtbot.waitSignal(dock.bench.job.ended, timeout=60_000):
        press(dock.resume.resume, qtbot)
    made = dock.session.value("volume")
    np.testing.assert_array_equal(made.volume.data, uninterrupted(haadf, 40))
    assert (made.settings["haadf"], made.settings["fuse"].method) == (haadf, "fused")
    dock.bench.job.shutdown()


def test_a_volume_of_maps_alone_forgets_the_haadf_of_the_one_before(
    ready: Bench, qtbot: Any, haadf: HaadfSource
) -> None:
    for begin in (
        lambda: ready.fuse(haadf, "fused", QUICK, "cpu", None),
        lambda: ready.reconstruct("sirt", SirtSettings(iterations=2), "cpu", None),
    ):
        with qtbot.waitSignal(ready.job.ended, timeout=60_000):
            begin()
    assert ready.project(Path("out")).inputs.haadf is None


def test_what_cannot_be_fused_is_told(ready: Bench, haadf: HaadfSource) -> None:
    with pytest.raises(InputError, match="two files"):
        HaadfSource().load(1.0)
    ready.session.load("tilt_series", ready.session.value("tilt_series"))
    with pytest.raises(InputError):
        ready.fuse(haadf.replace(align=True), "fused", QUICK, "cpu", None)


def test_a_fused_project_of_aligned_maps_opens_by_a_drop_and_is_saved_again(
    bench: Bench, qtbot: Any, haadf: HaadfSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `simulate-fused` writes one: the maps come aligned, so that there are none before the alignment."""
    errors: list[str] = []
    monkeypatch.setattr("napari_dipmtv._napari.runs.show_error", errors.append)
    folder = save_maps(assume_aligned(maps(n=16)), tmp_path / "aligned")[0].parent
    given = haadf.in_project()
    inputs = Inputs(map_folder=folder, **given)
    project = Project(inputs=inputs, output=tmp_path / "out", aligned=True)
    path = save_project(project, tmp_path / "fused.dipmtv.json")
    main = MainWidget(bench.viewer_for_test)
    qtbot.addWidget(main)
    with qtbot.waitSignal(bench.job.finished, timeout=20_000):
        main.panels[0].open_paths([path])
    qtbot.waitUntil(lambda: not bench.job.running)
    assert errors == []
    assert bench.project().inputs == inputs
    assert load_project(path).inputs == inputs  # kept up to date by itself
    assert main.panels[0].status.text().endswith("They are aligned already: go on with step 5.")
    assert main.panels[3].status.text() == "The maps came aligned. Go on with step 5."
    assert main.steps.button(0).text() == "✓ Load"
    assert main.panels[4].fuse.start.isEnabled()
