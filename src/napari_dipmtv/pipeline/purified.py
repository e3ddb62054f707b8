"""Mixed references become those of the phases in the volume: unmix, align, reconstruct, look into the voxels."""

from __future__ import annotations

from napari_dipmtv import spectra
from napari_dipmtv.data import SpectrumSeries, TiltSeries, Volume
from napari_dipmtv.pipeline.aligned import align
from napari_dipmtv.pipeline.maps import ReferencePair, unmix_states
from napari_dipmtv.settings.spectra import ReferenceSettings, UnmixSettings
from napari_dipmtv.settings.tomo import CsTvSettings
from napari_dipmtv.states import run

# less than for a picture: thin layers keep their contrast, and what noise does is corrected
TV_STRENGTH = 0.05


def purified_in_volume(
    series: SpectrumSeries, pair: ReferencePair, settings: ReferenceSettings
) -> ReferencePair:
    """Find what the voxels of each phase hold of mixed references, and mix these so that it is one of them alone.

    See `napari_dipmtv.spectra.mixing_in_volume`.
    """
    from napari_dipmtv.tomo.reconstruct import reconstruct_states

    plain = UnmixSettings(plural_scattering=settings.plural_scattering)
    maps = run(unmix_states(series, pair, plain)).whole().maps
    sharp = CsTvSettings(tv_strength=TV_STRENGTH)

    def volume(aligned: TiltSeries) -> Volume:
        return run(reconstruct_states(aligned, "cs-tv", sharp)).whole()

    found = spectra.mixing_in_volume(align(maps), volume)
    return ReferencePair(*spectra.purified_in_volume(pair.l, pair.m, found))
