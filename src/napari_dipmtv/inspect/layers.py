"""Phases to the thickness of skin and shell, as maps over the surface of the particle."""

from __future__ import annotations

import numpy as np

from napari_dipmtv.data import F32, Segmentation, Volume
from napari_dipmtv.inspect.fractions import INSIDE_PX, bulk_density, channel_of
from napari_dipmtv.inspect.matter import depth_px, filled
from napari_dipmtv.inspect.surface import Thickness, surface_of, thickness_of


def thickness_maps(segmentation: Segmentation, volume: Volume | None = None) -> dict[str, Thickness]:
    """Measure how thick skin and shell are at every place of the surface.

    Parameters
    ----------
    segmentation : Segmentation
        With phases named "... shell" and "... skin".
    volume : Volume, optional
        The densities. Then the thicknesses are mass thicknesses, which stay right below one voxel; without it
        they count voxels along the same normals.

    Returns
    -------
    dict of str to Thickness
        By the name of the phase, in voxels; a phase without a straight normal is left out. For a surface layer of
        napari: ``(t.surface.vertices, t.surface.faces, t.at_vertices() * voxel_nm)``.
    """
    named = {name.rsplit(" ", 1)[-1]: name for name in segmentation.phases.values()}
    if "shell" not in named or not segmentation.mask(named["shell"]).any():
        return {}
    matter = filled(segmentation.labels > 0)
    surface, depth = surface_of(matter), depth_px(matter)
    if surface is None:
        return {}
    of_shell = depth[segmentation.mask(named["shell"])]
    reach = {"skin": float(np.median(of_shell)), "shell": float(np.percentile(of_shell, 95)) + INSIDE_PX}
    found: dict[str, Thickness] = {}
    for role in ("skin", "shell"):
        if role not in named:
            continue
        layer = _layer(segmentation, volume, role, named)
        thickness = None if layer is None else thickness_of(layer, surface, depth, reach[role])
        if thickness is not None:
            found[named[role]] = thickness
    return found


def _layer(segmentation: Segmentation, volume: Volume | None, role: str, named: dict[str, str]) -> F32 | None:
    """Density of a layer over its bulk density, or its mask without a volume; None without a bulk to read."""
    channel = None if volume is None else channel_of(named[role], volume.channels)
    if volume is None or channel is None:
        mask = segmentation.mask(named[role])
        return mask.astype(np.float32) if mask.any() else None
    bulk = (
        named.get("core", named[role]) if role == "skin" else named[role]
    )  # a thin skin has no bulk of its own
    value = bulk_density(volume.data[channel], segmentation.mask(bulk))
    return (volume.data[channel] / value).astype(np.float32) if value > 0 else None
