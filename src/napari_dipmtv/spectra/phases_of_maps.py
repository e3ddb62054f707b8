"""Maps of two phases to volumes, to the particle that explains them, and to simulated measurements of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from napari_dipmtv.data import F32, F64, TiltSeries, Volume
from napari_dipmtv.errors import InputError, expected

# share of the other reference by which the cone of the maps is opened: pure voxels stay above zero
WIDEN = np.array([[0.8, 0.2], [0.2, 0.8]])
FEWEST_VOXELS = 50
ON_THE_GRID = 0.02  # of the sine of twice the tilt: rays along the rows of voxels are not spread
WEIGHED_PX = 1.5  # standard deviation of the Gauss over which covariances are averaged
SLACK = 0.1  # of the mean variance, added to every pixel: none outweighs all others


@dataclass(frozen=True, slots=True, eq=False)
class TwoPhases:
    """Two phases that explain two maps, phase i being that of map i.

    Attributes
    ----------
    shares : float32 array (2, z, y, x)
        Of each voxel that a phase fills.
    densities : float64 array (2, c)
        What a whole voxel of each phase holds of each map.
    covariance : float64 array (2, c, 2, c)
        Of the densities, with the shape of the particle unknown.
    misfit : float
        Squared residual over its variance, per datum.
    parts : float32 array (p, z, y, x)
        The same phases piece by piece, such as core and skin.
    phase_of : tuple of int
        Phase of each part.
    """

    shares: F32
    densities: F64
    covariance: F64
    misfit: float
    parts: F32
    phase_of: tuple[int, ...]

    @property
    def composition(self) -> F64:
        """Shares (2, c) of the maps in each phase; rows of sum 1."""
        return np.asarray(self.densities / self.densities.sum(axis=1, keepdims=True))

    @property
    def spread(self) -> F64:
        """Standard deviation (2,) that the noise leaves in these shares."""
        return _spread(self.densities, self.covariance)


Reconstruct = Callable[[TiltSeries], Volume]
Explain = Callable[[TiltSeries, Volume], TwoPhases]


def as_projected(series: TiltSeries) -> TiltSeries:
    """Blur maps along x as the projector blurs a particle, so that thin layers hold as much in both.

    Rays read linearly between voxels. A place at a share f of the way spreads by a variance of f (1 - f), 1/6 on
    average, across the steeper direction of the ray; at 0 deg rays meet the voxels.
    """
    tilts = np.deg2rad(series.tilts_deg)
    across = np.maximum(np.abs(np.cos(tilts)), np.abs(np.sin(tilts)))
    variance = np.where(np.abs(np.sin(2 * tilts)) < ON_THE_GRID, 0.0, across**2 / 6)[
        :, None, None
    ]  # (t, 1, 1)

    def beside(values: NDArray[Any], by: int) -> NDArray[Any]:
        return np.take(values, np.clip(np.arange(values.shape[-1]) + by, 0, values.shape[-1] - 1), axis=-1)

    left, right = beside(series.data, -1), beside(series.data, 1)
    data = series.data + variance * (0.5 * (left + right) - series.data)
    if series.valid is not None:
        whole = series.valid & beside(series.valid, -1) & beside(series.valid, 1)
        data = np.where(whole, data, series.data)
    return series.replace(data=data.astype(np.float32))


@dataclass(frozen=True, slots=True, eq=False)
class Rough:
    """Voxels (2, z, y, x) of each phase by a threshold, the share (z, y, x) that decided, and the composition."""

    phases: F32
    share: F32
    composition: F64


class Views:
    """The maps of one series, as they are reconstructed and explained."""

    def __init__(self, series: TiltSeries, reconstruct: Reconstruct, explain: Explain) -> None:
        from napari_dipmtv.projection.geometry import Geometry
        from napari_dipmtv.projection.sparse import SparseProjector

        self.series, self.reconstruct, self.explain = as_projected(series), reconstruct, explain
        self.projector = SparseProjector(Geometry.of_series(series))
        assert series.covariance is not None
        self.valid = np.ones(series.data.shape[1:], bool) if series.valid is None else series.valid
        self.covariance = _smooth(series.covariance.astype(np.float64), self.valid)  # (c, c, t, y, x)
        slack = SLACK * np.einsum("cctyx->tyx", self.covariance)[self.valid].mean() / 2
        self.weighed = self.covariance + slack * np.eye(2)[:, :, None, None, None]
        self.precision = np.linalg.inv(np.moveaxis(self.weighed[:, :, self.valid], -1, 0))  # (p, c, c)

    def remixed(self, data: F32, mixing: F64) -> TiltSeries:
        """Maps of other mixtures (2, c) of the same channels."""
        return self.series.replace(
            data=np.einsum("ab,btyx->atyx", mixing, data).astype(np.float32),
            covariance=np.einsum("ab,bctyx,dc->adtyx", mixing, self.weighed, mixing).astype(np.float32),
        )

    def rough(self, data: F32) -> Rough:
        """Reconstruct maps (c, t, y, x), give each voxel of matter to a phase, and regress the maps on the phases."""
        volume = self.reconstruct(self.remixed(data, WIDEN)).data.astype(np.float64)
        x = np.einsum("ab,bzyx->azyx", np.linalg.inv(WIDEN), volume)
        metal = x.sum(axis=0)
        matter = metal > 0.5 * np.median(metal[metal > 0.3 * metal.max()])
        share = np.where(matter, x[0] / np.where(matter, metal, 1.0), np.nan)
        first = share > np.nanpercentile(share, (5, 95)).mean()
        phases = np.stack([first, matter & ~first]).astype(np.float32)
        _check_voxels((int(phases[0].sum()), int(phases[1].sum())))
        return Rough(phases, share.astype(np.float32), self.regress(phases, data)[0])

    def regress(self, phases: F32, data: F32) -> tuple[F64, F64]:
        """Regress maps on projections of phases: shares (p, c) in a voxel of each, standard deviation (p,)."""
        count, p = len(phases), self.project(phases)[:, self.valid]
        y = data[:, self.valid].astype(np.float64)
        gram = np.einsum("ap,pcd,bp->acbd", p, self.precision, p, optimize=True).reshape(2 * count, -1)
        right = np.einsum("ap,pcd,dp->ac", p, self.precision, y, optimize=True).reshape(-1)
        content = np.linalg.solve(gram, right).reshape(count, 2)
        spread = _spread(content, np.linalg.inv(gram).reshape(count, 2, count, 2))
        return content / content.sum(axis=1, keepdims=True), spread

    def estimate(self, data: F32, rough: Rough) -> TwoPhases:
        """Find the phases that explain maps (c, t, y, x), in maps of what they roughly hold."""
        mixing = WIDEN @ np.linalg.inv(rough.composition).T
        maps = self.remixed(data, mixing)
        wide = self.reconstruct(maps)
        apart = np.einsum("ab,bzyx->azyx", np.linalg.inv(WIDEN), wide.data)
        found = self.explain(maps, wide.replace(data=np.maximum(apart, 0).astype(np.float32)))
        back = np.linalg.inv(mixing)
        covariance = np.einsum("acbd,ec,fd->aebf", found.covariance, back, back)
        return replace(found, densities=found.densities @ back.T, covariance=covariance)

    def uneven(self, found: TwoPhases) -> tuple[float, float]:
        """How far parts of one phase differ in their first share, and the standard deviation of that."""
        large = np.flatnonzero(found.parts.sum(axis=(1, 2, 3)) >= FEWEST_VOXELS)
        shares, errors = self.regress(found.parts[large], self.series.data)
        pairs = [
            (float(abs(shares[i, 0] - shares[j, 0])), float(np.hypot(errors[i], errors[j])))
            for i, j in combinations(range(len(large)), 2)
            if found.phase_of[large[i]] == found.phase_of[large[j]]
        ]
        return max(pairs, key=lambda pair: pair[0] / pair[1], default=(0.0, 0.0))

    def measured_again(self, particle: TwoPhases, random: np.random.Generator) -> TwoPhases:
        """Estimate from maps of a known particle with the noise of the series."""
        clean = np.einsum("ac,atyx->ctyx", particle.densities, self.project(particle.shares))
        data = np.asarray(clean + self.noise(random), dtype=np.float32)
        return self.estimate(data, self.rough(data))

    def noise(self, random: np.random.Generator) -> F64:
        """Noise (c, t, y, x) like that of the series, blurred as its maps are."""
        values, vectors = np.linalg.eigh(np.moveaxis(self.covariance, (0, 1), (-2, -1)))
        draws = random.standard_normal(values.shape) * np.sqrt(np.maximum(values, 0.0))
        drawn = np.moveaxis((vectors @ draws[..., None])[..., 0], -1, 0)
        return as_projected(self.series.replace(data=drawn.astype(np.float32))).data.astype(np.float64)

    def project(self, phases: F32) -> F64:
        """Projections (2, t, y, x)."""
        import torch

        return np.asarray(self.projector(torch.from_numpy(phases)).numpy(), dtype=np.float64)


def _spread(densities: F64, covariance: F64) -> F64:
    """Standard deviation (p,) of the first share of each phase, by that of its densities (p, c)."""
    metal = densities.sum(axis=1, keepdims=True)
    slopes = (np.array([1.0, 0.0]) - densities[:, :1] / metal) / metal  # (p, c)
    return np.asarray(np.sqrt(np.einsum("ac,acad,ad->a", slopes, covariance, slopes)))


def _smooth(covariance: F64, valid: NDArray[np.bool_]) -> F64:
    """Mean covariance around every pixel.

    That of a pixel knows its noise: where chance adds counts it is larger, and weights by it favour the pixels where
    chance took some.
    """
    weight = np.stack([gaussian_filter(view.astype(np.float64), WEIGHED_PX) for view in valid])
    known = np.where(valid, covariance, 0.0).reshape(-1, *valid.shape)
    around = np.stack([[gaussian_filter(view, WEIGHED_PX) for view in one] for one in known])
    mean = (around / np.maximum(weight, 1e-6)).reshape(covariance.shape)
    return np.asarray(np.where(valid, mean, covariance))


def _check_voxels(counted: tuple[int, int]) -> None:
    if min(counted) < FEWEST_VOXELS:
        wanted, got = f"at least {FEWEST_VOXELS}", " and ".join(map(str, counted))
        advice = "Purify by extreme pixels or known shares"
        raise InputError(expected("voxels of each phase", wanted, got, advice))
