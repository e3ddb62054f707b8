"""Ways to look at a volume: oblique cuts, planes, profiles, phases, films, and results beside each other."""

from __future__ import annotations

import math
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from plugin_fakes import CHANNELS, cube, maps, press
from scipy.special import erf

from napari_dipmtv._napari.align_widget import AlignWidget
from napari_dipmtv._napari.bench import Bench
from napari_dipmtv._napari.compare import subtract
from napari_dipmtv._napari.half_cut import HalfCut, facing
from napari_dipmtv._napari.inspect_widget import InspectWidget
from napari_dipmtv._napari.layer_data import typical
from napari_dipmtv._napari.loss_plot import loss_panels
from napari_dipmtv._napari.ortho import plane
from napari_dipmtv._napari.plots import Plot
from napari_dipmtv._napari.profile import TEN_TO_NINETY, line_profile, strongest_edge
from napari_dipmtv._napari.reconstruct_widget import ReconstructWidget
from napari_dipmtv._napari.session import Reconstruction
from napari_dipmtv._napari.turntable import Turntable, around, write_film
from napari_dipmtv.data import Segmentation, TiltSeries, Volume
from napari_dipmtv.errors import InputError
from napari_dipmtv.settings.presets import PRESETS, preset_of
from napari_dipmtv.settings.tomo import METHODS, CsTvSettings, SirtSettings


def made(bench: Bench, level: float = 1.0, title: str = "SIRT") -> Reconstruction:
    """Put a finished reconstruction into the session and show it."""
    result = Reconstruction(
        volume=cube(level=level),
        title=title,
        series=bench.session.value("tilt_series"),
        method="sirt",
        settings={"reconstruct": SirtSettings(iterations=9)},
        device="cpu",
        losses={"data": [1.0, 0.5]},
        iterations=9,
        seconds=1.5,
        stopped=False,
    )
    bench.session.add_result(result)
    return result


@pytest.fixture
def ready(bench: Bench) -> Bench:
    """A workplace with an aligned series."""
    bench.session.load("maps", maps())
    bench.session.put("tilt_series", maps(kind=TiltSeries))
    return bench


@pytest.mark.parametrize(
    "direction", [(1.0, 0.0, 0.0), (0.2, -0.9, 0.1), (-0.3, 0.4, -0.86), (0.577, 0.577, 0.577)]
)
def test_a_cut_faces_whoever_looks(direction: tuple[float, float, float]) -> None:
    cut = facing(direction, 1.5)
    [found] = cut.planes()
    unit = np.asarray(direction) / np.linalg.norm(direction)
    assert found["normal"] == pytest.approx(tuple(unit), abs=1e-6)
    assert np.linalg.norm(cut.normal) == pytest.approx(1.0)
    assert np.dot(found["position"], cut.normal) == pytest.approx(1.5)


def test_an_oblique_cut_leans_by_its_angles() -> None:
    normal = HalfCut(True, "z", 0.0, False, turn_deg=30, tip_deg=0).normal
    assert math.degrees(math.acos(normal[0])) == pytest.approx(30)
    assert HalfCut(True, "x").normal == (0.0, 0.0, 1.0)


def test_planes_show_the_right_slices() -> None:
    data = np.zeros((1, 4, 6, 8), np.float32)
    data[0, 1, 2, 3] = 1.0
    volume = Volume(data, ("Fe",), 0.5)
    where = [(1 - 1.5) * 0.5, (2 - 2.5) * 0.5, (3 - 3.5) * 0.5]
    for across, bright, shape in ((0, (2, 3), (6, 8)), (1, (1, 3), (4, 8)), (2, (2, 1), (6, 4))):
        picture = plane(volume, [1.0], across, where[across])
        assert picture.shape == (*shape, 3)
        assert np.argwhere(picture.sum(axis=2) > 0).tolist() == [list(bright)]
        assert not plane(volume, [1.0], across, where[across] + 0.5).any()


@pytest.mark.parametrize(("width_nm", "towards"), [(1.0, 1), (2.5, -1)])
def test_the_width_of_an_edge_is_found(width_nm: float, towards: int) -> None:
    x = np.linspace(0, 20, 400)
    density = 3 + towards * erf((x - 8.3) / (math.sqrt(2) * width_nm / TEN_TO_NINETY))
    density += np.random.default_rng(0).normal(0, 0.01, x.size)
    edge = strongest_edge(x, density)
    assert edge is not None
    assert edge.position_nm == pytest.approx(8.3, abs=0.05)
    assert edge.width_nm == pytest.approx(width_nm, rel=0.06)
    assert 0 < edge.uncertainty_nm < 0.2


def test_a_flat_profile_has_no_edge() -> None:
    assert strongest_edge(np.linspace(0, 5, 50), np.full(50, 2.0)) is None


def test_a_profile_follows_its_line() -> None:
    z, y, x = np.indices((9, 9, 9)) - 4.0
    volume = Volume((2 * z + 10 * y + 100 * x)[None], ("Fe",), 0.5)
    distance, [density] = line_profile(volume, (0, 0, -1.5), (1.0, 0, 1.5))
    assert distance[-1] == pytest.approx(math.hypot(1.0, 3.0))
    assert density[0] == pytest.approx(-300)
    assert density[-1] == pytest.approx(2 * 2 + 300)
    with pytest.raises(InputError, match="longer"):
        line_profile(volume, (0, 0, 0), (0, 0, 0.4))


def test_a_line_in_the_viewer_is_measured(ready: Bench, qtbot: Any) -> None:
    widget = InspectWidget(ready.viewer_for_test)
    qtbot.addWidget(widget)
    assert not widget.profile.draw.isEnabled()
    made(ready)
    press(widget.profile.draw, qtbot)
    line = ready.viewer_for_test.layers["Profile line"]
    assert ready.viewer_for_test.dims.ndisplay == 2
    line.add_lines(np.array([[5.5, 5.5, 0.0], [5.5, 5.5, 11.0]]))
    qtbot.waitUntil(lambda: "FeO: edge at" in widget.profile.words.text())
    assert "± " in widget.profile.words.text()


def test_one_phase_alone(ready: Bench, qtbot: Any) -> None:
    widget = InspectWidget(ready.viewer_for_test)
    qtbot.addWidget(widget)
    volume = made(ready).volume
    labels = (volume.data[1] > 0).astype(np.uint8) + 2 * (volume.data[0] > 0).astype(np.uint8)
    phases = {0: "vacuum", 1: "Fe3O4 shell", 2: "FeO core"}
    ready.session.restore({"segmentation": Segmentation(labels, phases, 0.5)})
    assert [widget.phases.only.itemText(i) for i in range(3)] == ["all phases", "Fe3O4 shell", "FeO core"]
    widget.phases.only.setCurrentIndex(2)
    widget.phases.only.activated.emit(2)
    colours = ready.viewer_for_test.layers["Phases"].colormap.color_dict
    assert colours[1][3] == 0
    assert colours[2][3] == 1
    widget.phases.only.setCurrentIndex(0)
    widget.phases.only.activated.emit(0)
    assert ready.viewer_for_test.layers["Phases"].colormap.color_dict[1][3] == 1


def test_results_side_by_side_share_contrast_and_a_grid(ready: Bench) -> None:
    one, two = made(ready), made(ready, 3.0, "CS-TV")
    ready.compare([one, two])
    viewer = ready.viewer_for_test
    shown = [layer for layer in viewer.layers if layer.visible]
    assert sorted(layer.name for layer in shown) == sorted(
        f"{c} ({t})" for c in CHANNELS for t in ("SIRT", "CS-TV")
    )
    for channel in CHANNELS:
        limits = {tuple(layer.contrast_limits) for layer in shown if layer.name.startswith(f"{channel} ")}
        [(low, high)] = limits
        assert low == 0
        assert high == pytest.approx(1.3 * typical(one.volume.data[CHANNELS.index(channel)]))
    assert viewer.canvas.grid.enabled
    cells = {
        layer.name: viewer.canvas.grid.position(viewer.layers.index(layer), viewer.layers) for layer in shown
    }
    assert cells["FeO (SIRT)"] == cells["Fe3O4 (SIRT)"] != cells["FeO (CS-TV)"] == cells["Fe3O4 (CS-TV)"]
    ready.show_result(one)
    assert not viewer.canvas.grid.enabled


def test_the_difference_is_the_difference(ready: Bench) -> None:
    one, two = made(ready, 3.0), made(ready, 1.0, "CS-TV")
    ready.subtract(one, two)
    layer = ready.viewer_for_test.layers["FeO: SIRT − CS-TV"]
    assert np.array_equal(layer.data, one.volume.data[0] - two.volume.data[0])
    low, high = layer.contrast_limits
    assert low == -high
    assert ready.viewer_for_test.dims.ndisplay == 2
    with pytest.raises(InputError, match="shape of both"):
        subtract(cube(12), cube(14))


def test_the_list_says_what_a_button_needs(ready: Bench, qtbot: Any) -> None:
    widget = ReconstructWidget(ready.viewer_for_test)
    qtbot.addWidget(widget)
    results = widget.results
    assert "Choose two results" in results.difference.toolTip()
    made(ready), made(ready, 2.0, "CS-TV")
    results.list.item(0).setSelected(True)
    assert results.show_one.isEnabled()
    assert not results.beside.isEnabled()
    results.list.item(1).setSelected(True)
    assert results.beside.isEnabled()
    assert results.difference.isEnabled()
    assert not results.show_one.isEnabled()
    results.list.item(1).setSelected(False)
    press(results.use, qtbot)
    assert (widget.method.currentData(), widget.form.value()) == ("sirt", SirtSettings(iterations=9))
    assert widget.preset.currentText() == "own settings"


@pytest.mark.parametrize("method", METHODS)
def test_presets_fill_the_form(bench: Bench, qtbot: Any, method: Any) -> None:
    widget = ReconstructWidget(bench.viewer_for_test)
    qtbot.addWidget(widget)
    widget.method.setCurrentIndex(widget.method.findData(method))
    for name, preset in PRESETS[method].items():
        widget.preset.setCurrentIndex(widget.preset.findData(name))
        widget.preset.activated.emit(widget.preset.currentIndex())
        assert widget.form.value() == preset.settings
        assert preset_of(method, widget.form.value()) == name
    widget.forms["cs-tv"].setValue(CsTvSettings(tv_strength=0.3))
    assert preset_of("cs-tv", CsTvSettings(tv_strength=0.3)) == ""


def test_losses_of_one_kind_share_a_panel() -> None:
    assert loss_panels(("data", "tv", "validation")) == {
        "misfit": ["data", "validation"],
        "total variation": ["tv"],
    }
    assert loss_panels(("residual",)) == {"misfit": ["residual"]}


def test_the_legend_hides_no_curve_in_a_narrow_dock(bench: Bench, qtbot: Any) -> None:
    plot = Plot(bench.viewer_for_test)
    qtbot.addWidget(plot)
    plot.resize(220, 170)
    steps = np.arange(9)
    curves = {"FeO|L": (steps, steps), "Fe3O4|L": (steps, steps**2), "FeO|M": (steps, -steps)}
    panels = {"core loss": ["FeO|L", "Fe3O4|L"], "low loss": ["FeO|M"]}
    plot.curves(curves, "energy loss / eV", "counts", panels=panels)
    plot.draw()
    [legend] = plot.figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["FeO", "Fe3O4"]
    place = legend.get_window_extent()
    assert all(not place.overlaps(axes.get_window_extent()) for axes in plot.figure.axes)
    plot.curves({"error": (steps, steps)}, "tilt / deg", "relative error")
    plot.draw()
    assert plot.figure.legends == []  # one curve is named by the title
    assert plot.figure.axes[0].get_title() == "error"


def test_a_curve_of_one_point_is_seen(bench: Bench, qtbot: Any) -> None:
    plot = Plot(bench.viewer_for_test)
    qtbot.addWidget(plot)
    plot.curves({"reduced": ([1, 2], [0.3, 0.2]), "full size": ([3], [0.25])}, "round", "relative error")
    plot.draw()
    reduced, full = plot.figure.axes[0].lines
    assert reduced.get_marker() in ("", "None")
    assert full.get_marker() == "."


def test_a_film_goes_round_once_and_loops(tmp_path: Path) -> None:
    directions = around((1.0, 0.3, 0.0), 8)
    assert directions[0] == (1.0, 0.3, 0.0)
    assert directions[4] == pytest.approx((-1.0, 0.3, 0.0))
    assert len({tuple(np.round(d, 6)) for d in directions}) == 8
    frames = [np.full((20, 30, 3), 25 * i, np.uint8) for i in range(8)]
    for name in ("turn.gif", "turn.webp", "turn.png"):
        from PIL import Image

        with Image.open(write_film(frames, tmp_path / name, 80)) as film:
            assert (film.n_frames, film.size) == (8, (30, 20))


def test_a_film_as_mp4_has_all_frames(tmp_path: Path) -> None:
    encoder = pytest.importorskip("imageio_ffmpeg", reason="needs the extra 'film'")
    frames = [np.full((65, 95, 3), 25 * i, np.uint8) for i in range(8)]  # sizes that H.264 does not take
    reader = encoder.read_frames(str(write_film(frames, tmp_path / "turn.mp4", 80)))
    about = next(reader)
    assert (about["size"], about["fps"], about["codec"]) == ((94, 64), 12.5, "h264")
    levels = [np.frombuffer(frame, np.uint8).mean() for frame in reader]
    assert levels == pytest.approx([25 * i for i in range(8)], abs=3)
    assert [file.name for file in tmp_path.iterdir()] == ["turn.mp4"]


def test_what_the_encoder_of_mp4_is_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the encoder, which is large and optional: a stand-in notes the frames and their size."""
    given: list[Any] = []

    def write_frames(path: str, size: tuple[int, int], **words: Any) -> Any:
        given.append((size, words["fps"], words["codec"]))
        Path(path).write_bytes(b"film")
        while True:
            frame = yield
            assert frame.flags.c_contiguous
            given.append((frame.shape, int(frame.mean())))

    stand_in = ModuleType("imageio_ffmpeg")
    stand_in.__spec__ = ModuleSpec("imageio_ffmpeg", None)
    stand_in.write_frames = write_frames
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", stand_in)
    frames = [np.full((65, 95, 3), 25 * i, np.uint8) for i in range(3)]
    write_film(frames, tmp_path / "turn.mp4", 80)
    assert given[0] == ((94, 64), 12.5, "libx264")
    assert given[1:] == [((64, 94, 3), 25 * i) for i in range(3)]
    assert [file.name for file in tmp_path.iterdir()] == ["turn.mp4"]


def test_a_film_that_cannot_be_written_is_refused_before_anything_turns(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match=r"\.gif, \.webp, \.png, \.mp4"):
        Turntable(bench.viewer_for_test, tmp_path / "turn.avi")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install 'napari-dipmtv\[film\]'"):
        Turntable(bench.viewer_for_test, tmp_path / "turn.mp4")


def test_a_view_is_moved_by_keys_and_taken_back(bench: Bench, qtbot: Any) -> None:
    widget = AlignWidget(bench.viewer_for_test)
    qtbot.addWidget(widget)
    assert "Align the maps first" in widget.nudges.buttons["→"].toolTip()
    bench.session.load("maps", maps())
    bench.assume_aligned()
    bench.layers.viewer.dims.set_point(bench.layers.viewer.dims.ndim - 4, 30.0)  # degrees: the fourth view
    widget.nudges.step.setValue(2.0)
    with qtbot.waitSignal(bench.job.finished, timeout=20_000):
        press(widget.nudges.buttons["→"], qtbot)
    moved = bench.session.value("tilt_series")
    assert bench.session.nudges == ((3, 2.0, 0.0),)
    assert np.allclose(moved.data[:, 3, :, 4:], maps().data[:, 3, :, 2:-2], atol=1e-3)
    assert np.allclose(moved.data[:, 2], maps().data[:, 2], atol=1e-3)
    assert widget.nudges.words.text() == "view 3: +2, +0 px"
    qtbot.waitUntil(lambda: widget.nudges.undo.isEnabled())
    with qtbot.waitSignal(bench.job.finished, timeout=20_000):
        press(widget.nudges.undo, qtbot)
    assert bench.session.nudges == ()
    assert np.allclose(bench.session.value("tilt_series").data, maps().data, atol=1e-3)


def test_time_and_memory_are_told_before_the_start(ready: Bench, qtbot: Any) -> None:
    widget = ReconstructWidget(ready.viewer_for_test)
    qtbot.addWidget(widget)
    widget.method.setCurrentIndex(widget.method.findData("sirt"))
    widget.device.setCurrentIndex(widget.device.findData("cpu"))
    with qtbot.waitSignal(ready.job.finished, timeout=60_000):
        press(widget.estimate.ask, qtbot)
    assert widget.estimate.words.text().startswith("About ")
    assert "GB of memory" in widget.estimate.words.text()
    assert not ready.session.has("volume")
    assert ready.session.results == ()
