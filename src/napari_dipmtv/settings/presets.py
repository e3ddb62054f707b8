"""A method to named settings for common situations, the published ones among them, each with a word on when."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from napari_dipmtv.errors import InputError, expected
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


# What all published rows share (arXiv:2606.10893 and arXiv:2606.10547, with their released code); each row is these
# and what stands below.
_PUBLISHED = DipSettings(
    tv="channel-sum",
    tv_measure="sum",
    normalise="maximum",
    held_out=0,
    cavities=False,
    polish=0,
    crop=False,
    average=0,  # the last output; their running average is computed but not returned
    schedule="constant",
    filters=(16, 32, 64, 128),
    skips=(4, 8, 16, 32),
    output="square",
    network_input="random",
    input_channels=32,
    input_scale=0.1,
    precision="float32",
)

_DIP: Mapping[str, Preset] = {
    "usual": Preset(DipSettings(), "The defaults: good for most series"),
    "quick look": Preset(
        DipSettings(iterations=100), "A quarter of the time; thin layers and corners are still rounder"
    ),
    "counts (EDX)": Preset(
        DipSettings(data_term="poisson"), "Maps of counted events, so that the noise is that of counting"
    ),
    "unmixed maps (EELS)": Preset(
        DipSettings(data_term="covariance"), "Maps from step 3, which carry the covariance of the unmixing"
    ),
    "published EELS simulation": Preset(
        _PUBLISHED.replace(
            iterations=1000,
            data_term="l1",
            learning_rate=4e-4,
            input_noise=0.01,
            tv_strength=1e-10,
            returned="lowest-loss",
        ),
        "arXiv:2606.10893, noise-free phantom; for comparison, follows the noise of real maps",
    ),
    "published EELS experiment": Preset(
        _PUBLISHED.replace(
            iterations=250,
            data_term="l1",
            learning_rate=5e-4,
            weight_decay=0.01,
            input_noise=0.1,
            input_scale=1.0,
            tv_strength=1e-9,
            filters=(32, 64, 64, 128),
            skips=(8, 16, 16, 32),
        ),
        "arXiv:2606.10893, measured FeO/Fe3O4; for comparison. 250 iterations as in the code, 2000 in the text",
    ),
    "published EDX simulation": Preset(
        _PUBLISHED.replace(
            iterations=5000,
            data_term="l2",
            learning_rate=4e-4,
            input_noise=0.04,
            tv_strength=1e-10,
            filters=(16, 32, 64, 128, 256),
            skips=(4, 8, 16, 32, 64),
        ),
        "arXiv:2606.10547, phantom of Ge, Sb, Te; for comparison; maps of more than 32 pixels",
    ),
    "published EDX experiment": Preset(
        _PUBLISHED.replace(
            iterations=1500, data_term="l2", learning_rate=5e-4, input_noise=0.05, tv_strength=1e-11
        ),
        "arXiv:2606.10547, measured Ge, Sb, Te; for comparison",
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


def preset(method: Method, name: str) -> MethodSettings:
    """Give the settings of a preset; raises `InputError`, with the names that there are, for one that is not."""
    known = PRESETS[method]
    if name not in known:
        raise InputError(expected(f"preset of {method}", "; ".join(known), repr(name), "Choose one of them"))
    return known[name].settings


def preset_of(method: Method, settings: MethodSettings) -> str:
    """Name of the preset that has these settings; empty where none has."""
    return next((name for name, known in PRESETS[method].items() if known.settings == settings), "")
