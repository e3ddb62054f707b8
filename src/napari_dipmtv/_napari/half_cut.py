"""One plane that opens all volumes at once: position, direction and side to napari's clipping planes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

Axis = Literal["z", "y", "x"]
AXES: tuple[Axis, ...] = ("z", "y", "x")
# where to stand beside the normal, so that the cut is seen a little from above and from the side
_ASIDE = {"z": (0.0, 0.35, 0.45), "y": (0.45, 0.0, 0.35), "x": (0.45, 0.35, 0.0)}


@dataclass(frozen=True, slots=True)
class HalfCut:
    """Where solids are cut open.

    Attributes
    ----------
    enabled : bool
    axis : {"z", "y", "x"}
        Normal of the plane before it is turned.
    position_nm : float
        Distance of the plane from the centre of the volume, in nm; napari takes plane positions in world units.
    flip : bool
        False removes what lies below the position, True what lies above.
    turn_deg, tip_deg : float
        Oblique cuts: the normal leans so much towards the first, and the second, of the other two axes.
    """

    enabled: bool = False
    axis: Axis = "z"
    position_nm: float = 0.0
    flip: bool = False
    turn_deg: float = 0.0
    tip_deg: float = 0.0

    @property
    def normal(self) -> tuple[float, float, float]:
        """Unit vector (z, y, x) along which the position is measured."""
        turn, tip = math.radians(self.turn_deg), math.radians(self.tip_deg)
        first, second = _others(self.axis)
        parts = dict.fromkeys(AXES, 0.0)
        parts[self.axis] = math.cos(turn) * math.cos(tip)
        parts[first] = math.sin(turn) * math.cos(tip)
        parts[second] = math.sin(tip)
        return parts["z"], parts["y"], parts["x"]

    def planes(self) -> list[dict[str, Any]]:
        """Planes for ``layer.experimental_clipping_planes``."""
        if not self.enabled:
            return []
        side = -1.0 if self.flip else 1.0
        position = tuple(self.position_nm * part for part in self.normal)
        return [{"position": position, "normal": tuple(side * part for part in self.normal), "enabled": True}]

    def view_direction(self) -> tuple[float, float, float]:
        """Direction (z, y, x) in which to look to see into the cut, a little from above and from the side."""
        side = -1.0 if self.flip else 1.0
        z, y, x = (side * (part + aside) for part, aside in zip(self.normal, _ASIDE[self.axis], strict=True))
        return z, y, x


def facing(direction: Sequence[float], position_nm: float = 0.0) -> HalfCut:
    """Cut whose open side faces somebody who looks in a direction (z, y, x)."""
    length = math.sqrt(sum(part * part for part in direction))
    parts = dict(zip(AXES, (part / length for part in direction), strict=True))
    axis = max(AXES, key=lambda name: abs(parts[name]))
    flip = parts[axis] < 0
    if flip:
        parts = {name: -part for name, part in parts.items()}
    first, second = _others(axis)
    tip = math.degrees(math.asin(max(-1.0, min(1.0, parts[second]))))
    turn = math.degrees(math.atan2(parts[first], parts[axis]))
    return HalfCut(True, axis, position_nm, flip, turn, tip)


def _others(axis: Axis) -> tuple[Axis, Axis]:
    first, second = (name for name in AXES if name != axis)
    return first, second
