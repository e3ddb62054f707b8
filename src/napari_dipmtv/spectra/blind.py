"""Core-loss spectra alone become L references by singular values and blind source separation."""

from __future__ import annotations

from dataclasses import replace
from importlib import import_module

import numpy as np
from scipy.ndimage import gaussian_filter

from napari_dipmtv.data import F64, ReferenceSpectrum, SpectrumSeries
from napari_dipmtv.errors import InputError, expected
from napari_dipmtv.settings.spectra import ReferenceSettings
from napari_dipmtv.spectra.background import exponents_around, fit_power_law
from napari_dipmtv.spectra.decompose import Scree, singular_spectra
from napari_dipmtv.spectra.energy_offset import centred
from napari_dipmtv.spectra.l_references import by_valence, checked, common_energy, metal_content
from napari_dipmtv.spectra.m_references import m_references
from napari_dipmtv.spectra.purify import purified
from napari_dipmtv.spectra.references import LReferences, total_counts
from napari_dipmtv.spectra.regression import edges_of
from napari_dipmtv.spectra.unmix import teaching_maps

_SMOOTH_PX = 2.0


def blind_l_references(
    series: SpectrumSeries,
    settings: ReferenceSettings | None = None,
    names: tuple[str, ...] = ("FeO", "Fe3O4"),
) -> tuple[LReferences, Scree]:
    """Find the L references of ``names`` blindly: one component for each, and one for the background.

    Poisson-weighted singular value decomposition of the core loss keeps ``len(names) + 1`` components;
    independent component analysis of their slopes turns them into spectra that vary independently. What has
    the least edge over its noise is the background; the others lose their background and are brought to equal
    metal content. Independence is an assumption about the particle, and a wrong one for a core in a shell: so
    the result is purified as the settings say, by pixels found in the low loss.

    Returns
    -------
    references : LReferences
    scree : Scree
        How far each component of the spectra as counted stands out of the noise.

    Raises
    ------
    InputError
        When fewer components than wanted hold an edge, or they are all alike.

    References
    ----------
    Bell & Sejnowski slopes as in HyperSpy (de la Peña et al., Ultramicroscopy 111, 169 (2011)); Hyvärinen & Oja,
    Neural Networks 13, 411 (2000).
    """
    settings = ReferenceSettings() if settings is None else settings
    energy = common_energy(series)
    window = energy.window(settings.core_low_ev, settings.core_high_ev)
    counted = [pair.core_loss.counts[..., window] for pair in series.tilts]
    _, scree = singular_spectra(counted, len(names) + 1)
    images = [
        centred(pair.core_loss)[..., window] for pair in series.tilts
    ]  # deconvolved noise misleads the ICA
    smooth = [gaussian_filter(np.nan_to_num(image), (_SMOOTH_PX, _SMOOTH_PX, 0)) for image in images]
    components, _ = singular_spectra(
        smooth, len(names) + 1
    )  # one pixel holds too few counts for the second edge
    total = total_counts([pair.core_loss for pair in series.tilts])
    exponent = float(fit_power_law(total[None], energy, settings.core_low_ev, settings.core_edge_ev)[1][0])
    sources = _independent(components)
    e = energy.values[window]
    found = edges_of(sources, e, exponents_around(exponent, settings), settings.core_edge_ev)
    weight = np.sqrt(np.maximum(total[window], 1.0))
    edge_share = np.linalg.norm(found / weight, axis=1) / np.linalg.norm(sources / weight, axis=1)
    edges = np.zeros((len(names), energy.size))
    edges[:, window] = found[np.sort(np.argsort(edge_share)[1:])]
    edges *= np.where(edges.sum(axis=1) < 0, -1.0, 1.0)[:, None]
    pure = tuple(
        ReferenceSpectrum("", edge / metal_content(edge, energy, settings, "found blindly"), energy, "blind")
        for edge in edges
    )
    raw = tuple(replace(s, name=n) for s, n in zip(by_valence(pure, settings), names, strict=True))
    said = (
        f"{', '.join(names)} found blindly as {len(names)} of {len(names) + 1} independent components of the "
        "core loss: independence was assumed, which a core inside a shell does not obey."
    )
    return _purer(series, checked(series, raw, settings, (said,)), settings), scree


def _purer(series: SpectrumSeries, raw: LReferences, settings: ReferenceSettings) -> LReferences:
    """Purify with the maps of the low-loss references that the raw ones teach."""
    if settings.purify == "known":
        raise InputError(
            expected("purification of blind references", "extreme or none", "known", "Draw regions instead")
        )
    content = teaching_maps(series, m_references(series, raw, settings), settings.plural_scattering)
    return purified(raw, content, settings, keep_purer=False)


def _independent(components: F64) -> F64:
    """Turn spectra (k, e) into combinations whose slopes are as independent as they can be."""
    slopes = np.diff(components, axis=1)
    ica = import_module("sklearn.decomposition").FastICA(
        whiten="unit-variance", random_state=0, max_iter=1000, tol=1e-5
    )
    ica.fit(slopes.T)
    return np.asarray(ica.components_ @ components, dtype=np.float64)
