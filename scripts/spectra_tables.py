"""The simulator and the spectra stage to the tables of ``docs/spectra.md``, written into the page between their marks.

``python scripts/spectra_tables.py [name ...]`` makes the named ones, or all: half an hour of one core.
"""

from __future__ import annotations

import re
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from napari_dipmtv import pipeline
from napari_dipmtv.data import F32, F64, SpectrumSeries
from napari_dipmtv.phantom import Simulation, simulate
from napari_dipmtv.settings.simulation import SimulationSettings
from napari_dipmtv.settings.spectra import ReferenceSettings
from napari_dipmtv.spectra import MReferences, Unmixed, given_l_references, m_references, prepare, unmix
from napari_dipmtv.spectra.deconvolve import SINGLE
from napari_dipmtv.spectra.energy_offset import ENERGY_OFFSET
from napari_dipmtv.states import run

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "spectra"))
from coverage_study import LEVELS, coverage  # noqa: E402 - the same study as in the tests

PAGE = ROOT / "docs/spectra.md"
THREE_VIEWS = {"tilt_start_deg": -35, "tilt_stop_deg": 35, "tilt_step_deg": 35}
SPHERE = {"shape": "sphere"}
CLEAN = 1000  # times the dose: what is wrong with maps of so little noise is wrong with their references
PARTICLES: tuple[tuple[str, bool, dict[str, object]], ...] = (
    ("cube of 26 nm", True, {"seed": 381, "phantom": {"size_nm": 26, "shell_nm": 5}}),
    ("sphere with a skin of 2 nm", False,
     {"seed": 382, "dose_e_per_a2": 3e4, "phantom": {**SPHERE, "skin_nm": 2}}),
    ("turned cube", False, {"seed": 383, "dose_e_per_a2": 3e5, "phantom": {"rotation_x_deg": 20}}),
    ("sphere of 26 nm without a void, drift of 2 px", True,
     {"seed": 384, "image_drift_px": 2, "phantom": {**SPHERE, "size_nm": 26, "shell_nm": 5, "void_radius_nm": 0}}),
    ("cube with a skin of 3 nm", False, {"seed": 385, "dose_e_per_a2": 3e4, "phantom": {"skin_nm": 3}}),
    ("cube of 30 nm with a void of 8 nm", True,
     {"seed": 386, "phantom": {"size_nm": 30, "void_radius_nm": 4, "rotation_z_deg": -15}}),
    ("sphere of 30 nm with a shell of 7 nm", True,
     {"seed": 387, "dose_e_per_a2": 3e5, "phantom": {**SPHERE, "size_nm": 30, "skin_nm": 2.5, "shell_nm": 7}}),
    ("cube with a shell of 4 nm, axis -1.5° and -3 px off", False,
     {"seed": 388, "axis_angle_deg": -1.5, "axis_offset_px": -3, "phantom": {"skin_nm": 2, "shell_nm": 4}}),
    ("cube of 24 nm without a void, 15 tilts", True,
     {"seed": 389, "tilt_step_deg": 10, "phantom": {"size_nm": 24, "shell_nm": 4, "void_radius_nm": 0}}),
    ("sphere of 30 nm, drift of 0.3 px", False,
     {"seed": 390, "image_drift_px": 0.3, "phantom": {**SPHERE, "size_nm": 30}}),
    ("cube turned by 30°", False, {"seed": 391, "phantom": {"rotation_y_deg": 30, "rotation_z_deg": 20}}),
    ("turned cube with a shell of 5 nm", True,
     {"seed": 392, "dose_e_per_a2": 3e4, "phantom": {"shell_nm": 5, "rotation_x_deg": -15}}),
)  # fmt: skip


def coverages() -> Iterator[str]:
    """How often the error bars hold the truth, and the bias of the metal."""
    yield "| edge electrons | FeO 68 % / 95 % | Fe₃O₄ 68 % / 95 % | their sum 68 % / 95 % | bias of the sum |"
    yield "| --- | --- | --- | --- | --- |"
    for level in LEVELS:
        found = coverage(level, side=96)
        shares = [f"{a:.1%} / {b:.1%}" for a, b in zip(found.within_68, found.within_95, strict=True)]
        bias = f"{found.bias[2]:+.1%} ± {found.bias_error[2]:.1%}"
        yield f"| {level} | {' | '.join(shares)} | {bias} |"


def systematic() -> Iterator[str]:
    """What is left in whole series of a dose at which noise is nothing, with and without what takes it away."""
    simulation = simulate(SimulationSettings(dose_e_per_a2=1e7, **THREE_VIEWS))
    series = run(prepare(simulation.series)).value
    rounded, recorded = without(series, ENERGY_OFFSET), with_core(series, SINGLE)
    learnt = taught_by_true(series, simulation)
    true = MReferences(simulation.m_references, learnt.window_ev, learnt.exponents, 1.0)
    yield "| | FeO | Fe₃O₄ | scatter of FeO per pixel | chi-square |"
    yield "| --- | --- | --- | --- | --- |"
    for words, spectra, references in (
        ("true references, the drift rounded to whole channels", rounded, true),
        ("true references, references moved by the rest (this version)", series, true),
        ("M references taught by true L, core loss as recorded", series, taught_by_true(recorded, simulation)),
        ("M references taught by true L, plural scattering of the edges known (this version)", series, learnt),
    ):  # fmt: skip
        yield f"| {words} | {' | '.join(judged(run(unmix(spectra, references)).value, simulation))} |"


def at_the_usual_dose() -> Iterator[str]:
    """The last of these at 1e5 e/Å²."""
    simulation = simulate(SimulationSettings(**THREE_VIEWS))
    series = run(prepare(simulation.series)).value
    learnt = taught_by_true(series, simulation)
    feo, fe3o4, scatter, chi_square = judged(run(unmix(series, learnt)).value, simulation)
    same = []
    for found, planted in zip(learnt.spectra, simulation.m_references, strict=True):
        inside = found.energy.window(51, 78)
        wanted = np.interp(found.energy.values[inside], planted.energy.values, planted.intensity)
        same.append(float(np.corrcoef(found.intensity[inside], wanted)[0, 1]))
    yield (
        f"At 1e5 e/Å² taught M references give FeO {feo}, Fe₃O₄ {fe3o4}, a scatter of {scatter} per pixel and a "
        f"chi-square of {chi_square}; they correlate with the true ones by {same[0]:.4f} and {same[1]:.4f}."
    )


def purification() -> Iterator[str]:
    """Bias of both maps by extreme pixels and by voxels, and what is left of the other phase in each reference."""
    yield (
        "| particle | e/Å² | FeO, Fe₃O₄ by extreme pixels | by voxels | by voxels, maps without noise "
        "| other phase left in FeO, in Fe₃O₄ |"
    )
    yield "| --- | --- | --- | --- | --- | --- |"
    with_noise, biases, lefts, stated = [], [], [], []
    for name, by_regions, particle in PARTICLES:
        settings = SimulationSettings.from_mapping(particle)
        simulation = simulate(settings)
        series = run(prepare(simulation.series)).value
        source = simulation.regions if by_regions else "auto"
        states = list(pipeline.reference_states(series, source, ReferenceSettings(purify="volume")))
        by_pixels, by_voxels = (state.snapshot() for state in (states[0], states[-1]))
        with_noise.append(bias(unmixed_with(series, by_voxels), simulation))
        dose = settings.dose_e_per_a2
        clean = run(prepare(simulate(settings.replace(dose_e_per_a2=CLEAN * dose)).series)).value
        found = unmixed_with(clean, by_voxels)
        biases.append(bias(found, simulation))
        lefts.append(left_over(found, simulation))
        stated.append([one.most / 2 for one in by_voxels.l.ranges])
        three = (bias(unmixed_with(clean, by_pixels), simulation), with_noise[-1], biases[-1])
        cells = [f"{one[0]:+.1%}, {one[1]:+.1%}" for one in three]
        left = ", ".join(
            f"{one:+.1%} ± {error:.1%}" for one, error in zip(lefts[-1], stated[-1], strict=True)
        )
        how = "regions" if by_regions else "`auto`"
        yield f"| {name}, {how} | {dose:.0e} | {' | '.join(cells)} | {left} |".replace("e+0", "e")
    yield ""
    yield f"Maps as recorded: {judged_together(with_noise)}."
    yield f"Maps without noise: {judged_together(biases)}."
    pull = np.abs(np.array(lefts) / np.array(stated))
    mean, error = mean_and_error(lefts)
    yield (
        f"Left of the other phase: {mean[0]:+.1%} ± {error[0]:.1%} in FeO, {mean[1]:+.1%} ± {error[1]:.1%} in Fe₃O₄ on "
        f"the average, root mean square {np.sqrt(np.mean(np.square(lefts))):.1%}, within one stated standard deviation "
        f"in {int((pull < 1).sum())} and within two in {int((pull < 2).sum())} of {pull.size} references."
    )


TABLES = {
    "coverage": coverages,
    "systematic": systematic,
    "usual dose": at_the_usual_dose,
    "purification": purification,
}


def unmixed_with(series: SpectrumSeries, references: pipeline.ReferencePair) -> F32:
    """Maps (c, t, y, x) of a series."""
    return run(unmix(series, references.m)).value.maps.data


def mean_and_error(pairs: list[F64]) -> tuple[F64, F64]:
    """Mean (2,) and its standard error (2,) of pairs of numbers."""
    each = np.array(pairs)
    return each.mean(axis=0), each.std(axis=0, ddof=1) / np.sqrt(len(each))


def judged_together(biases: list[F64]) -> str:
    """Mean and root mean square of biases (FeO, Fe3O4), and how many particles have both small."""
    means = " and ".join(f"{m:+.1%} ± {e:.1%}" for m, e in zip(*mean_and_error(biases), strict=True))
    each = np.array(biases)
    rms, small = np.sqrt((each**2).mean(axis=0)), int((np.abs(each) < 0.02).all(axis=1).sum())
    return (
        f"mean {means}, root mean square {rms[0]:.1%} and {rms[1]:.1%}; "
        f"{small} of {len(each)} particles have both within 2%"
    )


def matter(simulation: Simulation) -> np.ndarray:
    """Pixels (t, y, x) with at least half of the metal of the brightest."""
    metal = simulation.fe_maps.data.sum(axis=0)
    return np.asarray(metal > 0.5 * np.percentile(metal, 99))


def bias(found: F32, simulation: Simulation) -> F64:
    """Relative error (2,) of the sum of each map (c, t, y, x) over the matter, that of both together taken as 1."""
    inside, true = matter(simulation), simulation.fe_maps.data
    ratios = found[:, inside].sum(axis=1) / true[:, inside].sum(axis=1)
    return np.asarray(ratios / (found[:, inside].sum() / true[:, inside].sum()) - 1, dtype=np.float64)


def left_over(found: F32, simulation: Simulation) -> F64:
    """Share (2,) of the other phase that is left in the reference of each, by the true maps."""
    inside = matter(simulation)
    true = simulation.fe_maps.data[:, inside].astype(np.float64)
    mixing = np.linalg.lstsq(true.T, found[:, inside].T.astype(np.float64), rcond=None)[0]  # (phase, map)
    shares = np.linalg.inv(mixing / mixing.sum(axis=1, keepdims=True))  # rows: references in terms of phases
    return np.array([shares[0, 1], shares[1, 0]])


def judged(unmixed: Unmixed, simulation: Simulation) -> tuple[str, str, str, str]:
    """Bias of both maps, with the worst view of FeO, the scatter of FeO per pixel, and the chi-square."""
    inside, true, found = matter(simulation), simulation.fe_maps.data, unmixed.maps.data
    whole = found[:, inside].sum() / true[:, inside].sum()
    views = [f[m].sum() / t[m].sum() / whole - 1 for f, t, m in zip(found[0], true[0], inside, strict=True)]
    worst = max(views, key=abs)
    feo, fe3o4 = bias(found, simulation)
    scatter = np.sqrt(np.mean((found[0] / whole - true[0])[inside] ** 2)) / true[0][inside].mean()
    chi_square = float(np.median(unmixed.chi_square[inside]))
    return f"{feo:+.1%} (worst view {worst:+.1%})", f"{fe3o4:+.1%}", f"{scatter:.1%}", f"{chi_square:.2f}"


def taught_by_true(series: SpectrumSeries, simulation: Simulation) -> MReferences:
    """M references that the true L references teach."""
    return m_references(series, given_l_references(series, simulation.l_references))


def without(series: SpectrumSeries, key: str) -> SpectrumSeries:
    """The series with one thing forgotten that its low loss knows."""
    pairs = (
        replace(
            pair,
            low_loss=pair.low_loss.replace(
                metadata={name: value for name, value in pair.low_loss.metadata.items() if name != key}
            ),
        )
        for pair in series.tilts
    )
    return SpectrumSeries(tuple(pairs))


def with_core(series: SpectrumSeries, key: str) -> SpectrumSeries:
    """The series with its core loss taken for something."""
    pairs = (
        replace(pair, core_loss=pair.core_loss.replace(metadata={**pair.core_loss.metadata, key: True}))
        for pair in series.tilts
    )
    return SpectrumSeries(tuple(pairs))


def put(name: str, lines: Iterator[str]) -> None:
    """Write lines between ``<!-- table: name -->`` and ``<!-- end -->`` of the page, and print them as they come."""
    made = []
    for line in lines:
        print(line, flush=True)
        made.extend([line] if line.startswith("|") else textwrap.wrap(line, 124) or [""])
    mark = f"<!-- table: {name} -->"
    page = PAGE.read_text(encoding="utf-8")
    text, count = re.subn(
        rf"(?s){re.escape(mark)}\n.*?<!-- end -->", lambda _: "\n".join((mark, *made, "<!-- end -->")), page
    )
    if count != 1:
        raise SystemExit(f"{PAGE}: expected one '{mark}', got {count}. Put it where the table belongs.")
    PAGE.write_text(text, encoding="utf-8")


def main(names: list[str]) -> None:
    """Make the named tables, or all."""
    for name in names or TABLES:
        put(name, TABLES[name]())


if __name__ == "__main__":
    main(sys.argv[1:])
