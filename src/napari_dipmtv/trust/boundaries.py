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
from napari_dipmtv.trust.evidence import prior_scale
from napari_dipmtv.trust.harmonics import degrees, harmonics
from napari_dipmtv.trust.holes import Hole
from napari_dipmtv.trust.level_sets import Drawing, drawings
from napari_dipmtv.trust.planted import FARTHEST_PX, Shape
from napari_dipmtv.trust.weights import Weights

PARTS_OF_A_STEP = (1.0, 0.5, 0.2)  # the first that makes the fit better is taken
LONGEST_STEP_PX = 0.7  # beyond, the change of the shares is no longer linear
PRIOR_PX = (1.5, 0.7, 0.5, 0.4, 0.4)  # standard deviation of the displacement by the degree of the harmonic
DEGREE = len(PRIOR_PX) - 1
FACET_PX = 0.5  # the same of the offset and the tilts of a facet
# Of the displacements that all boundaries share; half a wave is never shorter than so many voxels.
FINEST_DEGREE, FINEST_WAVE_PX = 16, 2.5
# Standard deviation of those, in mean radii over the squared degree: the spectrum of a cube. What a drawing leaves of
# it is for the evidence to say (`Fit.weigh_finer`).
FACETS = 0.3
ROUND = 0.05  # standard deviation of what makes a void no ball, in its radii


class Fit:
    """Displacements and densities (m, c) on their way; data as (c, rows, y) in the shadow of the box.

    ``values`` (n,) are displacements in voxels: of every solid phase in its ``own`` modes (k, z, y, x), which are
    harmonics up to `DEGREE` and those that go with how it is drawn; of every hole; and of what all solid phases share,
    in harmonics up to `FINEST_DEGREE`. ``distances`` (p + 1, z, y, x) are those of the boundaries so displaced, and
    ``made`` (m, rows, y) the projections of the materials between them.
    """

    distances: F32
    made: F32
    spread = 1.0  # of the shared displacements, in those of a cube

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

        self.weights = Weights(series, seen)
        matter = shape.phases.labels > 0
        self.radius_px = (3 * float(matter.sum()) / (4 * np.pi)) ** (1 / 3)
        centre = np.argwhere(matter[shape.box]).mean(axis=0)
        apart = np.indices(shape.distances.shape[1:]) - centre[:, None, None, None]
        self.finest = max(min(int(np.pi * self.radius_px / FINEST_WAVE_PX), FINEST_DEGREE), DEGREE + 1)
        self.radial = apart / self.radius_px  # (3, z, y, x), of length 1 at the mean radius
        self.directions = apart / np.maximum(np.linalg.norm(apart, axis=0), 1.0)
        self.own = self.modes[: (DEGREE + 1) ** 2]  # (k, z, y, x)
        self.prior = self._prior_px() ** -2.0
        self.values = np.zeros(len(self.prior))
        self._draw()
        self.densities = self._first_densities()

    def redrawn(self) -> Fit | None:
        """The same where its boundaries are now, free of what is left of the voxels; None for phases that do not nest.

        Of several drawings the one that the data like best.
        """
        names = [n for n, solid in zip(self.shape.names, self.shape.solid, strict=True) if solid]
        found = (self._over(one) for one in drawings(self.shape.solid_shares(self.distances), names))
        return min(found, key=Fit.cost, default=None)

    def _over(self, drawing: Drawing) -> Fit:
        """The same, of another drawing and nothing displaced yet."""
        other = copy(self)
        other.holes = self.holes_now()
        other.shape = replace(self.shape, distances=self.shape.with_holes(drawing.distances, other.holes))
        other.own = np.concatenate([self.modes[: (DEGREE + 1) ** 2], drawing.moves])
        other.prior = other._prior_px() ** -2.0
        other.values = np.zeros(len(other.prior))
        other._draw()
        return other

    def cost(self) -> float:
        """What is minimised, in nats."""
        mean = self.mean()
        return self._cost(mean, mean) / 2

    def step(self, finer: bool) -> float:
        """One Gauss-Newton step of the displacements and densities; what it gains in nats."""
        mean = self.mean()
        change = self._change(self.columns(finer), mean)
        start = self.values, self.densities, self.distances, self.made
        least = self._cost(mean, mean)
        for part in PARTS_OF_A_STEP:
            self._move(start[0], start[1], part * change)
            cost = self._cost(self.mean(), mean)
            if self.densities.any(axis=0).all() and cost < least:  # no channel is lost
                return (least - cost) / 2
        self.values, self.densities, self.distances, self.made = start
        return 0.0

    def weigh_finer(self) -> None:
        """Give the shared displacements the spread for which the data have the most evidence."""
        columns, mean = self.columns(finer=True), self.mean()
        normal, gradient = self.weights.equations(columns, mean)
        count, shared = len(self.values), self.parts()[2]
        finer = np.zeros(len(columns), bool)
        finer[count - len(shared) : count] = True
        gradient[:count] -= np.where(finer[:count], 0, self.prior * self.values)
        gradient += normal[:, finer] @ shared  # as if they were zero
        inner = self.with_prior(normal)[~finer][:, ~finer]
        across = np.linalg.solve(inner, normal[~finer][:, finer])
        information = normal[finer][:, finer] - normal[finer][:, ~finer] @ across
        score = gradient[finer] - across.T @ gradient[~finer]
        self.spread = prior_scale(information, score, self._finer_px()) ** 0.5
        self.prior = self._prior_px() ** -2.0

    def with_holes(self, holes: tuple[Hole, ...]) -> Fit:
        """The same as it is now, with other holes."""
        own, _, shared = self.parts()
        other = copy(self)
        other.holes = holes
        other.values = np.concatenate([own.ravel(), *(np.zeros(len(hole.radii)) for hole in holes), shared])
        other.prior = other._prior_px() ** -2.0
        other._draw()
        return other

    def full(self) -> F32:
        """Densities (c, z, y, x) of what is there."""
        rho = self.densities[self.shape.materials[self.shape.solid]]
        shares = self.shape.solid_shares(self.distances) * (1 - self.shape.hollow(self.distances))
        return np.tensordot(rho.T.astype(np.float32), shares, axes=1)

    def holes_now(self) -> tuple[Hole, ...]:
        """Where the holes are, and how large."""
        _, holes, _ = self.parts()
        return tuple(hole.moved(by) for hole, by in zip(self.holes, holes, strict=True))

    def mean(self) -> F64:
        """Expected data (c, rows, y)."""
        return np.asarray(np.einsum("mc,mry->cry", self.densities, self.made))

    def _draw(self) -> None:
        """Find ``distances`` and ``made`` of the values."""
        own, _, shared = self.parts()
        out = self._stretched(shared)
        for values, place in zip(own, np.flatnonzero(self.shape.solid), strict=True):
            by = np.tensordot(values.astype(np.float32), self.own, axes=1)
            out[place + 1] += np.clip(by, -FARTHEST_PX, FARTHEST_PX)
        solid = out[np.concatenate([[True], self.shape.solid])]
        self.distances = self.shape.with_holes(solid, self.holes_now())
        self.made = self.project(self.shape.by_material(self.shape.shares(self.distances)))

    def misfit(self) -> float:
        """Squared residual over its variance, per datum that has one."""
        return self.weights.misfit(self.mean())

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

    def back(self, maps: F32) -> F32:
        """Back-projection (n, z, y, x) of maps (n, rows, y): the transpose of `project`."""
        _, nz, ny, nx = self.shape.distances.shape
        back: F32 = np.stack([(self.matrix.T @ one).reshape(nz, nx, ny).swapaxes(1, 2) for one in maps])
        return back

    def _prior_px(self) -> F64:
        """Standard deviation (n,) of each displacement: a void is nearly a ball, for all that noise says."""
        repeats = 2 * np.arange(DEGREE + 1) + 1
        each = np.concatenate(
            [np.repeat(PRIOR_PX, repeats), np.full(len(self.own) - repeats.sum(), FACET_PX)]
        )
        own = np.tile(each, int(self.shape.solid.sum()))
        holes = []
        for hole in self.holes:
            each = np.repeat(PRIOR_PX, repeats)[: len(hole.radii)]
            each[4:] = np.minimum(each[4:], ROUND * hole.radii[0])
            holes.append(each)
        return np.concatenate([own, *holes, self.spread * self._finer_px()])

    def _finer_px(self) -> F64:
        """Of the displacements that all boundaries share, before `spread`."""
        finer = degrees(self.finest)[(DEGREE + 1) ** 2 :]
        return np.asarray(FACETS * self.radius_px / finer**2)

    def parts(self) -> tuple[F64, list[F64], F64]:
        """Displacements of the solid phases (p, k), of the holes, and the shared ones."""
        count, own = int(self.shape.solid.sum()), len(self.own)
        ends = np.cumsum([count * own, *(len(hole.radii) for hole in self.holes)])
        first, *holes, shared = np.split(self.values, ends)
        return first.reshape(count, own), holes, shared

    def _change(self, columns: F32, mean: F64) -> F64:
        """Solve the normal equations: displacements of at most `LONGEST_STEP_PX`, and densities (m c)."""
        normal, gradient = self.equations(columns, mean)
        count = len(columns) - self.densities.size
        change = np.linalg.solve(normal, gradient)
        longest = float(np.abs(change[:count]).max(initial=0))
        if longest > LONGEST_STEP_PX:  # the densities are those of the shorter step
            change[:count] *= LONGEST_STEP_PX / longest
            left = gradient[count:] - normal[count:, :count] @ change[:count]
            change[count:] = np.linalg.solve(normal[count:, count:], left)
        return np.asarray(change)

    def equations(self, columns: F32, mean: F64) -> tuple[F64, F64]:
        """Normal matrix (n, n) and gradient (n,) of data and prior."""
        normal, gradient = self.weights.equations(columns, mean)
        count = len(columns) - self.densities.size
        gradient[:count] -= self.prior[:count] * self.values[:count]
        return self.with_prior(normal), gradient

    def with_prior(self, normal: F64) -> F64:
        """Normal matrix (n, n) of data and prior; the densities, which come last, have none."""
        count = len(normal) - self.densities.size
        prior = np.full(len(normal), 1e-6 * np.diag(normal).mean())
        prior[:count] = self.prior[:count]
        return np.asarray(normal + np.diag(prior))

    def columns(self, finer: bool) -> F32:
        """Change (n, c, rows, y) of the data with every displacement and density."""
        channels = self.densities.shape[1]
        linear = np.einsum("mry,cd->mcdry", self.made, np.eye(channels, dtype=np.float32))
        slopes = self._slopes(finer)
        return np.concatenate([slopes, linear.reshape(-1, *slopes.shape[1:])])

    def _move(self, values: F64, densities: F64, change: F64) -> None:
        count = len(change) - densities.size
        self.values = values.copy()
        self.values[:count] += change[:count]
        self.densities = np.maximum(densities + change[count:].reshape(densities.shape), 0)
        self._draw()

    def _cost(self, mean: F64, weigh_by: F64) -> float:
        """What is minimised, with the weights of given expected data."""
        return self.weights.squares(mean, weigh_by) + float(self.prior @ self.values**2)

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
        own, out = self.own[:, z, y, x], []
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
            out.append(self._projected(self.modes[(DEGREE + 1) ** 2 :, z, y, x], jump * outwards, at))
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

    def _first_densities(self) -> F64:
        """Least squares with the boundaries as they are; (m, c)."""
        from scipy.optimize import nnls

        columns = self.made.reshape(len(self.made), -1).astype(np.float64)
        square = columns @ columns.T
        return np.stack(
            [nnls(square, columns @ one.ravel().astype(np.float64))[0] for one in self.weights.data], axis=1
        )


def _rise(apart: F32, width: F32) -> F32:
    """Change of a share with the difference of two distances, averaged over a voxel of it."""
    rise: F32 = np.clip(0.5 + (apart + 0.5) / width, 0, 1) - np.clip(0.5 + (apart - 0.5) / width, 0, 1)
    return rise
