"""Spectrum images become their singular spectra, a scree, and copies with less noise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from napari_dipmtv.data import F64, DualSpectrumImage, SpectrumImage, SpectrumSeries
from napari_dipmtv.errors import InputError, expected

DENOISED = "denoised_components"  # in the metadata of a denoised image
_SHOWN = 30


@dataclass(frozen=True, slots=True, eq=False)
class Scree:
    """How much each component explains: variances (k,) after Poisson weighting, in units of pure noise.

    Without structure every variance would lie below ``noise_edge`` (the largest that noise alone reaches,
    Marchenko and Pastur); ``significant`` counts those above.
    """

    variances: F64
    noise_edge: float

    @property
    def significant(self) -> int:
        """Number of components that stand out of the noise."""
        return int((self.variances > self.noise_edge).sum())


@dataclass(frozen=True, slots=True, eq=False)
class Denoised:
    """A series with fewer components than counted, and what was kept. The raw series stays what it is."""

    series: SpectrumSeries
    low_loss: Scree
    core_loss: Scree


def denoise(series: SpectrumSeries, components: int) -> Denoised:
    """Keep the strongest singular components of the low loss and of the core loss, over all tilts together.

    For looking at spectra and maps. Noise is then shared between pixels: error bars and chi-square of what is
    fitted to the result do not hold, and neither does validation by counts. So unmix the raw series.

    Parameters
    ----------
    series : SpectrumSeries
        Prepared; unusable pixels stay NaN.
    components : int
        See the `Scree`: fewer than stand out of the noise lose structure.

    References
    ----------
    Keenan & Kotula, Surf. Interface Anal. 36, 203 (2004).
    """
    low, low_scree = _denoised([pair.low_loss for pair in series.tilts], components)
    core, core_scree = _denoised([pair.core_loss for pair in series.tilts], components)
    pairs = tuple(DualSpectrumImage(*pair) for pair in zip(low, core, strict=True))
    return Denoised(SpectrumSeries(pairs), low_scree, core_scree)


def singular_spectra(images: Sequence[NDArray[np.floating]], components: int) -> tuple[F64, Scree]:
    """Find the strongest components (k, e) of Poisson spectra (y, x, e) of one or more images.

    Each channel and each pixel is divided by the root of its mean, so that noise has one variance everywhere
    (Keenan & Kotula); the spectra come back in counts.
    """
    vectors, scale, scree = _singular(images, components)
    return vectors * scale, scree


def _singular(images: Sequence[NDArray[np.floating]], components: int) -> tuple[F64, F64, Scree]:
    size = images[0].shape[-1]
    if not 0 < components < size:
        raise InputError(
            expected("components", f"1 to {size - 1}", components, "Keep as many as stand out of the noise")
        )
    pixels = [_usable(image) for image in images]
    count = sum(len(p) for p in pixels)
    mean = np.sum([p.sum(axis=0) for p in pixels], axis=0) / max(count, 1)
    if not (count > size and mean.sum() > 0):
        raise InputError(
            expected("spectra to decompose", f"more than {size} usable pixels with counts", count, "Use more")
        )
    scale = np.sqrt(np.maximum(mean, 1e-3 * mean.mean()))
    gram = np.zeros((size, size))
    for p in pixels:
        weighted = p / scale / np.sqrt(_brightness(p, mean))[:, None]
        gram += weighted.T @ weighted
    values, vectors = np.linalg.eigh(gram / count)
    edge = float((1 + np.sqrt(size / count)) ** 2)
    return vectors[:, ::-1][:, :components].T, scale, Scree(values[::-1][:_SHOWN].copy(), edge)


def _usable(image: NDArray[np.floating]) -> F64:
    flat = image.reshape(-1, image.shape[-1]).astype(np.float64)
    return np.asarray(flat[np.isfinite(flat).all(axis=1)])


def _brightness(pixels: F64, mean: F64) -> F64:
    """Counts of each pixel over those of the mean pixel; the empty ones count as a tenth of it."""
    return np.asarray(np.maximum(pixels.sum(axis=1) / mean.sum(), 0.1))


def _denoised(images: list[SpectrumImage], components: int) -> tuple[list[SpectrumImage], Scree]:
    vectors, scale, scree = _singular([image.counts for image in images], components)
    forward, back = vectors.T / scale[:, None], vectors * scale
    out = []
    for image in images:
        counts = (image.counts @ forward.astype(np.float32)) @ back.astype(np.float32)
        out.append(replace(image, counts=counts, metadata={**image.metadata, DENOISED: components}))
    return out, scree
