"""Plant shifts, axis angles and offsets in noisy counts of three particles, and tell how well they are found again.

Every view is drawn from the particle itself, turned and displaced, so nothing was interpolated before the search.
``python benchmarks/bench_align.py [plants per shape] [first seed]`` prints one line per plant and the distribution.
The bound is the standard error that the same counts would allow if the particle were known and only the pose were
looked for.
"""

from __future__ import annotations

import os
import sys
import time
from dataclasses import replace

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

from napari_dipmtv import pipeline
from napari_dipmtv.alignment.gauge import Pose, as_alignment, without_gauge
from napari_dipmtv.alignment.mapping import displacements, rotation
from napari_dipmtv.data import F64, Alignment, ChannelMaps
from napari_dipmtv.phantom.shapes import CORE, SHELL, SKIN, phase_paths
from napari_dipmtv.settings.phantom import PhantomSettings
from napari_dipmtv.states import run

TILTS = tuple(np.linspace(-70, 70, 9))
SHAPES = ("cube", "sphere", "two particles")
FIELDS_PX = (48, 56, 64)
NOISE = 0.27  # |noisy - clean| / |clean| over both channels
DARK = 0.05  # counts per pixel of the vacuum, for a finite weight
SHIFT_PX, ANGLE_DEG, OFFSET_PX = 8.0, 3.0, 5.0  # largest that are planted


def main(plants: int = 10, first: int = 0) -> None:
    """Plant, align, compare."""
    print("| particle | field | y / px | x / px | offset / px | angle / deg | its error | bound | CPU s |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    rows = []
    for number, shape in enumerate(SHAPES):
        for seed in range(first, first + plants):
            field_px = FIELDS_PX[seed % len(FIELDS_PX)]
            maps, planted = plant(shape, field_px, 1000 * number + seed)
            begin = time.process_time()
            found = run(pipeline.align_states(maps, device="cpu")).value
            seconds = time.process_time() - begin
            bound = angle_bound_deg(shape, field_px, seed, planted, maps.counts_per_unit or 1.0)
            row = (*errors(found, planted), found.axis_angle_error_deg or 0.0, bound, seconds)
            rows.append((shape, *row))
            print(
                f"| {shape} | {field_px} | " + " | ".join(f"{value:+.3f}" for value in row) + " |", flush=True
            )
    for shape in SHAPES:
        found_of = np.abs([row[1:5] for row in rows if row[0] == shape])
        print(f"\n{shape}: median", *np.round(np.median(found_of, axis=0), 3), end="; largest ")
        print(*np.round(found_of.max(axis=0), 3), "(y, x, offset px; angle deg)")


def plant(shape: str, field_px: int, seed: int) -> tuple[ChannelMaps, Alignment]:
    """Counts of a randomly turned particle, and the displacements that are in them."""
    random = np.random.default_rng(seed)
    shifts = random.uniform(-SHIFT_PX, SHIFT_PX, (len(TILTS), 2))
    angle, offset = random.uniform(-ANGLE_DEG, ANGLE_DEG), random.uniform(-OFFSET_PX, OFFSET_PX)
    planted = Alignment(shifts, float(angle), float(offset))
    particle = random_particle(shape, field_px, np.random.default_rng(100 + seed % 1000))
    clean = without_noise(particle, planted)
    per_unit = float(clean.sum() / (NOISE**2 * (clean**2).sum()))
    counts = random.poisson(clean * per_unit)
    return ChannelMaps(counts / per_unit, ("FeO", "Fe3O4"), TILTS, 1.0, counts_per_unit=per_unit), planted


def without_noise(particle: PhantomSettings, pose: Alignment) -> F64:
    """What the views would show (c, t, y, x) without noise."""
    field_px = particle.field_voxels
    clean = np.zeros((2, len(TILTS), field_px, field_px))
    for t, (tilt, (dy, dx)) in enumerate(zip(TILTS, displacements(pose), strict=True)):
        paths = phase_paths(particle, tilt, (float(dy), float(dx)), pose.axis_angle_deg)
        clean[:, t] = paths[CORE] + paths[SKIN], 0.84 * paths[SHELL]
    return clean


def angle_bound_deg(
    shape: str, field_px: int, seed: int, planted: Alignment, counts_per_unit: float
) -> float:
    """Cramér-Rao bound of the axis angle for the sum of the channels, shifts unknown too, the particle known."""
    particle = random_particle(shape, field_px, np.random.default_rng(100 + seed % 1000))

    def counts(angle_deg: float = 0.0, dy: float = 0.0, dx: float = 0.0) -> F64:
        pose = replace(
            planted,
            shifts_px=planted.shifts_px + np.array([dy, dx]),
            axis_angle_deg=planted.axis_angle_deg + angle_deg,
        )
        return without_noise(particle, pose).sum(axis=0) * counts_per_unit  # (t, y, x)

    steps = {"angle_deg": 0.5, "dy": 0.25, "dx": 0.25}
    slopes = [(counts(**{name: h}) - counts(**{name: -h})) / (2 * h) for name, h in steps.items()]
    weight = 1 / (counts() + DARK)
    information = 0.0
    for t in range(len(TILTS)):
        rows = np.stack([slope[t].ravel() for slope in slopes])
        fisher = (rows * weight[t].ravel()) @ rows.T
        information += fisher[0, 0] - fisher[0, 1:] @ np.linalg.solve(fisher[1:, 1:], fisher[1:, 0])
    return float(information**-0.5)


def random_particle(shape: str, field_px: int, random: np.random.Generator) -> PhantomSettings:
    """A particle of 36-44 % of the field, so that the planted displacements leave it just inside."""
    pair = shape == "two particles"
    size = (0.36 if pair else 0.44) * field_px
    x, y, z = (float(random.uniform(-a, a)) for a in (20, 40, 20))
    place = 0.06 * size if pair else 0.12 * size
    return PhantomSettings.from_mapping(
        {
            "shape": shape,
            "field_voxels": field_px,
            "size_nm": size,
            "skin_nm": 1.5 if pair else 0.05 * size,
            "shell_nm": (0.15 if pair else 0.2) * size,
            "void_radius_nm": (0.08 if pair else 0.12) * size,
            "void_x_nm": place,
            "void_y_nm": -place,
            "void_z_nm": -place,
            "rotation_x_deg": x,
            "rotation_y_deg": y,
            "rotation_z_deg": z,
        }
    )


def errors(found: Alignment, planted: Alignment) -> tuple[float, float, float, float]:
    """Rms of y and x, offset and angle, the movement of the object as a whole left out."""
    apart = (displacements(found) - displacements(planted)) @ rotation(planted.axis_angle_deg)
    rest: F64 = without_gauge(apart, TILTS)
    offset = as_alignment(Pose(apart, 0.0), TILTS).axis_offset_px
    y, x = np.sqrt((rest**2).mean(axis=0))
    return float(y), float(x), offset, found.axis_angle_deg - planted.axis_angle_deg


if __name__ == "__main__":
    main(*(int(word) for word in sys.argv[1:]))
