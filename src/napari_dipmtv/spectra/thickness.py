"""Low-loss spectra become the thickness in inelastic mean free paths, with its error."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from napari_dipmtv.data import F32, F64, SpectrumSeries
from napari_dipmtv.spectra.plural import zero_loss_counts


@dataclass(frozen=True, slots=True, eq=False)
class Thickness:
    """Maps (t, y, x) of t/λ and its standard deviation; NaN where a pixel is unusable."""

    t_over_lambda: F32
    error: F32


def thickness(series: SpectrumSeries) -> Thickness:
    """Measure ``t/λ = ln(I_t / I_0)`` of every pixel of a prepared series.

    ``I_0`` are the electrons of the zero-loss peak, ``I_t`` all electrons of the low loss: what lost more energy
    than the axis holds is missing (below 1 % up to 100 eV for plasmons). Losses below the width of the peak
    count as none.

    References
    ----------
    Egerton, Electron Energy-Loss Spectroscopy in the Electron Microscope (2011), section 5.1.
    """
    maps = [_view(pair.low_loss.counts, zero_loss_counts(pair.low_loss)) for pair in series.tilts]
    return Thickness(*(np.stack(part).astype(np.float32) for part in zip(*maps, strict=True)))


def _view(counts: F32, zero_loss: F64) -> tuple[F64, F64]:
    """t/λ (y, x) and its error by propagation of the Poisson noise of lost and unlost electrons."""
    zero_loss = np.where(zero_loss > 0, zero_loss, np.nan)
    lost = np.maximum(counts.sum(axis=2, dtype=np.float64) - zero_loss, 0.0)
    return np.log1p(lost / zero_loss), np.sqrt(lost / (zero_loss + lost) / zero_loss)
