"""A lazy array in the order of its file to counts (y, x, e), cropped and binned while it is read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from napari_dipmtv.data import F32, EnergyAxis
from napari_dipmtv.errors import InputError, expected

_BLOCK_BYTES = 64 * 1024**2


@dataclass(frozen=True, slots=True)
class Part:
    """How much of a spectrum image to read; counts are added up, so that they stay counts.

    Attributes
    ----------
    bin_pixels, bin_energy : int
        So many pixels along y and x, so many channels, become one; what is left over at the end is dropped.
    energy_ev : (low, high), optional
        Only channels in this range.
    """

    bin_pixels: int = 1
    bin_energy: int = 1
    energy_ev: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        if min(self.bin_pixels, self.bin_energy) < 1:
            raise InputError(expected("binning", "1 or more", self, "Give whole numbers from 1 on"))

    def energy(self, axis: EnergyAxis) -> EnergyAxis:
        """Energies of the channels that are kept; the energy of a binned channel is the mean of its own."""
        window = self._window(axis)
        size = (window.stop - window.start) // self.bin_energy
        middle = window.start + (self.bin_energy - 1) / 2
        return EnergyAxis(axis.start_ev + axis.step_ev * middle, axis.step_ev * self.bin_energy, size)

    def shape(self, shape: tuple[int, int, int], axis: EnergyAxis) -> tuple[int, int, int]:
        """Shape (y, x, e) of what is kept."""
        ny, nx, _ = shape
        if min(ny, nx) < self.bin_pixels:
            raise InputError(expected("pixel binning", f"at most {min(ny, nx)}", self.bin_pixels, "Bin less"))
        return ny // self.bin_pixels, nx // self.bin_pixels, self.energy(axis).size

    def read(self, source: Any, order: tuple[int, int, int], axis: EnergyAxis, descending: bool) -> F32:
        """Read the counts (y, x, e) with ascending energies, a few rows of the file at a time.

        Parameters
        ----------
        source : array or dask array
            In the order of the file.
        order : tuple of int
            Its axes that are y, x and e.
        axis : EnergyAxis
            Ascending.
        descending : bool
            The energies of the file run downwards.
        """
        y, x, e = order
        full = (int(source.shape[y]), int(source.shape[x]), int(source.shape[e]))
        counts = np.zeros(self.shape(full, axis), np.float32)
        window = self._window(axis)
        if descending:
            window = slice(full[2] - window.stop, full[2] - window.start)
        for rows in _blocks(source, y):
            index: list[slice] = [slice(None)] * 3
            index[y], index[e] = rows, window
            block = np.asarray(source[tuple(index)]).transpose(order)
            self._add(counts, block[..., ::-1] if descending else block, rows.start)
        return counts

    def _add(self, counts: F32, block: Any, first_row: int) -> None:
        ny, nx, ne = counts.shape
        b, c = self.bin_pixels, self.bin_energy
        for row, spectra in enumerate(block, start=first_row):
            if row // b < ny:
                kept = spectra[: nx * b, : ne * c].reshape(nx, b, ne, c)
                counts[row // b] += kept.sum(axis=(1, 3), dtype=np.float32)

    def _window(self, axis: EnergyAxis) -> slice:
        window = slice(0, axis.size) if self.energy_ev is None else axis.window(*self.energy_ev)
        if window.stop - window.start < self.bin_energy:
            raise InputError(
                expected(
                    "energy binning", f"at most {window.stop - window.start}", self.bin_energy, "Bin less"
                )
            )
        return window


WHOLE = Part()


def _blocks(source: Any, y: int) -> Iterator[slice]:
    """Slices of rows of about 64 MB; a chunk of a dask array is never read twice."""
    ny = int(source.shape[y])
    chunks = source.chunks[y] if hasattr(source, "dask") else (1,) * ny
    row_bytes = max(1, int(np.prod(source.shape, dtype=np.int64)) * source.dtype.itemsize // ny)
    start = stop = 0
    for chunk in chunks:
        if stop > start and (stop + chunk - start) * row_bytes > _BLOCK_BYTES:
            yield slice(start, stop)
            start = stop
        stop += chunk
    yield slice(start, stop)
