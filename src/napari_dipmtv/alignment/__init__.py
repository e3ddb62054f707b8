"""Maps to aligned tilt series: shifts, tilt axis and dose; estimated, then applied by one interpolation."""

from __future__ import annotations

from napari_dipmtv.alignment.apply import apply, assume_aligned
from napari_dipmtv.alignment.dose import dose_factors, dose_is_uneven, equalise
from napari_dipmtv.alignment.guide import guided
from napari_dipmtv.alignment.history import AlignmentHistory
from napari_dipmtv.alignment.matching import estimate
from napari_dipmtv.alignment.onto import onto
from napari_dipmtv.alignment.report import AlignmentReport, alignment_report
from napari_dipmtv.alignment.spikes import spikes
from napari_dipmtv.alignment.views import chosen_views, leave_out

__all__ = [
    "AlignmentHistory",
    "AlignmentReport",
    "alignment_report",
    "apply",
    "assume_aligned",
    "chosen_views",
    "dose_factors",
    "dose_is_uneven",
    "equalise",
    "estimate",
    "guided",
    "leave_out",
    "onto",
    "spikes",
]
