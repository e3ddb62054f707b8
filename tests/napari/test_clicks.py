"""From File > Open Sample to a half-cut volume with the void in view, in at most eight clicks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from npe2 import PluginManifest
from qtpy.QtCore import Qt

from napari_dipmtv._napari.main_widget import MainWidget
from napari_dipmtv.settings.align import AlignSettings
from napari_dipmtv.settings.phantom import PhantomSettings
from napari_dipmtv.settings.simulation import SimulationSettings

PARTICLE = PhantomSettings(
    field_voxels=26,
    size_nm=17,
    shell_nm=2.5,
    skin_nm=0,
    void_radius_nm=3.5,
    void_x_nm=0,
    void_y_nm=0,
    void_z_nm=1,
)
WIDE_VOID = SimulationSettings(phantom=PARTICLE, tilt_step_deg=20, dose_e_per_a2=2e6)


@pytest.mark.slow
def test_from_open_sample_to_the_void_in_eight_clicks(
    make_napari_viewer: Any, qtbot: Any, npe2pm: Any, repository: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("napari_dipmtv._napari.demo_settings.demo_settings", lambda: WIDE_VOID)
    npe2pm.register(PluginManifest.from_file(repository / "napari.yaml"))
    viewer = make_napari_viewer()
    main = MainWidget(viewer)
    viewer.window.add_dock_widget(main, name="DIPm-TV")
    load, references, unmix, align, reconstruct, inspect, *_ = main.panels
    align.form.setValue(AlignSettings(rounds=2, find_axis_angle=False))
    reconstruct.method.setCurrentIndex(reconstruct.method.findData("cs-tv"))
    inspect.form.setValue(inspect.form.value().replace(void_fraction=0.8, smallest_void_voxels=4))
    clicks = 0

    def click(button: Any, runs: bool = True) -> None:
        nonlocal clicks
        clicks += 1
        assert button.isEnabled(), button.toolTip()
        if not runs:
            qtbot.mouseClick(button, Qt.MouseButton.LeftButton)
            return
        with qtbot.waitSignal(main.bench.job.finished, timeout=120_000):
            qtbot.mouseClick(button, Qt.MouseButton.LeftButton)
        qtbot.waitUntil(lambda: not main.bench.job.running)

    viewer.open_sample("napari-dipmtv", "nanocube")
    clicks += 1
    qtbot.waitUntil(lambda: main.bench.session.has("series"))
    click(load.prepare_bar.start)
    click(references.find)
    click(unmix.job_bar.start)
    click(align.job_bar.start)
    click(reconstruct.job_bar.start)
    click(inspect.job_bar.start)
    click(inspect.open_up, runs=False)

    assert clicks <= 8
    assert viewer.dims.ndisplay == 3
    cut = main.bench.layers.half_cut
    assert cut.enabled
    phases = main.bench.session.value("segmentation")
    void = np.argwhere(phases.mask("void"))
    assert len(void) > 0
    centre_nm = (void.mean(axis=0) - (np.array(phases.labels.shape) - 1) / 2) * phases.voxel_nm
    assert cut.position_nm == pytest.approx(centre_nm[0], abs=1.0)  # the cut goes through it
    shown = [layer for layer in viewer.layers if layer.visible and layer.ndim == 3]
    assert shown
    assert all(layer.experimental_clipping_planes[0].enabled for layer in shown)
