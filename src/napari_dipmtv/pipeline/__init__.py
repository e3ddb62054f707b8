"""The verbs in the order of the data: load, unmix, align, reconstruct, segment, measure, export."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from napari_dipmtv.alignment import apply as apply_alignment
from napari_dipmtv.alignment import assume_aligned
from napari_dipmtv.inspect import measure, segment
from napari_dipmtv.pipeline.aligned import (
    align,
    align_both,
    align_states,
    apply_found,
    guide_of,
    nudge,
    report_alignment,
)
from napari_dipmtv.pipeline.maps import (
    OnState,
    ReferencePair,
    ReferenceSource,
    edx,
    edx_states,
    load,
    prepare_states,
    reference_states,
    references,
    unmix,
    unmix_states,
)
from napari_dipmtv.pipeline.projects import (
    load_inputs,
    project_both,
    project_haadf,
    project_maps,
    project_series,
    regions_of,
    run_project,
)
from napari_dipmtv.pipeline.results import ExportFormat, export

if TYPE_CHECKING:
    from napari_dipmtv.tomo.estimate import estimate_states
    from napari_dipmtv.tomo.fused import fuse, fuse_states
    from napari_dipmtv.tomo.reconstruct import reconstruct, reconstruct_states

__all__ = [
    "ExportFormat",
    "OnState",
    "ReferencePair",
    "ReferenceSource",
    "align",
    "align_both",
    "align_states",
    "apply_alignment",
    "apply_found",
    "assume_aligned",
    "edx",
    "edx_states",
    "estimate_states",
    "export",
    "fuse",
    "fuse_states",
    "guide_of",
    "load",
    "load_inputs",
    "measure",
    "nudge",
    "prepare_states",
    "project_both",
    "project_haadf",
    "project_maps",
    "project_series",
    "reconstruct",
    "reconstruct_states",
    "reference_states",
    "references",
    "regions_of",
    "report_alignment",
    "run_project",
    "segment",
    "unmix",
    "unmix_states",
]

# the verbs that need torch, which takes seconds to import, come with their first use
_HOME = {
    "estimate_states": "estimate",
    "fuse": "fused",
    "fuse_states": "fused",
    "reconstruct": "reconstruct",
    "reconstruct_states": "reconstruct",
}


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(f"napari_dipmtv.tomo.{_HOME[name]}"), name)
    raise AttributeError(f"module 'napari_dipmtv.pipeline' has no attribute '{name}'")
