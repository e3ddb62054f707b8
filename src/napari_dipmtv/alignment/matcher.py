"""Poses of one signal to how well a reconstruction explains it: what every step of the search asks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from napari_dipmtv.alignment.apply import fill_invalid
from napari_dipmtv.alignment.gauge import Pose
from napari_dipmtv.alignment.mapping import resample
from napari_dipmtv.data import F32, ChannelMaps, TiltSeries, Volume

if TYPE_CHECKING:
    from napari_dipmtv.projection.sparse import SparseProjector

Reconstruct = Callable[[TiltSeries], Volume]
SCAN_STEP_DEG = 2.5
BACKGROUND = 0.005  # of the brightest pixel, added to both sides: dark noise, and no logarithm of nothing


@dataclass(frozen=True)
class Match:
    """One pose judged at one scale: the measured views, what the reconstruction projects to, the distance."""

    pose: Pose
    measured: F32  # (t, y, x)
    projected: F32  # (t, y, x)
    valid: NDArray[np.bool_]  # (t, y, x)
    error: float  # |P x - y| / |y|
    view_errors: tuple[float, ...]  # the same of each view
    misfit: float  # Poisson deviance over the signal; finds the axis angle more sharply
    volume: Volume  # the reconstruction


class Matcher:
    """Judges poses of one signal by reconstructing it and projecting again."""

    def __init__(self, signal: ChannelMaps, smoothing_px: float, reconstruct: Reconstruct) -> None:
        self.signal, self.smoothing_px, self.reconstruct = signal, smoothing_px, reconstruct
        self._scale = 0
        self._projector: SparseProjector | None = None

    def judge(self, pose: Pose, scale: int) -> Match:
        """Align the signal by a pose at a scale, reconstruct and project again."""
        self._prepare(scale)
        series = self._aligned(pose, scale)
        volume = self.reconstruct(series)
        projected = self._project(volume)
        measured = series.data[0]
        valid = np.ones(measured.shape, bool) if series.valid is None else series.valid
        squares = np.where(valid, projected - measured, 0) ** 2, np.where(valid, measured, 0) ** 2
        views = np.sqrt(squares[0].sum(axis=(1, 2)) / np.maximum(squares[1].sum(axis=(1, 2)), 1e-30))
        error = np.sqrt(squares[0].sum() / squares[1].sum())
        background = BACKGROUND * measured.max()
        p, y = (np.clip(image[valid], 0, None) + background for image in (projected, measured))
        misfit = (p - y + y * np.log(y / p)).sum(dtype=np.float64) / y.sum(dtype=np.float64)
        told = (float(error), tuple(views.tolist()), float(misfit))
        return Match(pose, measured, projected, valid, *told, volume)

    def turned(
        self, match: Match, scale: int, step_deg: float, bounds_deg: tuple[float, float]
    ) -> tuple[Match, float]:
        """Judge the angle at the bottom of a parabola through the misfits of three angles.

        Returns
        -------
        Match
            At the new angle; a step downhill where the misfit does not rise to both sides.
        float
            Standard error of the angle in degrees, infinite where the misfit does not rise to both sides.
        """
        angles = match.pose.angle_deg + np.array([-step_deg, 0.0, step_deg])
        sides = [self.judge(replace(match.pose, angle_deg=float(a)), scale) for a in angles[[0, 2]]]
        low, middle, high = sides[0].misfit, match.misfit, sides[1].misfit
        curvature = low + high - 2 * middle  # times step^2, per squared degree
        if curvature > 0:
            error = step_deg * float(np.sqrt(2 * middle / (self.independent(match) * curvature)))
            move = float(np.clip((low - high) / (2 * curvature), -2, 2)) * step_deg
        else:
            error, move = np.inf, step_deg * float(np.sign(low - high))
        angle = float(np.clip(match.pose.angle_deg + move, *bounds_deg))
        return self.judge(replace(match.pose, angle_deg=angle), scale), error

    def scanned(self, match: Match, scale: int, bounds_deg: tuple[float, float]) -> Match:
        """Judge angles all over the allowed range and give the best: the misfit may have more than one valley."""
        low, high = bounds_deg
        count = 2 * max(1, round((high - low) / 2 / SCAN_STEP_DEG)) + 1
        angles = np.delete(np.linspace(low, high, count), count // 2)  # that of the match is judged already
        others = (self.judge(replace(match.pose, angle_deg=float(angle)), scale) for angle in angles)
        return min([match, *others], key=lambda m: m.misfit)

    def independent(self, match: Match) -> float:
        """Independent values in the signal: bright pixels over the area in which the smoothing ties the noise."""
        bright = match.projected > 0.1 * match.projected.max()
        return float((bright & match.valid).sum() / max(4 * np.pi * self.smoothing_px**2, 1.0))

    def _prepare(self, scale: int) -> None:
        """Smooth the raw views for a scale, once."""
        if scale == self._scale:
            return
        self._scale = scale
        sigma = self.smoothing_px * scale
        self._views = gaussian_filter(fill_invalid(self.signal)[0], (0, sigma, sigma))  # (t, y, x)
        good = self.signal.valid
        self._good = np.ones(self._views.shape, np.float32) if good is None else good.astype(np.float32)

    def _aligned(self, pose: Pose, scale: int) -> TiltSeries:
        views, ny, nx = self._views.shape
        shape = (-(-ny // scale), -(-nx // scale))
        data, valid = np.empty((2, views, *shape), np.float32)
        for t, shift in enumerate(pose.displacements_px):
            data[t] = resample(self._views[t], pose.angle_deg, shift, order=3, shape=shape, step_px=scale)
            valid[t] = resample(self._good[t], pose.angle_deg, shift, order=1, shape=shape, step_px=scale)
        return TiltSeries(
            data[None],
            self.signal.channels,
            self.signal.tilts_deg,
            self.signal.pixel_nm * scale,
            valid=valid > 1 - 1e-5,
        )

    def _project(self, volume: Volume) -> F32:
        import torch

        from napari_dipmtv.projection.geometry import Geometry
        from napari_dipmtv.projection.sparse import SparseProjector

        _, nz, ny, nx = volume.data.shape
        geometry = Geometry.of((nz, ny, nx), self.signal.tilts_deg)
        if self._projector is None or self._projector.geometry != geometry:
            self._projector = SparseProjector(geometry)
        projected: F32 = self._projector(torch.from_numpy(volume.data))[0].numpy()
        return projected
