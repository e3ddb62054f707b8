"""Aligned maps and a quick reconstruction become the composition of each phase, where voxels hold one phase alone.

Every beam through a core crosses the shell, so no pixel is pure; but a voxel inside the core is. The maps are
reconstructed, each voxel is given to the phase that it shows more of, and the boundaries of the phases move until the
projections of two materials, each of one composition, explain the maps of all tilts best: least squares over all
data, in which no voxel of the blurred reconstruction is read. How far that goes astray is measured on simulated maps
of the particle that was found. It is the stated error, and not taken off, which would only add its own noise.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from napari_dipmtv.data import F32, F64, ReferenceSpectrum, TiltSeries, Volume
from napari_dipmtv.errors import InputError, expected
from napari_dipmtv.spectra.purify import STILL_MIXED
from napari_dipmtv.spectra.references import (
    LReferences,
    MixingRange,
    MReferences,
    References,
    condition_number,
)

# share of the other reference by which the cone of the maps is opened: pure voxels stay above zero
WIDEN = np.array([[0.8, 0.2], [0.2, 0.8]])
REPEATS = 3  # simulated measurements that tell the error
MODEL_ERROR = 0.01  # of a share: what real edges, and the interpolation of the alignment, add to it
FEWEST_VOXELS = 50
APART = 4.0  # standard deviations by which the compositions of two phases must differ
LEAST_APART = 0.1  # and the least difference of their shares
SLACK = 0.1  # of the mean variance, added to every pixel: none outweighs all others
UNEXPLAINED = 2.0  # times the misfit of simulated maps: two phases of even composition explain the maps badly


@dataclass(frozen=True, slots=True, eq=False)
class TwoPhases:
    """Two phases that explain two maps, phase i being that of map i.

    Attributes
    ----------
    shares : float32 array (2, z, y, x)
        Of each voxel that a phase fills.
    densities : float64 array (2, c)
        What a whole voxel of each phase holds of each map.
    misfit : float
        Squared residual over its variance, per datum.
    """

    shares: F32
    densities: F64
    misfit: float

    @property
    def composition(self) -> F64:
        """Shares (2, c) of the maps in each phase; rows of sum 1."""
        return np.asarray(self.densities / self.densities.sum(axis=1, keepdims=True))


Reconstruct = Callable[[TiltSeries], Volume]
Explain = Callable[[TiltSeries, Volume], TwoPhases]


@dataclass(frozen=True, slots=True, eq=False)
class VolumeMixing:
    """What the voxels of each phase hold, in terms of the references of the maps.

    Attributes
    ----------
    composition : float array (2, 2)
        Row i: shares of the references in phase i; sum 1. Entries below 0 or above 1 say that a reference is mixed.
    error : float array (2,)
        Root mean square error of the shares of each phase.
    unexplained : float
        How many times worse two phases of even composition explain the maps than simulated maps of such phases.
    voxels : tuple of int
        Size of each phase.
    share : float32 array (z, y, x)
        Of the first reference in the metal of each voxel; NaN in vacuum. Its histogram shows two heaps.
    """

    composition: F64
    error: F64
    unexplained: float
    voxels: tuple[int, int]
    share: F32


def mixing_in_volume(
    series: TiltSeries, reconstruct: Reconstruct, explain: Explain, seed: int = 0
) -> VolumeMixing:
    """Measure the composition of two phases by the particle that explains the maps best.

    Parameters
    ----------
    series : TiltSeries
        Two maps of equal metal content per unit, unbiased, with covariance; aligned.
    reconstruct : callable
        Non-negative, edge-preserving and quick; called nine times: for half of the dose, the data, and simulated
        measurements.
    explain : callable
        Finds the phases in maps and a volume of these; called four times.
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
    views, random = _Views(series, reconstruct, explain), np.random.default_rng(seed)
    _check_two_phases(views, random)
    rough = views.rough(series.data)
    found = views.estimate(series.data, rough)
    repeats = [views.measured_again(found, random) for _ in range(REPEATS)]
    astray = np.stack([one.composition[:, 0] - found.composition[:, 0] for one in repeats])
    error = np.hypot(np.sqrt((astray**2).mean(axis=0)), MODEL_ERROR)
    unexplained = found.misfit / float(np.mean([one.misfit for one in repeats]))
    voxels = round(float(found.shares[0].sum())), round(float(found.shares[1].sum()))
    return VolumeMixing(found.composition, error, unexplained, voxels, rough.share)


def _check_voxels(counted: tuple[int, int]) -> None:
    if min(counted) < FEWEST_VOXELS:
        wanted, got = f"at least {FEWEST_VOXELS}", " and ".join(map(str, counted))
        advice = "Purify by extreme pixels or known shares"
        raise InputError(expected("voxels of each phase", wanted, got, advice))


def _check_two_phases(views: _Views, random: np.random.Generator) -> None:
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
    if found.unexplained <= UNEXPLAINED:
        return (said,)
    doubt = (
        f"That explains the maps {found.unexplained:.1f} times worse than maps simulated from it: the particle holds "
        "more than two phases, or a composition that changes within one. Do not rely on the shares above."
    )
    return said, doubt


def _mixed(references: References, composition: F64) -> tuple[ReferenceSpectrum, ...]:
    intensities = composition @ np.stack([s.intensity for s in references.spectra])
    return tuple(
        replace(s, intensity=intensity, source=f"{s.source}, purified in the volume")
        for s, intensity in zip(references.spectra, intensities, strict=True)
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Rough:
    """Voxels (2, z, y, x) of each phase by a threshold, the share (z, y, x) that decided, and the composition."""

    phases: F32
    share: F32
    composition: F64


class _Views:
    """The maps of one series, as they are reconstructed and explained."""

    def __init__(self, series: TiltSeries, reconstruct: Reconstruct, explain: Explain) -> None:
        from napari_dipmtv.projection.geometry import Geometry
        from napari_dipmtv.projection.sparse import SparseProjector

        self.series, self.reconstruct, self.explain = series, reconstruct, explain
        self.projector = SparseProjector(Geometry.of_series(series))
        assert series.covariance is not None
        self.covariance = series.covariance.astype(np.float64)  # (c, c, t, y, x)
        self.valid = np.ones(series.data.shape[1:], bool) if series.valid is None else series.valid
        slack = SLACK * np.einsum("cctyx->tyx", self.covariance)[self.valid].mean() / 2
        self.weighed = self.covariance + slack * np.eye(2)[:, :, None, None, None]
        self.precision = np.linalg.inv(np.moveaxis(self.weighed[:, :, self.valid], -1, 0))  # (p, c, c)

    def remixed(self, data: F32, mixing: F64) -> TiltSeries:
        """Maps of other mixtures (2, c) of the same channels."""
        return self.series.replace(
            data=np.einsum("ab,btyx->atyx", mixing, data).astype(np.float32),
            covariance=np.einsum("ab,bctyx,dc->adtyx", mixing, self.weighed, mixing).astype(np.float32),
        )

    def rough(self, data: F32) -> _Rough:
        """Reconstruct maps (c, t, y, x), give each voxel of matter to a phase, and regress the maps on the phases."""
        volume = self.reconstruct(self.remixed(data, WIDEN)).data.astype(np.float64)
        x = np.einsum("ab,bzyx->azyx", np.linalg.inv(WIDEN), volume)
        metal = x.sum(axis=0)
        matter = metal > 0.5 * np.median(metal[metal > 0.3 * metal.max()])
        share = np.where(matter, x[0] / np.where(matter, metal, 1.0), np.nan)
        first = share > np.nanpercentile(share, (5, 95)).mean()
        phases = np.stack([first, matter & ~first]).astype(np.float32)
        _check_voxels((int(phases[0].sum()), int(phases[1].sum())))
        return _Rough(phases, share.astype(np.float32), self.regress(phases, data)[0])

    def regress(self, phases: F32, data: F32) -> tuple[F64, F64]:
        """Regress maps on projections of phases: shares (2, c) in a voxel of each, standard deviation (2,)."""
        p = self.project(phases)[:, self.valid]
        y = data[:, self.valid].astype(np.float64)
        gram = np.einsum("ap,pcd,bp->acbd", p, self.precision, p, optimize=True).reshape(4, 4)
        right = np.einsum("ap,pcd,dp->ac", p, self.precision, y, optimize=True).reshape(4)
        content = np.linalg.solve(gram, right).reshape(2, 2)
        metal = content.sum(axis=1)
        shares = content / metal[:, None]
        slopes = (np.array([1.0, 0.0]) - shares[:, :1]) / metal[:, None]  # of the first share, (2, c)
        blocks = np.linalg.inv(gram).reshape(2, 2, 2, 2)
        return shares, np.sqrt(np.einsum("ac,acad,ad->a", slopes, blocks, slopes))

    def estimate(self, data: F32, rough: _Rough) -> TwoPhases:
        """Find the phases that explain maps (c, t, y, x), in maps of what they roughly hold."""
        mixing = WIDEN @ np.linalg.inv(rough.composition).T
        maps = self.remixed(data, mixing)
        wide = self.reconstruct(maps)
        apart = np.einsum("ab,bzyx->azyx", np.linalg.inv(WIDEN), wide.data)
        found = self.explain(maps, wide.replace(data=np.maximum(apart, 0).astype(np.float32)))
        return replace(found, densities=found.densities @ np.linalg.inv(mixing).T)

    def measured_again(self, particle: TwoPhases, random: np.random.Generator) -> TwoPhases:
        """Estimate from maps of a known particle with the noise of the series."""
        clean = np.einsum("ac,atyx->ctyx", particle.densities, self.project(particle.shares))
        data = np.asarray(clean + self.noise(random), dtype=np.float32)
        return self.estimate(data, self.rough(data))

    def noise(self, random: np.random.Generator) -> F64:
        """Noise (c, t, y, x) of the covariance of the series."""
        values, vectors = np.linalg.eigh(np.moveaxis(self.covariance, (0, 1), (-2, -1)))
        draws = random.standard_normal(values.shape) * np.sqrt(np.maximum(values, 0.0))
        return np.asarray(np.moveaxis((vectors @ draws[..., None])[..., 0], -1, 0))

    def project(self, phases: F32) -> F64:
        """Projections (2, t, y, x)."""
        import torch

        return np.asarray(self.projector(torch.from_numpy(phases)).numpy(), dtype=np.float64)
