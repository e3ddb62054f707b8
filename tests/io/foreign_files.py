"""Files as other programs write them, with known content."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from napari_dipmtv.io.hspy import Axis, hspy_bytes


def write(
    path: Path,
    *,
    start: float = -5.0,
    units: tuple[str, str] = ("nm", "eV"),
    pixel: tuple[float, float] = (0.37, 0.37),
    tilt: float | None = None,
    step: float = 0.5,
    shape: tuple[int, int, int] = (3, 4, 30),
    order: tuple[int, int, int] = (0, 1, 2),
    signal_type: str = "EELS",
) -> Path:
    """Write a foreign ``.hspy`` file with chosen axes; counts are a ramp (y, x, e)."""
    axes = [
        Axis("y", shape[0], pixel[0], 0.0, units[0], navigate=True),
        Axis("x", shape[1], pixel[1], 0.0, units[0], navigate=True),
        Axis("Energy loss", shape[2], step, start, units[1], navigate=False),
    ]
    data = np.arange(np.prod(shape), dtype=">u2").reshape(shape).transpose(order)
    stage = {} if tilt is None else {"Acquisition_instrument": {"TEM": {"Stage": {"tilt_alpha": tilt}}}}
    tree: dict[str, Any] = {"Signal": {"signal_type": signal_type}, **stage}
    path.write_bytes(hspy_bytes(data, [axes[i] for i in order], path.stem, tree))
    return path
