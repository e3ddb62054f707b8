"""Measured and projected views to the next pose: least-squares displacements, accelerated, damped, limited."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from napari_dipmtv.alignment.gauge import Pose, without_gauge
from napari_dipmtv.alignment.mapping import rotation
from napari_dipmtv.alignment.matcher import Match
from napari_dipmtv.data import F32, F64
from napari_dipmtv.settings.align import AlignSettings

MEMORY = 5  # rounds that the acceleration looks back


@dataclass
class Moves:
    """The moves of one scale so far.

    A reconstruction from displaced views takes over a part of every displacement, so matching alone closes the
    rest of the gap by a fixed share per round; the axis offset, which looks most like a movement of the object,
    is slowest. The mixing of D. G. Anderson, J. ACM 12, 547 (1965), learns these shares from the last rounds.
    """

    poses: list[F64] = field(default_factory=list)  # displacements, ideal frame, pixels of the scale
    moves: list[F64] = field(default_factory=list)  # what the matching proposed there

    def next(self, match: Match, tilts_deg: tuple[float, ...], scale: int, settings: AlignSettings) -> Pose:
        """The next pose: every view moved towards its projection, the movement of the object taken out."""
        views = zip(match.measured, match.projected, match.valid, strict=True)
        proposed = without_gauge(np.array([displacement(*view) for view in views]), tilts_deg)
        turn = rotation(match.pose.angle_deg)
        self.poses.append((match.pose.displacements_px @ turn).ravel() / scale)
        self.moves.append(proposed.ravel())
        limit = settings.max_update_px
        step = np.clip(self._mixed(settings.damping).reshape(-1, 2), -limit, limit)
        shifts = match.pose.displacements_px + scale * without_gauge(step, tilts_deg) @ turn.T
        return replace(match.pose, displacements_px=shifts)

    def _mixed(self, damping: float) -> F64:
        """The step of Anderson mixing from the last pose, or the damped move where there is no memory yet."""
        moves = np.array(self.moves[-MEMORY:])
        step: F64 = damping * moves[-1]
        if len(moves) > 1:
            poses = np.array(self.poses[-MEMORY:])
            change, past = np.diff(moves, axis=0).T, np.diff(poses, axis=0).T
            share = np.linalg.lstsq(change, moves[-1], rcond=1e-2)[0]
            step = step - (past + damping * change) @ share
        return step


def displacement(measured: F32, projected: F32, valid: NDArray[np.bool_]) -> F64:
    """Least-squares displacement (dy, dx) of a measured view against its projection, to first order."""
    along_y, along_x = np.gradient(projected, axis=0), np.gradient(projected, axis=1)
    slopes = np.stack([along_y[valid], along_x[valid]], axis=1)
    found: F64 = np.linalg.lstsq(slopes, (projected - measured)[valid], rcond=None)[0]
    return found
