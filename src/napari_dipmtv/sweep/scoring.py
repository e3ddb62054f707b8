"""A point of a search to one number: how badly unseen data, or the truth, are met."""

from __future__ import annotations

from typing import cast

import numpy as np

from napari_dipmtv.data import MapStack, TiltSeries, Volume
from napari_dipmtv.errors import InputError, expected
from napari_dipmtv.settings.fused import FUSED_METHODS, FusedMethod, FusedMethodSettings
from napari_dipmtv.settings.tomo import Method, MethodSettings
from napari_dipmtv.sweep.judging import pairs
from napari_dipmtv.sweep.space import Point
from napari_dipmtv.sweep.task import AnySettings, Task

FEWEST_VIEWS = 3  # that a reconstruction wants
CHOOSES_DATA = ("align.exclude_views",)


def check_scoring(task: Task, names: tuple[str, ...]) -> None:
    """Refuse a search whose data do not allow its scoring, before the first job.

    Raises
    ------
    InputError
        For a missing truth, thinning without statistics, views held out that are too few or not aligned yet, a searched
        setting that would choose its own judge, and a fused method without, or another one with HAADF images.
    """
    _check_haadf(task)
    scoring, data = task.how.scoring, task.data
    if scoring == "truth":
        if task.truth is None:
            advice = "Give it, or score by thinning"
            raise InputError(expected("scoring by truth", "the true volume", "none", advice))
        return
    chosen = [name for name in names if name.startswith("prepare.") or name in CHOOSES_DATA]
    if chosen:
        advice = "Score it by a truth, for example on a simulated series"
        got = f"{', '.join(chosen)}, which changes them"
        raise InputError(expected(f"scoring by {scoring}", "settings behind the unseen data", got, advice))
    if scoring == "held-out" and not isinstance(data, TiltSeries):
        advice = "Align first, or score by thinning"
        raise InputError(expected("scoring by held-out views", "aligned maps", "others", advice))
    if isinstance(data, MapStack):
        _check_maps(data, task)


def _check_maps(maps: MapStack, task: Task) -> None:
    if task.how.scoring == "thinned" and maps.counts_per_unit is None and maps.covariance is None:
        advice = "Load raw counts as such, or score by held-out views"
        raise InputError(
            expected("scoring by thinning", "counts or a covariance", "maps without statistics", advice)
        )
    views = len(maps.tilts_deg)
    if task.how.scoring == "held-out" and views - -(-views // task.how.folds) < FEWEST_VIEWS:
        advice = "Take more folds, or score by thinning"
        raise InputError(expected("scoring by held-out views", f"{FEWEST_VIEWS} views left", views, advice))


def _check_haadf(task: Task) -> None:
    fused = task.method in FUSED_METHODS
    if fused != (task.haadf is not None):
        wanted, got = ("a HAADF series", "none") if fused else ("no HAADF series", "one")
        advice = "Give --haadf and --haadf-angles" if fused else "Take a fused method, or leave it out"
        raise InputError(expected(f"search of {task.method}", wanted, got, advice))
    if task.haadf is not None and isinstance(task.haadf, TiltSeries) != isinstance(task.data, TiltSeries):
        raise InputError(
            expected("HAADF series", "aligned or not, as the maps", "the other", "Align both, or none")
        )


def score_of(task: Task, point: Point) -> float:
    """Reconstruct and score; lower is better.

    Returns
    -------
    float
        "truth": ``|x - truth| / |truth|``, the truth moved and scaled onto the volume where the data were aligned here.
        Otherwise the mean deviance per data point of the unseen data: Poisson for counts, Mahalanobis for maps with
        covariance, squared error over mean square without either. 1 is what the noise alone gives with statistics.
    """
    settings, stages = task.at(point)
    scores = []
    for fitted, judge, haadf in pairs(task, stages):
        found = _reconstructed(task, fitted, haadf, settings)
        scores.append(_distance(found, task) if judge is None else deviance(found, judge))
    return float(np.mean(scores))


def _reconstructed(task: Task, series: TiltSeries, haadf: TiltSeries | None, settings: AnySettings) -> Volume:
    from napari_dipmtv import pipeline

    if haadf is None:
        method, own = cast(Method, task.method), cast(MethodSettings, settings)
        return pipeline.reconstruct(series, method, own, task.device).whole()
    fused, own_fused = cast(FusedMethod, task.method), cast(FusedMethodSettings, settings)
    return pipeline.fuse(series, haadf, fused, own_fused, task.device).whole()


def _distance(found: Volume, task: Task) -> float:
    truth = task.truth
    assert truth is not None  # see check_scoring
    if not isinstance(task.data, TiltSeries):  # an alignment of its own has a frame of its own
        from napari_dipmtv.inspect.register import register

        truth = register(truth, found).volume
    return float(np.linalg.norm(found.data - truth.data) / np.linalg.norm(truth.data))


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
        n, m = y * unseen.gain, np.maximum(p * unseen.gain, 1e-3)
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
