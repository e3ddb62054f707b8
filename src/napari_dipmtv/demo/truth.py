"""A simulated truth and what was measured of it, brought to one scale and one position for comparison."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from napari_dipmtv.alignment.gauge import without_gauge
from napari_dipmtv.alignment.mapping import displacements, rotation
from napari_dipmtv.data import F64, Alignment, ChannelMaps, ReferenceSpectrum
from napari_dipmtv.phantom import Simulation


def iron_maps(
    maps: ChannelMaps, references: Sequence[ReferenceSpectrum], simulation: Simulation
) -> ChannelMaps:
    """Turn counts in the M edge into what a volume in Fe atoms per nm³ projects to.

    One number serves both channels: the counts of the mean learnt reference over those of the mean true one
    for one Fe atom per nm², in the window of the learnt ones.
    """
    axis = references[0].energy
    window = simulation.m_references[0].energy.window(axis.start_ev, axis.stop_ev)
    learnt = np.mean([reference.intensity.sum() for reference in references])
    per_fe = np.mean([reference.intensity[window].sum() for reference in simulation.m_references])
    return scaled(maps, float(learnt / per_fe) / maps.pixel_nm)


def scaled(maps: ChannelMaps, factor: float) -> ChannelMaps:
    """Multiply maps, and their covariance by the square."""
    covariance = None if maps.covariance is None else maps.covariance * np.float32(factor**2)
    return maps.replace(data=maps.data * np.float32(factor), covariance=covariance)


def iron_found(maps: ChannelMaps, simulation: Simulation) -> float:
    """Fe atoms in the maps of `iron_maps` over those that are truly there."""
    return float(maps.data.sum() * maps.pixel_nm / simulation.fe_maps.data.sum())


def in_place_of_truth(found: Alignment, planted: Alignment, tilts_deg: Sequence[float]) -> Alignment:
    """Move the object as a whole to where the truth lies, which no tilt series can tell.

    The movement is the least-squares one between the planted and the found displacements.
    """
    apart = _ideal_frame(displacements(planted) - displacements(found), found.axis_angle_deg)
    movement = apart - without_gauge(apart, tuple(tilts_deg))
    shifts = found.shifts_px + movement @ rotation(found.axis_angle_deg).T
    return Alignment(shifts, found.axis_angle_deg, found.axis_offset_px, found.quality)


def alignment_error_px(found: Alignment, planted: Alignment, tilts_deg: Sequence[float]) -> float:
    """Root-mean-square distance of found and planted displacements, movements of the object left out."""
    apart = _ideal_frame(displacements(planted) - displacements(found), found.axis_angle_deg)
    return float(np.sqrt((without_gauge(apart, tuple(tilts_deg)) ** 2).sum(axis=1).mean()))


def _ideal_frame(displacements_px: F64, axis_angle_deg: float) -> F64:
    return displacements_px @ rotation(axis_angle_deg)
