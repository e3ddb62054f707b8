"""Plant shifts, axis angles and offsets in noisy counts of four particles, and tell how well they are found again.

Every view is drawn from the particle itself, turned and displaced, so nothing was interpolated before the search.
``python benchmarks/bench_align.py [plants per shape] [first seed] [field]`` prints one line per plant and the
distribution; fields are of 48, 56 and 64 px by turns unless one is given. ``--write`` puts them into
``benchmarks/results.md``.
The bounds are the standard errors that the same counts allow where the particle is known and only the pose is looked
for, and where only the outline of the particle is known.
"""

from __future__ import annotations

import report  # first: pins the threads

# isort: split

import argparse
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.ndimage import binary_dilation
from scipy.sparse.linalg import LinearOperator, lsqr

from napari_dipmtv import pipeline
from napari_dipmtv.alignment.gauge import Pose, as_alignment, without_gauge
from napari_dipmtv.alignment.mapping import displacements, rotation
from napari_dipmtv.data import F32, F64, Alignment, ChannelMaps
from napari_dipmtv.phantom.shapes import CORE, SHELL, SKIN, phase_paths
from napari_dipmtv.phantom.volumes import make_volume
from napari_dipmtv.projection.geometry import Geometry
from napari_dipmtv.projection.sparse import SparseProjector
from napari_dipmtv.settings.phantom import PhantomSettings
from napari_dipmtv.states import run

TILTS = tuple(np.linspace(-70, 70, 9))
SHAPES = ("cube", "sphere", "two particles", "cube without a void")
FIELDS_PX = (48, 56, 64)
NOISE = 0.27  # |noisy - clean| / |clean| over both channels
STEPS = 200  # of the least-squares fit behind the second bound; with more the bound rises further
DARK = 0.05  # counts per pixel of the vacuum, for a finite weight
SHIFT_PX, ANGLE_DEG, OFFSET_PX = 8.0, 3.0, 5.0  # largest that are planted
WANTED = (0.25, 0.25, 0.25, 0.3)  # y and x rms, offset / px; axis angle / deg
HEAD = (
    *("particle", "seed", "field / px", "planted angle / deg", "planted offset / px"),
    *("y / px rms", "x / px rms", "offset / px", "angle / deg", "its error", "particle known", "voxels unknown"),
    "CPU s",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Judged:
    """One plant: what was planted, what is left, the stated error of the angle, its two bounds, and the time."""

    shape: str
    seed: int
    field_px: int
    planted: Alignment
    left: tuple[float, float, float, float]  # y, x rms, offset / px; angle / deg
    stated_deg: float
    bounds_deg: tuple[float, float]
    seconds: float

    @property
    def cells(self) -> tuple[str, ...]:
        """The line of the table."""
        first = (self.shape, str(self.seed), str(self.field_px))
        planted = (f"{self.planted.axis_angle_deg:+.2f}", f"{self.planted.axis_offset_px:+.2f}")
        left = [f"{value:.3f}" for value in self.left[:2]] + [f"{value:+.3f}" for value in self.left[2:]]
        stated = "none found" if np.isinf(self.stated_deg) else f"{self.stated_deg:.3f}"
        return (
            *first,
            *planted,
            *left,
            stated,
            *(f"{b:.3f}" for b in self.bounds_deg),
            f"{self.seconds:.1f}",
        )


def main(plants: int, first: int, field_px: int, *, write: bool) -> None:
    """Plant, align, compare."""
    fields = (field_px,) if field_px else FIELDS_PX
    done = []
    for number, shape in enumerate(SHAPES):
        for seed in range(first, first + plants):
            done.append(judge(shape, number, seed, fields[seed % len(fields)]))
            print(*done[-1].cells, sep=" | ", flush=True)
    words = (
        f"By `benchmarks/bench_align.py {plants} {first} {field_px}`, processor time of one thread on "
        f"{report.machine(('torch', 'numpy'))}\nShifts up to {SHIFT_PX:g} px, axis angles up to {ANGLE_DEG:g}°, "
        f"offsets up to {OFFSET_PX:g} px, drawn evenly; nine tilts of 17.5°, {NOISE:.0%} noise; every plant is listed. "
        "Columns 6-9: what remains;\nthen the stated error of the angle and the two bounds of it / deg. "
        "A sphere has no axis angle to be found."
    )
    report.finish("Alignment", "\n\n".join((words, table(done), *summary(done))), write=write)


def judge(shape: str, number: int, seed: int, field_px: int) -> Judged:
    """Plant one misalignment and find it."""
    maps, planted = plant(shape, field_px, 1000 * number + seed)
    begin = time.process_time()
    found = run(pipeline.align_states(maps, device="cpu")).value
    seconds = time.process_time() - begin
    particle = random_particle(shape, field_px, np.random.default_rng(100 + seed))
    bounds = angle_bounds_deg(particle, float(maps.gain))
    stated = found.axis_angle_error_deg
    return Judged(
        shape,
        seed,
        field_px,
        planted,
        errors(found, planted),
        np.inf if stated is None else stated,
        bounds,
        seconds,
    )


def table(done: Sequence[Judged]) -> str:
    """All plants."""
    return report.table(HEAD, (one.cells for one in done))


def summary(done: Sequence[Judged]) -> Iterator[str]:
    """One sentence per shape."""
    for shape in SHAPES:
        these = [one for one in done if one.shape == shape]
        left = np.abs([one.left for one in these])
        kept = 3 if shape == "sphere" else 4
        within = int((left[:, :kept] <= WANTED[:kept]).all(axis=1).sum())
        median, largest = (", ".join(f"{v:.2f}" for v in f(left, axis=0)[:kept]) for f in (np.median, np.max))
        names = "y, x, offset / px" if kept == 3 else "y, x, offset / px, angle / deg"
        limits = f"{WANTED[0]:g} px" if kept == 3 else f"{WANTED[0]:g} px and {WANTED[3]:g}°"
        rms = "" if kept == 3 else f"; angle {np.sqrt((left[:, 3] ** 2).mean()):.2f}° rms"
        yield f"{shape}: {within} of {len(these)} within {limits}; median {median}, largest {largest} ({names}){rms}."


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


def angle_bounds_deg(particle: PhantomSettings, counts_per_unit: float) -> tuple[float, float]:
    """Cramér-Rao bounds of the axis angle for the sum of the channels, the shifts of all views unknown too.

    First with the particle known, then with every voxel of it unknown and only its outline, a voxel wider, given. The
    second is a lower limit of that bound: the fit is not run to its end.
    What no change of shifts and voxels can imitate tells the angle: the rest of a weighted least-squares fit of the
    derivative of the counts with respect to the angle.
    """
    still = Alignment(np.zeros((len(TILTS), 2)))

    def counts(angle_deg: float = 0.0, dy: float = 0.0, dx: float = 0.0) -> F64:
        shifts = np.tile([dy, dx], (len(TILTS), 1))
        pose = replace(still, shifts_px=shifts, axis_angle_deg=angle_deg)
        return without_noise(particle, pose).sum(axis=0) * counts_per_unit  # (t, y, x)

    steps = {"angle_deg": 0.5, "dy": 0.25, "dx": 0.25}
    slopes = [(counts(**{name: h}) - counts(**{name: -h})) / (2 * h) for name, h in steps.items()]
    weight = 1 / np.sqrt(counts() + DARK)
    angle, shifts = (weight * slopes[0]).ravel(), np.zeros((2, len(TILTS), *weight.shape))
    for t in range(len(TILTS)):
        shifts[:, t, t] = [weight[t] * slope[t] for slope in slopes[1:]]
    shifts = shifts.reshape(2 * len(TILTS), -1)
    shifts /= np.linalg.norm(shifts, axis=1, keepdims=True)
    known = angle - shifts.T @ np.linalg.lstsq(shifts.T, angle, rcond=None)[0]
    rest = _unimitated(angle, shifts, weight, make_volume(particle).data.sum(axis=0))
    return float(np.linalg.norm(known) ** -1), float(np.linalg.norm(rest) ** -1)


def _unimitated(angle: F64, shifts: F64, weight: F64, volume: F32) -> F64:
    """What is left of the derivative by the angle (data,) beside shifts (2 t, data) and the voxels of an outline."""
    projector = SparseProjector(Geometry.of(volume.shape, TILTS))
    voxels = np.flatnonzero(binary_dilation(volume > 0.05 * volume.max(), np.ones((3, 3, 3))))
    count = len(shifts)

    def forwards(values: F64) -> F64:
        filled = np.zeros(volume.shape, np.float32)
        filled.flat[voxels] = values[count:]
        return (
            values[:count] @ shifts + (weight * projector(torch.from_numpy(filled[None]))[0].numpy()).ravel()
        )

    def backwards(data: F64) -> F64:
        seen = (weight * data.reshape(weight.shape)).astype(np.float32)
        back = projector.T(torch.from_numpy(seen[None]))[0].numpy()
        return np.concatenate([shifts @ data, back.flat[voxels]])

    shape = (angle.size, count + len(voxels))
    model = LinearOperator(shape, matvec=forwards, rmatvec=backwards, dtype=np.float64)
    return angle - forwards(lsqr(model, angle, iter_lim=STEPS)[0])


def random_particle(shape: str, field_px: int, random: np.random.Generator) -> PhantomSettings:
    """A particle of 36-44 % of the field, so that the planted displacements leave it just inside."""
    pair, solid = shape == "two particles", shape == "cube without a void"
    size = (0.36 if pair else 0.44) * field_px
    x, y, z = (float(random.uniform(-a, a)) for a in (20, 40, 20))
    place = 0.06 * size if pair else 0.12 * size
    return PhantomSettings.from_mapping(
        {
            "shape": "cube" if solid else shape,
            "field_voxels": field_px,
            "size_nm": size,
            "skin_nm": 1.5 if pair else 0.05 * size,
            "shell_nm": (0.15 if pair else 0.2) * size,
            "void_radius_nm": 0.0 if solid else (0.08 if pair else 0.12) * size,
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
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("plants", nargs="?", type=int, default=10, help="of each shape")
    parser.add_argument("first", nargs="?", type=int, default=0, help="seed")
    parser.add_argument("field", nargs="?", type=int, default=0, help="px; 0: 48, 56 and 64 by turns")
    parser.add_argument("--write", action="store_true", help="put the table into benchmarks/results.md")
    given = parser.parse_args()
    main(given.plants, given.first, given.field, write=given.write)
