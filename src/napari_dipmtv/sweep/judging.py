"""Data of any stage to pairs of an aligned series to fit and one to judge by, the same judge for every point."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import numpy as np

from napari_dipmtv import pipeline
from napari_dipmtv.data import (
    F32,
    ChannelMaps,
    DualSpectrumImage,
    MapStack,
    SpectrumImage,
    SpectrumSeries,
    TiltSeries,
)
from napari_dipmtv.settings.align import AlignSettings
from napari_dipmtv.settings.spectra import PrepareSettings, ReferenceSettings, UnmixSettings
from napari_dipmtv.settings.sweep import SweepSettings
from napari_dipmtv.states import run
from napari_dipmtv.sweep.task import Stages, Task
from napari_dipmtv.tomo.thinning import thin

Pair = tuple[MapStack, MapStack | None]


def pairs(task: Task, stages: Stages) -> Iterator[tuple[TiltSeries, TiltSeries | None, TiltSeries | None]]:
    """Give what to fit, what to judge by (None: the truth judges), and the HAADF series, aligned as the stages say.

    The judge of a point is unmixed with the settings that are not searched, so that all points answer to one judge;
    it is aligned as the fitted part was found to lie, because its frame is that of the volume.
    """
    settings = stages.get("align")
    for fitted, judge in _maps(task, stages):
        if isinstance(settings, AlignSettings):
            yield _aligned(task, cast(ChannelMaps, fitted), cast("ChannelMaps | None", judge), settings)
        else:
            yield cast(tuple[TiltSeries, TiltSeries | None, TiltSeries | None], (fitted, judge, task.haadf))


def _maps(task: Task, stages: Stages) -> Iterator[Pair]:
    if isinstance(task.data, SpectrumSeries):
        yield _unmixed(task, task.data, stages)
    elif task.how.scoring == "truth":
        yield task.data, None
    else:
        yield from splits(task.data, task.how)


def splits(maps: MapStack, how: SweepSettings) -> Iterator[tuple[TiltSeries, TiltSeries]]:
    """Pairs of maps to fit and to predict; the same for every point of a search."""
    series = cast(TiltSeries, maps)  # aligned or not does not matter here
    if how.scoring == "thinned":
        yield thin(series, how.share, np.random.default_rng(how.seed))
        return
    views = np.arange(len(maps.tilts_deg))
    for fold in range(how.folds):
        left_out = views % how.folds == fold
        yield views_of(series, ~left_out), views_of(series, left_out)


def views_of(series: TiltSeries, keep: np.ndarray) -> TiltSeries:
    """The views of a series where ``keep`` (t,) is True."""
    return series.only(keep).replace(alignment=None)


def _aligned(
    task: Task, fitted: ChannelMaps, judge: ChannelMaps | None, settings: AlignSettings
) -> tuple[TiltSeries, TiltSeries | None, TiltSeries | None]:
    haadf = None
    if task.haadf is None:
        series = pipeline.align(fitted, settings, task.device)
    else:
        images = cast(ChannelMaps, task.haadf)  # see check_scoring
        series, haadf = pipeline.align_both(fitted, images, settings, task.device)
    assert series.alignment is not None
    placed = None if judge is None else pipeline.apply_found(judge, series.alignment, settings)
    return series, placed, haadf


def _unmixed(task: Task, series: SpectrumSeries, stages: Stages) -> Pair:
    """Maps of the kept electrons at the point, and of the others with the settings that are not searched."""
    prepared = run(pipeline.prepare_states(series, cast(PrepareSettings, stages["prepare"]))).whole()
    if task.how.scoring == "truth":
        return _unmixed_by(task, prepared, stages), None
    share, random = task.how.share, np.random.default_rng(task.how.seed)
    parts = [thinned_pair(pair, share, random) for pair in prepared.tilts]
    kept, rest = (SpectrumSeries(tuple(one)) for one in zip(*parts, strict=True))
    fixed = task.at({})[1]
    return _whole_dose(_unmixed_by(task, kept, stages), share), _whole_dose(
        _unmixed_by(task, rest, fixed, learn_from=prepared), 1 - share
    )


def _unmixed_by(
    task: Task, series: SpectrumSeries, stages: Stages, *, learn_from: SpectrumSeries | None = None
) -> ChannelMaps:
    source: pipeline.ReferenceSource = task.regions or "auto"
    learn = cast(ReferenceSettings, stages["references"])
    pair = pipeline.references(learn_from or series, source, learn)
    return run(pipeline.unmix_states(series, pair, cast(UnmixSettings, stages["unmix"]))).whole().maps


def thinned_pair(
    pair: DualSpectrumImage, share: float, random: np.random.Generator
) -> tuple[DualSpectrumImage, DualSpectrumImage]:
    """Deal the electrons of both spectrum images of a tilt to two parts that do not know of each other's noise."""
    low, core = (_dealt(image, share, random) for image in (pair.low_loss, pair.core_loss))
    return DualSpectrumImage(low[0], core[0]), DualSpectrumImage(low[1], core[1])


def _dealt(
    image: SpectrumImage, share: float, random: np.random.Generator
) -> tuple[SpectrumImage, SpectrumImage]:
    # resampled spectra have fractions, read-out noise goes below 0: both keep their mean
    whole = np.floor(image.counts + random.random(image.counts.shape, dtype=np.float32)).astype(np.int64)
    kept = np.sign(whole) * random.binomial(np.abs(whole), share)
    first: F32 = kept.astype(np.float32)
    return image.replace(counts=first), image.replace(counts=(whole - kept).astype(np.float32))


def _whole_dose(maps: ChannelMaps, share: float) -> ChannelMaps:
    """Maps of a share of the electrons in the units of all of them."""
    covariance = None if maps.covariance is None else maps.covariance / np.float32(share**2)
    return maps.replace(data=maps.data / np.float32(share), covariance=covariance)
