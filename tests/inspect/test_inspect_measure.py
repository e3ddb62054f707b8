"""Volumes, thicknesses below two voxels, voids: against analytic bodies."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from napari_dipmtv.data import Volume
from napari_dipmtv.errors import GeometryError
from napari_dipmtv.inspect import measure, measure_particles, segment, thickness_maps, voids
from napari_dipmtv.inspect.surface import area_px, sphericity, surface_of
from napari_dipmtv.settings.inspect import SegmentSettings


def values(volume: Volume, densities: bool = True) -> dict[str, float]:
    return {m.name: m.value for m in measure(segment(volume), volume if densities else None)}


@pytest.mark.parametrize("radius", [6.0, 10.3, 15.0])
def test_surface_area_of_a_sphere(ball, radius):
    surface = surface_of(ball(40, radius) > 0.5)
    blurred = radius - 1 / radius
    assert surface.areas.sum() == pytest.approx(4 * np.pi * blurred**2, rel=0.02)
    inwards = -(surface.centres - 19.5) / np.linalg.norm(surface.centres - 19.5, axis=1, keepdims=True)
    assert (surface.normals * inwards).sum(axis=1).min() > 0.9


@pytest.mark.parametrize("body", ["ball", "box"])
@pytest.mark.parametrize("skin", [0.7, 1.3, 2.6])
def test_skin_thickness_below_two_voxels(core_shell, body, skin):
    found = values(core_shell(56, body, 21.4, skin, 6))
    assert found["FeO skin thickness"] / 0.5 == pytest.approx(skin, abs=0.2)  # nm to voxels of 0.5 nm
    assert found["Fe3O4 shell thickness"] / 0.5 == pytest.approx(6, abs=0.3)
    assert found["FeO skin thickness spread"] / 0.5 < 0.25


@pytest.mark.parametrize("blur", [0.6, 1.0])
def test_skin_thickness_survives_blur_and_noise(core_shell, blur):
    volume = core_shell(56, "box", 21.4, 1.3, 6)
    noise = np.random.default_rng(0).normal(0, 4, volume.data.shape)
    noisy = volume.replace(data=gaussian_filter(volume.data, (0, blur, blur, blur)) + noise)
    assert values(noisy)["FeO skin thickness"] / 0.5 == pytest.approx(1.3, abs=0.3)


def test_uneven_skin_shows_as_spread(ball):
    whole, inside = ball(56, 21), ball(56, 18, (0, 0, 1.5))  # 1.5 to 4.5 voxels of skin
    core = ball(56, 10)
    volume = Volume(np.stack([whole - inside + core, inside - core]), ("A", "B"), 1.0)
    found = values(volume)
    assert found["A skin thickness"] == pytest.approx(3, abs=0.2)
    assert found["A skin thickness spread"] == pytest.approx(1.5 / np.sqrt(3), rel=0.15)


def test_volumes_and_ratio(core_shell):
    found = {m.name: m for m in measure(segment(core_shell(48, "box", 18, 2, 6)))}
    shell, core, skin = (8 * (a**3 - b**3) / 8 for a, b in ((16, 10), (10, 0), (18, 16)))  # nm³
    for name, true in (("Fe3O4 shell", shell), ("FeO core", core), ("FeO skin", skin)):
        volume = found[f"{name} volume"]
        assert volume.value == pytest.approx(true, rel=1e-3)
        assert 0 < volume.uncertainty < 0.5 * true
    ratio = found["(FeO core + FeO skin) : Fe3O4 shell"]
    assert ratio.value == pytest.approx((core + skin) / shell, rel=1e-3)
    assert "FeO skin thickness" in found  # counted in voxels where no densities are given
    assert found["FeO skin thickness"].value == pytest.approx(1.0, abs=0.15)


def test_void_is_measured(core_shell):
    found = values(core_shell(48, "box", 18, 2, 6, void_px=5))
    true = 4 / 3 * np.pi * 2.5**3
    assert found["voids"] == 1
    assert found["void volume"] == pytest.approx(true, rel=0.02)
    assert found["void contrast"] == pytest.approx(1, abs=0.01)
    assert found["void sphericity"] == pytest.approx(1, abs=0.05)
    assert found["void volume by missing mass"] == pytest.approx(true, rel=0.05)
    assert [found[f"void centre {axis}"] for axis in "zyx"] == pytest.approx([0.5, -1.0, 1.0], abs=0.05)
    assert found["void equivalent diameter"] == pytest.approx(5, rel=0.03)
    assert found["void depth below surface"] == pytest.approx((18 - 2 - 5) / 2, abs=0.3)


def test_missing_mass_sees_what_blur_hides(core_shell):
    volume = core_shell(48, "box", 18, 1, 4, void_px=3)
    blurred_volume = volume.replace(data=gaussian_filter(volume.data, (0, 1, 1, 1)))
    blurred, true = values(blurred_volume), 4 / 3 * np.pi * 1.5**3
    assert segment(blurred_volume).mask("void").sum() / 8 < 0.8 * true
    assert blurred["void volume by missing mass"] == pytest.approx(true, rel=0.1)


def test_no_void_no_void_measures(core_shell):
    found = values(core_shell(40, "box", 14, 2, 5))
    assert (found["voids"], found["void volume"]) == (0, 0)
    assert not any(name.startswith("void centre") for name in found)


def test_one_channel_has_a_volume_and_no_layers(ball):
    found = values(Volume(ball(32, 10)[None], ("HAADF",), 2.0))
    assert {name for name in found if not name.startswith("particle ")} == {
        "material volume",
        "material surface area",
        "voids",
        "void volume",
    }
    assert found["material volume"] == pytest.approx(4 / 3 * np.pi * 20**3, rel=0.005)
    assert found["particle surface area"] == pytest.approx(4 * np.pi * 20**2, rel=0.03)
    assert found["particle sphericity"] == pytest.approx(1, abs=0.03)


def test_another_volume_is_refused(core_shell):
    with pytest.raises(GeometryError, match="Segment this volume"):
        measure(segment(core_shell(40, "box", 14, 2, 5)), core_shell(32, "box", 10, 2, 4))


def test_a_volume_of_other_voxels_is_refused(core_shell):
    volume = core_shell(40, "box", 14, 2, 5)
    with pytest.raises(GeometryError, match=r"of 0\.5 nm"):
        measure(segment(volume), volume.replace(voxel_nm=1.0))


def turned_box(n: int, half_px: float, degrees: float) -> np.ndarray:
    """A cube turned about two axes, anti-aliased by 3 points per voxel and axis."""
    points = (np.arange(3 * n) + 0.5) / 3 - n / 2
    z, y, x = points[:, None, None], points[:, None], points
    a = np.deg2rad(degrees)
    x, z = np.cos(a) * x + np.sin(a) * z, -np.sin(a) * x + np.cos(a) * z
    x, y = np.cos(a) * x + np.sin(a) * y, -np.sin(a) * x + np.cos(a) * y
    inside = (np.abs(x) < half_px) & (np.abs(y) < half_px) & (np.abs(z) < half_px)
    return inside.reshape(n, 3, n, 3, n, 3).mean(axis=(1, 3, 5), dtype=np.float32)


@pytest.mark.parametrize(("half", "degrees"), [(9.0, 0), (9.0, 24), (12.0, 35)])
def test_areas_and_sphericity_of_turned_bodies(half, degrees):
    mask = turned_box(44, half, degrees) > 0.5
    assert 0.93 < area_px(mask) / (24 * half**2) < 1.02  # edges are rounded
    assert sphericity(float(mask.sum()), area_px(mask)) == pytest.approx((np.pi / 6) ** (1 / 3), rel=0.07)


@pytest.mark.parametrize("radius", [7.4, 9.3])
def test_area_of_a_ball(ball, radius):
    assert area_px(ball(30, radius) > 0.5) == pytest.approx(4 * np.pi * radius**2, rel=0.05)
    assert area_px(np.zeros((4, 4, 4), bool)) == 0


@pytest.mark.parametrize("degrees", [0, 21])
def test_measures_of_a_turned_particle_reach_their_targets(ball, degrees):
    """Skin to half a voxel, void of five voxels to 15 %, ratio to 3 %: at unequal densities, sub-voxel skin."""
    whole, inside, core = (turned_box(44, half, degrees) for half in (13.0, 11.7, 7.0))
    hole = ball(44, 2.5, (1.3, -1.2, 0.4))
    feo, fe3o4 = whole - inside + core * (1 - hole), inside - core
    found = values(Volume(np.stack([20 * feo, 10 * fe3o4]), ("FeO", "Fe3O4"), 0.5))
    assert found["FeO skin thickness"] / 0.5 == pytest.approx(1.3, abs=0.25)
    assert found["Fe3O4 shell thickness"] / 0.5 == pytest.approx(4.7, abs=0.5)
    assert found["void volume"] == pytest.approx(hole.sum() / 8, rel=0.05)
    assert found["void volume"] == pytest.approx(4 / 3 * np.pi * 2.5**3 / 8, rel=0.08)
    assert found["(FeO core + FeO skin) : Fe3O4 shell"] == pytest.approx(feo.sum() / fe3o4.sum(), rel=0.01)
    for phase, true in (("FeO core", 14.0**3 - hole.sum()), ("FeO skin", 26.0**3 - 23.4**3)):
        assert found[f"{phase} volume"] == pytest.approx(true / 8, rel=0.03)


def test_thickness_is_mapped_over_the_surface(ball):
    whole, inside = ball(44, 17), ball(44, 14, (0, 0, 1.5))  # 1.5 voxels at one end of x, 4.5 at the other
    volume = Volume(np.stack([whole - inside + ball(44, 7), inside - ball(44, 7)]), ("A", "B"), 1.0)
    skin = thickness_maps(segment(volume), volume)["A skin"]
    corners, values_px = skin.surface.vertices, skin.at_vertices()
    assert values_px.shape == (len(corners),)
    thin, thick = corners[:, 2] > 21.5 + 16, corners[:, 2] < 21.5 - 16
    assert np.nanmean(values_px[thin]) == pytest.approx(1.5, abs=0.3)
    assert np.nanmean(values_px[thick]) == pytest.approx(4.5, abs=0.3)


def test_every_void_is_measured(ball):
    holes = ball(40, 4, (4, 5, 0)) + ball(40, 3, (-6, -4, 2))
    volume = Volume((ball(40, 17) * (1 - holes))[None] * 30, ("Au",), 2.0)
    large, small = voids(segment(volume), volume)
    for void, radius, centre in ((large, 4, (4, 5, 0)), (small, 3, (-6, -4, 2))):
        assert void.volume_nm3 == pytest.approx(4 / 3 * np.pi * (2 * radius) ** 3, rel=0.05)
        assert void.missing_nm3 == pytest.approx(void.volume_nm3, rel=0.05)
        assert void.centre_nm == pytest.approx(2 * np.array(centre), abs=0.2)
        assert void.depth_nm / 2 == pytest.approx(17 - np.linalg.norm(centre) - radius, abs=0.6)


def test_particles_are_measured_one_by_one(core_shell):
    large, small = core_shell(36, "box", 13, 2, 4, void_px=3), core_shell(36, "ball", 9, 1.5, 3)
    volume = large.replace(data=np.concatenate([large.data, small.data], axis=3))  # side by side in x
    whole, alone = segment(volume), segment(large)
    assert np.array_equal(whole.labels[:, :, :36], alone.labels)
    first, second = ({m.name: m.value for m in one} for one in measure_particles(whole, volume))
    expected_first = {m.name: m.value for m in measure(alone, large)}
    for name, value in expected_first.items():
        shift = 0.5 * 18 if name in ("particle centre x", "void centre x") else 0  # half of the smaller field
        assert first[name] == pytest.approx(value - shift, rel=0.01, abs=0.02), name
    assert second["particle centre x"] == pytest.approx(0.5 * 18, abs=0.05)
    assert second["FeO skin thickness"] / 0.5 == pytest.approx(1.5, abs=0.25)
    assert second["voids"] == 0


def test_edited_labels_are_measured_as_they_are(core_shell):
    volume = core_shell(36, "box", 13, 2, 4, void_px=3)
    edited = segment(volume)
    labels = edited.labels.copy()
    labels[edited.mask("void")] = 1  # the person fills the void with core
    labels[2:5, 2:5, 2:5] = 1  # and paints a block outside
    found = {m.name: m.value for m in measure(type(edited)(labels, edited.phases, 0.5))}
    assert found["voids"] == 0
    assert found["FeO core volume"] == pytest.approx((labels == 1).sum() / 8)


def test_a_half_filled_void_has_its_contrast(core_shell):
    volume = core_shell(40, "box", 15, 2, 4, void_px=4)
    without = core_shell(40, "box", 15, 2, 4)
    faint = volume.replace(data=0.4 * volume.data + 0.6 * without.data)
    settings = SegmentSettings(void_reference="surrounding", void_fraction=0.8)
    found = {m.name: m.value for m in measure(segment(faint, settings), faint)}
    true = 4 / 3 * np.pi * 2**3
    assert found["void contrast"] == pytest.approx(0.4, abs=0.02)
    assert found["void volume"] == pytest.approx(true, rel=0.05)
    assert found["void volume by missing mass"] == pytest.approx(0.4 * true, rel=0.1)
