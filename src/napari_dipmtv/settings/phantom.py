"""Knobs of the simulator: the particle, the memory bar, and the dual EELS measurement of a particle."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import model_validator

from napari_dipmtv.settings.base import StageSettings, knob

SPHERE_SCALE = 0.6  # size and shell of the second particle of a scene, relative to the first


class PhantomSettings(StageSettings):
    """An iron oxide particle: FeO core, Fe3O4 shell, thin FeO skin, and a spherical void where wanted."""

    shape: Literal["cube", "sphere", "two particles"] = knob(
        "cube",
        "Shape",
        "Cube, sphere, or a cube with a smaller sphere beside it along the tilt axis; all with core, shell "
        "and skin.",
    )
    field_voxels: int = knob(
        48,
        "Field of view",
        "Voxels along each edge of the volume, and pixels of each projection. Larger costs time with its "
        "third power.",
        unit="px",
        ge=8,
        le=512,
    )
    voxel_nm: float = knob(
        1.0, "Voxel size", "Edge of a voxel. Larger makes the same particle coarser.", unit="nm", gt=0, le=100
    )
    size_nm: float = knob(
        28.0, "Particle size", "Edge of the cube, or diameter of the sphere, skin included.", unit="nm", gt=0
    )
    skin_nm: float = knob(
        1.5,
        "Skin thickness",
        "FeO on the outside. Thinner than two voxels is hard to recover.",
        unit="nm",
        ge=0,
    )
    shell_nm: float = knob(
        6.0,
        "Shell thickness",
        "Fe3O4 between skin and core. A thicker shell leaves a smaller core.",
        unit="nm",
        ge=0,
    )
    void_radius_nm: float = knob(
        2.5,
        "Void radius",
        "Radius of the empty sphere inside the particle; 0 leaves it out.",
        unit="nm",
        ge=0,
    )
    void_x_nm: float = knob(2.0, "Void at x", "From the particle's centre, along its own x edge.", unit="nm")
    void_y_nm: float = knob(-1.0, "Void at y", "From the particle's centre, along its own y edge.", unit="nm")
    void_z_nm: float = knob(-1.5, "Void at z", "From the particle's centre, along its own z edge.", unit="nm")
    rotation_x_deg: float = knob(
        0.0,
        "Turn about x",
        "Laboratory coordinates are turned by this angle about x first, then about y, then about z, to give "
        "the particle's own. Larger turns the particle further.",
        unit="deg",
        ge=-180,
        le=180,
    )
    rotation_y_deg: float = knob(
        12.0,
        "Turn about y",
        "The second turn, about the tilt axis. See the turn about x.",
        unit="deg",
        ge=-180,
        le=180,
    )
    rotation_z_deg: float = knob(
        7.0,
        "Turn about z",
        "The third turn, about the beam. See the turn about x.",
        unit="deg",
        ge=-180,
        le=180,
    )
    feo_density: float = knob(
        48.1,
        "FeO density",
        "Fe atoms per volume of FeO. Larger makes FeO brighter.",
        unit="nm⁻³",
        gt=0,
        advanced=True,
    )
    fe3o4_density: float = knob(
        40.3,
        "Fe3O4 density",
        "Fe atoms per volume of Fe3O4. Larger makes Fe3O4 brighter.",
        unit="nm⁻³",
        gt=0,
        advanced=True,
    )
    supersampling: int = knob(
        2,
        "Supersampling",
        "Sample points per voxel along each axis. More draws smoother edges and takes longer, with the "
        "third power.",
        ge=1,
        le=6,
        advanced=True,
    )

    @model_validator(mode="after")
    def _check_layers(self) -> Self:
        half = self.size_nm / 2
        smallest = half * (SPHERE_SCALE if self.shape == "two particles" else 1)
        shell = self.shell_nm * (SPHERE_SCALE if self.shape == "two particles" else 1)
        if self.skin_nm + shell >= smallest:
            raise ValueError(
                f"skin and shell together must be thinner than half of the particle ({smallest:g} nm), "
                f"got {self.skin_nm:g} + {shell:g} nm; make the particle larger or a layer thinner"
            )
        position = (self.void_x_nm, self.void_y_nm, self.void_z_nm)
        if self.shape == "sphere":
            reach = sum(v * v for v in position) ** 0.5
        else:
            reach = max(abs(v) for v in position)
        if self.void_radius_nm > 0 and reach + self.void_radius_nm > half - self.skin_nm:
            raise ValueError(
                f"the void must end below the skin, {half - self.skin_nm:g} nm from the centre, but reaches "
                f"{reach + self.void_radius_nm:g} nm; make it smaller or move it inwards"
            )
        return self


def cube64() -> PhantomSettings:
    """The 64-voxel reference cube with values 0-1: skin 1.28, shell 6.4 and void radius 2.88 voxels."""
    half = 32.0
    return PhantomSettings(
        field_voxels=64,
        size_nm=2 * 0.60 * half,
        skin_nm=0.04 * half,
        shell_nm=0.20 * half,
        void_radius_nm=0.09 * half,
        void_x_nm=0.10 * half,
        void_y_nm=-0.05 * half,
        void_z_nm=-0.08 * half,
        feo_density=1.0,
        fe3o4_density=1.0,
    )


def published_eels(field_voxels: int = 160) -> PhantomSettings:
    """The phantom of arXiv:2606.10893: FeO of value 20 in core and skin, Fe3O4 of value 10, no void.

    At 160 voxels the half-sizes are 20 (core), 40 (shell) and 43 (skin); other sizes scale them. The
    publication gives turns of 5, 7 and 13 degrees about the three axes; that x comes first, and the voxel of
    1 nm, are ours.
    """
    scale = field_voxels / 160
    return PhantomSettings(
        field_voxels=field_voxels,
        size_nm=86 * scale,
        skin_nm=3 * scale,
        shell_nm=20 * scale,
        void_radius_nm=0,
        rotation_x_deg=5,
        rotation_y_deg=7,
        rotation_z_deg=13,
        feo_density=20,
        fe3o4_density=10,
    )


def two_particles() -> PhantomSettings:
    """A cube of 22 nm and a sphere of 13 nm in one field of 48 voxels."""
    return PhantomSettings(
        shape="two particles",
        size_nm=22,
        shell_nm=4,
        void_radius_nm=2,
        void_x_nm=1,
        void_y_nm=-1,
        void_z_nm=-1,
    )


class EdxBarSettings(StageSettings):
    """A bar of Ge-Sb-Te phase-change memory with segregated ends and voids, for element maps (EDX)."""

    field_voxels: int = knob(
        48,
        "Field of view",
        "Voxels along each edge of the volume. Larger costs time with its third power.",
        unit="px",
        ge=8,
        le=512,
    )
    voxel_nm: float = knob(
        1.0,
        "Voxel size",
        "Edge of a voxel; the bar grows with it and keeps its voxels.",
        unit="nm",
        gt=0,
        le=100,
    )
    void_radius: float = knob(
        0.06,
        "Void radius",
        "Radius of the largest of the three voids, as a share of the field of view. Larger is easier to "
        "recover.",
        ge=0,
        le=0.08,
    )
    rotation_y_deg: float = knob(
        6.0,
        "Turn about y",
        "Tilt of the lamella at 0 deg. Larger turns it further.",
        unit="deg",
        ge=-20,
        le=20,
    )
    supersampling: int = knob(
        2,
        "Supersampling",
        "Sample points per voxel along each axis. More draws smoother edges and takes longer, with the "
        "third power.",
        ge=1,
        le=6,
        advanced=True,
    )
