"""Poses to alignments, with the freedom fixed that no tilt series can settle.

Only differences from the ideal geometry that no movement of the object explains can be found. Moving the
object by (z, y, x) displaces view t by ``y`` along the axis and by ``x cos θ + z sin θ`` across it; this is
the gauge. The first guess fixes it (centre of mass: the mass of the object lands in the centre of the volume)
and the moves of the matching carry none of it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from napari_dipmtv.alignment.mapping import rotation
from napari_dipmtv.data import F64, Alignment


@dataclass(frozen=True)
class Pose:
    """Where the search stands: total displacement (t, 2) of every view in px, and the axis angle."""

    displacements_px: F64
    angle_deg: float


def without_gauge(moves_px: F64, tilts_deg: tuple[float, ...]) -> F64:
    """Displacements (t, 2) in the ideal frame less what a movement of the object explains."""
    y, x = moves_px.T
    orbit = _orbit(tilts_deg)
    return np.stack([y - y.mean(), x - orbit @ np.linalg.lstsq(orbit, x, rcond=None)[0]], axis=1)


def _orbit(tilts_deg: tuple[float, ...]) -> F64:
    angles = np.deg2rad(tilts_deg)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1)


def as_alignment(pose: Pose, tilts_deg: tuple[float, ...]) -> Alignment:
    """Split the displacements of a pose into axis offset and shifts.

    The offset is the least-squares constant beside ``a cos θ + b sin θ`` (the orbit of the object about the
    axis); only the total of offset and shift acts on the data. Over a small tilt range ``cos θ`` is nearly
    constant and the split, not the total, becomes uncertain.
    """
    x = (pose.displacements_px @ rotation(pose.angle_deg))[:, 1]  # in the ideal frame
    design = np.column_stack([np.ones(len(x)), _orbit(tilts_deg)])
    offset = float(np.linalg.lstsq(design, x, rcond=None)[0][0]) / np.cos(np.deg2rad(pose.angle_deg))
    shifts = pose.displacements_px - np.array([0.0, offset])
    return Alignment(shifts, pose.angle_deg, offset)
