"""The whole way, pressed as a person presses it: demo data, references, maps, alignment, volume, phases, files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from qtpy.QtCore import Qt

from napari_dipmtv._napari.half_cut import HalfCut
from napari_dipmtv._napari.main_widget import MainWidget
from napari_dipmtv.io.volumes import load_labels, load_volume
from napari_dipmtv.settings.align import AlignSettings
from napari_dipmtv.settings.phantom import PhantomSettings
from napari_dipmtv.settings.simulation import SimulationSettings
from napari_dipmtv.settings.tomo import DipSettings, SirtSettings

TINY = SimulationSettings(
    phantom=PhantomSettings(
        field_voxels=20,
        size_nm=13,
        shell_nm=2.5,
        skin_nm=1.5,
        void_radius_nm=1.5,
        void_x_nm=0,
        void_y_nm=0,
        void_z_nm=0,
    ),
    tilt_start_deg=-60,
    tilt_stop_deg=60,
    tilt_step_deg=30,
    dose_e_per_a2=2e6,
)


def test_from_demo_to_files(make_napari_viewer: Any, qtbot: Any, tmp_path: Path) -> None:
    viewer = make_napari_viewer()
    main = MainWidget(viewer)
    viewer.window.add_dock_widget(main, name="DIPm-TV")
    load, references, unmix, align, reconstruct, inspect, _, export = main.panels
    session, job = main.bench.session, main.bench.job

    def press(step: int, button: Any, run: bool = True) -> None:
        qtbot.mouseClick(main.steps.button(step), Qt.MouseButton.LeftButton)
        assert button.isEnabled(), button.toolTip()
        if not run:
            qtbot.mouseClick(button, Qt.MouseButton.LeftButton)
            return
        with qtbot.waitSignal(job.finished, timeout=300_000):
            qtbot.mouseClick(button, Qt.MouseButton.LeftButton)

    load.demo_form.setValue(TINY)
    press(0, load.open_demo)
    assert load.table.rowCount() == 5
    press(0, load.prepare_bar.start)
    press(1, references.draw_demo, run=False)
    press(1, references.job_bar.start)
    assert session.value("references").m.names == ("FeO", "Fe3O4")
    press(2, unmix.job_bar.start)
    align.form.setValue(AlignSettings(rounds=2, find_axis_angle=False))
    press(3, align.job_bar.start)
    reconstruct.method.setCurrentIndex(reconstruct.method.findData("sirt"))
    reconstruct.form.setValue(SirtSettings(iterations=12))
    press(4, reconstruct.job_bar.start)
    reconstruct.method.setCurrentIndex(reconstruct.method.findData("dipm-tv"))
    reconstruct.form.setValue(DipSettings(iterations=4, filters=(4, 8), skips=(2, 2), input_channels=4))
    press(4, reconstruct.job_bar.start)
    assert reconstruct.results.list.count() == 2
    assert "DIPm-TV · 4 iterations" in reconstruct.results.list.item(1).text()
    reconstruct.results.list.itemDoubleClicked.emit(reconstruct.results.list.item(0))
    assert session.value("volume").title == "SIRT"
    press(5, inspect.cut.open_up, run=False)
    inspect.cut.position.setValue(1.0)
    press(5, inspect.phases.job_bar.start)
    qtbot.waitUntil(lambda: not main.bench.layers.busy)
    solids = [layer for layer in viewer.layers if layer.ndim == 3]
    planes = {str(layer.experimental_clipping_planes.as_array().tolist()) for layer in solids}
    assert len(solids) == 5
    assert planes == {str(np.array([[[1.0, 0, 0], [1.0, 0, 0]]]).tolist())}
    assert inspect.cut.value == HalfCut(True, "z", 1.0, False)
    assert inspect.phases.table.rowCount() == len(session.value("measures")) > 5
    export.folder.setText(str(tmp_path / "out"))
    export.formats["mrc"].setChecked(True)
    export.formats["stl"].setChecked(True)
    press(7, export.job_bar.start)

    names = [layer.name for layer in viewer.layers]
    for name in ("Core-loss sum", "FeO", "Fe3O4 (aligned)", "FeO (SIRT)", "Fe3O4 (DIPm-TV)", "Phases"):
        assert name in names
    assert [main.steps.button(i).text()[0] for i in range(8)] == [*"✓✓✓✓✓✓", "7", "8"]
    files = {path.name for path in (tmp_path / "out").iterdir()}
    assert {
        "volume_FeO.tif",
        "volume_Fe3O4.mrc",
        "labels.tif",
        "measures.csv",
        "maps.json",
        "report.json",
    } <= files
    assert any(name.endswith(".stl") for name in files)
    assert {export.files.item(i).text().split(" · ")[0] for i in range(export.files.count())} == files
    assert np.array_equal(load_volume(tmp_path / "out").data, session.value("volume").volume.data)
    assert np.array_equal(
        load_labels(tmp_path / "out" / "labels.tif").labels, session.value("segmentation").labels
    )
    check_against_truth(session)


def check_against_truth(session: Any) -> None:
    """FeO and Fe3O4 lie where the simulator put them: the correct map of each phase fits better than the other."""
    from napari_dipmtv.phantom import simulate

    truth = simulate(TINY).fe_maps.data  # (c, t, y, x), in the drifted frame of the unaligned maps
    found = session.value("maps").data
    table = [[np.corrcoef(f.ravel(), t.ravel())[0, 1] for t in truth] for f in found]
    assert table[0][0] > 0.9
    assert table[1][1] > 0.9
    assert table[0][0] > table[0][1]
    assert table[1][1] > table[1][0]
