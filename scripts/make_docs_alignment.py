"""Three real tilt series, aligned and compared with their authors, to figures and numbers of docs/alignment.md.

Needs the data folder (DIPMTV_DATA, or ``shared/data`` beside the checkout) and the package etspy.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import scipy.io

from napari_dipmtv import pipeline
from napari_dipmtv.alignment import AlignmentReport
from napari_dipmtv.alignment.gauge import without_gauge
from napari_dipmtv.alignment.mapping import displacements
from napari_dipmtv.data import F32, F64, Alignment, ChannelMaps
from napari_dipmtv.settings.align import AlignSettings
from napari_dipmtv.states import run

ROOT = Path(__file__).resolve().parents[1]
DATA = Path(os.environ.get("DIPMTV_DATA", ROOT.parent / "shared" / "data"))
BINNING = 4


@dataclass(frozen=True)
class Case:
    """One series, how to align it, and the authors' displacements (dy, dx) in binned pixels; NaN: not given."""

    name: str
    maps: ChannelMaps
    settings: AlignSettings
    authors_px: F64


def quantum_dots() -> Case:
    """EDX counts of three elements, 13 views; the authors turned the views by 5-10 deg and moved them by hand."""
    folder = DATA / "quantum_dot_edx"
    views = [scipy.io.loadmat(path)["input"] for path in sorted((folder / "QD1").glob("input_*.mat"))]
    counts = binned(np.stack(views).transpose(3, 0, 1, 2))
    print("quantum dots: dose of the views, background included", relative(counts))
    beside = np.abs(np.arange(64) - 31.5) > 20  # columns without a particle
    counts -= counts[..., beside].mean(
        axis=(2, 3), keepdims=True
    )  # X-rays from elsewhere, 3 times more at -60 deg
    valid = np.ones(counts.shape[1:], bool)
    valid[:, :9] = False  # a third dot hangs over the upper edge
    print("  without it", relative(counts[:, :, 9:]))
    maps = ChannelMaps(counts, ("Se", "S", "Zn"), tuple(range(-60, 61, 10)), 1.0, valid=valid)
    tell_lean(counts.sum(axis=0))
    given = scipy.io.loadmat(folder / "param_obj0.mat")
    moves = np.stack([given[f"circ_{axis}_img_set"][0].astype(float) for axis in "yx"], axis=1)
    settings = AlignSettings(equalise_dose=True, max_axis_angle_deg=15, smoothing_px=1.5)
    turn = float(given["rot_img_set"].mean())  # counter-clockwise, by which the authors turned the views back
    for angle in (-turn, 0.0, turn):
        fixed = settings.replace(find_axis_angle=False, axis_angle_deg=angle)
        found = run(pipeline.align_states(maps, fixed, "cpu")).value
        report = pipeline.report_alignment(maps, found, fixed, "cpu")
        print(
            f"  turned by {angle:+.1f} deg: re-projection error {report.error:.4f}, dose",
            np.round(report.dose, 2),
        )
    return Case("quantum dots", maps, settings, -moves / BINNING)


def tell_lean(views: F32) -> None:
    """How far the lower dot lies to the left of the upper one, as a turn of the images or as a place in the object.

    A turn by φ gives ``dx = -dy tan φ`` in every view, a place beside the other ``dx = a cos θ + b sin θ``.
    """
    middle, theta = np.arange(64) - 31.5, np.deg2rad(np.arange(-60, 61, 10))
    apart = []
    for view in views:
        rows = np.convolve(view.sum(axis=1), np.ones(5) / 5, "same")
        between = 24 + int(np.argmin(rows[24:34]))
        first, last = 4 + int(np.argmin(rows[4 : between - 8])), min(between + 20, 52)
        centres = []
        for part in (slice(first, between), slice(between, last)):
            dot = view[part] * (np.abs(middle) < 15)
            centres.append(np.array([dot.sum(axis=1) @ middle[part], dot.sum(axis=0) @ middle]) / dot.sum())
        apart.append(centres[1] - centres[0])
    dy, dx = np.array(apart).T
    for words, columns in (("a turn", [dy]), ("a turn and a place", [dy, np.cos(theta), np.sin(theta)])):
        design = np.stack(columns, axis=1)
        found, squares, *_ = np.linalg.lstsq(design, dx, rcond=None)
        noise = np.sqrt(squares[0] / (len(dx) - design.shape[1]))
        error = noise * np.sqrt(np.linalg.inv(design.T @ design)[0, 0])
        turn = np.rad2deg(np.array([-np.arctan(found[0]), error]))
        print(f"  lean as {words}: {turn[0]:.1f} ± {turn[1]:.1f} deg, residual {noise:.2f} px")


def relative(counts: F32) -> F64:
    """Total of every view over the mean of all."""
    total = counts.sum(axis=(0, 2, 3), dtype=np.float64)
    return np.round(total / total.mean(), 2)


def dust() -> Case:
    """HAADF of an interplanetary dust particle, 16 views; the tilt stands in the file names."""
    from rsciio.bruker import file_reader

    folder = DATA / "L2083_edx_spectrum_images"
    tilts = sorted(int(path.stem) for path in folder.glob("*.bcf"))
    views = [file_reader(folder / f"{tilt}.bcf", select_type="image")[0]["data"] for tilt in tilts]
    haadf = binned(np.stack(views).astype(np.float32)) / BINNING**2
    haadf -= np.percentile(haadf, 2, axis=(1, 2), keepdims=True)
    maps = ChannelMaps(haadf[None], ("HAADF",), tuple(tilts), 13.08 * BINNING)
    given = dict(
        zip(range(-50, 51, 5), json.loads((folder / "TomVizAlignments.json").read_text()), strict=True)
    )
    across, along = np.array([given[tilt] for tilt in tilts], dtype=float).T  # x to the right, y upwards
    # a slab that fills the field cannot be reconstructed whole, so there is nothing to match with
    settings = AlignSettings(start="cross-correlation", rounds=0, find_axis_angle=False)
    return Case("dust particle", maps, settings, np.stack([along, -across], axis=1) / BINNING)


def needle() -> Case:
    """HAADF of a needle, every fourth of 77 raw views; the authors' shifts are read off their aligned series.

    ETSpy keeps its tilt axis horizontal, so the images are transposed.
    """
    from etspy.datasets import get_needle_data
    from skimage.registration import phase_cross_correlation

    raw, aligned = (get_needle_data(aligned=flag) for flag in (False, True))
    tilts = tuple(float(tilt) for tilt in range(-76, 77, 2))[::4]  # the raw series carries no angles
    before, after = (
        binned(np.asarray(s.data[::4], np.float32).swapaxes(1, 2)) / BINNING**2 for s in (raw, aligned)
    )
    moves = [
        phase_cross_correlation(a, b, upsample_factor=10, normalization=None)[0]
        for a, b in zip(after, before, strict=True)
    ]
    maps = ChannelMaps((before - np.percentile(before, 2))[None].clip(min=0), ("HAADF",), tilts, 13.44)
    settings = AlignSettings(start="cross-correlation", rounds=4, max_axis_angle_deg=15)
    return Case("needle", maps, settings, -np.array(moves))


def judge(case: Case) -> tuple[Alignment, AlignmentReport]:
    """Align and print what stands in the table of the docs."""
    result = run(pipeline.align_states(case.maps, case.settings, "cpu"))
    found = result.value
    rest = without_gauge(displacements(found) - case.authors_px, case.maps.tilts_deg)
    drift = without_gauge(case.authors_px, case.maps.tilts_deg)
    report = pipeline.report_alignment(case.maps, found, case.settings, "cpu")
    start, theirs = (
        pipeline.report_alignment(case.maps, Alignment(shifts), case.settings, "cpu").error
        for shifts in (np.zeros_like(case.authors_px), case.authors_px)
    )
    print(
        f"{case.name}: authors' drift {np.sqrt((drift**2).mean(axis=0)).round(2)} px rms (y, x), difference "
        f"{np.sqrt((rest**2).mean(axis=0)).round(2)}; angle {found.axis_angle_deg:.2f} "
        f"± {found.axis_angle_error_deg} deg, offset {found.axis_offset_px:.2f} px; re-projection error "
        f"{start:.3f} -> {report.error:.3f}, theirs {theirs:.3f}; {result.seconds:.0f} s",
        *report.notes,
        sep="\n  ",
        flush=True,
    )
    return found, report


def binned(images: F32) -> F32:
    """Sum blocks of pixels (..., y, x): counts stay counts."""
    *lead, ny, nx = images.shape
    blocks = images.reshape(*lead, ny // BINNING, BINNING, nx // BINNING, BINNING)
    return np.asarray(blocks.sum(axis=(-3, -1)), dtype=np.float32)


def draw(cases: list[tuple[Case, Alignment, AlignmentReport]], path: Path) -> None:
    """One row per series: sinogram before and after, the error of every round, the error of every view."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 2.6 * len(cases)), dpi=130, layout="constrained")
    axes: Any = figure.subplots(len(cases), 4, squeeze=False)
    for row, (case, found, report) in zip(axes, cases, strict=True):
        for axis, image, title in zip(row, (report.before, report.after), ("before", "after"), strict=False):
            extent = (0, image.shape[1], report.tilts_deg[-1], report.tilts_deg[0])
            axis.imshow(image, aspect="auto", cmap="magma", extent=extent)
            axis.set(title=f"{case.name}, {title}", xlabel="x / px", ylabel="tilt / deg")
        for scale in sorted(set(found.scales), reverse=True):
            rounds = np.flatnonzero(np.array(found.scales) == scale)
            row[2].plot(rounds + 1, np.array(found.quality)[rounds], ".-", label=f"1:{scale}")
        row[2].legend(title="scale", frameon=False)
        row[2].set(title="error of each round", xlabel="round", ylim=(0, None))
        row[3].plot(report.tilts_deg, report.view_errors, ".-")
        row[3].set(title="error of each view", xlabel="tilt / deg", ylim=(0, None))
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
    print(path)


if __name__ == "__main__":
    if not DATA.is_dir():
        sys.exit(f"The data folder {DATA} is absent; set DIPMTV_DATA to it.")
    draw(
        [(case, *judge(case)) for case in (quantum_dots(), dust(), needle())],
        ROOT / "docs/images/alignment.png",
    )
