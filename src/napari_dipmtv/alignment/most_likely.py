"""An aligned one-channel series to the volume most likely for counts: the quick reconstruction of the search."""

from __future__ import annotations

import numpy as np
import torch

from napari_dipmtv.data import TiltSeries, Volume
from napari_dipmtv.projection.geometry import Geometry
from napari_dipmtv.projection.sparse import SparseProjector

ITERATIONS = 100  # nearly converged: what is not fitted yet would be mistaken for a displacement
BACKGROUND = 0.005  # of the brightest pixel, added to data and model: dark noise, and no logarithm of nothing


class MostLikely:
    """Expectation maximisation for Poisson data, L. A. Shepp and Y. Vardi, IEEE Trans. Med. Imaging 1, 113 (1982).

    ``x <- x P'((y + b) / (P x + b)) / P'1``. Against least squares it also hears the vacuum: where nothing was
    counted nothing may be, which holds the outline of the particle and with it the angle of the tilt axis. The
    projector of the last geometry is kept. Negative data (a subtracted background) count as none.

    Parameters
    ----------
    device : torch.device
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._projector: SparseProjector | None = None

    def __call__(self, series: TiltSeries) -> Volume:
        """Reconstruct, as thick as wide; masked pixels have no weight."""
        geometry = Geometry.of_series(series)
        if self._projector is None or self._projector.geometry != geometry:
            self._projector = SparseProjector(geometry, self._device)
        A = self._projector
        y = torch.from_numpy(series.data).to(self._device).clamp(min=0)  # (1, t, y, x)
        valid = torch.ones_like(y)
        if series.valid is not None:
            valid = torch.from_numpy(series.valid[None].astype(np.float32)).to(self._device)
        background = BACKGROUND * y.max().clamp(min=1e-30)
        wanted, weight = valid * (y + background), A.T(valid).clamp(min=1e-3)
        x = torch.full((1, *A.volume_shape), float(y.mean()) / geometry.volume_shape[0], device=self._device)
        for _ in range(ITERATIONS):
            x *= A.T(wanted / (A(x) + background)) / weight
        return Volume(x.cpu().numpy(), series.channels, series.pixel_nm)
