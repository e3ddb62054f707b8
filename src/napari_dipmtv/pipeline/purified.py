"""Mixed references become those of the phases in the volume: unmix, align, reconstruct, look into the voxels."""

from __future__ import annotations

import numpy as np

from napari_dipmtv import spectra
from napari_dipmtv.data import SpectrumSeries, TiltSeries, Volume
from napari_dipmtv.errors import InputError, expected
from napari_dipmtv.inspect import segment
from napari_dipmtv.inspect.fractions import channel_of
from napari_dipmtv.pipeline.aligned import align
from napari_dipmtv.pipeline.maps import ReferencePair, unmix_states
from napari_dipmtv.settings.spectra import ReferenceSettings, UnmixSettings
from napari_dipmtv.settings.tomo import CsTvSettings
from napari_dipmtv.spectra.purify_volume import TwoPhases
from napari_dipmtv.states import run

TV_STRENGTH = 0.05  # less than for a picture: thin layers keep their contrast, and boundaries move afterwards


def purified_in_volume(
    series: SpectrumSeries, pair: ReferencePair, settings: ReferenceSettings
) -> ReferencePair:
    """Find what the voxels of each phase hold of mixed references, and mix these so that it is one of them alone.

    See `napari_dipmtv.spectra.mixing_in_volume`.
    """
    plain = UnmixSettings(plural_scattering=settings.plural_scattering)
    maps = run(unmix_states(series, pair, plain)).whole().maps
    found = spectra.mixing_in_volume(align(maps), quick_volume, two_phases)
    return ReferencePair(*spectra.purified_in_volume(pair.l, pair.m, found))


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
    return TwoPhases(shares.astype(np.float32), found.densities, found.misfit)
