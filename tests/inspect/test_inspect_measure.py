"""Volumes, thicknesses below two voxels, voids: against analytic bodies."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from napari_dipmtv.data import Volume
from napari_dipmtv.errors import GeometryError
from napari_dipmtv.inspect import measure, segment
from napari_dipmtv.inspect.surface import surface_of, thickness_px


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
    assert found["void volume"] == pytest.approx(true, rel=0.07)  # 5 voxels of radius, counted
    assert found["void volume by missing mass"] == pytest.approx(true, rel=0.05)
    assert [found[f"void centre {axis}"] for axis in "zyx"] == pytest.approx([0.5, -1.0, 1.0], abs=0.05)
    assert found["void equivalent diameter"] == pytest.approx(5, rel=0.03)
    assert found["void depth below surface"] == pytest.approx((18 - 2 - 5) / 2, abs=0.3)


def test_missing_mass_sees_what_blur_hides(core_shell):
    volume = core_shell(48, "box", 18, 1, 4, void_px=3)
    blurred = values(volume.replace(data=gaussian_filter(volume.data, (0, 1, 1, 1))))
    true = 4 / 3 * np.pi * 1.5**3
    assert blurred["void volume"] < 0.8 * true
    assert blurred["void volume by missing mass"] == pytest.approx(true, rel=0.1)


def test_no_void_no_void_measures(core_shell):
    found = values(core_shell(40, "box", 14, 2, 5))
    assert (found["voids"], found["void volume"]) == (0, 0)
    assert not any(name.startswith("void centre") for name in found)


def test_one_channel_has_a_volume_and_no_layers(ball):
    found = values(Volume(ball(32, 10)[None], ("HAADF",), 2.0))
    assert set(found) == {"material volume", "voids", "void volume"}
    assert found["material volume"] == pytest.approx(4 / 3 * np.pi * 20**3, rel=0.03)


def test_thickness_of_nothing_is_none():
    nothing = np.zeros((8, 8, 8), bool)
    assert thickness_px(nothing.astype(np.float32), nothing, 2.0) is None


def test_another_volume_is_refused(core_shell):
    with pytest.raises(GeometryError, match="Segment this volume"):
        measure(segment(core_shell(40, "box", 14, 2, 5)), core_shell(32, "box", 10, 2, 4))
