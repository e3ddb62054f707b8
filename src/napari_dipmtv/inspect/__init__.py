"""Volumes to phases, measures and scores."""

from __future__ import annotations

from napari_dipmtv.inspect.ensemble import Spread, measure_many
from napari_dipmtv.inspect.layers import thickness_maps
from napari_dipmtv.inspect.measure import Measure, measure, measure_particles
from napari_dipmtv.inspect.oxidation import Oxidation, knows_oxidation, oxidation_state
from napari_dipmtv.inspect.plausible import implausible
from napari_dipmtv.inspect.profile import Profile, profile
from napari_dipmtv.inspect.score import Scores, VoidMatch, match_voids, score
from napari_dipmtv.inspect.segment import left_out, segment
from napari_dipmtv.inspect.surface import Thickness
from napari_dipmtv.inspect.void_measures import Void, voids

__all__ = [
    "Measure",
    "Oxidation",
    "Profile",
    "Scores",
    "Spread",
    "Thickness",
    "Void",
    "VoidMatch",
    "implausible",
    "knows_oxidation",
    "left_out",
    "match_voids",
    "measure",
    "measure_many",
    "measure_particles",
    "oxidation_state",
    "profile",
    "score",
    "segment",
    "thickness_maps",
    "voids",
]
