"""Zero-loss alignment, common axis, spikes, binning, and what happens to bad input."""

from __future__ import annotations

import numpy as np
import pytest
from synthetic_spectra import CORE, LOW, cube_abundances, make_series

from napari_dipmtv.data import EnergyAxis, SpectrumSeries
from napari_dipmtv.errors import GeometryError, InputError
from napari_dipmtv.settings.spectra import PrepareSettings
from napari_dipmtv.spectra import prepare, zero_loss
from napari_dipmtv.spectra.background import fit_power_law
from napari_dipmtv.states import run

TILTS = (-20.0, 0.0, 20.0)


def series_with(drift_channels=0.0, seed=0, l_counts=50.0, **kwargs):
    rng = np.random.default_rng(seed)
    drift = rng.uniform(-drift_channels, drift_channels, (3, 16, 16)) * LOW.step_ev
    abundances = np.stack([cube_abundances(16) for _ in TILTS], axis=1)
    return make_series(abundances, tilts=TILTS, drift_ev=drift, seed=seed, l_counts=l_counts, **kwargs), drift


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_f18_random_shifts_of_20_channels_are_recovered_to_a_fifth(seed):
    series, drift = series_with(20, seed, zero_loss=3e3)
    for pair, true in zip(series.tilts, drift, strict=True):
        found = zero_loss(pair.low_loss)
        error = found.drift_ev - true
        assert np.abs(error).max() < 0.2 * LOW.step_ev
        assert error.std() == pytest.approx(
            found.error_ev.mean(), rel=0.3
        )  # the reported error is the real one
        assert found.usable.all()


@pytest.mark.parametrize("alignment", ["integer", "sub-channel"])
def test_all_tilts_share_one_axis_and_edges_line_up(alignment):
    series, drift = series_with(8, l_counts=3e3, zero_loss=1e6)
    result = run(prepare(series, PrepareSettings(alignment=alignment)))
    tilts = result.value.tilts
    assert result.iterations == result.total == 3
    assert (
        len({pair.low_loss.energy for pair in tilts}) == len({pair.core_loss.energy for pair in tilts}) == 1
    )
    again = zero_loss(tilts[1].low_loss).drift_ev
    assert np.abs(again).max() < (0.6 if alignment == "integer" else 0.15) * LOW.step_ev
    core = tilts[1].core_loss
    summed = core.counts[4:12, 4:12].sum(axis=(0, 1))
    still, _ = series_with(0, l_counts=3e3, zero_loss=1e6)
    unmoved = still.tilts[1].core_loss.counts[4:12, 4:12].sum(axis=(0, 1))
    expected = np.interp(core.energy.values, CORE.values, unmoved)
    assert np.corrcoef(summed, expected)[0, 1] > 0.99
    assert result.losses["zlp_drift_ev"][0] == pytest.approx(drift[0].mean(), abs=0.02)


def test_whole_channel_alignment_keeps_poisson_counts_and_interpolation_does_not():
    series, _ = series_with(8, zero_loss=1e4)
    whole = run(prepare(series, PrepareSettings(spike_sigma=0))).value.tilts[0].low_loss.counts
    np.testing.assert_array_equal(whole, np.rint(whole))
    mixed = run(prepare(series, PrepareSettings(spike_sigma=0, alignment="sub-channel"))).value.tilts[0]
    assert np.any(mixed.low_loss.counts != np.rint(mixed.low_loss.counts))


def test_f04_spikes_are_removed_and_nothing_else_changes():
    clean, _ = series_with(4, zero_loss=1e4)
    rng = np.random.default_rng(3)
    spiked, positions = [], []
    for pair in clean.tilts:
        counts = pair.core_loss.counts.copy()
        y, x, e = rng.integers(0, 16, 20), rng.integers(0, 16, 20), rng.integers(10, 380, 20)
        counts[y, x, e] += 500
        positions.append(len({*zip(y.tolist(), x.tolist(), strict=True)}))
        spiked.append(type(pair)(pair.low_loss, pair.core_loss.replace(counts=counts)))
    reference = run(prepare(clean))
    result = run(prepare(SpectrumSeries(tuple(spiked))))
    assert sum(reference.losses["spikes"]) == 0
    assert sum(result.losses["spikes"]) == pytest.approx(sum(positions), abs=1)
    for a, b in zip(reference.value.tilts, result.value.tilts, strict=True):
        difference = np.abs(a.core_loss.counts - b.core_loss.counts)
        assert difference.max() < 30  # Poisson noise of the replaced channels
        assert (difference > 0).mean() < 0.005


def test_pixels_without_zero_loss_become_unusable():
    series, _ = series_with(2, zero_loss=1e4)
    low = series.tilts[1].low_loss
    counts = low.counts.copy()
    counts[3, 5] = 0
    broken = type(series.tilts[1])(low.replace(counts=counts), series.tilts[1].core_loss)
    result = run(prepare(SpectrumSeries((series.tilts[0], broken, series.tilts[2]))))
    assert result.losses["unusable_pixels"] == [0, 1, 0]
    middle = result.value.tilts[1]
    assert np.isnan(middle.low_loss.counts[3, 5]).all()
    assert np.isnan(middle.core_loss.counts[3, 5]).all()
    assert np.isfinite(np.delete(middle.core_loss.counts.reshape(256, -1), 3 * 16 + 5, axis=0)).all()


def test_binning_crop_and_gain_conserve_electrons():
    series, _ = series_with(0, zero_loss=1e4)
    settings = PrepareSettings(
        alignment="none",
        spike_sigma=0,
        gain=2,
        rebin_energy=2,
        rebin_pixels=4,
        core_start_ev=640,
        core_stop_ev=800,
    )
    result = run(prepare(series, settings)).value
    core = result.tilts[0].core_loss
    assert core.counts.shape[:2] == (4, 4)
    assert core.pixel_nm == 4 * series.pixel_nm
    assert core.energy.step_ev == 2 * CORE.step_ev
    assert core.energy.start_ev == pytest.approx(640.25)
    assert core.energy.stop_ev <= 800
    before = series.tilts[0].core_loss
    window = before.energy.window(640, 640 + core.energy.size - 0.5)
    assert core.counts.sum() == pytest.approx(before.counts[..., window].sum() / 2, rel=1e-5)


def test_low_loss_without_zero_loss_is_refused():
    series, _ = series_with(0)
    moved = [
        type(p)(p.low_loss.replace(energy=EnergyAxis(30.0, 0.25, LOW.size)), p.core_loss)
        for p in series.tilts
    ]
    with pytest.raises(InputError, match="0 eV on the energy axis"):
        run(prepare(SpectrumSeries(tuple(moved))))
    run(prepare(SpectrumSeries(tuple(moved)), PrepareSettings(alignment="none")))


def test_f17_two_dispersions_are_refused_with_both():
    series, _ = series_with(0)
    odd = series.tilts[1]
    odd = type(odd)(odd.low_loss, odd.core_loss.replace(energy=EnergyAxis(620.0, 0.4, CORE.size)))
    with pytest.raises(GeometryError, match=r"0\.4.*0\.5"):
        run(prepare(SpectrumSeries((series.tilts[0], odd, series.tilts[2]))))


def test_power_law_is_unbiased_at_low_counts():
    rng = np.random.default_rng(0)
    energy = EnergyAxis(640.0, 0.5, 120)
    truth = 0.5 * (energy.values / 700) ** -3.0
    amplitude, exponent = fit_power_law(rng.poisson(truth, (4000, 120)).astype(float), energy, 640, 700)
    assert amplitude.mean() == pytest.approx(0.5, rel=0.03)
    assert np.median(exponent) == pytest.approx(3.0, abs=0.15)
    with pytest.raises(InputError, match="counts above 0"):
        fit_power_law(np.zeros((2, 120)), energy, 640, 700)
