"""Maps and an alignment to what a person wants to see of it: errors, sinograms, doses, views that are cut off."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_dipmtv.alignment.dose import dose_factors, dose_is_uneven
from napari_dipmtv.alignment.gauge import Pose
from napari_dipmtv.alignment.mapping import displacements
from napari_dipmtv.alignment.matcher import Match, Matcher, Reconstruct
from napari_dipmtv.alignment.signal import alignment_signal
from napari_dipmtv.alignment.spikes import spikes
from napari_dipmtv.alignment.views import chosen_views, left_out_note, shows_something, spread
from napari_dipmtv.data import F32, Alignment, ChannelMaps, Volume
from napari_dipmtv.settings.align import AlignSettings

TURNED = 3.0  # times more unlike profiles along y than along x: the tilt axis lies the other way
CUT_SHARE = 0.05  # of the mass of a view beyond its field of view, from which the view is named


@dataclass(frozen=True, slots=True, eq=False)
class AlignmentReport:
    """How good an alignment is, view by view; NaN (or zeros) for views that were left out.

    Attributes
    ----------
    tilts_deg : tuple of float (t)
    before, after : float32 arrays (t, x)
        Sinograms of the signal, summed over y: raw, and as aligned and reduced. Smooth tracks are good.
    view_errors : tuple of float (t)
        ``|P x - y| / |y|`` of every aligned view, smoothed as for the search, against a quick reconstruction.
    error : float
        The same over all views.
    dose : tuple of float (t)
        Relative dose of every view over the rows that all views show; see `dose_factors`.
    cut_share : tuple of float (t)
        Share of the re-projected signal that lies where the aligned view shows nothing.
    notes : tuple of str
        What deserves a look, in words.
    volume : Volume
        The quick reconstruction, one channel: sharp where the alignment is right.
    """

    tilts_deg: tuple[float, ...]
    before: F32
    after: F32
    view_errors: tuple[float, ...]
    error: float
    dose: tuple[float, ...]
    cut_share: tuple[float, ...]
    notes: tuple[str, ...]
    volume: Volume


def alignment_report(
    maps: ChannelMaps,
    alignment: Alignment,
    settings: AlignSettings | None = None,
    *,
    reconstruct: Reconstruct,
    scale: int = 1,
) -> AlignmentReport:
    """Judge an alignment, an estimated one or one that was changed by hand.

    Parameters
    ----------
    maps : ChannelMaps
        Not aligned.
    alignment : Alignment
    settings : AlignSettings, optional
        Signal, smoothing, dose and views to leave out are those of the search.
    reconstruct : callable
        As for `estimate`.
    scale : int
        Reduces the views, for a quick look; errors compare within one scale.
    """
    settings = settings or AlignSettings()
    chosen = chosen_views(maps, settings)
    used = shows_something(chosen)
    signal = alignment_signal(chosen.only(used), settings)
    pose = Pose(displacements(alignment)[used], alignment.axis_angle_deg)
    match = Matcher(signal, settings.smoothing_px, reconstruct).judge(pose, scale)
    cut = np.where(match.valid, 0, match.projected).sum(axis=(1, 2)) / match.projected.sum(axis=(1, 2))
    after = np.where(match.valid, match.measured, 0).sum(axis=1)
    dose = dose_factors(alignment_signal(chosen.only(used), settings.replace(equalise_dose=False)))
    return AlignmentReport(
        tilts_deg=maps.tilts_deg,
        before=spread(signal.data[0].sum(axis=1), used, 0.0),
        after=spread(after, used, 0.0),
        view_errors=tuple(spread(np.array(match.view_errors), used, np.nan).tolist()),
        error=match.error,
        dose=tuple(spread(np.array(dose), used, np.nan).tolist()),
        cut_share=tuple(spread(cut.astype(np.float64), used, np.nan).tolist()),
        notes=(
            *_spike_note(maps, settings),
            *_turn_note(match),
            *_notes(maps, used, cut, dose, settings, alignment),
        ),
        volume=match.volume,
    )


def _notes(
    maps: ChannelMaps,
    used: NDArray[np.bool_],
    cut: NDArray[np.float64],
    dose: tuple[float, ...],
    settings: AlignSettings,
    alignment: Alignment,
) -> Iterator[str]:
    if not used.all():
        yield left_out_note(maps.tilts_deg, used)
    tilts = np.array(maps.tilts_deg)[used]
    for tilt, share in zip(tilts[cut > CUT_SHARE], cut[cut > CUT_SHARE], strict=True):
        yield f"At {tilt:g} deg {share:.0%} of the object lies outside the field of view."
    if dose_is_uneven(dose) and not settings.equalise_dose:
        yield (
            f"The views differ in dose by a factor of {max(dose) / min(dose):.1f}; equalise it if every view "
            "shows the whole object."
        )
    error = alignment.axis_angle_error_deg
    if error is not None and not np.isfinite(error):
        taken = f"it is taken as {alignment.axis_angle_deg:g} deg"
        yield f"The views do not tell the axis angle (a sphere has none): {taken}."
    away = abs(alignment.axis_angle_deg - settings.axis_angle_deg)
    if settings.find_axis_angle and away > settings.max_axis_angle_deg - 0.01:
        yield f"The axis angle stands at the limit of {settings.max_axis_angle_deg:g} deg: allow a larger one."


def _spike_note(maps: ChannelMaps, settings: AlignSettings) -> Iterator[str]:
    count = int(spikes(maps).sum())
    if count:
        what = "have no weight" if settings.ignore_spikes else "are taken as signal"
        yield f"{count} pixels stand out like X-ray hits or a saturated detector and {what}."


def _turn_note(match: Match) -> Iterator[str]:
    """Every view shows the same mass between two planes across the tilt axis: along y, unless the axis lies along x."""
    common = match.valid.all(axis=0)  # (y, x)
    seen = np.where(common, match.measured, 0)
    if seen.sum() < (1 - CUT_SHARE) * match.projected.sum():
        return  # what is cut off spoils the profiles
    along_y, along_x = (seen.sum(axis=axis) for axis in (2, 1))  # (t, y), (t, x)
    unlike_y, unlike_x = (float(profile.var(axis=0).sum()) for profile in (along_y, along_x))
    if unlike_y > TURNED * unlike_x:
        yield (
            "Along x all views show the same profile, along y they do not: the tilt axis seems to lie horizontally. "
            "Load the maps with the tilt axis along x."
        )
