"""Two independent volumes to their Fourier shell correlation, in shells or in cones around an axis."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

from napari_dipmtv.data import F32, F64, Volume
from napari_dipmtv.errors import GeometryError, expected
from napari_dipmtv.trust.result import Direction, FscCurve

AXES: dict[Direction, int] = {"z": 0, "y": 1, "x": 2}
SUM = "sum"
Spectrum = NDArray[np.complexfloating[Any, Any]]
FEWEST = 4  # a correlation of fewer independent coefficients decides nothing


def soft_mask(matter: NDArray[np.bool_], margin_px: float = 3.0, edge_px: float = 4.0) -> F32:
    """A mask (z, y, x) that is 1 up to ``margin_px`` outside of matter and falls to 0 over ``edge_px`` like a cosine.

    The edge must be wide: a sharp mask is shared by both halves and correlates at high frequencies.
    """
    outside = distance_transform_edt(~matter)
    ramp = np.clip((outside - margin_px) / edge_px, 0, 1)
    mask: F32 = (0.5 + 0.5 * np.cos(np.pi * ramp)).astype(np.float32)
    return mask


def fsc(
    first: Volume, second: Volume, *, mask: F32 | None = None, cone_deg: float = 35.0
) -> tuple[FscCurve, ...]:
    """Correlate two independent reconstructions shell by shell.

    ``FSC(k) = Re Σ F1 F2* / sqrt(Σ |F1|² Σ |F2|²)`` over the Fourier coefficients of each shell, one coefficient wide;
    for every channel and for their sum, over all directions and over the cones within ``cone_deg`` of z (the beam), y
    (the tilt axis) and x. The mean inside the mask is taken off first, so that the mask itself does not correlate.

    Parameters
    ----------
    first, second : Volume
        Made from independent halves by one method.
    mask : float32 array (z, y, x), optional
        Soft, the same for both.
    cone_deg : float
        Half opening angle of the cones.

    Returns
    -------
    tuple of FscCurve
        Channels in order and "sum" where there are several, each "all", "x", "y", "z".

    Raises
    ------
    GeometryError
        For volumes of different grids.

    Notes
    -----
    Thresholds: 0.143 for halves (Rosenthal and Henderson, J. Mol. Biol. 333, 721 (2003)), 1/2 bit (van Heel and
    Schatz, J. Struct. Biol. 151, 250 (2005)) and 0.5. The 1/2-bit curve counts independent coefficients: half of the
    shell (the other half is its complex conjugate) times the share of the field that the mask fills.

    A prior that both halves share - total variation, a network, positivity - makes them agree where neither has
    measured anything, as in the missing wedge: the curve then tells how repeatable the volume is, not how true.
    """
    if first.data.shape != second.data.shape or first.channels != second.channels:
        raise GeometryError(
            expected(
                "halves",
                f"one grid, {first.data.shape}",
                second.data.shape,
                "Reconstruct both in the same way",
            )
        )
    window = np.ones(first.data.shape[1:], np.float32) if mask is None else mask
    shells = _Shells(first.data.shape[1:], first.voxel_nm, float((window**2).mean()), cone_deg)
    return tuple(
        shells.curve(name, direction, _spectrum(a, window), _spectrum(b, window))
        for name, a, b in _pairs(first, second)
        for direction in ("all", *reversed(AXES))
    )


class _Shells:
    """Which Fourier coefficient of a real transform belongs to which shell and cone."""

    def __init__(self, shape: tuple[int, ...], voxel_nm: float, filled_share: float, cone_deg: float) -> None:
        self.voxel_nm, self.filled_share = voxel_nm, filled_share
        k = np.meshgrid(*(np.fft.fftfreq(n) for n in shape[:2]), np.fft.rfftfreq(shape[2]), indexing="ij")
        radius = np.sqrt(sum(a * a for a in k))
        self.step = 1 / max(shape)
        self.shell = np.rint(radius / self.step).astype(np.int64)
        self.count = int(0.5 / self.step)  # shells 1 ... count reach 1 / (2 voxels)
        # each coefficient of the half transform stands for itself and its conjugate, but for the planes kx = 0, 1/2
        alone = (k[2] == 0) | (np.isclose(k[2], 0.5))
        self.weight = np.where(alone, 1.0, 2.0)
        with np.errstate(invalid="ignore"):
            along = {axis: np.abs(k[i]) / radius for axis, i in AXES.items()}
        self.inside = {axis: share >= np.cos(np.deg2rad(cone_deg)) for axis, share in along.items()}

    def _sums(self, values: NDArray[Any]) -> F64:
        """Sum over each shell from 1 to the highest, (count,)."""
        sums = np.bincount(self.shell.ravel(), values.ravel(), self.count + 1)
        return np.asarray(sums[1 : self.count + 1], np.float64)

    def curve(self, channel: str, direction: Direction, a: Spectrum, b: Spectrum) -> FscCurve:
        weight = self.weight if direction == "all" else self.weight * self.inside[direction]
        cross, power_a, power_b, number = (
            self._sums(weight * value)
            for value in ((a * b.conj()).real, np.abs(a) ** 2, np.abs(b) ** 2, np.ones(a.shape))
        )
        used = number > 0  # a narrow cone may miss the innermost shells
        frequency: F64 = np.asarray(np.arange(1, self.count + 1) * (self.step / self.voxel_nm), np.float64)[
            used
        ]
        norm: F64 = np.sqrt(power_a * power_b)[used]
        correlation: F64 = np.divide(cross[used], norm, out=np.zeros_like(norm), where=norm > 0)
        coefficients = number[used] / 2 * self.filled_share
        half_bit = half_bit_threshold(coefficients)
        levels = {"0.143": np.full_like(norm, 0.143), "1/2 bit": half_bit, "0.5": np.full_like(norm, 0.5)}
        decides = np.maximum.accumulate(coefficients >= FEWEST)  # the innermost shells of a cone do not
        resolution = {
            name: crossing_nm(frequency[decides], (correlation - level)[decides], 2 * self.voxel_nm)
            for name, level in levels.items()
        }
        return FscCurve(channel, direction, frequency, correlation, half_bit, coefficients, resolution)


def half_bit_threshold(coefficients: F64) -> F64:
    """The FSC at which a shell of so many independent coefficients carries half a bit per coefficient.

    ``(0.2071 + 1.9102/√n) / (1.2071 + 0.9102/√n)``; at most 1, and 0.1716 for very many. Source: van Heel and Schatz,
    J. Struct. Biol. 151, 250 (2005), equation 17.
    """
    root = np.sqrt(np.maximum(coefficients, 1e-9))
    return np.minimum((0.2071 + 1.9102 / root) / (1.2071 + 0.9102 / root), 1.0)


def crossing_nm(frequency_per_nm: F64, above: F64, finest_nm: float) -> float:
    """One over the frequency at which a difference first falls below zero, linear between shells.

    ``finest_nm`` where it never does; NaN where it begins below, or nothing is given.
    """
    below = np.flatnonzero(above < 0)
    if len(above) == 0 or (len(below) and below[0] == 0):
        return float("nan")
    if len(below) == 0:
        return finest_nm
    i = int(below[0])
    share = above[i - 1] / (above[i - 1] - above[i])
    return float(1 / (frequency_per_nm[i - 1] + share * (frequency_per_nm[i] - frequency_per_nm[i - 1])))


def _pairs(first: Volume, second: Volume) -> Iterator[tuple[str, F32, F32]]:
    yield from zip(first.channels, first.data, second.data, strict=True)
    if len(first.channels) > 1:
        yield SUM, first.data.sum(axis=0), second.data.sum(axis=0)


def _spectrum(density: F32, window: F32) -> Spectrum:
    mean = float((density * window).sum() / max(float(window.sum()), 1e-30))
    spectrum: Spectrum = np.fft.rfftn((density - mean) * window)
    return spectrum
