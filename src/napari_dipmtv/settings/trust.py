"""The knobs of the trust study: which feature is tested, how often, and with which method."""

from __future__ import annotations

from typing import Literal

from napari_dipmtv.settings.base import StageSettings, knob
from napari_dipmtv.settings.tomo import CsTvSettings, DipSettings, Method, MethodSettings, SirtSettings

RepeatMethod = Literal["sirt", "cs-tv", "short dipm-tv", "same"]

FAST_SIRT = SirtSettings(iterations=20)
FAST_CS_TV = CsTvSettings(tv_strength=0.05, iterations=120, tolerance=1e-3)
SHORT_DIPM_TV = DipSettings(network_input="cs-tv", iterations=60)


class TrustSettings(StageSettings):
    """How the question "is it real?" is put to the data."""

    feature: Literal["void", "skin"] = knob(
        "void",
        "Feature",
        "What is taken out and put back: the largest void, or the skin of a core-shell particle.",
    )
    repeat_method: RepeatMethod = knob(
        "sirt",
        "Method of the repeats",
        "Every number holds for the method that made the repeats. SIRT assumes least and takes a tenth of a second; "
        "CS-TV, with less total variation than for show, takes seconds; the short DIPm-TV starts from CS-TV and takes "
        "60 steps; same takes the method and settings of the volume itself, and as long.",
    )
    repeats: int = knob(
        99,
        "Null repeats",
        "Measurements of the particle without the feature. k repeats can show a p-value of 1 / (k + 1) at best.",
        ge=19,
        le=9999,
    )
    likelihood_repeats: int = knob(
        1000,
        "Likelihood repeats",
        "New measurements of the volume without its void whose best cavity is compared with that of the data. They "
        "need no reconstruction: a thousand take half a minute.",
        ge=19,
        le=100000,
    )
    likelihood_planted: int = knob(
        50,
        "Planted cavities",
        "Balls of each size that are planted and looked for by likelihood, without reconstruction.",
        ge=10,
        le=10000,
        advanced=True,
    )
    refits: int = knob(
        9,
        "Refits",
        "Measurements without the void that are reconstructed before the likelihood test, like the data. They show "
        "what the fit itself does to the evidence.",
        ge=3,
        le=1000,
    )
    planted_repeats: int = knob(
        10,
        "Repeats per size",
        "How often a feature of each size is planted and looked for. More narrows the interval of the smallest size.",
        ge=2,
        le=1000,
    )
    planted_sizes: int = knob(
        5,
        "Planted sizes",
        "Sizes between one and a half voxels and one and a half times the found size (at least eight voxels).",
        ge=2,
        le=20,
    )
    members: int = knob(
        20,
        "Ensemble",
        "Reconstructions of resampled data behind the uncertainties and probabilities; 0 leaves them out. More makes "
        "the 95 % intervals steadier.",
        ge=0,
        le=1000,
    )
    resampling: Literal["planted", "bootstrap"] = knob(
        "planted",
        "Resampling",
        "Planted measures particles like this one, of known phases, so that the bias of method and segmentation shows "
        "as well; bootstrap resamples the data themselves and shows the noise alone.",
        advanced=True,
    )
    held_out: bool = knob(
        True, "Held-out views", "Predict each view from all the others; one reconstruction per view."
    )
    compare: bool = knob(
        False,
        "Compare methods",
        "Reconstruct the data, and two halves of them, by SIRT, CS-TV, DIP-TV and DIPm-TV. Takes as long as those do.",
    )
    probe_nm: float = knob(
        0.0,
        "Probe",
        "Diameter of the ball that is looked for where no void is segmented; 0 takes five voxels.",
        unit="nm",
        ge=0,
        advanced=True,
    )
    cone_deg: float = knob(
        35.0,
        "Cone",
        "Half opening angle of the cones for the resolution along x, y and z. Wider is steadier and tells directions "
        "less apart.",
        unit="deg",
        gt=5,
        le=90,
        advanced=True,
    )
    masked: bool = knob(
        True,
        "Soft mask",
        "Correlate inside a soft mask around the object only, so that the vacuum does not count.",
        advanced=True,
    )
    seed: int = knob(
        0,
        "Seed",
        "Start of the random numbers; the same seed gives the same study, interrupted or not.",
        ge=0,
        le=2**31 - 1,
        advanced=True,
    )

    def of_repeats(self, method: Method, settings: MethodSettings) -> tuple[Method, MethodSettings]:
        """Method and settings of the repeats, for a volume that was made by the given ones."""
        if self.repeat_method == "sirt":
            return "sirt", FAST_SIRT
        if self.repeat_method == "cs-tv":
            return "cs-tv", FAST_CS_TV
        if self.repeat_method == "short dipm-tv":
            return "dipm-tv", SHORT_DIPM_TV
        return method, settings

    def of_refits(self, method: Method, settings: MethodSettings) -> tuple[Method, MethodSettings]:
        """Method and settings of the refits of a given volume: its own, but that networks take few steps."""
        if isinstance(settings, DipSettings) and self.repeat_method != "same":
            return method, SHORT_DIPM_TV
        return method, settings
