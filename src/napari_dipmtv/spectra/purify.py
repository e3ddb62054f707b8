"""Mixed L references become the references of the purest pixels, and the range that stays open."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import convolve, uniform_filter1d

from napari_dipmtv.data import F64, ChannelMaps
from napari_dipmtv.errors import InputError, expected
from napari_dipmtv.settings.spectra import ReferenceSettings
from napari_dipmtv.spectra.references import LReferences, MixingRange, condition_number
from napari_dipmtv.spectra.ring import RING

_CERTAIN = 5.0  # signal to noise of the metal around a pixel from which on it is ranked
STILL_MIXED = (
    "Pure pixels exist only where some beam passes through one phase alone. Where every beam crosses a shell or a "
    "skin, the references keep a part of the other phase, which makes the map of a core with a thin skin up to 50 % "
    "too low. With two phases, purify=volume takes that off."
)
BY_PIXELS = ("auto", "extreme")  # auto may go on in the volume, which is for the pipeline to do
_MOST = 0.95  # share of another reference beyond which nothing of its own would be left


def purified(
    raw: LReferences, content: ChannelMaps, settings: ReferenceSettings, keep_purer: bool = True
) -> LReferences:
    """Replace mixed references by purer combinations of them, each again of equal metal content.

    Every projection of a core-shell particle crosses the shell, so regions are mixtures, and spectra alone
    cannot say how much: positivity allows far too much, because FeO has intensity wherever Fe3O4 has (shares
    of 0.6 instead of 0.33 on a known mixture). ``extreme`` uses the beam's geometry: among all pixels of all
    tilts some, at edges and in the core, pass through almost one phase only. They are found in maps of the
    low loss, which counts 50 times more metal; each pixel is *ranked* by the eight around it and *measured*
    by itself, so noise is not mistaken for purity.

    Parameters
    ----------
    raw : LReferences
        Mixed, equal metal content.
    content : ChannelMaps
        Metal content of all pixels in terms of the mixed references, unbiased, with covariance.
    settings : ReferenceSettings
    keep_purer : bool
        A region purer than the extreme pixels stays as it is; False where the mixed references are no
        regions.

    Raises
    ------
    InputError
        For known shares of other than two references, or impossible ones, without certain pixels, or for the
        purification in the volume, which `purify_volume` does.
    """
    spectra, step_ev = np.stack([s.intensity for s in raw.spectra]), raw.energy.step_ev
    if len(spectra) == 1:
        return replace(raw, notes=(*raw.notes, "One reference has nothing to be purified of."))
    if settings.purify == "volume":
        raise InputError(
            expected(
                "purification of references without maps",
                "auto, extreme, known or none",
                settings.purify,
                "Call pipeline.references, which aligns and reconstructs the maps",
            )
        )
    if settings.purify == "none":
        mixing = np.eye(len(spectra))
        how = "References taken as they are: what they hold of another phase mixes the maps by that share."
    elif settings.purify == "known":
        if len(spectra) != 2:
            raise InputError(
                expected(
                    "references of known shares", 2, len(spectra), "Set the purification to extreme or none"
                )
            )
        mixing, how = known_mixing(settings.known_in_reduced, settings.known_in_oxidised), "as given"
    else:
        mixing = extreme_mixing(content, settings.extreme_share)
        mixing = np.stack([_without_negatives(row, i, spectra, step_ev) for i, row in enumerate(mixing)])
        if keep_purer:
            mixing = np.stack([row if row[i] > 1 else np.eye(len(row))[i] for i, row in enumerate(mixing)])
        how = f"so that the purest {settings.extreme_share:.0%} of the metal signal of each counts as pure"
    _check_spread(mixing)
    limits = (STILL_MIXED,) if settings.purify in BY_PIXELS else ()
    ranges = mixing_ranges(mixing @ spectra, step_ev, content, mixing, settings)
    return _remixed(raw, mixing, how, ranges, limits)


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


def extreme_mixing(content: ChannelMaps, extreme_share: float) -> F64:
    """Give the rows that make the references of the purest pixels of all tilts from those of the maps."""
    purest = _purest(content, np.eye(len(content.channels)), extreme_share)
    if purest is None:
        raise InputError(
            expected(
                "particle",
                f"pixels whose metal stands {_CERTAIN:g} times out of the noise",
                "none",
                "Bin pixels, or purify with known shares",
            )
        )
    return purest.composition


def mixing_ranges(
    pure: F64, step_ev: float, content: ChannelMaps, mixing: F64, settings: ReferenceSettings
) -> tuple[MixingRange, ...]:
    """Say how much of each other reference each may still hold, or lack, against nothing but positivity.

    A reference may still hold as much of another as leaves no negative intensity in the spectrum (``most``).
    It may be too pure by as much as its purest pixels hold of the other (``least``, below zero): references
    mixed by that share would explain the same pixels without negative abundances. Both within noise.
    """
    limits = positivity_limits(pure, step_ev)
    back: F64 = np.asarray(np.linalg.inv(mixing), dtype=np.float64)
    purest = _purest(content, back, settings.extreme_share)
    ranges = []
    for i, j in zip(*np.nonzero(~np.eye(len(pure), dtype=bool)), strict=True):
        least = 0.0 if purest is None else -max(purest.composition[i, j] + 2 * purest.error[i, j], 0.0)
        ranges.append(
            MixingRange(content.channels[i], content.channels[j], float(least), float(limits[i, j]))
        )
    return tuple(ranges)


def positivity_limits(spectra: F64, step_ev: float) -> F64:
    """Largest share (n, n) of reference j in reference i that leaves no negative intensity.

    Spectra (n, e) by their running mean over 2 eV, where all of them are strong; 0 on the diagonal.
    """
    smooth, strong = _smooth(spectra, step_ev)
    if not strong.any():
        return np.zeros((len(spectra), len(spectra)))
    inside = smooth[:, strong]
    limits = np.clip((inside[:, None] / inside[None]).min(axis=2), 0, _MOST)
    return np.asarray(limits * ~np.eye(len(spectra), dtype=bool))


@dataclass(frozen=True, slots=True, eq=False)
class _Purest:
    """Composition (n, n) of the purest pixels of each reference, rows of sum 1, and its standard deviation."""

    composition: F64
    error: F64


def _purest(content: ChannelMaps, change: F64, extreme_share: float) -> _Purest | None:
    """Measure the purest pixels of each reference, in terms of ``content @ change``; None without any."""
    assert content.covariance is not None
    data = np.einsum("ctyx,cd->dtyx", content.data.astype(np.float64), change)
    covariance = np.einsum("ca,cdtyx,db->abtyx", change, content.covariance.astype(np.float64), change)
    if content.valid is not None:
        data, covariance = data * content.valid, covariance * content.valid
    around = np.stack([[convolve(view, RING, mode="constant") for view in channel] for channel in data])
    noise = np.sqrt(np.stack([convolve(view, RING, mode="constant") for view in covariance.sum(axis=(0, 1))]))
    metal = around.sum(axis=0)
    certain = metal > _CERTAIN * np.maximum(noise, 1e-12)
    if not certain.any():
        return None
    metal, share = metal[certain], around[:, certain] / metal[certain]
    composition, error = np.empty((2, len(data), len(data)))
    for i in range(len(data)):
        order = np.argsort(share[i])[::-1]
        taken = order[: np.searchsorted(np.cumsum(metal[order]) / metal.sum(), extreme_share) + 1]
        own = data[:, certain][:, taken].sum(axis=1)
        composition[i] = own / own.sum()
        variance = covariance[:, :, certain][:, :, taken].sum(axis=2)
        slope = (np.eye(len(data)) - composition[i][:, None]) / own.sum()  # of the shares
        error[i] = np.sqrt(np.maximum(np.einsum("ab,bc,ac->a", slope, variance, slope), 0.0))
    return _Purest(composition, error)


def _without_negatives(row: F64, own: int, spectra: F64, step_ev: float) -> F64:
    """Move the reference ``own`` towards a combination, but not past a spectrum without negative intensity."""
    smooth, strong = _smooth(spectra, step_ev)
    start = np.eye(len(row))[own]
    change = ((row - start) @ smooth)[strong]
    falling = change < 0
    furthest = (smooth[own, strong][falling] / -change[falling]).min(initial=1.0)
    return np.asarray(start + min(float(furthest), 1.0) * (row - start))


def _smooth(spectra: F64, step_ev: float) -> tuple[F64, NDArray[np.bool_]]:
    smooth = np.asarray(uniform_filter1d(spectra, max(round(2.0 / step_ev), 1), axis=1))
    return smooth, np.asarray((smooth > 0.1 * smooth.max(axis=1, keepdims=True)).all(axis=0))


def _check_spread(mixing: F64) -> None:
    """Refuse pure references that would all be the same: no pixel shows one phase more than another."""
    smallest = float(np.linalg.svd(mixing - mixing.mean(axis=0), compute_uv=False)[-2])
    if smallest < 0.007:  # two phases whose shares differ by 0.01
        raise InputError(
            expected(
                "purest pixels",
                "a spread of the shares of the phases",
                f"one of {smallest:.3f}",
                "Use more pixels or tilts, or purify with known shares",
            )
        )


def _remixed(
    raw: LReferences, mixing: F64, how: str, ranges: tuple[MixingRange, ...], limits: tuple[str, ...]
) -> LReferences:
    intensities = mixing @ np.stack([s.intensity for s in raw.spectra])
    off = np.linalg.inv(mixing) * ~np.eye(len(mixing), dtype=bool)
    changed = not np.array_equal(mixing, np.eye(len(mixing)))
    spectra = tuple(
        replace(s, intensity=intensity, source=f"{s.source}, purified".lstrip(", ")) if changed else s
        for s, intensity in zip(raw.spectra, intensities, strict=True)
    )
    shares = " and ".join(
        f"{off[i, j]:.0%} {raw.names[j]} off the {raw.names[i]} reference"
        for i, j in zip(*np.nonzero(off), strict=True)
    )
    said = (
        f"Taken were {shares}, {how}." if shares else how if not changed else f"Nothing was taken off, {how}."
    )
    return replace(
        raw,
        spectra=spectra,
        condition=condition_number(intensities),
        notes=(*raw.notes, said, *limits, *(open_range.words for open_range in ranges)),
        taken_off=tuple(float(row.sum()) for row in off),
        ambiguity=tuple(max(r.most for r in ranges if r.reference == name) for name in raw.names),
        ranges=ranges,
    )
