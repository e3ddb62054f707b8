"""Named phases (and their densities) to volumes, ratio, thicknesses and voids in nm."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import binary_dilation, label

from napari_dipmtv.data import F32, F64, Segmentation, Volume
from napari_dipmtv.errors import GeometryError, expected
from napari_dipmtv.inspect.segment import VACUUM, VOID, Mask, depth_px, filled, occupancy
from napari_dipmtv.inspect.surface import surface_of, thickness_px

BOUNDARY_PX = (
    0.25  # how well a boundary between voxels is placed; the uncertainty of a volume is its area times this
)
INSIDE_PX = 2.0  # bulk densities are read this far from any other phase, where there is such a place


@dataclass(frozen=True, slots=True)
class Measure:
    """One named number with its unit."""

    name: str
    value: float
    unit: str
    uncertainty: float | None = None


def measure(segmentation: Segmentation, volume: Volume | None = None) -> tuple[Measure, ...]:
    """Measure the phases of a segmentation.

    Parameters
    ----------
    segmentation : Segmentation
        As `segment` gives it.
    volume : Volume, optional
        The densities it was made from. Then the thicknesses of skin and shell are mass thicknesses, which
        stay right below one voxel; without it they count voxels along the same normals.

    Returns
    -------
    tuple of Measure
        Volumes (nm³; uncertainty: every boundary displaced by a quarter of a voxel), the ratio of core and
        skin to shell, thickness and its spread over the surface (nm; quoted as mean with the standard
        deviation as a measure of its own), and the voids: number, total volume (with densities also by the
        missing mass, which blur does not change), and of the largest its centre from the middle of the
        volume, equivalent diameter and the depth of its upper edge below the surface (nm).

    Raises
    ------
    GeometryError
        When volume and segmentation have different shapes.
    """
    if volume is not None and volume.data.shape[1:] != segmentation.labels.shape:
        raise GeometryError(
            expected(
                "volume", f"shape {segmentation.labels.shape}", volume.data.shape[1:], "Segment this volume"
            )
        )
    volumes = _volumes(segmentation)
    return (*volumes, *_ratio(volumes), *_layers(segmentation, volume), *_voids(segmentation, volume))


def _volumes(segmentation: Segmentation) -> tuple[Measure, ...]:
    found = []
    for phase in segmentation.phases.values():
        mask = segmentation.mask(phase)
        if phase not in (VACUUM, VOID):
            found.append(_volume(f"{phase} volume", mask, segmentation.voxel_nm))
    return tuple(found)


def _volume(name: str, mask: Mask, voxel_nm: float) -> Measure:
    surface = surface_of(mask, blur_px=0.5)
    area = 0.0 if surface is None else float(surface.areas.sum())
    return Measure(name, float(mask.sum()) * voxel_nm**3, "nm³", area * BOUNDARY_PX * voxel_nm**3)


def _ratio(volumes: tuple[Measure, ...]) -> tuple[Measure, ...]:
    """Core and skin over shell, with the uncertainties added in quadrature."""
    shell = [v for v in volumes if v.name.endswith(" shell volume")]
    if not shell or not shell[0].value > 0:
        return ()
    rest = [v for v in volumes if v.name.endswith((" core volume", " skin volume"))]
    total = sum(v.value for v in rest)
    ratio = total / shell[0].value
    spread = np.hypot(
        np.linalg.norm([v.uncertainty or 0.0 for v in rest]) / max(total, 1e-30),
        (shell[0].uncertainty or 0.0) / shell[0].value,
    )
    names = " + ".join(v.name.removesuffix(" volume") for v in rest)
    return (
        Measure(f"({names}) : {shell[0].name.removesuffix(' volume')}", ratio, "", float(ratio * spread)),
    )


def _layers(segmentation: Segmentation, volume: Volume | None) -> tuple[Measure, ...]:
    """Thickness of skin and shell."""
    named = {name.rsplit(" ", 1)[-1]: name for name in segmentation.phases.values()}
    if "shell" not in named or not segmentation.mask(named["shell"]).any():
        return ()
    matter = filled(segmentation.labels > 0)
    depth = depth_px(matter)[segmentation.mask(named["shell"])]
    reach = {"skin": float(np.median(depth)), "shell": float(np.percentile(depth, 95)) + INSIDE_PX}
    found = []
    for role in ("skin", "shell"):
        layer = _layer(segmentation, volume, role, named)
        thickness = None if layer is None else thickness_px(layer, matter, reach[role])
        if thickness is not None:
            mean, std = (t * segmentation.voxel_nm for t in thickness)
            found += [
                Measure(f"{named[role]} thickness", mean, "nm"),
                Measure(f"{named[role]} thickness spread", std, "nm"),
            ]
    return tuple(found)


def _layer(segmentation: Segmentation, volume: Volume | None, role: str, named: dict[str, str]) -> F32 | None:
    """Density of a layer over its bulk density, or its mask without a volume; None without a bulk to read."""
    if volume is None:
        mask = segmentation.mask(named[role])
        return mask.astype(np.float32) if mask.any() else None
    channel = volume.data[volume.channels.index(named[role].rsplit(" ", 1)[0])]
    bulk = segmentation.mask(named["core" if role == "skin" else role])  # a thin skin has no bulk of its own
    if not bulk.any():
        return None
    inside = depth_px(bulk) > INSIDE_PX
    value = float(np.median(channel[bulk & inside if (bulk & inside).any() else bulk]))
    return (channel / value).astype(np.float32) if value > 0 else None


def _voids(segmentation: Segmentation, volume: Volume | None) -> tuple[Measure, ...]:
    voxel = segmentation.voxel_nm
    mask = segmentation.mask(VOID)
    parts, count = label(mask)
    total = _volume("void volume", mask, voxel)
    found = [Measure("voids", float(count), ""), total]
    if count == 0:
        return tuple(found)
    if volume is not None:
        found.append(Measure("void volume by missing mass", _missing_px(mask, volume) * voxel**3, "nm³"))
    largest = parts == 1 + int(np.argmax(np.bincount(parts.ravel())[1:]))
    centre: F64 = (np.argwhere(largest).mean(axis=0) - (np.array(mask.shape) - 1) / 2) * voxel
    found += [Measure(f"void centre {n}", float(c), "nm") for n, c in zip("zyx", centre, strict=True)]
    diameter = float((6 * largest.sum() / np.pi) ** (1 / 3)) * voxel
    upper = float(depth_px(segmentation.labels > 0)[largest].min() - 1) * voxel  # between the two boundaries
    found += [
        Measure("void equivalent diameter", diameter, "nm"),
        Measure("void depth below surface", upper, "nm"),
    ]
    return tuple(found)


def _missing_px(void: Mask, volume: Volume) -> float:
    """What is missing in and around the voids compared with their surroundings, in voxels.

    A void that blur has filled partly keeps this number, while its thresholded volume shrinks.
    """
    filling = occupancy(np.clip(volume.data, 0, None))
    around = binary_dilation(void, iterations=3)
    beside = filling[binary_dilation(around, iterations=2) & ~around]
    bulk = float(np.median(beside)) if beside.size else 0.0
    return float((1 - filling[around] / bulk).sum()) if bulk > 0 else float("nan")
