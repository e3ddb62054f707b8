"""A series, a method and settings to one number: how badly unseen data, or the truth, are met."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from napari_dipmtv.data import TiltSeries, Volume
from napari_dipmtv.errors import InputError, expected
from napari_dipmtv.settings.sweep import SweepSettings
from napari_dipmtv.settings.tomo import Method, MethodSettings

FEWEST_VIEWS = 3  # that a reconstruction wants


def check_scoring(series: TiltSeries, settings: SweepSettings, truth: Volume | None) -> None:
    """Refuse a scoring that the data do not allow, before the first job.

    Raises
    ------
    InputError
        For thinning without statistics, too few views to hold some out, or a missing truth.
    """
    if settings.scoring == "truth" and truth is None:
        raise InputError(
            expected("scoring by truth", "the true volume", "none", "Give it, or score by thinning")
        )
    if settings.scoring == "thinned" and series.counts_per_unit is None and series.covariance is None:
        advice = "Load raw counts as such, or score by held-out views"
        raise InputError(
            expected("scoring by thinning", "counts or a covariance", "maps without statistics", advice)
        )
    views = len(series.tilts_deg)
    if settings.scoring == "held-out" and views - -(-views // settings.folds) < FEWEST_VIEWS:
        advice = "Take more folds, or score by thinning"
        raise InputError(expected("scoring by held-out views", f"{FEWEST_VIEWS} views left", views, advice))


def score_of(
    series: TiltSeries,
    method: Method,
    settings: MethodSettings,
    how: SweepSettings,
    truth: Volume | None = None,
    device: str = "cpu",
) -> float:
    """Reconstruct and score; lower is better.

    Returns
    -------
    float
        "truth": ``|x - truth| / |truth|``. Otherwise the mean deviance per data point of the unseen data: Poisson for
        counts, Mahalanobis for maps with covariance, squared error over mean square without either. 1 is what the
        noise alone gives with statistics.
    """
    from napari_dipmtv.tomo.reconstruct import reconstruct

    if how.scoring == "truth":
        assert truth is not None  # see check_scoring
        found = reconstruct(series, method, settings, device).volume
        return float(np.linalg.norm(found.data - truth.data) / np.linalg.norm(truth.data))
    parts = [
        deviance(reconstruct(fitted, method, settings, device).volume, unseen)
        for fitted, unseen in splits(series, how)
    ]
    return float(np.mean(parts))


def splits(series: TiltSeries, how: SweepSettings) -> Iterator[tuple[TiltSeries, TiltSeries]]:
    """Pairs of a series to fit and one to predict; the same for every point of a search."""
    if how.scoring == "thinned":
        from napari_dipmtv.tomo.thinning import thin

        yield thin(series, how.share, np.random.default_rng(how.seed))
        return
    views = np.arange(len(series.tilts_deg))
    for fold in range(how.folds):
        left_out = views % how.folds == fold
        yield views_of(series, ~left_out), views_of(series, left_out)


def views_of(series: TiltSeries, keep: np.ndarray) -> TiltSeries:
    """The views of a series where ``keep`` (t,) is True."""
    return series.replace(
        data=series.data[:, keep],
        tilts_deg=tuple(np.array(series.tilts_deg)[keep].tolist()),
        covariance=None if series.covariance is None else series.covariance[:, :, keep],
        valid=None if series.valid is None else series.valid[keep],
        alignment=None,
    )


def deviance(volume: Volume, unseen: TiltSeries) -> float:
    """Mean deviance of data under the projections of a volume, over the usable pixels; see `score_of`."""
    import torch

    from napari_dipmtv.projection.geometry import Geometry
    from napari_dipmtv.projection.sparse import SparseProjector

    _, nz, ny, nx = volume.data.shape
    projector = SparseProjector(Geometry.of((nz, ny, nx), unseen.tilts_deg))
    p = projector(torch.from_numpy(volume.data)).numpy().astype(np.float64)
    y = unseen.data.astype(np.float64)
    good = np.ones(y.shape[1:], bool) if unseen.valid is None else unseen.valid
    if unseen.counts_per_unit is not None:
        n, m = y * unseen.counts_per_unit, np.maximum(p * unseen.counts_per_unit, 1e-3)
        ratio = np.where(n > 0, n / m, 1.0)
        each = 2 * (n * np.log(ratio) - n + m)
        return float(each[:, good].mean())
    r = p - y
    if unseen.covariance is not None:
        c = np.moveaxis(unseen.covariance[:, :, good].astype(np.float64), -1, 0)  # (pixel, c, c)
        c += 1e-6 * np.trace(c, axis1=1, axis2=2).mean() * np.eye(len(y))
        rg = r[:, good].T
        return float(np.einsum("pi,pi->p", rg, np.linalg.solve(c, rg[..., None])[..., 0]).mean() / len(y))
    return float((r[:, good] ** 2).mean() / (y[:, good] ** 2).mean())
