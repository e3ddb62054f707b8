"""Two mixed L references become the references of the purest pixels, and what stays open."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import convolve, uniform_filter1d

from napari_dipmtv.data import F64, ChannelMaps, ReferenceSpectrum
from napari_dipmtv.errors import InputError, expected
from napari_dipmtv.settings.spectra import ReferenceSettings
from napari_dipmtv.spectra.references import LReferences, condition_number

_RING = np.array([[1.0, 1.0, 1.0], [1.0, 0.0, 1.0], [1.0, 1.0, 1.0]])
_CERTAIN = 5.0  # signal to noise of the Fe around a pixel from which on it is ranked


def purified(
    raw: LReferences, iron: ChannelMaps, settings: ReferenceSettings, keep_purer: bool = True
) -> LReferences:
    """Replace two mixed references by purer combinations of them, each again of equal Fe content.

    Every projection of a core-shell particle crosses the shell, so regions are mixtures, and spectra alone
    cannot say how much: positivity allows far too much, because FeO has intensity wherever Fe3O4 has (shares
    of 0.6 instead of 0.33 on a known mixture). ``extreme`` uses the beam's geometry: among all pixels of all
    tilts some, at edges and in the core, pass through almost one phase only. They are found in maps of the
    low loss, which counts 50 times more Fe; each pixel is *ranked* by the eight around it and *measured* by
    itself, so noise is not mistaken for purity.

    Parameters
    ----------
    raw : LReferences
        Mixed, equal Fe content.
    iron : ChannelMaps
        Fe content of all pixels in terms of the mixed references, unbiased, with covariance.
    settings : ReferenceSettings
    keep_purer : bool
        A region purer than the extreme pixels stays as it is; False where the mixed references are no
        regions.

    Raises
    ------
    InputError
        For other than two references, or impossible known shares.
    """
    if settings.purify == "none":
        said = "References taken as they are: what they hold of the other phase mixes the maps by that share."
        return replace(raw, notes=(*raw.notes, said))
    if len(raw.spectra) != 2:
        raise InputError(
            expected(
                "references to purify",
                2,
                len(raw.spectra),
                "Set the purification to none, or give two regions",
            )
        )
    pair = np.stack([s.intensity for s in raw.spectra])
    if settings.purify == "known":
        mixing, how = known_mixing(settings.known_in_reduced, settings.known_in_oxidised), "as given"
    else:
        mixing = extreme_mixing(iron, settings.extreme_share, positivity_limits(pair, raw.energy.step_ev))
        if keep_purer:
            mixing = np.array([max(mixing[0, 0], 1.0), min(mixing[1, 0], 0.0)])[:, None] @ [[1.0, -1.0]] + [
                0.0,
                1.0,
            ]
        how = f"so that the purest {settings.extreme_share:.0%} of the Fe signal at each end counts as pure"
    return _remixed(raw, mixing, how)


def known_mixing(in_reduced: float, in_oxidised: float) -> F64:
    """Give the rows that make pure references from mixed ones whose foreign shares are known."""
    if in_reduced + in_oxidised > 0.95:
        raise InputError(
            expected(
                "foreign shares",
                "a sum below 0.95",
                in_reduced + in_oxidised,
                "Exchange or redraw the regions",
            )
        )
    return np.linalg.inv(np.array([[1 - in_reduced, in_reduced], [in_oxidised, 1 - in_oxidised]]))


def extreme_mixing(maps: ChannelMaps, extreme_share: float, limits: tuple[float, float]) -> F64:
    """Give the rows that make the references of the purest pixels of all tilts from those of the maps."""
    assert maps.covariance is not None
    iron, share, own = _ranked(
        maps.data.astype(np.float64), maps.covariance.sum(axis=(0, 1)).astype(np.float64)
    )
    if iron.size == 0:
        raise InputError(
            expected(
                "particle", f"pixels of Fe-M signal to noise {_CERTAIN:g}", "none", "Purify with known shares"
            )
        )
    order = np.argsort(share)
    reached = np.cumsum(iron[order]) / iron.sum()
    low = own[:, order[: np.searchsorted(reached, extreme_share) + 1]].sum(axis=1)
    high = own[:, order[np.searchsorted(reached, 1 - extreme_share) :]].sum(axis=1)
    most = min(
        float(high[0] / high.sum()), 1 / (1 - limits[0])
    )  # never beyond a spectrum without negative intensity
    least = max(float(low[0] / low.sum()), 1 - 1 / (1 - limits[1]))
    if most - least < 0.01:
        raise InputError(
            expected(
                "purest pixels",
                "a spread of Fe shares",
                f"{least:.2f} to {most:.2f}",
                "Use more pixels or tilts, or purify with known shares",
            )
        )
    return np.array([[most, 1 - most], [least, 1 - least]])


def _ranked(data: F64, variance: F64) -> tuple[F64, F64, F64]:
    """Give Fe content and reduced share of the ring around each certain pixel, and its own maps (2, p)."""
    ring = np.stack([[convolve(view, _RING, mode="constant") for view in channel] for channel in data])
    noise = np.sqrt(np.stack([convolve(view, _RING, mode="constant") for view in variance]))
    iron = ring.sum(axis=0)
    certain = iron > _CERTAIN * np.maximum(noise, 1e-12)
    return iron[certain], ring[0][certain] / iron[certain], data[:, certain]


def positivity_limits(pair: F64, step_ev: float) -> tuple[float, float]:
    """Largest share of the other reference in each that leaves no negative intensity (2 eV running mean)."""
    width = max(round(2.0 / step_ev), 1)
    smooth = uniform_filter1d(pair, width, axis=1)
    strong: NDArray[np.bool_] = (smooth > 0.1 * smooth.max(axis=1, keepdims=True)).all(axis=0)
    if not strong.any():
        return 0.0, 0.0
    ratio = smooth[0, strong] / smooth[1, strong]
    return float(np.clip(ratio.min(), 0, 0.95)), float(np.clip((1 / ratio).min(), 0, 0.95))


def _remixed(raw: LReferences, mixing: F64, how: str) -> LReferences:
    intensities = mixing @ np.stack([s.intensity for s in raw.spectra])
    back = np.linalg.inv(mixing)
    taken = (float(back[0, 1]), float(back[1, 0]))
    limits = positivity_limits(intensities, raw.energy.step_ev)
    spectra = tuple(
        ReferenceSpectrum(s.name, intensity, s.energy, f"{s.source}, purified".lstrip(", "))
        for s, intensity in zip(raw.spectra, intensities, strict=True)
    )
    first, second = raw.names
    said = (
        f"{taken[0]:.0%} {second} was taken off the {first} reference and {taken[1]:.0%} {first} off the "
        f"{second} one, {how}; positivity alone would allow another {limits[0]:.0%} and {limits[1]:.0%}. "
        "What is left of the other phase in a reference mixes the maps by the same share."
    )
    return replace(
        raw,
        spectra=spectra,
        condition=condition_number(intensities),
        notes=(*raw.notes, said),
        taken_off=taken,
        ambiguity=limits,
    )
