"""Rows of `validation_runs.py`, and those of `ablation.py`, to the tables and the figure of docs/validation.md."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from validation_runs import EXPERIMENT, FITTED, FRESH, MAKERS, NOISES, SKINS_NM, VOIDS_NM

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "validation.md"
ABLATION = ROOT / "benchmarks" / "ablation_runs.jsonl"
BEGIN, END = "<!-- written by scripts/validation_page.py -->", "<!-- end -->"
MEASURED = (*MAKERS, FITTED)
# Okabe-Ito, told apart by all eyes
COLOURS = {"SIRT": "#888888", "CS-TV": "#0072b2", "DIPm-TV": "#d55e00", FITTED: "#009e73"}
FOUND = 0.25  # of the true void is found, and of what is found is true
MIRRORED = (
    "DIPm-TV",
    "a network per channel (DIP-TV)",
    "mirrored channel: DIPm-TV",
    "mirrored channel: DIP-TV",
)
Row = dict[str, Any]


def report(rows: Sequence[Row]) -> None:
    """Put tables and figure into the documentation."""
    text = PAGE.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    after = rest.partition(END)[2]
    parts = (
        published(rows),
        skins(rows),
        voids(rows),
        ratios(rows),
        unseen(rows),
        detection(rows),
        calibration(rows),
        mirrored(_ablation()),
    )
    PAGE.write_text(before + BEGIN + "\n\n" + "\n\n".join(parts) + "\n\n" + END + after, encoding="utf-8")
    figure(rows, ROOT / "docs" / "images" / "validation.png")


def published(rows: Sequence[Row]) -> str:
    """Scores on the published phantom by noise and method."""
    lines = []
    for noise in sorted(NOISES):
        for method in MAKERS:
            here = _of(rows, f"published {noise:g} | {method}")
            known = [
                _mean(here, lambda r, k=k: r[k])
                for k in ("nrmse", "ssim", "published_nrmse", "published_ssim")
            ]
            axes = [_mean(here, lambda r, a=a: r["published_resolution_nm"][a]) for a in "xyz"]
            fsc = [_mean(here, lambda r, a=a: r.get("fsc_nm", {}).get(a)) for a in ("all", "x", "y", "z")]
            cells = [f"{noise:.0%}", method, *_cells(known, ".3f"), _slashed(axes)]
            cells += [
                _slashed(fsc),
                *_cells([_mean(here, lambda r: r["edge_nm"])], ".1f"),
                str(len(here)),
            ]
            lines.append(cells)
    heads = ["noise", "method", "NRMSE", "SSIM", "published NRMSE", "published SSIM"]
    heads += ["published resolution x / y / z (nm)", "FSC all / x / y / z (nm)", "edge (nm)", "seeds"]
    return "### The published comparison\n\n" + _table(heads, lines)


def skins(rows: Sequence[Row]) -> str:
    """Found thickness beside the true one."""
    return "### Thin skins\n\nFound thickness in nm, which are voxels; mean of the seeds.\n\n" + _by_method(
        rows,
        "true skin",
        [(f"{s:g} nm", f"skin {s:g}") for s in SKINS_NM],
        lambda here: _cells([_mean(here, lambda r: r["skin_nm"])], ".2f")[0],
    )


def voids(rows: Sequence[Row]) -> str:
    """In how many seeds each void is found, and the error of its volume there."""

    def cell(here: Sequence[Row]) -> str:
        there = [row for row in here if found_void(row)]
        error = _mean(there, lambda r: 100 * (r["void_nm3"] / r["true_void_nm3"] - 1))
        return f"{len(there)} of {len(here)}" + (f", volume {error:+.0f} %" if there else "")

    words = f"Found: at least {FOUND:.0%} of the void is found, and {FOUND:.0%} of what is found is true."
    cases = [(f"{d:g} nm", f"void {d:g}") for d in VOIDS_NM]
    return f"### Voids\n\n{words}\n\n" + _by_method(rows, "diameter", cases, cell)


def ratios(rows: Sequence[Row]) -> str:
    """Error of FeO : Fe3O4 over all particles with a skin of 1.5 nm."""
    errors = {
        method: [
            100 * abs(row["ratio"] / row["true_ratio"] - 1)
            for d in VOIDS_NM
            for row in _of(rows, f"void {d:g} | {method}")
            if row["ratio"] is not None
        ]
        for method in MEASURED
    }
    cells = [
        [method, f"{np.mean(e):.0f} %", f"{max(e):.0f} %", str(len(e))] if e else [method, "", "", "0"]
        for method, e in errors.items()
    ]
    return (
        "### FeO : Fe₃O₄\n\nError of the ratio of volumes, over the particles of the last table.\n\n"
        + _table(["method", "mean", "worst", "particles"], cells)
    )


def unseen(rows: Sequence[Row]) -> str:
    """Every error of the fitted particle where nothing was looked at before, and their root mean squares."""
    lines = []
    for noise, method, _ in sorted(FRESH):
        here = _of(rows, f"fresh {noise:g} | {method}")
        errors = [_errors_of(row) for row in here]
        for row, (void, ratio, skin) in zip(here, errors, strict=True):
            shown = "ball" if row["shape"] == "sphere" else row["shape"]
            found = "not found" if void == -100 else f"{void:+.0f} %"
            bound = "–" if row["void_spread"] is None else f"{100 * row['void_spread']:.0f} %"
            lines.append(
                [f"{noise:.0%}", method, f"{row['seed']}, {shown}", f"{row['void_diameter_nm']:.1f}", found, bound,
                 f"{ratio:+.1f} %", f"{skin:+.2f}", f"{row['misfit']:.2f}"]
            )  # fmt: skip
        if len(here) > 2:
            there = [void for void, *_ in errors if void != -100]
            bounds = [row["void_spread"] for row in here if row["void_spread"] is not None]
            rms = [
                float(np.sqrt(np.mean(np.square(e))))
                for e in (there, *list(zip(*errors, strict=True))[1:], bounds)
            ]
            lines.append(
                [f"**{noise:.0%}**", method, "**root mean square**", f"{len(there)} of {len(here)}",
                 f"**{rms[0]:.0f} %**", f"**{100 * rms[3]:.0f} %**", f"**{rms[1]:.1f} %**", f"**{rms[2]:.2f}**", ""]
            )  # fmt: skip
    heads = [
        "noise",
        "start",
        "particle",
        "true void (voxels)",
        "void volume",
        "bound",
        "FeO : Fe₃O₄",
        "skin (voxels)",
    ]
    words = (
        "Errors of the fitted particle. None of these particles was looked at while the fit was made. The bound is the "
        "standard deviation that the noise alone leaves in the volume of the void, every boundary and density free."
    )
    return f"### Fresh particles\n\n{words}\n\n" + _table([*heads, "misfit"], lines)


def _errors_of(row: Row) -> tuple[float, float, float]:
    """Of the volume of the void and the ratio in per cent, of the skin in voxels."""
    return (
        100 * (row["void_nm3"] / row["true_void_nm3"] - 1),
        100 * (row["ratio"] / row["true_ratio"] - 1),
        row["skin_nm"] - row["true_skin_nm"],
    )


def detection(rows: Sequence[Row]) -> str:
    """The smallest void that the study says the data show."""
    lines = [
        [
            f"{noise:.0%}",
            str(row["seed"]),
            *(_smallest(row[way]) for way in ("repeats", "likelihood")),
            f"{row['evidence']:.0f}",
            "yes" if row["demanded"] else "no",
        ]
        for noise in sorted(NOISES)
        for row in _of(rows, f"detection {noise:g}")
    ]
    heads = [
        "noise",
        "seed",
        "by repeats of SIRT",
        "by likelihood",
        "evidence for the void of 5 nm (nats)",
        "demanded",
    ]
    return "### Detection\n\nDiameter found in 90 % of the cases, with its 95 % interval.\n\n" + _table(
        heads, lines
    )


def calibration(rows: Sequence[Row]) -> str:
    """Expected calibration error of each phase, mean over the particles."""
    here = _of(rows, "calibration")
    names = [key for key in (here[0] if here else {}) if key not in ("name", "seed")]
    lines = [[name, f"{np.mean([row[name]['error'] for row in here if name in row]):.3f}"] for name in names]
    words = f"Expected calibration error near the particle; {len(here)} particles of 32³ voxels, SIRT, 10 members."
    return f"### Calibration\n\n{words}\n\n" + _table(["probability of", "error"], lines)


def mirrored(runs: Sequence[Row]) -> str:
    """Does the common network invent a correlation that is not there?"""
    lines = []
    for noise in sorted({run["noise"] for run in runs}):
        here = [
            [run["nrmse"] for run in runs if run["variant"] == name and run["noise"] == noise]
            for name in MIRRORED
        ]
        if all(here):
            lines.append(
                [f"{noise:.0%}", *(f"{np.median(values):.3f}" for values in here), str(min(map(len, here)))]
            )
    heads = [
        "noise",
        "as it is: common network",
        "as it is: one per channel",
        "mirrored: common network",
        "mirrored: one per channel",
        "seeds",
    ]
    return "### Broken correlation\n\nNRMSE; Fe₃O₄ mirrored, so that FeO says nothing about it.\n\n" + _table(
        heads, lines
    )


def found_void(row: Row) -> bool:
    """The void is there in the segmentation."""
    return min(row["void_recall"] or 0, row["void_precision"] or 0) >= FOUND


def figure(rows: Sequence[Row], path: Path) -> None:
    """Scores, skins and voids beside the truth, detection curves, reliability."""
    from matplotlib.figure import Figure

    drawing = Figure(figsize=(12, 6.6), layout="constrained")
    noise, skin, void, curves, kept, none = drawing.subplots(2, 3).flat
    none.axis("off")
    for method, colour in COLOURS.items():
        _line(
            noise,
            rows,
            [(100 * n, f"published {n:g} | {method}") for n in sorted(NOISES)],
            lambda r: r["nrmse"],
            colour,
            method,
        )
        _line(
            skin,
            rows,
            [(s, f"skin {s:g} | {method}") for s in SKINS_NM],
            lambda r: r["skin_nm"],
            colour,
            method,
        )
        _line(
            void,
            rows,
            [(d, f"void {d:g} | {method}") for d in VOIDS_NM],
            lambda r: r["void_nm3"] if found_void(r) else 0.0,
            colour,
            method,
        )
    skin.plot(SKINS_NM, SKINS_NM, "k:", linewidth=0.8)
    void.plot(VOIDS_NM, [np.pi / 6 * d**3 for d in VOIDS_NM], "k:", linewidth=0.8)
    noise.set(xlabel="noise of the maps (%)", ylabel="NRMSE", title="Published phantom")
    skin.set(xlabel="true skin (nm)", ylabel="found (nm)", title=f"Thin skins, {EXPERIMENT:.0%} noise")
    void.set(
        xlabel="true diameter (nm)", ylabel="void volume found (nm³)", title=f"Voids, {EXPERIMENT:.0%} noise"
    )
    _detection_curves(curves, rows)
    _reliability(kept, rows)
    for axes in (noise, skin, void, curves, kept):
        axes.spines[["top", "right"]].set_visible(False)
    none.legend(
        *skin.get_legend_handles_labels(), loc="upper left", frameon=False, title="left to right, above"
    )
    drawing.savefig(path, dpi=110)


def _detection_curves(axes: Any, rows: Sequence[Row]) -> None:
    for colour, noise in zip(("C0", "C1", "C2", "C3"), sorted(NOISES), strict=True):
        for way, style in (("repeats", "o-"), ("likelihood", "x--")):
            here = [row[way] for row in _of(rows, f"detection {noise:g}")]
            if here:
                share = np.sum([one["found"] for one in here], axis=0) / np.sum(
                    [one["tried"] for one in here], axis=0
                )
                label = f"{noise:.0%}" if way == "repeats" else None
                axes.plot(here[0]["sizes_nm"], share, style, color=colour, ms=4, label=label)
    axes.axhline(0.9, color="grey", linewidth=0.8, linestyle=":")
    axes.set(
        xlabel="planted diameter (nm)",
        ylabel="share found",
        title="Detection: SIRT repeats (o), likelihood (x)",
    )
    axes.legend(frameon=False, fontsize=8, title="noise")


def _reliability(axes: Any, rows: Sequence[Row]) -> None:
    here = _of(rows, "calibration")
    for name in [key for key in (here[0] if here else {}) if key not in ("name", "seed")]:
        bins = [row[name] for row in here if name in row]
        voxels = np.array([one["voxels"] for one in bins], float)
        stated, observed = (np.array([one[key] for one in bins], float) for key in ("stated", "observed"))
        there = voxels.sum(axis=0) > 0
        total = voxels.sum(axis=0)[there]
        along, up = (np.nansum(one * voxels, axis=0)[there] / total for one in (stated, observed))
        axes.plot(along, up, "o-", ms=3, label=name)
    axes.plot([0, 1], [0, 1], "k:", linewidth=0.8)
    axes.set(xlabel="stated probability", ylabel="share that is true", title="Calibration of the voxels")
    axes.legend(frameon=False, fontsize=8)


def _line(
    axes: Any,
    rows: Sequence[Row],
    cases: Sequence[tuple[float, str]],
    of: Callable[[Row], Any],
    colour: str,
    label: str,
) -> None:
    known = [(x, _mean(_of(rows, name), of)) for x, name in cases]
    points = [(x, y) for x, y in known if y is not None]
    if points:
        axes.plot(*zip(*points, strict=True), "o-", ms=4, color=colour, label=label)


def _of(rows: Sequence[Row], name: str) -> list[Row]:
    return [row for row in rows if row["name"] == name]


def _mean(rows: Sequence[Row], of: Callable[[Row], Any]) -> float | None:
    """Over the rows that have the number; None where none has."""
    values = [value for value in map(of, rows) if value is not None]
    return float(np.mean(values)) if values else None


def _cells(values: Sequence[float | None], form: str) -> list[str]:
    return ["–" if value is None else f"{value:{form}}" for value in values]


def _slashed(values: Sequence[float | None]) -> str:
    return " / ".join(_cells(values, ".1f")) if any(value is not None for value in values) else "–"


def _smallest(found: Row) -> str:
    if found["smallest_nm"] is None:
        return "none of the sizes tried"
    high = "more than tried" if found["high_nm"] is None else f"{found['high_nm']:.1f}"
    return f"{found['smallest_nm']:.1f} nm ({found['low_nm']:.1f} … {high})"


def _by_method(
    rows: Sequence[Row], head: str, cases: Sequence[tuple[str, str]], cell: Callable[[Sequence[Row]], str]
) -> str:
    lines = []
    for shown, name in cases:
        here = [_of(rows, f"{name} | {method}") for method in MEASURED]
        lines.append(
            [
                shown,
                *(cell(some) if some else "not run" for some in here),
                " / ".join(str(len(some)) for some in here),
            ]
        )
    return _table([head, *MEASURED, "seeds"], lines)


def _table(heads: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    rule = "| " + " | ".join("---" for _ in heads) + " |"
    return "\n".join(
        ["| " + " | ".join(heads) + " |", rule, *("| " + " | ".join(line) + " |" for line in lines)]
    )


def _ablation() -> list[Row]:
    return (
        [json.loads(line) for line in ABLATION.read_text(encoding="utf-8").splitlines()]
        if ABLATION.is_file()
        else []
    )
