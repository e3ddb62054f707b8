"""Reference spectra with everything a fit needs: the window, the background basis, and what was assumed."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline

from napari_dipmtv.data import F64, EnergyAxis, ReferenceSpectrum, SpectrumImage
from napari_dipmtv.errors import InputError, expected
from napari_dipmtv.settings.spectra import BackgroundModel
from napari_dipmtv.spectra.background import background_basis
from napari_dipmtv.spectra.energy_offset import offset_groups

WORST_CONDITION = 1e8


@dataclass(frozen=True, slots=True, eq=False)
class Basis:
    """Basis spectra (k, e) on the fit window: background first, then references.

    ``is_reference`` (k,) says which is which, ``either_sign`` (k,) whose weight no model bounds.
    """

    window: slice
    spectra: F64
    is_reference: NDArray[np.bool_]
    either_sign: NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class References:
    """What a pixel is split into: a background and reference spectra on one energy axis.

    Attributes
    ----------
    spectra : tuple of ReferenceSpectrum
        Equal metal content; names become the channels of the maps.
    window_ev : tuple of float
        Energies that are fitted.
    exponents : tuple of float
        Exponents of the background.
    condition : float
        Condition number of what decided on the split; large means that noise decides.
    notes : tuple of str
        Plain sentences: what was done and assumed.
    background : str
        Which background the exponents belong to (`background.background_basis`).
    """

    spectra: tuple[ReferenceSpectrum, ...]
    window_ev: tuple[float, float]
    exponents: tuple[float, ...]
    condition: float
    notes: tuple[str, ...] = ()
    background: BackgroundModel = "power laws"

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the references."""
        return tuple(spectrum.name for spectrum in self.spectra)

    @property
    def energy(self) -> EnergyAxis:
        """The axis of the references."""
        return self.spectra[0].energy

    def basis(self, energy: EnergyAxis, offset_ev: float = 0.0) -> Basis:
        """Give what a spectrum on an axis is fitted with; ``offset_ev`` is added to the axis, not to the window."""
        window = energy.window(*self.window_ev)
        e = energy.values[window] + offset_ev
        inside = [_at(e, s) for s in self.spectra]
        behind, either_sign = background_basis(self.background, e, self.exponents)
        is_reference = np.arange(len(behind) + len(inside)) >= len(behind)
        return Basis(window, np.vstack([behind, inside]), is_reference, np.pad(either_sign, (0, len(inside))))

    def basis_of_sum(self, energy: EnergyAxis, offsets_ev: F64) -> Basis:
        """Give what the sum of spectra is fitted with whose axes have offsets (p,) of their own."""
        groups = [(offset, len(pixels)) for offset, pixels in offset_groups(offsets_ev, energy.step_ev)]
        bases = [self.basis(energy, offset) for offset, _ in groups]
        shares = np.array([count for _, count in groups]) / len(offsets_ev)
        return replace(bases[0], spectra=np.tensordot(shares, [basis.spectra for basis in bases], axes=1))


def _at(energy_ev: F64, spectrum: ReferenceSpectrum) -> F64:
    """Sample a reference by a cubic spline, which blurs no line as linear interpolation does; 0 beyond its ends."""
    axis = spectrum.energy
    curve = CubicSpline(axis.values, spectrum.intensity)(energy_ev)
    inside = (energy_ev > axis.start_ev - axis.step_ev) & (energy_ev < axis.stop_ev + axis.step_ev)
    return np.where(inside, curve, 0.0)


@dataclass(frozen=True, slots=True)
class MixingRange:
    """Share of ``other`` that may still be in ``reference`` (``most``), or be missing (``least``, below zero).

    Within it the measurement cannot decide; ``limit`` says what would happen, or how sure it is.
    """

    reference: str
    other: str
    least: float
    most: float
    limit: str = "before an intensity or an abundance turns negative"

    @property
    def words(self) -> str:
        """The range in one sentence."""
        return (
            f"{self.reference} may still hold up to {self.most:.0%} {self.other}, or lack up to "
            f"{-self.least:.0%}, {self.limit}; what it holds mixes the maps by the same share."
        )


@dataclass(frozen=True, slots=True, eq=False)
class LReferences(References):
    """References of the core loss (Fe-L), normalised to one count in the post-edge continuum.

    Attributes
    ----------
    raw : tuple of ReferenceSpectrum
        The same before purification.
    taken_off : tuple of float
        Share of metal atoms of the other references that purification removed from each.
    ambiguity : tuple of float
        Largest further share that would leave no negative intensity: what spectra alone cannot decide.
    ranges : tuple of MixingRange
        The same for each pair, with what the abundances say.
    """

    raw: tuple[ReferenceSpectrum, ...] = ()
    taken_off: tuple[float, ...] = ()
    ambiguity: tuple[float, ...] = ()
    ranges: tuple[MixingRange, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class MReferences(References):
    """References of the low loss (Fe-M), scaled so that their mean edge has one count in the window.

    A map made with them counts the electrons of the M edge; ``condition`` is that of the abundances they were
    learnt from.
    """


def condition_number(spectra: F64) -> float:
    """Give the condition number of spectra (k, e) after each is brought to length 1.

    Raises
    ------
    InputError
        When a spectrum is zero, or two are so alike that the split would be garbage (above 1e8).
    """
    length = np.linalg.norm(spectra, axis=1)
    if not (np.isfinite(length).all() and (length > 0).all()):
        raise InputError(
            expected(
                "reference spectra", "signal in each", f"norms {length}", "Pick another region or edge window"
            )
        )
    values = np.linalg.svd(spectra / length[:, None], compute_uv=False)
    condition = float(values[0] / max(values[-1], 1e-300))
    if condition > WORST_CONDITION:
        raise InputError(
            expected(
                "reference spectra",
                f"different shapes (condition number below {WORST_CONDITION:.0e})",
                f"condition number {condition:.1e}",
                "Pick regions of different phases",
            )
        )
    return condition


def total_counts(images: list[SpectrumImage]) -> F64:
    """Sum all usable pixels of all tilts to one spectrum (e,)."""
    return np.asarray(np.sum([np.nansum(i.counts, axis=(0, 1), dtype=np.float64) for i in images], axis=0))
