"""A filled volume and its data to the likelihood ratio of every enclosed ball, empty against filled.

With expected data ``m`` of the filled volume and the drop ``d`` that an emptied ball leaves in them, the ratio is, in
nats,

- Poisson: ``sum n log(1 - d / m) + d``,
- covariance ``C``: ``-(y - m)' C⁻¹ d - d' C⁻¹ d / 2``.

Both are linear in the data: the balls make one sparse matrix, and a whole new measurement is tested by one product.

A reconstruction is wrong in many smooth ways (too dense here, too blurred there), and a ball could win by mending them.
So density, sharpness and surface may change in patches of `PATCH_PX`, with and without the ball, as if those changes
were fitted to the data each time, each within a standard deviation (`_errors`); to second order that is linear in the
data as well.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from scipy.sparse import block_diag, csr_array, diags_array, hstack, kron, vstack

from napari_dipmtv.data import F32, F64, TiltSeries, Volume
from napari_dipmtv.errors import InputError, expected
from napari_dipmtv.inspect.matter import depth_px
from napari_dipmtv.projection.geometry import Geometry
from napari_dipmtv.projection.sparse import joseph_weights
from napari_dipmtv.trust.filling import matter_of
from napari_dipmtv.trust.resample import noise_kind

RADII_PX = (1.5, 2.0, 2.5, 3.0, 3.5, 4.5, 6.0, 8.0)
CLEAR_PX = 1.5  # a ball keeps this far from the surface
MOST_PLACES = 20_000  # per radius; more, and every second one is left out along each axis
PATCH_PX, DRIFT = 8.0, 0.3
MOST_PATCHES = 4  # along each axis
FEWEST_COUNTS = 1e-3  # expected counts below this are treated as this, so that the logarithm stays finite


@dataclass(frozen=True, slots=True)
class Best:
    """The ball that the data most want empty: centre (z, y, x) and radius in voxels, evidence in nats."""

    centre_px: tuple[float, float, float]
    radius_px: float
    evidence: float


class CavityScan:
    """Every enclosed ball of a filled volume, ready to be tested by any data of the same geometry and statistics.

    Parameters
    ----------
    filled : Volume
        (c, z, y, x), without the void in question.
    series : TiltSeries
        With counts or a covariance.
    radii_px : tuple of float

    Raises
    ------
    InputError
        For maps without statistics, or a volume too thin to enclose the smallest ball.
    """

    def __init__(self, filled: Volume, series: TiltSeries, radii_px: tuple[float, ...] = RADII_PX) -> None:
        if noise_kind(series) == "residual":
            raise InputError(
                expected(
                    "likelihood test", "counts or a covariance", "maps without statistics", "Leave it out"
                )
            )
        self.filled, self.series = filled, series
        self.gain = float(np.mean(series.gain))  # of a view of mean dose; the others: `_projector`
        self.depth = depth_px(matter_of(filled))
        balls = [(self.places(radius), radius) for radius in radii_px]
        balls = [(centres, radius) for centres, radius in balls if len(centres)]
        if not balls:
            raise InputError(
                expected(
                    "particle",
                    f"at least {2 * (min(radii_px) + CLEAR_PX):g} voxels thick",
                    "a thinner one",
                    "Bin less",
                )
            )
        self.centres: F64 = np.concatenate([centres for centres, _ in balls])
        self.radii: F64 = np.concatenate([np.full(len(centres), radius) for centres, radius in balls])
        drops = vstack([self.drops(centres, radius) for centres, radius in balls], format="csr")
        self._weights, self._constant = self._ratio(drops)
        shared = drops @ self._drift  # (balls, patches)
        self._shared = np.asarray(shared @ self._drift_covariance)
        self._constant = self._constant + 0.5 * np.einsum("bk,bk->b", self._shared, shared)

    def evidence(self, data: F32) -> F64:
        """Nats of every ball for every measurement (k, c, t, y, x); (balls, k)."""
        values = self.flat(data * self.series.gain)
        drift = (values - self.mean) @ self._drift
        return np.asarray(self._weights @ values.T + self._constant[:, None] + self._shared @ drift.T)

    def best(self, data: F32) -> Best:
        """The ball with most evidence in one measurement (c, t, y, x)."""
        evidence = self.evidence(data[None])[:, 0]
        at = int(np.argmax(evidence))
        z, y, x = (float(v) for v in self.centres[at])
        return Best((z, y, x), float(self.radii[at]), float(evidence[at]))

    def places(self, radius_px: float) -> F64:
        """Centres (balls, 3) of enclosed balls, on a grid that is finer than the radius."""
        step = max(1, int(radius_px / 2 + 0.5))
        while True:
            grid = np.zeros(self.depth.shape, bool)
            grid[::step, ::step, ::step] = True
            found = np.argwhere(grid & (self.depth > radius_px + CLEAR_PX))
            if len(found) <= MOST_PLACES:
                return found.astype(np.float64)
            step += 1

    def drops(self, centres_px: F64, radius_px: float) -> csr_array:
        """What each emptied ball takes from the data; (balls, pixels) in counts, or in units of the maps."""
        shape = self.filled.data.shape[1:]
        share = _balls(centres_px, radius_px, shape)
        density = [
            channel.transpose(1, 0, 2).ravel() * self.gain for channel in self.filled.data.astype(np.float64)
        ]
        return csr_array(
            hstack([share @ diags_array(one) @ self._projector.T for one in density], format="csr")
        )

    @cached_property
    def mean(self) -> F64:
        """Expected data of the filled volume (pixels,)."""
        volume = self.filled.data.astype(np.float64).transpose(0, 2, 1, 3) * self.gain
        return np.concatenate([self._projector @ channel.ravel() for channel in volume])

    def flat(self, data: F32 | F64) -> F64:
        """(..., c, t, y, x) to (..., pixels) in the order of the matrices: (c, y, t, x)."""
        moved = np.moveaxis(np.asarray(data, np.float64), -2, -3)
        return moved.reshape(*data.shape[:-4], -1)

    def unflat(self, values: F64) -> F64:
        """(pixels,) to (c, t, y, x), in units of the maps."""
        c, t, y, x = self.series.data.shape
        return values.reshape(c, y, t, x).transpose(0, 2, 1, 3) / self.series.gain

    @cached_property
    def _valid(self) -> F64:
        ones = np.ones(self.series.data.shape)
        return self.flat(ones if self.series.valid is None else ones * self.series.valid)

    @cached_property
    def _projector(self) -> csr_array:
        """(y, t, x) from (y, z, x): the same weights for every slice, times the relative dose of each view."""
        _, nz, ny, nx = self.filled.data.shape
        geometry = Geometry.of((nz, ny, nx), self.series.tilts_deg, width=self.series.data.shape[3])
        rows, columns, weights = joseph_weights(geometry)
        slice_ = csr_array((weights, (rows, columns)), shape=(geometry.views * geometry.width, nz * nx))
        if isinstance(self.series.counts_per_unit, tuple):
            dose = np.repeat(np.array(self.series.counts_per_unit) / self.gain, geometry.width)
            slice_ = diags_array(dose) @ slice_
        return csr_array(block_diag([slice_] * ny, format="csr"))

    @cached_property
    def _precision(self) -> csr_array:
        """Inverse covariance of the data (pixels, pixels); 0 where masked."""
        if self.series.counts_per_unit is not None:
            return csr_array(diags_array(self._valid / np.maximum(self.mean, FEWEST_COUNTS)))
        blocks = [[diags_array(self.flat(one[None])) for one in row] for row in _inverse(self.series)]
        return csr_array(vstack([hstack(row) for row in blocks], format="csr"))

    def _ratio(self, drops: csr_array) -> tuple[csr_array, F64]:
        """Weights (balls, pixels) and constant (balls,) of the ratio without drift."""
        if self.series.counts_per_unit is None:
            weights = csr_array(-(drops @ self._precision))
            return weights, np.asarray(0.5 * drops.multiply(weights).sum(axis=1) - weights @ self.mean)
        left = 1 - drops.data / np.maximum(self.mean, FEWEST_COUNTS)[drops.indices]
        seen = self._valid[drops.indices]
        logs = seen * np.log(np.clip(left, 1e-6, 1))
        weights = csr_array((logs, drops.indices, drops.indptr), shape=drops.shape)
        return weights, np.asarray(drops @ self._valid)

    @cached_property
    def _drift(self) -> F64:
        """Precision times the data of each likely error of the volume; (pixels, errors)."""
        patches = _patches(self.depth > 0)
        columns = []
        for c, channel in enumerate(self.filled.data.astype(np.float64)):
            for error in _errors(channel):
                field = error.transpose(1, 0, 2).ravel() * self.gain
                seen = (
                    self._projector @ diags_array(field) @ patches
                ).toarray()  # (pixels of a channel, patches)
                whole = np.zeros((len(self.mean), seen.shape[1]))
                whole[c * len(seen) : (c + 1) * len(seen)] = seen
                columns.append(whole)
        self._error_data = np.hstack(columns)
        return np.asarray(self._precision @ self._error_data)

    @cached_property
    def _drift_covariance(self) -> F64:
        """Of the fitted errors, which are within one standard deviation beforehand; (errors, errors)."""
        information = self._drift.T @ self._error_data
        return np.linalg.inv(information + np.eye(len(information)))


def _errors(density: F64) -> tuple[F64, F64, F64]:
    """What may be wrong with a channel (z, y, x), each at one standard deviation: density, sharpness, surface."""
    blurred = gaussian_filter(density, 1.0)
    slope = np.sqrt(sum(np.gradient(blurred, axis=axis) ** 2 for axis in range(3)))
    return DRIFT * density, blurred - density, slope


def _balls(centres_px: F64, radius_px: float, shape: tuple[int, ...]) -> csr_array:
    """1 inside each ball, a linear edge of one voxel; (balls, voxels in the order y, z, x)."""
    reach = int(np.ceil(radius_px + 1))
    steps = np.stack(np.meshgrid(*[np.arange(-reach, reach + 1)] * 3, indexing="ij"), -1).reshape(-1, 3)
    steps = steps[
        np.linalg.norm(steps, axis=1) < radius_px + 1.5
    ]  # a centre lies up to 0.9 from the middle of its voxel
    near = np.rint(centres_px).astype(np.int64)[:, None] + steps  # (balls, voxels, 3)
    distance = np.linalg.norm(near - centres_px[:, None], axis=-1)
    share = np.clip(radius_px + 0.5 - distance, 0, 1)
    share[((near < 0) | (near >= np.array(shape))).any(axis=-1)] = 0
    ball, voxel = np.nonzero(share)
    z, y, x = near[ball, voxel].T
    column = (y * shape[0] + z) * shape[2] + x
    return csr_array((share[ball, voxel], (ball, column)), shape=(len(centres_px), int(np.prod(shape))))


def _patches(matter: NDArray[np.bool_]) -> csr_array:
    """Smooth patches that add up to 1 over the matter; (voxels in the order y, z, x, patches)."""
    tents = []
    for found, size in zip(np.nonzero(matter), matter.shape, strict=True):
        first, last = float(found.min()), float(found.max())
        count = min(MOST_PATCHES, max(2, round((last - first) / PATCH_PX) + 1))
        knots = np.linspace(first, last, count)
        width = max(knots[1] - knots[0], 1.0)
        tents.append(csr_array(np.clip(1 - np.abs(np.arange(size)[:, None] - knots) / width, 0, 1)))
    z, y, x = tents
    return csr_array(kron(y, kron(z, x), format="csr"))


def _inverse(series: TiltSeries) -> F64:
    """Inverse covariance (c, c, t, y, x) of the pixels, in the likelihood that the reconstructions use too."""
    from napari_dipmtv.tomo.data_term import Gaussian, data_misfit
    from napari_dipmtv.tomo.devices import pick_device
    from napari_dipmtv.tomo.problem import pose

    problem = pose(series, pick_device("cpu"))
    misfit = data_misfit(problem, "covariance")
    assert isinstance(misfit, Gaussian)
    unit = problem.unit.numpy().astype(np.float64)
    scale = (unit[:, None] * unit[None, :])[..., None, None, None]
    return np.asarray(misfit.precision.numpy().astype(np.float64) / scale)
