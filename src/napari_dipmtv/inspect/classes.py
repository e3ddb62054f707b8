"""Densities to a class per voxel: by Otsu's thresholds, by a Gaussian mixture, or by levels set by hand."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_dipmtv.data import F32, F64
from napari_dipmtv.errors import InputError, expected
from napari_dipmtv.inspect.matter import Bulk, Mask, otsu
from napari_dipmtv.settings.inspect import SegmentSettings

MIXTURE_SAMPLE = 40_000  # voxels that a mixture is learnt from
MIXTURE_SEED = 0
FLOOR_VARIANCE = 1e-3  # of a filling; a volume without noise must not give a mixture of no width


@dataclass(frozen=True, slots=True, eq=False)
class Classes:
    """What every voxel is before topology is looked at.

    Attributes
    ----------
    matter : bool (z, y, x)
    phase : int (z, y, x)
        Phase from 0; it means something only in matter.
    names : tuple of str
        One name per phase.
    """

    matter: Mask
    phase: NDArray[np.intp]
    names: tuple[str, ...]


def classify(
    density: F32, filling: F32, bulk: Bulk, channels: tuple[str, ...], settings: SegmentSettings
) -> Classes:
    """Divide voxels into vacuum and phases.

    Several channels give one phase each: the channel of the largest density over its own bulk, so that the
    boundary lies where both fill half a voxel. One channel gives the classes of its grey value.

    Raises
    ------
    InputError
        For levels that do not fit the volume.
    """
    if settings.threshold == "mixture":
        return _mixture(density, filling, bulk, channels, settings.classes)
    if settings.threshold == "levels":
        return _levels(density, filling, bulk, channels, settings.levels_percent)
    thresholds = {
        "fraction": lambda: [settings.surface_fraction],
        "otsu": lambda: [otsu(filling)],
        "multi-otsu": lambda: _multi_otsu(filling, settings.classes),
    }[settings.threshold]()
    matter = filling > thresholds[0]
    if len(channels) > 1:
        return Classes(matter, leading_channel(density, bulk), channels)
    return Classes(matter, _steps(filling, thresholds[1:]), _grey_names(channels, len(thresholds)))


def leading_channel(density: F32, bulk: Bulk) -> NDArray[np.intp]:
    """Channel (z, y, x) of the largest density over its bulk."""
    leading: NDArray[np.intp] = (density / bulk.own.astype(np.float32)[:, None, None, None]).argmax(axis=0)
    return leading


def _multi_otsu(filling: F32, classes: int) -> list[float]:
    from skimage.filters import threshold_multiotsu

    try:
        return [float(t) for t in threshold_multiotsu(filling, classes)]
    except ValueError as error:
        raise InputError(
            expected("classes", f"a volume of {classes} different densities", error, "Ask for fewer classes")
        ) from error


def _levels(
    density: F32, filling: F32, bulk: Bulk, channels: tuple[str, ...], percents: tuple[int, ...]
) -> Classes:
    shares = [percent / 100 for percent in percents]
    if len(channels) == 1:
        if not shares or sorted(set(shares)) != shares:
            raise InputError(expected("levels", "ascending percents", percents, "Write e.g. 50, 120"))
        return Classes(filling > shares[0], _steps(filling, shares[1:]), _grey_names(channels, len(shares)))
    if len(shares) != len(channels):
        wanted = f"{len(channels)} percents, one for each of {', '.join(channels)}"
        raise InputError(expected("levels", wanted, percents, "Give one level per channel, in their order"))
    over = density / (bulk.own * np.array(shares)).astype(np.float32)[:, None, None, None]
    return Classes(over.max(axis=0) > 1, over.argmax(axis=0), channels)


def _mixture(density: F32, filling: F32, bulk: Bulk, channels: tuple[str, ...], classes: int) -> Classes:
    """Gaussians of one common covariance, one of them the vacuum.

    The common covariance learns that the noise of unmixed channels is anti-correlated, and puts the boundary
    between two phases of equal weight half-way between them.
    """
    from sklearn.mixture import GaussianMixture

    if len(channels) == 1:
        thresholds = _multi_otsu(filling, classes)
        features = filling[None]
        steps = _steps(filling, thresholds)
        means = np.array([[filling[steps == k].mean()] for k in range(classes)])
    else:
        features = density / bulk.own.astype(np.float32)[:, None, None, None]
        means = np.vstack([np.zeros(len(channels)), np.eye(len(channels))])
    points = features.reshape(len(features), -1).T.astype(np.float64)  # (v, c)
    sample = np.random.default_rng(MIXTURE_SEED).permutation(len(points))[:MIXTURE_SAMPLE]
    model = GaussianMixture(
        len(means),
        covariance_type="tied",
        means_init=means,
        reg_covar=FLOOR_VARIANCE,
        random_state=MIXTURE_SEED,
    ).fit(points[sample])
    found = model.predict(points).reshape(filling.shape)
    names = channels if len(channels) > 1 else _grey_names(channels, classes - 1)
    return Classes(found > 0, _ordered(found, model.means_, len(channels)), names)


def _ordered(found: NDArray[np.intp], means: F64, channels: int) -> NDArray[np.intp]:
    """Phase from 0; grey values in ascending order whatever order the mixture ended in."""
    if channels > 1:
        return np.maximum(found - 1, 0)
    rank = np.empty(len(means), np.intp)
    rank[np.argsort(means[:, 0])] = np.arange(len(means))
    ordered: NDArray[np.intp] = np.maximum(rank[found] - 1, 0)
    return ordered


def _steps(filling: F32, thresholds: list[float]) -> NDArray[np.intp]:
    """How many thresholds each voxel exceeds."""
    steps: NDArray[np.intp] = np.digitize(filling, thresholds)
    return steps


def _grey_names(channels: tuple[str, ...], count: int) -> tuple[str, ...]:
    """Names of the grey values of one channel, the least dense first."""
    return ("material",) if count == 1 else tuple(f"{channels[0]} {k}" for k in range(1, count + 1))
