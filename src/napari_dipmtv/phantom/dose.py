"""Clean projections and spectra to what a detector counts: Poisson noise, gain, read-out noise, spikes."""

from __future__ import annotations

import numpy as np

from napari_dipmtv.data import F32, F64, TiltSeries, Volume
from napari_dipmtv.errors import InputError, expected


def count_series(
    volume: Volume,
    tilts_deg: tuple[float, ...],
    *,
    relative_noise: float | None = None,
    counts_per_unit: float | tuple[float, ...] | None = None,
    seed: int = 0,
) -> TiltSeries:
    """Project a volume and count it: an aligned series of Poisson maps, given in the units of the projection.

    Parameters
    ----------
    volume : Volume
        Not negative.
    tilts_deg : sequence of float
    relative_noise : float, optional
        Wanted ``‖noisy - clean‖ / ‖clean‖`` over all channels and views (0.27 is the reference cube).
    counts_per_unit : float or tuple of float, optional
        Counts per unit of the projection (voxel value x pixels), one number or one per view: unequal doses. Give
        either this or ``relative_noise``.
    seed : int

    Returns
    -------
    TiltSeries
        ``data * gain`` are whole counts.

    Raises
    ------
    InputError
        Unless exactly one positive noise level is given and the volume holds something.
    """
    given = [value for value in (relative_noise, counts_per_unit) if value is not None]
    if len(given) != 1 or not np.min(given[0]) > 0:
        raise InputError(
            expected(
                "noise level",
                "a positive relative_noise or counts_per_unit",
                given,
                "Give exactly one of them",
            )
        )
    clean = project(volume, tilts_deg)
    if not clean.sum() > 0:
        raise InputError(
            expected("volume", "positive values in view", "an empty projection", "Check the volume")
        )
    per_unit = counts_per_unit
    if relative_noise is not None:  # the variance of counts / per_unit is clean / per_unit
        per_unit = float(clean.sum() / (relative_noise**2 * (clean**2).sum()))
    each = np.reshape(np.asarray(per_unit), (-1, 1, 1))  # (1 or t, 1, 1)
    counts = np.random.default_rng(seed).poisson(clean * each)
    return TiltSeries(
        (counts / each).astype(np.float32),
        volume.channels,
        tuple(tilts_deg),
        volume.voxel_nm,
        counts_per_unit=per_unit,
    )


def project(volume: Volume, tilts_deg: tuple[float, ...]) -> F64:
    """Noise-free projections (c, t, y, x) of a volume, in voxel value x pixels."""
    import torch

    from napari_dipmtv.projection.geometry import Geometry
    from napari_dipmtv.projection.sparse import SparseProjector

    shape = volume.data.shape
    projector = SparseProjector(
        Geometry.of((shape[1], shape[2], shape[3]), tuple(tilts_deg)), dtype=torch.float64
    )
    clean = projector(torch.from_numpy(volume.data.astype(np.float64))).numpy()
    return np.asarray(np.maximum(clean, 0.0))


def detect(
    electrons: F64,
    random: np.random.Generator,
    *,
    gain: float,
    readout_counts: float,
    spikes_per_million: float,
    spike_counts: float,
) -> F32:
    """Draw what the detector shows for expected electrons per channel of any shape.

    Returns
    -------
    float32 array
        ``gain * Poisson + read-out noise + spikes``; read-out noise makes empty channels scatter about 0.
    """
    counts = random.poisson(electrons).astype(np.float32)
    counts *= np.float32(gain)
    if readout_counts > 0:
        counts += random.standard_normal(counts.shape, dtype=np.float32) * np.float32(readout_counts)
    hits = random.poisson(counts.size * spikes_per_million / 1e6)
    if hits:
        where = random.choice(counts.size, size=min(hits, counts.size), replace=False)
        counts.flat[where] += random.exponential(spike_counts, size=len(where)).astype(np.float32)
    return counts
