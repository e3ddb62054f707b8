"""A chemical series and a HAADF series to one task on one device: two projectors onto one volume, and HAADF weights."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import torch

from napari_dipmtv.data import TiltSeries
from napari_dipmtv.errors import GeometryError, InputError, expected
from napari_dipmtv.projection.geometry import Geometry
from napari_dipmtv.projection.sparse import SparseProjector
from napari_dipmtv.settings.elements import element_facts
from napari_dipmtv.tomo.problem import Problem, pose

SAME_PIXEL = 1e-3  # relative difference of two pixel sizes that count as one


@dataclass(frozen=True, eq=False)
class FusedProblem:
    """Chemical maps and HAADF images of one object: the same volume, each with its own tilts and projector."""

    chemical: Problem
    haadf: Problem

    @property
    def device(self) -> torch.device:
        """Where both are computed."""
        return self.chemical.device


def pose_fused(chemical: TiltSeries, haadf: TiltSeries, device: torch.device) -> FusedProblem:
    """Check the two series and set up their joint reconstruction.

    One view each at the same tilt is the two-dimensional case: the volume is then one voxel thick, and its projection
    the map itself.

    Raises
    ------
    InputError
        For a HAADF series of several channels, fewer than three views (unless one view each at one tilt), or a channel
        without signal.
    GeometryError
        For other pixels or another field of view in the two series.
    """
    if len(haadf.channels) != 1:
        advice = "Give the HAADF series alone, and the maps as channels"
        raise InputError(expected("HAADF series", "one channel", ", ".join(haadf.channels), advice))
    if chemical.data.shape[2:] != haadf.data.shape[2:]:
        raise GeometryError(
            expected(
                "HAADF series",
                f"views of {chemical.data.shape[2:]} pixels, as the chemical maps",
                haadf.data.shape[2:],
                "Rebin and crop both to one field of view",
            )
        )
    if abs(chemical.pixel_nm / haadf.pixel_nm - 1) > SAME_PIXEL:
        advice = "Rebin one of them to the pixels of the other"
        raise GeometryError(
            expected("HAADF series", f"pixels of {chemical.pixel_nm:g} nm", f"{haadf.pixel_nm:g} nm", advice)
        )
    if len(chemical.tilts_deg) == 1 and chemical.tilts_deg == haadf.tilts_deg:
        return FusedProblem(_flat(chemical, device), _flat(haadf, device))
    return FusedProblem(pose(chemical, device), pose(haadf, device))


def _flat(series: TiltSeries, device: torch.device) -> Problem:
    """A single view as the projection of a volume one voxel thick, seen from straight above."""
    _, _, ny, nx = series.data.shape
    return Problem(series, SparseProjector(Geometry.of((1, ny, nx), (0.0,)), device), device)


def atomic_numbers(channels: tuple[str, ...]) -> tuple[int, ...]:
    """Atomic numbers of the elements with which the names of channels begin ("Fe", "Fe_Ka", "CuO").

    Raises
    ------
    InputError
        For a name that begins with no element.
    """
    numbers = []
    for name in channels:
        symbol = re.match(r"[A-Z][a-z]?(?![a-z])", name)
        if symbol is None:
            advice = "Name the channels after their elements, or set weights=[...]"
            raise InputError(expected(f"channel {name}", "a name that begins with an element", name, advice))
        numbers.append(int(element_facts(symbol[0])["General_properties"]["Z"]))
    return tuple(numbers)


def relative_weights(channels: tuple[str, ...], given: tuple[float, ...], power: float) -> torch.Tensor:
    """HAADF weights of the channels that add up to 1: the given ones, or ``Z^power / sum Z^power``; float64 (c,).

    Raises
    ------
    InputError
        For another number of weights than channels.
    """
    if given and len(given) != len(channels):
        advice = "Give one weight per channel, or none"
        raise InputError(expected("weights", f"{len(channels)} numbers", len(given), advice))
    values = np.array(given or [z**power for z in atomic_numbers(channels)], dtype=np.float64)
    return torch.from_numpy(values / values.sum())


def weighted(x: torch.Tensor, weights: torch.Tensor, gamma: float | torch.Tensor) -> torch.Tensor:
    """HAADF density ``sum_c w_c x_c^gamma`` of a volume (c, z, y, x) >= 0; (1, z, y, x)."""
    powers = x if isinstance(gamma, float) and gamma == 1 else x.pow(gamma)
    return torch.einsum("c,czyx->zyx", weights.to(x), powers)[None]


def weighted_slope(x: torch.Tensor, weights: torch.Tensor, gamma: float, back: torch.Tensor) -> torch.Tensor:
    """Adjoint derivative of `weighted` at ``x`` on ``back`` (1, z, y, x): ``gamma w_c x_c^(gamma-1) back``."""
    factors = gamma * weights.to(x)[:, None, None, None]
    return factors * back if gamma == 1 else factors * x.pow(gamma - 1) * back
