"""What a person looks at on the way: warnings on regions and references, maps of the fit, planes, pictures, films."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from napari.components import ViewerModel
from plugin_fakes import CHANNELS, TILTS, cube, maps, press, series
from qtpy.QtCore import QPoint, Qt
from qtpy.QtWidgets import QFileDialog, QPushButton

from napari_dipmtv._napari.bench import Bench
from napari_dipmtv._napari.inspect_widget import InspectWidget
from napari_dipmtv._napari.references_widget import ReferencesWidget
from napari_dipmtv._napari.session import Reconstruction
from napari_dipmtv._napari.turns import turns
from napari_dipmtv._napari.unmix_widget import UnmixWidget
from napari_dipmtv.data import EnergyAxis, ReferenceSpectrum, Region, TiltSeries
from napari_dipmtv.pipeline import ReferencePair
from napari_dipmtv.settings.tomo import SirtSettings
from napari_dipmtv.spectra import LReferences, MReferences
from napari_dipmtv.spectra.unmix import Unmixed

LEFT = Qt.MouseButton.LeftButton


def pair(condition: float) -> ReferencePair:
    """References of any shape with a given condition number."""
    axis = EnergyAxis(40.0, 0.5, 80)
    spectra = tuple(ReferenceSpectrum(name, np.hanning(80) + i, axis) for i, name in enumerate(CHANNELS))
    kinds = (kind(spectra, (45.0, 75.0), (-3.0,), condition) for kind in (LReferences, MReferences))
    return ReferencePair(*kinds)


@pytest.fixture
def inspect(bench: Bench, qtbot: Any) -> InspectWidget:
    """The inspect dock with a volume."""
    widget = InspectWidget(bench.viewer_for_test)
    qtbot.addWidget(widget)
    bench.session.load("maps", maps())
    aligned = maps(kind=TiltSeries)
    bench.session.put("tilt_series", aligned)
    settings = {"reconstruct": SirtSettings()}
    bench.session.add_result(
        Reconstruction(cube(), "SIRT", aligned, "sirt", settings, "cpu", {}, 9, 1.5, False)
    )
    bench.layers.show_volume(cube(), "SIRT", "volume 0")
    return widget


@pytest.mark.parametrize(("condition", "told"), [(3.0, False), (40.0, True)])
def test_nearly_collinear_references_are_told(bench: Bench, qtbot: Any, condition: float, told: bool) -> None:
    widget = ReferencesWidget(bench.viewer_for_test)
    qtbot.addWidget(widget)
    bench.session.load("series", series())
    bench.session.put("prepared", series())
    bench.session.put("references", pair(condition))
    assert ("nearly collinear" in widget.words.text()) is told
    assert f"Condition number: {condition:.3g}" in widget.words.text()


def test_bad_regions_are_told_at_the_button_and_beside_the_curves(
    bench: Bench, qtbot: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[str] = []
    monkeypatch.setattr("napari_dipmtv._napari.references_widget.show_warning", shown.append)
    widget = ReferencesWidget(bench.viewer_for_test)
    qtbot.addWidget(widget)
    bench.session.load("series", series())
    bench.session.put("prepared", series())
    for i in (0, 1):
        qtbot.mouseClick(widget.pick[i], LEFT)
        box = np.array([[1, 0, 2, 2], [1, 0, 2, 6], [1, 0, 5 + i, 6], [1, 0, 5 + i, 2]]) - [0, 0, 0.5, 0.5]
        bench.viewer_for_test.layers.selection.active.add_rectangles(box)
    with qtbot.waitSignal(bench.job.ended, timeout=60_000):
        qtbot.mouseClick(
            widget.job_bar.start, LEFT
        )  # flat spectra teach nothing, but the regions are told first
    assert any("holds only 12 pixels" in words for words in shown)
    assert any("share 12 pixels" in words for words in shown)
    few = np.zeros((10, 12), bool)
    few[0, :3] = True
    bench.session.regions = {"FeO": Region(0.0, few)}
    bench.session.put("references", pair(2.0))
    assert "⚠ FeO holds only 3 pixels" in widget.words.text()


def test_chi_square_and_signal_to_noise_come_and_go(bench: Bench, qtbot: Any) -> None:
    widget = UnmixWidget(bench.viewer_for_test)
    qtbot.addWidget(widget)
    assert widget.quality.toolTip() == "Unmix first."
    bench.session.load("series", series())
    chi_square = np.full((5, 12, 12), 1.25, np.float32)
    snr = np.arange(5 * 144, dtype=np.float32).reshape(5, 12, 12)
    unmixed = Unmixed(maps(), chi_square, np.zeros_like(snr), snr, ("Said so.",))
    bench.session.put("unmixed", unmixed)
    bench.session.put("maps", unmixed.maps)
    assert "Median reduced chi-square where there is matter: 1.25." in widget.words.text()
    assert "Said so." in widget.words.text()
    viewer = bench.viewer_for_test
    assert "Chi-square" not in viewer.layers
    press(widget.quality, qtbot)
    assert np.array_equal(viewer.layers["Chi-square"].data[:, 0], chi_square)
    assert np.array_equal(viewer.layers["Signal to noise"].data[:, 0], snr)
    assert viewer.layers["Signal to noise"].metadata["tilts_deg"] == TILTS
    assert not viewer.layers["FeO"].visible
    press(widget.quality, qtbot)
    assert "Chi-square" not in viewer.layers
    assert viewer.layers["FeO"].visible


def test_a_click_in_a_plane_moves_the_point(inspect: InspectWidget, bench: Bench, qtbot: Any) -> None:
    plot, viewer = inspect.ortho, bench.viewer_for_test
    inspect.resize(420, 600)
    with qtbot.waitExposed(inspect):
        inspect.show()
    press(plot.parent().findChild(QPushButton), qtbot)  # unfold
    qtbot.waitUntil(lambda: not turns().busy)
    inspect.ensureWidgetVisible(plot)
    axes = plot.figure.axes[1]  # xz: x to the right, z down
    x, y = axes.transData.transform((1.5, -2.0)) / plot.device_pixel_ratio
    qtbot.mouseClick(plot, LEFT, pos=QPoint(round(x), round(plot.height() - y)))
    z_nm, _, x_nm = viewer.dims.point[-3:]
    assert (z_nm, x_nm) == pytest.approx((-2.0, 1.5), abs=0.3)


def test_level_and_rendering_reach_every_channel(inspect: InspectWidget, bench: Bench) -> None:
    layers = list(bench.layers.alive("volume 0").values())
    before = [layer.iso_threshold for layer in layers]
    inspect.level.setValue(1.0)
    assert [layer.iso_threshold for layer in layers] == pytest.approx([2 * level for level in before])
    inspect.rendering.setCurrentIndex(1)
    assert {str(layer.rendering) for layer in layers} == {"mip"}


def test_axes_scale_bar_picture_and_film(
    inspect: InspectWidget, bench: Bench, qtbot: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from PIL import Image

    viewer, box = bench.viewer_for_test, inspect.pictures
    press(box.axes, qtbot)
    assert viewer.scene.overlays.axes.visible
    press(box.scale_bar, qtbot)
    assert not viewer.canvas.overlays.scale_bar.visible
    seen: list[tuple[float, ...]] = []

    def screenshot(self: ViewerModel, **_: Any) -> np.ndarray:
        seen.append(tuple(self.scene.camera.view_direction))
        return np.full((20, 30, 4), len(seen), np.uint8)

    monkeypatch.setattr(ViewerModel, "screenshot", screenshot, raising=False)
    files = iter((tmp_path / "view", tmp_path / "turn.gif"))
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (str(next(files)), ""))
    press(box.picture, qtbot)
    assert Image.open(tmp_path / "view.png").size == (30, 20)
    seen.clear()
    before = viewer.scene.camera.angles
    press(box.film, qtbot)
    assert not box.film.isEnabled()
    qtbot.waitUntil((tmp_path / "turn.gif").is_file, timeout=30_000)
    qtbot.waitUntil(box.film.isEnabled)
    with Image.open(tmp_path / "turn.gif") as film:
        assert film.n_frames == 36
    assert len({tuple(np.round(direction, 4)) for direction in seen}) == 36
    assert viewer.scene.camera.angles == pytest.approx(before)


def test_docks_opened_from_the_menu_share_the_workplace_of_the_viewer(bench: Bench, qtbot: Any) -> None:
    """napari gives every dock of its menu a proxy of the viewer that nothing else holds."""
    from napari.utils._proxies import PublicOnlyProxy

    viewer = bench.viewer_for_test
    widget = InspectWidget(PublicOnlyProxy(viewer))
    qtbot.addWidget(widget)
    gc.collect()
    assert widget.bench is bench
    assert bench.layers.viewer is viewer
    before = widget.ortho.figure.get_facecolor()
    viewer.theme = "light"
    assert widget.ortho.figure.get_facecolor() != before
