"""Maps of one element from its M and its L edge become the dose that each would need for the same noise."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from napari_dipmtv.data import F64, SpectrumSeries, positive
from napari_dipmtv.errors import InputError, expected
from napari_dipmtv.settings.spectra import UnmixSettings
from napari_dipmtv.spectra.references import LReferences, MReferences, References
from napari_dipmtv.spectra.unmix import unmix
from napari_dipmtv.states import run


@dataclass(frozen=True, slots=True)
class DoseEfficiency:
    """What the M edge gains over the L edge.

    Attributes
    ----------
    m_snr, l_snr : float
        Signal to noise of the metal (sum of the references) of a typical pixel with matter, as recorded.
    m_counts, l_counts : float
        Electrons of the edge in the same pixels, within the fit windows.
    exposure_ratio : float
        Exposure of the core loss over that of the low loss.
    """

    m_snr: float
    l_snr: float
    m_counts: float
    l_counts: float
    exposure_ratio: float

    @property
    def snr_ratio(self) -> float:
        """M-map over L-map signal to noise at equal dose."""
        return self.m_snr / self.l_snr * float(np.sqrt(self.exposure_ratio))

    @property
    def dose_ratio(self) -> float:
        """How many times the dose the L map needs for the noise of the M map: the square of `snr_ratio`."""
        return self.snr_ratio**2

    @property
    def counts_ratio(self) -> float:
        """Edge electrons of M over L at equal dose: the dose ratio if there were no background."""
        return self.m_counts / self.l_counts * self.exposure_ratio

    @property
    def words(self) -> str:
        """The comparison in two sentences."""
        loser = "L" if self.dose_ratio > self.counts_ratio else "M"
        return (
            f"At equal dose the M map has {self.snr_ratio:.1f} times the signal to noise of the L map: the L map "
            f"would need {self.dose_ratio:.0f} times the dose. The M edge holds {self.counts_ratio:.0f} times the "
            f"electrons; the rest is background, of which the {loser} edge suffers more."
        )


def dose_efficiency(
    series: SpectrumSeries,
    l_references: LReferences,
    m_references: MReferences,
    exposure_ratio: float,
    settings: UnmixSettings | None = None,
) -> DoseEfficiency:
    """Unmix both edges of the same pixels and compare their noise.

    Parameters
    ----------
    series : SpectrumSeries
        Prepared dual EELS, in electrons.
    l_references, m_references
        Of the same phases.
    exposure_ratio : float
        Exposure of the core loss over that of the low loss.
    settings : UnmixSettings, optional

    Raises
    ------
    InputError
        When the phases differ, or no pixel shows matter.
    """
    positive("exposure ratio", exposure_ratio, "core-loss time per low-loss time")
    if l_references.names != m_references.names:
        raise InputError(
            expected("references", l_references.names, m_references.names, "Learn M from these L references")
        )
    m = run(unmix(series, m_references, settings)).value
    l_maps = run(unmix(series, l_references, settings)).value
    metal = m.maps.data.sum(axis=0)
    matter = metal > 0.5 * np.percentile(metal, 99)
    if m.maps.valid is not None:
        matter &= m.maps.valid
    if not (matter & (m.snr > 0)).any():
        raise InputError(expected("M maps", "pixels that show matter", "none", "Check the references"))
    counts = [
        float(np.median(np.einsum("ctyx,c->tyx", maps.data, _edge_counts(refs))[matter]))
        for maps, refs in ((m.maps, m_references), (l_maps.maps, l_references))
    ]
    snr = [float(np.median(result.snr[matter])) for result in (m, l_maps)]
    return DoseEfficiency(snr[0], snr[1], counts[0], counts[1], exposure_ratio)


def _edge_counts(references: References) -> F64:
    """Electrons of each reference (c,) in the fit window per unit abundance."""
    window = references.energy.window(*references.window_ev)
    return np.array([spectrum.intensity[window].sum() for spectrum in references.spectra])
