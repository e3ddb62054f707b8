"""File > Open Sample: the simulated nanocube and ETSpy's needle, with their angles, as layers and in the session."""

from __future__ import annotations

from napari_dipmtv._napari.hand_over import hand_over
from napari_dipmtv._napari.layer_data import LayerData, map_layers, sum_layers
from napari_dipmtv.errors import InputError, expected


def nanocube() -> list[LayerData]:
    """Simulated dual EELS tilt series of an FeO/Fe3O4 cube with a void; the docks go on from its preparation."""
    from napari_dipmtv._napari.demo_settings import demo_settings
    from napari_dipmtv.phantom import simulate

    simulation = simulate(
        demo_settings()
    )  # while the window waits: napari takes no sample whose layers come later
    hand_over(
        lambda bench: bench.adopt("series", simulation.series, demo_regions=simulation.regions), replace=True
    )
    return sum_layers(simulation.series)


def needle() -> list[LayerData]:
    """Real HAADF tilt series that comes with ETSpy; the docks go on from its alignment.

    Raises
    ------
    InputError
        When ETSpy is not installed.
    """
    try:
        from etspy.datasets import get_needle_data
    except ImportError:
        advice = "Run: pip install 'napari-dipmtv[etspy]'"
        raise InputError(expected("needle", "ETSpy, which has the data", "no ETSpy", advice)) from None
    import numpy as np

    from napari_dipmtv.data import ChannelMaps

    stack = get_needle_data(aligned=True)
    views = np.rot90(stack.data, axes=(1, 2))  # ETSpy's tilt axis runs along x
    tilts = tuple(float(tilt) for tilt in stack.tilts.data[:, 0])
    maps = ChannelMaps(views[None], ("HAADF",), tilts, float(stack.axes_manager.signal_axes[0].scale))
    hand_over(lambda bench: bench.adopt("maps", maps), replace=True)
    return map_layers(maps, "maps")
