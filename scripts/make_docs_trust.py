"""A counted particle of known truth to the pictures and the report of docs/trust.md.

python scripts/make_docs_trust.py [OUT]
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import numpy as np

from napari_dipmtv.io.atomic import output_folder
from napari_dipmtv.phantom import count_series, make_volume
from napari_dipmtv.settings.phantom import PhantomSettings
from napari_dipmtv.settings.trust import TrustSettings
from napari_dipmtv.states import run
from napari_dipmtv.trust.progress import PROGRESS, load_progress, save_progress
from napari_dipmtv.trust.saving import facts_of, save_study
from napari_dipmtv.trust.study import study

ROOT = Path(__file__).resolve().parents[1]
PARTICLE = PhantomSettings(
    field_voxels=26,
    size_nm=16.4,
    skin_nm=1.5,
    shell_nm=2,
    void_radius_nm=2.2,
    void_x_nm=0,
    void_y_nm=0,
    void_z_nm=0,
)
TILTS = tuple(float(t) for t in np.linspace(-70, 70, 9))
SETTINGS = TrustSettings(repeats=39, planted_repeats=4, planted_sizes=5, members=8)


def main(out: Path) -> None:
    """Measure, ask, draw; an interrupted study goes on where it was."""
    series = count_series(make_volume(PARTICLE), TILTS, relative_noise=0.2)
    output_folder(out)
    reached = [-1]

    def keep(state) -> None:  # type: ignore[no-untyped-def]
        if state.checkpoint is not None and state.iteration >= reached[0] + 10:
            save_progress(state.checkpoint(), out)
            reached[0] = state.iteration
            print(state.iteration, "of", state.total, state.stage, flush=True)

    result = run(study(series, SETTINGS, device="cpu", resume=load_progress(out)), on_state=keep)
    found = result.whole()
    (out / PROGRESS).unlink(missing_ok=True)
    facts = facts_of(found, SETTINGS, [], result.seconds, stopped=False, device="cpu")
    written = save_study(found, facts, out)
    print(facts["text"])
    for picture in (path for path in written if path.suffix == ".png"):
        print(shutil.copyfile(picture, ROOT / "docs/images" / picture.name))
    print("docs/images/report.png is a picture of", out / "report.html")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "build/trust")
