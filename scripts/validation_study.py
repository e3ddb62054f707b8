"""Does the trust study keep its promises? Random particles of known truth to coverage, calibration, false alarm, power.

    python scripts/validation_study.py OUT --phantoms 20 --field 32 --method cs-tv

Each particle is one line of ``OUT/records.jsonl``; a study that was interrupted goes on where it was, and one that is
asked for more particles keeps those it has. ``OUT/summary.json`` holds what came out.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from scipy.ndimage import binary_dilation

from napari_dipmtv.data import TiltSeries, Volume
from napari_dipmtv.inspect import segment
from napari_dipmtv.io.guard import plain
from napari_dipmtv.phantom import count_series, make_segmentation, make_volume, true_measures
from napari_dipmtv.settings.phantom import PhantomSettings
from napari_dipmtv.settings.tomo import DipSettings, SirtSettings
from napari_dipmtv.settings.trust import FAST_CS_TV, SHORT_DIPM_TV
from napari_dipmtv.states import run
from napari_dipmtv.trust.calibration import covered, reliability
from napari_dipmtv.trust.cavity_test import cavity_test
from napari_dipmtv.trust.ensemble import ensemble
from napari_dipmtv.trust.null_test import null_test
from napari_dipmtv.trust.planted import grain_field
from napari_dipmtv.trust.repeats import Maker
from napari_dipmtv.trust.skin import find_skin
from napari_dipmtv.trust.void import find_void

TILTS = tuple(float(t) for t in np.linspace(-70, 70, 9))
TINY_DIP = DipSettings(iterations=150, filters=(8, 16), skips=(4, 4), network_input="random", average=0.9)
MAKERS = {
    "sirt": Maker("sirt", SirtSettings(iterations=20)),
    "cs-tv": Maker("cs-tv", FAST_CS_TV),
    "tiny-dip": Maker("dipm-tv", TINY_DIP),
    "short-dipm-tv": Maker("dipm-tv", SHORT_DIPM_TV),
}


def particle(index: int, field: int, void_nm: float) -> tuple[PhantomSettings, float, np.random.Generator]:
    """A random particle, its noise level, and the random numbers to go on with."""
    random = np.random.default_rng([index, field])
    size = field * random.uniform(0.52, 0.64)
    at = random.uniform(-0.08, 0.08, 3) * size
    settings = PhantomSettings(
        shape="sphere" if index % 3 == 2 else "cube",
        field_voxels=field,
        size_nm=size,
        skin_nm=random.uniform(1.2, 2.2),
        shell_nm=random.uniform(0.12, 0.2) * size,
        void_radius_nm=void_nm / 2,
        void_x_nm=at[0],
        void_y_nm=at[1],
        void_z_nm=at[2],
        rotation_y_deg=random.uniform(-20, 20),
        rotation_z_deg=random.uniform(-10, 10),
    )
    return settings, float(random.uniform(0.12, 0.25)), random


def measured(settings: PhantomSettings, noise: float, seed: int, maker: Maker) -> tuple[TiltSeries, Volume]:
    """Counted projections and their reconstruction."""
    series = count_series(make_volume(settings), TILTS, relative_noise=noise, seed=seed)
    *_, last = maker.states(series)
    return series, last.snapshot()


def coverage_of(index: int, maker: Maker, options: argparse.Namespace) -> dict[str, Any]:
    """Do the intervals hold the true volumes, and are the probabilities of the phases kept?"""
    settings, noise, _ = particle(index, options.field, 0.16 * options.field)
    series, volume = measured(settings, noise, index, maker)
    states = ensemble(
        series, volume, maker, members=options.members, resampling=options.resampling, seed=index
    )
    found = run(states).value
    phases, known = make_segmentation(settings), truths(settings)
    near = binary_dilation(phases.labels > 0, iterations=2)
    errors = {
        name: reliability(share, phases.mask(name), near).error for name, share in found.probability.items()
    }
    widths = {i.name: [i.value, i.mean, i.std] for i in found.intervals if i.name in known}
    return {
        "held": covered(found.intervals, known),
        "truth": known,
        "found": widths,
        "calibration_error": errors,
        "noise": noise,
    }


def truths(settings: PhantomSettings) -> dict[str, float]:
    """What the measures should be."""
    true = true_measures(settings)
    return {
        "FeO core volume": true.core_nm3,
        "Fe3O4 shell volume": true.shell_nm3,
        "FeO skin volume": true.skin_nm3,
        "void volume": true.void_nm3,
        "particle volume": true.core_nm3 + true.shell_nm3 + true.skin_nm3 + true.void_nm3,
        "FeO skin thickness": true.skin_nm,
        "Fe3O4 shell thickness": settings.shell_nm,
        "(FeO core + FeO skin) : Fe3O4 shell": (true.core_nm3 + true.skin_nm3) / true.shell_nm3,
    }


def null_of(index: int, maker: Maker, options: argparse.Namespace, void_nm: float) -> dict[str, Any]:
    """One null test of the largest void, or of the emptiest place where none is segmented."""
    settings, noise, _ = particle(index, options.field, void_nm)
    series, volume = measured(settings, noise, 1000 + index, maker)
    feature, note = find_void(volume, segment(volume), options.probe)
    found = run(null_test(series, feature, volume, maker, repeats=options.repeats, seed=index)).value
    return {
        "p": found.p_anywhere,
        "p_there": found.p_there,
        "segmented": not note.startswith("No void"),
        "void_nm": void_nm,
        "noise": noise,
    }


def false_alarm(index: int, maker: Maker, options: argparse.Namespace) -> dict[str, Any]:
    """A null test where there is no void."""
    return null_of(index, maker, options, 0.0)


def skin_none(index: int, maker: Maker, options: argparse.Namespace) -> dict[str, Any]:
    """A null test of the skin that is read off a particle that has none."""
    settings, noise, _ = particle(index, options.field, 0.0)
    series, volume = measured(settings.replace(skin_nm=0), noise, 3000 + index, maker)
    skin = find_skin(volume, segment(volume))
    found = run(null_test(series, skin, volume, maker, repeats=options.repeats, seed=index)).value
    return {"p": found.p_anywhere, "thickness_nm": found.observed, "noise": noise}


def false_alarm_grainy(index: int, maker: Maker, options: argparse.Namespace) -> dict[str, Any]:
    """A null test of a void where there is none, but the densities of the phases fluctuate by 10 %."""
    settings, noise, random = particle(index, options.field, 0.0)
    even = make_volume(settings)
    field = 1 + np.float32(0.1) * grain_field(even.data.shape[1:], random)
    series = count_series(
        even.replace(data=even.data * field), TILTS, relative_noise=noise, seed=4000 + index
    )
    *_, last = maker.states(series)
    volume = last.snapshot()
    feature, note = find_void(volume, segment(volume), options.probe)
    found = run(null_test(series, feature, volume, maker, repeats=options.repeats, seed=index)).value
    return {"p": found.p_anywhere, "segmented": not note.startswith("No void"), "noise": noise}


def power(index: int, maker: Maker, options: argparse.Namespace) -> dict[str, Any]:
    """A null test of a void of two and a half to seven voxels, in turn."""
    sizes = np.linspace(2.5, 7.0, 4)
    return null_of(index, maker, options, float(min(sizes[index % 4], 0.28 * options.field)))


def likelihood_of(index: int, maker: Maker, options: argparse.Namespace, void_nm: float) -> dict[str, Any]:
    """One likelihood test of a void, its refits by the same method."""
    settings, noise, _ = particle(index, options.field, void_nm)
    series, volume = measured(settings, noise, 2000 + index, maker)
    states = cavity_test(series, volume, maker, repeats=200, planted=20, refits=options.refits, seed=index)
    found = run(states).value
    return {
        "evidence": found.evidence,
        "demanded": found.exceeds,
        "p_plug_in": found.p_plug_in,
        "p_refitted": found.p_refitted,
        "segmented": bool(np.isfinite(found.apart_nm)),
        "smallest_nm": found.smallest_nm,
        "void_nm": void_nm,
        "noise": noise,
    }


def likelihood_none(index: int, maker: Maker, options: argparse.Namespace) -> dict[str, Any]:
    """The likelihood of a void where there is none."""
    return likelihood_of(index, maker, options, 0.0)


def likelihood_void(index: int, maker: Maker, options: argparse.Namespace) -> dict[str, Any]:
    """The likelihood of a void of a sixth of the field."""
    return likelihood_of(index, maker, options, options.field / 6)


PARTS: dict[str, Callable[[int, Maker, argparse.Namespace], dict[str, Any]]] = {
    "coverage": coverage_of,
    "false-alarm": false_alarm,
    "false-alarm-grainy": false_alarm_grainy,
    "skin-none": skin_none,
    "power": power,
    "likelihood-none": likelihood_none,
    "likelihood-void": likelihood_void,
}


def main(options: argparse.Namespace) -> None:
    """Run what is missing, then sum up."""
    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / "records.jsonl"
    key = [
        options.method,
        options.field,
        options.members,
        options.repeats,
        options.resampling,
        options.probe,
        options.refits,
    ]
    done = list(records(path, key))
    seen = {(record["part"], record["index"]) for record in done}
    asked = range(options.first, options.first + options.phantoms)
    for index in asked:
        for part in options.parts:
            if (part, index) not in seen:
                record = {"part": part, "index": index, "key": key}
                record |= plain(PARTS[part](index, MAKERS[options.method], options))
                done.append(record)
                with path.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(record) + "\n")
                print(part, index, flush=True)
    text = json.dumps(plain(summary(done, asked)), indent=1)
    (options.out / "summary.json").write_text(text, encoding="utf-8")
    print(text)


def records(path: Path, key: list[Any]) -> Iterator[dict[str, Any]]:
    """Lines of the same study; a line that was cut off by an interruption is done again."""
    if not path.is_file():
        return
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            record = json.loads(line)
        except json.JSONDecodeError:
            continue
        if record["key"] == key:
            yield record


def summary(done: list[dict[str, Any]], asked: range) -> dict[str, Any]:
    """Shares of the promises that were kept."""
    part = {name: [r for r in done if r["part"] == name and r["index"] in asked] for name in PARTS}
    out: dict[str, Any] = {"phantoms": {name: len(rows) for name, rows in part.items()}}
    if part["coverage"]:
        out["intervals"] = intervals(part["coverage"])
        names = part["coverage"][0]["calibration_error"]
        out["calibration error"] = {
            name: float(np.mean([r["calibration_error"].get(name, 0.0) for r in part["coverage"]]))
            for name in names
        }
    for name in ("false-alarm", "false-alarm-grainy", "skin-none"):
        if part[name]:
            out[f"{name} at 5 %"] = float(np.mean([r["p"] <= 0.05 for r in part[name]]))
    for name in ("likelihood-none", "likelihood-void"):
        if part[name]:
            out[name] = {
                "demanded": float(np.mean([r["demanded"] for r in part[name]])),
                "segmented": float(np.mean([r["segmented"] for r in part[name]])),
                "plug-in p <= 0.05": float(np.mean([r["p_plug_in"] <= 0.05 for r in part[name]])),
            }
    if part["power"]:
        sizes = sorted({round(r["void_nm"], 3) for r in part["power"]})
        out["power by diameter"] = {
            f"{size:g}": float(
                np.mean([r["p"] <= 0.05 for r in part["power"] if round(r["void_nm"], 3) == size])
            )
            for size in sizes
        }
    return out


def intervals(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """How often the 68 and 95 % intervals of each measure hold, and its relative errors: stated, found, segmented."""
    out: dict[str, Any] = {}
    for name in dict.fromkeys(name for row in rows for name in row["held"]):
        there = [row for row in rows if name in row["held"]]
        value, mean, std = np.array([[*row["found"][name]] for row in there]).T
        true = np.array([row["truth"][name] for row in there])
        out[name] = {
            "particles": len(there),
            "held": np.mean([row["held"][name] for row in there], axis=0),
            "bias": np.mean(mean / true - 1),
            "rms error": np.sqrt(np.mean((mean / true - 1) ** 2)),
            "stated": np.sqrt(np.mean((std / true) ** 2)),
            "rms error as segmented": np.sqrt(np.mean((value / true - 1) ** 2)),
        }
    held = [pair for row in rows for pair in row["held"].values()]
    return {**out, "all": {"intervals": len(held), "held": np.mean(np.array(held, float), axis=0)}}


def arguments() -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path)
    parser.add_argument("--phantoms", type=int, default=20)
    parser.add_argument("--first", type=int, default=0, help="number of the first particle")
    parser.add_argument("--field", type=int, default=32, help="voxels along each edge")
    parser.add_argument("--members", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=39)
    parser.add_argument("--refits", type=int, default=3, help="of the likelihood test")
    parser.add_argument("--probe", type=float, default=4.0, help="nm, where no void is segmented")
    parser.add_argument("--method", choices=list(MAKERS), default="cs-tv")
    parser.add_argument("--resampling", choices=["planted", "bootstrap"], default="planted")
    parser.add_argument("--parts", nargs="+", choices=list(PARTS), default=list(PARTS))
    return parser.parse_args()


if __name__ == "__main__":
    main(arguments())
