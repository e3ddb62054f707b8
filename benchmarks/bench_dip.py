"""Follow deep image priors on one counted cube: ours, the published recipe from its preset, 2-D slices, deepinv's.

Every contender runs in a process of its own and its error against the truth is followed, so that each is given its best
step, which no one would know at the microscope. The 3-D contenders run with three seeds, of the counts and of the
network. ``python benchmarks/bench_dip.py`` takes about forty minutes; ``... bench_dip.py ours --write`` runs one of
them again. DIPMTV_DATA names the folder of the reference cube; without it
the simulator makes a similar one. deepinv is left out where it is not installed (``pip install deepinv``).
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

import report  # first: pins the threads

# isort: split
import numpy as np
import torch
from slice_dip import deepinv_prior, recipe_2d

from napari_dipmtv.data import TiltSeries, Volume
from napari_dipmtv.inspect.score import score
from napari_dipmtv.phantom import count_series, make_volume
from napari_dipmtv.projection.geometry import Geometry
from napari_dipmtv.projection.sparse import SparseProjector
from napari_dipmtv.settings.phantom import PhantomSettings
from napari_dipmtv.settings.presets import preset
from napari_dipmtv.settings.tomo import DipSettings
from napari_dipmtv.tomo.reconstruct import reconstruct_states

SLICES = (20, 32, 44)  # rows along the tilt axis that the 2-D contenders fit; their time is scaled
SEEDS = (0, 1, 2)
LOOK_EVERY, PATIENCE = 5, 50  # steps between two looks, and without a better error until a peer is ended
MOST_2D = 400
CURVES = Path(__file__).with_name("dip_curves.json")
WORDS = {
    "ours": "DIPm-TV, defaults",
    "recipe": "published DIPm-TV recipe (EELS simulation)",
    "slices": "2-D recipe of arXiv:2605.27139, slice by slice",
    "deepinv": "deepinv DeepImagePrior, slice by slice",
}


def cube(seed: int = 0) -> tuple[TiltSeries, Volume, str]:
    """The counted series, the truth and what it is; other seeds than 0 count the same cube again."""
    path = report.data_folder() / "reference_cube64" / "cube64.npz"
    if not path.is_file():
        volume = make_volume(PhantomSettings(field_voxels=64, voxel_nm=48 / 64))
        tilts = tuple(np.linspace(-70, 70, 9))
        series = count_series(volume, tilts, relative_noise=0.27, seed=seed)
        return series, volume, "a simulated cube, 64³ x 2"
    with np.load(path) as saved:
        gain, channels = float(saved["counts_per_unit"]), tuple(str(name) for name in saved["channels"])
        truth, counts, tilts = saved["truth"].astype(np.float32), saved["counts"], tuple(saved["tilts_deg"])
    if seed:
        A = SparseProjector(Geometry.of(truth.shape[1:], tilts))
        means = gain * A(torch.from_numpy(truth)).numpy().clip(0)
        counts = np.random.default_rng(seed).poisson(means)
    series = TiltSeries(counts.astype(np.float32) / gain, channels, tilts, 0.5, counts_per_unit=gain)
    return series, Volume(truth, channels, 0.5), "the reference cube, 64³ x 2"


def follow_volume(
    series: TiltSeries, truth: Volume, settings: DipSettings, *, to_the_end: bool
) -> dict[str, Any]:
    """Seconds, iterations and errors along a 3-D run, preparation included."""
    curve: list[tuple[float, ...]] = []
    spent, best, kept = 0.0, (np.inf, 0), None
    states = reconstruct_states(series, "dipm-tv", settings, "cpu")
    while True:
        begin = time.process_time()
        state = next(states, None)
        spent += time.process_time() - begin
        if state is None or (not to_the_end and state.iteration > best[1] + PATIENCE):
            break
        if state.iteration % LOOK_EVERY and state.iteration != state.total:
            continue
        found = state.snapshot()
        errors = (off(found.data, truth.data, part) for part in (None, SLICES))
        curve.append((spent, state.iteration, *errors))
        if curve[-1][2] < best[0]:
            best, kept = (curve[-1][2], state.iteration), found
    assert kept is not None
    return {"curve": curve, "ssim": score(kept, truth).ssim, "steps_s": spent / max(1, curve[-1][1])}


def follow_slices(series: TiltSeries, truth: Volume, work: Callable[..., Iterator[Any]]) -> dict[str, Any]:
    """The same of 2-D runs on a few slices, their time scaled to all slices that hold counts."""
    side = series.data.shape[3]
    A = SparseProjector(Geometry.of((side, 1, side), series.tilts_deg))
    # beams count widths of the field, as in the preset
    unit = series.data.max(axis=(1, 2, 3), keepdims=True) / side
    maps = torch.from_numpy(series.data / unit / side)
    looked = slice(LOOK_EVERY - 1, None, LOOK_EVERY)
    spent, images = np.zeros(MOST_2D), []
    for y in SLICES:
        torch.manual_seed(0)
        runs = list(work(maps[:, :, y], lambda x: A(x[:, :, None])[:, :, 0] / side, side, MOST_2D))
        spent += np.cumsum([took for took, _ in runs])
        images.append(np.stack([image.numpy() for _, image in runs[looked]]) * unit[..., 0])
    counts = series.data.sum(axis=(0, 1, 3))
    spent *= np.count_nonzero(counts > 0.02 * counts.max()) / len(SLICES)
    found = np.stack(images, axis=3)  # (step, c, z, slice, x)
    errors = [off(one, truth.data[:, :, SLICES]) for one in found]
    steps = range(LOOK_EVERY, MOST_2D + 1, LOOK_EVERY)
    curve = [(took, step, None, e) for took, step, e in zip(spent[looked], steps, errors, strict=True)]
    return {"curve": curve, "ssim": None, "steps_s": spent[-1] / MOST_2D}


def off(found: np.ndarray, truth: np.ndarray, slices: tuple[int, ...] | None = None) -> float:
    """Relative error, of all or of some slices."""
    if slices is not None:
        found, truth = found[:, :, slices], truth[:, :, slices]
    return float(np.linalg.norm(found - truth) / np.linalg.norm(truth))


def follow(name: str, seed: int) -> dict[str, Any]:
    """One contender, in this process."""
    torch.set_num_threads(1)
    series, truth, _ = cube(seed)
    if name == "ours":
        return follow_volume(series, truth, DipSettings(seed=seed), to_the_end=True)
    if name == "recipe":
        recipe = preset("dipm-tv", "published EELS simulation")
        assert isinstance(recipe, DipSettings)
        return follow_volume(series, truth, recipe.replace(seed=seed), to_the_end=False)
    return follow_slices(series, truth, recipe_2d if name == "slices" else deepinv_prior)


def first_below(curve: list[list[float]], column: int, level: float) -> float:
    """Seconds until the error was at most this."""
    return next((row[0] for row in curve if row[column] <= level), float("nan"))


def rows(curves: dict[str, Any]) -> Iterator[list[str]]:
    """One per contender: its best, when, and how long ours takes to be as good; medians over the seeds."""
    for name, words in WORDS.items():
        if name not in curves:
            continue
        runs = curves[name]
        column = 2 if runs[0]["curve"][0][2] is not None else 3
        best = [min(run["curve"], key=lambda row: row[column]) for run in runs]
        ours = [
            first_below(peer["curve"], column, row[column])
            for row, peer in zip(best, curves.get("ours", ()), strict=False)
        ]
        ratios = [row[0] / took for row, took in zip(best, ours, strict=False)]
        ssim, mark = [run["ssim"] for run in runs], "" if column == 2 else " *"
        yield [
            words,
            str(len(runs)),
            f"{median([row[column] for row in best]):.3f}{mark}",
            "" if None in ssim else f"{median(ssim):.3f}",
            f"{median([row[1] for row in best]):.0f}",
            f"{median([row[0] for row in best]):.0f} s",
            f"{median(ours):.1f} s" if ours else "",
            f"{median(ratios):.1f}" + (f" ({min(ratios):.1f}-{max(ratios):.1f})" if len(ratios) > 1 else "")
            if ratios
            else "",
            f"{median([run['steps_s'] for run in runs]) * 1e3:.0f} ms",
        ]


def draw(curves: dict[str, Any]) -> None:
    """The errors over processor time, as a figure beside the page of results."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(6, 3.4), layout="constrained")
    for name, words in WORDS.items():
        if name in curves:
            curve = curves[name][0]["curve"]
            axes.plot([row[0] for row in curve], [row[3] for row in curve], label=words)
    axes.set(xscale="log", xlabel="processor time / s", ylabel="NRMSE of three slices", ylim=(0.1, 1))
    axes.grid(alpha=0.3)
    axes.legend(fontsize=7)
    figure.savefig(CURVES.with_name("dip_curves.png"), dpi=110)


def main() -> None:
    """Run one contender and give its curve as JSON, or all that were asked for and print the table."""
    if len(sys.argv) == 4 and sys.argv[1] == "--follow":
        run = follow(sys.argv[2], int(sys.argv[3]))
        print(json.dumps(run, default=lambda value: round(float(value), 3)))
        return
    chosen = report.options(__doc__ or "", names=tuple(WORDS))
    if chosen.device == "cuda":
        return  # bench_engine.py has the GPU
    curves = json.loads(CURVES.read_text()) if CURVES.exists() and chosen.names else {}
    for name in chosen.names or WORDS:
        if name == "deepinv" and find_spec("deepinv") is None:
            continue
        curves[name] = []
        for seed in SEEDS if name in ("ours", "recipe") else SEEDS[:1]:
            command = [sys.executable, __file__, "--follow", name, str(seed)]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
            curves[name].append(json.loads(done.splitlines()[-1]))
            if chosen.write:  # each as soon as it is there
                CURVES.write_text(json.dumps(curves))
    packages = tuple(name for name in ("torch", "numpy", "deepinv") if find_spec(name))
    merits = ("best NRMSE", "SSIM there", "at step", "time to it", "ours to the same", "ratio", "one step")
    text = (
        f"By `benchmarks/bench_dip.py` on {cube()[2]}, 9 tilts, 27 % noise; processor time of one thread on "
        f"{report.machine(packages)}\nEach at its best step, found with the truth in hand; preparation counts; medians "
        f"of the seeds. "
        f"* of slices {', '.join(map(str, SLICES))}, as is ours beside\nit; their time is scaled to the slices that "
        f"hold counts. SSIM: 3-D. The first volumes of ours are those of CS-TV.\n\n"
        f"{report.table(('code', 'seeds', *merits), rows(curves))}\n\n![Error over time]({CURVES.stem}.png)"
    )
    if chosen.write:
        draw(curves)
    report.finish("Deep image priors", text, write=chosen.write)


if __name__ == "__main__":
    main()
