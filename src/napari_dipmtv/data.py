"""The nouns: what flows between the stages. Frozen, checked on creation; no settings, no paths, no devices.

Axis orders: spectrum image ``(y, x, e)``; maps and tilt series ``(c, t, y, x)``; volume ``(c, z, y, x)``.
The tilt axis is parallel to y and passes through ``(nx - 1) / 2``; at tilt θ a voxel at (z, x), measured from the
volume centre, lands at ``x' = x cos θ + z sin θ``. Projections are sums of voxel values along the beam, in pixels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_dipmtv.errors import GeometryError, InputError, expected

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]


def as_float32(name: str, array: ArrayLike, ndim: int) -> F32:
    """Give any real numeric array back as contiguous native float32 of the wanted rank, or raise `InputError`."""
    a = np.ma.filled(array, np.nan) if isinstance(array, np.ma.MaskedArray) else np.asarray(array)
    if a.dtype.kind not in "fiub":
        raise InputError(expected(name, "real numbers", f"dtype {a.dtype}", "Convert the array first"))
    if a.ndim != ndim:
        raise InputError(expected(name, f"{ndim} axes", f"shape {a.shape}", "Check the axis order"))
    if 0 in a.shape:
        raise InputError(expected(name, "no empty axis", f"shape {a.shape}", "Check the crop"))
    return np.ascontiguousarray(a, dtype=np.float32)


def positive(name: str, value: float, unit: str) -> float:
    """Give back a finite positive number, or raise `GeometryError`."""
    if not (np.isfinite(value) and value > 0):
        raise GeometryError(
            expected(name, f"a positive number of {unit}", value, "Give the calibrated value")
        )
    return float(value)


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


@dataclass(frozen=True, slots=True, eq=False)
class MapStack:
    """What maps and tilt series have in common.

    Attributes
    ----------
    data : float32 array (c, t, y, x)
        Maps; NaN is allowed only where ``valid`` is False, where the data are set to 0.
    channels : tuple of str
        One name per channel.
    tilts_deg : tuple of float
        One tilt per view, ascending.
    pixel_nm : float
        Pixel size in nm.
    covariance : float32 array (c, c, t, y, x), optional
        Covariance of the channels at each pixel, in squared data units.
    counts_per_unit : float, optional
        ``data * counts_per_unit`` are counted events (Poisson); None where the maps are no counts.
    valid : bool array (t, y, x), optional
        False where a pixel must not be used (NaN, outside the field of view, spike). None: all are good.
    """

    data: F32
    channels: tuple[str, ...]
    tilts_deg: tuple[float, ...]
    pixel_nm: float
    covariance: F32 | None = None
    counts_per_unit: float | None = None
    valid: NDArray[np.bool_] | None = None

    def __post_init__(self) -> None:
        data = as_float32("maps", self.data, 4)
        tilts = tuple(float(t) for t in self.tilts_deg)
        check_tilts(tilts, views=data.shape[1])
        _check_channels(self.channels, data.shape[0])
        positive("pixel size", self.pixel_nm, "nm")
        valid = _usable(data, self.valid)
        if valid is not None:
            data = np.where(valid[None], data, np.float32(0))
        order = np.argsort(tilts, kind="stable")
        set_ = object.__setattr__
        set_(self, "channels", tuple(self.channels))
        set_(self, "tilts_deg", tuple(tilts[i] for i in order))
        set_(self, "data", np.ascontiguousarray(data[:, order]))
        set_(self, "valid", None if valid is None else np.ascontiguousarray(valid[order]))
        if self.covariance is not None:
            covariance = as_float32("covariance", self.covariance, 5)
            if covariance.shape != (data.shape[0], *data.shape):
                raise InputError(
                    expected(
                        "covariance",
                        (data.shape[0], *data.shape),
                        covariance.shape,
                        "Transform it with the data",
                    )
                )
            set_(self, "covariance", np.ascontiguousarray(covariance[:, :, order]))
        if self.counts_per_unit is not None:
            positive("counts per unit", self.counts_per_unit, "counts")

    def replace(self, **changes: Any) -> Self:
        """Give a copy with some fields changed."""
        return replace(self, **changes)


@dataclass(frozen=True, slots=True, eq=False)
class ChannelMaps(MapStack):
    """Maps as they came from unmixing or from files: not yet aligned."""


@dataclass(frozen=True, slots=True, eq=False)
class Alignment:
    """Where the content of each raw view sits, relative to the ideal geometry.

    A raw view shows the ideal projection turned by ``axis_angle_deg`` (counter-clockwise as displayed with y down is
    negative; see `napari_dipmtv.alignment.apply` for the exact map) and displaced by ``shifts_px[t] = (dy, dx)``; the
    rotation axis lies ``axis_offset_px`` to the right of the centre ``(nx - 1) / 2``.
    """

    shifts_px: F64  # (t, 2): dy, dx
    axis_angle_deg: float = 0.0
    axis_offset_px: float = 0.0
    quality: tuple[float, ...] = ()  # re-projection error after each round, relative
    view_quality: tuple[tuple[float, ...], ...] = ()  # the same of each view, (round, t); NaN: not used
    axis_angle_error_deg: float | None = None  # standard error; infinite where the angle cannot be found
    scales: tuple[
        int, ...
    ] = ()  # by which the maps were reduced in each round; errors compare within one scale

    def __post_init__(self) -> None:
        shifts = np.ascontiguousarray(self.shifts_px, dtype=np.float64)
        object.__setattr__(self, "shifts_px", shifts)
        if shifts.ndim != 2 or shifts.shape[1] != 2 or not np.isfinite(shifts).all():
            raise InputError(
                expected("shifts", "finite numbers of shape (t, 2)", shifts.shape, "Align again")
            )
        if len(self.scales) not in (0, len(self.quality)):
            got = f"{len(self.scales)} for {len(self.quality)} errors"
            raise InputError(expected("scales", "one per round, or none", got, "Align again"))

    def __str__(self) -> str:
        """What was found, for a person."""
        error = self.axis_angle_error_deg
        turned = f"Tilt axis {self.axis_angle_deg:+.2f}"
        if error == np.inf:
            turned += "° from vertical, which these views do not tell"
        elif error is None:
            turned += "° from vertical"
        else:
            turned += f" ± {error:.2f}° from vertical"
        largest = float(np.abs(self.shifts_px).max())
        return f"{turned}, {self.axis_offset_px:+.2f} px from the centre; largest shift {largest:.2f} px"

    def nudged(self, view: int, dx_px: float, dy_px: float) -> Self:
        """Give a copy in which the content of one aligned view lies ``dx_px`` further right and ``dy_px`` lower.

        Raises
        ------
        InputError
            For a view that is not there.
        """
        if not 0 <= view < len(self.shifts_px):
            raise InputError(
                expected("view", f"0 to {len(self.shifts_px) - 1}", view, "Choose a view of this series")
            )
        cosine, sine = np.cos(np.deg2rad(self.axis_angle_deg)), np.sin(np.deg2rad(self.axis_angle_deg))
        shifts = self.shifts_px.copy()
        shifts[view] -= (dy_px * cosine + dx_px * sine, dx_px * cosine - dy_px * sine)
        return replace(self, shifts_px=shifts)


@dataclass(frozen=True, slots=True, eq=False)
class TiltSeries(MapStack):
    """Aligned maps: the tilt axis is parallel to y, through the centre of x. What the reconstructions take."""

    alignment: Alignment | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Volume:
    """A multi-channel volume: ``data`` (c, z, y, x) float32 on cubic voxels of ``voxel_nm`` nm."""

    data: F32
    channels: tuple[str, ...]
    voxel_nm: float
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "data", as_float32("volume", self.data, 4))
        object.__setattr__(self, "channels", tuple(self.channels))
        _check_channels(self.channels, self.data.shape[0])
        positive("voxel size", self.voxel_nm, "nm")

    def replace(self, **changes: Any) -> Self:
        """Give a copy with some fields changed."""
        return replace(self, **changes)


@dataclass(frozen=True, slots=True, eq=False)
class Segmentation:
    """Phases of a volume: ``labels`` (z, y, x) of small integers, 0 is vacuum; ``phases`` names them."""

    labels: NDArray[np.uint8]
    phases: Mapping[int, str]
    voxel_nm: float

    def __post_init__(self) -> None:
        labels = np.ascontiguousarray(self.labels, dtype=np.uint8)
        object.__setattr__(self, "labels", labels)
        object.__setattr__(self, "phases", dict(self.phases))
        positive("voxel size", self.voxel_nm, "nm")
        unknown = set(np.unique(labels).tolist()) - set(self.phases)
        if labels.ndim != 3 or unknown:
            raise InputError(
                expected(
                    "labels", "3 axes and named values", f"{labels.shape}, unnamed {unknown}", "Name them"
                )
            )

    def mask(self, phase: str) -> NDArray[np.bool_]:
        """Voxels (z, y, x) of one named phase; all False where the phase does not occur."""
        values = [value for value, name in self.phases.items() if name == phase]
        return np.isin(self.labels, values)


def check_tilts(tilts_deg: tuple[float, ...], views: int | None = None) -> None:
    """Raise `GeometryError` unless the angles can be the tilts of a series: finite, distinct, one per view."""
    angles = np.asarray(tilts_deg, dtype=float)
    if views is not None and len(angles) != views:
        raise GeometryError(
            expected(
                "tilt angles",
                f"{views} (one per view)",
                len(angles),
                "Give one angle per image, in file order",
            )
        )
    if not np.isfinite(angles).all():
        raise GeometryError(
            expected("tilt angles", "finite degrees", tilts_deg, "Fill in the missing angles")
        )
    if np.abs(angles).max(initial=0) > 180:
        raise GeometryError(expected("tilt angles", "-180 to 180 deg", tilts_deg, "Give degrees"))
    if len(angles) > 1 and len(np.unique(angles.round(3))) < len(angles):
        raise GeometryError(
            expected(
                "tilt angles", "distinct angles", tilts_deg, "Correct the table; equal angles carry no depth"
            )
        )


def _check_channels(channels: tuple[str, ...], count: int) -> None:
    if len(channels) != count or len(set(channels)) != count or not all(channels):
        raise InputError(
            expected("channel names", f"{count} distinct names", tuple(channels), "Name each channel once")
        )


def _usable(data: F32, valid: NDArray[np.bool_] | None) -> NDArray[np.bool_] | None:
    finite: NDArray[np.bool_] = np.asarray(np.isfinite(data).all(axis=0), dtype=bool)
    if valid is None:
        return None if finite.all() else finite
    if valid.shape != finite.shape:
        raise InputError(expected("valid", finite.shape, valid.shape, "Give one flag per pixel and view"))
    usable: NDArray[np.bool_] = finite & np.asarray(valid, dtype=bool)
    return usable
