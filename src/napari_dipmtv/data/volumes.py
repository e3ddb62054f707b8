"""Volumes as nouns: several channels of voxels, and the phases in them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from napari_dipmtv.data.checks import F32, as_float32, check_channels, positive
from napari_dipmtv.errors import InputError, expected


@dataclass(frozen=True, slots=True, eq=False)
class Volume:
    """A multi-channel volume: ``data`` (c, z, y, x) float32 on cubic voxels of ``voxel_nm`` nm."""

    data: F32
    channels: tuple[str, ...]
    voxel_nm: float
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "data", as_float32("volume", self.data, 4))
        object.__setattr__(self, "channels", tuple(self.channels))
        check_channels(self.channels, self.data.shape[0])
        positive("voxel size", self.voxel_nm, "nm")

    def replace(self, **changes: Any) -> Self:
        """Give a copy with some fields changed."""
        return replace(self, **changes)


@dataclass(frozen=True, slots=True, eq=False)
class Segmentation:
    """Phases of a volume: ``labels`` (z, y, x) of small integers, 0 is vacuum; ``phases`` names them."""

    labels: NDArray[np.uint8]
    phases: Mapping[int, str]
    voxel_nm: float

    def __post_init__(self) -> None:
        labels = np.ascontiguousarray(self.labels, dtype=np.uint8)
        object.__setattr__(self, "labels", labels)
        object.__setattr__(self, "phases", dict(self.phases))
        positive("voxel size", self.voxel_nm, "nm")
        unknown = set(np.unique(labels).tolist()) - set(self.phases)
        if labels.ndim != 3 or unknown:
            raise InputError(
                expected(
                    "labels", "3 axes and named values", f"{labels.shape}, unnamed {unknown}", "Name them"
                )
            )

    def mask(self, phase: str) -> NDArray[np.bool_]:
        """Voxels (z, y, x) of one named phase; all False where the phase does not occur."""
        values = [value for value, name in self.phases.items() if name == phase]
        return np.isin(self.labels, values)
