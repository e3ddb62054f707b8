"""A line through a volume to the densities along it, and each of its edges to a position and a width in nm."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from napari_dipmtv.data import F64, Volume
from napari_dipmtv.errors import InputError, expected

PER_VOXEL = 4  # samples
TEN_TO_NINETY = 2.563103  # of an error function, in its sigma: 2 sqrt(2) erfinv(0.8)


@dataclass(frozen=True, slots=True)
class Edge:
    """An error function fitted to the strongest step of a profile.

    Attributes
    ----------
    position_nm, width_nm : float
        Where the density passes half of the step, and the distance from 10 to 90 % of it.
    uncertainty_nm : float
        Standard deviation of the width from the scatter of the profile.
    """

    position_nm: float
    width_nm: float
    uncertainty_nm: float


def line_profile(volume: Volume, start_nm: Sequence[float], end_nm: Sequence[float]) -> tuple[F64, F64]:
    """Densities along a line, by linear interpolation.

    Parameters
    ----------
    volume : Volume
    start_nm, end_nm : (z, y, x)
        From the centre of the volume.

    Returns
    -------
    distance_nm : float array (n,)
    densities : float array (c, n)

    Raises
    ------
    InputError
        For a line shorter than two voxels.
    """
    from scipy.ndimage import map_coordinates

    start, end = np.asarray(start_nm, dtype=float), np.asarray(end_nm, dtype=float)
    length = float(np.linalg.norm(end - start))
    if length < 2 * volume.voxel_nm:
        got = f"{length:.3g} nm"
        raise InputError(expected("line", f"at least {2 * volume.voxel_nm:.3g} nm", got, "Draw a longer one"))
    steps = np.linspace(0, 1, max(2, round(PER_VOXEL * length / volume.voxel_nm)) + 1)
    centre = (np.asarray(volume.data.shape[1:]) - 1) / 2
    voxels = ((start + steps[:, None] * (end - start)) / volume.voxel_nm + centre).T  # (3, n)
    densities = np.stack([map_coordinates(data, voxels, order=1, mode="nearest") for data in volume.data])
    return steps * length, densities.astype(np.float64)


def strongest_edge(distance_nm: F64, density: F64) -> Edge | None:
    """Fit an error function around the steepest step; None where the profile has no step that can be fitted."""
    from scipy.optimize import OptimizeWarning, curve_fit
    from scipy.special import erf

    def step(x: F64, low: float, height: float, position: float, sigma: float) -> F64:
        return low + height / 2 * (1 + erf((x - position) / (np.sqrt(2) * abs(sigma) + 1e-9)))

    slope = np.gradient(density, distance_nm)
    at = int(np.argmax(np.abs(slope)))
    swing = float(np.ptp(density))
    if swing <= 0:
        return None
    window = _flank(slope, at)
    x, y = distance_nm[window], density[window]
    guess = (y[0], y[-1] - y[0], distance_nm[at], swing / (abs(slope[at]) * np.sqrt(2 * np.pi)))
    try:
        found, covariance = curve_fit(step, x, y, guess, maxfev=2000)
    except (RuntimeError, TypeError, OptimizeWarning):  # no convergence, or fewer points than parameters
        return None
    sigma, error = abs(float(found[3])), float(np.sqrt(covariance[3, 3]))
    return Edge(float(found[2]), TEN_TO_NINETY * sigma, TEN_TO_NINETY * error)


def _flank(slope: F64, at: int) -> slice:
    """Samples around the steepest one, up to where the density turns round, and half as many again of the plateaus."""
    sign = np.sign(slope[at])
    steep = sign * slope > 0.02 * abs(slope[at])
    low = at - int(np.argmin(steep[at::-1])) if not steep[: at + 1].all() else 0
    high = at + int(np.argmin(steep[at:])) if not steep[at:].all() else len(slope) - 1
    margin = max(2, (high - low) // 4)
    return slice(max(0, low - margin), min(len(slope), high + margin + 1))
