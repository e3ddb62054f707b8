"""A segmented volume to particles like it whose every phase is known, in sizes and shapes that it might really have."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import affine_transform, distance_transform_edt, gaussian_filter

from napari_dipmtv.data import F32, F64, Segmentation, Volume
from napari_dipmtv.errors import InputError, expected
from napari_dipmtv.inspect.fractions import channel_of
from napari_dipmtv.inspect.matter import VACUUM, VOID

SMOOTH_PX = 0.7  # the noise of a segmented boundary is not planted
STRAIN = 0.03  # standard deviation of the stretches and shears
WAVE_PX, WAVE_LENGTH_PX = 0.25, 3.0  # standard deviation and correlation length of the dents of a boundary
SIZE_PASSES = 8  # Newton steps to the wanted volumes; each leaves a tenth or so of the error
FARTHEST_PX = 4.0  # no boundary moves further


@dataclass(frozen=True, slots=True, eq=False)
class Planted:
    """A particle of known phases.

    Attributes
    ----------
    volume : Volume
        (c, z, y, x), boundary voxels filled in part.
    phases : Segmentation
        The phase that fills most of each voxel.
    sizes : float64 array (p,)
        Volume of each phase but the vacuum, in voxels, partial ones counted as such.
    """

    volume: Volume
    phases: Segmentation
    sizes: F64


class Plausible:
    """Draws particles like a segmented one.

    Every phase has a signed distance to its boundary. Adding a constant to one of them lets that phase grow at the cost
    of all its neighbours, so the volumes of all phases can be chosen, whatever encloses what; a smooth random field in
    its place makes dents, a linear map stretches and shears. Densities are those that keep the mass of each channel,
    which the projections fix, and which all phases of one channel share.

    Parameters
    ----------
    volume : Volume
        (c, z, y, x)
    phases : Segmentation
        Of this volume.

    Raises
    ------
    InputError
        Where nothing but vacuum is segmented.
    """

    def __init__(self, volume: Volume, phases: Segmentation) -> None:
        self.volume, self.phases = volume, phases
        there = [v for v, n in phases.phases.items() if n != VACUUM and (phases.labels == v).any()]
        if not there:
            raise InputError(
                expected("phases", "some matter", "vacuum only", "Lower the threshold of the surface")
            )
        self.values = (0, *there)
        self.names = tuple(phases.phases[v] for v in there)
        self.sizes = np.array([(phases.labels == v).sum() for v in there], np.float64)
        self._distances = np.stack([_signed(phases.labels == v) for v in self.values])  # (p + 1, z, y, x)
        self._channels = [channel_of(name, volume.channels) for name in self.names]

    def draw(self, sizes: F64, random: np.random.Generator | None) -> Planted:
        """Plant a particle with these volumes (p,) in voxels; without random numbers, one of the same shape."""
        distances = self._distances if random is None else _deformed(self._distances, random)
        moved, shares = np.zeros(len(self.values)), _shares(distances)
        for _ in range(SIZE_PASSES):
            now = shares[1:].sum(axis=(1, 2, 3), dtype=np.float64)
            areas = 2 * np.maximum((shares[1:] * (1 - shares[1:])).sum(axis=(1, 2, 3)) * 3, 1.0)
            moved[1:] = np.clip(moved[1:] + 2 * (sizes - now) / areas, -FARTHEST_PX, FARTHEST_PX)
            shares = _shares(distances + moved.astype(np.float32)[:, None, None, None])
        labels = np.array(self.values, np.uint8)[shares.argmax(axis=0)]
        return Planted(
            self.volume.replace(data=self._filled(shares[1:])),
            Segmentation(labels, self.phases.phases, self.phases.voxel_nm),
            shares[1:].sum(axis=(1, 2, 3), dtype=np.float64),
        )

    def _filled(self, shares: F32) -> F32:
        """Densities (c, z, y, x) from the shares of the phases (p, z, y, x)."""
        data = np.zeros_like(self.volume.data)
        positive = np.clip(self.volume.data, 0, None)
        for c, channel in enumerate(positive):
            of_channel = shares[[k for k, made_by in enumerate(self._channels) if made_by == c]].sum(axis=0)
            held = float(of_channel.sum(dtype=np.float64))
            if held > 0:
                data[c] = of_channel * np.float32(channel.sum(dtype=np.float64) / held)
        for k, (name, made_by) in enumerate(zip(self.names, self._channels, strict=True)):
            if made_by is None and name != VOID:
                own = np.median(positive[:, self.phases.labels == self.values[k + 1]], axis=1)
                data += shares[k] * own[:, None, None, None]
        return data


def _signed(mask: np.ndarray) -> F32:
    """Distance from the boundary (z, y, x) in voxels, positive inside."""
    inside = np.maximum(distance_transform_edt(mask) - 0.5, 0)
    outside = np.maximum(distance_transform_edt(~mask) - 0.5, 0)
    signed: F32 = gaussian_filter((inside - outside).astype(np.float32), SMOOTH_PX)
    return signed


def _shares(distances: F32) -> F32:
    """Share (p, z, y, x) of each voxel that each phase fills: half at equal distances, all of it half a voxel inside."""
    order = np.sort(distances, axis=0)
    best, second = order[-1], order[-2]
    others = np.where(distances == best, second, best)
    share = np.clip(0.5 + (distances - others) / 2, 0, 1)
    shares: F32 = (share / share.sum(axis=0)).astype(np.float32)
    return shares


def _deformed(distances: F32, random: np.random.Generator) -> F32:
    """Stretched, sheared and dented."""
    shape = distances.shape[1:]
    matrix = np.eye(3) + STRAIN * random.standard_normal((3, 3))
    middle = (np.array(shape) - 1) / 2
    out = np.empty_like(distances)
    for k, one in enumerate(distances):
        wave = gaussian_filter(random.standard_normal(shape), WAVE_LENGTH_PX, mode="wrap")
        moved = affine_transform(one, matrix, middle - matrix @ middle, order=1, mode="nearest")
        out[k] = moved + WAVE_PX * wave / wave.std()
    return out
