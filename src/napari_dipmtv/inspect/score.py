"""A volume and the truth to figures of merit that can be compared with published tables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_dipmtv.data import F32, Segmentation, Volume
from napari_dipmtv.errors import GeometryError, InputError, expected
from napari_dipmtv.inspect.matter import VOID

DECIDED = 0.6  # share of a voxel of the truth that one phase must fill for the voxel to be counted


@dataclass(frozen=True, slots=True)
class Scores:
    """How close a volume is to the truth.

    Attributes
    ----------
    nrmse : float
        ``|x - truth| / |truth|`` over all channels.
    ssim : float
        3-D structural similarity (window 7), data range = maximum of the truth, mean of the channels.
    iou : mapping of str to float
        Intersection over union of each channel's phase, over the voxels whose phase the truth decides; NaN
        where neither volume has the phase.
    scale : float
        What the volume was multiplied by before the comparison; 1 unless a scale was fitted.
    """

    nrmse: float
    ssim: float
    iou: Mapping[str, float]
    scale: float = 1.0


def score(volume: Volume, truth: Volume, *, fit_scale: bool = False) -> Scores:
    """Compare a reconstruction with the truth.

    Parameters
    ----------
    volume, truth : Volume
        Of the same channels and shape.
    fit_scale : bool
        Multiply the volume by the least-squares factor first.

    Notes
    -----
    The share of a channel in a voxel is its density over the largest of the truth's channel, for both volumes.
    Matter is where the shares fill more than half of the voxel, its phase the largest share. Voxels of the truth
    that nothing, the vacuum included, fills to more than `DECIDED` are left out of the IoU: a layer of half-filled
    voxels falls to one side or the other by rounding, and a truth with 0.1 % of noise would score 0.9 against
    itself.

    Raises
    ------
    GeometryError
        For other channels or another shape.
    InputError
        For an empty truth.
    """
    from skimage.metrics import structural_similarity

    if volume.data.shape != truth.data.shape or volume.channels != truth.channels:
        raise GeometryError(
            expected(
                "volume to score",
                f"{truth.channels} {truth.data.shape}",
                f"{volume.channels} {volume.data.shape}",
                "Compare volumes of one grid",
            )
        )
    x, t = volume.data, truth.data
    norm = float(np.linalg.norm(t))
    if not norm > 0:
        raise InputError(expected("truth", "some density", "none", "Give the volume that was simulated"))
    scale = (
        float((x * t).sum(dtype=np.float64) / max(float((x**2).sum(dtype=np.float64)), 1e-30))
        if fit_scale
        else 1.0
    )
    x = (scale * x).astype(np.float32)
    ssim = [structural_similarity(a, b, data_range=float(t.max())) for a, b in zip(x, t, strict=True)]
    pure = np.maximum(t.max(axis=(1, 2, 3), keepdims=True), 1e-30)  # (c, 1, 1, 1)
    decided = _decided(t / pure)
    found, true = (_phases(v / pure)[decided] for v in (x, t))
    iou = {name: overlap(found == c, true == c) for c, name in enumerate(truth.channels)}
    return Scores(float(np.linalg.norm(x - t)) / norm, float(np.mean(ssim)), iou, scale)


def overlap(found: NDArray[np.bool_], true: NDArray[np.bool_]) -> float:
    """Intersection over union; NaN where both are empty."""
    union = int((found | true).sum())
    return int((found & true).sum()) / union if union else float("nan")


@dataclass(frozen=True, slots=True)
class VoidMatch:
    """How well the voids of a segmentation cover the true ones.

    Attributes
    ----------
    iou, recall, precision : float
        Voxel overlap over union, over the true and over the found void; NaN where the divisor is empty.
    distance_nm : float
        Between the centres of found and true void; NaN where one is missing.
    """

    iou: float
    recall: float
    precision: float
    distance_nm: float


def match_voids(found: Segmentation, truth: Segmentation) -> VoidMatch:
    """Compare the voids of two segmentations of one grid."""
    if found.labels.shape != truth.labels.shape:
        raise GeometryError(
            expected("segmentation", f"shape {truth.labels.shape}", found.labels.shape, "Compare on one grid")
        )
    a, b = found.mask(VOID), truth.mask(VOID)
    both = int((a & b).sum())
    distance = float("nan")
    if a.any() and b.any():
        between = np.argwhere(a).mean(axis=0) - np.argwhere(b).mean(axis=0)
        distance = float(np.linalg.norm(between)) * truth.voxel_nm
    recall = both / int(b.sum()) if b.any() else float("nan")
    precision = both / int(a.sum()) if a.any() else float("nan")
    return VoidMatch(overlap(a, b), recall, precision, distance)


def _phases(shares: F32) -> NDArray[np.intp]:
    """Channel of the largest share where all together fill more than half, else -1; (z, y, x)."""
    phases: NDArray[np.intp] = np.where(shares.sum(axis=0) > 0.5, shares.argmax(axis=0), -1)
    return phases


def _decided(shares: F32) -> NDArray[np.bool_]:
    """Where one phase, or the vacuum, fills more than `DECIDED` of a voxel of the truth; (z, y, x)."""
    decided: NDArray[np.bool_] = np.maximum(shares.max(axis=0), 1 - shares.sum(axis=0)) > DECIDED
    return decided
