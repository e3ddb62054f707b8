"""Low-loss spectra of all pixels become the plane that their M edges span."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter

from napari_dipmtv.data import F64, EnergyAxis, ReferenceSpectrum, SpectrumImage, SpectrumSeries
from napari_dipmtv.errors import InputError, expected
from napari_dipmtv.settings.spectra import BackgroundModel, ReferenceSettings
from napari_dipmtv.spectra.background import background_basis, exponents_around, fit_power_law
from napari_dipmtv.spectra.energy_offset import centred
from napari_dipmtv.spectra.plural import plural_scattering
from napari_dipmtv.spectra.references import MReferences, total_counts
from napari_dipmtv.spectra.regression import edge_significance, edges_of

_SMOOTH_PX = 1.5
_CERTAIN = 5.0  # standard deviations: no particle, no references


@dataclass(frozen=True, slots=True, eq=False)
class EdgePlane:
    """What M edges look like: ``edges`` (n, e), the mean first, then the directions in which they differ.

    Attributes
    ----------
    sigma : float array (e,)
        Weight curve of the fit window, the square root of the mean spectrum.
    strength : float
        Variance of the last direction over that of the tenth, which is noise.
    """

    edges: F64
    sigma: F64
    axis: EnergyAxis
    exponents: tuple[float, ...]
    window_ev: tuple[float, float]
    strength: float
    background: BackgroundModel

    def coordinates(self, spectrum: F64) -> F64:
        """Give how much of each edge (n,) a low-loss spectrum on the window holds, beside its background."""
        behind, _ = background_basis(self.background, self.axis.values, self.exponents)
        basis = np.vstack([self.edges, behind]) / self.sigma
        return np.asarray(np.linalg.lstsq(basis.T, spectrum / self.sigma, rcond=None)[0][: len(self.edges)])

    def references(self, names: tuple[str, ...], coordinates: F64, sources: tuple[str, ...]) -> MReferences:
        """Give the edges at coordinates (c, n), each with an area of 1, as references without metal content."""
        edges = coordinates @ self.edges
        edges = edges / np.maximum(np.abs(edges).sum(axis=1, keepdims=True), 1e-300)
        spectra = tuple(
            ReferenceSpectrum(name, edge, self.axis, source)
            for name, edge, source in zip(names, edges, sources, strict=True)
        )
        return MReferences(spectra, self.window_ev, self.exponents, 1.0, background=self.background)


def edge_plane(series: SpectrumSeries, settings: ReferenceSettings, dimensions: int) -> EdgePlane:
    """Find the mean M edge and the directions in which the M edges of all pixels differ.

    Poisson-weighted SVD of the low loss, smoothed over a few pixels, after the background and the mean edge
    are projected out; each direction is brought to a quarter of the height of the mean edge.
    """
    energy = series.tilts[0].low_loss.energy
    window = energy.window(settings.low_low_ev, settings.low_high_ev)
    images = [single_scattering(pair.low_loss, window.stop, settings) for pair in series.tilts]
    spectrum = total_counts(images)
    counted = total_counts([pair.low_loss for pair in series.tilts])[window]
    exponent = float(
        fit_power_law(spectrum[None], images[0].energy, settings.low_low_ev, settings.low_edge_ev)[1][0]
    )
    exponents = exponents_around(exponent, settings)
    e, total = energy.values[window], spectrum[window]
    sigma = np.sqrt(np.maximum(counted, 1e-3 * counted.mean()))
    mean_edge = edges_of(total, e, exponents, settings.low_edge_ev)
    _check_stands_out(edge_significance(counted, mean_edge, e, exponents, settings.low_edge_ev), settings)
    mean_edge /= max(float(np.abs(mean_edge).sum()), 1e-300)
    behind, _ = background_basis(settings.background, e, exponents)
    known = np.vstack([behind, mean_edge]) / sigma
    values, vectors = np.linalg.eigh(_scatter(images, window, known, sigma))
    others = (vectors[:, ::-1].T * sigma)[: dimensions - 1]
    others = np.where(e < settings.low_edge_ev, 0.0, others)
    others *= 0.25 * mean_edge.max() / np.maximum(np.abs(others).max(axis=1, keepdims=True), 1e-300)
    return EdgePlane(
        edges=np.vstack([mean_edge, others]),
        sigma=sigma,
        axis=EnergyAxis(float(e[0]), energy.step_ev, e.size),
        exponents=exponents,
        window_ev=(settings.low_low_ev, settings.low_high_ev),
        strength=float(values[-max(dimensions - 1, 1)] / max(float(values[-10]), 1e-300)),
        background=settings.background,
    )


def _check_stands_out(significance: float, settings: ReferenceSettings) -> None:
    if significance < _CERTAIN:
        raise InputError(
            expected(
                "low-loss edge",
                f"one above {settings.low_edge_ev:g} eV that stands {_CERTAIN:g} sigma out of its background",
                f"{significance:.1f}",
                "Check the windows and the energy axis, or use more pixels",
            )
        )


def single_scattering(low_loss: SpectrumImage, stop: int, settings: ReferenceSettings) -> SpectrumImage:
    """Give the low loss up to a channel without plural scattering, or as it is where that is switched off."""
    axis = EnergyAxis(low_loss.energy.start_ev, low_loss.energy.step_ev, stop)
    counts = centred(low_loss)[..., :stop]
    if settings.plural_scattering:
        counts = counts - plural_scattering(low_loss, stop).astype(np.float32)
    return low_loss.replace(counts=counts, energy=axis)


def _scatter(images: list[SpectrumImage], window: slice, known: F64, sigma: F64) -> F64:
    """Sum the outer products (e, e) of what the known shapes leave of the smoothed, weighted spectra."""
    size = sigma.size
    projector = np.eye(size) - np.linalg.pinv(known) @ known
    scatter = np.zeros((size, size))
    for image in images:
        counts = np.nan_to_num(image.counts[..., window].astype(np.float64))
        smooth = gaussian_filter(counts, (_SMOOTH_PX, _SMOOTH_PX, 0)).reshape(-1, size)
        left = (smooth / sigma / np.sqrt(np.maximum(smooth.sum(axis=1, keepdims=True), 0.0) + 1)) @ projector
        scatter += left.T @ left
    return scatter
