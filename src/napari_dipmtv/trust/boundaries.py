"""Boundaries and densities of a particle, and their steps towards the projections: the fit behind `trust.refine`.

The expected data are ``P sum_p rho_p s_p``. A voxel takes part in a step where two phases share it: its content
changes with the difference of their distances, by the difference of their densities. So the derivatives live in the few
voxels of the boundaries, and their projections are sparse.
"""

from __future__ import annotations

from copy import copy
from dataclasses import replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates
from scipy.sparse import csc_array

from napari_dipmtv.data import F32, F64, TiltSeries
from napari_dipmtv.projection.geometry import Geometry
from napari_dipmtv.projection.sparse import joseph_weights
from napari_dipmtv.trust.harmonics import degrees, harmonics
from napari_dipmtv.trust.holes import Hole
from napari_dipmtv.trust.level_sets import redrawn
from napari_dipmtv.trust.missing import most_demanded
from napari_dipmtv.trust.planted import FARTHEST_PX, Shape
from napari_dipmtv.trust.resample import noise_kind
from napari_dipmtv.trust.result import CUT_NATS

PARTS_OF_A_STEP = (1.0, 0.5, 0.2)  # the first that makes the fit better is taken
LONGEST_STEP_PX = 0.7  # beyond, the change of the shares is no longer linear
PRIOR_PX = (1.5, 0.7, 0.5, 0.4, 0.4)  # standard deviation of the displacement by the degree of the harmonic
DEGREE = len(PRIOR_PX) - 1
# Of the displacements that all boundaries share; half a wave is never shorter than so many voxels.
FINEST_DEGREE, FINEST_WAVE_PX = 16, 2.5
FACETS = 0.3  # standard deviation of those, in mean radii over the squared degree: the spectrum of a cube
ROUND = 0.05  # standard deviation of what makes a void no ball, in its radii
FEWEST_COUNTS = 2.0  # expected counts below this have the variance of this: edges are not placed to better


class Fit:
    """Displacements and densities (m, c) on their way; data as (c, rows, y) in the shadow of the box.

    ``values`` (n,) are harmonics in voxels: of every solid phase up to `DEGREE`, of every hole, and of what all solid
    phases share up to `FINEST_DEGREE`. ``distances`` (p + 1, z, y, x) are those of the boundaries so displaced, and
    ``made`` (m, rows, y) the projections of the materials between them.
    """

    distances: F32
    made: F32

    def __init__(self, series: TiltSeries, shape: Shape, holes: tuple[Hole, ...]) -> None:
        self.shape, self.holes = shape, holes
        nz, ny, nx = shape.phases.labels.shape
        geometry = Geometry.of((nz, ny, nx), series.tilts_deg, width=series.data.shape[3])
        rows, columns, weights = joseph_weights(geometry)
        matrix = csc_array((weights, (rows, columns)), shape=(geometry.views * geometry.width, nz * nx))
        z, y, x = shape.box
        matrix = matrix[:, np.arange(nz * nx).reshape(nz, nx)[z, x].ravel()]
        shadow = np.unique(matrix.indices)
        self.matrix = csc_array(matrix[shadow].astype(np.float32))

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
        matter = shape.phases.labels > 0
        self.radius_px = (3 * float(matter.sum()) / (4 * np.pi)) ** (1 / 3)
        centre = np.argwhere(matter[shape.box]).mean(axis=0)
        apart = np.indices(shape.distances.shape[1:]) - centre[:, None, None, None]
        self.finest = max(min(int(np.pi * self.radius_px / FINEST_WAVE_PX), FINEST_DEGREE), DEGREE + 1)
        self.radial = apart / self.radius_px  # (3, z, y, x), of length 1 at the mean radius
        self.directions = apart / np.maximum(np.linalg.norm(apart, axis=0), 1.0)
        self.prior = self._prior_px() ** -2.0
        self.values = np.zeros(len(self.prior))
        self._draw()
        self.densities = self._first_densities()

    def redrawn(self) -> Fit | None:
        """The same where its boundaries are now, free of what is left of the voxels; None where they cannot be."""
        names = [n for n, solid in zip(self.shape.names, self.shape.solid, strict=True) if solid]
        found = redrawn(self.shape.solid_shares(self.distances), names)
        if found is None:
            return None
        other = copy(self)
        other.holes = self.holes_now()
        other.shape = replace(self.shape, distances=self.shape.with_holes(found, other.holes))
        other.values = np.zeros(len(self.prior))
        other._draw()
        return other

    def step(self, finer: bool) -> float:
        """One Gauss-Newton step of the displacements and densities; what it gains in nats."""
        mean = self.mean()
        linear = np.einsum("mry,cd->mcdry", self.made, np.eye(len(mean), dtype=np.float32))
        linear = linear.reshape(-1, *mean.shape)
        columns = np.concatenate([self._slopes(finer), linear])
        change = self._change(columns, mean)
        start = self.values, self.densities, self.distances, self.made
        least = self._cost(mean, mean)
        for part in PARTS_OF_A_STEP:
            self._move(start[0], start[1], part * change)
            cost = self._cost(self.mean(), mean)
            if self.densities.any(axis=0).all() and cost < least:  # no channel is lost
                return (least - cost) / 2
        self.values, self.densities, self.distances, self.made = start
        return 0.0

    def close_idle_holes(self) -> bool:
        """Leave out the holes that the data do not demand: without them the fit is worse by less than `CUT_NATS`."""
        mean, (own, parts, shared) = self.mean(), self._parts()
        solid = self.distances[np.concatenate([[True], self.shape.solid])]
        now, least = self.holes_now(), self._cost(mean, mean)
        kept = []
        for number in range(len(now)):
            filled = self.shape.with_holes(solid, now[:number] + now[number + 1 :])
            made = self.project(self.shape.by_material(self.shape.shares(filled)))
            worse = self._cost(np.einsum("mc,mry->cry", self.densities, made), mean) - least
            if worse / 2 >= CUT_NATS:
                kept.append(number)
        if len(kept) == len(now):
            return False
        self.holes = tuple(self.holes[number] for number in kept)
        self.values = np.concatenate([own.ravel(), *(parts[number] for number in kept), shared])
        self.prior = self._prior_px() ** -2.0
        self._draw()
        return True

    def open_hole(self) -> bool:
        """Make a hole of the ball that the data demand empty: by `CUT_NATS`, and more than any of twice the density.

        The latter matter cannot be; what it gains is what any change gains that happens to mend something.
        """
        now, shape = self.distances, self.shape
        if shape.solid.all():
            return False
        rho = self.densities[shape.materials[shape.solid]]
        shares = shape.solid_shares(now) * (1 - shape.hollow(now))
        full, mean = np.tensordot(rho.T.astype(np.float32), shares, axes=1), self.mean()  # (c, z, y, x)
        wanted = self._weighted((self.data - mean)[None].astype(np.float32), mean)[0]
        slope = (self._back(wanted) * full).sum(axis=0)

        def gain(share: F32, sign: int) -> float:
            seen = self.project(full * share)
            return (
                sign * float((wanted * seen).sum())
                - float((self._weighted(seen[None], mean) * seen).sum()) / 2
            )

        matter = shares.sum(axis=0) > 0.5
        best = most_demanded(-slope, matter, lambda share: gain(share, -1))
        control = most_demanded(slope, matter, lambda share: gain(share, 1))
        if best is None or best[1] < max(CUT_NATS, 0.0 if control is None else control[1]):
            return False
        own, parts, shared = self._parts()
        self.holes, self.values = (
            (*self.holes, best[0]),
            np.concatenate([own.ravel(), *parts, np.zeros(4), shared]),
        )
        self.prior = self._prior_px() ** -2.0
        self._draw()
        return True

    def holes_now(self) -> tuple[Hole, ...]:
        """Where the holes are, and how large."""
        _, holes, _ = self._parts()
        return tuple(hole.moved(by) for hole, by in zip(self.holes, holes, strict=True))

    def mean(self) -> F64:
        """Expected data (c, rows, y)."""
        return np.asarray(np.einsum("mc,mry->cry", self.densities, self.made))

    def _draw(self) -> None:
        """Find ``distances`` and ``made`` of the values."""
        own, _, shared = self._parts()
        out = self._stretched(shared)
        for values, place in zip(own, np.flatnonzero(self.shape.solid), strict=True):
            by = np.tensordot(values.astype(np.float32), self.modes[: (DEGREE + 1) ** 2], axes=1)
            out[place + 1] += np.clip(by, -FARTHEST_PX, FARTHEST_PX)
        solid = out[np.concatenate([[True], self.shape.solid])]
        self.distances = self.shape.with_holes(solid, self.holes_now())
        self.made = self.project(self.shape.by_material(self.shape.shares(self.distances)))

    def misfit(self) -> float:
        """Squared residual over its variance, per datum that has one."""
        mean = self.mean()
        left = (self.data - mean)[None].astype(np.float32)
        counted = np.ones_like(mean)
        if self.kind == "poisson":
            counted = np.minimum(mean * self.gain / FEWEST_COUNTS, 1)
        return float(
            (self._weighted(left, mean) * left).sum() / max(float((counted * self.valid).sum()), 1.0)
        )

    def project(self, fields: F32) -> F32:
        """Projections (n, rows, y) of fields (n, z, y, x) in the box."""
        count, nz, ny, nx = fields.shape
        views = self.matrix @ fields.transpose(1, 3, 0, 2).reshape(nz * nx, count * ny).astype(np.float32)
        made: F32 = views.reshape(-1, count, ny).transpose(1, 0, 2)
        return made

    @cached_property
    def modes(self) -> F32:
        """Harmonics (k, z, y, x) of the direction from the centre, up to the finest."""
        found = harmonics(self.directions.reshape(3, -1), self.finest).astype(np.float32)
        return found.reshape(-1, *self.directions.shape[1:])

    def _back(self, maps: F32) -> F32:
        """Back-projection (n, z, y, x) of maps (n, rows, y): the transpose of `project`."""
        _, nz, ny, nx = self.shape.distances.shape
        back: F32 = np.stack([(self.matrix.T @ one).reshape(nz, nx, ny).swapaxes(1, 2) for one in maps])
        return back

    def _prior_px(self) -> F64:
        """Standard deviation (n,) of each displacement: a void is nearly a ball, for all that noise says."""
        repeats = 2 * np.arange(DEGREE + 1) + 1
        own = np.tile(np.repeat(PRIOR_PX, repeats), int(self.shape.solid.sum()))
        holes = []
        for hole in self.holes:
            each = np.repeat(PRIOR_PX, repeats)[: len(hole.radii)]
            each[4:] = np.minimum(each[4:], ROUND * hole.radii[0])
            holes.append(each)
        finer = degrees(self.finest)[(DEGREE + 1) ** 2 :]
        return np.concatenate([own, *holes, FACETS * self.radius_px / finer**2])

    def _parts(self) -> tuple[F64, list[F64], F64]:
        """Displacements of the solid phases (p, k), of the holes, and the shared ones."""
        count, own = int(self.shape.solid.sum()), (DEGREE + 1) ** 2
        ends = np.cumsum([count * own, *(len(hole.radii) for hole in self.holes)])
        first, *holes, shared = np.split(self.values, ends)
        return first.reshape(count, own), holes, shared

    def _change(self, columns: F32, mean: F64) -> F64:
        """Solve the normal equations: displacements of at most `LONGEST_STEP_PX`, and densities (m c)."""
        normal, gradient = self._equations(columns, mean)
        count = len(columns) - self.densities.size
        prior, values = np.zeros(len(columns)), np.zeros(len(columns))
        prior[:count], values[:count] = self.prior[:count], self.values[:count]
        gradient = gradient - prior * values
        normal += np.diag(prior + 1e-6 * np.diag(normal).mean() * (prior == 0))
        change = np.linalg.solve(normal, gradient)
        longest = float(np.abs(change[:count]).max(initial=0))
        if longest > LONGEST_STEP_PX:  # the densities are those of the shorter step
            change[:count] *= LONGEST_STEP_PX / longest
            left = gradient[count:] - normal[count:, :count] @ change[:count]
            change[count:] = np.linalg.solve(normal[count:, count:], left)
        return np.asarray(change)

    def _equations(self, columns: F32, mean: F64) -> tuple[F64, F64]:
        """Normal matrix (n, n) and gradient (n,) of the data."""
        left = (self.data - mean).astype(np.float32)
        if self.kind == "covariance":
            weighted = self._weighted(columns, mean).reshape(len(columns), -1)
            normal = weighted @ columns.reshape(len(columns), -1).T
            return normal.astype(np.float64), (weighted @ left.ravel()).astype(np.float64)
        root = np.sqrt(self._weighted(np.ones((1, *left.shape), np.float32), mean)[0])
        scaled = (columns * root).reshape(len(columns), -1)
        normal = scaled @ scaled.T  # of one matrix with itself: half the work
        return normal.astype(np.float64), (scaled @ (left * root).ravel()).astype(np.float64)

    def _move(self, values: F64, densities: F64, change: F64) -> None:
        count = len(change) - densities.size
        self.values = values.copy()
        self.values[:count] += change[:count]
        self.densities = np.maximum(densities + change[count:].reshape(densities.shape), 0)
        self._draw()

    def _cost(self, mean: F64, weigh_by: F64) -> float:
        """What is minimised, with the weights of given expected data."""
        left = (self.data - mean)[None].astype(np.float32)
        return float((self._weighted(left, weigh_by) * left).sum() + self.prior @ self.values**2)

    def _stretched(self, shared: F64) -> F32:
        """Distances (p + 1, z, y, x) of the whole particle drawn outwards, so far at its mean radius."""
        if not shared.any():
            return self.shape.distances.copy()
        by = np.tensordot(shared.astype(np.float32), self.modes[(DEGREE + 1) ** 2 :], axes=1)
        by_px = np.clip(by, -FARTHEST_PX, FARTHEST_PX)
        at = np.indices(by.shape) - by_px * self.radial
        moved = [map_coordinates(one, at, order=1, mode="nearest") for one in self.shape.distances]
        return np.stack(moved).astype(np.float32)

    def _slopes(self, finer: bool) -> F32:
        """Change (n, c, rows, y) of the data with every displacement, the shared ones where wanted."""
        now, shape = self.distances, self.shape
        hollow = shape.hollow(now)
        first, second, apart, width = shape.rivals(now)
        rise = _rise(apart, width) * (1 - hollow)
        z, y, x = at = np.nonzero(rise)
        one, two = first[at], second[at]
        rho = np.zeros((int(shape.solid.sum()) + 1, self.densities.shape[1]), np.float32)
        rho[1:] = self.densities[shape.materials[shape.solid]]
        jump = ((rho[one] - rho[two]) * rise[at][:, None]).T  # (c, n)
        modes = self.modes[:, z, y, x]
        own, out = modes[: (DEGREE + 1) ** 2], []
        for phase in range(1, len(rho)):
            near = (one == phase) | (two == phase)
            sign = np.where(one == phase, 1, -1)[near]
            out.append(self._projected(own[:, near], sign * jump[:, near], (z[near], y[near], x[near])))
        if self.holes:
            out += self._hole_slopes(np.tensordot(rho[1:].T, shape.solid_shares(now), axes=1))
        if finer:
            solid = now[np.concatenate([[True], shape.solid])]
            outwards = np.zeros(len(one), np.float32)
            for axis in (1, 2, 3):
                slope = np.gradient(solid, axis=axis)[:, z, y, x]
                across = (
                    np.take_along_axis(slope, one[None], 0)[0] - np.take_along_axis(slope, two[None], 0)[0]
                )
                outwards -= (across * self.radial[axis - 1][at]).astype(np.float32)
            out.append(self._projected(modes[len(own) :], jump * outwards, at))
        return np.concatenate(out)

    def _hole_slopes(self, full: F32) -> list[F32]:
        """Change (k, c, rows, y) of the data with the displacements of every hole in densities (c, z, y, x)."""
        holes = self.holes_now()
        apart = np.stack([hole.distances(full.shape[1:]) for hole in holes])
        nearest = apart.argmax(axis=0)
        out = []
        for number, hole in enumerate(holes):
            width = np.linalg.norm(np.gradient(apart[number]), axis=0)
            at = np.nonzero(_rise(apart[number], np.maximum(width, 0.5)) * (nearest == number))
            rise = _rise(apart[number][at], np.maximum(width[at], 0.5))
            modes = hole.modes(np.stack(at).astype(float)).astype(np.float32)
            out.append(self._projected(modes, -full[:, at[0], at[1], at[2]] * rise, at))
        return out

    def _projected(self, modes: F32, change: F32, at: tuple[NDArray[np.intp], ...]) -> F32:
        """Projections (k, c, rows, y) of modes (k, n) times changes (c, n) of the voxels ``at`` z, y, x."""
        _, ny, nx = self.shape.distances.shape[1:]
        z, y, x = at
        columns = self.matrix[:, z * nx + x]
        rows = columns.indices * ny + np.repeat(y, np.diff(columns.indptr))
        seen = csc_array((columns.data, rows, columns.indptr), shape=(self.matrix.shape[0] * ny, len(y)))
        made = [seen @ (modes * one).T.astype(np.float32) for one in change]  # (rows y, k) each
        return np.stack(made).transpose(2, 0, 1).reshape(len(modes), len(change), -1, ny)

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

        columns = self.made.reshape(len(self.made), -1).astype(np.float64)
        square = columns @ columns.T
        return np.stack(
            [nnls(square, columns @ one.ravel().astype(np.float64))[0] for one in self.data], axis=1
        )


def _rise(apart: F32, width: F32) -> F32:
    """Change of a share with the difference of two distances, averaged over a voxel of it."""
    rise: F32 = np.clip(0.5 + (apart + 0.5) / width, 0, 1) - np.clip(0.5 + (apart - 0.5) / width, 0, 1)
    return rise
