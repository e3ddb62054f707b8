"""What a fitted particle leaves unexplained to the density fluctuations that would explain it.

A phase of uniform density leaves noise only. Residuals that neighbouring pixels share are no noise: the density
fluctuates inside the phases, or their edges are not quite those of the fit. Either makes pits in a reconstruction, so
particles that stand for the real one carry such fluctuations too.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy.ndimage import convolve, gaussian_filter

from napari_dipmtv.data import F32, F64, TiltSeries
from napari_dipmtv.trust.planted import grain_field
from napari_dipmtv.trust.refine import Refined, refine
from napari_dipmtv.trust.resample import generator, interpolated, noise_kind, noise_variance, projections

SHARED_PX = 1.5  # residuals are averaged over patches of this size; the noise of single pixels fades
INSIDE = 0.2  # of the largest expected value: pixels that count
DRAWS = 2
TRIED = 0.1
LARGEST = 0.3  # relative fluctuation
_GRAIN = 9  # place in the random numbers of a study


def grained(series: TiltSeries, fitted: Refined) -> Refined:
    """Give a fitted particle the fluctuations that its residuals show.

    Where aligning has interpolated the maps, neighbouring pixels share noise, which would be taken for fluctuations:
    such a particle is given none, nor is one of maps whose noise is not known.

    ``grain² = TRIED² (S - 1) / G`` with the mean square ``S`` of the smoothed residuals over that of noise, and ``G``
    that of a particle with fluctuations of `TRIED` that is fitted in the same way: the fit takes up more than half.
    """
    measured = noise_variance(series)
    if measured is None or interpolated(series):
        return fitted
    volume = fitted.particle.volume
    mean = projections(volume, series)
    if not mean.any(axis=(1, 2, 3)).all():
        return fitted  # without a channel that the data hold it is no particle of theirs; its misfit says so
    variance = np.maximum(mean, 0) / series.gain if noise_kind(series) == "poisson" else measured
    where = mean > INSIDE * mean.max()
    if series.valid is not None:
        where &= series.valid
    noise = _variance_of_smoothed(variance)[where]
    there = float((_smoothed(series.data - mean)[where] ** 2 / noise).mean())
    if there <= 1:
        return fitted
    added = []
    for i in range(DRAWS):
        field = 1 + TRIED * grain_field(volume.data.shape[1:], generator(0, _GRAIN, i))
        tried = series.replace(
            data=projections(volume.replace(data=volume.data * field), series).astype(np.float32)
        )
        left = tried.data - projections(refine(tried, fitted.particle.phases).particle.volume, series)
        added.append(float((_smoothed(left)[where] ** 2 / noise).mean()))
    grain = TRIED * (max(there - 1, 0.0) / max(float(np.mean(added)), 1e-12)) ** 0.5
    return replace(fitted, grain=min(grain, LARGEST))


def _smoothed(maps: F64 | F32) -> F64:
    return np.asarray(gaussian_filter(maps, (0, 0, SHARED_PX, SHARED_PX)))


def _variance_of_smoothed(variance: F64) -> F64:
    """Variance (c, t, y, x) of independent noise after `_smoothed`."""
    reach = int(4 * SHARED_PX + 0.5)
    one = np.zeros((2 * reach + 1,) * 2)
    one[reach, reach] = 1
    weights = gaussian_filter(one, SHARED_PX) ** 2
    return np.asarray(convolve(variance, weights[None, None], mode="nearest"))
