"""From File > Open Sample to a half-cut volume with the void in view, by clicks that a person can make."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from napari.components import ViewerModel
from npe2 import PluginManifest
from plugin_fakes import cube, maps
from qtpy.QtCore import Qt

from napari_dipmtv._napari.bench import Bench
from napari_dipmtv._napari.layer_data import VOID_COLOUR
from napari_dipmtv._napari.load_widget import LoadWidget
from napari_dipmtv._napari.main_widget import MainWidget
from napari_dipmtv._napari.quick_box import START, STOP
from napari_dipmtv.data import ChannelMaps

CLICKS = 8


@pytest.mark.slow
@pytest.mark.timeout(2400)
def test_from_open_sample_to_the_void_in_eight_clicks(
    make_napari_viewer: Any, qtbot: Any, npe2pm: Any, repository: Path, tmp_path: Path
) -> None:
    """The sample as it is offered, nothing set beforehand, every control clicked where it is seen."""
    npe2pm.register(PluginManifest.from_file(repository / "napari.yaml"))
    viewer = make_napari_viewer(show=True)
    viewer.window.resize(1500, 960)
    pictures: list[Path] = []

    def look(name: str) -> Any:
        qtbot.wait(500)
        pictures.append(tmp_path / f"{len(pictures)}_{name}.png")
        return viewer.screenshot(str(pictures[-1]), canvas_only=False, flash=False)

    _, main = viewer.window.add_plugin_dock_widget("napari-dipmtv", "DIPm-TV")
    assert isinstance(main, MainWidget)
    look("dock")
    viewer.open_sample("napari-dipmtv", "nanocube")
    qtbot.waitUntil(lambda: main.bench.session.has("series"), timeout=600_000)
    look("sample")
    quick = main.panels[0].quick
    assert quick.start.isVisible()
    assert quick.start.text() == START
    qtbot.mouseClick(quick.start, Qt.MouseButton.LeftButton)
    clicks = 3  # Plugins > DIPm-TV, File > Open Sample, Quick look
    assert quick.start.text() == STOP
    qtbot.waitUntil(lambda: "reconstructing" in quick.words.text(), timeout=1_200_000)
    look("reconstructing")
    qtbot.waitUntil(lambda: not quick.going, timeout=1_200_000)
    assert quick.words.text().startswith("Done")
    qtbot.waitUntil(lambda: not main.bench.layers.busy, timeout=60_000)
    look("void")
    qtbot.mouseClick(main.steps.button(5), Qt.MouseButton.LeftButton)
    clicks += 1
    look("measures")
    assert main.panels[5].phases.table.isVisible()
    assert clicks <= CLICKS

    assert viewer.dims.ndisplay == 3
    cut = main.bench.layers.half_cut
    assert cut.enabled
    phases = main.bench.session.value("segmentation")
    void = np.argwhere(phases.mask("void"))
    centre_nm = (void.mean(axis=0) - (np.array(phases.labels.shape) - 1) / 2) * phases.voxel_nm
    assert cut.position_nm == pytest.approx(centre_nm[0], abs=1.0)  # the cut goes through it
    assert centre_nm == pytest.approx([-1, -0.5, 1], abs=2.0)  # where the simulation has put it, drift apart
    assert void_pixels(viewer.screenshot(canvas_only=True, flash=False)) > 100
    assert all(path.stat().st_size > 10_000 for path in pictures)


def void_pixels(picture: np.ndarray) -> int:
    """Pixels (y, x) of a picture in the colour of the void, at any brightness."""
    wanted = np.array([int(VOID_COLOUR[i : i + 2], 16) for i in (1, 3, 5)], dtype=float)
    rgb = picture[..., :3].astype(float)
    bright = np.linalg.norm(rgb, axis=2)
    cosine = (rgb @ wanted) / (np.linalg.norm(wanted) * np.maximum(bright, 1))
    return int(np.count_nonzero((bright > 60) & (cosine > 0.985)))


@pytest.fixture
def load(bench: Bench, qtbot: Any) -> LoadWidget:
    widget = LoadWidget(bench.viewer_for_test)
    qtbot.addWidget(widget)
    return widget


def test_the_quick_look_needs_data(load: LoadWidget, bench: Bench, qtbot: Any) -> None:
    quick = load.quick
    assert not quick.start.isEnabled()
    assert quick.start.toolTip() == "Load spectrum images or maps first."


def test_the_quick_look_goes_from_maps_to_phases_and_keeps_what_is_there(
    load: LoadWidget, bench: Bench, qtbot: Any
) -> None:
    quick = load.quick
    full = cube().data.sum(axis=1)  # (c, y, x)
    views = np.repeat(full[:, None], 5, axis=1)
    bench.session.load("maps", ChannelMaps(views, ("FeO", "Fe3O4"), maps().tilts_deg, 0.5))
    bench.assume_aligned()
    aligned = bench.session.value("tilt_series")
    said: list[str] = []
    bench.job.started.connect(lambda _: said.append(bench.job.name))
    qtbot.mouseClick(quick.start, Qt.MouseButton.LeftButton)
    assert quick.words.text() == "Step 1 of 2: reconstructing by CS-TV …"
    qtbot.waitUntil(lambda: not quick.going, timeout=120_000)
    assert quick.words.text().startswith("Done")
    assert said == ["reconstruct", "segment"]
    assert bench.session.value("tilt_series") is aligned
    assert bench.session.value("volume").method == "cs-tv"
    assert bench.session.has("measures")
    viewer: ViewerModel = bench.viewer_for_test
    assert viewer.dims.ndisplay == 3
    assert bench.layers.half_cut.enabled
    assert quick.start.toolTip() == "All steps are done."


def test_the_quick_look_ends_where_it_is_stopped(load: LoadWidget, bench: Bench, qtbot: Any) -> None:
    quick = load.quick
    bench.session.load("maps", maps())
    bench.assume_aligned()
    qtbot.mouseClick(quick.start, Qt.MouseButton.LeftButton)
    assert quick.start.text() == STOP
    with qtbot.waitSignal(bench.job.ended, timeout=120_000):
        qtbot.mouseClick(quick.start, Qt.MouseButton.LeftButton)
    assert not quick.going
    assert quick.words.text() == "Stopped; the steps that are done are kept."
    assert not bench.session.has("volume")
    assert quick.start.text() == START
    qtbot.wait(100)
    assert not bench.job.running  # no further step begins
