"""A reference volume of another grid, place and scale to the grid of a volume, so that both can be compared."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import affine_transform, center_of_mass, gaussian_filter
from scipy.optimize import minimize
from scipy.spatial.transform import Rotation

from napari_dipmtv.data import F32, F64, Volume
from napari_dipmtv.errors import InputError, expected

COARSE_PX = 32  # the first search runs on about this many voxels along each edge
BLURS_PX = (
    2.0,
    0.8,
)  # of the two searches, in voxels of their grids: wide enough to find the way, then sharp
LEAST_CORRELATION = 0.5


@dataclass(frozen=True, slots=True, eq=False)
class Registered:
    """A reference where the volume is.

    Attributes
    ----------
    volume : Volume
        The reference on the grid of the volume, its channels in the same order, scaled.
    shift_nm : tuple of float
        Where in the reference, from its middle, the middle of the volume lies, (z, y, x).
    turn_deg : float
        Angle by which the reference was turned, about some axis.
    scale : float
        What its densities were multiplied by, to hold as much in all as the volume: one factor for all channels.
    correlation : float
        Pearson correlation of the channel sums over the whole grid.
    """

    volume: Volume
    shift_nm: tuple[float, float, float]
    turn_deg: float
    scale: float
    correlation: float


def register(reference: Volume, onto: Volume) -> Registered:
    """Shift and turn a reference onto a volume of the same object, below one voxel.

    The channel sums are correlated; the search starts at equal centres of mass and without a turn, and finds turns up
    to some thirty degrees. Mirror images and other axis orders it does not find.

    Parameters
    ----------
    reference : Volume
        Of any grid and voxel; with the same channels, in any order and unit.
    onto : Volume
        (c, z, y, x).

    Raises
    ------
    InputError
        For other channels, an empty volume, or where no placement correlates.
    """
    if set(reference.channels) != set(onto.channels):
        raise InputError(
            expected("reference", f"channels {onto.channels}", reference.channels, "Rename its channels")
        )
    data = reference.data[[reference.channels.index(name) for name in onto.channels]]
    ratio = onto.voxel_nm / reference.voxel_nm
    if ratio > 1:  # a finer reference: what the coarser grid cannot hold would alias
        data = gaussian_filter(data, (0, *[0.5 * np.sqrt(ratio**2 - 1)] * 3))
    fixed, moving = onto.data.sum(axis=0), data.sum(axis=0)
    if not (fixed.max() > 0 and moving.max() > 0):
        raise InputError(expected("volumes", "some density in both", "an empty one", "Check the files"))
    pose = _found(fixed, moving, ratio)
    placed = np.stack([_placed(channel, pose, ratio, fixed.shape, 1) for channel in data])
    correlation = _correlation(placed.sum(axis=0), fixed)
    if correlation < LEAST_CORRELATION:
        advice = "Check that both show the same object, with the same axis order and handedness"
        raise InputError(
            expected("reference", f"a correlation above {LEAST_CORRELATION:g}", correlation, advice)
        )
    scale = float(onto.data.sum(dtype=np.float64) / placed.sum(dtype=np.float64))
    z, y, x = (Rotation.from_rotvec(pose[3:]).apply(pose[:3]) * onto.voxel_nm).tolist()
    return Registered(
        onto.replace(data=placed * scale, metadata={}),
        (z, y, x),
        float(np.rad2deg(np.linalg.norm(pose[3:]))),
        scale,
        correlation,
    )


def _found(fixed: F32, moving: F32, ratio: float) -> F64:
    """Shift (z, y, x) in voxels of the fixed grid, and rotation vector in radians; coarse, then fine."""
    middle = (np.array(fixed.shape) - 1) / 2
    mass = np.array(center_of_mass(np.clip(moving, 0, None))) - (np.array(moving.shape) - 1) / 2
    pose = np.zeros(6)
    pose[:3] = mass / ratio - (np.array(center_of_mass(np.clip(fixed, 0, None))) - middle)
    radius = max(fixed.shape) / 4  # a turn by one over this moves the outside of the object by about a voxel
    steps = (max(1, round(max(fixed.shape) / COARSE_PX)), 1)
    for step, blur_px in zip(steps, BLURS_PX, strict=True):
        wide = blur_px * step
        seen = gaussian_filter(fixed, wide)[::step, ::step, ::step]
        soft = gaussian_filter(moving, wide * ratio)
        scales = np.array([1.0, 1.0, 1.0, *[1 / radius] * 3]) * step

        def unlike(x: F64, soft: F32 = soft, seen: F32 = seen, step: int = step, s: F64 = scales) -> float:
            return -_correlation(_placed(soft, x * s, ratio, fixed.shape, step), seen)

        best = minimize(unlike, pose / scales, method="Powell", options={"xtol": 0.02, "ftol": 1e-5})
        pose = best.x * scales
    return np.asarray(pose, np.float64)


def _placed(moving: F32, pose: F64, ratio: float, shape: tuple[int, ...], step: int) -> F32:
    """The moving volume on every ``step``-th voxel of the fixed grid."""
    turn = Rotation.from_rotvec(pose[3:]).as_matrix()
    matrix = turn * ratio * step
    middle = (np.array(shape) - 1) / 2
    offset = (np.array(moving.shape) - 1) / 2 + ratio * (turn @ (pose[:3] - middle))
    size = tuple(-(-n // step) for n in shape)
    placed: F32 = affine_transform(moving, matrix, offset, size, order=1)
    return placed


def _correlation(a: F32, b: F32) -> float:
    x, y = a - a.mean(), b - b.mean()
    size = float(np.linalg.norm(x) * np.linalg.norm(y))
    return float((x * y).sum(dtype=np.float64)) / size if size > 0 else 0.0
