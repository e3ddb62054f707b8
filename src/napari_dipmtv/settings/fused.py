"""Knobs of the fused reconstructions: many HAADF tilts and few chemical ones to one chemical volume."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import model_validator

from napari_dipmtv.settings.base import StageSettings, knob
from napari_dipmtv.settings.tomo import DataTerm, DipSettings, TvKind

FusedMethod = Literal["fused", "fused-dipm-tv", "fused-published"]


class HaadfSettings(StageSettings):
    """How a HAADF series is modelled and how far it is trusted: ``P_h sum_c w_c x_c^gamma``."""

    haadf_weight: float = knob(
        0.2,
        "HAADF weight",
        "How far the HAADF is trusted. 1 takes its noise as all that is wrong with it; "
        "less leaves room for what the model of its contrast "
        "cannot explain (thickness, diffraction); 0 is the chemical reconstruction alone.",
        ge=0,
        le=100,
    )
    gamma: float = knob(
        1.0,
        "Exponent",
        "Exponent of the density in the HAADF model, where the fit begins. 1 is "
        "incoherent scattering: the signal grows "
        "with the number of atoms, and the atomic number is in the weights. Published: 1.6.",
        ge=1,
        le=2,
    )
    learn_gamma: bool = knob(
        False,
        "Fit the exponent",
        "Refit the exponent between 1 and 2 to the HAADF series as the volume becomes "
        "known. It mends a contrast that is "
        "not linear (thick samples); blurred edges ask for too large a one.",
    )
    learn_weights: bool = knob(
        True,
        "Fit the weights",
        "Refit how strongly each channel scatters, not negative. Off keeps them in the ratio that atomic numbers or "
        "the given weights say, with one common factor fitted.",
    )
    weights: tuple[float, ...] = knob(
        (),
        "Weights",
        "HAADF signal of each channel per unit of its maps, in their order, up to a common factor. Empty takes the "
        "atomic numbers to the power 1.7 of the elements that the channels are named after.",
        empty="of the atomic numbers",
        advanced=True,
    )

    @property
    def linear(self) -> bool:
        """True where the signal is proportional to the volume and stays so."""
        return self.gamma == 1 and not self.learn_gamma

    @model_validator(mode="after")
    def _weights_positive(self) -> Self:
        if any(not w > 0 for w in self.weights):
            raise ValueError("weights must be positive")
        return self


class FusedSettings(HaadfSettings):
    """Fused multi-modal reconstruction: one volume that explains the chemical maps and the HAADF series.

    The HAADF image is modelled as the projection of ``sum_c w_c x_c^gamma``; weights and exponent are fitted to the
    data in turns with the volume.
    """

    iterations: int = knob(
        300,
        "Iterations",
        "Primal-dual steps on the joint cost; the volume of the least cost seen is kept. "
        "A contrast that is not linear "
        "is refitted during the first two thirds.",
        ge=1,
        le=100000,
    )
    tv_strength: float = knob(
        0.06,
        "TV strength",
        "Weight of the total variation against the chemical data, without unit, the same at any size and dose. "
        "More gives flatter phases; less leaves noise.",
        ge=0,
        le=1000,
    )
    tv: TvKind = knob(
        "vectorial",
        "TV over channels",
        "Vectorial counts an edge once when all channels have it there; per-channel, as "
        "published, treats them apart.",
    )
    data_term: DataTerm = knob(
        "auto",
        "Data term",
        "How the chemical misfit is weighed. Auto takes Poisson for counts, the "
        "covariance of the unmixing where there "
        "is one, and plain least squares for maps without statistics.",
    )
    refit_every: int = knob(
        20,
        "Refit every",
        "Steps between two fits of weights and exponent.",
        ge=1,
        le=10000,
        advanced=True,
    )
    start_iterations: int = knob(
        80,
        "Start iterations",
        "Steps of the chemical CS-TV volume with which the fit begins.",
        ge=1,
        le=10000,
        advanced=True,
    )


class FusedDipSettings(DipSettings, HaadfSettings):
    """DIPm-TV with a HAADF term: one network draws the volume that explains the maps and the HAADF series.

    The volume that the network looks at first is that of the fused method; with ``haadf_weight`` 0 it is DIPm-TV.
    """

    @model_validator(mode="after")
    def _likelihoods_compare(self) -> Self:
        if self.data_term in ("l1", "l2"):
            raise ValueError(f"the HAADF cannot be weighed against data term {self.data_term}; choose auto")
        return self


class PublishedFusedSettings(StageSettings):
    """The fused procedure as released with Nat. Commun. 15, 3555 (2024)."""

    chemical_iterations: int = knob(
        100, "Chemical iterations", "Poisson steps on the chemical maps alone (first stage).", ge=1, le=100000
    )
    iterations: int = knob(
        150,
        "Iterations",
        "Steps of both stages together; those behind the chemical ones use both modalities (second stage).",
        ge=1,
        le=200000,
    )
    gamma: float = knob(1.6, "Exponent", "Exponent of the density in the HAADF model.", ge=1, le=2)
    epsilon: float = knob(
        0.1, "Epsilon", "Keeps the Poisson step finite; in units of the largest map value.", gt=0, le=10
    )
    chemical_strength: float = knob(
        0.05,
        "Chemical strength",
        "Length of the Poisson step, as a share of 1 / Lipschitz constant.",
        gt=0,
        le=10,
    )
    haadf_strength: float = knob(
        10.0, "HAADF strength", "Length of the HAADF step; too long makes the fit oscillate.", ge=0, le=1000
    )
    tv_strength: float = knob(
        1e-4,
        "TV strength",
        "Weight of the total variation of each channel, in units of the scaled volume.",
        gt=0,
        le=10,
    )
    tv_iterations: int = knob(
        5, "TV iterations", "Inner steps of the TV denoising.", ge=1, le=1000, advanced=True
    )
    sirt_iterations: int = knob(
        5, "SIRT iterations", "SIRT steps on the HAADF series inside each step.", ge=1, le=1000, advanced=True
    )
    damping: float = knob(
        0.95,
        "Damping",
        "Factor on the chemical strength after a step in which the HAADF cost rose.",
        gt=0,
        le=1,
        advanced=True,
    )
    scale: float = knob(
        10.0,
        "Scale",
        "Factor on the volume between the stages; the strengths above belong to it.",
        gt=0,
        le=1000,
        advanced=True,
    )
    weights: tuple[float, ...] = knob(
        (),
        "Weights",
        "HAADF weight of each channel, divided by their sum. Empty takes the atomic numbers.",
        empty="of the atomic numbers",
        advanced=True,
    )

    @model_validator(mode="after")
    def _weights_positive(self) -> Self:
        if any(not w > 0 for w in self.weights):
            raise ValueError("weights must be positive")
        return self


FusedMethodSettings = FusedSettings | FusedDipSettings | PublishedFusedSettings

FUSED_METHODS: dict[
    FusedMethod, type[FusedSettings] | type[FusedDipSettings] | type[PublishedFusedSettings]
] = {
    "fused": FusedSettings,
    "fused-dipm-tv": FusedDipSettings,
    "fused-published": PublishedFusedSettings,
}


class FusedPhantomSettings(StageSettings):
    """A CuO core in a CoO shell with three Au particles, measured in both modalities."""

    field_voxels: int = knob(48, "Field of view", "Voxels along each side.", unit="voxels", ge=16, le=256)
    voxel_nm: float = knob(1.0, "Voxel size", "Side of a voxel.", unit="nm", gt=0, le=100)
    supersampling: int = knob(3, "Supersampling", "Sample points along each side of a voxel.", ge=1, le=8)
    chemical_tilts: int = knob(9, "Chemical tilts", "Views of the chemical maps.", ge=3, le=361)
    haadf_tilts: int = knob(47, "HAADF tilts", "Views of the HAADF series.", ge=3, le=361)
    tilt_range_deg: float = knob(
        70.0, "Tilt range", "Both go from minus to plus this.", unit="deg", gt=0, lt=90
    )
    chemical_counts: float = knob(
        8.0, "Chemical counts", "Expected counts in the fullest pixel of any channel at 0 deg.", gt=0, le=1e9
    )
    haadf_counts: float = knob(
        1000.0, "HAADF counts", "Expected counts in the fullest pixel at 0 deg.", gt=0, le=1e12
    )
    z_power: float = knob(
        1.7, "Power of Z", "HAADF signal of an atom goes with this power of its number.", ge=1, le=2
    )
    seed: int = knob(0, "Seed", "Start of the random numbers.", ge=0, le=2**31 - 2)
