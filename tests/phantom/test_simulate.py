"""Simulated dual EELS: energies, shares of the beam, plural scattering, dose, planted drift, files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import center_of_mass

from napari_dipmtv.data import ReferenceSpectrum
from napari_dipmtv.errors import InputError
from napari_dipmtv.io.spectrum_images import load_series
from napari_dipmtv.phantom import Simulation, eels, simulate
from napari_dipmtv.phantom.eels import L_WINDOW_EV, M_WINDOW_EV
from napari_dipmtv.phantom.scattering import Scattering
from napari_dipmtv.settings.phantom import PhantomSettings
from napari_dipmtv.settings.simulation import SimulationSettings

SMALL = PhantomSettings(field_voxels=24, voxel_nm=2.0)
FEO_40NM, SLAB = 48.1 * 40, np.array([[40.0, 0.0]])
STILL = np.zeros(1)


@pytest.fixture(scope="module")
def simulation() -> Simulation:
    return simulate(
        SimulationSettings(
            phantom=SMALL, tilt_start_deg=-35, tilt_stop_deg=35, axis_offset_px=1.0, image_drift_px=0.5
        )
    )


@pytest.fixture(scope="module")
def scattering() -> Scattering:
    return Scattering.of(SimulationSettings())


def maximum_ev(energy_ev: np.ndarray, spectrum: np.ndarray) -> float:
    """Position of the maximum from the parabola through its three highest neighbours."""
    i = int(spectrum.argmax())
    low, top, high = spectrum[i - 1 : i + 2]
    return float(energy_ev[i] + (energy_ev[1] - energy_ev[0]) * 0.5 * (low - high) / (low - 2 * top + high))


def test_shares_of_the_beam_at_40_nm(scattering: Scattering) -> None:
    m = scattering.m_references()[0][scattering.low.window(*M_WINDOW_EV)].sum() * FEO_40NM
    line = scattering.l_references()[0]
    in_l = line[scattering.core.window(L_WINDOW_EV[0], L_WINDOW_EV[1] - 0.5)].sum() * FEO_40NM
    in_100_ev = line[scattering.core.window(L_WINDOW_EV[0], L_WINDOW_EV[0] + 99.5)].sum() * FEO_40NM
    assert m == pytest.approx(0.031, rel=0.01)
    assert in_l == pytest.approx(3.6e-4, rel=0.01)
    assert 46 < m / in_100_ev < 60


def test_references_have_the_published_energies(scattering: Scattering) -> None:
    low, core = scattering.low.values, scattering.core.values
    m, line = scattering.m_references(), scattering.l_references()
    for spectrum in m:
        assert maximum_ev(low, spectrum) == pytest.approx(57.0, abs=0.15)
    difference = m[0] - m[1]  # FeO has its pre-peak at 54.8 eV, Fe3O4 in part at 52.8 eV
    near = (low > 50) & (low < 56)
    assert maximum_ev(low[near], difference[near]) == pytest.approx(54.8, abs=0.2)
    assert maximum_ev(low[near], -difference[near]) == pytest.approx(52.8, abs=0.2)
    assert maximum_ev(core, line[0]) == pytest.approx(707.8, abs=0.15)
    assert maximum_ev(core, line[1]) == pytest.approx(709.5, abs=0.25)


def test_references_of_equal_fe_have_one_continuum_and_the_published_line_ratios(
    scattering: Scattering,
) -> None:
    line, continuum = scattering.l_references(), scattering.core.window(735, 800)
    assert line[0, continuum].sum() == pytest.approx(line[1, continuum].sum(), rel=1e-3)
    energy = np.arange(690.0, 735.0, 0.05)
    for ion, ratio in ((eels.FE2, 4.4), (eels.FE3, 5.5)):
        lines = eels._l_shape(ion, energy) - eels._continuum(energy)
        assert lines[energy < 716].sum() / lines[energy >= 716].sum() == pytest.approx(ratio, rel=0.01)


def test_plural_scattering_is_a_poisson_series(scattering: Scattering) -> None:
    spectrum = scattering.low_loss(SLAB, STILL)[0]
    low = scattering.low.values
    thickness = 40 / 127 + 0.031 * 1.2  # plasmons, and Fe-M with its tail
    assert spectrum[np.abs(low) < 3].sum() == pytest.approx(np.exp(-thickness), rel=0.01)
    thick = scattering.low_loss(4 * SLAB, STILL)[0]
    once, twice = (np.abs(low - peak) < 1 for peak in (23.0, 46.0))
    ratio = (thick[twice].sum() / thick[once].sum()) / (spectrum[twice].sum() / spectrum[once].sum())
    assert 2 < ratio < 4.5  # a second plasmon grows four times as fast as the first; tails dilute it
    assert maximum_ev(low[low > 10], spectrum[low > 10]) == pytest.approx(22.0, abs=1.0)


def test_no_electron_is_lost(scattering: Scattering) -> None:
    assert scattering.low_loss(0 * SLAB, STILL).sum() == pytest.approx(1, abs=1e-5)
    inside = scattering.low_loss(SLAB, STILL).sum()
    assert 0.985 < inside < 1  # the rest lost more energy than the 120 eV recorded


def test_zero_loss_peak_moves_and_has_its_width(scattering: Scattering) -> None:
    low = scattering.low.values
    spectrum = scattering.low_loss(0 * SLAB, np.array([1.37]))[0]
    peak = np.abs(low - 1.37) < 3
    centre = (low * spectrum)[peak].sum()
    width = np.sqrt(((low - centre) ** 2 * spectrum)[peak].sum()) * np.sqrt(8 * np.log(2))
    assert centre == pytest.approx(1.37, abs=1e-3)
    assert width == pytest.approx(0.9, rel=1e-3)


@pytest.mark.parametrize(("dispersion", "fwhm"), [(0.5, 0.9), (1.0, 0.6), (0.1, 1.2)])
def test_dispersion_changes_the_channels_and_not_the_physics(
    scattering: Scattering, dispersion: float, fwhm: float
) -> None:
    other = Scattering.of(SimulationSettings(dispersion_ev=dispersion, zlp_fwhm_ev=fwhm, core_binning=1))
    assert other.low.step_ev == other.core.step_ev == dispersion
    for axis, same, spectrum, reference in (
        (other.low, scattering.low, other.low_loss, scattering.low_loss),
        (other.core, scattering.core, other.core_loss, scattering.core_loss),
    ):
        mine, wanted = spectrum(SLAB, STILL)[0] / axis.step_ev, reference(SLAB, STILL)[0] / same.step_ev
        for low in (axis.start_ev + 5, axis.start_ev + 30, axis.start_ev + 70):
            window = (low, low + 25)
            assert mine[axis.window(*window)].mean() == pytest.approx(
                wanted[same.window(*window)].mean(), rel=0.03
            )
    assert other.low_loss(0 * SLAB, STILL).sum() == pytest.approx(1, abs=1e-3)


def test_core_loss_background_falls_and_edges_stand_on_it(scattering: Scattering) -> None:
    core, spectrum = scattering.core.values, scattering.core_loss(SLAB, STILL)[0]

    def level(low: float, high: float) -> float:
        return float(spectrum[(core >= low) & (core < high)].mean())

    slope = np.log(level(500, 505) / level(520, 525)) / np.log(522.5 / 502.5)
    assert slope == pytest.approx(3.0, abs=0.2)
    assert level(536, 545) > 1.2 * level(520, 528)
    assert 3 < spectrum[(core > 705) & (core < 712)].max() / level(695, 702) < 5
    assert scattering.core_loss(0 * SLAB, STILL).max() == 0


def test_beam_adds_up_to_the_dose(simulation: Simulation) -> None:
    electrons = simulation.settings.electrons_per_pixel[0]
    assert sum(simulation.settings.electrons_per_pixel) * 5 == pytest.approx(1e5 * 400)
    empty = simulation.fe_maps.data.sum(axis=0) == 0
    for pair, vacuum in zip(simulation.series.tilts, empty, strict=True):
        beam = pair.low_loss.counts.sum(axis=-1, dtype=np.float64)[vacuum]
        assert beam.mean() == pytest.approx(electrons, abs=5 * np.sqrt(electrons / beam.size))
        assert beam.var() == pytest.approx(electrons, rel=5 * np.sqrt(2 / beam.size))
        all_pixels = pair.low_loss.counts.sum(dtype=np.float64) / vacuum.size
        assert 0.99 * electrons < all_pixels <= electrons + 5 * np.sqrt(electrons / vacuum.size)


def test_references_turn_signal_into_fe_atoms() -> None:
    """The L signal of a view over its background counts the Fe atoms, times the share scattered only once."""
    one = {"tilt_start_deg": 0, "tilt_stop_deg": 0, "zlp_drift_ev": 0.0, "zlp_jitter_ev": 0.0}
    simulation = simulate(SimulationSettings(phantom=SMALL).replace(**one))
    pair, fe = simulation.series.tilts[0], simulation.fe_maps.data[:, 0].astype(np.float64)
    low, core = pair.low_loss, pair.core_loss
    unscattered = low.counts[..., low.energy.window(-4, 4)].sum(axis=-1) / low.counts.sum(axis=-1)
    truth = (fe * unscattered).sum(axis=(1, 2))
    window = core.energy.window(650, 800)
    spectrum, energy = core.counts[..., window].sum(axis=(0, 1), dtype=np.float64), core.energy.values[window]
    columns = [energy**-3, energy**-4, *(r.intensity[window] for r in simulation.l_references)]
    basis = np.stack([column / column.max() for column in columns], axis=1)
    weights = np.linalg.lstsq(basis / np.sqrt(spectrum)[:, None], np.sqrt(spectrum), rcond=None)[0]
    atoms = weights[2:] / [column.max() for column in columns[2:]]
    assert atoms.sum() == pytest.approx(truth.sum(), rel=0.1)
    assert atoms / atoms.sum() == pytest.approx(truth / truth.sum(), abs=0.05)


def test_counts_per_fe_is_the_window_of_the_m_reference(simulation: Simulation) -> None:
    def per_fe(reference: ReferenceSpectrum) -> float:
        return float(reference.intensity[reference.energy.window(*M_WINDOW_EV)].sum())

    expected = 0.031 / FEO_40NM * simulation.settings.electrons_per_pixel[0]
    assert simulation.counts_per_fe == pytest.approx(expected, rel=0.01)
    for reference in simulation.m_references:
        assert per_fe(reference) == pytest.approx(simulation.counts_per_fe, rel=1e-3)


def test_planted_drift_moves_the_views(simulation: Simulation) -> None:
    settings = simulation.settings
    still = simulate(settings.replace(image_drift_px=0.0, axis_offset_px=0.0, tilt_step_deg=17.5))
    assert not still.alignment.shifts_px.any()
    assert np.abs(simulation.alignment.shifts_px).max() > 0.3
    for t, (dy, dx) in enumerate(simulation.alignment.shifts_px):
        moved, ideal = (
            np.array(center_of_mass(s.fe_maps.data[:, t].sum(axis=0))) for s in (simulation, still)
        )
        assert moved - ideal == pytest.approx([dy, dx + 1.0], abs=0.03)
        recorded = simulation.series.tilts[t].low_loss.counts[
            :, :, simulation.series.tilts[t].low_loss.energy.window(55, 80)
        ]
        counts = recorded.sum(axis=-1)
        assert np.array(center_of_mass(counts)) == pytest.approx(moved, abs=0.2)


def test_energy_drift_is_planted_in_both_ranges(simulation: Simulation) -> None:
    for pair, shift in zip(simulation.series.tilts, simulation.energy_shifts_ev, strict=True):
        low = pair.low_loss.energy
        near = low.window(-5, 5)
        spectra = pair.low_loss.counts[..., near].astype(np.float64)
        centre = (spectra @ low.values[near]) / spectra.sum(axis=-1)
        empty = pair.core_loss.counts.sum(axis=-1) == 0
        assert centre[empty] == pytest.approx(shift[empty], abs=0.02)
        core, total = pair.core_loss.energy.values, pair.core_loss.counts.sum(axis=(0, 1))
        edge = (core > 702) & (core < 714)
        assert abs(maximum_ev(core[edge], total[edge]) - shift.mean() - 708.5) < 1.5
    assert simulation.energy_shifts_ev.mean(axis=(1, 2)).std() > 0.2
    assert simulation.energy_shifts_ev[0].std() == pytest.approx(0.1, rel=0.05)


def test_regions_show_what_they_are_named(simulation: Simulation) -> None:
    t = simulation.fe_maps.tilts_deg.index(0.0)
    feo, fe3o4 = simulation.fe_maps.data[:, t]
    share = {name: feo[r.mask].sum() / (feo + fe3o4)[r.mask].sum() for name, r in simulation.regions.items()}
    assert share["FeO"] > share["Fe3O4"] + 0.2
    assert all(region.mask.sum() >= 20 and region.tilt_deg == 0 for region in simulation.regions.values())


def test_regions_out_of_view_are_refused() -> None:
    settings = SimulationSettings(phantom=SMALL, tilt_start_deg=0, tilt_stop_deg=0, axis_offset_px=40.0)
    with pytest.raises(InputError, match="region at 0 deg"):
        simulate(settings)


def test_seed_decides_everything() -> None:
    settings = SimulationSettings(phantom=SMALL, tilt_start_deg=-10, tilt_stop_deg=10, tilt_step_deg=20)
    first, same, other = simulate(settings), simulate(settings), simulate(settings.replace(seed=1))
    for a, b, c in zip(first.series.tilts, same.series.tilts, other.series.tilts, strict=True):
        np.testing.assert_array_equal(a.core_loss.counts, b.core_loss.counts)
        np.testing.assert_array_equal(a.low_loss.counts, b.low_loss.counts)
        assert (a.low_loss.counts != c.low_loss.counts).mean() > 0.2
    assert not np.allclose(first.alignment.shifts_px, other.alignment.shifts_px)


def test_gain_readout_noise_and_spikes_reach_the_spectra(simulation: Simulation) -> None:
    settings = simulation.settings.replace(tilt_start_deg=0, tilt_stop_deg=0, dose_e_per_a2=2e4)
    plain = simulate(settings)
    rough = simulate(settings.replace(gain=5.0, readout_counts=3.0, spikes_per_million=200, spike_counts=1e6))
    counts, clean = (s.series.tilts[0].core_loss.counts for s in (rough, plain))
    assert (clean > 1e4).sum() == 0
    assert 0 < (counts > 1e4).sum() < 3 * 2e-4 * counts.size
    vacuum = plain.fe_maps.data[:, 0].sum(axis=0) == 0
    quiet = counts[vacuum][counts[vacuum] < 1e3]
    assert quiet.std() == pytest.approx(3, rel=0.05)
    assert quiet.mean() == pytest.approx(0, abs=0.1)
    assert rough.counts_per_fe == pytest.approx(5 * plain.counts_per_fe)
    particle = counts[~vacuum][counts[~vacuum] < 1e3].sum() / clean[~vacuum].sum()
    assert particle == pytest.approx(5, rel=0.02)


def test_files_hold_the_series_and_the_truth(simulation: Simulation, tmp_path: Path) -> None:
    simulation.write(tmp_path)
    series = load_series(tmp_path)
    assert series.tilts_deg == simulation.series.tilts_deg
    assert series.pixel_nm == pytest.approx(2.0)
    for written, kept in zip(series.tilts, simulation.series.tilts, strict=True):
        np.testing.assert_array_equal(written.low_loss.counts, kept.low_loss.counts)
        np.testing.assert_array_equal(written.core_loss.counts, kept.core_loss.counts)
        assert written.low_loss.beam_kev == 200
        assert written.core_loss.energy.start_ev == pytest.approx(kept.core_loss.energy.start_ev)
    facts = json.loads((tmp_path / "truth" / "truth.json").read_text())
    assert SimulationSettings.from_mapping(facts["settings"]) == simulation.settings
    assert facts["shifts_px"] == simulation.alignment.shifts_px.tolist()
    np.testing.assert_array_equal(
        np.load(tmp_path / "truth" / "volume.npy", allow_pickle=False), simulation.truth.data
    )
    np.testing.assert_array_equal(
        np.load(tmp_path / "truth" / "labels.npy", allow_pickle=False), simulation.segmentation.labels
    )
