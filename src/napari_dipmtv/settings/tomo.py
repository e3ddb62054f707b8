"""Knobs of the reconstructions: WBP, SIRT, CS-TV and the deep image priors DIP-TV and DIPm-TV."""

from __future__ import annotations

from typing import Literal

from pydantic import model_validator

from napari_dipmtv.settings.base import StageSettings, knob

Method = Literal["wbp", "sirt", "cs-tv", "dip-tv", "dipm-tv"]
Device = Literal["auto", "cpu", "cuda", "mps"]
DataTerm = Literal["auto", "poisson", "covariance", "least-squares"]
WbpFilter = Literal["ramp", "shepp-logan", "cosine", "hamming", "hann"]
DipOutput = Literal["fractions", "softplus", "square"]
TvKind = Literal["vectorial", "per-channel", "channel-sum"]
Backend = Literal["own", "astra"]

_PROJECTOR = knob(
    "own",
    "Projector",
    "Whose weights turn volumes into projections. Own: fast on any device, with an exact adjoint. ASTRA: for "
    "comparison; the same to some 1e-5 on the CPU, its 3-D kernels on CUDA, whose back-projection is only nearly the "
    "adjoint, so that CS-TV may not come to its gap there.",
    advanced=True,
)


class WbpSettings(StageSettings):
    """Weighted back-projection: instant and linear; noise and the streaks of few tilts stay in the volume."""

    filter: WbpFilter = knob(
        "hann",
        "Filter",
        "What tames the noise that the ramp brings up, mildest first: the bare ramp, Shepp-Logan, cosine, Hamming, "
        "Hann.",
    )
    cutoff: float = knob(
        1.0,
        "Cut-off",
        "Part of the highest frequency of the maps that is kept. Less is smoother.",
        gt=0,
        le=1,
    )


class SirtSettings(StageSettings):
    """Simultaneous iterative reconstruction, non-negative: the quick look, and the start of other methods."""

    iterations: int = knob(
        20,
        "Iterations",
        "Passes over the data. More sharpens the volume and then brings the noise up; noisy maps want 10-30.",
        ge=1,
        le=10000,
    )
    projector: Backend = _PROJECTOR


class CsTvSettings(StageSettings):
    """Compressed sensing: the convex fit with the least total variation; fast, reproducible, rounds fine detail off."""

    iterations: int = knob(
        250,
        "Iterations",
        "Most primal-dual steps; the run ends earlier when the volume stops changing.",
        ge=1,
        le=100000,
    )
    tv_strength: float = knob(
        0.12,
        "TV strength",
        "Weight of the total variation against the data. It has no unit and keeps its meaning at any size and dose. "
        "More gives flatter, rounder phases and hides small voids; less leaves noise and streaks.",
        ge=0,
        le=1000,
    )
    tv: TvKind = knob(
        "vectorial",
        "TV over channels",
        "Vectorial counts an edge once when all channels have it there, so their noise cannot differ freely; "
        "per-channel treats them apart; channel-sum, as published, cannot see noise that cancels in the sum.",
    )
    data_term: DataTerm = knob(
        "auto",
        "Data term",
        "How misfit is weighed. Auto takes Poisson for counts, the covariance of the unmixing where there is one, "
        "and plain least squares for maps without statistics.",
    )
    tolerance: float = knob(
        1e-2,
        "Stop at gap",
        "The run ends when the cost is proven to lie within this fraction of the least possible (duality gap). "
        "Less takes longer; 0 takes all iterations.",
        ge=0,
        le=1,
        advanced=True,
    )
    projector: Backend = _PROJECTOR


class DipSettings(StageSettings):
    """Deep image prior with total variation: an untrained 3-D network fitted to the measured maps.

    DIPm-TV reconstructs all channels with one network and a shared decoder; DIP-TV gives each channel its own.
    """

    iterations: int = knob(
        400,
        "Iterations",
        "Fitting steps at most; the step length fades over them, so that fewer steps give a coarser but finished "
        "volume. Stop keeps what was reached at any time.",
        ge=1,
        le=100000,
    )
    tv_strength: float = knob(
        0.002,
        "TV strength",
        "Weight of the total variation against the data, without unit, the same at any size and dose. "
        "More flattens the phases; 0 leaves the smoothing to the network.",
        ge=0,
        le=1000,
    )
    tv: TvKind = knob(
        "vectorial",
        "TV over channels",
        "Vectorial counts an edge once when all channels have it there; per-channel treats them apart; "
        "channel-sum, as published, cannot see noise that cancels in the sum.",
    )
    data_term: Literal["auto", "poisson", "covariance", "least-squares", "l1", "l2"] = knob(
        "auto",
        "Data term",
        "How misfit is weighed. Auto takes Poisson for counts, the covariance of the unmixing where there is one, "
        "and least squares otherwise. L1 and L2, plain means over all pixels, are the published choices.",
    )
    seed: int = knob(
        0,
        "Seed",
        "Start of the random numbers; the same seed on the same machine gives the same volume.",
        ge=0,
        le=2**31 - 1,
    )
    held_out: float = knob(
        0.1,
        "Held out",
        "Share of the dose that the network does not see until the last steps; when the misfit of that part grows, "
        "the fit has begun to follow the noise and is ended. Maps without counts or a covariance are not split; there "
        "the fit is ended when its output, having come to rest, moves again. 0 never ends early.",
        ge=0,
        le=0.5,
    )
    cavities: bool = knob(
        True,
        "Test for cavities",
        "Before the last steps, ask the data whether enclosed balls of the volume should be empty, and open those that "
        "they demand (likelihood ratio above e^12). A network alone fills small voids. Needs counts or a covariance.",
    )
    refine_shifts: bool = knob(
        False,
        "Refine shifts",
        "Learn with the volume how far each view lies off, to a fraction of a pixel, an offset of the tilt axis "
        "included. For series whose alignment is in doubt; takes one network for all channels.",
        advanced=True,
    )
    polish: int = knob(
        200,
        "Polish",
        "After the last step the volume may follow the data without the network for so many quick steps at most; as "
        "many are taken as help to foretell the held-out dose, at usual noise none. For maps of little noise, which "
        "show more than the network can draw. 0 leaves it out.",
        ge=0,
        le=10000,
        advanced=True,
    )
    crop: bool = knob(
        True,
        "Crop to the object",
        "Fit only the box that holds the object, found in a quick CS-TV volume; all outside is vacuum. "
        "Two to four times faster.",
        advanced=True,
    )
    normalise: Literal["density", "maximum"] = knob(
        "density",
        "Normalise",
        "What the maps are divided by before the fit. Density: the typical density of each channel in a rough volume. "
        "Maximum, as published: each channel's brightest pixel, with negative values clipped. Matters to the L1 and L2 "
        "data terms, where it sets the weights of the channels; the volume comes back in the units of the maps.",
        advanced=True,
    )
    tv_measure: Literal["relative", "sum"] = knob(
        "relative",
        "TV measure",
        "Relative: total variation over the mass of the volume, so that one strength suits any size and dose. Sum, as "
        "published: summed over the voxels; only strengths far below 1e-3 make sense.",
        advanced=True,
    )
    returned: Literal["average", "lowest-loss"] = knob(
        "average",
        "Returned volume",
        "The running average of the output, or the output of the step with the lowest loss, as published, which is the "
        "one that follows the noise most.",
        advanced=True,
    )
    average: float = knob(
        0.95,
        "Output average",
        "Weight of the past in the running average of the output that is returned. 0 returns the last output; "
        "nearer to 1 is smoother and slower to follow.",
        ge=0,
        lt=1,
        advanced=True,
    )
    learning_rate: float = knob(
        1e-2,
        "Learning rate",
        "Step of the AdamW optimiser. Larger is faster until the loss jumps.",
        gt=0,
        le=1,
        advanced=True,
    )
    schedule: Literal["fading", "constant"] = knob(
        "fading",
        "Schedule",
        "Fading: the learning rate rises over 25 steps and then falls along a cosine, which brings out fine detail in "
        "the end. Constant is the published choice.",
        advanced=True,
    )
    weight_decay: float = knob(
        0.0,
        "Weight decay",
        "Pull of the network's weights to zero in each step.",
        ge=0,
        le=1,
        advanced=True,
    )
    filters: tuple[int, ...] = knob(
        (8, 32, 64),
        "Filters",
        "Feature channels at each level of the network, finest first. More is slower, needs more memory and copies "
        "more noise.",
        advanced=True,
    )
    skips: tuple[int, ...] = knob(
        (0, 0, 0),
        "Skip filters",
        "Feature channels that each level passes straight to the decoder; as many numbers as filters. Without them the "
        "network cannot hand noise through.",
        advanced=True,
    )
    output: DipOutput = knob(
        "fractions",
        "Output",
        "What keeps the volume from going below zero. Fractions are shares of phases, which may mix, with one full "
        "density each, learnt from the data; softplus allows any density; the square is the published choice.",
        advanced=True,
    )
    network_input: Literal["cs-tv", "random"] = knob(
        "cs-tv",
        "Network input",
        "What the network looks at: a quick CS-TV volume, which it first learns to give back, or random numbers, as "
        "published.",
        advanced=True,
    )
    input_channels: int = knob(
        32,
        "Random input channels",
        "Channels of the random input.",
        ge=1,
        le=256,
        advanced=True,
    )
    input_scale: float = knob(
        0.1,
        "Random input scale",
        "The random input is uniform between 0 and this value.",
        gt=0,
        le=10,
        advanced=True,
    )
    input_noise: float = knob(
        0.01,
        "Input noise",
        "Standard deviation of fresh noise added to the input in every step; keeps the network from memorising.",
        ge=0,
        le=10,
        advanced=True,
    )
    precision: Literal["auto", "float32", "bfloat16"] = knob(
        "auto",
        "Precision",
        "Number format inside the network. Auto takes bfloat16 where the device is fast at it, else float32; "
        "projection, loss and averages are always float32.",
        advanced=True,
    )
    projector: Backend = _PROJECTOR

    @model_validator(mode="after")
    def _levels_match(self) -> DipSettings:
        if len(self.filters) != len(self.skips) or not self.filters:
            raise ValueError("filters and skip filters need the same, positive number of levels")
        if min(self.filters) < 1 or min(self.skips) < 0:
            raise ValueError("filters must be at least 1 and skip filters at least 0")
        return self


MethodSettings = WbpSettings | SirtSettings | CsTvSettings | DipSettings

METHODS: dict[Method, type[WbpSettings] | type[SirtSettings] | type[CsTvSettings] | type[DipSettings]] = {
    "wbp": WbpSettings,
    "sirt": SirtSettings,
    "cs-tv": CsTvSettings,
    "dip-tv": DipSettings,
    "dipm-tv": DipSettings,
}
