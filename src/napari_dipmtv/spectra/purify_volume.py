"""Aligned maps and a quick reconstruction become the composition of each phase, where voxels hold one phase alone.

Every beam through a core crosses the shell, so no pixel is pure; but a voxel inside the core is. The maps are
reconstructed, each voxel is given to the phase that it shows more of, and the boundaries of the phases move until the
projections of two materials, each of one composition, explain the maps of all tilts best: least squares over all
data, in which no voxel of the blurred reconstruction is read. The stated error is what the noise of the maps leaves
there, with the shape of the particle unknown, and a little for what the maps are not made as they are modelled.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, replace

import numpy as np

from napari_dipmtv.data import F32, F64, ReferenceSpectrum, TiltSeries
from napari_dipmtv.errors import InputError, expected
from napari_dipmtv.spectra.phases_of_maps import Explain, Reconstruct, Views
from napari_dipmtv.spectra.purify import STILL_MIXED
from napari_dipmtv.spectra.references import (
    LReferences,
    MixingRange,
    MReferences,
    References,
    condition_number,
)

STEPS = 3
MOST_AT_BORDER = 0.15  # of the brightest pixels: a whole particle leaves vacuum around it, whatever the tilt
MODEL_ERROR = 0.009  # of the other phase: what noise does not explain of the errors of twelve known particles
APART = 4.0  # standard deviations by which the compositions of two phases must differ
LEAST_APART = 0.1  # and the least difference of their shares
UNEXPLAINED = 2.0  # times the misfit of simulated maps: two phases of even composition explain the maps badly


@dataclass(frozen=True, slots=True, eq=False)
class VolumeMixing:
    """What the voxels of each phase hold, in terms of the references of the maps.

    Attributes
    ----------
    composition : float array (2, 2)
        Row i: shares of the references in phase i; sum 1. Entries below 0 or above 1 say that a reference is mixed.
    error : float array (2,)
        Standard deviation of the shares of each phase.
    unexplained : float
        How many times worse two phases of even composition explain the maps than simulated maps of such phases.
    uneven : tuple of float
        How far parts of one phase, such as core and skin, differ in their shares, and the standard deviation of that.
    voxels : tuple of int
        Size of each phase.
    share : float32 array (z, y, x)
        Of the first reference in the metal of each voxel; NaN in vacuum. Its histogram shows two heaps.
    """

    composition: F64
    error: F64
    unexplained: float
    uneven: tuple[float, float]
    voxels: tuple[int, int]
    share: F32

    @property
    def doubt(self) -> tuple[str, str, str] | None:
        """What two phases of even composition would not show: what, its limit, and what came; None without."""
        if self.unexplained > UNEXPLAINED:
            what = "maps explained by two even phases, against maps simulated from them"
            return what, f"at most {UNEXPLAINED:g} times worse", f"{self.unexplained:.1f} times worse"
        difference, error = self.uneven
        if difference > max(APART * error, LEAST_APART):
            what, limit = "parts of one phase", f"shares that differ by less than {LEAST_APART:g}"
            return what, limit, f"a difference of {difference:.2f} ± {error:.2f}"
        return None


def mixing_in_volume(
    series: TiltSeries, reconstruct: Reconstruct, explain: Explain, seed: int = 0
) -> VolumeMixing:
    """Measure the composition of two phases by the particle that explains the maps best; see `mixing_steps`."""
    steps = mixing_steps(series, reconstruct, explain, seed)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            found: VolumeMixing = end.value
            return found


def mixing_steps(
    series: TiltSeries, reconstruct: Reconstruct, explain: Explain, seed: int = 0
) -> Generator[str, None, VolumeMixing]:
    """Measure the composition of two phases, step by step.

    Parameters
    ----------
    series : TiltSeries
        Two maps of equal metal content per unit, unbiased, with covariance; aligned.
    reconstruct : callable
        Non-negative, edge-preserving and quick; called five times: for half of the dose, the data, and a simulated
        measurement.
    explain : callable
        Finds the phases in maps and a volume of these; called twice.
    seed : int
        Of the noise of the simulated measurement.

    Yields
    ------
    str
        What comes next, `STEPS` times.

    Returns
    -------
    VolumeMixing

    Raises
    ------
    InputError
        For other than two maps, maps without covariance, a particle that some view cuts, or where no two phases can
        be told apart.
    """
    if len(series.channels) != 2 or series.covariance is None:
        got = f"{len(series.channels)}, {'without' if series.covariance is None else 'with'} covariance"
        advice = "Purify by extreme pixels"
        raise InputError(expected("maps to purify in the volume", "two with covariance", got, advice))
    _check_whole(series)
    views, random = Views(series, reconstruct, explain), np.random.default_rng(seed)
    yield "looking for two phases in half of the dose"
    _check_two_phases(views, random)
    yield "finding what the voxels of each phase hold"
    rough = views.rough(views.series.data)
    found = views.estimate(views.series.data, rough)
    yield "measuring simulated maps of the particle"
    unexplained = found.misfit / views.measured_again(found, random).misfit
    apart = float(found.composition[0, 0] - found.composition[1, 0])
    error = np.hypot(found.spread, MODEL_ERROR * apart)
    voxels = round(float(found.shares[0].sum())), round(float(found.shares[1].sum()))
    return VolumeMixing(found.composition, error, unexplained, views.uneven(found), voxels, rough.share)


def _check_whole(series: TiltSeries) -> None:
    """Refuse a field that matter fills to its border: what lies beyond is seen in some views and not in others."""
    metal = series.data.sum(axis=0)
    if series.valid is not None:
        metal = np.where(series.valid, metal, 0)
    border = np.ones(metal.shape[1:], dtype=bool)
    border[1:-1, 1:-1] = False
    share = float(metal[:, border].mean() / max(float(np.percentile(metal, 99)), 1e-30))
    if share > MOST_AT_BORDER:
        wanted, advice = f"at most {MOST_AT_BORDER:.0%} of its brightness", "Purify by extreme pixels"
        got = f"{share:.0%}"
        raise InputError(expected("metal at the border of the field of view", wanted, got, advice))


def _check_two_phases(views: Views, random: np.random.Generator) -> None:
    """Refuse phases that are nothing but noise: found in maps of half the dose, they must show in the other half."""
    noise = views.noise(random)
    halves = [np.asarray(views.series.data + sign * noise, dtype=np.float32) for sign in (1, -1)]
    shares, errors = views.regress(views.rough(halves[0]).phases, halves[1])
    difference, error = float(shares[0, 0] - shares[1, 0]), 2**0.5 * float(np.hypot(*errors))
    if not difference > max(APART * error, LEAST_APART):
        wanted = f"compositions that differ by {LEAST_APART:g} and {APART:g} standard deviations"
        advice = "Use more pixels, tilts or dose, or purify by extreme pixels"
        got = f"a difference of {difference:.2f} ± {error:.2f}"
        raise InputError(expected("two phases in the volume", wanted, got, advice))


def purified_in_volume(
    l_references: LReferences, m_references: MReferences, found: VolumeMixing
) -> tuple[LReferences, MReferences]:
    """Give the references of the phases that were found in the volume, the core loss and the low loss alike.

    Maps unmixed with them hold one phase each. What was found stays open within two standard deviations.
    """
    names, per_share = l_references.names, np.array([1.0, -1.0]) @ np.linalg.inv(found.composition)
    ranges = tuple(
        MixingRange(
            names[i],
            names[1 - i],
            float(-2 * found.error[i] * abs(per_share[1 - i])),
            float(2 * found.error[i] * abs(per_share[1 - i])),
            "within two standard deviations of what its voxels show",
        )
        for i in (0, 1)
    )
    before = len(l_references.notes) - len(l_references.ranges)  # what was open is so no more
    kept = (note for note in l_references.notes[:before] if note != STILL_MIXED)
    notes = (*kept, *_said(found, names), *(one.words for one in ranges))
    l_spectra, m_spectra = (_mixed(r, found.composition) for r in (l_references, m_references))
    off = np.linalg.inv(found.composition)
    pure = replace(
        l_references,
        spectra=l_spectra,
        condition=condition_number(np.stack([s.intensity for s in l_spectra])),
        notes=notes,
        taken_off=(float(off[0, 1]), float(off[1, 0])),
        ambiguity=tuple(one.most for one in ranges),
        ranges=ranges,
        raw=l_references.raw or l_references.spectra,
    )
    learnt = m_references.notes[len(l_references.notes) :]
    return pure, replace(m_references, spectra=m_spectra, notes=(*notes, *learnt))


def _said(found: VolumeMixing, names: tuple[str, ...]) -> tuple[str, ...]:
    shares = " and ".join(
        f"{found.composition[i, 1 - i]:+.1%} ± {found.error[i]:.1%} of the {names[1 - i]} reference in {names[i]}"
        for i in (0, 1)
    )
    said = (
        f"Voxels hold {shares} ({found.voxels[0]} and {found.voxels[1]} voxels of a particle that explains the maps): "
        "the references were mixed so that each phase holds its own alone. Assumed: every voxel of the particle is "
        "one of two phases, each of one composition throughout."
    )
    if found.doubt is None:
        return (said,)
    what, limit, got = found.doubt
    return said, (
        f"Do not rely on the shares above: {what}: {limit} would do, but it is {got}. The particle holds more than two "
        "phases, or a composition that changes within one."
    )


def _mixed(references: References, composition: F64) -> tuple[ReferenceSpectrum, ...]:
    intensities = composition @ np.stack([s.intensity for s in references.spectra])
    return tuple(
        replace(s, intensity=intensity, source=f"{s.source}, purified in the volume")
        for s, intensity in zip(references.spectra, intensities, strict=True)
    )
