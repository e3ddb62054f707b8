"""Tilt angles and the size of the object to a map of the Fourier components that were measured."""

from __future__ import annotations

import numpy as np

from napari_dipmtv.data import F64
from napari_dipmtv.inspect.matter import Mask
from napari_dipmtv.trust.result import Coverage


def coverage(tilts_deg: tuple[float, ...], object_nm: float, voxel_nm: float, size: int = 128) -> Coverage:
    """Map the sampling of the plane across the tilt axis; it is the same at every position along the axis.

    A view at tilt θ measures the line ``(kz, kx) = k (sin θ, cos θ)`` (central slice theorem). An object of size D lets
    the transform change only over ``1 / D``: a component at distance d from the nearest line is known to the degree
    ``sinc²(d D)`` within the first zero, and taken as measured within ``1 / (2 D)``.

    Parameters
    ----------
    tilts_deg : tuple of float
    object_nm : float
        Diameter of the object across the tilt axis.
    voxel_nm : float
        The map reaches to 1 / (2 voxels).
    size : int
        Pixels of the map.
    """
    highest = 1 / (2 * voxel_nm)
    k = np.linspace(-highest, highest, size)
    kz, kx = np.meshgrid(k, k, indexing="ij")
    angles = np.deg2rad(np.array(tilts_deg))
    distance = np.min([np.abs(kz * np.cos(a) - kx * np.sin(a)) for a in angles], axis=0)
    known = np.where(distance * object_nm < 1, np.sinc(distance * object_nm) ** 2, 0.0)
    disc = np.hypot(kz, kx) <= highest
    steps = _steps_deg(tilts_deg)
    inside = np.rad2deg(np.arctan2(kz, kx) + np.pi / 2) % 180 - 90
    wedge = _gap_at(inside, tilts_deg)
    inner = steps[:-1]
    step = np.deg2rad(max(inner)) if len(inner) else np.pi
    return Coverage(
        measured=np.where(disc, known, 0.0),
        share=float((distance[disc] <= 0.5 / object_nm).mean()),
        wedge_share=float(wedge[disc].mean()),
        largest_gap_deg=float(max(steps)),
        crowther_nm=float(object_nm * step),
        object_nm=object_nm,
        highest_per_nm=highest,
    )


def _steps_deg(tilts_deg: tuple[float, ...]) -> list[float]:
    """Angles between neighbouring views; the last one closes the half circle: it is the missing wedge."""
    turned = np.sort(np.mod(np.array(tilts_deg, dtype=float), 180.0))
    steps = [*np.diff(turned), 180.0 - (turned[-1] - turned[0])]
    wedge = int(np.argmax(steps))
    return [float(s) for i, s in enumerate(steps) if i != wedge] + [float(steps[wedge])]


def _gap_at(angle_deg: F64, tilts_deg: tuple[float, ...]) -> Mask:
    """True where a direction lies in the widest gap between views."""
    turned = np.sort(np.mod(np.array(tilts_deg, dtype=float), 180.0))
    steps = np.append(np.diff(turned), 180.0 - (turned[-1] - turned[0]))
    start = turned[int(np.argmax(steps))]
    past = np.mod(angle_deg - start, 180.0)
    gap: Mask = (past > 0) & (past < steps.max())
    return gap
