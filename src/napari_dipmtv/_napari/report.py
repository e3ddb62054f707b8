"""A finished reconstruction to the report that is exported with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from napari_dipmtv._napari.session import Reconstruction


def report_of(made: Reconstruction, inputs: Sequence[Path]) -> Mapping[str, Any]:
    """Settings of all stages, hashes of the inputs, versions, device, time and loss curves, in plain types."""
    from napari_dipmtv.io.reports import provenance

    report = provenance(
        {**made.settings, **made.way},
        tilts_deg=made.series.tilts_deg,
        inputs=inputs,
        device=made.device,
        seconds=made.seconds,
    )
    return report | {
        "method": made.method,
        "iterations": made.iterations,
        "stopped": made.stopped,
        "notes": made.notes,
        "losses": dict(made.losses),
    }
