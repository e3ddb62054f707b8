"""Real tilt series to volumes by the command line, and to the pictures of docs/real-data.md.

    python scripts/real_data.py [FOLDER [quantum-dots] [dust] [needle]]

Needs the data folder (DIPMTV_DATA, or ``shared/data`` beside the checkout) and, for the needle, the package etspy.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import scipy.io
import tifffile

from napari_dipmtv.data import F32, Volume
from napari_dipmtv.io.volumes import load_volume

ROOT = Path(__file__).resolve().parents[1]
DATA = Path(os.environ.get("DIPMTV_DATA", ROOT.parent / "shared" / "data"))
BINNING = 4
METHODS = ("sirt", "cs-tv", "dipm-tv")


def main(out: Path, names: Sequence[str]) -> None:
    """Write stacks, run the commands, draw the pictures, of the named series or of all."""
    for name in names or tuple(SERIES):
        reconstruct_series, plane, axis = SERIES[name]
        volumes = reconstruct_series(out / name)
        picture = ROOT / "docs/images" / f"{name.replace('-', '_')}.png"
        draw(volumes, f"{plane} plane through the middle", picture, axis)


def quantum_dots(out: Path) -> dict[str, Volume]:
    """EDX counts of core-shell quantum dots, three elements, 13 views."""
    out.mkdir(parents=True, exist_ok=True)
    files = sorted((DATA / "quantum_dot_edx/QD1").glob("*.mat"))
    views = np.stack(
        [binned(scipy.io.loadmat(path)["input"].transpose(2, 0, 1)) for path in files]
    )  # (t, c, y, x)
    for c, element in enumerate(("Se", "S", "Zn")):
        tifffile.imwrite(out / f"{element}.tif", views[:, c])
    (out / "tilts.txt").write_text("\n".join(str(tilt) for tilt in range(-60, 61, 10)))
    stacks = [word for element in ("Se", "S", "Zn") for word in ("--channel", f"{element}={element}.tif")]
    source = [*stacks, "--angles", "tilts.txt", "--pixel-nm", "1", "--counts"]
    options = ("--set", "find_axis_angle=false", "--set", "equalise_dose=true", "--set", "smoothing_px=2")
    run(out, "align", *source, *options, "--out", "aligned")
    return reconstructed(out, "--maps", "aligned")


def interplanetary_dust(out: Path) -> dict[str, Volume]:
    """Fe, O, Si and Mg of a lamella of interplanetary dust, 16 EDX spectrum images, 64 x 64 binned pixels."""
    out.mkdir(parents=True, exist_ok=True)
    lines = [word for name in ("Fe_Ka", "O_Ka", "Si_Ka", "Mg_Ka") for word in ("--line", name)]
    neighbours = ("--set", "also=C,N,Ga,Cu,Pt,Al,Na,S,Ca,Cr")
    source = os.path.relpath(DATA / "L2083_edx_spectrum_images", out)
    run(out, "edx", source, *lines, "--bin-pixels", str(BINNING), *neighbours, "--out", "maps")
    options = ("start=cross-correlation", "find_axis_angle=false", "smoothing_px=1.5", "rounds=4")
    run(out, "align", "--maps", "maps", *(w for o in options for w in ("--set", o)), "--out", "aligned")
    steps = {"sirt": 60, "cs-tv": 100}
    return reconstructed(out, "--maps", "aligned", iterations=steps, methods=("sirt", "cs-tv"))


def needle(out: Path) -> dict[str, Volume]:
    """HAADF of a needle, every eighth of the 77 aligned views that come with etspy."""
    from etspy.datasets import get_needle_data

    out.mkdir(parents=True, exist_ok=True)
    stack = get_needle_data(aligned=True)
    tilts = stack.tilts.data[:, 0]
    upright = np.rot90(
        np.asarray(stack.data, dtype=np.float32), axes=(1, 2)
    )  # ETSpy's tilt axis runs along x
    views = binned(np.ascontiguousarray(upright)) / BINNING**2
    tifffile.imwrite(out / "haadf.tif", views[::8] - np.median(views))
    (out / "tilts.txt").write_text("\n".join(str(tilt) for tilt in tilts[::8]))
    pixel_nm = stack.axes_manager[-1].scale * BINNING
    source = ("--channel", "HAADF=haadf.tif", "--angles", "tilts.txt", "--pixel-nm", f"{pixel_nm:g}")
    return reconstructed(out, *source)


def reconstructed(
    out: Path,
    *source: str,
    iterations: Mapping[str, int] = {"dipm-tv": 200},
    methods: Sequence[str] = METHODS,
) -> dict[str, Volume]:
    """One volume for each method, with its own number of iterations where none is given."""
    for method in methods:
        more = ("--iterations", str(iterations[method])) if method in iterations else ()
        run(out, "reconstruct", *source, "--method", method, *more, "--out", method)
        report = json.loads((out / method / "report.json").read_text(encoding="utf-8"))
        print(
            f"{method}: {report['seconds']:.1f} s on {report['device']}, residual {report['data_residual']:.3f}"
        )
    return {method: load_volume(out / method) for method in methods}


def run(folder: Path, *words: str) -> None:
    """Run one command in a folder and show it as one would type it."""
    print("$ napari-dipmtv", shlex.join(words), flush=True)
    subprocess.run([sys.executable, "-m", "napari_dipmtv", *words], cwd=folder, check=True)


def binned(images: F32) -> F32:
    """Sum blocks of pixels (..., y, x): counts stay counts."""
    *lead, ny, nx = images.shape
    blocks = images.reshape(*lead, ny // BINNING, BINNING, nx // BINNING, BINNING)
    return np.asarray(blocks.sum(axis=(-3, -1)), dtype=np.float32)


def draw(volumes: Mapping[str, Volume], plane: str, path: Path, axis: int) -> None:
    """One row per channel, one column per method, the middle plane perpendicular to ``axis`` of (c, z, y, x)."""
    from matplotlib.figure import Figure

    channels = next(iter(volumes.values())).channels
    figure = Figure(
        figsize=(2.6 * len(volumes) + 0.6, 2.6 * len(channels) + 0.6), dpi=150, layout="compressed"
    )
    axes: Any = figure.subplots(len(channels), len(volumes), squeeze=False)
    for column, (method, volume) in enumerate(volumes.items()):
        for row, channel in enumerate(channels):
            image = np.take(volume.data[row], volume.data.shape[axis] // 2, axis=axis - 1)
            axes[row, column].imshow(
                image, cmap="magma", vmin=0, vmax=max(float(np.percentile(image, 99.8)), 1e-6)
            )
            axes[row, column].set(xticks=[], yticks=[])
            axes[row, 0].set_ylabel(channel)
        axes[0, column].set_title(method)
    figure.suptitle(plane, fontsize=9)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
    print(path)


SERIES = {
    "quantum-dots": (quantum_dots, "x-y", 1),
    "dust": (interplanetary_dust, "x-y", 1),
    "needle": (needle, "z-x", 2),
}

if __name__ == "__main__":
    if not DATA.is_dir():
        sys.exit(f"The data folder {DATA} is absent; set DIPMTV_DATA to it.")
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "build/real-data", sys.argv[2:])
