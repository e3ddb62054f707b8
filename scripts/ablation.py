"""What does each part of DIPm-TV do? Variants, doses and seeds on a cube of known truth to a table and a figure.

    python scripts/ablation.py RUNS.jsonl                 # run what is missing, then write docs/ablation.md
    python scripts/ablation.py RUNS.jsonl --report-only   # the table and the figure from what is there

Each finished run is one line of RUNS.jsonl; a study that was interrupted goes on where it was. In docs/ablation.md only
the part between the two marks is replaced.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from napari_dipmtv.data import TiltSeries, Volume
from napari_dipmtv.inspect import score, segment
from napari_dipmtv.inspect.score import match_voids
from napari_dipmtv.io.guard import plain
from napari_dipmtv.phantom import count_series, make_segmentation, make_volume
from napari_dipmtv.settings.inspect import SegmentSettings
from napari_dipmtv.settings.phantom import PhantomSettings, published_eels, two_particles
from napari_dipmtv.settings.presets import preset
from napari_dipmtv.settings.tomo import CsTvSettings, DipSettings, Method, MethodSettings
from napari_dipmtv.tomo.reconstruct import reconstruct_states

DOCS = Path(__file__).resolve().parents[1] / "docs"
TILTS = tuple(float(t) for t in np.linspace(-70, 70, 9))
PARTICLE = PhantomSettings()  # 48³; a cube with a skin of 1.5 voxels and a void of radius 2.5
ITERATIONS = 120  # of the variants, which are compared with each other; a third of the default
EVERY = 10  # steps between two points of the curve
NOISES = (0.27, 0.5, 0.1, 0.01)  # relative; the last one stands for noise-free
SEEDS = (0, 1, 2)  # of data and network
STRENGTHS = (0.01, 0.02, 0.04, 0.06, 0.09, 0.12, 0.18, 0.25)
VOID_FOUND = 0.25  # of the true void is found, and of what is found is true
FIGURES = ("NRMSE", "SSIM", "IoU FeO", "IoU Fe₃O₄")  # of a point of the curve, after its step
MAIN = (
    "DIPm-TV (default, 400 steps)",
    "DIPm-TV",
    "TV alone (CS-TV, best of 8 strengths)",
    "published recipe, 250 steps",
)
BEGIN, END = "<!-- written by scripts/ablation.py -->\n", "<!-- end -->\n"


@dataclass(frozen=True)
class Variant:
    """One way to reconstruct, the particle, and whether its second channel is mirrored."""

    method: Method
    settings: MethodSettings
    mirrored: bool = False
    particle: PhantomSettings = PARTICLE


BOTH = DipSettings(iterations=ITERATIONS)
VARIANTS = {
    "DIPm-TV (default, 400 steps)": Variant("dipm-tv", DipSettings()),
    "DIPm-TV": Variant("dipm-tv", BOTH),
    "prior alone (TV 0)": Variant("dipm-tv", BOTH.replace(tv_strength=0)),
    "TV alone (CS-TV, best of 8 strengths)": Variant("cs-tv", CsTvSettings()),
    "no polish": Variant("dipm-tv", BOTH.replace(polish=0)),
    "no cavity test": Variant("dipm-tv", BOTH.replace(cavities=False)),
    "softplus instead of fractions": Variant("dipm-tv", BOTH.replace(output="softplus")),
    "skips and random input": Variant("dipm-tv", BOTH.replace(network_input="random", skips=(4, 4, 4))),
    "a network per channel (DIP-TV)": Variant("dip-tv", BOTH),
    "TV of the channel sum": Variant("dipm-tv", BOTH.replace(tv="channel-sum")),
    "TV per channel": Variant("dipm-tv", BOTH.replace(tv="per-channel")),
    "published recipe, 250 steps": Variant(
        "dipm-tv",
        preset("dipm-tv", "published EELS simulation").replace(iterations=250, precision="auto"),
    ),
    "mirrored channel: DIPm-TV": Variant("dipm-tv", BOTH, mirrored=True),
    "mirrored channel: DIP-TV": Variant("dip-tv", BOTH, mirrored=True),
    "mirrored channel: softplus": Variant("dipm-tv", BOTH.replace(output="softplus"), mirrored=True),
}
OTHERS = {
    "sphere": PARTICLE.replace(shape="sphere"),
    "two particles": two_particles(),
    "published": published_eels(48),
}
for _name, _particle in OTHERS.items():
    VARIANTS[f"{_name}: DIPm-TV"] = Variant("dipm-tv", BOTH, particle=_particle)
    VARIANTS[f"{_name}: TV alone (CS-TV, best)"] = Variant("cs-tv", CsTvSettings(), particle=_particle)


def truth_of(variant: Variant) -> Volume:
    """The particle; mirrored, FeO knows nothing of where Fe3O4 is."""
    truth = make_volume(variant.particle)
    if not variant.mirrored:
        return truth
    data = truth.data.copy()
    data[1] = data[1, :, :, ::-1]
    return truth.replace(data=data)


def run_one(name: str, noise: float, seed: int) -> dict[str, Any]:
    """One reconstruction and everything that is asked of it."""
    variant = VARIANTS[name]
    truth = truth_of(variant)
    series = count_series(truth, TILTS, relative_noise=noise, seed=seed)
    if isinstance(variant.settings, CsTvSettings):
        tried = [fitted(variant, variant.settings.replace(tv_strength=s), series, truth) for s in STRENGTHS]
        made, volume = min(tried, key=lambda pair: pair[0]["nrmse"])
        made["strengths"] = {s: one["nrmse"] for s, (one, _) in zip(STRENGTHS, tried, strict=True)}
    else:
        made, volume = fitted(variant, variant.settings.replace(seed=seed), series, truth)
    return {"variant": name, "noise": noise, "seed": seed, **made, **voids(volume, variant.particle)}


def fitted(
    variant: Variant, settings: MethodSettings, series: TiltSeries, truth: Volume
) -> tuple[dict[str, Any], Volume]:
    """Reconstruct; figures of merit, time and the error on the way."""
    begin, watching, curve = time.process_time(), 0.0, []
    for state in reconstruct_states(series, variant.method, settings):
        if state.iteration and state.iteration % EVERY == 0 and isinstance(settings, DipSettings):
            since = time.process_time()
            curve.append([state.iteration, *figures(state.snapshot(), truth)])
            watching += time.process_time() - since
    volume = state.snapshot()
    seconds = time.process_time() - begin - watching
    scores = score(volume, truth)
    return {
        "strength": settings.tv_strength,
        "nrmse": scores.nrmse,
        "ssim": scores.ssim,
        "iou": dict(scores.iou),
        "seconds": seconds,
        "iterations": state.iteration,
        "stage": state.stage,
        "curve": [*curve, [state.iteration, *figures(volume, truth)]],
    }, volume


def figures(volume: Volume, truth: Volume) -> list[float]:
    """NRMSE, SSIM and the IoU of each channel: a point of the curve."""
    scores = score(volume, truth)
    return [scores.nrmse, scores.ssim, *(scores.iou[name] for name in truth.channels)]


def voids(volume: Volume, particle: PhantomSettings) -> dict[str, Any]:
    """How much of the true void is found, and how much that is none, by the two ways to look for voids."""
    true = make_segmentation(particle)
    found = {}
    for reference in ("bulk", "surrounding"):
        match = match_voids(segment(volume, SegmentSettings(void_reference=reference)), true)
        found[f"void_{reference}"] = {"recall": match.recall, "precision": match.precision}
    return found


def missing(path: Path) -> Iterator[tuple[str, float, int]]:
    """Runs to do: one seed of all, then the other seeds, the comparison with others first."""
    done = {(r["variant"], r["noise"], r["seed"]) for r in records(path)}
    every = [(name, noise, seed) for seed in SEEDS for noise in NOISES for name in VARIANTS]
    first = [run for run in every if run[2] == SEEDS[0] or run[0] in MAIN]
    yield from (run for run in dict.fromkeys([*first, *every]) if run not in done)


def records(path: Path) -> list[dict[str, Any]]:
    """What has been run."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


def table(runs: Sequence[dict[str, Any]]) -> str:
    """Medians over the seeds, one table for each noise."""
    parts = []
    for noise in sorted(NOISES):
        title = "Noise-free (1 %)" if noise == 0.01 else f"{noise:.0%} noise"
        seeds = sorted({run["seed"] for run in runs if run["noise"] == noise})
        parts.append(f"### {title}\n\nMedian over the seeds {', '.join(map(str, seeds))}.\n")
        parts.append(
            "| variant | NRMSE | SSIM | IoU FeO | IoU Fe₃O₄ | void found | end over best on the way | steps | time |\n"
            "| --- | --- | --- | --- | --- | --- | --- | --- | --- |"
        )
        for name in VARIANTS:
            here = [run for run in runs if run["variant"] == name and run["noise"] == noise]
            parts.append(row(name, here))
        parts.append("")
    return "\n".join(parts) + "\n"


def comparison(runs: Sequence[dict[str, Any]]) -> str:
    """NRMSE, SSIM and IoU of DIPm-TV, the best CS-TV and the published recipe; medians of the seeds."""
    ours, tv, published = MAIN[0], MAIN[2], MAIN[3]
    lines = [
        "| noise | | DIPm-TV | best CS-TV | published recipe | the same, stopped by the truth |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for noise in sorted(NOISES):
        of = {name: [r for r in runs if (r["variant"], r["noise"]) == (name, noise)] for name in MAIN}
        for column, merit in enumerate(FIGURES, start=1):
            cells = [np.median([r["curve"][-1][column] for r in of[name]]) for name in (ours, tv, published)]
            oracle = min if merit == "NRMSE" else max
            cells.append(np.median([oracle(p[column] for p in r["curve"]) for r in of[published]]))
            shown = [f"**{cell:.3f}**" if cell == oracle(cells) else f"{cell:.3f}" for cell in cells]
            lines.append(f"| {noise:.0%} | {merit} | {' | '.join(shown)} |")
    return "\n".join(lines) + "\n\n"


def row(name: str, runs: Sequence[dict[str, Any]]) -> str:
    """One line of a table."""
    if not runs:
        return f"| {name} | not run | | | | | | | |"
    found = [sum(hit(run, way) for run in runs) for way in ("bulk", "surrounding")]
    void = " / ".join(f"{n} of {len(runs)}" for n in found)
    if VARIANTS[name].mirrored or not VARIANTS[name].particle.void_radius_nm:
        void = ""
    known = [run for run in runs if "iou" in run]
    timed = [run for run in runs if run["seconds"] is not None]  # None where the machine stood still
    best = "" if "CS-TV" in name else f"{median(runs, lambda r: r['nrmse'] / lowest(r)):.2f}"
    cells = (
        f"{median(runs, lambda r: r['nrmse']):.3f}",
        f"{median(runs, lambda r: r['ssim']):.3f}",
        f"{median(known, lambda r: r['iou']['FeO']):.3f}" if known else "",
        f"{median(known, lambda r: r['iou']['Fe3O4']):.3f}" if known else "",
        void,
        best,
        f"{median(runs, lambda r: r['iterations']):.0f}",
        f"{median(timed, lambda r: r['seconds']):.0f} s" if timed else "",
    )
    return f"| {name} | {' | '.join(cells)} |"


def median(runs: Sequence[dict[str, Any]], of: Any) -> float:
    """Over the seeds; NaN where nothing has been run."""
    return float(np.median([of(run) for run in runs])) if runs else float("nan")


def lowest(run: dict[str, Any]) -> float:
    """The least error on the way: what an oracle would have stopped at."""
    return float(min(point[1] for point in run["curve"]))


def hit(run: dict[str, Any], way: str) -> bool:
    """The void is there in a segmentation."""
    match = run[f"void_{way}"]
    return min(match["recall"] or 0, match["precision"] or 0) >= VOID_FOUND


def figure(runs: Sequence[dict[str, Any]], path: Path) -> None:
    """Error along the run at 27 % noise, and error over noise."""
    from matplotlib.figure import Figure

    shown = [name for name in VARIANTS if ":" not in name]
    colours = dict(zip(shown, [*(f"C{i}" for i in range(10)), "gold", "black"], strict=True))
    drawing = Figure(figsize=(10, 4.6), layout="constrained")
    along, over = drawing.subplots(1, 2)
    for name in shown:
        here = [run for run in runs if run["variant"] == name]
        first = next((run for run in here if run["noise"] == 0.27 and run["seed"] == 0), None)
        if first is not None and len(first["curve"]) > 1:
            along.plot(*np.array([p[:2] for p in first["curve"]]).T, color=colours[name], label=name)
        elif first is not None:
            along.axhline(first["nrmse"], color=colours[name], ls=":", label=name)
        points = [(n, [r for r in here if r["noise"] == n]) for n in sorted(NOISES)]
        known = [(100 * n, median(rs, lambda r: r["nrmse"])) for n, rs in points if rs]
        if known:
            over.plot(*zip(*known, strict=True), "o-", color=colours[name], ms=3)
    along.set(xlabel="step", ylabel="NRMSE", title="Along the run, 27 % noise, first seed", ylim=(0.15, 0.8))
    over.set(xlabel="noise of the maps (%)", ylabel="NRMSE", title="At the end, median of the seeds")
    for axes in (along, over):
        axes.spines[["top", "right"]].set_visible(False)
    drawing.legend(*along.get_legend_handles_labels(), loc="outside right upper", fontsize=7, frameon=False)
    drawing.savefig(path, dpi=110)


def report(runs: Sequence[dict[str, Any]]) -> None:
    """Put table and figure into the documentation."""
    page = DOCS / "ablation.md"
    before, _, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    after = rest.partition(END)[2]
    page.write_text(before + BEGIN + "\n" + comparison(runs) + table(runs) + END + after, encoding="utf-8")
    figure(runs, DOCS / "images" / "ablation.png")


def main() -> None:
    """Run what is missing and report."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("runs", type=Path)
    parser.add_argument("--report-only", action="store_true")
    options = parser.parse_args()
    for name, noise, seed in () if options.report_only else missing(options.runs):
        record = run_one(name, noise, seed)
        with options.runs.open("a", encoding="utf-8") as file:
            file.write(json.dumps(plain(record)) + "\n")
        print(
            f"{name}, {noise:.0%}, seed {seed}: NRMSE {record['nrmse']:.3f}, {record['seconds']:.0f} s",
            flush=True,
        )
    report(records(options.runs))


if __name__ == "__main__":
    main()
