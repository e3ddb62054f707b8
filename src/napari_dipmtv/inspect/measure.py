"""Named phases (and their densities) to volumes, ratio, shapes, thicknesses and voids in nm."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import binary_dilation, find_objects

from napari_dipmtv.data import F64, Segmentation, Volume
from napari_dipmtv.errors import GeometryError, expected
from napari_dipmtv.inspect.fractions import partial_volumes_px
from napari_dipmtv.inspect.layers import thickness_maps
from napari_dipmtv.inspect.matter import VACUUM, VOID, filled, particles_of
from napari_dipmtv.inspect.surface import area_px, sphericity
from napari_dipmtv.inspect.void_measures import Void, voids

# How well a boundary is placed, by voxel labels and by densities; the uncertainty of a volume is its area times
# this. `test_volumes_and_ratio` holds the measures to it.
BOUNDARY_LABELS_PX = 0.25
BOUNDARY_DENSITY_PX = 0.1
PARTICLE_MARGIN_PX = 4


@dataclass(frozen=True, slots=True)
class Measure:
    """One named number with its unit."""

    name: str
    value: float
    unit: str
    uncertainty: float | None = None


def measure(segmentation: Segmentation, volume: Volume | None = None) -> tuple[Measure, ...]:
    """Measure the phases of a segmentation, however it was made: computed, edited by hand, or loaded.

    Parameters
    ----------
    segmentation : Segmentation
        Phases named "... core", "... shell", "... skin" have layers and a ratio; "void" is measured as void.
    volume : Volume, optional
        The densities. Then volumes count boundary voxels by the share that is filled, and the thicknesses of
        skin and shell are mass thicknesses: both stay right below one voxel. Without it voxels are counted.

    Returns
    -------
    tuple of Measure
        Volumes and surface areas of the phases and of the whole particle (nm³, nm²; uncertainty: every boundary
        displaced by a tenth of a voxel, or by a quarter without densities), its sphericity and centre, the
        ratio of core and skin to shell, thickness and its spread over the surface (nm), and the voids: number,
        total volume (with densities also by the missing mass, which blur does not change), and of the largest
        its centre from the middle of the volume, equivalent diameter, sphericity, contrast and the depth of its
        upper edge below the surface (nm).

    Raises
    ------
    GeometryError
        When volume and segmentation have different shapes or voxels.
    """
    _check_grid(segmentation, volume)
    return _measured(segmentation, volume, np.zeros(3))


def measure_particles(
    segmentation: Segmentation, volume: Volume | None = None, smallest_voxels: int = 50
) -> tuple[tuple[Measure, ...], ...]:
    """Measure every separate particle of the field, the largest first.

    Parameters
    ----------
    segmentation, volume
        See `measure`.
    smallest_voxels : int
        Smaller pieces are left out.

    Returns
    -------
    tuple of tuple of Measure
        As `measure` gives them; centres are from the middle of the whole volume.
    """
    _check_grid(segmentation, volume)
    particles = particles_of(segmentation.labels > 0)
    middle = (np.array(particles.shape) - 1) / 2
    found = []
    for number, box in enumerate(find_objects(particles), start=1):
        if int((particles[box] == number).sum()) < smallest_voxels:
            continue
        window = tuple(slice(max(0, s.start - PARTICLE_MARGIN_PX), s.stop + PARTICLE_MARGIN_PX) for s in box)
        here = particles[window] == number
        alone = Segmentation(
            np.where(here, segmentation.labels[window], 0), segmentation.phases, segmentation.voxel_nm
        )
        near = binary_dilation(here, iterations=PARTICLE_MARGIN_PX)
        part = None if volume is None else volume.replace(data=volume.data[:, *window] * near)
        start = np.array([s.start for s in window])
        offset = start + (np.array(here.shape) - 1) / 2 - middle
        found.append(_measured(alone, part, offset))
    return tuple(found)


def _check_grid(segmentation: Segmentation, volume: Volume | None) -> None:
    if volume is None:
        return
    same = volume.data.shape[1:] == segmentation.labels.shape
    if not (same and np.isclose(volume.voxel_nm, segmentation.voxel_nm, rtol=1e-4)):
        wanted = f"shape {segmentation.labels.shape} of {segmentation.voxel_nm:g} nm"
        got = f"shape {volume.data.shape[1:]} of {volume.voxel_nm:g} nm"
        raise GeometryError(expected("volume", wanted, got, "Segment this volume"))


def _measured(segmentation: Segmentation, volume: Volume | None, offset_px: F64) -> tuple[Measure, ...]:
    volumes = _volumes(segmentation, volume)
    return (
        *volumes,
        *_ratio(volumes),
        *_whole(segmentation, offset_px),
        *_layers(segmentation, volume),
        *_voids(segmentation, volume, offset_px),
    )


def _volumes(segmentation: Segmentation, volume: Volume | None) -> tuple[Measure, ...]:
    voxel = segmentation.voxel_nm
    partial = {} if volume is None else partial_volumes_px(segmentation, volume)
    blurry = BOUNDARY_LABELS_PX if volume is None else BOUNDARY_DENSITY_PX
    found: list[Measure] = []
    areas: list[Measure] = []
    for phase in segmentation.phases.values():
        if phase in (VACUUM, VOID):
            continue
        mask = segmentation.mask(phase)
        area, size = area_px(mask), partial.get(phase, float(mask.sum()))
        found.append(Measure(f"{phase} volume", size * voxel**3, "nm³", area * blurry * voxel**3))
        areas.append(Measure(f"{phase} surface area", area * voxel**2, "nm²"))
    return (*found, *areas)


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


def _whole(segmentation: Segmentation, offset_px: F64) -> tuple[Measure, ...]:
    """The particle with its voids: volume, surface, shape and place."""
    voxel, matter = segmentation.voxel_nm, filled(segmentation.labels > 0)
    if not matter.any():
        return ()
    area = area_px(matter)
    size = float(matter.sum())
    centre = (np.argwhere(matter).mean(axis=0) - (np.array(matter.shape) - 1) / 2 + offset_px) * voxel
    return (
        Measure("particle volume", size * voxel**3, "nm³", area * BOUNDARY_LABELS_PX * voxel**3),
        Measure("particle surface area", area * voxel**2, "nm²"),
        Measure("particle sphericity", sphericity(size, area), ""),
        *(Measure(f"particle centre {n}", float(c), "nm") for n, c in zip("zyx", centre, strict=True)),
    )


def _layers(segmentation: Segmentation, volume: Volume | None) -> tuple[Measure, ...]:
    """Thickness of skin and shell."""
    found = []
    for phase, thickness in thickness_maps(segmentation, volume).items():
        found += [
            Measure(f"{phase} thickness", thickness.mean * segmentation.voxel_nm, "nm"),
            Measure(f"{phase} thickness spread", thickness.spread * segmentation.voxel_nm, "nm"),
        ]
    return tuple(found)


def _voids(segmentation: Segmentation, volume: Volume | None, offset_px: F64) -> tuple[Measure, ...]:
    there = voids(segmentation, volume)
    blurry = BOUNDARY_LABELS_PX if volume is None else BOUNDARY_DENSITY_PX
    size, edge = (sum(getattr(v, name) for v in there) for name in ("volume_nm3", "area_nm3"))
    found = [Measure("voids", float(len(there)), ""), Measure("void volume", size, "nm³", edge * blurry)]
    if not there:
        return tuple(found)
    if volume is not None:
        found.append(Measure("void volume by missing mass", sum(v.missing_nm3 for v in there), "nm³"))
    return (*found, *_largest(there[0], volume is not None, offset_px * segmentation.voxel_nm))


def _largest(void: Void, with_densities: bool, offset_nm: F64) -> tuple[Measure, ...]:
    """Place, size and emptiness of the largest void."""
    centre = np.array(void.centre_nm) + offset_nm
    return (
        *(Measure(f"void centre {n}", float(c), "nm") for n, c in zip("zyx", centre, strict=True)),
        Measure("void equivalent diameter", void.diameter_nm, "nm"),
        Measure("void depth below surface", void.depth_nm, "nm"),
        Measure("void sphericity", void.sphericity, ""),
        *((Measure("void contrast", void.contrast, ""),) if with_densities else ()),
    )
