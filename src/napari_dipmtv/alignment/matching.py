"""Maps and a quick reconstruction to shifts and tilt axis: projection matching, coarse to fine, as states."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from napari_dipmtv.alignment.apply import fill_invalid
from napari_dipmtv.alignment.dose import dose_factors, equalise
from napari_dipmtv.alignment.gauge import Pose, as_alignment, without_gauge
from napari_dipmtv.alignment.mapping import resample, rotation
from napari_dipmtv.alignment.start import centres_of_mass, common_profile_angle, correlated
from napari_dipmtv.data import F32, F64, Alignment, ChannelMaps, TiltSeries, Volume
from napari_dipmtv.errors import GeometryError, InputError, expected
from napari_dipmtv.settings.align import AlignSettings
from napari_dipmtv.states import State

if TYPE_CHECKING:
    from napari_dipmtv.projection.sparse import SparseProjector

Reconstruct = Callable[[TiltSeries], Volume]
SCALES = (16, 8, 4, 2, 1)
SMALLEST_PX = 16  # a coarser view shows too little to match
VARIANCE_FLOOR = 0.1  # of the brightest pixel: background noise that does not follow the counts
ANGLE_STEPS_DEG = (1.5, 0.75)  # half-widths of the two angle searches per scale


@dataclass(frozen=True)
class Match:
    """One pose judged at one scale: the measured views, what the reconstruction projects to, the distance."""

    pose: Pose
    measured: F32  # (t, y, x)
    projected: F32  # (t, y, x)
    valid: NDArray[np.bool_]  # (t, y, x)
    error: float  # |P x - y| / |y|
    misfit: float  # the same, squared, weighted as counts would be; finds the axis angle more sharply


def estimate(
    maps: ChannelMaps, settings: AlignSettings | None = None, *, reconstruct: Reconstruct
) -> Iterator[State[Alignment]]:
    """Find shifts, tilt-axis angle and axis offset of a series.

    Parameters
    ----------
    maps : ChannelMaps
    settings : AlignSettings, optional
    reconstruct : callable
        A quick reconstruction of an aligned one-channel series, as thick as wide. It should be nearly
        converged (about 100 SIRT iterations): what a poor reconstruction cannot project is mistaken for a
        displacement.

    Yields
    ------
    State of Alignment
        One per round, after the first guess. Loss "reprojection": ``|P x - y| / |y|`` of the smoothed maps at
        the current scale. The snapshot is the pose of the lowest misfit at the finest scale, once that is
        reached.

    Raises
    ------
    GeometryError
        For fewer than three views.
    InputError
        For an unknown channel or a view without signal.

    Notes
    -----
    A move is the least-squares displacement of each view onto its projection, damped and limited; the axis
    angle is the minimum of a parabola through the variance-weighted misfits of three angles, twice per scale.
    """
    settings = settings or AlignSettings()
    signal = alignment_signal(maps, settings)
    scales = _scales(signal, settings)
    total = 1 + len(scales) * settings.rounds
    matcher = Matcher(signal, settings.smoothing_px, reconstruct)
    match = matcher.judge(first_guess(signal, settings), scales[0])
    errors = [match.error]
    yield _state(total, match.pose, signal.tilts_deg, errors, "first guess")
    for scale in scales:
        if scale != scales[0]:
            match = matcher.judge(match.pose, scale)
        best = match
        for number in range(settings.rounds):
            if settings.find_axis_angle and number in (0, settings.rounds // 2):
                match = matcher.turned(match, scale, ANGLE_STEPS_DEG[number > 0], settings.max_axis_angle_deg)
            match = matcher.judge(_moved(match, signal.tilts_deg, scale, settings), scale)
            best = min(best, match, key=lambda m: m.misfit)
            errors.append(match.error)
            yield _state(total, best.pose, signal.tilts_deg, errors, f"projection matching, scale 1:{scale}")


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
        p, y = projected[valid], measured[valid]
        error = np.linalg.norm(p - y) / np.linalg.norm(y)
        variance = np.clip(p, 0, None) + VARIANCE_FLOOR * y.max()
        misfit = ((p - y) ** 2 / variance).sum() / (y**2 / variance).sum()
        return Match(pose, measured, projected, valid, float(error), float(misfit))

    def turned(self, match: Match, scale: int, step_deg: float, limit_deg: float) -> Match:
        """Judge the angle at the bottom of a parabola through the misfits of three angles."""
        angles = match.pose.angle_deg + np.array([-step_deg, 0.0, step_deg])
        sides = [self.judge(replace(match.pose, angle_deg=float(a)), scale) for a in angles[[0, 2]]]
        low, middle, high = sides[0].misfit, match.misfit, sides[1].misfit
        curvature = low + high - 2 * middle
        if curvature > 0:
            move = float(np.clip((low - high) / (2 * curvature), -2, 2)) * step_deg
        else:
            move = step_deg * float(np.sign(low - high))
        angle = float(np.clip(match.pose.angle_deg + move, -limit_deg, limit_deg))
        return self.judge(replace(match.pose, angle_deg=angle), scale)

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


def _state(
    total: int, best: Pose, tilts_deg: tuple[float, ...], errors: list[float], stage: str
) -> State[Alignment]:
    curve = tuple(errors)
    losses = {"reprojection": curve[-1]}
    return State(len(curve), total, losses, lambda: as_alignment(best, tilts_deg, curve), stage=stage)


def alignment_signal(maps: ChannelMaps, settings: AlignSettings) -> ChannelMaps:
    """The one channel that is looked at: a named one or the sum, with even dose where asked for."""
    views = len(maps.tilts_deg)
    if views < 3:
        raise GeometryError(
            expected("tilt series", "at least 3 views", views, "Add views; depth needs tilts")
        )
    if settings.signal and settings.signal not in maps.channels:
        raise InputError(
            expected(
                "setting 'signal'",
                f"one of {', '.join(maps.channels)}, or nothing",
                settings.signal,
                "Choose one",
            )
        )
    data = (
        maps.data[[maps.channels.index(settings.signal)]] if settings.signal else maps.data.sum(axis=0)[None]
    )
    signal = ChannelMaps(data, ("signal",), maps.tilts_deg, maps.pixel_nm, valid=maps.valid)
    factors = dose_factors(signal)  # refuses empty views
    return equalise(signal, factors) if settings.equalise_dose else signal


def first_guess(signal: ChannelMaps, settings: AlignSettings) -> Pose:
    """Displacements and axis angle to start the matching from."""
    sigma = settings.smoothing_px
    views = gaussian_filter(fill_invalid(signal)[0], (0, sigma, sigma))
    if settings.start == "none":
        return Pose(np.zeros((len(views), 2)), 0.0)
    if settings.start == "cross-correlation":
        return Pose(correlated(views, signal.tilts_deg), 0.0)
    shifts = centres_of_mass(signal.data[0], signal.tilts_deg)
    limit = settings.max_axis_angle_deg
    return Pose(shifts, common_profile_angle(views, shifts, limit) if settings.find_axis_angle else 0.0)


def _moved(match: Match, tilts_deg: tuple[float, ...], scale: int, settings: AlignSettings) -> Pose:
    """The next pose: every view moved towards its projection, with the movement of the object taken out."""
    moves = np.array(
        [_displacement(*v) for v in zip(match.measured, match.projected, match.valid, strict=True)]
    )
    moves = np.clip(
        settings.damping * without_gauge(moves, tilts_deg), -settings.max_update_px, settings.max_update_px
    )
    shifts = match.pose.displacements_px + scale * moves @ rotation(match.pose.angle_deg).T
    return replace(match.pose, displacements_px=shifts)


def _displacement(measured: F32, projected: F32, valid: NDArray[np.bool_]) -> F64:
    """Least-squares displacement (dy, dx) of a measured view against its projection, to first order."""
    along_y, along_x = np.gradient(projected, axis=0), np.gradient(projected, axis=1)
    slopes = np.stack([along_y[valid], along_x[valid]], axis=1)
    found: F64 = np.linalg.lstsq(slopes, (projected - measured)[valid], rcond=None)[0]
    return found


def _scales(signal: ChannelMaps, settings: AlignSettings) -> list[int]:
    smallest = min(signal.data.shape[2:])
    return [s for s in SCALES if s == 1 or (s <= settings.coarsest_binning and smallest // s >= SMALLEST_PX)]
