"""A segmented volume to particles like it whose every phase is known, in sizes and shapes that it might really have."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import affine_transform, distance_transform_edt, find_objects, gaussian_filter, laplace

from napari_dipmtv.data import F32, F64, Segmentation, Volume
from napari_dipmtv.errors import InputError, expected
from napari_dipmtv.inspect import measure
from napari_dipmtv.inspect.fractions import channel_of
from napari_dipmtv.inspect.matter import VACUUM, VOID
from napari_dipmtv.trust.holes import Hole, emptiest, holes_of
from napari_dipmtv.trust.level_sets import halved, layer_depths_px, level_sets

MARGIN_PX = 5  # around the matter: no boundary moves further than `FARTHEST_PX`
FARTHEST_PX = 4.0
CURVED = 24.0  # the mean over a voxel of what is curved, to second order
FLATTEST = 0.7  # the difference of two distances changes by 2 per voxel, by less at a ridge
STRAIN = 0.03  # standard deviation of the stretches and shears of a draw
GROWTH_PX = 0.3  # of its phases as wholes
WAVE_PX, WAVE_LENGTH_PX = 0.1, 4.0  # standard deviation and correlation length of its dents
GRAIN_PX = 2.0  # of density fluctuations: over about five voxels
GIVEN = ("voids", "void contrast")  # planted, not measured


@dataclass(frozen=True, slots=True, eq=False)
class Planted:
    """A particle of known phases.

    Attributes
    ----------
    volume : Volume
        (c, z, y, x), boundary voxels filled in part.
    phases : Segmentation
        The phase that fills most of each voxel.
    sizes_nm3 : mapping of str to float
        Volume of each phase but the vacuum, partial voxels counted as such.
    extent : float32 array (z, y, x)
        Share of each voxel around it that the particle takes, voids included.
    """

    volume: Volume
    phases: Segmentation
    sizes_nm3: dict[str, float]
    extent: F32

    def measures(self) -> dict[str, tuple[float, str]]:
        """Value and unit of each measure that a particle of known phases has; volumes by the filled shares.

        Skin and shell are as thick as even layers of their volumes would be.
        """
        found = {one.name: (one.value, one.unit) for one in measure(self.phases, self.volume)}
        sizes = self.sizes_nm3
        exact = {f"{name} volume": size for name, size in sizes.items()}
        exact["particle volume"] = sum(sizes.values())
        exact["void volume by missing mass"] = sizes.get(VOID, 0.0)
        exact["void equivalent diameter"] = (6 * sizes.get(VOID, 0.0) / np.pi) ** (1 / 3)
        ratio = next((name for name in found if " : " in name), None)
        if ratio is not None:
            over, under = (part.strip("()").split(" + ") for part in ratio.split(" : "))
            exact[ratio] = sum(sizes.get(n, 0.0) for n in over) / sum(sizes[n] for n in under)
        exact |= self._thicknesses()
        return {
            name: (exact.get(name, value), unit) for name, (value, unit) in found.items() if name not in GIVEN
        }

    def _thicknesses(self) -> dict[str, float]:
        voxel = self.phases.voxel_nm
        layers = [n for role in (" skin", " shell") for n in self.sizes_nm3 if n.endswith(role)]
        sizes = np.cumsum([self.sizes_nm3[name] / voxel**3 for name in layers])
        depths = [0.0, *layer_depths_px(self.extent, sizes.tolist())]
        return {
            f"{n} thickness": (b - a) * voxel for n, a, b in zip(layers, depths, depths[1:], strict=False)
        }


@dataclass(frozen=True, eq=False)
class Shape:
    """The phases of a segmentation as level sets.

    Every solid phase has a signed distance to its boundary, and each point belongs to the phase of the largest.
    Whatever is added to the distance of one phase lets it grow at the cost of all its neighbours, whichever encloses
    which. Voids are holes in what the solid phases make together.

    Attributes
    ----------
    phases : Segmentation
    channels : tuple of str
        Of the volumes to be made.
    distances : float32 array (p + 1, z, y, x)
        In voxels, positive inside, in the box around the matter; the vacuum comes first.
    """

    phases: Segmentation
    channels: tuple[str, ...]
    distances: F32

    @classmethod
    def of(cls, phases: Segmentation, channels: tuple[str, ...]) -> Shape:
        """Read the shape of a segmentation; raises `InputError` where it holds no matter."""
        shape = cls(phases, channels, np.zeros((0, 0, 0, 0), np.float32))
        if not shape.solid.any():
            wanted, advice = "some matter", "Lower the threshold of the surface"
            raise InputError(expected("phases", wanted, "vacuum only", advice))
        labels, void = phases.labels[shape.box], phases.mask(VOID)[shape.box]
        nearest = distance_transform_edt(void, return_distances=False, return_indices=True)
        values = [v for v, solid in zip(shape.values, shape.solid, strict=True) if solid]
        shares = np.stack([labels[tuple(nearest)] == v for v in values]).astype(np.float32)
        names = [name for name in shape.names if name != VOID]
        return cls(phases, channels, shape.with_holes(level_sets(shares, names), holes_of(void)))

    def with_holes(self, solid: F32, holes: tuple[Hole, ...]) -> F32:
        """Distances (p + 1, z, y, x) from those of vacuum and solid phases and the holes in them."""
        out = np.empty((len(self.names) + 1, *solid.shape[1:]), np.float32)
        out[0], out[1:][self.solid], out[1:][~self.solid] = (
            solid[0],
            solid[1:],
            emptiest(holes, solid.shape[1:]),
        )
        return out

    @cached_property
    def values(self) -> tuple[int, ...]:
        """Labels of the phases that occur, the vacuum left out, and of the voids, which the data may show later."""
        occurring = set(np.unique(self.phases.labels).tolist())
        named = self.phases.phases.items()
        return tuple(v for v, n in named if n != VACUUM and (n == VOID or v in occurring))

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Their names."""
        return tuple(self.phases.phases[v] for v in self.values)

    @cached_property
    def solid(self) -> NDArray[np.bool_]:
        """False (p,) for the phase of the voids."""
        return np.array([name != VOID for name in self.names], bool)

    @cached_property
    def materials(self) -> NDArray[np.intp]:
        """Material (p,) of each phase: those of one channel share one, voids have -1."""
        keys = [channel_of(name, self.channels) for name in self.names]
        own = [-1 if name == VOID else len(self.channels) + k if key is None else key
               for k, (name, key) in enumerate(zip(self.names, keys, strict=True))]  # fmt: skip
        order = {m: i for i, m in enumerate(sorted({m for m in own if m >= 0}))}
        return np.array([order.get(m, -1) for m in own], np.intp)

    @cached_property
    def box(self) -> tuple[slice, ...]:
        """Around the matter, with a margin."""
        around = find_objects((self.phases.labels > 0).astype(np.uint8))[0]
        return tuple(slice(max(0, s.start - MARGIN_PX), s.stop + MARGIN_PX) for s in around)

    def shares(self, distances: F32) -> F32:
        """Share (p, z, y, x) of each voxel of the box that each phase fills: half at equal distances.

        A voxel is divided between the two solid phases of the largest distances by a plane, and then by the boundary
        of a void. Across it the share rises over one voxel, which has the variance of the exact share however the
        plane lies; so differences of distances are taken in units of their own gradient.
        """
        solid, hollow = self.solid_shares(distances), self.hollow(distances)
        out = np.empty((len(self.names), *hollow.shape), np.float32)
        out[self.solid], out[~self.solid] = solid * (1 - hollow), hollow * solid.sum(axis=0)
        return out

    def solid_shares(self, distances: F32) -> F32:
        """Shares (p, z, y, x) of the solid phases, voids counted as what lies around them."""
        first, second, apart, width = self.rivals(distances)
        rest = np.clip(0.5 - apart / width, 0, None)
        whole = np.zeros((int(self.solid.sum()) + 1, *distances.shape[1:]), np.float32)
        np.put_along_axis(whole, first[None], (1 - rest)[None], axis=0)
        np.put_along_axis(whole, second[None], rest[None], axis=0)
        return whole[1:]

    def rivals(self, distances: F32) -> tuple[NDArray[np.intp], NDArray[np.intp], F32, F32]:
        """The two solid phases (from 1, 0 is vacuum) of the largest distances in every voxel, by how much they differ,
        and the change of that per voxel; (z, y, x)."""
        solid = self._solids(distances)
        first = solid.argmax(axis=0)
        best = solid.max(axis=0)
        others = solid.copy()
        np.put_along_axis(others, first[None], -np.inf, axis=0)
        second = others.argmax(axis=0)
        return first, second, best - others.max(axis=0), self._width(solid, first, second)

    def hollow(self, distances: F32) -> F32:
        """Share of each voxel (z, y, x) inside the boundary of a void."""
        if self.solid.all():
            return np.zeros(distances.shape[1:], np.float32)
        inside = distances[1:][~self.solid][0]
        inside = (
            inside + laplace(inside) / CURVED
        )  # a voxel cuts a cap off a ball: without this it is too large
        width = np.maximum(np.linalg.norm(np.gradient(inside), axis=0), FLATTEST)
        return np.asarray(np.clip(0.5 + inside / width, 0, 1), np.float32)

    def _solids(self, distances: F32) -> F32:
        solid: F32 = distances[np.concatenate([[True], self.solid])]
        return solid

    @staticmethod
    def _width(solid: F32, first: NDArray[np.intp], second: NDArray[np.intp]) -> F32:
        squares = np.zeros(first.shape, np.float32)
        for axis in (1, 2, 3):
            slope = np.gradient(solid, axis=axis)
            ours, theirs = (np.take_along_axis(slope, k[None], axis=0)[0] for k in (first, second))
            squares += (ours - theirs) ** 2
        width: F32 = np.maximum(np.sqrt(squares), FLATTEST)
        return width

    def by_material(self, shares: F32) -> F32:
        """Shares of the phases (..., p, z, y, x) added up to those of the materials (..., m, z, y, x)."""
        count = int(self.materials.max()) + 1
        parts = [shares[..., self.materials == m, :, :, :].sum(axis=-4) for m in range(count)]
        return np.stack(parts, axis=-4)

    def counted(self, distances: F32) -> F32:
        """Shares like `shares`, by the phases of eight points in each voxel: as sharp as a real particle."""
        fine = distances
        for axis in (1, 2, 3):
            fine = halved(fine, axis)
        phase = self._solids(fine).argmax(axis=0)
        places = np.flatnonzero(self.solid) + 1
        phase = np.concatenate([[0], places])[phase]
        for void in np.flatnonzero(~self.solid):
            phase[(phase > 0) & (fine[1 + void] > 0)] = 1 + void
        nz, ny, nx = distances.shape[1:]
        blocks = np.stack([phase == k for k in range(1, len(distances))]).reshape(-1, nz, 2, ny, 2, nx, 2)
        shares: F32 = blocks.mean(axis=(2, 4, 6), dtype=np.float32)
        return shares

    def planted(self, shares: F32, densities: F64) -> Planted:
        """Make the particle of these shares (p, z, y, x), its materials of the densities (m, c)."""
        voxel = self.phases.voxel_nm
        data = np.zeros((len(self.channels), *self.phases.labels.shape), np.float32)
        data[:, *self.box] = np.tensordot(densities.T, self.by_material(shares), axes=1)
        labels = np.zeros(self.phases.labels.shape, np.uint8)
        whole = np.concatenate([1 - shares.sum(axis=0, keepdims=True), shares])
        labels[self.box] = np.array((0, *self.values), np.uint8)[whole.argmax(axis=0)]
        sizes = shares.sum(axis=(1, 2, 3), dtype=np.float64) * voxel**3
        return Planted(
            Volume(data, self.channels, voxel),
            Segmentation(labels, self.phases.phases, voxel),
            dict(zip(self.names, sizes.tolist(), strict=True)),
            shares.sum(axis=0),
        )

    def deformed(self, random: np.random.Generator) -> F32:
        """Distances (p + 1, z, y, x) of a particle like it: stretched, sheared, grown and dented at random."""
        size = self.distances.shape[1:]
        matrix = np.eye(3) + STRAIN * random.standard_normal((3, 3))
        middle = (np.array(size) - 1) / 2
        out = np.empty_like(self.distances)
        for k, one in enumerate(self.distances):
            wave = gaussian_filter(random.standard_normal(size), WAVE_LENGTH_PX, mode="wrap")
            moved = affine_transform(one, matrix, middle - matrix @ middle, order=1, mode="nearest")
            out[k] = moved + WAVE_PX * wave / wave.std() + GROWTH_PX * random.standard_normal()
        return out

    def apart(self, distances: F32, other: Shape) -> F32:
        """How far given distances lie above those of another shape, in the box of this one; 0 where it has none."""
        apart = np.zeros_like(distances)
        low = [max(a.start, b.start) for a, b in zip(self.box, other.box, strict=True)]
        high = [min(a.start + n, b.start + m) for a, n, b, m in
                zip(self.box, distances.shape[1:], other.box, other.distances.shape[1:], strict=True)]  # fmt: skip
        if any(a >= b for a, b in zip(low, high, strict=True)):
            return apart
        ours, theirs = (
            tuple(slice(a - s.start, b - s.start) for a, b, s in zip(low, high, box, strict=True))
            for box in (self.box, other.box)
        )
        places = {name: k for k, name in enumerate((VACUUM, *other.names))}
        for k, name in enumerate((VACUUM, *self.names)):
            if name in places:
                apart[k][ours] = distances[k][ours] - other.distances[places[name]][theirs]
        return np.clip(apart, -FARTHEST_PX, FARTHEST_PX)


def grain_field(shape: tuple[int, ...], random: np.random.Generator) -> F32:
    """A random field (z, y, x) of standard deviation 1, smooth over `GRAIN_PX`."""
    field = gaussian_filter(random.standard_normal(shape), GRAIN_PX, mode="wrap")
    return np.asarray(field / field.std(), dtype=np.float32)
