"""Raw chemical maps and the volume of another, aligned modality to their alignment in the frame of that volume."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from scipy.ndimage import gaussian_filter
from scipy.optimize import nnls

from napari_dipmtv.alignment.apply import fill_invalid
from napari_dipmtv.alignment.mapping import resample, rotation
from napari_dipmtv.alignment.moves import displacement
from napari_dipmtv.alignment.start import centres_of_mass
from napari_dipmtv.data import F32, F64, Alignment, ChannelMaps, Volume
from napari_dipmtv.errors import GeometryError, expected
from napari_dipmtv.settings.align import AlignSettings
from napari_dipmtv.states import State

BLURS = (3.0, 1.0)  # times the smoothing of the settings: the wide one catches what the centre of mass misses
FURTHEST_PX = 2.0  # of one move; the goal stands still, so that nothing swings


def onto(
    maps: ChannelMaps, guide: Volume, axis: Alignment, settings: AlignSettings | None = None
) -> Iterator[State[Alignment]]:
    """Find where every view of the maps sits, in the frame of a volume such as the HAADF one.

    Tilt axis and its offset are those of the guide: the microscope was the same. Each view is moved onto the projection
    of the guide at its own tilt, so that the two modalities need no tilt in common and the few, noisy maps need not
    find the object by themselves. What is compared is the sum of the channels that comes nearest to the guide, with
    weights that are not negative and the same for all views.

    Parameters
    ----------
    maps : ChannelMaps
        Raw maps (c, t, y, x).
    guide : Volume
        One channel, reconstructed from views aligned with ``axis``, on the same pixels.
    axis : Alignment
        Of the guide.
    settings : AlignSettings, optional
        ``rounds`` at each of two blurs, and ``smoothing_px``.

    Yields
    ------
    State of Alignment
        One per round; loss "reprojection": ``|P x - y| / |y|`` of the blurred maps.

    Raises
    ------
    GeometryError
        For a guide on other pixels.
    """
    import torch

    from napari_dipmtv.projection.geometry import Geometry
    from napari_dipmtv.projection.sparse import SparseProjector

    settings = settings or AlignSettings()
    if guide.data.shape[2:] != maps.data.shape[2:]:
        advice = "Rebin and crop both to one field of view"
        raise GeometryError(expected("guide", f"{maps.data.shape[2:]} pixels", guide.data.shape[2:], advice))
    projector = SparseProjector(Geometry.of(guide.data.shape[1:], maps.tilts_deg))
    target: F32 = projector(torch.from_numpy(guide.data))[0].numpy()
    raw = fill_invalid(maps)
    places = _centred(maps, raw, target, axis)
    errors: list[float] = []
    for blur in BLURS:
        sigma = blur * settings.smoothing_px
        goal = gaussian_filter(target, (0, sigma, sigma))
        views = gaussian_filter(raw, (0, 0, sigma, sigma))
        for _ in range(max(settings.rounds, 1)):
            places, error = _moved(views, goal, places, axis.axis_angle_deg)
            errors.append(error)
            shifts = places - np.array([0.0, axis.axis_offset_px])
            found = replace(axis, shifts_px=shifts, quality=tuple(errors), view_quality=(), scales=())
            total = len(BLURS) * max(settings.rounds, 1)
            stage = f"maps onto the volume, blur {sigma:g} px"
            yield State(len(errors), total, {"reprojection": error}, lambda a=found: a, stage=stage)  # type: ignore[misc]


def _centred(maps: ChannelMaps, raw: F32, target: F32, axis: Alignment) -> F64:
    """Displacements (t, 2) that bring the centre of mass of each view onto that of its projection."""
    seen = centres_of_mass(raw.sum(axis=0), maps.tilts_deg)
    return seen - centres_of_mass(target, maps.tilts_deg) @ rotation(axis.axis_angle_deg).T


def _moved(views: F32, goal: F32, places: F64, angle_deg: float) -> tuple[F64, float]:
    """Every view one step nearer to its goal, and how far the views were from it."""
    seen = np.array(
        [[resample(view, angle_deg, at, order=3) for view, at in zip(c, places, strict=True)] for c in views]
    )
    weights = nnls(seen.reshape(len(seen), -1).T.astype(np.float64), goal.ravel().astype(np.float64))[0]
    measured = np.tensordot(weights.astype(np.float32), seen, axes=1)  # (t, y, x)
    error = float(np.linalg.norm(goal - measured)) / max(float(np.linalg.norm(measured)), 1e-30)
    inside = np.ones(goal.shape[1:], bool)
    steps = np.array([displacement(m, g, inside) for m, g in zip(measured, goal, strict=True)])
    steps = np.clip(steps, -FURTHEST_PX, FURTHEST_PX)
    return places + steps @ rotation(angle_deg).T, error
