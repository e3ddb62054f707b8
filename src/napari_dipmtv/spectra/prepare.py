"""Recorded dual EELS spectrum images become electrons on one common energy axis, without spikes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_dipmtv.data import F32, F64, DualSpectrumImage, EnergyAxis, SpectrumImage, SpectrumSeries
from napari_dipmtv.errors import GeometryError, InputError, expected
from napari_dipmtv.settings.spectra import PrepareSettings
from napari_dipmtv.spectra.deconvolve import fourier_ratio
from napari_dipmtv.spectra.energy_offset import ENERGY_OFFSET
from napari_dipmtv.spectra.spikes import find_spikes
from napari_dipmtv.spectra.zero_loss import ZeroLoss, zero_loss
from napari_dipmtv.states import State


@dataclass(frozen=True, slots=True, eq=False)
class _Target:
    """The axis that all pixels of all tilts share, and the whole-pixel crop of its binning."""

    energy: EnergyAxis
    rebin_pixels: int
    rebin_energy: int


def prepare(
    series: SpectrumSeries, settings: PrepareSettings | None = None
) -> Iterator[State[SpectrumSeries]]:
    """Align every pixel on its zero-loss peak, remove spikes, bin and crop; one step per tilt.

    The drift of all tilts is measured first, so that one energy axis serves them all and no channel of it is
    missing anywhere. The core loss moves by the same energy as its low loss. Unusable pixels become NaN and
    stay NaN: unmixing marks them invalid. The report of each tilt stands in the metadata of its low loss and
    in the losses of the state: ``zlp_drift_ev`` (mean), ``zlp_spread_ev`` (standard deviation over the
    pixels), ``zlp_quality`` (median), ``unusable_pixels``, ``spikes``. For maps of the drift see `zero_loss`.

    Noise: whole-channel alignment and binning keep the counts Poisson and independent. The part of a channel
    that is left stands in the metadata (`energy_offset.ENERGY_OFFSET`), and unmixing moves the references by
    it: left out, 0.1 eV would pass for a few percent of the other phase. Sub-channel alignment shares each
    count between two channels: sums, and so abundances, keep their noise, but neighbours correlate and the
    variance of one channel falls to ``(1 - f)² + f²`` of the count, so that chi-square falls below 1.

    Raises
    ------
    InputError
        Without a zero-loss peak, when no pixel is usable, or when the drift leaves no common channel.
    GeometryError
        When the dispersions of the tilts differ.
    """
    settings = PrepareSettings() if settings is None else settings
    series, zeros = _measured(series, settings)
    low = _target([pair.low_loss for pair in series.tilts], zeros, settings, (-np.inf, settings.low_stop_ev))
    core_range = (settings.core_start_ev, settings.core_stop_ev)
    core = _target([pair.core_loss for pair in series.tilts], zeros, settings, core_range)
    return _prepared(series, zeros, low, core, settings)


def _prepared(
    series: SpectrumSeries, zeros: list[ZeroLoss], low: _Target, core: _Target, settings: PrepareSettings
) -> Iterator[State[SpectrumSeries]]:
    done: list[DualSpectrumImage] = []
    for pair, zero in zip(series.tilts, zeros, strict=True):
        low_loss, low_spikes = _moved(pair.low_loss, zero, low, settings)
        core_loss, core_spikes = _moved(pair.core_loss, zero, core, settings)
        report = _report(zero, low_spikes + core_spikes)
        low_loss = low_loss.replace(metadata={**low_loss.metadata, **report})
        whole = DualSpectrumImage(low_loss, core_loss)
        if settings.deconvolve_core:
            whole = DualSpectrumImage(low_loss, fourier_ratio(whole))
        done.append(whole)
        yield State(
            iteration=len(done),
            total=len(series.tilts),
            losses=report,
            snapshot=lambda: SpectrumSeries(tuple(done)),
            stage=f"preparing spectra, {pair.tilt_deg:g} deg",
        )


def _measured(series: SpectrumSeries, settings: PrepareSettings) -> tuple[SpectrumSeries, list[ZeroLoss]]:
    """Find the zero losses of all tilts, and leave out tilts without any where the settings say so."""
    zeros = [_zero_loss(pair, settings) for pair in series.tilts]
    if settings.leave_out_bad_tilts and any(zero.usable.any() for zero in zeros):
        good = [(pair, zero) for pair, zero in zip(series.tilts, zeros, strict=True) if zero.usable.any()]
        return SpectrumSeries(tuple(pair for pair, _ in good)), [zero for _, zero in good]
    for pair, zero in zip(series.tilts, zeros, strict=True):
        if not zero.usable.any():
            raise InputError(
                expected(
                    f"spectra at {pair.tilt_deg:g} deg",
                    f"some pixels with a zero-loss peak of quality {settings.min_quality:g} or more within "
                    f"±{settings.search_ev:g} eV, and finite counts",
                    f"best {zero.quality.max():.2f}",
                    "Search further, lower the quality, or leave out bad tilts",
                )
            )
    return series, zeros


def _zero_loss(pair: DualSpectrumImage, settings: PrepareSettings) -> ZeroLoss:
    grid = pair.low_loss.counts.shape[:2]
    finite = np.asarray(
        np.isfinite(pair.low_loss.counts).all(axis=2) & np.isfinite(pair.core_loss.counts).all(axis=2)
    )
    if settings.alignment == "none":
        return ZeroLoss(np.zeros(grid), np.zeros(grid), np.ones(grid), finite)
    zero = zero_loss(pair.low_loss, settings)
    return ZeroLoss(zero.drift_ev, zero.error_ev, zero.quality, zero.usable & finite)


def _target(
    images: list[SpectrumImage],
    zeros: list[ZeroLoss],
    settings: PrepareSettings,
    crop_ev: tuple[float, float],
) -> _Target:
    """Find the axis that every usable pixel covers after alignment; whole channels, whole bins."""
    step = images[0].energy.step_ev
    steps = sorted({image.energy.step_ev for image in images})
    if steps[-1] - steps[0] > 1e-4 * steps[0]:
        raise GeometryError(
            expected(
                "dispersion of the tilts", "one value", f"{steps} eV/channel", "Rebin the odd ones to match"
            )
        )
    start, stop = -np.inf, np.inf
    for image, zero in zip(images, zeros, strict=True):
        drift = zero.drift_ev[zero.usable]
        start = max(start, image.energy.start_ev - float(drift.min()))
        stop = min(stop, image.energy.stop_ev - float(drift.max()))
    margin = (
        0.0 if settings.alignment == "none" else step
    )  # rounding and interpolation reach one channel further
    start, stop = max(start + margin, crop_ev[0]), min(stop - margin, crop_ev[1] or np.inf)
    size = int(np.floor((stop - start) / step + 1e-6)) + 1 if stop > start else 0
    size -= size % settings.rebin_energy
    if size < 1:
        raise InputError(
            expected(
                "common energy axis",
                "channels that all tilts share after alignment and crop",
                f"{start:.1f} to {stop:.1f} eV",
                "Check the crop and the drift, or leave out the tilt that drifted most",
            )
        )
    return _Target(EnergyAxis(start, step, size), settings.rebin_pixels, settings.rebin_energy)


def _moved(
    image: SpectrumImage, zero: ZeroLoss, target: _Target, settings: PrepareSettings
) -> tuple[SpectrumImage, int]:
    drift = np.where(zero.usable, zero.drift_ev, 0.0)
    first = (target.energy.start_ev + drift - image.energy.start_ev) / image.energy.step_ev
    counts = _resampled(
        image.counts / np.float32(settings.gain), first, target.energy.size, settings.alignment
    )
    counts[~zero.usable] = 0.0
    spikes = 0
    if settings.spike_sigma > 0:
        mask, prediction = find_spikes(counts, settings.spike_sigma)
        counts[mask] = prediction[mask]
        spikes = int(mask.any(axis=2).sum())
    counts[~zero.usable] = np.nan
    counts, energy, pixel_nm = _binned(counts, target, image.pixel_nm)
    metadata = dict(image.metadata)
    if settings.alignment != "sub-channel":
        metadata[ENERGY_OFFSET] = _pixels_averaged(np.rint(first) - first, target) * image.energy.step_ev
    return image.replace(counts=counts, energy=energy, pixel_nm=pixel_nm, metadata=metadata), spikes


def _resampled(counts: F32, first: F64, size: int, alignment: str) -> F32:
    """Take ``size`` channels from the fractional channel ``first`` (y, x) of every pixel on."""
    whole = np.floor(first) if alignment == "sub-channel" else np.rint(first)
    moved = _taken(counts, whole.astype(np.intp), size)
    if alignment != "sub-channel":
        return moved
    part = (first - whole).astype(np.float32)[..., None]
    return (1 - part) * moved + part * _taken(counts, whole.astype(np.intp) + 1, size)


def _taken(counts: F32, first: NDArray[np.intp], size: int) -> F32:
    index = np.clip(
        first[..., None] + np.arange(size), 0, counts.shape[2] - 1
    )  # clipped in unusable pixels only
    return np.take_along_axis(counts, index, axis=2)


def _binned(counts: F32, target: _Target, pixel_nm: float) -> tuple[F32, EnergyAxis, float]:
    n, m, axis = target.rebin_pixels, target.rebin_energy, target.energy
    ny, nx = counts.shape[0] // n, counts.shape[1] // n
    if ny == 0 or nx == 0:
        raise InputError(expected("pixel binning", f"at most {min(counts.shape[:2])}", n, "Bin fewer pixels"))
    cut = counts[: ny * n, : nx * n].reshape(ny, n, nx, n, axis.size // m, m)
    energy = EnergyAxis(axis.start_ev + 0.5 * (m - 1) * axis.step_ev, axis.step_ev * m, axis.size // m)
    return cut.sum(axis=(1, 3, 5)), energy, pixel_nm * n


def _pixels_averaged(values: F64, target: _Target) -> F64:
    n = target.rebin_pixels
    ny, nx = values.shape[0] // n, values.shape[1] // n
    return np.asarray(values[: ny * n, : nx * n].reshape(ny, n, nx, n).mean(axis=(1, 3)))


def _report(zero: ZeroLoss, spikes: int) -> dict[str, float]:
    drift = zero.drift_ev[zero.usable]
    return {
        "zlp_drift_ev": float(drift.mean()) if drift.size else 0.0,
        "zlp_spread_ev": float(drift.std()) if drift.size else 0.0,
        "zlp_quality": float(np.median(zero.quality)),
        "unusable_pixels": float((~zero.usable).sum()),
        "spikes": float(spikes),
    }
