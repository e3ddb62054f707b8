"""A volume to the sharpness of its surface, and to the resolution measure of the published papers beside it."""

from __future__ import annotations

from typing import Literal

import numpy as np
from scipy.ndimage import gaussian_filter, map_coordinates

from napari_dipmtv.data import F32, F64, Volume
from napari_dipmtv.inspect.matter import Mask, depth_px, filled
from napari_dipmtv.trust.filling import filling_of, filling_weights
from napari_dipmtv.trust.fsc import AXES
from napari_dipmtv.trust.result import Direction, EdgeSpread, SpectrumResolution

REACH_PX = 6.0  # profiles run this far to both sides of the surface
STEP_PX = 0.25
# the surface itself is found in a slightly blurred volume; the profiles are read in the sharp one
SMOOTH_PX = 1.0
WIDTH_10_90 = 2.5631  # standard deviations of a Gaussian blur between 10 and 90 % of its edge
NEAREST = 0.85  # cosine between a normal and the axis that it counts for
FEWEST = 30  # normals that give a profile


def edge_spread(volume: Volume) -> tuple[EdgeSpread, ...]:
    """Measure how wide the outer surface is, over all of it and where it faces x, y or z.

    The filling (see `napari_dipmtv.trust.filling`) is read along the normals of its half-value surface,
    averaged, and fitted with ``a + b (1 + erf((s - s0) / (σ √2))) / 2``. A surface that is rough below the resolution
    widens the edge as well, and total variation narrows it beyond what was measured.

    Returns
    -------
    tuple of EdgeSpread
        "all" first, then the axes with enough surface; empty where no profile holds.
    """
    filling = filling_of(volume, filling_weights(volume))
    found = _profiles(filling)
    if found is None:
        return ()
    along, profiles, normals = found
    chosen: dict[Direction, Mask] = {"all": np.ones(len(normals), bool)}
    chosen |= {axis: np.abs(normals[:, i]) > NEAREST for axis, i in AXES.items()}
    edges = []
    for direction in ("all", "x", "y", "z"):
        if chosen[direction].sum() >= FEWEST:
            mean = profiles[chosen[direction]].mean(axis=0)
            fit = _fit_edge(along, mean)
            if fit is not None:
                sigma, error, fitted = fit
                scale = WIDTH_10_90 * volume.voxel_nm
                edges.append(
                    EdgeSpread(direction, sigma * scale, error * scale, along * volume.voxel_nm, mean, fitted)
                )
    return tuple(edges)


def _profiles(filling: F32) -> tuple[F64, F64, F64] | None:
    """Positions (s,), fillings (f, s) and inward normals (f, 3) of the faces whose normals stay in one body."""
    from skimage.measure import marching_cubes

    smooth = gaussian_filter(np.pad(filling, 3), SMOOTH_PX)
    if not smooth.max() > 0.5:
        return None
    vertices, faces, _, _ = marching_cubes(smooth, 0.5)
    centres = vertices[faces].mean(axis=1).astype(np.float64)  # (f, 3) in the padded volume
    slope = np.stack([map_coordinates(g, centres.T, order=1) for g in np.gradient(smooth)], axis=1)
    normals = slope / np.maximum(np.linalg.norm(slope, axis=1, keepdims=True), 1e-12)
    matter = filled(smooth > 0.5)
    deep = map_coordinates(depth_px(matter), (centres + REACH_PX * normals).T, order=1) > 0.8 * REACH_PX
    clear = (
        map_coordinates(smooth, (centres - REACH_PX * normals).T, order=1) < 0.25
    )  # no second particle there
    on_outside = map_coordinates(depth_px(matter), centres.T, order=1) < 1.5  # not the wall of a void
    keep = deep & clear & on_outside
    if keep.sum() < FEWEST:
        return None
    along = np.arange(-REACH_PX, REACH_PX + STEP_PX / 2, STEP_PX)
    points = centres[keep][:, None] + along[None, :, None] * normals[keep][:, None]
    sharp = map_coordinates(np.pad(filling, 3), points.reshape(-1, 3).T, order=1)
    return along, sharp.reshape(keep.sum(), -1).astype(np.float64), normals[keep]


def _fit_edge(along: F64, profile: F64) -> tuple[float, float, F64] | None:
    """Blur σ in pixels, its standard error, and the fitted profile; None where no edge can be fitted."""
    from scipy.optimize import curve_fit
    from scipy.special import erf

    def edge(s: F64, low: float, height: float, place: float, sigma: float) -> F64:
        return np.asarray(low + height * (1 + erf((s - place) / (np.sqrt(2) * sigma))) / 2)

    bounds = ([-1, 0, -REACH_PX / 2, 0.05], [1, 3, REACH_PX / 2, REACH_PX])
    try:
        found, covariance = curve_fit(edge, along, profile, p0=(0, 1, 0, 1), bounds=bounds)
    except RuntimeError:
        return None
    return float(found[3]), float(np.sqrt(covariance[3, 3])), edge(along, *found)


def spectrum_resolution(volume: Volume) -> tuple[SpectrumResolution, ...]:
    """The resolution that the papers state: power spectrum of the summed volume against its own noise line.

    Along each axis: the 3-D power averaged over the planes of one ``|k|``, fitted in log10 with
    ``A / (1 + (2π k ξ)²)^p + C``; a straight line through the last 20 % of k; the resolution is one over the
    frequency where the two meet. A smooth reconstruction lowers that line by itself: show the Fourier shell
    correlation beside it.
    Source: released code of arXiv:2606.10893.
    """
    power = np.abs(np.fft.fftn(volume.data.sum(axis=0).astype(np.float64))) ** 2
    return tuple(_along(power, axis, i, volume.voxel_nm) for axis, i in (("x", 2), ("y", 1), ("z", 0)))  # type: ignore[arg-type]


def _along(power: F64, axis: Literal["x", "y", "z"], i: int, voxel_nm: float) -> SpectrumResolution:
    others = tuple(a for a in range(3) if a != i)
    size = power.shape[i]
    half = size // 2
    profile = power.mean(axis=others)[1 : half + 1]
    k = np.arange(1, half + 1) / (size * voxel_nm)
    log = np.log10(np.maximum(profile, 1e-30))
    fitted = _fit_spectrum(k, log)
    tail = slice(int(0.8 * half), None)
    slope, offset = np.polyfit(k[tail], log[tail], 1)
    noise = slope * k + offset
    meets = np.flatnonzero((fitted <= noise) & (np.arange(half) > 0))
    resolution = float(1 / k[meets[0]]) if len(meets) else float("nan")
    return SpectrumResolution(axis, k, log, fitted, noise, resolution)


def _fit_spectrum(k: F64, log: F64) -> F64:
    from scipy.optimize import least_squares

    def model(p: F64) -> F64:
        decay = (1 + (2 * np.pi * k * np.exp(p[1])) ** 2) ** -np.exp(p[2])
        return np.asarray(np.log10(10 ** p[0] * decay + 10 ** p[3]))

    start = (log.max(), np.log(0.1 / k[0]), 0.5, log.min())
    return model(least_squares(lambda p: model(p) - log, start, max_nfev=2000).x)
