"""Path lengths through the oxides to expected dual EELS spectra, by Fourier transforms along the energy.

With ``s(E)`` the single-scattering probability of a pixel, the low loss is ``Z ⊗ F⁻¹ exp(ŝ - ŝ(0))``: the
Poisson series of no, one, two, ... losses in closed form (R. F. Egerton, *Electron Energy-Loss Spectroscopy
in the Electron Microscope*, 3rd ed., section 4.1). The core loss is its single scattering convolved with
that low loss.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from napari_dipmtv.data import F64, EnergyAxis
from napari_dipmtv.phantom import eels
from napari_dipmtv.settings.simulation import SimulationSettings

C128 = NDArray[np.complex128]
PERIOD_EV = 512.0  # losses above it wrap round; plasmon and M tails are below 1e-5 per eV there
LEAD_EV = 150.0  # core loss computed below the first channel; its tail scatters up into the recorded range


@dataclass(frozen=True, slots=True, eq=False)
class Scattering:
    """Everything about the spectra that does not depend on the pixel.

    Attributes
    ----------
    low, core : EnergyAxis
        Recorded channels, each a whole number of fine ones.
    step_ev, size : float, int
        The fine axis of the transforms, at least three channels per width of the zero-loss peak.
    frequencies : (f,)
        Of the energy axis, in 1/eV.
    zero_loss : (f,)
        Transform of the zero-loss peak.
    single_low, single_core : (2, f)
        Transforms of the single scattering per nm of each oxide, the core loss on an axis from
        ``core_origin_ev``.
    fe_m, fe_l : (2, f)
        Transforms of the edges alone, per Fe atom and nm².
    """

    low: EnergyAxis
    core: EnergyAxis
    step_ev: float
    size: int
    frequencies: F64
    zero_loss: F64
    core_origin_ev: float
    single_low: C128
    single_core: C128
    fe_m: C128
    fe_l: C128

    @classmethod
    def of(cls, settings: SimulationSettings) -> Self:
        """Sample the shapes once for all pixels."""
        step = settings.dispersion_ev / np.ceil(3 * settings.dispersion_ev / settings.zlp_fwhm_ev)
        period = max(PERIOD_EV, settings.core_stop_ev - settings.core_start_ev + LEAD_EV + 60)
        size = int(fft.next_fast_len(int(np.ceil(period / step)), real=True))
        loss = np.arange(size, dtype=np.float64) * step
        origin = settings.core_start_ev - LEAD_EV
        density = (settings.phantom.feo_density, settings.phantom.fe3o4_density)
        fe_m = np.array([eels.m_edge(oxide, loss) for oxide in eels.OXIDES])
        fe_l = np.array([eels.l_edge(oxide, origin + loss) for oxide in eels.OXIDES])
        pairs = list(zip(eels.OXIDES, density, strict=True))
        low = [
            eels.plasmon(o, loss) / o.mean_free_path_nm + n * m for (o, n), m in zip(pairs, fe_m, strict=True)
        ]
        core = [
            eels.background(origin + loss) + n * (line + eels.o_k_edge(o, origin + loss))
            for (o, n), line in zip(pairs, fe_l, strict=True)
        ]
        frequencies = fft.rfftfreq(size, step)
        sigma = settings.zlp_fwhm_ev / np.sqrt(8 * np.log(2))
        spectra = [np.asarray(fft.rfft(np.asarray(shapes)) * step) for shapes in (low, core, fe_m, fe_l)]
        zero_loss = np.exp(-2 * (np.pi * sigma * frequencies) ** 2)
        return cls(*_axes(settings), float(step), size, frequencies, zero_loss, origin, *spectra)

    def low_loss(self, paths_nm: F64, shift_ev: F64) -> F64:
        """Expected low loss per electron (pixels, channels), for paths (pixels, 2) and zero-loss shifts."""
        return self._recorded(self._plural(paths_nm), self.low, -shift_ev)

    def core_loss(self, paths_nm: F64, shift_ev: F64) -> F64:
        """Expected core loss per electron, (pixels, channels), likewise."""
        spectrum = (paths_nm @ self.single_core) * self._plural(paths_nm)
        return self._recorded(spectrum, self.core, -self.core_origin_ev - shift_ev)

    def m_references(self) -> F64:
        """Fe-M of one Fe atom per nm² of each oxide, per electron, single scattering only, (2, channels)."""
        return self._recorded(self.fe_m * self.zero_loss, self.low, np.zeros(1))

    def l_references(self) -> F64:
        """Fe-L likewise."""
        return self._recorded(self.fe_l * self.zero_loss, self.core, np.array([-self.core_origin_ev]))

    def _plural(self, paths_nm: F64) -> C128:
        exponent = paths_nm @ (self.single_low - self.single_low[:, :1])
        return np.asarray(np.exp(exponent) * self.zero_loss)

    def _recorded(self, spectrum: C128, axis: EnergyAxis, offset_ev: F64) -> F64:
        """Probability per channel of ``axis``, which starts at ``start_ev + offset_ev`` on the fine axis.

        Rounding below zero is cut off.
        """
        binning = round(axis.step_ev / self.step_ev)
        first = axis.start_ev + offset_ev - self.step_ev * (binning - 1) / 2
        phase = np.exp(2j * np.pi * first[:, None] * self.frequencies)
        fine = fft.irfft(spectrum * phase, self.size)[:, : axis.size * binning]
        return np.asarray(np.maximum(fine.reshape(-1, axis.size, binning).sum(axis=-1), 0.0))


def _axes(settings: SimulationSettings) -> tuple[EnergyAxis, EnergyAxis]:
    axes = []
    for start, stop, step in (
        (settings.low_start_ev, settings.low_stop_ev, settings.dispersion_ev),
        (settings.core_start_ev, settings.core_stop_ev, settings.dispersion_ev * settings.core_binning),
    ):
        axes.append(EnergyAxis(start, step, int(np.floor((stop - start) / step + 1e-9)) + 1))
    return axes[0], axes[1]
