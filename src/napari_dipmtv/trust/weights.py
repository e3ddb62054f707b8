"""Data and their noise to the weights of a fit: the inverse covariance of every datum in the shadow of a particle."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from napari_dipmtv.data import F32, F64, TiltSeries
from napari_dipmtv.trust.resample import noise_kind

FEWEST_COUNTS = 2.0  # expected counts below this have the variance of this: edges are not placed to better


class Weights:
    """Data (c, rows, y) and their inverse covariance, which depends on the expected data where these are counts."""

    def __init__(self, series: TiltSeries, seen: Callable[[F32], F32]) -> None:
        """``seen`` takes maps (..., t, y, x) to (..., rows, y)."""
        size = series.data.shape[1:]
        self.data = seen(series.data)
        self.valid = np.float32(1) if series.valid is None else seen(series.valid.astype(np.float32))
        self.gain = seen(np.broadcast_to(np.reshape(series.gain, (-1, 1, 1)), size))  # (rows, y)
        self.kind = noise_kind(series)
        if self.kind == "covariance":
            assert series.covariance is not None
            matrices = np.moveaxis(seen(series.covariance), (0, 1), (-2, -1)).astype(np.float64)
            self.precision = np.moveaxis(np.linalg.pinv(matrices, hermitian=True), (-2, -1), (0, 1))

    def of(self, columns: F32, mean: F64) -> F32:
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

    def equations(self, columns: F32, mean: F64) -> tuple[F64, F64]:
        """Normal matrix (n, n) and gradient (n,) of the data for columns (n, c, rows, y)."""
        left = (self.data - mean).astype(np.float32)
        if self.kind == "covariance":
            weighted = self.of(columns, mean).reshape(len(columns), -1)
            normal = weighted @ columns.reshape(len(columns), -1).T
            return normal.astype(np.float64), (weighted @ left.ravel()).astype(np.float64)
        root = np.sqrt(self.of(np.ones((1, *left.shape), np.float32), mean)[0])
        scaled = (columns * root).reshape(len(columns), -1)
        normal = scaled @ scaled.T  # of one matrix with itself: half the work
        return normal.astype(np.float64), (scaled @ (left * root).ravel()).astype(np.float64)

    def squares(self, mean: F64, weigh_by: F64) -> float:
        """Squared residual over its variance, with the weights of given expected data."""
        left = (self.data - mean)[None].astype(np.float32)
        return float((self.of(left, weigh_by) * left).sum())

    def misfit(self, mean: F64) -> float:
        """Squared residual over its variance, per datum that has one."""
        counted = np.ones_like(mean)
        if self.kind == "poisson":
            counted = np.minimum(mean * self.gain / FEWEST_COUNTS, 1)
        return self.squares(mean, mean) / max(float((counted * self.valid).sum()), 1.0)
