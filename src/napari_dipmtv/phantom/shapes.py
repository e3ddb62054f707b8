"""Phantom settings to particles, to phase fractions per voxel and path lengths per pixel.

Projections are sampled from the particles themselves, turned and displaced as the stage does it, and not from
a voxel volume: a reconstruction is then never tested with its own projector.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_dipmtv.data import F32, F64
from napari_dipmtv.errors import GeometryError, expected
from napari_dipmtv.settings.phantom import SPHERE_SCALE, PhantomSettings

PHASES = {0: "vacuum", 1: "FeO core", 2: "Fe3O4 shell", 3: "FeO skin", 4: "void"}
VACUUM, CORE, SHELL, SKIN, VOID = PHASES


@dataclass(frozen=True, slots=True, eq=False)
class Particle:
    """One onion of three layers, in nm from the centre of the volume.

    Attributes
    ----------
    cube : bool
        Cube or sphere.
    centre_nm : (x, y, z)
    rotation : float array (3, 3)
        Takes laboratory coordinates (x, y, z) to those of the particle.
    core_nm, shell_nm, skin_nm : float
        Outer half-size (cube) or radius (sphere) of each layer.
    void_nm : (x, y, z)
        Centre of the void in the particle's coordinates.
    void_radius_nm : float
        0 for none.
    """

    cube: bool
    centre_nm: tuple[float, float, float]
    rotation: F64
    core_nm: float
    shell_nm: float
    skin_nm: float
    void_nm: tuple[float, float, float]
    void_radius_nm: float

    @property
    def radius_nm(self) -> float:
        """Radius of the sphere around the particle."""
        return self.skin_nm * (3**0.5 if self.cube else 1.0)

    def extent_nm(self) -> F64:
        """Largest distance from the centre of the volume along x, y, z."""
        reach = np.abs(self.rotation).sum(axis=0) if self.cube else np.ones(3)
        return np.asarray(np.abs(np.array(self.centre_nm)) + self.skin_nm * reach)


def scene(settings: PhantomSettings) -> tuple[Particle, ...]:
    """Particles of the settings; raises `GeometryError` where they do not fit into the volume at 0 deg."""
    half = settings.size_nm / 2
    first = _onion(settings, half, settings.shell_nm, cube=settings.shape != "sphere", y_nm=0.0)
    particles: tuple[Particle, ...] = (first,)
    if settings.shape == "two particles":
        top = first.extent_nm()[1]
        gap, radius = 2 * settings.voxel_nm, half * SPHERE_SCALE
        middle = radius + gap / 2  # shifts the pair so that it stands centred along the tilt axis
        particles = (
            _onion(settings, half, settings.shell_nm, cube=True, y_nm=-middle),
            _onion(
                settings,
                radius,
                settings.shell_nm * SPHERE_SCALE,
                cube=False,
                y_nm=top + gap + radius - middle,
            ),
        )
    reach = max(float(particle.extent_nm().max()) for particle in particles)
    if 2 * reach > settings.field_voxels * settings.voxel_nm:
        raise GeometryError(
            expected(
                "phantom",
                f"particles within {settings.field_voxels * settings.voxel_nm:g} nm",
                f"an extent of {2 * reach:.3g} nm",
                "Make the particle smaller or the field of view larger",
            )
        )
    return particles


def phase_at(particles: tuple[Particle, ...], x_nm: F64, y_nm: F64, z_nm: F64) -> NDArray[np.uint8]:
    """Phase (see `PHASES`) at points given by three arrays that broadcast together."""
    phase = np.zeros(np.broadcast_shapes(x_nm.shape, y_nm.shape, z_nm.shape), np.uint8)
    for particle in particles:
        lab = [axis - c for axis, c in zip((x_nm, y_nm, z_nm), particle.centre_nm, strict=True)]
        q = [row[0] * lab[0] + row[1] * lab[1] + row[2] * lab[2] for row in particle.rotation]
        if particle.cube:
            depth = np.maximum(np.maximum(np.abs(q[0]), np.abs(q[1])), np.abs(q[2]))
        else:
            depth = np.sqrt(q[0] ** 2 + q[1] ** 2 + q[2] ** 2)
        phase[depth < particle.skin_nm] = SKIN
        phase[depth < particle.shell_nm] = SHELL
        phase[depth < particle.core_nm] = CORE
        if particle.void_radius_nm > 0:
            squared = sum((axis - v) ** 2 for axis, v in zip(q, particle.void_nm, strict=True))
            phase[squared < particle.void_radius_nm**2] = VOID
    return phase


def phase_fractions(settings: PhantomSettings) -> F32:
    """Share of each phase in every voxel, float32 (phase, z, y, x); the phases of a voxel add up to 1."""
    particles = scene(settings)
    n, s = settings.field_voxels, settings.supersampling
    points = sample_points(n, s, settings.voxel_nm)
    out = np.empty((len(PHASES), n, n, n), np.float32)
    for i, slab in enumerate(points.reshape(n, s)):
        phase = phase_at(particles, points[None, None, :], points[None, :, None], slab[:, None, None])
        for k in PHASES:
            out[k, i] = (phase == k).reshape(s, n, s, n, s).mean(axis=(0, 2, 4))
    return out


def phase_paths(
    settings: PhantomSettings, tilt_deg: float, displacement_px: tuple[float, float], axis_angle_deg: float
) -> F64:
    """Path length in nm through each phase for every pixel of one recorded view.

    Parameters
    ----------
    settings : PhantomSettings
    tilt_deg : float
        Right-handed about +y: a point at (z, x) lands at ``x cos + z sin``.
    displacement_px : (dy, dx)
        Shift of the view, with the axis offset in dx.
    axis_angle_deg : float
        Turn of the view in its plane, as in `napari_dipmtv.data.Alignment`.

    Returns
    -------
    float64 array (phase, y, x)
        Means over the area of each pixel. Vacuum is 0.
    """
    particles = scene(settings)
    n, s, voxel = settings.field_voxels, settings.supersampling, settings.voxel_nm
    reach = max(float(np.linalg.norm(p.centre_nm)) + p.radius_nm for p in particles)
    layers = int(np.ceil(2 * reach / voxel)) * s
    depth = (np.arange(layers) + 0.5 - layers / 2) * voxel / s
    out = np.zeros((len(PHASES), n, n))
    for row, y, x in _ideal_rows(n, s, voxel, displacement_px, axis_angle_deg):
        cosine, sine = np.cos(np.deg2rad(tilt_deg)), np.sin(np.deg2rad(tilt_deg))
        phase = phase_at(
            particles, x * cosine - depth * sine, y, x * sine + depth * cosine
        )  # (s, n * s, depth)
        for k in (CORE, SHELL, SKIN, VOID):
            out[k, row] = (phase == k).reshape(s, n, s, layers).mean(axis=(0, 2, 3)) * (layers * voxel / s)
    return out


def sample_points(n: int, s: int, voxel_nm: float) -> F64:
    """Coordinates in nm of ``n * s`` sample points, ``s`` per voxel, about the centre of the volume."""
    return (np.arange(n * s) + 0.5 - n * s / 2) * voxel_nm / s


def turn(x_deg: float, y_deg: float, z_deg: float) -> F64:
    """Rotation matrix ``Rz Ry Rx`` for coordinates (x, y, z)."""
    (cx, cy, cz), (sx, sy, sz) = (f(np.deg2rad([x_deg, y_deg, z_deg])) for f in (np.cos, np.sin))
    about_x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_z = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    return np.asarray(about_z @ about_y @ about_x)


def _onion(
    settings: PhantomSettings, half_nm: float, shell_nm: float, *, cube: bool, y_nm: float
) -> Particle:
    second = settings.shape == "two particles" and not cube
    shell = half_nm - settings.skin_nm
    return Particle(
        cube=cube,
        centre_nm=(0.0, y_nm, 0.0),
        rotation=turn(settings.rotation_x_deg, settings.rotation_y_deg, settings.rotation_z_deg),
        core_nm=shell - shell_nm,
        shell_nm=shell,
        skin_nm=half_nm,
        void_nm=(settings.void_x_nm, settings.void_y_nm, settings.void_z_nm),
        void_radius_nm=0.0 if second else settings.void_radius_nm,
    )


def _ideal_rows(
    n: int, s: int, voxel_nm: float, displacement_px: tuple[float, float], angle_deg: float
) -> Iterator[tuple[int, F64, F64]]:
    """Ideal coordinates (y, x) in nm of the sample points of each recorded row, shape (s, n * s, 1)."""
    points = sample_points(n, s, voxel_nm)
    cosine, sine = np.cos(np.deg2rad(angle_deg)), np.sin(np.deg2rad(angle_deg))
    x = points[None, :, None] - displacement_px[1] * voxel_nm
    for row, slab in enumerate(points.reshape(n, s)):
        y = slab[:, None, None] - displacement_px[0] * voxel_nm
        yield row, y * cosine - x * sine, y * sine + x * cosine
