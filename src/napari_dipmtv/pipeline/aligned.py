"""Maps to an aligned series, alone or together with HAADF images, and moves by hand."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from napari_dipmtv.alignment import (
    AlignmentReport,
    alignment_report,
    chosen_views,
    dose_factors,
    equalise,
    estimate,
    guided,
    onto,
)
from napari_dipmtv.alignment import apply as apply_alignment
from napari_dipmtv.data import Alignment, ChannelMaps, MapStack, TiltSeries, Volume
from napari_dipmtv.errors import InputError, expected
from napari_dipmtv.pipeline.maps import OnState
from napari_dipmtv.settings.align import AlignSettings
from napari_dipmtv.states import State, never, run

if TYPE_CHECKING:
    from napari_dipmtv.io.tilt_rows import TiltTable


def report_alignment(
    maps: ChannelMaps,
    alignment: Alignment,
    settings: AlignSettings | None = None,
    device: str = "auto",
    *,
    scale: int = 1,
) -> AlignmentReport:
    """Judge an alignment view by view; see `napari_dipmtv.alignment.alignment_report`."""
    return alignment_report(maps, alignment, settings, reconstruct=_quick(device), scale=scale)


def _quick(device: str) -> Callable[[TiltSeries], Volume]:
    from napari_dipmtv.alignment.most_likely import MostLikely
    from napari_dipmtv.tomo.devices import pick_device

    return MostLikely(pick_device(device))


def align_states(
    maps: ChannelMaps, settings: AlignSettings | None = None, device: str = "auto"
) -> Iterator[State[Alignment]]:
    """Estimate the alignment; one state per round of projection matching."""
    return estimate(maps, settings, reconstruct=_quick(device))


def align(
    maps: ChannelMaps,
    settings: AlignSettings | None = None,
    device: str = "auto",
    *,
    guide: ChannelMaps | None = None,
    on_state: OnState | None = None,
    should_stop: Callable[[], bool] = never,
) -> TiltSeries:
    """Estimate the alignment and apply it with one interpolation; `KeyboardInterrupt` when stopped.

    With a ``guide``, images recorded beside the maps such as HAADF, the alignment is found on these
    (`napari_dipmtv.alignment.guided`) and applied to the maps.
    """
    settings = settings or AlignSettings()
    maps, seen = (maps, maps) if guide is None else guided(maps, guide)
    found = run(align_states(seen, settings, device), on_state=on_state, should_stop=should_stop)
    return apply_found(maps, found.whole(), settings)


def guide_of(
    maps: ChannelMaps, settings: AlignSettings, source: TiltTable | Path | None
) -> ChannelMaps | None:
    """Read the images that the settings name to align on, where they are no channel but were recorded with the maps.

    Parameters
    ----------
    maps : ChannelMaps
    settings : AlignSettings
        ``signal`` is their name.
    source : TiltTable or Path or None
        Where the maps come from: see `napari_dipmtv.io.companions.recorded_with`.
    """
    if source is None or settings.signal in ("", *maps.channels):
        return None
    from napari_dipmtv.io.companions import recorded_with

    _, ny, nx = maps.data.shape[1:]
    return recorded_with(source, settings.signal, (ny, nx))


def apply_found(maps: ChannelMaps, alignment: Alignment, settings: AlignSettings) -> TiltSeries:
    """Apply an alignment to the views that count, and equalise their dose where the settings ask for it."""
    series = apply_alignment(chosen_views(maps, settings), alignment, settings.interpolation)
    return equalise(series, dose_factors(series)) if settings.equalise_dose else series


def align_both(
    maps: MapStack,
    images: ChannelMaps,
    settings: AlignSettings | None = None,
    device: str = "auto",
    *,
    on_state: OnState | None = None,
    should_stop: Callable[[], bool] = never,
) -> tuple[TiltSeries, TiltSeries]:
    """Align a HAADF series, and chemical maps onto the volume that it shows.

    The HAADF has the views and the counts to find tilt axis, offset and shifts; its axis and offset hold for the maps,
    whose views are then moved onto the projections of its volume at their own tilts (`napari_dipmtv.alignment.onto`).

    Returns
    -------
    maps, images : TiltSeries

    Raises
    ------
    InputError
        For maps that are aligned already: their frame is another.
    KeyboardInterrupt
        When stopped.
    """
    if not isinstance(maps, ChannelMaps):
        advice = "Give the maps as they were before their alignment"
        raise InputError(expected("maps", "maps that are not aligned yet", "an aligned series", advice))
    settings = settings or AlignSettings()
    haadf = align(images, settings, device, on_state=on_state, should_stop=should_stop)
    assert haadf.alignment is not None
    guide = _quick(device)(haadf)
    states = onto(maps, guide, haadf.alignment, settings)
    found = run(states, on_state=on_state, should_stop=should_stop).whole()
    return apply_found(maps, found, settings.replace(exclude_views=())), haadf


def nudge(
    maps: ChannelMaps, series: TiltSeries, moves: Sequence[tuple[int, float, float]], settings: AlignSettings
) -> TiltSeries:
    """Move single views of an aligned series by hand, (view, dx_px, dy_px), with one interpolation of the raw maps."""
    if series.alignment is None:
        raise InputError(expected("tilt series", "its alignment", "none", "Align the maps first"))
    alignment = series.alignment
    for view, dx_px, dy_px in moves:
        alignment = alignment.nudged(view, dx_px, dy_px)
    return apply_found(maps, alignment, settings)
