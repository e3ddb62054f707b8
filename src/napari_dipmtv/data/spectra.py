"""Spectra as nouns: energy axes, spectrum images, their dual pairs and series, references, regions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from napari_dipmtv.data.checks import F32, F64, as_float32, check_tilts, positive
from napari_dipmtv.errors import GeometryError, InputError, expected


@dataclass(frozen=True, slots=True)
class EnergyAxis:
    """A uniform energy-loss (or X-ray energy) axis in eV."""

    start_ev: float
    step_ev: float
    size: int

    def __post_init__(self) -> None:
        if not (
            np.isfinite(self.start_ev) and np.isfinite(self.step_ev) and self.step_ev > 0 and self.size > 0
        ):
            raise InputError(
                expected(
                    "energy axis", "finite, ascending, not empty", self, "Check the calibration of the file"
                )
            )

    @property
    def values(self) -> F64:
        """Energies of the channels in eV, shape ``(size,)``."""
        return self.start_ev + self.step_ev * np.arange(self.size, dtype=np.float64)

    @property
    def stop_ev(self) -> float:
        """Energy of the last channel in eV."""
        return self.start_ev + self.step_ev * (self.size - 1)

    def window(self, low_ev: float, high_ev: float) -> slice:
        """Channels whose energy lies in ``[low_ev, high_ev]``; raises `InputError` when there is none."""
        low = max(0, int(np.ceil((low_ev - self.start_ev) / self.step_ev - 1e-9)))
        high = min(self.size, int(np.floor((high_ev - self.start_ev) / self.step_ev + 1e-9)) + 1)
        if high <= low:
            raise InputError(
                expected(
                    "energy window",
                    f"a part of {self.start_ev:g}-{self.stop_ev:g} eV",
                    f"{low_ev:g}-{high_ev:g} eV",
                    "Move the window onto the recorded spectrum",
                )
            )
        return slice(low, high)


@dataclass(frozen=True, slots=True, eq=False)
class SpectrumImage:
    """One spectrum image: ``counts`` (y, x, e) float32 at one tilt."""

    counts: F32
    energy: EnergyAxis
    pixel_nm: float
    tilt_deg: float
    beam_kev: float | None = None
    title: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "counts", as_float32("spectrum image", self.counts, 3))
        positive("pixel size", self.pixel_nm, "nm")
        if self.counts.shape[2] != self.energy.size:
            raise InputError(
                expected(
                    "energy axis",
                    f"{self.counts.shape[2]} channels",
                    self.energy.size,
                    "Check the axis order",
                )
            )

    def replace(self, **changes: Any) -> Self:
        """Give a copy with some fields changed."""
        return replace(self, **changes)


@dataclass(frozen=True, slots=True, eq=False)
class DualSpectrumImage:
    """Low loss and core loss of one tilt, recorded together (dual EELS), on the same pixels."""

    low_loss: SpectrumImage
    core_loss: SpectrumImage

    def __post_init__(self) -> None:
        low, core = self.low_loss, self.core_loss
        if low.counts.shape[:2] != core.counts.shape[:2] or not np.isclose(
            low.pixel_nm, core.pixel_nm, rtol=1e-3
        ):
            raise GeometryError(
                expected(
                    f"dual EELS pair at {low.tilt_deg:g} deg",
                    "the same pixels in both spectrum images",
                    f"{low.counts.shape[:2]} at {low.pixel_nm:g} nm and "
                    f"{core.counts.shape[:2]} at {core.pixel_nm:g} nm",
                    "Rebin or crop one of them to match",
                )
            )
        if abs(low.tilt_deg - core.tilt_deg) > 0.05:
            raise GeometryError(
                expected(
                    "dual EELS pair",
                    "one tilt",
                    f"{low.tilt_deg:g} and {core.tilt_deg:g} deg",
                    "Pair the files",
                )
            )

    @property
    def tilt_deg(self) -> float:
        """Stage tilt in degrees."""
        return self.low_loss.tilt_deg

    @property
    def pixel_nm(self) -> float:
        """Pixel size in nm."""
        return self.low_loss.pixel_nm


@dataclass(frozen=True, slots=True, eq=False)
class SpectrumSeries:
    """Dual EELS spectrum images of several tilts, sorted by tilt, on one pixel grid."""

    tilts: tuple[DualSpectrumImage, ...]

    def __post_init__(self) -> None:
        ordered = tuple(sorted(self.tilts, key=lambda pair: pair.tilt_deg))
        object.__setattr__(self, "tilts", ordered)
        check_tilts(self.tilts_deg)
        shapes = {pair.low_loss.counts.shape[:2] for pair in ordered}
        pixels = {round(pair.pixel_nm, 6) for pair in ordered}
        if len(shapes) > 1 or len(pixels) > 1:
            raise GeometryError(
                expected(
                    "tilt series of spectrum images",
                    "one shape and one pixel size",
                    f"shapes {sorted(shapes)} and pixels {sorted(pixels)} nm",
                    "Crop or rebin the odd ones",
                )
            )

    @property
    def tilts_deg(self) -> tuple[float, ...]:
        """Tilts in degrees, ascending."""
        return tuple(float(pair.tilt_deg) for pair in self.tilts)

    @property
    def pixel_nm(self) -> float:
        """Pixel size in nm."""
        return self.tilts[0].pixel_nm


@dataclass(frozen=True, slots=True, eq=False)
class ReferenceSpectrum:
    """One named reference (standard) spectrum on an energy axis, with what it was made from."""

    name: str
    intensity: F64
    energy: EnergyAxis
    source: str = ""

    def __post_init__(self) -> None:
        intensity = np.ascontiguousarray(self.intensity, dtype=np.float64)
        object.__setattr__(self, "intensity", intensity)
        if intensity.shape != (self.energy.size,) or not np.isfinite(intensity).all():
            raise InputError(
                expected(
                    f"reference {self.name}",
                    f"{self.energy.size} finite values",
                    f"shape {intensity.shape}",
                    "Pick the reference again",
                )
            )


@dataclass(frozen=True, slots=True, eq=False)
class Region:
    """Pixels of one tilt that belong together: ``mask`` (y, x) of the spectrum image nearest to ``tilt_deg``."""

    tilt_deg: float
    mask: NDArray[np.bool_]

    def __post_init__(self) -> None:
        mask = np.ascontiguousarray(self.mask, dtype=bool)
        object.__setattr__(self, "mask", mask)
        if mask.ndim != 2 or not mask.any():
            raise InputError(
                expected("region", "at least one pixel of a (y, x) mask", mask.shape, "Draw it on the map")
            )
