"""A measured series to further series of the same statistics: halves, bootstraps, and new measurements of a volume.

Three noise models, and which one holds is never guessed twice (`noise_kind`):

- ``poisson``: the maps are counts. Thinning each count ``n`` to ``Binomial(n, 1/2)`` and the rest gives two independent
  Poisson series of half the dose. Counts that an interpolation has made fractional are rounded at random first; their
  variance lies below their mean, so that the halves are slightly anti-correlated and an FSC of them is too low, never
  too high.
- ``covariance``: ``y = m + n`` with ``n ~ N(0, C)``. With ``e ~ N(0, C)`` drawn anew, ``y + e`` and ``y - e`` have the
  cross-covariance ``Cov(n + e, n - e) = C - C = 0``: they are independent, each with ``2 C`` like half the dose. That
  takes a Gaussian ``n`` and the right ``C``: where the true covariance is ``s C``, the halves share ``(s - 1) C``.
- ``residual``: nothing is known; the residuals of a fit, with random signs, stand for the noise. No halves exist then.

The noise of pixels is drawn independently; aligning by interpolation has tied neighbours in the measured maps, which
lowers their noise at high frequencies: repeats are at most too noisy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_dipmtv.data import F32, F64, TiltSeries, Volume
from napari_dipmtv.errors import GeometryError, InputError, expected
from napari_dipmtv.projection.geometry import Geometry
from napari_dipmtv.tomo.thinning import counted

if TYPE_CHECKING:
    from napari_dipmtv.trust.result import Noise

WHOLE = 1e-3  # counts nearer to a whole number than this are whole; float32 keeps that to 16 million counts


def generator(seed: int, *place: int) -> np.random.Generator:
    """Random numbers of one repeat: the same for the same seed and place, whatever was drawn before."""
    return np.random.default_rng([seed, *place])


def noise_kind(series: TiltSeries) -> Noise:
    """Tell which noise model the series supports; counts go before a covariance."""
    if series.counts_per_unit is not None:
        return "poisson"
    return "covariance" if series.covariance is not None else "residual"


def interpolated(series: TiltSeries) -> bool:
    """True where aligning has read the maps between their pixels: neighbours share noise then.

    So it says the alignment, turned or by parts of a pixel; counts that are not whole say it too.
    """
    if series.counts_per_unit is not None:
        counts = series.data * series.gain
        if bool((np.abs(counts - np.rint(counts)) > np.maximum(WHOLE, 1e-6 * np.abs(counts))).any()):
            return True
    found = series.alignment
    if found is None:
        return False
    across = found.shifts_px + np.array([0.0, found.axis_offset_px])
    return found.axis_angle_deg != 0 or bool((np.abs(across - np.rint(across)) > WHOLE).any())


def halves(series: TiltSeries, random: np.random.Generator) -> tuple[TiltSeries, TiltSeries]:
    """Split a series into two independent ones of half the dose, in the units of the whole.

    Raises
    ------
    InputError
        For maps without statistics.
    """
    if series.counts_per_unit is not None:
        whole = whole_counts(series, random)
        first = random.binomial(whole, 0.5)
        return counted(series, first, 0.5), counted(series, whole - first, 0.5)
    if series.covariance is not None:
        noise = covariant_noise(series.covariance, random)
        twice = 2 * series.covariance
        return tuple(series.replace(data=series.data + s * noise, covariance=twice) for s in (1, -1))  # type: ignore[return-value]
    raise InputError(
        expected(
            "maps to split",
            "counts or a covariance",
            "maps without statistics",
            "Load raw counts as such, or give two independent series (even and odd frames)",
        )
    )


def bootstrap(series: TiltSeries, random: np.random.Generator) -> TiltSeries:
    """Draw a series as different from the measured one as that is from its expectation.

    Counts become ``Poisson(n)``, maps with covariance ``y + N(0, C)``; raises `InputError` without statistics.
    """
    if series.counts_per_unit is not None:
        drawn = random.poisson(whole_counts(series, random))
        return counted(series, drawn)
    if series.covariance is not None:
        return series.replace(data=series.data + covariant_noise(series.covariance, random))
    raise InputError(
        expected("maps to resample", "counts or a covariance", "maps without statistics", 'Use "planted"')
    )


def measured_again(clean: F64, series: TiltSeries, random: np.random.Generator, residual: F32) -> TiltSeries:
    """Give noise-free projections the noise of a series.

    Parameters
    ----------
    clean : (c, t, y, x)
        Expected projections.
    series : TiltSeries
        Whose statistics hold: geometry, counts per unit, covariance, usable pixels.
    random : numpy Generator
    residual : (c, t, y, x)
        Measured minus fitted; used only where the series carries no statistics.
    """
    if series.counts_per_unit is not None:
        return counted(series, random.poisson(np.maximum(clean, 0) * series.gain))
    if series.covariance is not None:
        return series.replace(data=(clean + covariant_noise(series.covariance, random)).astype(np.float32))
    signs = random.choice(np.array([-1.0, 1.0]), size=residual.shape[1:])  # channels keep their correlation
    return series.replace(data=(clean + signs * residual).astype(np.float32))


def noise_variance(series: TiltSeries) -> F64 | None:
    """Variance (c, t, y, x) of the maps in their squared units; None without statistics."""
    if series.counts_per_unit is not None:
        return np.maximum(series.data, 0).astype(np.float64) / series.gain
    if series.covariance is not None:
        return np.asarray(np.einsum("cctyx->ctyx", series.covariance), dtype=np.float64)
    return None


def projections(volume: Volume, series: TiltSeries) -> F64:
    """Noise-free projections (c, t, y, x) of a volume at the tilts of a series.

    Raises
    ------
    GeometryError
        When the volume has other channels or another field of view.
    """
    import torch

    from napari_dipmtv.projection.sparse import SparseProjector

    _, nz, ny, nx = volume.data.shape
    if volume.channels != series.channels or (ny, nx) != series.data.shape[2:]:
        got = f"{volume.channels} {volume.data.shape[1:]}"
        wanted = f"{series.channels} and {series.data.shape[2:]} pixels"
        raise GeometryError(expected("volume", wanted, got, "Give the reconstruction of this series"))
    projector = SparseProjector(Geometry.of((nz, ny, nx), series.tilts_deg), dtype=torch.float64)
    clean: F64 = projector(torch.from_numpy(volume.data.astype(np.float64))).numpy()
    return clean


def whole_counts(series: TiltSeries, random: np.random.Generator) -> NDArray[np.int64]:
    """Counted events (c, t, y, x); fractional ones, from an interpolation, are rounded at random without bias."""
    counts = np.maximum(series.data.astype(np.float64) * series.gain, 0)
    near = np.rint(counts)
    counts = np.where(np.abs(counts - near) < WHOLE, near, counts)
    return np.floor(counts + random.random(counts.shape)).astype(np.int64)


def covariant_noise(covariance: F32, random: np.random.Generator) -> F32:
    """Gaussian noise (c, t, y, x) of a covariance (c, c, t, y, x); negative eigenvalues count as zero."""
    matrices = np.moveaxis(covariance.astype(np.float64), (0, 1), (-2, -1))  # (t, y, x, c, c)
    values, vectors = np.linalg.eigh(matrices)
    draws = random.standard_normal(values.shape) * np.sqrt(np.maximum(values, 0))
    noise: F32 = np.einsum("...ij,...j->i...", vectors, draws).astype(np.float32)
    return noise
