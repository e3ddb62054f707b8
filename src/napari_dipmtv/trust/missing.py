"""A fit to the holes that its data demand: idle ones closed, a missing one opened, and how well each is known."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from scipy.ndimage import maximum_filter
from scipy.signal import fftconvolve

from napari_dipmtv.data import F32, F64
from napari_dipmtv.inspect.matter import Mask, depth_px
from napari_dipmtv.trust.boundaries import Fit
from napari_dipmtv.trust.holes import Hole, emptiest
from napari_dipmtv.trust.result import CUT_NATS

RADII_PX = (2.0, 2.5, 3.0, 4.0, 5.5)
CLEAR_PX = 1.5  # a ball keeps this far from the surface
CANDIDATES = 4  # of each radius, the best by the slope


def without_idle_holes(fit: Fit) -> Fit:
    """Leave out the holes that the data do not demand: without them the fit is worse by less than `CUT_NATS`."""
    mean, shape = fit.mean(), fit.shape
    solid = fit.distances[np.concatenate([[True], shape.solid])]
    now, least = fit.holes_now(), fit.weights.squares(mean, mean)
    kept = []
    for number in range(len(now)):
        filled = shape.with_holes(solid, now[:number] + now[number + 1 :])
        made = fit.project(shape.by_material(shape.shares(filled)))
        worse = fit.weights.squares(np.einsum("mc,mry->cry", fit.densities, made), mean) - least
        if worse / 2 >= CUT_NATS:
            kept.append(now[number])
    return fit if len(kept) == len(now) else fit.with_holes(tuple(kept))


def with_missing_hole(fit: Fit) -> Fit:
    """Make a hole of the ball that the data demand empty: by `CUT_NATS`, and more than any of twice the density.

    The latter matter cannot be; what it gains is what any change gains that happens to mend something.
    """
    if fit.shape.solid.all():
        return fit
    full, mean = fit.full(), fit.mean()
    wanted = fit.weights.of((fit.weights.data - mean)[None].astype(np.float32), mean)[0]
    slope = (fit.back(wanted) * full).sum(axis=0)
    gain = _gain(fit, full, mean)
    matter = fit.shape.solid_shares(fit.distances).sum(axis=0) > 0.5
    best = most_demanded(-slope, matter, lambda share: gain(share, -1))
    control = most_demanded(slope, matter, lambda share: gain(share, 1))
    if best is None or best[1] < max(CUT_NATS, 0.0 if control is None else control[1]):
        return fit
    return fit.with_holes((*fit.holes_now(), best[0]))


def void_spread(fit: Fit) -> float:
    """Relative standard deviation that the noise leaves in the volume of all holes, all else free; NaN without holes.

    The Cramér-Rao bound, but for the weak prior of the fit, which is in it.
    """
    holes = fit.holes_now()
    if not holes:
        return float("nan")
    columns = fit.columns(finer=False)
    covariance = np.linalg.inv(fit.equations(columns, fit.mean())[0])
    own, parts, _ = fit.parts()
    at = own.size + np.cumsum([0, *(len(part) for part in parts[:-1])])  # the radii
    radii = np.array([hole.radii[0] for hole in holes])
    slope = 3 * radii**2 / (radii**3).sum()
    return float((slope @ covariance[np.ix_(at, at)] @ slope) ** 0.5)


def density_covariance(fit: Fit) -> F64:
    """Covariance (m, c, m, c) that the noise leaves in the densities, every boundary free; the prior is in it."""
    normal, _ = fit.equations(fit.columns(finer=True), fit.mean())
    size = fit.densities.size
    return np.asarray(np.linalg.inv(normal)[-size:, -size:].reshape(fit.densities.shape * 2))


def _gain(fit: Fit, full: F32, mean: F64) -> Callable[[F32, int], float]:
    """What a share (z, y, x) of densities (c, z, y, x), added or taken away, gains once all else gives way."""
    columns = fit.columns(finer=False)
    normal, gradient = fit.equations(columns, mean)
    inverse = np.linalg.inv(normal)
    rows = columns.reshape(len(columns), -1)
    left = (fit.weights.data - mean).astype(np.float32)

    def gain(share: F32, sign: int) -> float:
        seen = sign * fit.project(full * share)
        weighted = fit.weights.of(seen[None], mean)[0]
        across = (rows @ weighted.ravel()).astype(np.float64)
        alone = float((weighted * (left - seen / 2)).sum())
        return alone + float((across / 2 - gradient) @ inverse @ across)

    return gain


def most_demanded(slope: F32, matter: Mask, gain: Callable[[F32], float]) -> tuple[Hole, float] | None:
    """Find the ball with the largest gain, and that gain; None where none fits.

    Parameters
    ----------
    slope : (z, y, x)
        First-order gain of each voxel.
    matter : (z, y, x)
    gain : callable
        What a share (z, y, x) of all voxels gains.
    """
    trials = ((hole, gain(inside_of(hole, slope.shape))) for hole in _promising(slope, depth_px(matter)))
    return max(trials, key=lambda trial: trial[1], default=None)


def inside_of(hole: Hole, shape: tuple[int, ...]) -> F32:
    """Share (z, y, x) of each voxel inside a hole, its edge one voxel wide."""
    inside: F32 = np.clip(0.5 + emptiest((hole,), shape), 0, 1)
    return inside


def _promising(slope: F32, depth: F64) -> Iterator[Hole]:
    """Enclosed balls at the local maxima of what their voxels gain together."""
    for radius in RADII_PX:
        reach = int(np.ceil(radius + 0.5))
        middle = Hole(np.full(3, float(reach)), np.array([radius]))
        summed = fftconvolve(slope, inside_of(middle, (2 * reach + 1,) * 3), mode="same")
        peaks = (depth > radius + CLEAR_PX) & (summed > 0) & (summed == maximum_filter(summed, 3))
        order = np.argsort(-summed[peaks])[:CANDIDATES]
        for place in np.argwhere(peaks)[order]:
            yield Hole(place.astype(float), np.array([radius, 0.0, 0.0, 0.0]))
