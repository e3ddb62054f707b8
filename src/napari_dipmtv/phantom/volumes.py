"""Phantom settings to the true volume, its phases and its measures."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_dipmtv.data import F64, Segmentation, Volume
from napari_dipmtv.phantom.shapes import (
    CORE,
    PHASES,
    SHELL,
    SKIN,
    VACUUM,
    VOID,
    phase_fractions,
    sample_points,
    turn,
)
from napari_dipmtv.settings.phantom import EdxBarSettings, PhantomSettings

CHANNELS = ("FeO", "Fe3O4")

# Ge2Sb2Te5 of 6.2 g/cm³ and a mean atomic mass of 114 u; the segregated ends are given the same total
# density.
GST_ATOMS_NM3 = 32.8
# Atomic shares of Ge, Sb, Te; the publication (arXiv:2606.10547) gives no numbers, these are ours.
GST_MIDDLE = (2 / 9, 2 / 9, 5 / 9)
GST_GE_RICH = (0.40, 0.20, 0.40)
GST_SB_RICH = (0.05, 0.65, 0.30)


@dataclass(frozen=True, slots=True)
class TrueMeasures:
    """What a perfect inspection of the phantom would find."""

    core_nm3: float
    shell_nm3: float
    skin_nm3: float
    void_nm3: float
    skin_nm: float
    shell_nm: float


def make_volume(settings: PhantomSettings | None = None) -> Volume:
    """Draw the particle: Fe atoms per nm³ of each oxide in every voxel, anti-aliased.

    Returns
    -------
    Volume
        Channels ``("FeO", "Fe3O4")``, data (c, z, y, x).

    Raises
    ------
    GeometryError
        When the particle does not fit into the volume.
    """
    settings = settings or PhantomSettings()
    fractions = phase_fractions(settings)
    feo = (fractions[CORE] + fractions[SKIN]) * settings.feo_density
    fe3o4 = fractions[SHELL] * settings.fe3o4_density
    return Volume(np.stack([feo, fe3o4]), CHANNELS, settings.voxel_nm, {"phantom": settings.model_dump()})


def make_segmentation(settings: PhantomSettings | None = None) -> Segmentation:
    """Label every voxel with the phase at its centre, named as in `shapes.PHASES`.

    The centre gives every phase its volume on average; the fullest phase of few sample points would not,
    because ties would always go to the same one.
    """
    settings = settings or PhantomSettings()
    labels = phase_fractions(settings.replace(supersampling=1)).argmax(axis=0).astype(np.uint8)
    return Segmentation(labels, PHASES, settings.voxel_nm)


def true_measures(settings: PhantomSettings | None = None) -> TrueMeasures:
    """Volumes of the phases (all particles together), and the thickness of the first particle's layers."""
    settings = settings or PhantomSettings()
    volumes = phase_fractions(settings).sum(axis=(1, 2, 3), dtype=np.float64) * settings.voxel_nm**3
    return TrueMeasures(
        core_nm3=float(volumes[CORE]),
        shell_nm3=float(volumes[SHELL]),
        skin_nm3=float(volumes[SKIN]),
        void_nm3=float(volumes[VOID]),
        skin_nm=settings.skin_nm,
        shell_nm=settings.shell_nm,
    )


def make_edx_bar(settings: EdxBarSettings | None = None) -> Volume:
    """Draw a bar of phase-change memory: atoms per nm³ of Ge, Sb and Te.

    The bar lies along the tilt axis and is thin along the beam, as in a lamella; after switching it is
    Ge-rich at one end and Sb-rich at the other, with three voids, two of them where the middle meets an end.
    The arrangement of elements and tilts follows arXiv:2606.10547; sizes and compositions are ours (see
    `GST_MIDDLE`).

    Returns
    -------
    Volume
        Channels ``("Ge", "Sb", "Te")``, data (c, z, y, x).
    """
    settings = settings or EdxBarSettings()
    n, s = settings.field_voxels, settings.supersampling
    points = sample_points(n, s, 1.0 / n)  # lengths as shares of the field of view
    shares = np.array([(0.0, 0.0, 0.0), GST_MIDDLE, GST_GE_RICH, GST_SB_RICH], np.float32)
    data = np.empty((3, n, n, n), np.float32)
    for i, slab in enumerate(points.reshape(n, s)):
        part = _bar_part(settings, points[None, None, :], points[None, :, None], slab[:, None, None])
        fractions = [(part == k).reshape(s, n, s, n, s).mean(axis=(0, 2, 4)) for k in range(len(shares))]
        data[:, i] = GST_ATOMS_NM3 * np.tensordot(shares.T, np.stack(fractions), axes=1)
    return Volume(data, ("Ge", "Sb", "Te"), settings.voxel_nm, {"phantom": settings.model_dump()})


def _bar_part(settings: EdxBarSettings, x: F64, y: F64, z: F64) -> NDArray[np.uint8]:
    """Part of the bar at each point: 0 outside or void, 1 middle, 2 Ge-rich end, 3 Sb-rich end."""
    rotation = turn(0, settings.rotation_y_deg, 0)
    across, along, depth = (row[0] * x + row[1] * y + row[2] * z for row in rotation)
    inside = (np.abs(across) < 0.28) & (np.abs(along) < 0.40) & (np.abs(depth) < 0.14)
    part = np.where(along < -0.15, 2, np.where(along > 0.18, 3, 1)) * inside
    r = settings.void_radius
    for (vx, vy, vz), radius in (
        ((0.08, -0.15, 0.02), r),
        ((-0.10, 0.18, -0.03), 0.8 * r),
        ((0.02, 0.02, 0), 0.6 * r),
    ):
        part[(across - vx) ** 2 + (along - vy) ** 2 + (depth - vz) ** 2 < radius**2] = VACUUM
    return np.asarray(part, np.uint8)
