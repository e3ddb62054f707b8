"""Time unmixing beside HyperSpy's bounded multifit, and compare errors by equal statistics: the same model and counts.

Nine tilts of 64 x 64 pixels and 1024 channels are fitted whole by us. HyperSpy fits 32 x 32 of these pixels twice: as
its users do (lm, weights by the counts; its time is scaled by the number of pixels), and by its own Poisson likelihood,
run to the maximum. Prints two tables; ``--write`` puts them into ``benchmarks/results.md``.
"""

from __future__ import annotations

import report  # first: pins the threads

# isort: split

import sys
import time
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.special import xlogy

from napari_dipmtv.data import (
    F64,
    DualSpectrumImage,
    EnergyAxis,
    ReferenceSpectrum,
    SpectrumImage,
    SpectrumSeries,
)
from napari_dipmtv.settings.spectra import UnmixSettings
from napari_dipmtv.spectra import MReferences, unmix
from napari_dipmtv.spectra.linear_fit import fit_counts
from napari_dipmtv.states import run

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "spectra"))
from hyperspy_oracle import hyperspy_fit  # noqa: E402 - the same oracle as in the tests
from synthetic_spectra import m_edge  # noqa: E402

AXIS = EnergyAxis(42.0, 0.05, 1024)
TILTS, PIXELS, PART = 9, 64, 32
EXPONENTS = (1.5, 3.5)
LEVELS = (50.0, 500.0, 5000.0)  # edge counts of a pixel
CASES = tuple((phases, counts) for phases in (1, 2) for counts in LEVELS)
# L-BFGS-B stops at once where the model is 0 and its logarithm is not a number
ABOVE_ZERO = 1e-9
SPEED = (
    *("components", "edge counts per pixel", "ours", "HyperSpy", "ratio", "our error", "HyperSpy's error"),
    *("our bias", "HyperSpy's bias", "error of the sum: ours", "HyperSpy's"),
    *("within the error bar: ours", "HyperSpy's"),
)
EQUAL = (
    *("components", "edge counts", "our error", "HyperSpy's error", "ours less theirs"),
    *("bias of each reference, ours", "HyperSpy's", "error of the sum: ours", "HyperSpy's"),
    *("log-likelihood, ours less theirs: mean, range", "HyperSpy's time per pixel"),
)


@dataclass(frozen=True, slots=True)
class Found:
    """Abundances of some pixels less their truth (p, c) over the mean edge counts, and what goes with them."""

    apart: F64
    error: F64  # (p, c), that is stated
    weights: F64  # (p, k), of all components
    seconds: float


def problem(phases: int, counts: float) -> tuple[SpectrumSeries, MReferences, F64]:
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


class Case:
    """One problem and the three fits of it."""

    def __init__(self, phases: int, counts: float) -> None:
        self.counts = counts
        self.series, self.references, truth = problem(phases, counts)
        self.basis = self.references.basis(AXIS).spectra
        self.image = self.series.tilts[0].low_loss.counts
        self.part = self.image[:PART, :PART]
        self.truth = truth[:, 0, :PART, :PART].reshape(phases, -1).T

    def ours(self) -> Found:
        """The time of all tilts by `unmix`; the part by the fit behind it, which also tells the background."""
        settings = UnmixSettings(plural_scattering=False, abundances="non-negative")
        seconds = report.seconds(lambda: run(unmix(self.series, self.references, settings)))
        k = len(self.basis)
        fits = fit_counts(self.image.reshape(-1, AXIS.size), self.basis, np.zeros(k, dtype=bool))
        weights = fits.weights.reshape(PIXELS, PIXELS, k)[:PART, :PART]
        errors = np.sqrt(np.diagonal(fits.covariance, axis1=1, axis2=2))
        return self._found(weights, errors.reshape(PIXELS, PIXELS, k)[:PART, :PART], seconds)

    def by_counts(self) -> Found:
        """HyperSpy as its users have it: the variance is the count itself."""
        return self._hyperspy(lowest=0.0, optimizer="lm")

    def by_likelihood(self) -> Found:
        """HyperSpy's Poisson likelihood, climbed until nothing changes."""
        limits = {"maxiter": 1000, "maxfun": 100_000, "ftol": 1e-12, "gtol": 1e-6}
        return self._hyperspy(
            lowest=ABOVE_ZERO, optimizer="L-BFGS-B", loss_function="ML-poisson", options=limits
        )

    def log_likelihood(self, weights: F64) -> F64:
        """Poisson log-likelihood (p,) of the weights of all components (p, k)."""
        model, counts = weights @ self.basis, self.part.reshape(-1, AXIS.size)
        return np.asarray((xlogy(counts, model) - model).sum(axis=1))

    def _hyperspy(self, *, lowest: float, **options: object) -> Found:
        """Fit the part pixel by pixel; with parameters of order one, without which HyperSpy's fits stop short."""
        size = len(self.basis)
        units = np.array([self.counts / AXIS.size] * len(EXPONENTS) + [self.counts] * (size - len(EXPONENTS)))
        basis, variance = self.basis * units[:, None], np.maximum(self.part, 1.0)
        begin = time.process_time()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            weights, errors = hyperspy_fit(
                self.part, AXIS.values, basis, variance, lowest=[lowest] * size, bounded=True, **options
            )
        return self._found(weights * units, errors * units, time.process_time() - begin)

    def _found(self, weights: F64, errors: F64, seconds: float) -> Found:
        """Weights and stated errors (y, x, k) beside the truth."""
        rows, first = weights.reshape(-1, len(self.basis)), len(EXPONENTS)
        apart = (rows[:, first:] - self.truth) / self.counts
        return Found(apart, errors.reshape(rows.shape)[:, first:] / self.counts, rows, seconds)


def rows(phases: int, counts: float) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """One line of each table."""
    case = Case(phases, counts)
    ours, users, likeliest = case.ours(), case.by_counts(), case.by_likelihood()
    head, all_pixels = (f"{len(case.basis)}", f"{counts:g}"), users.seconds * TILTS * PIXELS**2 / PART**2
    speed = (
        f"{ours.seconds:.2f} s",
        f"{all_pixels:.0f} s",
        f"{all_pixels / ours.seconds:.0f}",
        *(f"{rms(one.apart):.3f}" for one in (ours, users)),
        *(f"{one.apart.sum(axis=1).mean():+.1%}" for one in (ours, users)),
        *(f"{rms(one.apart.sum(axis=1)):.3f}" for one in (ours, users)),
        *(f"{np.mean(np.abs(one.apart) < one.error):.0%}" for one in (ours, users)),
    )
    gain = case.log_likelihood(ours.weights) - case.log_likelihood(likeliest.weights)
    equal = (
        *(f"{rms(one.apart):.4f}" for one in (ours, likeliest)),
        difference(ours.apart, likeliest.apart),
        *(", ".join(f"{b:+.1%}" for b in one.apart.mean(axis=0)) for one in (ours, likeliest)),
        *(f"{rms(one.apart.sum(axis=1)):.4f}" for one in (ours, likeliest)),
        f"{gain.mean():+.4f}, {gain.min():+.3f} to {gain.max():+.3f}",
        f"{1e3 * likeliest.seconds / PART**2:.0f} ms",
    )
    return (*head, *speed), (*head, *equal)


def rms(values: F64) -> float:
    """Root mean square."""
    return float(np.sqrt(np.mean(values**2)))


def difference(ours: F64, theirs: F64) -> str:
    """Difference of two root mean squares over the same pixels (p, c) and its standard error."""
    apart = (ours**2 - theirs**2).mean(axis=1) / (rms(ours) + rms(theirs))
    return f"{apart.mean():+.4f} ± {apart.std(ddof=1) / np.sqrt(len(apart)):.4f}"


if __name__ == "__main__":
    options = report.options(__doc__)
    pairs = [rows(phases, counts) for phases, counts in CASES]
    words = f"""
By `benchmarks/bench_unmix.py`, processor time of one thread on {report.machine(("numpy", "hyperspy"))}
{TILTS} tilts x {PIXELS} x {PIXELS} pixels x {AXIS.size} channels, abundances not below zero; HyperSpy fitted
{PART} x {PART} of these pixels, and its time is scaled by their number. Error: root mean square of the abundances
of these pixels over the mean edge counts of a pixel; bias: mean error of their sum; within the error bar: share of
abundances within one stated standard deviation of the truth (of weights without a bound, which helps).

Every fit of HyperSpy starts from the same values: from those of the pixel before, its default, it stays where a bound
held that pixel.

HyperSpy as its users have it, bounded multifit (lm) with weights by the counts:

{report.table(SPEED, (speed for speed, _ in pairs))}

By equal statistics: HyperSpy's own Poisson likelihood (ML-poisson, L-BFGS-B), bounded, run to its maximum:

{report.table(EQUAL, (equal for _, equal in pairs))}
"""
    report.finish("Unmixing", words, write=options.write)
