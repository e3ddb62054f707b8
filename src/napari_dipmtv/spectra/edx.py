"""EDX spectrum images to maps of X-ray line intensities with covariance, or to maps of counted events.

Every method here is linear: the intensity of line k in a pixel is ``sum_e F[k, e] n[e]`` of its counts n, so its
expectation does not depend on the dose, and its covariance is ``F diag(n) F'`` because the n are Poisson.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial

import numpy as np
from scipy.ndimage import gaussian_filter

from napari_dipmtv.data import F32, ChannelMaps, SpectrumImage
from napari_dipmtv.errors import GeometryError, InputError, expected
from napari_dipmtv.settings.edx import EdxSettings
from napari_dipmtv.spectra.xray_lines import LineFilters, line_filters
from napari_dipmtv.states import State


def line_intensities(image: SpectrumImage, filters: LineFilters, variance_px: float = 2.0) -> tuple[F32, F32]:
    """Intensities (k, y, x) in counts, and their covariance (k, k, y, x) in squared counts.

    The covariance is that of the expected counts: those of the neighbourhood (Gaussian of ``variance_px``) and one
    more, as the mean of a Poisson posterior has it, so that an empty pixel weighs much but not infinitely much.

    Raises
    ------
    GeometryError
        When the image lies on another energy axis than the filters.
    """
    if image.energy != filters.energy:
        raise GeometryError(
            expected(
                f"EDX image at {image.tilt_deg:g} deg",
                f"energies {filters.energy}",
                image.energy,
                "Record or rebin all tilts with one energy axis",
            )
        )
    used = np.flatnonzero(filters.weights.any(axis=0))
    window = slice(int(used[0]), int(used[-1]) + 1)
    f = filters.weights[:, window]
    k = len(f)
    pairs = np.einsum("ke,le->kle", f, f).reshape(k * k, -1)
    counts = image.counts[..., window]  # (y, x, e)
    maps = np.moveaxis(counts @ f.T.astype(np.float32), -1, 0)
    covariance = np.moveaxis(counts @ pairs.T.astype(np.float32), -1, 0)
    if variance_px > 0:
        covariance = gaussian_filter(covariance, (0, variance_px, variance_px), mode="nearest")
    area = max(1.0, 4 * np.pi * variance_px**2)  # pixels that the Gaussian averages
    one_count = pairs @ filters.spread[window] / area
    covariance = covariance.reshape(k, k, *maps.shape[1:]) + one_count.reshape(k, k, 1, 1)
    return np.ascontiguousarray(maps, np.float32), np.ascontiguousarray(covariance, np.float32)


def edx_maps(
    images: Iterable[SpectrumImage], lines: Sequence[str], settings: EdxSettings | None = None, total: int = 0
) -> Iterator[State[ChannelMaps]]:
    """Go through the tilts of an EDX series, one image in memory at a time.

    Parameters
    ----------
    images : iterable of SpectrumImage
        One per tilt, for example `napari_dipmtv.io.tilt_table.open_images`.
    lines : sequence of str
        X-ray lines, which become the names of the channels.
    settings : EdxSettings, optional
    total : int
        Number of images, where the iterable has no length.

    Yields
    ------
    State of ChannelMaps
        After each tilt. Intensities in counts: with their covariance, or ("sum") as counted events.

    Raises
    ------
    InputError, GeometryError
        See `line_filters`, `line_intensities`; for images of different pixels or no image at all.
    """
    settings = settings or EdxSettings()
    total = total or (len(images) if isinstance(images, Sequence) else 0)
    done: dict[float, tuple[F32, F32]] = {}
    filters: LineFilters | None = None
    for image in images:
        if filters is None:
            spectrum = image.counts.sum(axis=(0, 1), dtype=np.float64)
            filters = line_filters(lines, image.energy, spectrum, settings)
            shape, pixel_nm = image.counts.shape, image.pixel_nm
        _check_same_pixels(shape, pixel_nm, image)
        if image.tilt_deg in done:
            raise GeometryError(
                expected("tilts", "each angle once", f"{image.tilt_deg:g} deg twice", "Correct the table")
            )
        done[image.tilt_deg] = line_intensities(image, filters, settings.variance_px)
        sums = done[image.tilt_deg][0].sum(axis=(1, 2))
        yield State(
            len(done),
            max(total, len(done)),
            {f"{name} counts": float(n) for name, n in zip(lines, sums, strict=True)},
            partial(_collected, done, lines, image.pixel_nm, settings),
            stage="line intensities",
        )
    if filters is None:
        raise InputError(expected("EDX images", "at least one", "none", "Choose the spectrum images"))


def _check_same_pixels(shape: tuple[int, ...], pixel_nm: float, image: SpectrumImage) -> None:
    if shape != image.counts.shape or not np.isclose(pixel_nm, image.pixel_nm, rtol=1e-3):
        raise GeometryError(
            expected(
                f"EDX image at {image.tilt_deg:g} deg",
                f"{shape} (y, x, e) with pixels of {pixel_nm:g} nm, as the first has",
                f"{image.counts.shape} with pixels of {image.pixel_nm:g} nm",
                "Crop or rebin the odd one, or leave it out of the table",
            )
        )


def _collected(
    done: Mapping[float, tuple[F32, F32]], lines: Sequence[str], pixel_nm: float, settings: EdxSettings
) -> ChannelMaps:
    data = np.stack([maps for maps, _ in done.values()], axis=1)  # (c, t, y, x)
    if settings.method == "sum":
        return ChannelMaps(data, tuple(lines), tuple(done), pixel_nm, counts_per_unit=1.0)
    covariance = np.stack([c for _, c in done.values()], axis=2)  # (c, c, t, y, x)
    return ChannelMaps(data, tuple(lines), tuple(done), pixel_nm, covariance=covariance)
