"""Drive the real window through the whole workflow on a small demo and save a picture of every step.

Run with ``xvfb-run -a -s "-screen 0 1600x1000x24" python scripts/screenshots.py [folder]``.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

import napari
from qtpy.QtWidgets import QAbstractButton, QApplication

from napari_dipmtv._napari.main_widget import MainWidget
from napari_dipmtv.settings.phantom import PhantomSettings
from napari_dipmtv.settings.simulation import SimulationSettings
from napari_dipmtv.settings.tomo import DipSettings

FOLDER = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parents[1] / "docs" / "images")
SIZE = (1500, 960)
DEMO = SimulationSettings(
    phantom=PhantomSettings(
        field_voxels=32,
        size_nm=22,
        shell_nm=3.5,
        void_radius_nm=2.8,
        void_x_nm=1,
        void_y_nm=-0.5,
        void_z_nm=-1,
    ),
    dose_e_per_a2=1e5,
)
DIP = DipSettings(iterations=160, filters=(8, 16, 32), skips=(4, 4, 4), input_channels=8)


def main() -> None:
    """Press every button in turn."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    viewer = napari.Viewer(show=True, show_welcome_screen=False)
    viewer.window.resize(*SIZE)
    dock = MainWidget(viewer)
    viewer.window.add_dock_widget(dock, name="DIPm-TV", area="right")
    load, references, unmix, align, reconstruct, inspect, export = dock.panels
    job = dock.bench.job

    def press(step: int, button: QAbstractButton) -> None:
        dock.show_step(step)
        settle(0.1)
        button.click()

    def finish() -> None:
        wait_until(lambda: not job.running, 240)

    def save(name: str) -> None:
        settle(0.4)
        viewer.screenshot(str(FOLDER / f"{name}.png"), canvas_only=False, flash=False)

    load.demo_form.setValue(DEMO)
    press(0, load.open_demo)
    finish()
    press(0, load.prepare_bar.start)
    finish()
    save("1_load")
    press(1, references.draw_demo)
    press(1, references.job_bar.start)
    finish()
    references.verticalScrollBar().setValue(references.verticalScrollBar().maximum())
    save("2_references")
    press(2, unmix.job_bar.start)
    finish()
    save("3_unmix")
    press(3, align.job_bar.start)
    finish()
    save("4_align")
    reconstruct.forms["dipm-tv"].setValue(DIP)
    press(4, reconstruct.job_bar.start)
    wait_until(lambda: job.progress.iteration >= DIP.iterations // 2, 240)
    save("5_streaming")
    finish()
    save("5_reconstruct")
    press(5, inspect.open_up)
    save("6_half_cut")
    press(5, inspect.job_bar.start)
    finish()
    save("6_phases")
    inspect.phases.click()
    press(5, inspect.planes["xz"])
    save("6_planes")
    export.folder.setText(str(FOLDER / "export"))
    press(6, export.job_bar.start)
    finish()
    save("7_export")
    for file in (FOLDER / "export").iterdir():
        file.unlink()
    (FOLDER / "export").rmdir()
    viewer.close()


def settle(seconds: float) -> None:
    """Let the window work for a while."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        QApplication.processEvents()
        time.sleep(0.01)


def wait_until(done: Callable[[], bool], longest_s: float) -> None:
    """Let the window work until something has happened.

    Raises
    ------
    TimeoutError
    """
    end = time.monotonic() + longest_s
    while not done():
        if time.monotonic() > end:
            raise TimeoutError("the window did not get there")
        settle(0.05)
    settle(0.1)


if __name__ == "__main__":
    main()
