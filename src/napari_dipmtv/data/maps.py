"""Maps as nouns: channel maps, their alignment, and the aligned tilt series."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from napari_dipmtv.data.checks import F32, F64, as_float32, check_channels, check_tilts, positive
from napari_dipmtv.errors import InputError, expected


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
    counts_per_unit : float or tuple of float, optional
        ``data * gain`` are counted events (Poisson): one number for all views, or one for each where they differ in
        dose. None where the maps are no counts. Equal numbers become one.
    valid : bool array (t, y, x), optional
        False where a pixel must not be used (NaN, outside the field of view, spike). None: all are good.
    """

    data: F32
    channels: tuple[str, ...]
    tilts_deg: tuple[float, ...]
    pixel_nm: float
    covariance: F32 | None = None
    counts_per_unit: float | tuple[float, ...] | None = None
    valid: NDArray[np.bool_] | None = None

    def __post_init__(self) -> None:
        data = as_float32("maps", self.data, 4)
        tilts = tuple(float(t) for t in self.tilts_deg)
        check_tilts(tilts, views=data.shape[1])
        check_channels(self.channels, data.shape[0])
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
        set_(self, "counts_per_unit", _counts_per_unit(self.counts_per_unit, order))

    @property
    def gain(self) -> float | F64:
        """Counted events per unit of ``data`` (c, t, y, x): a number, or one per view (t, 1, 1); 1 for no counts."""
        if isinstance(self.counts_per_unit, tuple):
            return np.array(self.counts_per_unit)[:, None, None]
        return 1.0 if self.counts_per_unit is None else self.counts_per_unit

    def replace(self, **changes: Any) -> Self:
        """Give a copy with some fields changed."""
        return replace(self, **changes)

    def only(self, used: NDArray[np.bool_]) -> Self:
        """The views where ``used`` (t,) alone; an alignment is left as it is."""
        each = self.counts_per_unit
        return self.replace(
            data=self.data[:, used],
            tilts_deg=tuple(tilt for tilt, use in zip(self.tilts_deg, used, strict=True) if use),
            covariance=None if self.covariance is None else self.covariance[:, :, used],
            counts_per_unit=tuple(np.array(each)[used].tolist()) if isinstance(each, tuple) else each,
            valid=None if self.valid is None else self.valid[used],
        )


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


def _usable(data: F32, valid: NDArray[np.bool_] | None) -> NDArray[np.bool_] | None:
    finite: NDArray[np.bool_] = np.asarray(np.isfinite(data).all(axis=0), dtype=bool)
    if valid is None:
        return None if finite.all() else finite
    if valid.shape != finite.shape:
        raise InputError(expected("valid", finite.shape, valid.shape, "Give one flag per pixel and view"))
    usable: NDArray[np.bool_] = finite & np.asarray(valid, dtype=bool)
    return usable


def _counts_per_unit(
    given: float | Sequence[float] | None, order: NDArray[np.intp]
) -> float | tuple[float, ...] | None:
    """Counts per unit in the order of the tilts; one number where all views have the same."""
    if given is None:
        return None
    if isinstance(given, (int, float)):
        positive("counts per unit", given, "counts")
        return given
    each = tuple(positive("counts per unit", float(value), "counts") for value in given)
    if len(each) != len(order):
        raise InputError(
            expected("counts per unit", f"1 or {len(order)} (one per view)", len(each), "Give one per view")
        )
    return each[0] if len(set(each)) == 1 else tuple(each[i] for i in order)
