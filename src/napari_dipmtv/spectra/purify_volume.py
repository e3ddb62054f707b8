"""Aligned maps and a quick reconstruction become the composition of each phase, where voxels hold one phase alone.

Every beam through a core crosses the shell, so no pixel is pure; but a voxel inside the core is. The maps are
reconstructed, each voxel is given to the phase that it shows more of, and the maps of all tilts are regressed on the
projections of the two phases: their slopes say what one voxel of each phase holds. A reconstruction from few tilts puts
some voxels into the wrong phase, so the slopes are wrong by an amount that depends on the particle; the amount is
measured on simulated maps of the very particle that was found, and taken off (indirect inference: C. Gourieroux,
A. Monfort, E. Renault, J. Appl. Econometrics 8, S85 (1993)). How sharp its boundaries are decides how well phases fit
the maps, so the simulated particle gets the sharpness that fits as badly as the measured one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from scipy.ndimage import gaussian_filter

from napari_dipmtv.data import F32, F64, ReferenceSpectrum, TiltSeries, Volume
from napari_dipmtv.errors import InputError, expected
from napari_dipmtv.spectra.references import (
    LReferences,
    MixingRange,
    MReferences,
    References,
    condition_number,
)

Reconstruct = Callable[[TiltSeries], Volume]
WIDEN = (
    0.2  # share of the other reference by which the cone of the maps is opened: pure voxels stay above zero
)
BOUNDARIES_PX = (
    0.0,
    0.45,
    0.6,
)  # sigma of the Gaussian by which boundaries of the simulated particle are smeared
REPEATS = 3  # simulated measurements that are averaged
MODEL_ERROR = 0.025  # of a share: root mean square of what was left on particles of known composition
FEWEST_VOXELS = 50
APART = 4.0  # standard deviations by which the compositions of two phases must differ
LEAST_APART = 0.1  # and the least difference of their shares
SLACK = 0.02  # of the mean variance, added to every pixel: no pixel outweighs all others


@dataclass(frozen=True, slots=True, eq=False)
class VolumeMixing:
    """What the voxels of each phase hold, in terms of the references of the maps.

    Attributes
    ----------
    composition : float array (2, 2)
        Row i: shares of the references in phase i; sum 1. Entries below 0 or above 1 say that a reference is mixed.
    error : float array (2,)
        Standard deviation of the shares of each phase.
    uncorrected : float array (2, 2)
        The composition before the error of the reconstruction was taken off.
    boundary_px : float
        Width (sigma) of the boundaries at which phases explain simulated maps as well as the measured ones.
    voxels : tuple of int
        How many were given to each phase.
    share : float32 array (z, y, x)
        Of the first reference in the metal of each voxel; NaN in vacuum. Its histogram shows two heaps.
    """

    composition: F64
    error: F64
    uncorrected: F64
    boundary_px: float
    voxels: tuple[int, int]
    share: F32


@dataclass(frozen=True, slots=True, eq=False)
class _Content:
    """Shares (2, c) of the references in a voxel of each phase, its metal (2,), and how badly that fits the maps.

    ``error`` (2,) is the standard deviation of the shares for phases that are known.
    """

    shares: F64
    error: F64
    metal: F64
    misfit: float


@dataclass(frozen=True, slots=True, eq=False)
class _Estimate:
    """Voxels (2, z, y, x) of each phase, the share (z, y, x) that decided, and what the voxels hold."""

    phases: F32
    share: F32
    content: _Content


def mixing_in_volume(series: TiltSeries, reconstruct: Reconstruct, seed: int = 0) -> VolumeMixing:
    """Measure the composition of two phases from the voxels that hold one of them alone.

    Parameters
    ----------
    series : TiltSeries
        Two maps of equal metal content per unit, unbiased, with covariance; aligned.
    reconstruct : callable
        Non-negative, edge-preserving and quick; called nine times: for the data, half of their dose, and simulated
        measurements.
    seed : int
        Of the noise of the simulated measurements.

    Raises
    ------
    InputError
        For other than two maps, maps without covariance, or where no two phases can be told apart.
    """
    if len(series.channels) != 2 or series.covariance is None:
        got = f"{len(series.channels)}, {'without' if series.covariance is None else 'with'} covariance"
        advice = "Purify by extreme pixels"
        raise InputError(expected("maps to purify in the volume", "two with covariance", got, advice))
    views, random = _Views(series, reconstruct), np.random.default_rng(seed)
    _check_two_phases(views, random)
    found = views.estimate(series.data)
    counted = int(found.phases[0].sum()), int(found.phases[1].sum())
    boundary_px, bias = _like(found, views, random)
    particle = _smeared(found.phases, boundary_px)
    planted = replace(
        views.regress(particle, series.data), shares=found.content.shares - bias
    )  # nearer to the truth than what was found
    repeats = [views.repeated(particle, planted, random).content for _ in range(REPEATS)]
    biases = np.stack([repeat.shares - planted.shares for repeat in repeats])
    composition = found.content.shares - biases.mean(axis=0)
    spread = biases[:, :, 0].std(axis=0, ddof=1) * np.sqrt(1 + 1 / REPEATS)
    error = np.hypot(spread, MODEL_ERROR)
    return VolumeMixing(composition, error, found.content.shares, boundary_px, counted, found.share)


def _like(found: _Estimate, views: _Views, random: np.random.Generator) -> tuple[float, F64]:
    """Find the boundary width at which simulated maps fit as badly as the measured, and the bias (2, c) there."""
    biases, misfits = [], []
    for sigma in BOUNDARIES_PX:
        particle = _smeared(found.phases, sigma)
        planted = views.regress(particle, views.series.data)
        repeat = views.repeated(particle, planted, random).content
        biases.append(repeat.shares - planted.shares)
        misfits.append(repeat.misfit)
    boundary_px = float(np.interp(found.content.misfit, np.maximum.accumulate(misfits), BOUNDARIES_PX))
    nearest = int(np.argmin(np.abs(np.array(BOUNDARIES_PX) - boundary_px)))
    return boundary_px, biases[nearest]


def _smeared(phases: F32, sigma_px: float) -> F32:
    return np.asarray(gaussian_filter(phases, (0, sigma_px, sigma_px, sigma_px)), dtype=np.float32)


def _check_voxels(counted: tuple[int, int]) -> None:
    if min(counted) < FEWEST_VOXELS:
        wanted, got = f"at least {FEWEST_VOXELS}", " and ".join(map(str, counted))
        advice = "Purify by extreme pixels or known shares"
        raise InputError(expected("voxels of each phase", wanted, got, advice))


def _check_two_phases(views: _Views, random: np.random.Generator) -> None:
    """Refuse phases that are nothing but noise: found in maps of half the dose, they must show in the other half."""
    noise = views.noise(random)
    halves = [np.asarray(views.series.data + sign * noise, dtype=np.float32) for sign in (1, -1)]
    unseen = views.regress(views.estimate(halves[0]).phases, halves[1])
    difference, error = (
        float(unseen.shares[0, 0] - unseen.shares[1, 0]),
        2**0.5 * float(np.hypot(*unseen.error)),
    )
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
    shares = " and ".join(
        f"{found.composition[i, 1 - i]:+.1%} ± {found.error[i]:.1%} of the {names[1 - i]} reference in {names[i]}"
        for i in (0, 1)
    )
    said = (
        f"Voxels hold {shares} ({found.voxels[0]} and {found.voxels[1]} voxels of a reconstruction of the maps): the "
        "references were mixed so that each phase holds its own alone. Assumed: every voxel of the particle is one "
        "of two phases, each of one composition throughout."
    )
    kept = l_references.notes[
        : len(l_references.notes) - len(l_references.ranges)
    ]  # what was open is so no more
    notes = (*kept, said, *(one.words for one in ranges))
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


def _mixed(references: References, composition: F64) -> tuple[ReferenceSpectrum, ...]:
    intensities = composition @ np.stack([s.intensity for s in references.spectra])
    return tuple(
        replace(s, intensity=intensity, source=f"{s.source}, purified in the volume")
        for s, intensity in zip(references.spectra, intensities, strict=True)
    )


class _Views:
    """The maps of one series, as they are reconstructed and regressed."""

    def __init__(self, series: TiltSeries, reconstruct: Reconstruct) -> None:
        from napari_dipmtv.projection.geometry import Geometry
        from napari_dipmtv.projection.sparse import SparseProjector

        self.series, self.reconstruct = series, reconstruct
        self.projector = SparseProjector(Geometry.of_series(series))
        assert series.covariance is not None
        self.covariance = series.covariance.astype(np.float64)  # (c, c, t, y, x)
        shape = series.data.shape[1:]
        self.valid = np.ones(shape, bool) if series.valid is None else series.valid
        matrices = np.moveaxis(self.covariance[:, :, self.valid], -1, 0)  # (p, c, c)
        slack = SLACK * np.einsum("pcc->p", matrices).mean() / 2
        self.precision = np.linalg.inv(matrices + slack * np.eye(2))

    def estimate(self, data: F32) -> _Estimate:
        """Reconstruct maps (c, t, y, x), give each voxel of matter to a phase, and regress the maps on the phases."""
        widen = np.array([[1 - WIDEN, WIDEN], [WIDEN, 1 - WIDEN]])
        wide = self.series.replace(
            data=np.einsum("ab,btyx->atyx", widen, data),
            covariance=np.einsum("ab,bctyx,dc->adtyx", widen, self.covariance, widen),
        )
        volume = self.reconstruct(wide).data.astype(np.float64)
        x = np.einsum("ab,bzyx->azyx", np.linalg.inv(widen), volume)
        metal = x.sum(axis=0)
        matter = metal > 0.5 * np.median(metal[metal > 0.3 * metal.max()])
        share = np.where(matter, x[0] / np.where(matter, metal, 1.0), np.nan)
        first = share > np.nanpercentile(share, (5, 95)).mean()
        phases = np.stack([first, matter & ~first]).astype(np.float32)
        _check_voxels((int(phases[0].sum()), int(phases[1].sum())))
        return _Estimate(phases, share.astype(np.float32), self.regress(phases, data))

    def regress(self, phases: F32, data: F32) -> _Content:
        """Regress maps on the projections of phases, weighted by the covariance of each pixel."""
        p = self.project(phases)[:, self.valid]
        y = data[:, self.valid].astype(np.float64)
        gram = np.einsum("ap,pcd,bp->acbd", p, self.precision, p, optimize=True).reshape(4, 4)
        right = np.einsum("ap,pcd,dp->ac", p, self.precision, y, optimize=True).reshape(4)
        content = np.linalg.solve(gram, right).reshape(2, 2)
        left = y - content.T @ p
        misfit = float(np.einsum("cp,pcd,dp->", left, self.precision, left, optimize=True)) / left.size
        metal = content.sum(axis=1)
        shares = content / metal[:, None]
        slopes = (np.array([1.0, 0.0]) - shares[:, :1]) / metal[:, None]  # of the first share, (2, c)
        blocks = np.linalg.inv(gram).reshape(2, 2, 2, 2)
        error = np.sqrt(np.einsum("ac,acad,ad->a", slopes, blocks, slopes))
        return _Content(shares, error, metal, misfit)

    def repeated(self, particle: F32, planted: _Content, random: np.random.Generator) -> _Estimate:
        """Estimate from maps of a particle (2, z, y, x) of planted content, with the noise of the series."""
        clean = np.einsum("ac,atyx->ctyx", planted.shares * planted.metal[:, None], self.project(particle))
        return self.estimate(np.asarray(clean + self.noise(random), dtype=np.float32))

    def noise(self, random: np.random.Generator) -> F64:
        """Noise (c, t, y, x) of the covariance of the series."""
        values, vectors = np.linalg.eigh(np.moveaxis(self.covariance, (0, 1), (-2, -1)))
        draws = random.standard_normal(values.shape) * np.sqrt(np.maximum(values, 0.0))
        return np.asarray(np.moveaxis((vectors @ draws[..., None])[..., 0], -1, 0))

    def project(self, phases: F32) -> F64:
        """Projections (2, t, y, x)."""
        import torch

        return np.asarray(self.projector(torch.from_numpy(phases)).numpy(), dtype=np.float64)
