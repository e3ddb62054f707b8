"""Maps to the one signal that the search looks at, and to the pose from which the search starts."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter

from napari_dipmtv.alignment.apply import fill_invalid
from napari_dipmtv.alignment.dose import dose_factors, equalise
from napari_dipmtv.alignment.gauge import Pose
from napari_dipmtv.alignment.start import centres_of_mass, correlated
from napari_dipmtv.data import ChannelMaps
from napari_dipmtv.errors import InputError, expected
from napari_dipmtv.settings.align import AlignSettings


def alignment_signal(maps: ChannelMaps, settings: AlignSettings) -> ChannelMaps:
    """The one channel that is looked at: a named one or the sum, with even dose where asked for.

    Raises
    ------
    InputError
        For a channel that is not there, or one without signal in a view.
    """
    if settings.signal and settings.signal not in maps.channels:
        raise InputError(
            expected(
                "setting 'signal'",
                f"one of {', '.join(maps.channels)}, or nothing",
                settings.signal,
                "Choose one",
            )
        )
    data = (
        maps.data[[maps.channels.index(settings.signal)]] if settings.signal else maps.data.sum(axis=0)[None]
    )
    signal = ChannelMaps(data, ("signal",), maps.tilts_deg, maps.pixel_nm, valid=maps.valid)
    factors = dose_factors(signal)  # refuses views without signal in this channel
    return equalise(signal, factors) if settings.equalise_dose else signal


def first_guess(signal: ChannelMaps, settings: AlignSettings) -> Pose:
    """Displacements to start the matching from, with the axis as the settings say."""
    angle_deg = settings.axis_angle_deg
    if settings.start == "none":
        return Pose(np.zeros((len(signal.tilts_deg), 2)), angle_deg)
    if settings.start == "cross-correlation":
        sigma = settings.smoothing_px
        views = gaussian_filter(fill_invalid(signal)[0], (0, sigma, sigma))
        return Pose(correlated(views, signal.tilts_deg), angle_deg)
    return Pose(centres_of_mass(signal.data[0], signal.tilts_deg), angle_deg)
