"""Maps and a quick reconstruction to shifts and tilt axis: projection matching, coarse to fine, as states."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from napari_dipmtv.alignment.gauge import as_alignment
from napari_dipmtv.alignment.matcher import Match, Matcher, Reconstruct
from napari_dipmtv.alignment.moves import Moves
from napari_dipmtv.alignment.signal import alignment_signal, first_guess
from napari_dipmtv.alignment.views import chosen_views, left_out_note, shows_something, spread
from napari_dipmtv.data import Alignment, ChannelMaps
from napari_dipmtv.settings.align import AlignSettings
from napari_dipmtv.states import State

SCALES = (16, 8, 4, 2, 1)
SMALLEST_PX = 16  # a coarser view shows too little to match
ANGLE_STEPS_DEG = (1.5, 0.75)  # half-widths of the two angle searches per scale
DOUBTFUL_ANGLE_DEG = 0.5  # standard error from which an angle must prove that it is not the given one
PROOF = 16.0  # fall of the misfit in units of its noise: four standard deviations, as the best of many angles has three


def estimate(
    maps: ChannelMaps, settings: AlignSettings | None = None, *, reconstruct: Reconstruct
) -> Iterator[State[Alignment]]:
    """Find shifts, tilt-axis angle and axis offset of a series.

    Parameters
    ----------
    maps : ChannelMaps
        Views that show nothing, and those of ``settings.exclude_views``, are not looked at; their shift is 0.
    settings : AlignSettings, optional
    reconstruct : callable
        A quick reconstruction of an aligned one-channel series, as thick as wide, as
        `napari_dipmtv.alignment.most_likely.MostLikely`. It should be nearly converged: what a poor
        reconstruction cannot project is mistaken for a displacement.

    Yields
    ------
    State of Alignment
        One per round, after the first guess. Loss "reprojection": ``|P x - y| / |y|`` of the smoothed maps at
        the current scale. The snapshot is the pose of the lowest misfit at the finest scale, once that is
        reached.

    Raises
    ------
    GeometryError
        For fewer than three usable views, or tilts that look like radians.
    InputError
        For an unknown channel or view.

    Notes
    -----
    A move is the least-squares displacement of each view onto its projection, damped, limited and accelerated
    (`napari_dipmtv.alignment.moves`). The axis angle is first the best of a scan, then the minimum of a parabola
    through the Poisson misfits of three angles, twice per scale; the curvature gives its
    standard error. A doubtful angle that does not lower the misfit by four standard deviations (a sphere has none)
    becomes that of the settings with an infinite error, in one state more.
    """
    settings = settings or AlignSettings()
    chosen = chosen_views(maps, settings)
    track = _Track(maps.tilts_deg, shows_something(chosen))
    signal = alignment_signal(chosen.only(track.used), settings)
    scales = _scales(signal, settings)
    track.total = 1 + len(scales) * settings.rounds
    matcher = Matcher(signal, settings.smoothing_px, reconstruct)
    match = matcher.judge(first_guess(signal, settings), scales[0])
    given = settings.axis_angle_deg
    bounds = given - settings.max_axis_angle_deg, given + settings.max_axis_angle_deg
    if settings.find_axis_angle:
        match = matcher.scanned(match, scales[0], bounds)
    yield track.state(match, match, scales[0], "first guess")
    for scale in scales:
        if scale != scales[0]:
            match = matcher.judge(match.pose, scale)
        best, moves = match, Moves()
        for number in range(settings.rounds):
            if settings.find_axis_angle and number in (0, settings.rounds // 2):
                step = ANGLE_STEPS_DEG[number > 0]
                match, track.angle_error = matcher.turned(match, scale, step, bounds)
            match = matcher.judge(moves.next(match, signal.tilts_deg, scale, settings), scale)
            best = min(best, match, key=lambda m: m.misfit)
            yield track.state(match, best, scale, f"projection matching, scale 1:{scale}")
    if track.angle_error is not None and track.angle_error > DOUBTFUL_ANGLE_DEG:
        usual = matcher.judge(replace(best.pose, angle_deg=given), scales[-1])
        if matcher.independent(best) * (usual.misfit / best.misfit - 1) < PROOF:
            track.angle_error = np.inf
            words = f"the views do not tell the axis angle: taken as {given:g} deg"
            yield track.state(usual, usual, scales[-1], words)


@dataclass
class _Track:
    """What the search has seen so far, and how it is told for all views of the series."""

    tilts_deg: tuple[float, ...]
    used: NDArray[np.bool_]  # (t,)
    total: int = 0
    angle_error: float | None = None
    errors: list[float] = field(default_factory=list)
    view_errors: list[tuple[float, ...]] = field(default_factory=list)
    scales: list[int] = field(default_factory=list)

    def state(self, match: Match, best: Match, scale: int, stage: str) -> State[Alignment]:
        """Note a round; the snapshot is the best pose so far."""
        self.errors.append(match.error)
        self.scales.append(scale)
        self.view_errors.append(tuple(spread(np.array(match.view_errors), self.used, np.nan).tolist()))
        errors, view_errors, scales = tuple(self.errors), tuple(self.view_errors), tuple(self.scales)
        angle_error = self.angle_error
        note = left_out_note(self.tilts_deg, self.used)
        words = f"{stage}; {note}" if note else stage
        count = len(self.errors)

        def snapshot() -> Alignment:
            return replace(
                self._alignment(best),
                quality=errors,
                view_quality=view_errors,
                scales=scales,
                axis_angle_error_deg=angle_error,
            )

        return State(count, max(self.total, count), {"reprojection": match.error}, snapshot, stage=words)

    def _alignment(self, best: Match) -> Alignment:
        tilts = tuple(np.array(self.tilts_deg)[self.used].tolist())
        found = as_alignment(best.pose, tilts)
        return replace(found, shifts_px=spread(found.shifts_px, self.used, 0.0))


def _scales(signal: ChannelMaps, settings: AlignSettings) -> list[int]:
    smallest = min(signal.data.shape[2:])
    return [s for s in SCALES if s == 1 or (s <= settings.coarsest_binning and smallest // s >= SMALLEST_PX)]
