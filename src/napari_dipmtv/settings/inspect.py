"""The knobs of the inspection: where matter begins, what counts as a void, how phases are named."""

from __future__ import annotations

from typing import Literal

from napari_dipmtv.settings.base import StageSettings, knob


class SegmentSettings(StageSettings):
    """How a volume is divided into phases."""

    threshold: Literal["fraction", "otsu", "multi-otsu", "mixture", "levels"] = knob(
        "fraction",
        "Threshold",
        "Fraction puts the surface where the density has fallen to a share of the bulk value, which is "
        "where it truly is for an evenly blurred edge. Otsu finds the value that separates the histogram "
        "best, multi-Otsu several of them, and a Gaussian mixture learns the noise of the channels too. "
        "Levels are set by hand.",
    )
    surface_fraction: float = knob(
        0.5,
        "Surface at",
        "Share of the bulk density at which matter begins. Larger values make the particle smaller. Only "
        "for the fraction threshold.",
        gt=0,
        lt=1,
    )
    classes: int = knob(
        3,
        "Classes",
        "How many grey values are told apart in a volume of one channel, the vacuum included. Larger values "
        "find more phases. Only for multi-Otsu and mixture; with several channels, multi-Otsu puts the surface "
        "at the lowest of its thresholds.",
        ge=2,
        le=5,
    )
    levels_percent: tuple[int, ...] = knob(
        (50,),
        "Levels",
        "Densities at which phases begin, in percent of the bulk density: one per channel in their order, or "
        "ascending ones in a volume of one channel. Larger values make the phases smaller. Only for levels.",
        unit="%",
    )
    void_fraction: float = knob(
        0.5,
        "Void below",
        "Enclosed regions below this share of the density that voids are compared with are voids. Larger "
        "values find fainter voids, and more that are only noise.",
        gt=0,
        lt=1,
    )
    void_reference: Literal["bulk", "surrounding"] = knob(
        "bulk",
        "Compare voids with",
        "Bulk asks how empty a region is in the particle as a whole. Surrounding asks how deep it lies below "
        "the density around it and finds voids that the missing wedge has filled partly; raise the void "
        "fraction to 0.8 or so for faint ones.",
    )
    smallest_void_voxels: int = knob(
        12,
        "Smallest void",
        "Enclosed empty regions smaller than this are filled with the phase around them.",
        unit="voxels",
        ge=1,
    )
    smallest_part_voxels: int = knob(
        12,
        "Smallest part",
        "Separate pieces of a phase smaller than this are given to the phase around them. Larger values "
        "clean more noise and lose small grains.",
        unit="voxels",
        ge=1,
    )
    smoothing_px: float = knob(
        0.0,
        "Smoothing",
        "Gaussian blur (sigma) before the phases are told apart. Larger values calm a noisy volume and thin "
        "out layers of one voxel.",
        unit="px",
        ge=0,
        le=5,
        advanced=True,
    )
    model: Literal["core-shell", "plain"] = knob(
        "core-shell",
        "Structure",
        "Core-shell tells core, shell and outer skin apart in a volume of two channels; plain names every "
        "phase by its channel, as volumes of other channel counts always do.",
    )
