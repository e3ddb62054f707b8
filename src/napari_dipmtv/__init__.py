"""napari-dipmtv: from dual EELS spectrum images to a trusted chemical 3-D volume.

The public names are loaded when they are first used, so that importing the package (as napari does to find the
plugin) costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOME = {
    "simulate": "phantom",
    "load": "pipeline",
    "unmix": "pipeline",
    "align": "pipeline",
    "reconstruct": "pipeline",
    "segment": "pipeline",
    "measure": "pipeline",
    "export": "pipeline",
    "run_project": "pipeline",
    "ChannelMaps": "data",
    "TiltSeries": "data",
    "Volume": "data",
    "Segmentation": "data",
    "InputError": "errors",
}

if TYPE_CHECKING:
    from napari_dipmtv.data import ChannelMaps, Segmentation, TiltSeries, Volume
    from napari_dipmtv.errors import InputError
    from napari_dipmtv.phantom import simulate
    from napari_dipmtv.pipeline import (
        align,
        export,
        load,
        measure,
        reconstruct,
        run_project,
        segment,
        unmix,
    )

__all__ = [
    "ChannelMaps",
    "InputError",
    "Segmentation",
    "TiltSeries",
    "Volume",
    "__version__",
    "align",
    "export",
    "load",
    "measure",
    "reconstruct",
    "run_project",
    "segment",
    "simulate",
    "unmix",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(f"napari_dipmtv.{_HOME[name]}"), name)
    raise AttributeError(f"module 'napari_dipmtv' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])
