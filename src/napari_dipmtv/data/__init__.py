"""The nouns: what flows between the stages. Frozen, checked on creation; no settings, no paths, no devices.

Axis orders: spectrum image ``(y, x, e)``; maps and tilt series ``(c, t, y, x)``; volume ``(c, z, y, x)``.
The tilt axis is parallel to y and passes through ``(nx - 1) / 2``; at tilt θ a voxel at (z, x), measured from the
volume centre, lands at ``x' = x cos θ + z sin θ``. Projections are sums of voxel values along the beam, in pixels.
"""

from __future__ import annotations

from napari_dipmtv.data.checks import F32, F64, as_float32, check_tilts, positive
from napari_dipmtv.data.maps import Alignment, ChannelMaps, MapStack, TiltSeries
from napari_dipmtv.data.spectra import (
    DualSpectrumImage,
    EnergyAxis,
    ReferenceSpectrum,
    Region,
    SpectrumImage,
    SpectrumSeries,
)
from napari_dipmtv.data.volumes import Segmentation, Volume

__all__ = [
    "F32",
    "F64",
    "Alignment",
    "ChannelMaps",
    "DualSpectrumImage",
    "EnergyAxis",
    "MapStack",
    "ReferenceSpectrum",
    "Region",
    "Segmentation",
    "SpectrumImage",
    "SpectrumSeries",
    "TiltSeries",
    "Volume",
    "as_float32",
    "check_tilts",
    "positive",
]
