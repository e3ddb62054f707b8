"""Aligned maps to a volume by weighted back-projection (WBP): filtered views smeared back, in one pass."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from napari_dipmtv.data import F32, F64, Volume
from napari_dipmtv.projection.geometry import Geometry
from napari_dipmtv.projection.sparse import sparse_matrix
from napari_dipmtv.settings.tomo import WbpFilter, WbpSettings
from napari_dipmtv.states import State
from napari_dipmtv.tomo.problem import Problem


def wbp(problem: Problem, settings: WbpSettings) -> Iterator[State[Volume]]:
    """Filter every view by the ramp and smear it back along its beam.

    Linear and without prior: what neither views nor wedge show is missing, and densities may come out negative. The
    scale is absolute: fully sampled, a disc of density 1 gives 1. Unusable pixels are interpolated along x, unusable
    views are left out.
    Source: A. C. Kak and M. Slaney, Principles of Computerized Tomographic Imaging (1988), chapter 3.

    Parameters
    ----------
    problem : Problem
    settings : WbpSettings

    Yields
    ------
    State of Volume
        One, with the loss "residual": ``|P x - y| / |y|`` over the usable pixels.
    """
    geometry, series = problem.projector.geometry, problem.series
    used = np.ones(geometry.views, bool) if series.valid is None else series.valid.any(axis=(1, 2))
    views = ramp_filtered(filled(series.data, series.valid), settings.filter, settings.cutoff)
    channels, _, ny, width = views.shape
    nz, _, nx = geometry.volume_shape
    x = torch.zeros((nz * nx, channels * ny), device=problem.device)
    weights = np.zeros(geometry.views)
    weights[used] = angular_weights_rad(np.asarray(geometry.tilts_deg)[used])
    for t in np.flatnonzero(used):
        view = np.ascontiguousarray(views[:, t].reshape(channels * ny, width).T)
        x = torch.addmm(
            x, _smear(geometry, int(t), problem.device), torch.from_numpy(view).to(x), alpha=float(weights[t])
        )
    volume = x.reshape(nz, nx, channels, ny).permute(2, 0, 3, 1)
    y = torch.from_numpy(series.data).to(problem.device)
    residual = float((problem.valid * (problem.projector(volume) - y)).norm() / y.norm().clamp(min=1e-30))
    yield State(
        1,
        1,
        {"residual": residual},
        lambda: Volume(volume.cpu().numpy(), series.channels, series.pixel_nm),
        stage="WBP",
    )


def angular_weights_rad(tilts_deg: F64) -> F64:
    """Share of the half turn that each view stands for: half the way to both neighbours, the wedge excluded.

    Unequal steps get unequal weights. Views at the ends of the tilt range count half a step of their own beyond it and
    nothing of the missing wedge; a full half turn in equal steps gives equal weights that sum to pi.

    Parameters
    ----------
    tilts_deg : float array (t,)
        In any order; modulo 180 the same direction is the same view.

    Returns
    -------
    float array (t,)
        In radians.
    """
    folded = np.mod(tilts_deg, 180.0)
    order = np.argsort(folded, kind="stable")
    gap = np.diff(folded[order], append=folded[order][0] + 180.0)  # gap[i] lies above view i
    wedge = int(np.argmax(gap))
    below = np.roll(gap, 1)  # below[i] lies under view i
    above = gap.copy()
    above[wedge] = min(gap[wedge], below[wedge])
    after = (wedge + 1) % len(gap)
    below[after] = min(gap[wedge], gap[after])
    weights = np.empty(len(gap))
    weights[order] = np.deg2rad((above + below) / 2)
    return weights


def ramp_filtered(views: F32, window: WbpFilter, cutoff: float) -> F32:
    """Views (c, t, y, x) filtered along x by the ramp times an apodisation, padded so that nothing wraps around.

    The ramp is made in real space (1/4 at 0, -1/(pi n)^2 at odd n): sampled in Fourier space it would be 0 at 0 and
    take the density's mean away.
    """
    width = views.shape[-1]
    size = 2 ** int(np.ceil(np.log2(2 * width)))
    n = np.arange(size) - size // 2
    ramp = np.zeros(size)
    ramp[size // 2] = 0.25
    odd = n % 2 != 0
    ramp[odd] = -1 / (np.pi * n[odd]) ** 2
    response = np.fft.rfft(np.fft.ifftshift(ramp)).real
    response *= _window(np.fft.rfftfreq(size).astype(np.float64) / 0.5 / cutoff, window)
    spectrum = np.fft.rfft(views.astype(np.float64), size, axis=-1) * response
    return np.ascontiguousarray(np.fft.irfft(spectrum, size, axis=-1)[..., :width], np.float32)


def _window(f: F64, window: WbpFilter) -> F64:
    """Apodisation at frequencies in units of the cut-off; 0 beyond it."""
    inside = f <= 1
    shapes = {
        "ramp": np.ones_like(f),
        "shepp-logan": np.sinc(f / 2),
        "cosine": np.cos(np.pi * f / 2),
        "hamming": 0.54 + 0.46 * np.cos(np.pi * f),
        "hann": 0.5 + 0.5 * np.cos(np.pi * f),
    }
    return np.where(inside, shapes[window], 0.0)


def filled(data: F32, valid: np.ndarray | None) -> F32:
    """Maps (c, t, y, x) with unusable pixels interpolated along x; rows without a usable pixel stay 0."""
    if valid is None:
        return data
    out, x = data.copy(), np.arange(data.shape[-1])
    for t, y in np.argwhere(~valid.all(axis=-1) & valid.any(axis=-1)):
        good = valid[t, y]
        for c in range(len(data)):
            out[c, t, y] = np.interp(x, x[good], data[c, t, y, good])
    return out


def _smear(geometry: Geometry, view: int, device: torch.device) -> torch.Tensor:
    """Linear interpolation of one view at every voxel of a slice; sparse (nz * nx, width).

    The adjoint of the projector is no substitute: at high tilts neighbouring voxels catch unlike sums of rays.
    """
    nz, _, nx = geometry.volume_shape
    z, x = np.mgrid[:nz, :nx] - np.array([(nz - 1) / 2, (nx - 1) / 2])[:, None, None]
    tilt = np.deg2rad(geometry.tilts_deg[view])
    seen = x * np.cos(tilt) + z * np.sin(tilt) + geometry.offsets_px[view] + (geometry.width - 1) / 2
    low = np.floor(seen).astype(np.int64).ravel()
    fraction = seen.ravel() - low
    voxel = np.arange(nz * nx)
    rows, columns = np.concatenate([voxel, voxel]), np.concatenate([low, low + 1])
    weights = np.concatenate([1 - fraction, fraction])
    keep = (columns >= 0) & (columns < geometry.width) & (weights > 0)
    return sparse_matrix(
        rows[keep], columns[keep], weights[keep], (nz * nx, geometry.width), device, torch.float32
    )
