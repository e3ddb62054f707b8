"""Mixed references become those of the phases in the volume: unmix, align, reconstruct, look into the voxels."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import replace
from itertools import count
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_dipmtv import spectra
from napari_dipmtv.alignment import apply
from napari_dipmtv.data import ChannelMaps, SpectrumSeries, TiltSeries, Volume
from napari_dipmtv.errors import InputError, expected
from napari_dipmtv.inspect import segment
from napari_dipmtv.inspect.fractions import channel_of
from napari_dipmtv.pipeline.aligned import align_states
from napari_dipmtv.pipeline.maps import ReferencePair, unmix_states
from napari_dipmtv.settings.spectra import ReferenceSettings, UnmixSettings
from napari_dipmtv.settings.tomo import CsTvSettings
from napari_dipmtv.spectra.phases_of_maps import TwoPhases
from napari_dipmtv.spectra.purify_volume import STEPS
from napari_dipmtv.states import State, run

FEWEST_TILTS = 7  # for which it is tried unasked
MOST_PX = 64
TOTAL = STEPS + 2  # states: alignment, the steps of the measurement, the result
TV_STRENGTH = 0.05  # less than for a picture: thin layers keep their contrast, and boundaries move afterwards


def purified_states(
    series: SpectrumSeries, mixed: ReferencePair, settings: ReferenceSettings
) -> Iterator[State[ReferencePair]]:
    """Find what the voxels of each phase hold of mixed references, and mix these so that it is one of them alone.

    See `napari_dipmtv.spectra.mixing_steps`. Until that is done, a snapshot holds the mixed references.

    Raises
    ------
    InputError
        Where it cannot be done and ``settings.purify`` is ``volume``. With ``auto`` the references stay as they are,
        and their notes say why.
    """
    words = _steps(series, mixed, settings)
    for number in count(1):
        try:
            yield State(number, TOTAL, {}, lambda: mixed, stage=next(words))
        except StopIteration as end:
            pure, stage = end.value, "purified in the volume"
            break
        except InputError as reason:
            if settings.purify == "volume":
                raise
            pure, stage = _left(mixed, reason), "not purified in the volume"
            break
    yield State(TOTAL, TOTAL, {}, lambda: pure, stage=stage)


def _steps(
    series: SpectrumSeries, mixed: ReferencePair, settings: ReferenceSettings
) -> Generator[str, None, ReferencePair]:
    """Purify step by step; yields what comes next."""
    auto = settings.purify == "auto"
    tilts, advice = len(series.tilts), "Record more tilts, or load spectra of pure oxides"
    if auto and len(mixed.l.spectra) == 2 and tilts < FEWEST_TILTS:
        raise InputError(expected("tilts to purify in the volume", f"{FEWEST_TILTS} or more", tilts, advice))
    yield "unmixing and aligning, to purify in the volume"
    plain = UnmixSettings(plural_scattering=settings.plural_scattering)
    maps = coarse(run(unmix_states(series, mixed, plain)).whole().maps)
    found = yield from spectra.mixing_steps(aligned(maps), quick_volume, two_phases)
    if auto and found.doubt is not None:
        raise InputError(expected(*found.doubt, "Look into the volume for a third phase"))
    return ReferencePair(*spectra.purified_in_volume(mixed.l, mixed.m, found))


def _left(mixed: ReferencePair, reason: InputError) -> ReferencePair:
    """The references of the purest pixels, with the reason in their notes; one reference is never mixed."""
    if len(mixed.l.spectra) == 1:
        return mixed
    said = f"The references stay as their purest pixels gave them, not purified in the volume. {reason}"
    before = len(mixed.l.notes)  # those of the M references go on from there
    return ReferencePair(
        replace(mixed.l, notes=(*mixed.l.notes, said)),
        replace(mixed.m, notes=(*mixed.m.notes[:before], said, *mixed.m.notes[before:])),
    )


def coarse(maps: ChannelMaps) -> ChannelMaps:
    """Add up pixels of large maps: what a voxel holds needs no finer ones, and the time grows with their cube."""
    factor = -(-max(maps.data.shape[2:]) // MOST_PX)
    if factor == 1:
        return maps
    ny, nx = (size // factor for size in maps.data.shape[2:])

    def added(values: NDArray[Any]) -> NDArray[Any]:
        inside = values[..., : ny * factor, : nx * factor]
        return np.asarray(inside.reshape(*values.shape[:-2], ny, factor, nx, factor).sum(axis=(-3, -1)))

    valid = None if maps.valid is None else added(maps.valid) == factor**2
    covariance = None if maps.covariance is None else added(maps.covariance)
    return maps.replace(
        data=added(maps.data), covariance=covariance, valid=valid, pixel_nm=maps.pixel_nm * factor
    )


def aligned(maps: ChannelMaps) -> TiltSeries:
    """Align maps so that nothing fine is lost: a spline would thin the skin of a particle by what it takes off it."""
    return apply(maps, run(align_states(maps)).whole(), "fourier")


def quick_volume(maps: TiltSeries) -> Volume:
    """Reconstruct maps by CS-TV of little strength."""
    from napari_dipmtv.tomo.reconstruct import reconstruct_states

    return run(reconstruct_states(maps, "cs-tv", CsTvSettings(tv_strength=TV_STRENGTH))).whole()


def two_phases(maps: TiltSeries, volume: Volume) -> TwoPhases:
    """Segment a volume of two maps and refine its phases to what explains the maps.

    Raises
    ------
    InputError
        Where the volume holds other phases than one of each map.
    """
    from napari_dipmtv.trust.refine import refine

    phases = segment(volume)
    found = refine(maps, phases)
    names = found.shape.names
    if {channel_of(name, maps.channels) for name in names} - {None} != {0, 1} or len(found.densities) != 2:
        wanted, advice = (
            f"one of {maps.channels[0]} and one of {maps.channels[1]}",
            "Purify by extreme pixels",
        )
        raise InputError(expected("phases in the volume", wanted, ", ".join(names), advice))
    held = found.particle.volume.data.reshape(2, -1)
    shares = np.linalg.solve(found.densities.T, held).reshape(found.particle.volume.data.shape)
    shape = found.shape
    parts = np.zeros((int(shape.solid.sum()), *shares.shape[1:]), np.float32)
    parts[:, *shape.box] = shape.shares(shape.distances)[shape.solid]
    phase_of = tuple(int(m) for m in shape.materials[shape.solid])
    return TwoPhases(
        shares.astype(np.float32), found.densities, found.covariance, found.misfit, parts, phase_of
    )
