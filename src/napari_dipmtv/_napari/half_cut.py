"""One plane that opens all volumes at once: position, direction and side to napari's clipping planes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

Axis = Literal["z", "y", "x"]
AXES: tuple[Axis, ...] = ("z", "y", "x")


@dataclass(frozen=True, slots=True)
class HalfCut:
    """Where solids are cut open.

    Attributes
    ----------
    enabled : bool
    axis : {"z", "y", "x"}
        Normal of the plane.
    position_nm : float
        Distance of the plane from the centre of the volume, in nm; napari takes plane positions in world units.
    flip : bool
        False removes what lies below the position, True what lies above.
    """

    enabled: bool = False
    axis: Axis = "z"
    position_nm: float = 0.0
    flip: bool = False

    def planes(self) -> list[dict[str, Any]]:
        """Planes for ``layer.experimental_clipping_planes``."""
        if not self.enabled:
            return []
        normal = [0.0, 0.0, 0.0]
        normal[AXES.index(self.axis)] = -1.0 if self.flip else 1.0
        position = [0.0, 0.0, 0.0]
        position[AXES.index(self.axis)] = self.position_nm
        return [{"position": tuple(position), "normal": tuple(normal), "enabled": True}]

    def view_direction(self) -> tuple[float, float, float]:
        """Direction (z, y, x) in which to look to see into the cut, a little from above and from the side."""
        side = -1.0 if self.flip else 1.0
        direction = {"z": (1.0, 0.35, 0.45), "y": (0.45, 1.0, 0.35), "x": (0.45, 0.35, 1.0)}[self.axis]
        return tuple(side * part for part in direction)  # type: ignore[return-value]
