"""The spectrum dock: the pixel under the mouse, the regions, the fit, and maps of energy windows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from plugin_fakes import TILTS
from qtpy.QtCore import QPoint, Qt

from napari_dipmtv._napari.bench import Bench
from napari_dipmtv._napari.plots import LINE_COLOURS
from napari_dipmtv._napari.regions import region_warnings
from napari_dipmtv._napari.spectrum_plot import SpectrumPlot, table
from napari_dipmtv._napari.spectrum_widget import SpectrumWidget
from napari_dipmtv.data import DualSpectrumImage, EnergyAxis, Region, SpectrumImage, SpectrumSeries

LOW, CORE = EnergyAxis(-5.0, 0.5, 60), EnergyAxis(690.0, 1.0, 40)


def ramp() -> SpectrumSeries:
    """Every pixel (y, x) of tilt t has the counts 100 t + 10 y + x in every channel; the core has an edge at 705 eV."""
    y, x = np.indices((10, 12))
    tilts = []
    for t, tilt in enumerate(TILTS):
        level = (100 * t + 10 * y + x)[..., None] + np.zeros(LOW.size)
        core = (10 * y + x)[..., None] * (CORE.values > 705)
        tilts.append(
            DualSpectrumImage(SpectrumImage(level, LOW, 0.5, tilt), SpectrumImage(core, CORE, 0.5, tilt))
        )
    return SpectrumSeries(tuple(tilts))


@pytest.fixture
def dock(bench: Bench, qtbot: Any) -> SpectrumWidget:
    widget = SpectrumWidget(bench.viewer_for_test)
    qtbot.addWidget(widget)
    bench.session.load("series", ramp())
    return widget


def test_it_waits_for_spectra(bench: Bench, qtbot: Any) -> None:
    widget = SpectrumWidget(bench.viewer_for_test)
    qtbot.addWidget(widget)
    assert widget.status.text() == "Load spectrum images first (step 1)."
    assert not widget.export.isEnabled()
    assert widget.export.toolTip() == widget.status.text()
    assert widget.curves == {}


def test_the_pixel_under_the_mouse(dock: SpectrumWidget, bench: Bench, qtbot: Any) -> None:
    dock.show()
    viewer = bench.viewer_for_test
    layer = viewer.layers["Core-loss sum"]
    viewer.cursor.position = layer.data_to_world((3, 0, 4, 7))
    qtbot.waitUntil(lambda: dock.curves["low"][0].counts[0] == 347)
    assert dock.curves["core"][0].counts[-1] == 47
    [line] = [line for line in panel(dock.plot, "low loss").lines if line.get_label() == "pixel"]
    assert np.array_equal(line.get_ydata(), np.full(LOW.size, 347))
    viewer.cursor.position = layer.data_to_world((3, 0, 40, 7))  # beside the map: the last one stays
    qtbot.wait(200)
    assert dock.curves["low"][0].counts[0] == 347
    dock.live.setChecked(False)
    viewer.cursor.position = layer.data_to_world((3, 0, 1, 1))
    qtbot.wait(200)
    assert dock.curves["low"][0].counts[0] == 347


def test_regions_are_plotted_per_pixel(dock: SpectrumWidget, bench: Bench) -> None:
    mask = np.zeros((10, 12), bool)
    mask[2:4, 3:6] = True
    bench.layers.draw_regions(ramp(), {"FeO": Region(TILTS[1], mask)})
    dock.redraw()
    [_, region] = dock.curves["low"]
    assert region.label == "FeO"
    assert region.counts == pytest.approx(np.full(LOW.size, 100 + 10 * 2.5 + 4))


def test_a_window_becomes_a_map_of_every_tilt(dock: SpectrumWidget, bench: Bench, qtbot: Any) -> None:
    dock.map.setChecked(True)
    dock.plot.window_moved.emit("core", 706.0, 709.0)  # as a drag does
    layer = bench.viewer_for_test.layers["Energy window"]
    assert layer.data.shape == (5, 1, 10, 12)
    y, x = np.indices((10, 12))
    assert np.array_equal(np.asarray(layer.data)[2, 0], 4 * (10 * y + x))
    assert layer.visible
    dock.plot.window_moved.emit("low", 0.0, 0.9)
    qtbot.waitUntil(lambda: "0.0 to 0.9 eV" in dock.status.text())
    assert np.array_equal(np.asarray(layer.data)[1, 0], 2 * (100 + 10 * y + x))
    dock.map.setChecked(False)
    assert "Energy window" not in bench.viewer_for_test.layers


def panel(plot: SpectrumPlot, title: str) -> Any:
    plot.draw()
    [axes] = [axes for axes in plot.figure.axes if axes.get_title() == title]
    return axes


def marked(plot: SpectrumPlot) -> tuple[float, float]:
    """The energy window that is marked in the core loss."""
    [window] = [patch for patch in panel(plot, "core loss").patches if patch.get_visible()]
    return window.get_x(), window.get_x() + window.get_width()


def at(plot: SpectrumPlot, energy_ev: float) -> QPoint:
    """Where an energy lies on the canvas, half-way up the core loss."""
    axes = panel(plot, "core loss")
    x, _ = axes.transData.transform((energy_ev, 1.0))
    _, y = axes.transAxes.transform((0.5, 0.5))
    return QPoint(round(x / plot.device_pixel_ratio), round(plot.height() - y / plot.device_pixel_ratio))


def test_a_window_dragged_with_the_mouse_moves_the_map(
    dock: SpectrumWidget, bench: Bench, qtbot: Any
) -> None:
    dock.resize(900, 500)
    dock.show()
    dock.map.setChecked(True)
    dock.plot.draw()
    left = Qt.MouseButton.LeftButton
    layer = bench.viewer_for_test.layers["Energy window"]
    before = np.asarray(layer.data)[2, 0]
    with qtbot.waitSignal(dock.plot.window_moved):
        qtbot.mousePress(dock.plot, left, pos=at(dock.plot, 695.0))
        qtbot.mouseMove(dock.plot, at(dock.plot, 705.0))
        qtbot.mouseMove(dock.plot, at(dock.plot, 709.0))
        qtbot.mouseRelease(dock.plot, left, pos=at(dock.plot, 709.0))
    low_ev, high_ev = marked(dock.plot)
    assert (low_ev, high_ev) == pytest.approx((695.0, 709.0), abs=0.5)
    qtbot.waitUntil(lambda: dock.status.text() == f"The map shows {low_ev:.1f} to {high_ev:.1f} eV.")
    inside = np.count_nonzero((CORE.values > 705) & (CORE.values <= high_ev))
    y, x = np.indices((10, 12))
    assert not np.array_equal(before, inside * (10 * y + x))
    assert np.array_equal(np.asarray(layer.data)[2, 0], inside * (10 * y + x))
    dock.log.setChecked(False)  # drawn anew
    assert marked(dock.plot) == pytest.approx((low_ev, high_ev))
    assert panel(dock.plot, "low loss").get_yscale() == "linear"


def test_axes_show_the_energies_that_were_measured(dock: SpectrumWidget) -> None:
    for title, energies in (("low loss", LOW), ("core loss", CORE)):
        first, last = panel(dock.plot, title).get_xlim()
        assert energies.start_ev - 2 < first <= energies.start_ev
        assert energies.stop_ev <= last < energies.stop_ev + 2


def test_the_status_names_the_pixel(dock: SpectrumWidget) -> None:
    dock.point_at((1, 2, 3))
    assert dock.status.text() == "Pixel y 2, x 3 at -30.0°."


def test_plot_and_numbers_are_exported(dock: SpectrumWidget, tmp_path: Path) -> None:
    dock.point_at((2, 1, 1))
    dock.save(tmp_path / "plot.png")
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")
    head, first, *rest = (tmp_path / "plot.csv").read_text().splitlines()
    assert head == "range,curve,energy_ev,electrons_per_px"
    assert first == 'low loss,"pixel",-5,211'
    assert len(rest) == LOW.size + CORE.size - 1


def test_the_fit_shows_background_references_and_residual(bench: Bench, qtbot: Any) -> None:
    from napari_dipmtv import pipeline
    from napari_dipmtv.phantom import simulate
    from napari_dipmtv.settings.phantom import PhantomSettings
    from napari_dipmtv.settings.simulation import SimulationSettings
    from napari_dipmtv.states import run

    particle = PhantomSettings(field_voxels=16, size_nm=10, shell_nm=2, void_radius_nm=1)
    made = simulate(SimulationSettings(phantom=particle, tilt_step_deg=70, dose_e_per_a2=1e6))
    prepared = run(pipeline.prepare_states(made.series)).value
    bench.session.load("series", made.series)
    bench.session.put("prepared", prepared)
    widget = SpectrumWidget(bench.viewer_for_test)
    qtbot.addWidget(widget)
    assert widget.fit.toolTip() == "Make references first (step 2)."
    bench.session.put("references", pipeline.references(prepared, made.regions))
    widget.fit.setChecked(True)
    pixel, fit = widget.curves["low"][0], {curve.label: curve for curve in widget.curves["fit"]}
    background = fit["background"]
    parts = [fit[f"+ {name}"].counts - background.counts for name in ("FeO", "Fe3O4")]
    total = background.counts + sum(parts)
    window = np.isin(pixel.energy_ev, background.energy_ev)
    assert total + fit["residual"].counts == pytest.approx(pixel.counts[window], rel=1e-6)
    assert fit["pixel"].counts == pytest.approx(pixel.counts[window], rel=1e-6)
    maps = run(pipeline.unmix_states(prepared, bench.session.value("references"))).value.maps
    basis = bench.session.value("references").m.basis(prepared.tilts[1].low_loss.energy)
    amounts = [
        part.sum() / whole.sum() for part, whole in zip(parts, basis.spectra[basis.is_reference], strict=True)
    ]
    feo, fe3o4 = maps.data[:, 1, 8, 8]  # the pixel in the middle of the middle view
    assert amounts[0] / amounts[1] == pytest.approx(feo / fe3o4, rel=0.03)
    assert (
        panel(widget.plot, "fit of the low loss").get_yscale() == "linear"
    )  # a residual is as often below 0 as above
    assert panel(widget.plot, "low loss").get_yscale() == "log"
    shown = {
        (axes.get_title(), line.get_label()): line.get_color()
        for axes in widget.plot.figure.axes
        for line in axes.lines
    }
    assert shown["fit of the low loss", "+ FeO"] == LINE_COLOURS[0]  # the orange of its map
    assert shown["fit of the low loss", "+ Fe3O4"] == LINE_COLOURS[1]
    assert shown["low loss", "pixel"] not in LINE_COLOURS
    assert (
        shown["fit of the low loss", "residual"] == LINE_COLOURS[-1]
    )  # gray: the pixel is drawn in full beside it
    assert not panel(widget.plot, "fit of the low loss").patches  # no window is dragged there
    assert "fit of the low loss" in table(widget.curves)
    widget.fit.setChecked(False)
    assert list(widget.curves) == ["low", "core"]


def test_regions_that_will_not_do_are_told() -> None:
    one, two = np.zeros((10, 12), bool), np.zeros((10, 12), bool)
    one[2:8, 2:8], two[4:9, 4:9] = True, True
    [overlap] = region_warnings({"FeO": Region(0.0, one), "Fe3O4": Region(0.0, two)})
    assert "16 pixels" in overlap
    assert region_warnings({"FeO": Region(0.0, one), "Fe3O4": Region(30.0, one)}) == []
    two[:] = False
    two[0, :3] = True
    [small] = region_warnings({"FeO": Region(0.0, one), "Fe3O4": Region(0.0, two)})
    assert small.startswith("Fe3O4")
    assert "3 pixels" in small
