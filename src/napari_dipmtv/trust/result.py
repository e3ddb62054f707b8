"""What the trust study found, as plain frozen records with everything that a table, a plot or a sentence needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np

from napari_dipmtv.data import F64

Direction = Literal["all", "x", "y", "z"]
Noise = Literal["poisson", "covariance", "residual"]
SEEN = 0.05  # a feature is taken as real below this p-value
# Under chance a likelihood ratio exceeds e^E at one place with a probability of at most e^-E (its mean is 1), at one of
# N places with N e^-E. A claim that a reader weighs may be wrong in `SEEN` of the cases. What is cut into a particle
# unseen, so that all else is measured with it, may be wrong in one of a thousand; so says
# `napari_dipmtv.tomo.cavities.EVIDENCE` too.
PLACES = 1e4  # balls that hardly overlap, of all sizes, in a particle
LEAST_NATS = float(np.log(PLACES / SEEN))  # 12.2: a cavity of less evidence is not taken as real
CUT_NATS = float(
    np.log(PLACES / 0.001)
)  # 16.1: a segmented void of less evidence is closed in a fitted particle


@dataclass(frozen=True, slots=True, eq=False)
class FscCurve:
    """Fourier shell correlation of two independent half reconstructions.

    Attributes
    ----------
    channel, direction : str
        Channel name (or "sum"); all directions, or a cone around x, y (the tilt axis) or z (the beam).
    frequency_per_nm, correlation, half_bit, coefficients : float64 arrays (shells,)
        Spatial frequency (1/nm), correlation, the 1/2-bit threshold of each shell, and the number of independent
        Fourier coefficients behind it.
    resolution_nm : mapping of str to float
        For the criteria "0.143", "1/2 bit" and "0.5": one over the frequency where the curve first falls below.
        Two voxels where it never does; NaN where even the first shell lies below.
    """

    channel: str
    direction: Direction
    frequency_per_nm: F64
    correlation: F64
    half_bit: F64
    coefficients: F64
    resolution_nm: Mapping[str, float]


@dataclass(frozen=True, slots=True, eq=False)
class EdgeSpread:
    """Mean profile of the filling across the outer surface and the error function fitted to it.

    ``width_nm`` goes from 10 to 90 % (2.563 standard deviations of the fitted blur) with its standard error from the
    fit; ``distance_nm``, ``profile`` and ``fitted`` (points,) run along the inward normal. ``direction`` is "all" or
    the axis to which the normals are nearest.
    """

    direction: Direction
    width_nm: float
    error_nm: float
    distance_nm: F64
    profile: F64
    fitted: F64


@dataclass(frozen=True, slots=True, eq=False)
class SpectrumResolution:
    """The published measure: where the fitted power spectrum along one axis meets its noise line.

    Measures smoothness, not signal to noise: a smooth method lowers its own noise line. ``power``, ``fitted`` and
    ``noise`` (k,) are log10; ``resolution_nm`` is NaN where the lines never meet.
    """

    axis: Literal["x", "y", "z"]
    frequency_per_nm: F64
    power: F64
    fitted: F64
    noise: F64
    resolution_nm: float


@dataclass(frozen=True, slots=True, eq=False)
class Resolution:
    """Three views of one question. ``split`` says how the halves were made, ``method`` what reconstructed them."""

    split: str
    method: str
    fsc: tuple[FscCurve, ...] = ()
    edges: tuple[EdgeSpread, ...] = ()
    spectra: tuple[SpectrumResolution, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class CavityTest:
    """How much the likelihood of the data gains when an enclosed ball is emptied, and what chance makes of that.

    Attributes
    ----------
    evidence : float
        Natural logarithm of the likelihood ratio, empty over filled, of the best ball anywhere (nats).
    size_nm : float
        Its diameter.
    apart_nm : float
        From the middle of the segmented void to that of the ball; NaN where no void is segmented.
    null : float64 array (repeats,)
        The best evidence of each new measurement of the filled volume, tested against that same volume.
    refitted : float64 array (refits,)
        The best evidence of new measurements that were reconstructed and filled like the data.
    method : str
        What made the volume and the refits.
    level : float
        A ball counts as found above this: the largest of `LEAST_NATS`, 95 % of ``null``, and what hardly another refit
        would reach (`refit_level`).
    sizes_nm, tried, found : float64 arrays (s,)
        Planted balls: diameters, how many, and how many were found.
    smallest_nm, low_nm, high_nm : float
        Diameter found in 90 % of the cases, with its 95 % interval; as in `Detection`.
    """

    evidence: float
    size_nm: float
    apart_nm: float
    null: F64
    refitted: F64
    method: str
    level: float
    sizes_nm: F64
    tried: F64
    found: F64
    smallest_nm: float
    low_nm: float
    high_nm: float

    @property
    def p_plug_in(self) -> float:
        """p-value against the filled volume, taken as if it were known exactly."""
        return p_value(self.evidence, self.null)

    @property
    def p_refitted(self) -> float:
        """p-value against measurements that went the whole way; 1 without any."""
        return p_value(self.evidence, self.refitted)

    @property
    def exceeds(self) -> bool:
        """True when the evidence lies above ``level``."""
        return bool(self.evidence > self.level)


@dataclass(frozen=True, slots=True, eq=False)
class NullTest:
    """How strong the feature looks in repeats from which it was taken out.

    Attributes
    ----------
    feature : str
        "void" or "skin".
    size_nm : float
        Equivalent diameter of the void, or thickness of the skin, in the volume under test.
    observed : float
        Its strength there: the missing share of matter in a ball of that size, or the mass thickness in nm.
    unit : str
        Of the strength.
    there, anywhere : float64 arrays (repeats,)
        The largest strength of each repeat in the same place, and anywhere inside the particle. They are equal for
        the skin, which has one place.
    segmented : int
        Repeats in which the segmentation showed such a feature of at least this size.
    method : str
        What made the repeats; the numbers hold for it.
    misfit : float
        Squared residual of the data from the fitted particle (without the void, with the skin), over its variance:
        about 1 where phases of uniform density explain all but the noise. NaN where it is not known.
    """

    feature: str
    size_nm: float
    observed: float
    unit: str
    there: F64
    anywhere: F64
    segmented: int
    method: str
    misfit: float = float("nan")

    @property
    def repeats(self) -> int:
        """Number of repeats without the feature."""
        return len(self.anywhere)

    @property
    def p_there(self) -> float:
        """p-value for a place that was chosen before looking."""
        return p_value(self.observed, self.there)

    @property
    def p_anywhere(self) -> float:
        """p-value for a feature that was found by looking everywhere."""
        return p_value(self.observed, self.anywhere)


@dataclass(frozen=True, slots=True, eq=False)
class Detection:
    """How often a planted feature of known size is found.

    Attributes
    ----------
    feature : str
    sizes_nm : float64 array (s,)
    tried, found, segmented : int64-valued arrays (s,)
        Repeats; those whose strength exceeds the 95 % level of the null test; those segmented as such a feature.
    smallest_nm, low_nm, high_nm : float
        Size found in 90 % of the repeats, from a logistic fit, with its 95 % interval. NaN when no tried size is
        found that often; ``low_nm`` 0 when the smallest tried size already is.
    curve_size_nm, curve : float64 arrays
        The fitted curve for plots; empty when there is none.
    method : str
    """

    feature: str
    sizes_nm: F64
    tried: F64
    found: F64
    segmented: F64
    smallest_nm: float
    low_nm: float
    high_nm: float
    curve_size_nm: F64
    curve: F64
    method: str


@dataclass(frozen=True, slots=True)
class Interval:
    """A measure of the volume under test with its intervals over the ensemble.

    Attributes
    ----------
    name, unit : str
    value : float
        As measured in the volume.
    mean, std : float
        Estimate for the object, with the bias taken off that the members show, and its standard deviation.
    low68, high68, low95, high95 : float
        Intervals of the object.
    """

    name: str
    unit: str
    value: float
    mean: float
    std: float
    low68: float
    high68: float
    low95: float
    high95: float


@dataclass(frozen=True, slots=True, eq=False)
class HeldOut:
    """Each view predicted from all others.

    ``error`` and ``noise`` (views,) are relative to the size of the view: ``|P x - y| / |y|``, and what the noise of
    that view alone would give for a perfect volume (NaN where the maps carry no statistics).
    """

    method: str
    tilts_deg: tuple[float, ...]
    error: F64
    noise: F64

    @property
    def mean_error(self) -> float:
        """Root-mean-square over the views."""
        return float(np.sqrt(np.mean(self.error**2)))


@dataclass(frozen=True, slots=True, eq=False)
class Coverage:
    """Which Fourier components the tilts measured.

    Attributes
    ----------
    measured : float64 array (kz, kx)
        1 where a component lies within half a sampling distance ``1 / object_nm`` of a measured plane, falling to 0;
        zero frequency in the middle.
    share : float
        Part of the components up to the highest frequency that is measured.
    wedge_share : float
        Part that lies outside the tilt range.
    largest_gap_deg : float
        Widest angle without a view, the wedge included.
    crowther_nm : float
        Finest detail that the widest step inside the tilt range supports, ``object_nm * step``.
    object_nm, highest_per_nm : float
        Size of the object across the tilt axis, and the edge of the map.
    """

    measured: F64
    share: float
    wedge_share: float
    largest_gap_deg: float
    crowther_nm: float
    object_nm: float
    highest_per_nm: float


@dataclass(frozen=True, slots=True)
class MethodRow:
    """One method on the same data; NaN where a number is not known (truth, held-out views, no void)."""

    method: str
    seconds: float
    residual: float
    held_out: float
    fsc_nm: float
    edge_nm: float
    void_nm3: float
    skin_nm: float
    nrmse: float = float("nan")
    ssim: float = float("nan")


@dataclass(frozen=True, slots=True, eq=False)
class TrustReport:
    """Everything that a trust study found; parts that were not asked for are None or empty.

    Attributes
    ----------
    channels, voxel_nm, tilts_deg
        The data.
    method : str
        Of the volume under test.
    repeat_method : str
        Of the repeats; every number of the study holds for it.
    noise : {"poisson", "covariance", "residual"}
        How noise was drawn.
    """

    channels: tuple[str, ...]
    voxel_nm: float
    tilts_deg: tuple[float, ...]
    method: str
    repeat_method: str
    noise: Noise
    cavity: CavityTest | None = None
    resolution: Resolution | None = None
    null: NullTest | None = None
    detection: Detection | None = None
    intervals: tuple[Interval, ...] = ()
    held_out: tuple[HeldOut, ...] = ()
    coverage: Coverage | None = None
    methods: tuple[MethodRow, ...] = ()
    members: int = 0
    notes: tuple[str, ...] = field(default=())

    def facts(self) -> dict[str, Any]:
        """Everything as nested mappings with the p-values, for `napari_dipmtv.io.reports.save_report`."""
        found = asdict(self)
        if self.cavity is not None:
            found["cavity"] |= {"p_plug_in": self.cavity.p_plug_in, "p_refitted": self.cavity.p_refitted}
        if self.null is not None:
            found["null"] |= {"p_there": self.null.p_there, "p_anywhere": self.null.p_anywhere}
            found["null"]["repeats"] = self.null.repeats
        for one, record in zip(self.held_out, found["held_out"], strict=True):
            record["mean_error"] = one.mean_error
        return found


def refit_level(refitted: F64) -> float:
    """What one more refit would exceed in 1 % of the cases, if they were Gaussian, and at least the largest so far.

    The best of many places is skewed to high values; 1 % of the Gaussian is about 5 % then. Minus infinity without
    refits, the largest for one or two.
    """
    from scipy.stats import t

    count = len(refitted)
    if count < 3:
        return float(refitted.max(initial=-np.inf))
    reach = float(t.ppf(0.99, count - 1)) * float(refitted.std(ddof=1)) * (1 + 1 / count) ** 0.5
    return float(max(refitted.max(), refitted.mean() + reach))


def p_value(observed: float, repeats: F64) -> float:
    """``(b + 1) / (k + 1)`` with ``b`` of ``k`` repeats at least as strong: never 0, and honest about few repeats.

    Source: B. Phipson and G. K. Smyth, Stat. Appl. Genet. Mol. Biol. 9, 39 (2010).
    """
    return float((np.count_nonzero(repeats >= observed) + 1) / (len(repeats) + 1))
