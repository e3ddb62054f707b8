"""Volumes to phases, measures and scores."""

from __future__ import annotations

from napari_dipmtv.inspect.measure import Measure, measure
from napari_dipmtv.inspect.score import Scores, VoidMatch, match_voids, score
from napari_dipmtv.inspect.segment import segment

__all__ = ["Measure", "Scores", "VoidMatch", "match_voids", "measure", "score", "segment"]
