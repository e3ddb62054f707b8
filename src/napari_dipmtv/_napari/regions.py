"""Shapes that somebody drew on the maps of one tilt to a region of pixels, and back."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_dipmtv.data import Region
from napari_dipmtv.errors import InputError, expected

if TYPE_CHECKING:
    from napari.layers import Shapes

FEW_PIXELS = 20  # of a region, below which the noise of its spectrum shows in every map
CLOSED = ("polygon", "rectangle", "ellipse")
_AROUND = np.linspace(0, 2 * np.pi, 72, endpoint=False)


def region_of(layer: Shapes, tilts_deg: tuple[float, ...], shape: tuple[int, int]) -> Region:
    """Pixels inside the closed shapes of the tilt on which the last one was drawn; a shape in a shape is a hole.

    Parameters
    ----------
    layer : Shapes
        Corners (tilt, z, y, x) in pixels of the maps.
    tilts_deg : tuple of float
    shape : (ny, nx)

    Raises
    ------
    InputError
        When nothing closed is drawn, or it holds no pixel.
    """
    from skimage.draw import polygon2mask

    drawn = [
        (np.asarray(corners), kind)
        for corners, kind in zip(layer.data, layer.shape_type, strict=True)
        if kind in CLOSED
    ]
    if not drawn:
        raise InputError(
            expected(
                layer.name,
                "a polygon, a rectangle or an ellipse around pixels of one phase",
                "none",
                "Draw one",
            )
        )
    t = _tilt_index(drawn[-1][0], len(tilts_deg))
    inside = [
        polygon2mask(shape, (_ellipse(corners) if kind == "ellipse" else corners)[:, -2:])
        for corners, kind in drawn
        if _tilt_index(corners, len(tilts_deg)) == t
    ]
    return Region(tilts_deg[t], _joined(inside))


def outlines(region: Region, tilts_deg: tuple[float, ...]) -> list[NDArray[np.float64]]:
    """Polygons (corner, (tilt, z, y, x)) around a region, holes too: what `region_of` turns back into it."""
    t = int(np.argmin(np.abs(np.asarray(tilts_deg) - region.tilt_deg)))
    polygons = []
    for outline in pixel_outlines(region):
        corners = np.zeros((len(outline), 4))
        corners[:, 0], corners[:, 2:] = t, outline
        polygons.append(corners)
    return polygons


def region_warnings(regions: Mapping[str, Region]) -> list[str]:
    """Sentences on regions that will teach poorly: too few pixels, or pixels that two of them share."""
    told = [
        f"{name} holds only {count} pixels: its reference will be noisy. Draw a larger region."
        for name, region in regions.items()
        if (count := np.count_nonzero(region.mask)) < FEW_PIXELS
    ]
    for (one, first), (two, second) in combinations(regions.items(), 2):
        if first.tilt_deg == second.tilt_deg and first.mask.shape == second.mask.shape:
            shared = np.count_nonzero(first.mask & second.mask)
            if shared:
                told.append(f"{one} and {two} share {shared} pixels: draw them apart.")
    return told


def pixel_outlines(region: Region) -> list[tuple[tuple[float, float], ...]]:
    """Polygons (y, x) in pixels around a region, the longest first; one inside another is a hole."""
    from skimage.measure import find_contours

    found = find_contours(np.pad(region.mask, 1).astype(float), 0.5)
    return [
        tuple((float(y) - 1, float(x) - 1) for y, x in contour)
        for contour in sorted(found, key=len, reverse=True)
    ]


def _joined(masks: list[NDArray[np.bool_]]) -> NDArray[np.bool_]:
    """Union, from the largest shape to the smallest; one that lies wholly inside cuts a hole."""
    joined = np.zeros_like(masks[0])
    for mask in sorted(masks, key=np.count_nonzero, reverse=True):
        joined = joined & ~mask if mask.any() and not (mask & ~joined).any() else joined | mask
    return joined


def _tilt_index(corners: NDArray[np.float64], views: int) -> int:
    return int(np.clip(round(float(corners[:, 0].mean())), 0, views - 1))


def _ellipse(corners: NDArray[np.float64]) -> NDArray[np.float64]:
    """Outline of the ellipse in a box of four corners."""
    centre = corners.mean(axis=0)
    half_a, half_b = (corners[1] - corners[0]) / 2, (corners[3] - corners[0]) / 2
    return centre + np.cos(_AROUND)[:, None] * half_a + np.sin(_AROUND)[:, None] * half_b
