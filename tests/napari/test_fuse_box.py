"""Fusing in the window: what the box asks for, the volume that comes of it, and the project that repeats it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from plugin_fakes import TILTS, maps

from napari_dipmtv._napari.bench import Bench
from napari_dipmtv._napari.fuse_box import FuseBox
from napari_dipmtv._napari.haadf_source import HaadfSource
from napari_dipmtv._napari.project_file import stage_settings
from napari_dipmtv._napari.sources import MapSource
from napari_dipmtv.errors import InputError
from napari_dipmtv.io.map_folder import save_maps
from napari_dipmtv.io.project import Project, load_project, save_project
from napari_dipmtv.settings.fused import FusedSettings

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


def test_what_cannot_be_fused_is_told(ready: Bench, haadf: HaadfSource) -> None:
    with pytest.raises(InputError, match="two files"):
        HaadfSource().load(1.0)
    ready.session.load("tilt_series", ready.session.value("tilt_series"))
    with pytest.raises(InputError):
        ready.fuse(haadf.replace(align=True), "fused", QUICK, "cpu", None)
