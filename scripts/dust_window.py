"""Sixteen EDX files of interplanetary dust to maps, aligned maps and a volume in the real window; a picture of each.

Run with ``xvfb-run -a -s "-screen 0 1400x900x24" python scripts/dust_window.py [folder]``. Needs the data folder
(DIPMTV_DATA, or ``shared/data`` beside the checkout).
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import napari
from PIL import Image
from screenshots import settle, wait_until

from napari_dipmtv._napari import runs
from napari_dipmtv._napari.main_widget import MainWidget
from napari_dipmtv._napari.turns import turns
from napari_dipmtv.settings.align import AlignSettings
from napari_dipmtv.settings.edx import EdxSettings
from napari_dipmtv.settings.tomo import SirtSettings

ROOT = Path(__file__).resolve().parents[1]
DATA = Path(os.environ.get("DIPMTV_DATA", ROOT.parent / "shared" / "data"))
LINES = "Fe_Ka, O_Ka, Si_Ka, Mg_Ka"
NEIGHBOURS = "C, N, Ga, Cu, Pt, Al, Na, S, Ca, Cr"
LONGEST_S = 3600.0


def main(folder: Path) -> None:
    """Press the buttons of steps 1, 4 and 5."""
    runs.SLOW_PREVIEW_S = float("inf")
    viewer = napari.Viewer(show=True, show_welcome_screen=False)
    viewer.window.resize(1360, 860)
    dock = MainWidget(viewer)
    viewer.window.add_dock_widget(dock, name="DIPm-TV", area="right")
    load, _, _, align, reconstruct, *_ = dock.panels

    def finish(name: str) -> None:
        begin = time.monotonic()
        wait_until(lambda: not dock.bench.job.running and not turns().busy, LONGEST_S)
        settle(0.5)
        path = folder / f"dust_window_{name}.png"
        viewer.screenshot(str(path), canvas_only=False, flash=False)
        with Image.open(path) as picture:
            picture.convert("RGB").quantize(128).save(path, optimize=True)
        print(
            f"{name}: {time.monotonic() - begin:.0f} s; {load.status.text()} {align.words.text()}", flush=True
        )

    dock.show_step(0)
    load.edx_group.findChild(type(load.open_maps)).click()  # unfold
    load.edx.lines.setText(LINES)
    load.edx.binning.setValue(4)
    load.edx.form.setValue(EdxSettings(also=NEIGHBOURS))
    load.edx.open_folder(DATA / "L2083_edx_spectrum_images")
    finish("maps")
    dock.show_step(3)
    field_full_of_matter = AlignSettings(
        start="cross-correlation", find_axis_angle=False, smoothing_px=1.5, rounds=4
    )
    align.form.setValue(field_full_of_matter)
    align.job_bar.start.click()
    finish("aligned")
    dock.show_step(4)
    reconstruct.method.setCurrentIndex(reconstruct.method.findData("sirt"))
    reconstruct.forms["sirt"].setValue(SirtSettings(iterations=60))
    reconstruct.job_bar.start.click()
    finish("volume")
    viewer.close()


if __name__ == "__main__":
    if not DATA.is_dir():
        sys.exit(f"The data folder {DATA} is absent; set DIPMTV_DATA to it.")
    main(Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "docs" / "images").resolve())
