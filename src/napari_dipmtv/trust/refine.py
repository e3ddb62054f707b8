"""A segmented volume and the data behind it to the particle whose boundaries and densities the data themselves want.

A reconstruction is blurred where views are missing, and thresholds in it put thin layers and their densities wrong.
Here the phases keep their arrangement, but their boundaries move in smooth modes until the *projections* fit best:
``y = P sum_m rho_m s_m(delta)``, with the share ``s_m`` of each voxel that material m fills, one density ``rho`` for
each material and channel, and displacements ``delta`` in spherical harmonics: every boundary by itself up to degree 4,
and all of them together, as one body, up to degree 12, which is what edges and corners take. That is a maximum of
the likelihood with a weak prior on the displacements, reached by Gauss-Newton steps. The idea is that of discrete
tomography with grey levels that are estimated too: K. J. Batenburg and J. Sijbers, IEEE Trans. Image Process. 20, 2542
(2011).

It takes for granted that a phase has one composition throughout. `Refined.misfit` tells when the data deny that.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates
from scipy.sparse import csr_array

from napari_dipmtv.data import F32, F64, Segmentation, TiltSeries
from napari_dipmtv.errors import GeometryError, expected
from napari_dipmtv.inspect.matter import VOID
from napari_dipmtv.projection.geometry import Geometry
from napari_dipmtv.projection.sparse import joseph_weights
from napari_dipmtv.trust.harmonics import degrees, harmonics
from napari_dipmtv.trust.planted import FARTHEST_PX, Planted, Shape, grain_field
from napari_dipmtv.trust.resample import noise_kind

COARSE_STEPS, COARSE_PX = (
    8,
    0.3,
)  # the most of every boundary by itself; fewer where the displacements fall below
FINE_STEPS, FINE_PX = 4, 0.1  # with the finer displacements that all boundaries share
PARTS_OF_A_STEP = (1.0, 0.5, 0.2)  # the first that makes the fit better is taken
LONGEST_STEP_PX = 0.7  # beyond, the change of the shares is no longer linear
PRIOR_PX = (1.5, 0.7, 0.5, 0.4, 0.4)  # standard deviation of the displacement by the degree of the harmonic
DEGREE = len(PRIOR_PX) - 1
FINEST_DEGREE = 12  # of the displacements that all boundaries share
SHARED_PX = (
    0.4  # standard deviation of the shared ones of the lowest degree; of the others by one over the degree
)
GRAIN_SPREAD = 0.4  # standard deviation of its logarithm
DRAWS, LEAST_LEFT = 20, 0.25  # draws for one particle like it, and the share of each phase that it must keep
FEWEST_COUNTS = 2.0  # expected counts below this have the variance of this: edges are not placed to better


@dataclass(frozen=True, slots=True, eq=False)
class Refined:
    """What the data make of a segmentation.

    Attributes
    ----------
    particle : Planted
    shape : Shape
        Its level sets.
    densities : float64 array (m, c)
        Of each material in each channel.
    misfit : float
        Squared residual over its variance, per datum in the shadow of the particle: about 1 where only noise is left.
    grain : float
        Relative density fluctuations that the data ask for beside it; see `napari_dipmtv.trust.grain`.
    """

    particle: Planted
    shape: Shape
    densities: F64
    misfit: float
    grain: float = 0.0

    def deformed(self, random: np.random.Generator) -> Refined:
        """Give another particle like it: boundaries deformed at random, densities kept but for the grain.

        Draws in which a thin phase all but vanished are drawn again: that it is there is known.
        """
        draws = (self.moved(self.shape.deformed(random)) for _ in range(DRAWS))
        other = next((one for one in draws if self._is_whole(one)), self)
        if not self.grain:
            return other
        volume = other.particle.volume
        size = self.grain * np.exp(GRAIN_SPREAD * random.standard_normal())  # it is known to that
        field = 1 + np.float32(size) * grain_field(volume.data.shape[1:], random)
        grainy = volume.replace(data=volume.data * np.clip(field, 0, None))
        return replace(other, particle=replace(other.particle, volume=grainy))

    def _is_whole(self, other: Refined) -> bool:
        there = other.particle.sizes_nm3
        phases = ((name, size) for name, size in self.particle.sizes_nm3.items() if name != VOID)
        return all(there.get(name, 0.0) >= LEAST_LEFT * size for name, size in phases)

    def moved(self, distances: F32) -> Refined:
        """Give the particle of other level sets (p + 1, z, y, x), drawn sharp, its densities kept."""
        particle = self.shape.planted(self.shape.counted(distances), self.densities)
        return replace(self, particle=particle, shape=replace(self.shape, distances=distances))


def refine(series: TiltSeries, phases: Segmentation) -> Refined:
    """Move the boundaries of a segmentation to where the projections want them.

    Parameters
    ----------
    series : TiltSeries
    phases : Segmentation
        Of a reconstruction of these data, in the same field of view.

    Raises
    ------
    InputError
        For a segmentation without matter.
    GeometryError
        For one of another field of view.
    """
    if phases.labels.shape[1:] != series.data.shape[2:]:
        wanted, advice = f"(z, {series.data.shape[2:]})", "Segment a reconstruction of these data"
        raise GeometryError(expected("phases", wanted, phases.labels.shape, advice))
    fit = _Fit(series, Shape.of(phases, series.channels))
    for most, rest_px, finer in ((COARSE_STEPS, COARSE_PX, False), (FINE_STEPS, FINE_PX, True)):
        for _ in range(most):
            if fit.step(finer) < rest_px:
                break
    return fit.result()


class _Fit:
    """Displacements (p, k) and densities (m, c) on their way; data as (c, rows, y) in the shadow of the box."""

    def __init__(self, series: TiltSeries, shape: Shape) -> None:
        self.shape = shape
        nz, ny, nx = shape.phases.labels.shape
        geometry = Geometry.of((nz, ny, nx), series.tilts_deg, width=series.data.shape[3])
        rows, columns, weights = joseph_weights(geometry)
        matrix = csr_array((weights, (rows, columns)), shape=(geometry.views * geometry.width, nz * nx))
        z, y, x = shape.box
        matrix = matrix[:, np.arange(nz * nx).reshape(nz, nx)[z, x].ravel()]
        shadow = np.flatnonzero(np.diff(matrix.indptr))
        self.matrix = csr_array(matrix[shadow].astype(np.float32))

        def seen(maps: F32) -> F32:  # (..., t, y, x) to (..., rows, y)
            moved = np.swapaxes(maps[..., y, :], -1, -2)
            return moved.reshape(*maps.shape[:-3], -1, moved.shape[-1])[..., shadow, :]

        self.data = seen(series.data)
        self.valid = np.float32(1) if series.valid is None else seen(series.valid.astype(np.float32))
        each = np.broadcast_to(np.reshape(series.gain, (-1, 1)), (geometry.views, geometry.width))
        self.gain = each.reshape(-1, 1)[shadow]  # (rows, 1)
        self.kind = noise_kind(series)
        if self.kind == "covariance":
            assert series.covariance is not None
            matrices = np.moveaxis(seen(series.covariance), (0, 1), (-2, -1)).astype(np.float64)
            self.precision = np.moveaxis(np.linalg.pinv(matrices, hermitian=True), (-2, -1), (0, 1))
        own = (DEGREE + 1) ** 2
        self.modes = np.stack([_modes(shape, shape.phases.mask(n), DEGREE) if n == VOID
                               else _modes(shape, shape.phases.labels > 0, DEGREE) for n in shape.names])  # fmt: skip
        self.shared = _modes(shape, shape.phases.labels > 0, FINEST_DEGREE)[own:]  # (j, z, y, x)
        self.radial = _radial(shape)
        self.moved = np.zeros(self.modes.shape[:2])  # (p, k)
        self.bent = np.zeros(len(self.shared))
        finer = degrees(FINEST_DEGREE)[own:]
        own_px = np.tile(np.repeat(PRIOR_PX, 2 * np.arange(DEGREE + 1) + 1), len(self.modes))
        self.prior = np.concatenate([own_px, SHARED_PX * finer[0] / finer]) ** -2.0
        self.densities = self._first_densities()

    def step(self, finer: bool) -> float:
        """One Gauss-Newton step of the displacements and densities; the largest displacement in voxels."""
        now = self.distances()
        made = self.project(self.shape.by_material(self.shape.shares(now)))  # (m, rows, y)
        mean = np.einsum("mc,mry->cry", self.densities, made)
        linear = np.einsum("mry,cd->mcdry", made, np.eye(len(mean))).reshape(-1, *mean.shape)
        columns = np.concatenate([self._slopes(now, finer), linear.astype(np.float32)])
        change = self._change(columns, mean)
        start, least = (self.moved, self.bent, self.densities), self._cost(mean, mean)
        for part in PARTS_OF_A_STEP:
            self._move(start, part * change)
            if (
                self.densities.any(axis=0).all() and self._cost(self._mean(), mean) < least
            ):  # no channel is lost
                return float(np.abs(part * change[: -self.densities.size]).max(initial=0))
        self.moved, self.bent, self.densities = start
        return 0.0

    def _change(self, columns: F32, mean: F64) -> F64:
        """Solve the normal equations: displacements of at most `LONGEST_STEP_PX`, and densities (m c)."""
        weighted = self._weighted(columns, mean).reshape(len(columns), -1)
        count = len(columns) - self.densities.size
        prior, values = np.zeros(len(columns)), np.zeros(len(columns))
        prior[:count] = self.prior[:count]
        values[:count] = np.append(self.moved.ravel(), self.bent)[:count]
        normal = (weighted @ columns.reshape(len(columns), -1).T).astype(np.float64)
        gradient = weighted @ (self.data - mean).astype(np.float32).ravel() - prior * values
        normal += np.diag(prior + 1e-6 * np.diag(normal).mean() * (prior == 0))
        change = np.linalg.solve(normal, gradient)
        longest = float(np.abs(change[:count]).max(initial=0))
        if longest > LONGEST_STEP_PX:  # the densities are those of the shorter step
            change[:count] *= LONGEST_STEP_PX / longest
            left = gradient[count:] - normal[count:, :count] @ change[:count]
            change[count:] = np.linalg.solve(normal[count:, count:], left)
        return np.asarray(change)

    def _move(self, start: tuple[F64, F64, F64], change: F64) -> None:
        moved, bent, densities = start
        count = len(change) - densities.size
        self.moved = moved + change[: moved.size].reshape(moved.shape)
        self.bent = bent + change[moved.size : count] if count > moved.size else bent
        self.densities = np.maximum(densities + change[count:].reshape(densities.shape), 0)

    def _mean(self) -> F64:
        """Expected data (c, rows, y)."""
        made = self.project(self.shape.by_material(self.shape.shares(self.distances())))
        return np.asarray(np.einsum("mc,mry->cry", self.densities, made))

    def _cost(self, mean: F64, weigh_by: F64) -> float:
        """What is minimised, with the weights of given expected data."""
        left = (self.data - mean)[None].astype(np.float32)
        values = np.append(self.moved.ravel(), self.bent)
        return float((self._weighted(left, weigh_by) * left).sum() + self.prior @ values**2)

    def distances(self) -> F32:
        """Of the moved boundaries (p + 1, z, y, x)."""
        by = np.clip(np.tensordot(self.bent, self.shared, axes=1), -FARTHEST_PX, FARTHEST_PX)
        out = self._stretched(self.shape.distances, by)
        moved = np.einsum("pk,pkzyx->pzyx", self.moved, self.modes)
        out[1:] += np.clip(moved, -FARTHEST_PX, FARTHEST_PX).astype(np.float32)
        return out

    def _stretched(self, distances: F32, by_px: F64 | float) -> F32:
        """Distances (p + 1, z, y, x) of the whole particle drawn outwards, so far at its mean radius."""
        grid = np.stack(np.meshgrid(*[np.arange(n) for n in distances.shape[1:]], indexing="ij"))
        at = grid - by_px * self.radial
        moved = [map_coordinates(one, at, order=1, mode="nearest") for one in distances]
        return np.stack(moved).astype(np.float32)

    def result(self) -> Refined:
        """The particle and how well it explains the data."""
        distances = self.distances()
        particle = self.shape.planted(self.shape.shares(distances), self.densities)
        mean = self._mean()
        left = (self.data - mean)[None].astype(np.float32)
        counted = (
            np.minimum(mean * self.gain / FEWEST_COUNTS, 1) if self.kind == "poisson" else np.ones_like(mean)
        )
        misfit = float(
            (self._weighted(left, mean) * left).sum() / max(float((counted * self.valid).sum()), 1.0)
        )
        shape = Shape(self.shape.phases, self.shape.channels, distances)
        return Refined(particle, shape, self.densities, misfit)

    def project(self, fields: F32) -> F32:
        """Projections (n, rows, y) of fields (n, z, y, x) in the box."""
        count, nz, ny, nx = fields.shape
        views = self.matrix @ fields.transpose(1, 3, 0, 2).reshape(nz * nx, count * ny).astype(np.float32)
        made: F32 = views.reshape(-1, count, ny).transpose(1, 0, 2)
        return made

    def _slopes(self, distances: F32, finer: bool) -> F32:
        """Change (p k + j, c, rows, y) of the data with every displacement, the shared ones where wanted."""
        out = []
        for p in range(len(self.modes)):
            pair = [distances.copy(), distances.copy()]
            for one, half in zip(pair, (0.5, -0.5), strict=True):
                one[p + 1] += np.float32(half)
            out.append(self._projected(self.modes[p], pair))
        if finer:
            out.append(self._projected(self.shared, [self._stretched(distances, h) for h in (0.5, -0.5)]))
        return np.concatenate(out)

    def _projected(self, modes: F32, pair: list[F32]) -> F32:
        """Change (k, c, rows, y) of the data with modes (k, z, y, x) of what tells two sets of distances apart."""
        more, less = (self.shape.by_material(self.shape.shares(one)) for one in pair)
        change = np.tensordot(self.densities.T.astype(np.float32), more - less, axes=1)  # (c, z, y, x)
        return np.stack([self.project(modes * one) for one in change], axis=1)

    def _weighted(self, columns: F32, mean: F64) -> F32:
        """Inverse covariance of the data times the columns (n, c, rows, y)."""
        weighted: F32
        if self.kind == "covariance":
            weighted = np.einsum("cdry,ndry->ncry", self.precision.astype(np.float32), columns) * self.valid
            return weighted
        if self.kind == "poisson":
            variance = np.maximum(mean, FEWEST_COUNTS / self.gain) / self.gain
        else:
            variance = np.maximum(np.mean((self.data - mean) ** 2, axis=(1, 2), keepdims=True), 1e-30)
        weighted = columns * (self.valid / variance).astype(np.float32)
        return weighted

    def _first_densities(self) -> F64:
        """Least squares with the boundaries as they are; (m, c)."""
        from scipy.optimize import nnls

        made = self.project(self.shape.by_material(self.shape.shares(self.shape.distances)))
        columns = made.reshape(len(made), -1).astype(np.float64)
        square = columns @ columns.T
        return np.stack(
            [nnls(square, columns @ one.ravel().astype(np.float64))[0] for one in self.data], axis=1
        )


def _modes(shape: Shape, mask: NDArray[np.bool_], degree: int) -> F32:
    """Harmonics (k, z, y, x) of the direction from the centre of a mask, in the box of the shape."""
    apart = _apart(shape, mask)
    directions = (apart / np.maximum(np.linalg.norm(apart, axis=0), 1.0)).reshape(3, -1)
    return harmonics(directions, degree).reshape(-1, *apart.shape[1:]).astype(np.float32)


def _radial(shape: Shape) -> F64:
    """Vectors (3, z, y, x) from the centre of the particle, of length 1 at its mean radius."""
    matter = shape.phases.labels > 0
    mean_radius_px: float = (3 * float(matter.sum()) / (4 * np.pi)) ** (1 / 3)
    return _apart(shape, matter) / mean_radius_px


def _apart(shape: Shape, mask: NDArray[np.bool_]) -> F64:
    """Vectors (3, z, y, x) in the box from the centre of a mask, in voxels."""
    centre = np.argwhere(mask[shape.box]).mean(axis=0)
    grid = np.stack(np.meshgrid(*[np.arange(n) for n in shape.distances.shape[1:]], indexing="ij"))
    return np.asarray(grid - centre[:, None, None, None])
