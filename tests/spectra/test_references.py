"""L and M references against the edges that were planted, and purification against known mixtures."""

from __future__ import annotations

import numpy as np
import pytest
from synthetic_spectra import CORE, LOW, cube_abundances, gauss, make_series
from synthetic_spectra import l_references as true_l
from synthetic_spectra import m_references as true_m

from napari_dipmtv.data import ChannelMaps, EnergyAxis, ReferenceSpectrum, Region, SpectrumSeries
from napari_dipmtv.errors import GeometryError, InputError
from napari_dipmtv.settings.spectra import METALS, ReferenceSettings, reference_settings
from napari_dipmtv.spectra import auto_l_references, given_l_references, l_references, m_references
from napari_dipmtv.spectra.background import power_law_basis
from napari_dipmtv.spectra.purify import known_mixing, positivity_limits, purified
from napari_dipmtv.spectra.references import LReferences, condition_number
from napari_dipmtv.spectra.regression import learn_spectra

SINGLE = ReferenceSettings(plural_scattering=False)  # as the synthetic low loss is
SIZE = 32
TILTS = (-30.0, -10.0, 10.0, 30.0)


@pytest.fixture(scope="module")
def cube():
    abundances = np.stack([cube_abundances(SIZE, shell=6, tilt_deg=t) for t in TILTS], axis=1)
    return make_series(abundances, tilts=TILTS, l_counts=500.0, zero_loss=2e5), abundances


@pytest.fixture(scope="module")
def regions():
    core, shell = np.zeros((2, SIZE, SIZE), dtype=bool)
    core[8:24, 14:18] = True
    shell[8:24, 6:8] = True
    return {"FeO": Region(-10.0, core), "Fe3O4": Region(-10.0, shell)}


def shares(regions, abundances):
    fe = [abundances[:, 1][:, region.mask].sum(axis=1) for region in regions.values()]
    return float(fe[0][1] / fe[0].sum()), float(fe[1][0] / fe[1].sum())


def composition(reference):
    """Fit a purified L reference by the true ones of equal Fe content."""
    window = reference.energy.window(703, 800)
    e = reference.energy.values[window]
    truth = np.stack([np.interp(e, CORE.values, t) for t in true_l()])
    truth /= truth[:, e >= 735].sum(axis=1, keepdims=True)
    return np.linalg.lstsq(truth.T, reference.intensity[window], rcond=None)[0]


def test_regions_give_their_own_mixture(cube, regions):
    series, abundances = cube
    foreign = shares(regions, abundances)
    found = l_references(series, regions, ReferenceSettings(plural_scattering=False, purify="none"))
    np.testing.assert_allclose(composition(found.spectra[0]), [1 - foreign[0], foreign[0]], atol=0.06)
    np.testing.assert_allclose(composition(found.spectra[1]), [foreign[1], 1 - foreign[1]], atol=0.06)
    continuum = found.energy.window(735, 800)
    for spectrum in found.spectra:
        assert spectrum.intensity[continuum].sum() == pytest.approx(1)


def test_backgrounds_that_differ_do_not_pass_for_metal(cube, regions):
    """Thick pixels have steeper backgrounds; continued by 100 eV, they leave the continuum that counts the metal."""
    series = make_series(cube[1], tilts=TILTS, l_counts=500.0, zero_loss=2e5, noise=False)
    found = l_references(series, regions, SINGLE.replace(purify="none"))
    for spectrum in found.spectra:
        assert composition(spectrum).sum() == pytest.approx(1, abs=0.004)


def test_known_shares_purify_to_the_pure_phases(cube, regions):
    series, abundances = cube
    in_core, in_shell = shares(regions, abundances)
    assert in_core > 0.2  # the regions are mixed indeed
    settings = ReferenceSettings(
        plural_scattering=False, purify="known", known_in_reduced=in_core, known_in_oxidised=in_shell
    )
    found = l_references(series, regions, settings)
    np.testing.assert_allclose(composition(found.spectra[0]), [1, 0], atol=0.08)
    np.testing.assert_allclose(composition(found.spectra[1]), [0, 1], atol=0.08)
    assert found.taken_off == pytest.approx((in_core, in_shell))
    assert any("as given" in note for note in found.notes)


def test_extreme_pixels_purify_as_far_as_the_geometry_allows(cube, regions):
    """Somewhere in the skin the beam meets FeO only; nowhere does it meet Fe3O4 only."""
    series, abundances = cube
    raw = l_references(series, regions, ReferenceSettings(plural_scattering=False, purify="none"))
    found = l_references(series, regions, SINGLE)
    fe = abundances.sum(axis=0)
    share = np.divide(abundances[0], fe, out=np.full(fe.shape, np.nan), where=fe > 0.1)
    assert np.nanmax(share) > 0.99
    np.testing.assert_allclose(composition(found.spectra[0]), [1, 0], atol=0.1)
    best = np.nanmin(share)
    left = composition(found.spectra[1])[0]
    assert best - 0.08 < left < best + 0.12
    assert left <= composition(raw.spectra[1])[0] + 0.02
    assert 0 < found.taken_off[0] < 1


def test_automatic_references_need_no_regions(cube, regions):
    series, _ = cube
    found = auto_l_references(series, SINGLE)
    assert found.names == ("FeO", "Fe3O4")
    by_hand = l_references(series, regions, SINGLE)
    for auto, hand in zip(found.spectra, by_hand.spectra, strict=True):
        np.testing.assert_allclose(composition(auto), composition(hand), atol=0.08)


@pytest.mark.parametrize("names", [("FeO",), ("FeO", "Fe3O4", "Fe2O3")])
def test_automatic_references_are_two_or_refused(cube, names):
    with pytest.raises(InputError, match=rf"got {len(names)}.*Draw a region for each phase.*blind"):
        auto_l_references(cube[0], SINGLE, names)
    with pytest.raises(InputError, match="Draw regions"):
        auto_l_references(cube[0], SINGLE.replace(purify="none"))


def test_positivity_alone_takes_off_too_much():
    """Why the largest multiple that leaves no negative intensity is a limit only, not the purification."""
    truth = true_l()
    mixed = np.array([[0.70, 0.30], [0.08, 0.92]]) @ truth
    limits = positivity_limits(mixed, CORE.step_ev)
    assert limits[0, 1] > 0.30 / 0.92 + 0.15
    assert limits[1, 0] > 0.08 / 0.70 + 0.15
    pure = known_mixing(0.30, 0.08) @ mixed
    np.testing.assert_allclose(pure, truth, atol=1e-12)


@pytest.mark.parametrize(("l_counts", "foreign"), [(150.0, 0.25), (500.0, 0.08)])
def test_m_references_from_pure_l_references(l_counts, foreign):
    """The planted M edges come back although the L maps hold 50 times fewer counts."""
    abundances = np.stack([cube_abundances(SIZE, shell=6) for _ in TILTS], axis=1)
    series = make_series(abundances, tilts=TILTS, l_counts=l_counts, zero_loss=400 * l_counts)
    pure = [ReferenceSpectrum(n, s, CORE) for n, s in zip(("FeO", "Fe3O4"), true_l(), strict=True)]
    found = m_references(series, given_l_references(series, pure), SINGLE)
    window = found.energy.window(52, 78)
    e = found.energy.values[window]
    truth = np.stack([np.interp(e, LOW.values, m) for m in true_m()])
    background = power_law_basis(e, found.exponents)
    for i, reference in enumerate(found.spectra):
        assert np.corrcoef(reference.intensity[window], truth[i])[0, 1] > 0.99
        # beside a smooth background, which any fit takes up, each reference holds its own phase only
        held = np.linalg.lstsq(np.vstack([truth, background]).T, reference.intensity[window], rcond=None)[0][
            :2
        ]
        assert held[1 - i] / held.sum() == pytest.approx(0, abs=foreign)
    assert found.condition < 20


def test_regression_on_noisy_abundances_is_not_diluted():
    """Noise as large as the signal halves a plain slope; with the covariance taken off the slope is right."""
    rng = np.random.default_rng(4)
    truth = rng.uniform(0, 2, (2, 3, 40, 40))
    noisy = truth + rng.normal(0, 0.6, truth.shape)
    covariance = np.zeros((2, *truth.shape), dtype=np.float32)
    covariance[0, 0] = covariance[1, 1] = 0.36
    maps = ChannelMaps(noisy, ("a", "b"), (0.0, 1.0, 2.0), 1.0, covariance=covariance)
    spectra = np.array([[1.0, 2.0, 0.0], [0.0, 2.0, 4.0]])
    targets = [np.einsum("cyx,ce->yxe", truth[:, t], spectra) + 7.0 for t in range(3)]
    learnt = learn_spectra(targets, [np.ones((40, 40))] * 3, maps)
    np.testing.assert_allclose(learnt.spectra, spectra, atol=0.15)
    plain = learn_spectra(targets, [np.ones((40, 40))] * 3, maps.replace(covariance=covariance * 0))
    assert plain.spectra[0, 0] < 0.6


def test_f19_collinear_and_empty_references_are_refused(cube):
    series, _ = cube
    one = ReferenceSpectrum("FeO", true_l()[0], CORE)
    with pytest.raises(InputError, match=r"condition number .*e\+"):
        given_l_references(series, [one, ReferenceSpectrum("Fe3O4", 3 * true_l()[0], CORE)])
    with pytest.raises(InputError, match="signal in each"):
        condition_number(np.stack([true_l()[0], np.zeros(CORE.size)]))
    with pytest.raises(InputError, match="edge above the background"):
        given_l_references(series, [one, ReferenceSpectrum("Fe3O4", np.zeros(CORE.size), CORE)])


def test_wrong_regions_are_refused(cube, regions):
    series, _ = cube
    with pytest.raises(GeometryError, match="mask"):
        l_references(series, {"FeO": Region(0.0, np.ones((3, 3), dtype=bool))}, SINGLE)
    with pytest.raises(InputError, match="one for each phase"):
        l_references(series, {})
    three = {**regions, "Fe2O3": regions["FeO"]}
    with pytest.raises(InputError):
        l_references(series, three, SINGLE)  # two regions alike


@pytest.mark.parametrize("metal", METALS)
def test_each_metal_has_windows_in_order(metal):
    settings = reference_settings(metal)
    assert ReferenceSettings.model_validate_json(settings.model_dump_json()) == settings
    assert (settings.core_edge_ev == 702.0) == (metal == "Fe")
    with pytest.raises(InputError, match="must ascend"):
        settings.replace(continuum_ev=settings.core_edge_ev - 5)
    with pytest.raises(InputError, match="Fe, Mn"):
        reference_settings("Xx")


def test_other_edges_are_a_matter_of_settings(cube, regions):
    """The same particle of another metal: everything 60 eV lower in the core loss and 6 eV in the low loss."""
    series, _ = cube
    moved = SpectrumSeries(
        tuple(
            type(p)(
                p.low_loss.replace(energy=EnergyAxis(LOW.start_ev - 6, LOW.step_ev, LOW.size)),
                p.core_loss.replace(energy=EnergyAxis(CORE.start_ev - 60, CORE.step_ev, CORE.size)),
            )
            for p in series.tilts
        )
    )
    lower = {name: getattr(SINGLE, name) - 60 for name in ("core_low_ev", "core_edge_ev", "continuum_ev")}
    lower |= {"core_high_ev": SINGLE.core_high_ev - 60}
    lower |= {name: getattr(SINGLE, name) - 6 for name in ("low_low_ev", "low_edge_ev", "low_high_ev")}
    here, there = (
        m_references(s, l_references(s, regions, k), k)
        for s, k in ((series, SINGLE), (moved, SINGLE.replace(**lower)))
    )
    for a, b in zip(here.spectra, there.spectra, strict=True):
        assert np.corrcoef(a.intensity, b.intensity)[0, 1] > 0.998


@pytest.mark.parametrize("background", ["power laws", "power law", "power law + offset"])
def test_every_background_gives_the_m_references(cube, background):
    series, _ = cube
    settings = SINGLE.replace(background=background)
    pure = [ReferenceSpectrum(n, s, CORE) for n, s in zip(("FeO", "Fe3O4"), true_l(), strict=True)]
    found = m_references(series, given_l_references(series, pure, settings), settings)
    assert found.background == background
    window = found.energy.window(52, 78)
    for reference, truth in zip(found.spectra, true_m(), strict=True):
        planted = np.interp(found.energy.values[window], LOW.values, truth)
        assert np.corrcoef(reference.intensity[window], planted)[0, 1] > 0.99


def test_references_know_their_ambiguity(cube, regions):
    found = l_references(cube[0], regions, SINGLE)
    assert isinstance(found, LReferences)
    assert all(0 < limit < 1 for limit in found.ambiguity)
    assert found.raw[0].intensity.shape == found.spectra[0].intensity.shape
    assert [(r.reference, r.other) for r in found.ranges] == [("FeO", "Fe3O4"), ("Fe3O4", "FeO")]
    assert all(-0.1 < r.least <= 0 < r.most for r in found.ranges)  # the purest pixels count as pure
    assert all(r.words in found.notes for r in found.ranges)


def test_mixed_references_lack_nothing_but_may_hold_what_they_hold(cube, regions):
    """The planted share of the other phase lies within the range that is stated for an impure reference."""
    series, abundances = cube
    found = l_references(series, regions, ReferenceSettings(plural_scattering=False, purify="none"))
    in_core, _ = shares(regions, abundances)
    feo, _ = found.ranges
    assert feo.least < in_core < feo.most


def three_phases():
    """Maps (3, t, y, x) of metal content: each phase pure somewhere, mixed elsewhere, with noise."""
    rng = np.random.default_rng(2)
    truth = rng.dirichlet((0.6, 0.6, 0.6), (8, 8))
    truth[0, :3] = truth[-1, :3] = np.eye(3)
    truth = np.kron(np.moveaxis(truth, -1, 0), np.ones((1, 5, 5)))[:, None] * 100
    noisy = truth + rng.normal(0, 3, truth.shape)
    covariance = 9 * np.eye(3)[:, :, None, None, None] * np.ones((1, 1, 1, 40, 40))
    return noisy, covariance


def test_three_references_are_purified():
    noisy, covariance = three_phases()
    mixed = np.array([[0.8, 0.15, 0.05], [0.1, 0.8, 0.1], [0.0, 0.2, 0.8]])
    back = np.linalg.inv(mixed)
    content = ChannelMaps(
        np.einsum("ctyx,cd->dtyx", noisy, back),
        ("a", "b", "c"),
        (0.0,),
        1.0,
        covariance=np.einsum("ca,cdtyx,db->abtyx", back, covariance, back),
    )
    e = CORE.values
    lines = np.stack([gauss(e, c, 3.0) + 0.3 * (e > 705) for c in (708.0, 716.0, 724.0)])
    spectra = tuple(ReferenceSpectrum(n, s, CORE) for n, s in zip("abc", mixed @ lines, strict=True))
    raw = LReferences(spectra, (640.0, 800.0), (3.0,), 1.0)
    found = purified(raw, content, ReferenceSettings())
    pure = np.stack([s.intensity for s in found.spectra])
    held = np.linalg.lstsq(lines.T, pure.T, rcond=None)[0].T
    np.testing.assert_allclose(held, np.eye(3), atol=0.07)
    assert len(found.ranges) == 6
    with pytest.raises(InputError, match="known shares"):
        purified(raw, content, ReferenceSettings(purify="known"))
