"""A method to named settings for common situations, each with a word on when to take it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from napari_dipmtv.settings.tomo import (
    CsTvSettings,
    DipSettings,
    Method,
    MethodSettings,
    SirtSettings,
    WbpSettings,
)


@dataclass(frozen=True, slots=True)
class Preset:
    """Settings and when to take them."""

    settings: MethodSettings
    when: str


_DIP: Mapping[str, Preset] = {
    "usual": Preset(DipSettings(), "The defaults: good for most series"),
    "quick look": Preset(DipSettings(iterations=100), "A quarter of the time; small voids are still shallow"),
    "counts (EDX)": Preset(
        DipSettings(iterations=400, data_term="poisson"),
        "Maps of counted events, so that the noise is that of counting",
    ),
    "unmixed maps (EELS)": Preset(
        DipSettings(iterations=250, data_term="covariance"),
        "Maps from step 3, which carry the covariance of the unmixing",
    ),
    "as published": Preset(
        DipSettings(tv="channel-sum", data_term="l1", output="square", network_input="random"),
        "The choices of the DIPm-TV paper where they differ from ours; for comparison",
    ),
}

PRESETS: Mapping[Method, Mapping[str, Preset]] = {
    "wbp": {"usual": Preset(WbpSettings(), "The defaults: a look at a series of many tilts in a moment")},
    "sirt": {
        "usual": Preset(SirtSettings(), "The defaults: a first look at noisy maps"),
        "clean maps": Preset(SirtSettings(iterations=100), "Maps with little noise, such as HAADF"),
    },
    "cs-tv": {
        "usual": Preset(CsTvSettings(), "The defaults: good for most series"),
        "small detail": Preset(CsTvSettings(tv_strength=0.06), "Keeps small voids, and more of the noise"),
        "very noisy": Preset(CsTvSettings(tv_strength=0.25), "Flatter phases for few counts"),
    },
    "dip-tv": _DIP,
    "dipm-tv": _DIP,
}


def preset_of(method: Method, settings: MethodSettings) -> str:
    """Name of the preset that has these settings; empty where none has."""
    return next((name for name, preset in PRESETS[method].items() if preset.settings == settings), "")
