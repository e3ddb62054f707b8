"""Spectra alone become L references: the way M edges differ, taken to the purest pixels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from napari_dipmtv.data import SpectrumSeries
from napari_dipmtv.errors import InputError, expected
from napari_dipmtv.settings.spectra import ReferenceSettings
from napari_dipmtv.spectra.edge_plane import edge_plane
from napari_dipmtv.spectra.l_references import by_valence, common_energy, taught
from napari_dipmtv.spectra.purify import BY_PIXELS, STILL_MIXED
from napari_dipmtv.spectra.references import LReferences

_STANDS_OUT = 1.5  # variance of the direction of difference over that of noise


def auto_l_references(
    series: SpectrumSeries,
    settings: ReferenceSettings | None = None,
    names: tuple[str, ...] = ("FeO", "Fe3O4"),
) -> LReferences:
    """Find two L references without regions.

    The low-loss edges of all pixels lie in a plane (`edge_plane`). The mean edge plus and minus the direction
    of difference span the plane of the two phases; the core loss of all pixels is regressed on their maps,
    and purification moves both to the purest pixels. The one with more intensity at the low-energy side of
    Fe-L3 is the reduced phase and gets the first name.

    Raises
    ------
    InputError
        For other than two names, when no second edge shape stands out of the noise, or for a purification by
        other than pixels.
    """
    settings = ReferenceSettings() if settings is None else settings
    if len(names) != 2:
        raise InputError(
            expected(
                "phases of automatic references",
                "2, whose edges differ along one line with two ends",
                len(names),
                "Draw a region for each phase, load their spectra, or set 'automatic' to blind",
            )
        )
    if settings.purify not in BY_PIXELS:
        wanted = " or ".join(BY_PIXELS)
        raise InputError(
            expected("purification of automatic references", wanted, settings.purify, "Draw regions instead")
        )
    common_energy(series)
    plane = edge_plane(series, settings, 2)
    if plane.strength < _STANDS_OUT:
        raise InputError(
            expected(
                "low-loss spectra",
                f"two edge shapes that stand out of the noise by {_STANDS_OUT}",
                f"{plane.strength:.2f}",
                "Draw regions, bin pixels, or use more tilts",
            )
        )

    def learnt(sign: float, purification: ReferenceSettings) -> LReferences:
        low = plane.references(names, np.array([[1.0, sign], [1.0, -sign]]), ("found automatically",) * 2)
        return taught(series, low, purification, keep_purer=False)

    mixed = learnt(1.0, settings.replace(purify="none")).spectra
    reduced_first = by_valence(mixed, settings) == mixed
    found = learnt(1.0 if reduced_first else -1.0, settings)
    said = (
        f"{names[0]} and {names[1]} found automatically in the purest {settings.extreme_share:.0%} of the "
        "metal signal at each end."
    )
    words = tuple(open_range.words for open_range in found.ranges)
    return replace(found, raw=(), taken_off=(), notes=(said, STILL_MIXED, *words))
