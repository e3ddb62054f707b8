"""Bad spectra: what comes in wrong is refused in words, left out on purpose, or makes no difference."""

from __future__ import annotations

import numpy as np
import pytest
from synthetic_spectra import LOW, cube_abundances, m_references, make_series

from napari_dipmtv.data import EnergyAxis, ReferenceSpectrum, Region, SpectrumImage, SpectrumSeries
from napari_dipmtv.errors import InputError
from napari_dipmtv.settings.spectra import PrepareSettings, ReferenceSettings, UnmixSettings
from napari_dipmtv.spectra import (
    MReferences,
    auto_l_references,
    denoise,
    l_references,
    prepare,
    unmix,
    zero_loss,
)
from napari_dipmtv.spectra.purify import purified
from napari_dipmtv.spectra.references import LReferences
from napari_dipmtv.states import run

TILTS = (-20.0, 0.0, 20.0)
PLAIN = UnmixSettings(plural_scattering=False)


@pytest.fixture(scope="module")
def series():
    abundances = np.stack([cube_abundances(16) for _ in TILTS], axis=1)
    return make_series(abundances, tilts=TILTS, l_counts=50.0, zero_loss=1e4)


def references(count=2):
    named = zip(("FeO", "Fe3O4"), m_references(), strict=True)
    spectra = tuple(ReferenceSpectrum(name, spectrum, LOW) for name, spectrum in named)
    return MReferences(spectra[:count], (42.0, 80.0), (1.5, 3.5), 1.0)


def with_low_loss(series, index, counts):
    pairs = list(series.tilts)
    pairs[index] = type(pairs[index])(pairs[index].low_loss.replace(counts=counts), pairs[index].core_loss)
    return SpectrumSeries(tuple(pairs))


@pytest.mark.parametrize("value", [np.nan, 0.0])
def test_f02_a_whole_bad_tilt_is_named_or_left_out(series, value):
    broken = with_low_loss(series, 1, np.full_like(series.tilts[1].low_loss.counts, value))
    with pytest.raises(InputError, match=r"at 0 deg.*leave out bad tilts"):
        prepare(broken)
    kept = run(prepare(broken, PrepareSettings(leave_out_bad_tilts=True))).value
    assert kept.tilts_deg == (-20.0, 20.0)
    without = run(prepare(SpectrumSeries((series.tilts[0], series.tilts[2])))).value
    for a, b in zip(kept.tilts, without.tilts, strict=True):
        np.testing.assert_array_equal(a.low_loss.counts, b.low_loss.counts)
        np.testing.assert_array_equal(a.core_loss.counts, b.core_loss.counts)


def test_f02_a_series_of_bad_tilts_is_refused(series):
    empty = SpectrumSeries(
        tuple(type(p)(p.low_loss.replace(counts=p.low_loss.counts * 0), p.core_loss) for p in series.tilts)
    )
    with pytest.raises(InputError, match="-20 deg"):
        prepare(empty, PrepareSettings(leave_out_bad_tilts=True))


@pytest.mark.parametrize(
    "kind", ["uint16", "big-endian", "Fortran order", "not contiguous", "float64", "masked"]
)
def test_f05_the_kind_of_array_makes_no_difference(series, kind):
    counts = series.tilts[1].low_loss.counts
    kinds = {
        "uint16": counts.astype(np.uint16),
        "big-endian": counts.astype(">f4"),
        "Fortran order": np.asfortranarray(counts),
        "not contiguous": np.repeat(counts, 2, axis=2)[..., ::2],
        "float64": counts.astype(np.float64),
        "masked": np.ma.MaskedArray(counts, mask=False),
    }
    plain, other = (
        run(unmix(s, references(), PLAIN)).value.maps.data
        for s in (series, with_low_loss(series, 1, kinds[kind]))
    )
    np.testing.assert_array_equal(plain, other)


def test_f06_spectra_without_any_edge_teach_nothing():
    flat = make_series(np.zeros((2, 2, 16, 16)), tilts=TILTS[:2], l_counts=50.0, zero_loss=1e4)
    settings = ReferenceSettings(plural_scattering=False)
    with pytest.raises(InputError, match="low-loss edge"):
        auto_l_references(flat, settings)
    halves = np.zeros((2, 16, 16), dtype=bool)
    halves[0, :8] = halves[1, 8:] = True
    with pytest.raises(InputError, match="low-loss edge"):
        l_references(flat, {n: Region(-20.0, h) for n, h in zip("ab", halves, strict=True)}, settings)


def test_f07_one_reference_is_enough(series):
    one = run(unmix(series, references(1), PLAIN)).value
    assert one.maps.data.shape == (1, 3, 16, 16)
    assert one.maps.covariance.shape == (1, 1, 3, 16, 16)
    spectrum = ReferenceSpectrum("a", np.ones(LOW.size), LOW)
    raw = LReferences((spectrum,), (42.0, 80.0), (3.0,), 1.0)
    assert "nothing to be purified" in purified(raw, one.maps, ReferenceSettings()).notes[-1]


@pytest.mark.parametrize("step", [0.0, -0.25, np.nan])
def test_f17_a_descending_or_empty_energy_axis_is_refused(step):
    with pytest.raises(InputError, match="ascending"):
        EnergyAxis(-10.0, step, 100)


def test_f17_a_window_beside_the_axis_is_refused_with_both(series):
    beside = MReferences(references().spectra, (200.0, 250.0), (3.0,), 1.0)
    with pytest.raises(InputError, match=r"103\.75 eV.*200-250 eV"):
        run(unmix(series, beside, PLAIN))


def test_f18_a_saturated_zero_loss_is_found_by_its_flanks():
    drift = np.random.default_rng(3).uniform(-3, 3, (3, 16, 16))
    abundances = np.stack([cube_abundances(16) for _ in TILTS], axis=1)
    series = make_series(abundances, tilts=TILTS, drift_ev=drift, l_counts=50.0, zero_loss=3e4)
    for pair, true in zip(series.tilts, drift, strict=True):
        clipped = pair.low_loss.replace(
            counts=np.minimum(pair.low_loss.counts, 0.6 * pair.low_loss.counts.max())
        )
        found = zero_loss(clipped)
        error = found.drift_ev - true
        assert np.abs(error - np.median(error)).max() < 0.2 * LOW.step_ev
        assert abs(np.median(error)) < 0.3 * LOW.step_ev
        assert found.usable.all()


def test_f18_a_zero_loss_outside_the_search_is_marked(series):
    low = series.tilts[0].low_loss
    away = low.replace(energy=EnergyAxis(LOW.start_ev - 10.0, LOW.step_ev, LOW.size))
    found = zero_loss(SpectrumImage(away.counts, away.energy, 1.0, 0.0), PrepareSettings(search_ev=5.0))
    assert not found.usable.any()
    assert zero_loss(away, PrepareSettings(search_ev=15.0)).drift_ev == pytest.approx(-10.0, abs=0.2)


def test_f22_the_order_of_the_tilts_makes_no_difference(series):
    shuffled = SpectrumSeries((series.tilts[2], series.tilts[0], series.tilts[1]))
    a, b = (run(unmix(s, references(), PLAIN)).value.maps for s in (series, shuffled))
    assert a.tilts_deg == b.tilts_deg
    np.testing.assert_array_equal(a.data, b.data)


def test_denoised_spectra_are_unmixed_with_a_warning(series):
    notes = run(unmix(denoise(series, 4).series, references(), PLAIN)).value.notes
    assert any("do not hold" in note for note in notes)
    assert not any("do not hold" in note for note in run(unmix(series, references(), PLAIN)).value.notes)


def test_f57_negative_abundances_are_said(series):
    notes = run(unmix(series, references(), PLAIN)).value.notes
    assert sum("below zero" in note for note in notes) == 2
