"""Time unmixing beside HyperSpy's bounded multifit: the same model, the same counts, the same weights.

Nine tilts of 64 x 64 pixels and 1024 channels are fitted whole by us; HyperSpy fits 16 x 16 of these pixels and
its time is scaled by their number. Prints a table; ``--write`` puts it into ``benchmarks/results.md``.
"""

from __future__ import annotations

import report  # first: pins the threads

# isort: split

import sys
import time
import warnings
from pathlib import Path

import numpy as np

from napari_dipmtv.data import DualSpectrumImage, EnergyAxis, ReferenceSpectrum, SpectrumImage, SpectrumSeries
from napari_dipmtv.settings.spectra import UnmixSettings
from napari_dipmtv.spectra import MReferences, unmix
from napari_dipmtv.states import run

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "spectra"))
from hyperspy_oracle import hyperspy_fit  # noqa: E402 - the same oracle as in the tests
from synthetic_spectra import m_edge  # noqa: E402

AXIS = EnergyAxis(42.0, 0.05, 1024)
TILTS, PIXELS, PART = 9, 64, 16
FEW, FEW_COUNTS = (
    8,
    50.0,
)  # pixels a side, and edge counts, of the comparison by equal statistics: it takes its time
EXPONENTS = (1.5, 3.5)
HEAD = (
    *("components", "edge counts per pixel", "ours", "HyperSpy", "ratio"),
    *(
        "our error",
        "HyperSpy's error",
        "our bias",
        "HyperSpy's bias",
        "error by Poisson likelihood: ours, HyperSpy's",
    ),
)


def problem(phases: int, counts: float) -> tuple[SpectrumSeries, MReferences, np.ndarray]:
    """Counted spectra, the references behind them and the true abundances (c, t, y, x)."""
    rng = np.random.default_rng(phases)
    edges = [m_edge(AXIS.values, 54.8 - i, 0.3 + 0.2 * i) for i in range(phases)]
    spectra = tuple(ReferenceSpectrum(f"phase {i}", e / e.sum(), AXIS) for i, e in enumerate(edges))
    references = MReferences(spectra, (AXIS.start_ev, AXIS.stop_ev), EXPONENTS, 1.0)
    basis = references.basis(AXIS).spectra
    truth = rng.uniform(0, 2 * counts / phases, (phases, TILTS, PIXELS, PIXELS))
    background = rng.uniform(0.2, 0.5, (len(EXPONENTS), TILTS, PIXELS, PIXELS)) * counts / AXIS.size
    images = []
    for t in range(TILTS):
        weights = np.concatenate([background[:, t], truth[:, t]])
        image = rng.poisson(np.einsum("kyx,ke->yxe", weights, basis))
        low = SpectrumImage(image, AXIS, 1.0, float(t))
        images.append(DualSpectrumImage(low, low))
    return SpectrumSeries(tuple(images)), references, truth


def by_likelihood(series: SpectrumSeries, references: MReferences) -> np.ndarray:
    """Abundances (c, y, x) of a few pixels by HyperSpy's Poisson likelihood, bounded at zero."""
    basis, few = references.basis(AXIS).spectra, series.tilts[0].low_loss.counts[:FEW, :FEW]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found, _ = hyperspy_fit(
            few,
            AXIS.values,
            basis,
            np.maximum(few, 1.0),
            optimizer="L-BFGS-B",
            lowest=[0.0] * len(basis),
            bounded=True,
            loss_function="ML-poisson",
            options={"maxiter": 1000, "maxfun": 100_000, "ftol": 1e-12, "gtol": 1e-6},
        )
    return np.moveaxis(found[..., len(EXPONENTS) :], -1, 0)


def row(phases: int, counts: float) -> tuple[str, ...]:
    """One line of the table."""
    series, references, truth = problem(phases, counts)
    settings = UnmixSettings(plural_scattering=False, abundances="non-negative")
    seconds = report.seconds(lambda: run(unmix(series, references, settings)))
    ours = run(unmix(series, references, settings)).value.maps.data
    basis = references.basis(AXIS).spectra
    part = series.tilts[0].low_loss.counts[:PART, :PART]
    variance = np.maximum(part, 1.0)  # what HyperSpy's users have: the counts themselves
    begin = time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs, _ = hyperspy_fit(
            part, AXIS.values, basis, variance, optimizer="lm", lowest=[0.0] * len(basis), bounded=True
        )
    scale = TILTS * PIXELS**2 / PART**2
    other = (time.process_time() - begin) * scale
    inside = truth[:, 0, :PART, :PART]
    apart = [
        found - inside
        for found in (ours[:, 0, :PART, :PART], np.moveaxis(theirs[..., len(EXPONENTS) :], -1, 0))
    ]
    errors = [np.sqrt(np.mean(one**2)) / counts for one in apart]
    biases = [one.sum(axis=0).mean() / counts for one in apart]  # of all references together
    equal = "–"
    if counts == FEW_COUNTS:
        few = np.s_[:, :FEW, :FEW]
        both = (apart[0][few], by_likelihood(series, references) - inside[few])
        equal = ", ".join(f"{np.sqrt(np.mean(one**2)) / counts:.3f}" for one in both)
    return (
        f"{len(basis)}",
        f"{counts:g}",
        f"{seconds:.2f} s",
        f"{other:.0f} s",
        f"{other / seconds:.0f}",
        f"{errors[0]:.3f}",
        f"{errors[1]:.3f}",
        f"{biases[0]:+.1%}",
        f"{biases[1]:+.1%}",
        equal,
    )


if __name__ == "__main__":
    options = report.options(__doc__)
    words = (
        f"By `benchmarks/bench_unmix.py`, processor time of one thread on {report.machine(('numpy', 'hyperspy'))}\n"
        f"{TILTS} tilts x {PIXELS} x {PIXELS} pixels x {AXIS.size} channels; HyperSpy's bounded multifit (lm) fitted "
        f"{PART} x {PART} of the pixels\nand is scaled by their number. Error: root mean square of the "
        "abundances of these pixels over the mean edge counts of a pixel; bias: mean error of their sum. Last column: "
        f"{FEW} x {FEW}\nof these pixels, HyperSpy's by its own Poisson likelihood (ML-poisson, L-BFGS-B)."
    )
    rows = [row(phases, counts) for phases in (1, 2) for counts in (50.0, 500.0, 5000.0)]
    report.finish("Unmixing", f"{words}\n\n{report.table(HEAD, rows)}", write=options.write)
