"""Ideal coordinates to raw ones, and raw images to the ideal grid: the only place where views are resampled.

A point at ``u = (y, x)`` from the centre of the ideal view is seen in the raw view, also measured from the
centre, at ::

    y_raw = dy          + x sin φ + y cos φ
    x_raw = dx + offset + x cos φ - y sin φ

with ``φ = axis_angle_deg`` (positive: clockwise as displayed with y down), ``(dy, dx)`` the shift of the view
and ``offset = axis_offset_px``. The centre of n pixels is ``(n - 1) / 2``.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from scipy.ndimage import affine_transform

from napari_dipmtv.data import F32, F64, Alignment


def rotation(angle_deg: float) -> F64:
    """Matrix (2, 2) that takes ideal ``(y, x)`` to raw ``(y, x)``."""
    cosine, sine = np.cos(np.deg2rad(angle_deg)), np.sin(np.deg2rad(angle_deg))
    return np.array([[cosine, sine], [-sine, cosine]])


def displacements(alignment: Alignment) -> F64:
    """Total displacement (t, 2) of every view, ``(dy, dx + axis offset)``, in px."""
    total: F64 = alignment.shifts_px + np.array([0.0, alignment.axis_offset_px])
    return total


def resample(
    image: F32,
    angle_deg: float,
    displacement_px: F64,
    *,
    order: int,
    shape: tuple[int, int] | None = None,
    step_px: float = 1.0,
    mode: Literal["constant", "nearest"] = "constant",
) -> F32:
    """Read a raw image (y, x) on the ideal grid.

    Parameters
    ----------
    image : (y, x)
        Raw view.
    angle_deg, displacement_px
        Axis angle and total displacement ``(dy, dx)``.
    order : int
        1 linear, 3 cubic B-spline.
    shape : (ny, nx), optional
        Size of the ideal grid; that of the image by default.
    step_px : float
        Spacing of the ideal grid in raw pixels (2: half the pixels; filter the image first).
    mode : "constant" or "nearest"
        Outside the field of view: 0, or the value at the border.
    """
    shape = shape or image.shape
    matrix = step_px * rotation(angle_deg)
    middle_raw = (np.array(image.shape) - 1) / 2
    middle = (np.array(shape) - 1) / 2
    offset = middle_raw + displacement_px - matrix @ middle
    out: F32 = affine_transform(image, matrix, offset, output_shape=shape, order=order, mode=mode)
    return out
