"""Axes as RosettaSciIO gives them to energies in eV and a pixel size in nm."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from napari_dipmtv.data import F64, EnergyAxis
from napari_dipmtv.errors import ReadError, expected
from napari_dipmtv.io.uneven import channel_edges, uniform_axis
from napari_dipmtv.io.units import ev_per, length_nm


def pixel_nm(path: Path, y_axis: Mapping[str, Any], x_axis: Mapping[str, Any]) -> float | None:
    """Pixel size in nm, None without a calibration; `ReadError` where y and x differ."""
    y_nm, x_nm = (length_nm(axis.get("scale"), axis.get("units")) for axis in (y_axis, x_axis))
    if y_nm is not None and x_nm is not None and not math.isclose(y_nm, x_nm, rel_tol=0.01):
        raise ReadError(
            expected(
                f"file {path}", "square pixels", f"{y_nm:g} x {x_nm:g} nm (y, x)", "Rebin one axis to match"
            )
        )
    return x_nm if y_nm is not None else None


def is_energy(axis: Mapping[str, Any]) -> bool:
    """True for an axis in a unit of energy, or named energy."""
    return ev_per(axis.get("units")) is not None or "energy" in str(axis.get("name", "")).lower()


def energy_axis(path: Path, axis: Mapping[str, Any], size: int) -> tuple[EnergyAxis, bool, F64 | None]:
    """The ascending uniform axis, whether the file runs downwards, and the edges of uneven channels."""
    factor = ev_per(axis.get("units"))
    if factor is None:
        raise ReadError(
            expected(
                f"file {path}, energy axis",
                "a unit (eV, keV)",
                repr(axis.get("units")),
                "Calibrate the axis and save again",
            )
        )
    if "axis" in axis and "scale" not in axis:
        values = np.asarray(axis["axis"], dtype=np.float64) * factor
        descending = len(values) > 1 and bool(values[0] > values[-1])
        edges_ev = channel_edges(values[::-1] if descending else values)
        return uniform_axis(edges_ev), descending, edges_ev
    start, step = float(axis["offset"]) * factor, float(axis["scale"]) * factor
    if step < 0:
        return EnergyAxis(start + step * (size - 1), -step, size), True, None
    return EnergyAxis(start, step, size), False, None
