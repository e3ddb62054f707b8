"""File > Open Sample: the simulated nanocube and ETSpy's needle, with their angles, as layers and in the session.

napari wants the layers of a sample at once, and both take seconds. In a window it gets blank ones of the right size,
and a thread brings what fills them; without a window, as in a script, the layers come full.
"""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np

from napari_dipmtv._napari.demo_settings import demo_settings
from napari_dipmtv._napari.hand_over import load_aside
from napari_dipmtv._napari.layer_data import SUMS, LayerData, blanks, map_layers, sum_layers, sum_maps
from napari_dipmtv.data import ChannelMaps
from napari_dipmtv.errors import InputError, expected

NEEDLE_TILTS_DEG = tuple(float(tilt) for tilt in range(-76, 77, 2))
NEEDLE_PIXELS, NEEDLE_PIXEL_NM = 256, 3.36


def nanocube() -> list[LayerData]:
    """Simulated dual EELS tilt series of an FeO/Fe3O4 cube with a void; the docks go on from its preparation.

    Raises
    ------
    InputError
        While something runs.
    """
    settings = demo_settings()
    if load_aside(lambda bench: bench.load_demo(settings), replace=True):
        particle = settings.phantom
        sums = _dark(SUMS, settings.tilts_deg, particle.field_voxels, particle.voxel_nm)
        return blanks(sum_layers(sums)[1:])  # napari takes 0.1 s for each; the other one is hidden
    from napari_dipmtv.phantom import simulate

    return sum_layers(sum_maps(simulate(settings).series))


def needle() -> list[LayerData]:
    """Real HAADF tilt series that comes with ETSpy; the docks go on from its alignment.

    Raises
    ------
    InputError
        When ETSpy is not installed, or while something runs.
    """
    if find_spec("etspy") is None:
        advice = "Run: pip install 'napari-dipmtv[etspy]'"
        raise InputError(expected("needle", "ETSpy, which has the data", "no ETSpy", advice))
    if load_aside(lambda bench: bench.load_sample_maps(_read_needle), replace=True):
        return blanks(map_layers(_dark(("HAADF",), NEEDLE_TILTS_DEG, NEEDLE_PIXELS, NEEDLE_PIXEL_NM), "maps"))
    return map_layers(_read_needle(), "maps")


def _read_needle() -> ChannelMaps:
    from etspy.datasets import get_needle_data

    stack = get_needle_data(aligned=True)
    views = np.rot90(stack.data, axes=(1, 2))  # ETSpy's tilt axis runs along x
    tilts = tuple(float(tilt) for tilt in stack.tilts.data[:, 0])
    return ChannelMaps(views[None], ("HAADF",), tilts, float(stack.axes_manager.signal_axes[0].scale))


def _dark(
    channels: tuple[str, ...], tilts_deg: tuple[float, ...], pixels: int, pixel_nm: float
) -> ChannelMaps:
    """Square maps in which nothing has been counted."""
    data = np.zeros((len(channels), len(tilts_deg), pixels, pixels), np.float32)
    return ChannelMaps(data, channels, tilts_deg, pixel_nm)
