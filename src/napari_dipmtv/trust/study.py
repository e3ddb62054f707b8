"""A tilt series to the whole trust report, part by part; can be stopped anywhere and goes on where it was."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from napari_dipmtv.data import TiltSeries, Volume
from napari_dipmtv.errors import InputError, expected
from napari_dipmtv.settings.inspect import SegmentSettings
from napari_dipmtv.settings.tomo import METHODS, Method, MethodSettings
from napari_dipmtv.settings.trust import TrustSettings
from napari_dipmtv.states import State
from napari_dipmtv.trust.held_out import FEWEST_VIEWS
from napari_dipmtv.trust.parts import Study, Work
from napari_dipmtv.trust.repeats import Maker, Repeats, here
from napari_dipmtv.trust.resample import noise_kind

__all__ = ["Study", "fingerprint", "study"]


def study(
    series: TiltSeries,
    settings: TrustSettings | None = None,
    method: Method = "dipm-tv",
    method_settings: MethodSettings | None = None,
    *,
    volume: Volume | None = None,
    given_halves: tuple[TiltSeries, TiltSeries] | None = None,
    segmentation: SegmentSettings | None = None,
    truth: Volume | None = None,
    device: str = "auto",
    resume: Mapping[str, Any] | None = None,
    done_by: Repeats = here,
) -> Iterator[State[Study]]:
    """Put every question of the trust study to a series.

    Parameters
    ----------
    series : TiltSeries
        Aligned maps.
    settings : TrustSettings, optional
    method, method_settings
        What made, or is to make, the volume under test; the repeats take what ``settings.repeat_method`` says.
    volume : Volume, optional
        Under test. Without it the data are reconstructed by the method of the repeats, and that volume is tested.
    given_halves : pair of TiltSeries, optional
        Measured independently (even and odd frames).
    segmentation : SegmentSettings, optional
    truth : Volume, optional
        For the comparison of methods, where it is known.
    device : str
    resume : mapping, optional
        The last checkpoint of an earlier run on the same data and settings.
    done_by : Repeats
        How the many reconstructions are done, see `napari_dipmtv.sweep.repeats.OnWorkers`; the numbers are the same.

    Yields
    ------
    State of Study
        Between the steps; the snapshot holds the parts reached so far.

    Raises
    ------
    InputError
        For a checkpoint of other data or settings, or a feature that the volume cannot have.
    """
    settings = settings or TrustSettings()
    own = method_settings or METHODS[method]()
    maker = Maker(*settings.of_repeats(method, own), device)
    mark = fingerprint(series, settings, maker, volume, segmentation, given_halves)
    saved = _opened(resume, mark)
    work = Work(series, settings, segmentation, maker, Maker(method, own, device), saved, mark, done_by)
    yield from work.reconstruct(volume)
    if settings.feature == "void" and noise_kind(series) != "residual":
        yield from work.cavity()
    if given_halves is not None or noise_kind(series) != "residual":
        yield from work.resolution(given_halves)
    if settings.held_out and len(series.tilts_deg) >= FEWEST_VIEWS:
        yield from work.held_out()
    yield from work.null_and_detection()
    if settings.members:
        yield from work.ensemble()
    if settings.compare:
        yield from work.compare(truth)
    yield work.state("done", work.total)


def fingerprint(
    series: TiltSeries,
    settings: TrustSettings,
    maker: Maker,
    volume: Volume | None,
    segmentation: SegmentSettings | None,
    given_halves: tuple[TiltSeries, TiltSeries] | None,
) -> str:
    """SHA-256 of everything that decides the numbers, so that a study never goes on with other data (F56)."""
    digest = hashlib.sha256()
    halves = [half.data for half in given_halves or ()]
    tested = None if volume is None else volume.data
    for array in (series.data, series.covariance, series.valid, tested, *halves):
        digest.update(b"none" if array is None else np.ascontiguousarray(array).tobytes())
    words = (
        series.tilts_deg,
        series.channels,
        series.pixel_nm,
        series.counts_per_unit,
        settings.model_dump_json(),
        maker.method,
        maker.settings.model_dump_json(),
        "" if segmentation is None else segmentation.model_dump_json(),
    )
    digest.update(repr(words).encode())
    return digest.hexdigest()


def _opened(resume: Mapping[str, Any] | None, mark: str) -> dict[str, dict[str, Any]]:
    """Checkpoints of the parts from a flat one; raises `InputError` when it belongs to another study."""
    if resume is None:
        return {}
    if str(resume["fingerprint"]) != mark:
        raise InputError(
            expected(
                "saved progress",
                "the same data and settings",
                "others",
                "Choose another folder, or delete the progress to start again",
            )
        )
    parts: dict[str, dict[str, Any]] = {}
    for name, value in resume.items():
        part, mark_, key = name.partition("/")
        if mark_:
            parts.setdefault(part, {})[key] = value
    return parts
