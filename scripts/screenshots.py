"""Drive the real window through the whole workflow on a small demo: a picture of every step, a film of the volume.

Run with ``xvfb-run -a -s "-screen 0 1600x1000x24" python scripts/screenshots.py [folder]``.
"""

from __future__ import annotations

import contextlib
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import napari
import numpy as np
from qtpy.QtWidgets import QAbstractButton, QApplication

from napari_dipmtv._napari import runs, worker
from napari_dipmtv._napari.demo_settings import demo_settings
from napari_dipmtv._napari.main_widget import MainWidget
from napari_dipmtv._napari.spectrum_widget import SpectrumWidget
from napari_dipmtv._napari.turns import turns
from napari_dipmtv._napari.turntable import write_film
from napari_dipmtv.phantom import simulate
from napari_dipmtv.settings.tomo import DipSettings

FOLDER = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parents[1] / "docs" / "images").resolve()
SIZE = (1500, 960)
DIP = DipSettings(iterations=80)
LEVEL = 0.6  # of the density inside: half-way would also show the blurred rim between core and void


def main() -> None:
    """Press every button in turn."""
    runs.SLOW_PREVIEW_S = float("inf")  # 3-D also where it is rendered by the processor
    worker.PREVIEW_SHARE = 0.3
    FOLDER.mkdir(parents=True, exist_ok=True)
    viewer = napari.Viewer(show=True, show_welcome_screen=False)
    viewer.window.resize(*SIZE)
    dock = MainWidget(viewer)
    viewer.window.add_dock_widget(dock, name="DIPm-TV", area="right")
    load, references, unmix, align, reconstruct, inspect, trust, export = dock.panels
    job = dock.bench.job

    def press(step: int, button: QAbstractButton) -> None:
        dock.show_step(step)
        settle(0.1)
        button.click()

    def finish() -> None:
        wait_until(lambda: not job.running and not turns().busy, 1800)

    def save(name: str) -> None:
        settle(0.4)
        if not job.running:
            wait_until(lambda: not turns().busy, 60)
        viewer.screenshot(str(FOLDER / f"{name}.png"), canvas_only=False, flash=False)

    with tempfile.TemporaryDirectory() as somewhere:
        simulate(demo_settings()).write(Path(somewhere) / "nanocube")
        load.open_paths([Path(somewhere) / "nanocube"])
        finish()
        load.tilts.table.item(2, 0).setText("36.2")
        save("1_load")
    press(0, load.open_demo)
    finish()
    press(0, load.prepare_bar.start)
    finish()
    press(1, references.draw_demo)
    press(1, references.job_bar.start)
    finish()
    spectrum = SpectrumWidget(viewer)
    docked = viewer.window.add_dock_widget(spectrum, name="Spectrum", area="bottom")
    middle = spectrum.series.tilts[0].low_loss.counts.shape[0] // 2
    spectrum.point_at((4, middle, middle))
    spectrum.fit.click()
    save("spectrum")
    viewer.window.remove_dock_widget(docked)
    references.verticalScrollBar().setValue(references.verticalScrollBar().maximum())
    save("2_references")
    press(2, unmix.job_bar.start)
    finish()
    save("3_unmix")
    press(3, align.job_bar.start)
    finish()
    save("4_align")
    align.mend.findChild(QAbstractButton).click()  # unfold
    align.nudges.step.setValue(4.0)
    align.nudges.buttons["→"].click()
    finish()
    align.verticalScrollBar().setValue(align.verticalScrollBar().maximum())
    save("4_align_mend")
    align.nudges.undo.click()
    finish()
    reconstruct.method.setCurrentIndex(reconstruct.method.findData("cs-tv"))
    press(4, reconstruct.job_bar.start)
    finish()
    reconstruct.method.setCurrentIndex(reconstruct.method.findData("dipm-tv"))
    reconstruct.forms["dipm-tv"].setValue(DIP)
    reconstruct.stream.pace.setValue(0.1)
    inspect.level.setValue(LEVEL)
    worker.PREVIEW_SHARE = 2.0  # a film wants more pictures than a person needs
    frames: list[np.ndarray] = []

    def film() -> None:
        if job.running:
            frames.append(canvas(viewer))

    dock.bench.layers_shown.connect(film)
    press(4, reconstruct.job_bar.start)
    wait_until(lambda: job.progress.iteration >= DIP.iterations // 3, 600)
    save("5_streaming")
    finish()
    dock.bench.layers_shown.disconnect(film)
    worker.PREVIEW_SHARE = 0.3
    frames.append(canvas(viewer))
    print(f"growing.webp: {len(frames)} pictures")
    write_film([*frames, *[frames[-1]] * 8], FOLDER / "growing.webp", 180)
    save("5_reconstruct")
    press(5, inspect.phases.job_bar.start)
    finish()
    press(5, inspect.cut.open_up)
    save("6_phases")
    inspect.phases.phases.click()
    save("6_half_cut")
    press(5, inspect.planes["xz"])
    save("6_planes")
    reconstruct.results.list.setCurrentRow(0)
    press(4, reconstruct.results.show_one)  # of CS-TV, whose refits take no network
    press(5, inspect.phases.job_bar.start)
    finish()
    press(6, trust.job_bar.start)
    finish()
    trust.probability.setCurrentText("void")
    trust.probability.activated.emit(trust.probability.currentIndex())
    trust.verticalScrollBar().setValue(trust.job_bar.y())
    save("7_trust")
    with tempfile.TemporaryDirectory() as somewhere, contextlib.chdir(somewhere):
        export.folder.setText("nanocube")
        press(7, export.job_bar.start)
        finish()
        save("8_export")
    press(0, load.open_demo)
    finish()
    press(0, load.quick.start)
    wait_until(lambda: not load.quick.going and not turns().busy, 600)
    save("quick_look")
    viewer.close()


def canvas(viewer: napari.Viewer) -> np.ndarray:
    """The picture as it stands, small enough for a README."""
    image = viewer.screenshot(canvas_only=True, flash=False)[..., :3]
    return image[:: max(1, image.shape[0] // 400), :: max(1, image.shape[0] // 400)]


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
