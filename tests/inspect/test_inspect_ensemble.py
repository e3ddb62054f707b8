"""Ensembles, oxidation states, profiles and the limits of physics: against numbers worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import t

from napari_dipmtv.data import Volume
from napari_dipmtv.errors import GeometryError, InputError
from napari_dipmtv.inspect import (
    Measure,
    implausible,
    measure,
    measure_many,
    oxidation_state,
    profile,
    segment,
)
from napari_dipmtv.inspect.ensemble import summarise


def test_ensemble_of_balls_has_the_spread_of_their_radii(ball):
    radii = (7.0, 7.5, 8.0, 8.5, 9.0)
    volumes = [Volume(ball(24, r)[None], ("A",), 1.0) for r in radii]
    found = {s.name: s for s in measure_many([segment(v) for v in volumes], volumes)}
    true = 4 / 3 * np.pi * np.array(radii) ** 3
    one = found["material volume"]
    assert (one.mean, one.std) == (
        pytest.approx(true.mean(), rel=0.01),
        pytest.approx(true.std(ddof=1), rel=0.03),
    )
    assert one.count == 5
    assert (one.high95 - one.low95) / 2 == pytest.approx(t.ppf(0.975, 4) * one.std)
    assert (one.high68 - one.low68) / 2 == pytest.approx(t.ppf(0.84135, 4) * one.std, rel=1e-3)
    assert one.as_measure().uncertainty == pytest.approx(np.hypot(one.std, one.discretisation))
    assert found["voids"].std == 0


def test_a_large_ensemble_gives_quantiles():
    members = [(Measure("x", float(v), "nm"),) for v in range(101)]
    (one,) = summarise(members)
    assert (one.low95, one.high95) == (pytest.approx(2.5), pytest.approx(97.5))
    assert (one.low68, one.high68) == (pytest.approx(15.865, abs=0.01), pytest.approx(84.135, abs=0.01))


def test_what_some_members_lack_is_counted():
    members = [(Measure("a", 1.0, ""),), (Measure("a", 3.0, ""), Measure("void depth", 2.0, "nm"))]
    a, depth = summarise(members)
    assert (a.count, depth.count) == (2, 1)
    assert np.isnan(depth.std)


def test_an_ensemble_of_one_is_refused(ball):
    with pytest.raises(InputError, match="two members"):
        measure_many([segment(Volume(ball(16, 5)[None], ("A",), 1.0))])


def test_oxidation_state_by_stoichiometry(core_shell):
    volume = core_shell(32, "box", 12, 2, 4, void_px=2)
    phases = segment(volume)
    found = oxidation_state(volume, phases)
    fe2, fe3 = found.fractions.data
    assert found.fractions.channels == ("Fe2+", "Fe3+")
    assert fe3[phases.mask("FeO core")].max() < 0.35
    shell = phases.mask("Fe3O4 shell") & (volume.data[0] == 0)
    np.testing.assert_allclose(fe3[shell], 2 / 3, rtol=1e-6)
    np.testing.assert_allclose((fe2 + fe3)[found.mask], 1, rtol=1e-6)
    assert not (fe2 + fe3)[~found.mask].any()
    assert not found.mask[phases.mask("void")].any()
    feo, fe3o4 = (float(c[found.mask].sum()) for c in volume.data)
    assert found.mean_fe3 == pytest.approx(2 / 3 * fe3o4 / (feo + fe3o4), rel=1e-5)
    by_density = oxidation_state(volume.replace(channels=("FeO", "Fe₃O₄")))
    assert by_density.mean_fe3 == pytest.approx(found.mean_fe3, rel=0.01)


def test_oxidation_state_of_other_elements_is_refused(core_shell):
    volume = core_shell(24, "box", 8, 1, 3)
    with pytest.raises(InputError, match="iron phases"):
        oxidation_state(volume.replace(channels=("Co", "Mn")))
    with pytest.raises(InputError, match="Segment this volume"):
        oxidation_state(volume, segment(core_shell(20, "box", 6, 1, 3)))


@pytest.mark.parametrize(("body", "coordinate"), [("box", "depth"), ("ball", "radius"), ("ball", "depth")])
def test_profiles_show_the_layers(core_shell, body, coordinate):
    volume = core_shell(40, body, 16, 3, 5)  # voxels of 0.5 nm
    found = profile(volume, segment(volume), coordinate)
    depth = found.position_nm / 0.5 if coordinate == "depth" else 16 - found.position_nm / 0.5
    feo, fe3o4 = found.mean
    for low, high, densities in (
        (1, 2, (48.1, 0)),
        (4.5, 6.5, (0, 40.3)),
        (9.5, 12, (48.1, 0)),
        (-3, -1.5, (0, 0)),
    ):
        here = (depth > low) & (depth < high)
        assert here.any()
        np.testing.assert_allclose(feo[here], densities[0], atol=1.0)
        np.testing.assert_allclose(fe3o4[here], densities[1], atol=1.0)
    assert found.voxels.min() > 0


def test_profile_of_another_volume_is_refused(core_shell):
    with pytest.raises(GeometryError, match="Segment this volume"):
        profile(core_shell(24, "box", 8, 1, 3), segment(core_shell(20, "box", 6, 1, 3)))


def test_f57_values_that_physics_forbids_are_told(core_shell):
    volume = core_shell(28, "box", 9, 1, 3)
    assert implausible(volume) == ()
    negative = volume.data.copy()
    negative[1, :3] = -5.0
    hot = volume.data.copy()
    hot[:, 12:15, 12:15, 12:15] *= 4
    broken = volume.data.copy()
    broken[0, 0, 0, 0] = np.nan
    assert "Fe3O4 is negative in 10.7% of the voxels" in implausible(volume.replace(data=negative))[0]
    assert "1.3 times the bulk" in implausible(volume.replace(data=hot))[0]
    assert "not finite" in implausible(volume.replace(data=broken))[0]
    shares = volume.replace(data=volume.data / 40)
    assert "more than 1" in implausible(shares, fractions=True)[0]
    assert implausible(volume.replace(data=volume.data / 100), fractions=True) == ()


def test_f57_negative_densities_count_as_zero(core_shell):
    volume = core_shell(28, "box", 9, 1, 3)
    data = volume.data.copy()
    data[:, volume.data.sum(axis=0) == 0] = -7.0
    clean, spoilt = (measure(segment(v), v) for v in (volume, volume.replace(data=data)))
    for a, b in zip(clean, spoilt, strict=True):
        if (
            "thickness" in a.name
        ):  # an integral through the noise of the vacuum, whose negative half belongs to it
            continue
        assert (a.name, a.value) == (b.name, pytest.approx(b.value, rel=0.03, abs=0.05))
