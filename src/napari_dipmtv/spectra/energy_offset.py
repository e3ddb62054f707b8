"""Whole-channel alignment leaves parts of a channel: pixels become groups whose energy axis is exact."""

from __future__ import annotations

import json
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from napari_dipmtv.data import F32, F64, SpectrumImage

ENERGY_OFFSET = "energy_offset_ev"  # in the metadata of a prepared image: (y, x), what to add to its axis
_STEPS = 8  # groups per channel: offsets are right to 1/16 of a channel


def energy_offset_ev(image: SpectrumImage) -> F64:
    """What to add to the energy axis in each pixel (y, x): 0 unless `prepare` moved by whole channels."""
    grid = image.counts.shape[:2]
    offset = image.metadata.get(ENERGY_OFFSET, 0.0)
    if isinstance(offset, str):  # as a saved HyperSpy file gives it back
        offset = json.loads(offset)
    return np.broadcast_to(np.asarray(offset, dtype=np.float64), grid)


def offset_groups(offset_ev: F64, step_ev: float) -> Iterator[tuple[float, NDArray[np.intp]]]:
    """Give the pixels (p,) of like offset together, with their mean offset in eV."""
    nearest = np.rint(offset_ev / step_ev * _STEPS)
    for value in np.unique(nearest):
        pixels = np.flatnonzero(nearest == value)
        yield float(offset_ev[pixels].mean()), pixels


def centred(image: SpectrumImage) -> F32:
    """Interpolate the counts (y, x, e) to the common axis, for averages: neighbouring channels share noise.

    Cubic convolution (Keys, 1981), which unlike linear interpolation hardly blurs a sharp line.
    """
    offset = energy_offset_ev(image)
    if not offset.any():
        return image.counts
    t = -offset[..., None] / image.energy.step_ev  # the common axis lies so many channels further up
    whole = np.floor(t)
    t = t - whole
    weights = (
        ((-0.5 * t + 1.0) * t - 0.5) * t,
        (1.5 * t - 2.5) * t * t + 1.0,
        ((-1.5 * t + 2.0) * t + 0.5) * t,
        (0.5 * t - 0.5) * t * t,
    )
    size = image.counts.shape[2]
    moved = np.zeros(image.counts.shape, dtype=np.float32)
    for tap, weight in zip((-1, 0, 1, 2), weights, strict=True):
        index = np.clip(whole.astype(np.intp) + np.arange(size) + tap, 0, size - 1)
        moved += weight.astype(np.float32) * np.take_along_axis(image.counts, index, axis=2)
    return moved
