"""Knobs of the export."""

from __future__ import annotations

from typing import Literal

from napari_dipmtv.settings.base import StageSettings, knob


class ExportSettings(StageSettings):
    """Which files a finished project leaves behind."""

    formats: tuple[Literal["ome-tiff", "mrc", "hspy"], ...] = knob(
        ("ome-tiff",),
        "Volume formats",
        "OME-TIFF opens in napari and Fiji, MRC in IMOD, Chimera and tomviz, HSPY in HyperSpy.",
    )
    maps: bool = knob(True, "Maps", "Also write the unmixed maps with their variances.")
    meshes: bool = knob(False, "Meshes", "Also write the surface of each phase as STL, in nm.")
