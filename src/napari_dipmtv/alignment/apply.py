"""Maps and an alignment to an aligned tilt series, by one interpolation."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from napari_dipmtv.alignment.mapping import displacements, resample
from napari_dipmtv.data import F32, F64, Alignment, ChannelMaps, MapStack, TiltSeries
from napari_dipmtv.errors import GeometryError, expected

Interpolation = Literal["cubic", "linear", "fourier"]


def apply(maps: ChannelMaps, alignment: Alignment, interpolation: Interpolation = "cubic") -> TiltSeries:
    """Bring every view into the ideal geometry; all channels, covariance and validity by the same map.

    The map from ideal to raw coordinates stands in `napari_dipmtv.alignment.mapping`. A view that is neither
    shifted nor turned is passed on bit for bit.

    Parameters
    ----------
    maps : ChannelMaps
    alignment : Alignment
        One shift per view, in the order of ``maps.tilts_deg``.
    interpolation : "cubic", "linear" or "fourier"
        Cubic B-spline, linear, or by the Fourier series of the whole view, which takes nothing off what is fine: of
        a wave of three pixels a cubic spline loses an eighth at half a pixel, and with it a part of thin layers. It
        rings beside sharp edges, and takes the object to have vacuum around it.

    Returns
    -------
    TiltSeries
        ``valid`` is False where the field of view ended or an unusable pixel took part. ``counts_per_unit``
        is kept and the covariance is read with the *plain* linear weights, not the squared ones:
        interpolation makes neighbouring pixels share noise, and a reconstruction that treats pixels as
        independent would otherwise trust a view up to four times more merely because its shift is half a
        pixel. With plain weights the information of a view does not depend on its shift, and Poisson
        statistics stay ``variance = mean``.

    Raises
    ------
    GeometryError
        When the alignment has another number of views.
    """
    views = len(maps.tilts_deg)
    if len(alignment.shifts_px) != views:
        raise GeometryError(
            expected(
                "alignment",
                f"{views} shifts, one per view",
                len(alignment.shifts_px),
                "Align this series again",
            )
        )
    total = displacements(alignment)
    angle = alignment.axis_angle_deg
    data, covariance = maps.data.copy(), None if maps.covariance is None else maps.covariance.copy()
    valid = np.ones(data.shape[1:], bool) if maps.valid is None else maps.valid.copy()
    filled = fill_invalid(maps)
    for t in range(views):
        if angle == 0 and not total[t].any():
            continue
        usable = resample(valid[t].astype(np.float32), angle, total[t], order=1)
        for c in range(len(data)):
            data[c, t] = _read(filled[c, t], angle, total[t], interpolation)
            if covariance is not None:
                for k in range(len(data)):
                    covariance[c, k, t] = resample(
                        covariance[c, k, t], angle, total[t], order=1, mode="nearest"
                    )
        valid[t] = usable > 1 - 1e-5
    return _series(maps, data, covariance, None if valid.all() else valid, alignment)


def _read(image: F32, angle_deg: float, displacement_px: F64, interpolation: Interpolation) -> F32:
    """Read a raw image (y, x) on the ideal grid."""
    if interpolation != "fourier":
        return resample(image, angle_deg, displacement_px, order=1 if interpolation == "linear" else 3)
    from scipy.signal import resample as fourier_resample  # takes long to import, for a window that opens

    finer = image
    for axis, size in enumerate(image.shape):
        finer = fourier_resample(finer, 2 * size, axis=axis)
    between = 2 * displacement_px - 0.5  # pixel k is pixel 2 k of the finer image, beside its middle
    return resample(finer, angle_deg, between, order=3, shape=image.shape, step_px=2.0)


def assume_aligned(maps: ChannelMaps) -> TiltSeries:
    """Take maps as aligned already: tilt axis parallel to y, through the centre of x. Nothing is changed."""
    alignment = Alignment(np.zeros((len(maps.tilts_deg), 2)))
    return _series(maps, maps.data, maps.covariance, maps.valid, alignment)


def fill_invalid(maps: MapStack) -> F32:
    """Maps (c, t, y, x) with unusable pixels replaced by the mean around them: nothing rings there."""
    if maps.valid is None:
        return maps.data
    filled = maps.data.copy()
    for t, good in enumerate(maps.valid):
        if not good.all():
            weight = gaussian_filter(good.astype(np.float64), 1.5)
            for c in range(len(filled)):
                mean = gaussian_filter(np.where(good, filled[c, t], 0).astype(np.float64), 1.5)
                filled[c, t][~good] = (mean / np.maximum(weight, 1e-3))[~good]
    return filled


def _series(
    maps: ChannelMaps,
    data: F32,
    covariance: F32 | None,
    valid: NDArray[np.bool_] | None,
    alignment: Alignment,
) -> TiltSeries:
    return TiltSeries(
        data, maps.channels, maps.tilts_deg, maps.pixel_nm, covariance, maps.counts_per_unit, valid, alignment
    )
