"""Tilts, shapes and offsets to one printable, comparable description of a parallel-beam tilt series."""

from __future__ import annotations

from dataclasses import dataclass

from napari_dipmtv.data import MapStack, check_tilts
from napari_dipmtv.errors import GeometryError, expected


@dataclass(frozen=True, slots=True)
class Geometry:
    """Parallel-beam tilt geometry, tilt axis along y.

    Attributes
    ----------
    volume_shape : (nz, ny, nx)
        Voxels.
    tilts_deg : tuple of float
        Right-handed about +y: a voxel at (z, x) from the volume centre lands at ``x cos + z sin``.
    width : int
        Detector pixels across the tilt axis; centre at ``(width - 1) / 2``.
    offsets_px : tuple of float
        Displacement along x of the content of each view (axis offset plus per-view shift); zeros when aligned.
    """

    volume_shape: tuple[int, int, int]
    tilts_deg: tuple[float, ...]
    width: int
    offsets_px: tuple[float, ...]

    @classmethod
    def of(
        cls,
        volume_shape: tuple[int, int, int],
        tilts_deg: tuple[float, ...],
        *,
        width: int | None = None,
        offsets_px: tuple[float, ...] | None = None,
    ) -> Geometry:
        """Build with the usual defaults: the detector as wide as the volume, no offsets."""
        tilts = tuple(float(t) for t in tilts_deg)
        check_tilts(tilts)
        if min(volume_shape) < 1 or not tilts:
            raise GeometryError(
                expected(
                    "geometry", "voxels and at least one tilt", (volume_shape, tilts), "Check the shapes"
                )
            )
        offsets = tuple(float(o) for o in (offsets_px if offsets_px is not None else (0.0,) * len(tilts)))
        if len(offsets) != len(tilts):
            raise GeometryError(
                expected("offsets", f"{len(tilts)} values", len(offsets), "Give one per view")
            )
        nz, ny, nx = volume_shape
        return cls((int(nz), int(ny), int(nx)), tilts, int(width or nx), offsets)

    @classmethod
    def of_series(cls, series: MapStack, thickness_px: int | None = None) -> Geometry:
        """Geometry of an aligned series: the volume as thick as it is wide unless ``thickness_px`` says otherwise."""
        _, _, ny, nx = series.data.shape
        return cls.of((thickness_px or nx, ny, nx), series.tilts_deg)

    @property
    def views(self) -> int:
        """Number of tilts."""
        return len(self.tilts_deg)

    @property
    def series_shape(self) -> tuple[int, int, int]:
        """(views, ny, width)."""
        return (self.views, self.volume_shape[1], self.width)
