"""L maps and low-loss spectra become the M references: the same abundances explain both losses."""

from __future__ import annotations

import numpy as np

from napari_dipmtv.data import ReferenceSpectrum, SpectrumSeries
from napari_dipmtv.settings.spectra import ReferenceSettings
from napari_dipmtv.spectra.edge_plane import edge_plane
from napari_dipmtv.spectra.nnls import nnls
from napari_dipmtv.spectra.references import LReferences, MReferences, condition_number
from napari_dipmtv.spectra.regression import condition_of, learn_spectra
from napari_dipmtv.spectra.unmix import teaching_maps


def m_references(
    series: SpectrumSeries, l_references: LReferences, settings: ReferenceSettings | None = None
) -> MReferences:
    """Learn the references of the M edge from the abundances of the L edge, over all pixels of all tilts.

    ``D = W M`` with abundances ``W`` from the L edge is what is wanted, but these hold 50 times fewer counts
    than the low loss ``D``, and regressing on noisy abundances makes the references too alike. So the low
    loss is first split along the plane of its own edges, ``D = Z P`` (`edge_plane`), the noisy side is
    regressed on the clean one, ``W = Z T``, where noise averages out, and ``M = T⁻¹ P`` follows. Without
    noise this is ``(WᵀC⁻¹W)⁻¹WᵀC⁻¹D``.

    Parameters
    ----------
    series : SpectrumSeries
        Prepared dual EELS.
    l_references : LReferences
        Their names and their equal metal content are handed on.
    settings : ReferenceSettings, optional

    Raises
    ------
    InputError
        When the maps are too noisy or too much alike to be told apart.
    """
    settings = ReferenceSettings() if settings is None else settings
    names = l_references.names
    w = teaching_maps(series, l_references, settings.plural_scattering)
    plane = edge_plane(series, settings, len(names))
    size = len(names)
    signs = np.ones((size, size)) - 2 * np.eye(size, k=1)
    along = plane.references(tuple(f"edge {i}" for i in range(size)), signs, ("plane",) * size)
    z = teaching_maps(series, along, settings.plural_scattering)
    assert w.covariance is not None
    targets = list(w.data.transpose(1, 2, 3, 0))
    variances = [v + v.mean() for v in w.covariance.sum(axis=(0, 1)).astype(np.float64)]
    learnt = learn_spectra(targets, variances, z)
    gram = learnt.spectra.T @ learnt.gram @ learnt.spectra  # WᵀC⁻¹W without the noise of W
    condition = condition_of(gram)
    m = np.linalg.solve(learnt.spectra, np.stack([s.intensity for s in along.spectra]))
    edges = nnls(gram, (gram @ m).T).T
    condition_number(edges)
    edges /= edges.sum(axis=1).mean()
    spectra = tuple(
        ReferenceSpectrum(name, edge, plane.axis, "learnt from the L maps")
        for name, edge in zip(names, edges, strict=True)
    )
    told = f"condition number of the L maps {condition:.1f}.{learnt.note}"
    said = f"M references learnt from {learnt.pixels} pixels; {told}"
    notes = (*l_references.notes, said)
    return MReferences(spectra, plane.window_ev, plane.exponents, condition, notes, plane.background)
