"""Surfaces of a fitted particle: what they are made of, what they leave open, and what the data say beside them."""

from __future__ import annotations

import numpy as np
import pytest

from napari_dipmtv.data import Alignment
from napari_dipmtv.inspect import segment
from napari_dipmtv.phantom import make_segmentation, make_volume, true_measures
from napari_dipmtv.phantom.shapes import phase_fractions
from napari_dipmtv.settings.phantom import PhantomSettings
from napari_dipmtv.trust.grain import grained
from napari_dipmtv.trust.harmonics import degrees, harmonics
from napari_dipmtv.trust.level_sets import layer_depths_px
from napari_dipmtv.trust.members import _like_the_data
from napari_dipmtv.trust.planted import Shape, grain_field
from napari_dipmtv.trust.refine import refine

CUBE = PhantomSettings(
    field_voxels=26,
    size_nm=15.6,
    skin_nm=1.6,
    shell_nm=2.4,
    void_radius_nm=0,
    rotation_y_deg=11,
    rotation_z_deg=6,
)
BALL = CUBE.replace(shape="sphere")


def test_harmonics_are_orthonormal_over_the_sphere() -> None:
    count = 4000
    z = 1 - 2 * (np.arange(count) + 0.5) / count  # points of equal areas on a spiral
    turn = np.pi * (1 + 5**0.5) * np.arange(count)
    sphere = np.stack([z, np.sqrt(1 - z**2) * np.sin(turn), np.sqrt(1 - z**2) * np.cos(turn)])
    values = harmonics(sphere, 8)
    assert values.shape == (81, count)
    assert values @ values.T / count == pytest.approx(np.eye(81), abs=0.01)
    assert degrees(2).tolist() == [0, 1, 1, 1, 2, 2, 2, 2, 2]
    assert values[2] == pytest.approx(3**0.5 * sphere[0])  # degree 1, along the pole


@pytest.mark.parametrize("shape", [CUBE, BALL], ids=["cube", "ball"])
def test_even_layers_are_as_thick_as_they_are(shape: PhantomSettings) -> None:
    true = true_measures(shape)
    extent = phase_fractions(shape)[1:].sum(axis=0)
    depths = layer_depths_px(extent, [true.skin_nm3, true.skin_nm3 + true.shell_nm3])
    assert depths == pytest.approx([shape.skin_nm, shape.skin_nm + shape.shell_nm], rel=0.03)


def test_bits_of_core_in_a_noisy_skin_are_not_planted() -> None:
    phases = make_segmentation(BALL)
    values = {name: value for value, name in phases.phases.items()}
    skin = phases.labels == values["FeO skin"]
    holes = skin & (np.random.default_rng(0).random(skin.shape) < 0.2)
    labels = np.where(holes, np.uint8(values["FeO core"]), phases.labels)
    shape = Shape.of(type(phases)(labels, phases.phases, phases.voxel_nm), ("FeO", "Fe3O4"))
    sizes = dict(zip(shape.names, shape.counted(shape.distances).sum(axis=(1, 2, 3)), strict=True))
    true = true_measures(BALL)
    assert sizes["FeO core"] < 1.1 * true.core_nm3  # the holes alone would make it three times as large
    assert sizes["FeO skin"] > 0.78 * true.skin_nm3  # thinner, but whole


def test_the_edges_of_a_cube_are_fitted(counted, maker) -> None:
    series = counted(make_volume(CUBE), noise=0.12)
    *_, last = maker.states(series)
    best = refine(series, segment(last.snapshot()))
    assert best.misfit < 1.7  # 2.7 with rounded edges
    whole = sum(best.particle.sizes_nm3.values())
    assert whole == pytest.approx(CUBE.size_nm**3, rel=0.015)
    thickness = best.particle.measures()["FeO skin thickness"][0]
    assert thickness == pytest.approx(CUBE.skin_nm, rel=0.12)


def test_density_fluctuations_are_seen_in_the_residuals(counted) -> None:
    phases, even = make_segmentation(BALL), make_volume(BALL)
    field = 1 + 0.15 * grain_field(even.data.shape[1:], np.random.default_rng(1))
    found = {}
    for name, volume in {"even": even, "grainy": even.replace(data=even.data * field)}.items():
        series = counted(volume, noise=0.12)
        found[name] = grained(series, refine(series, phases))
    assert found["even"].grain < 0.05
    assert 0.08 < found["grainy"].grain < 0.25
    one, other = (found["grainy"].deformed(np.random.default_rng(i)).particle for i in range(2))
    inside = phases.mask("FeO core")
    assert one.volume.data[0][inside].std() > 0.05 * one.volume.data[0][inside].mean()
    assert not np.array_equal(one.volume.data, other.volume.data)
    moved = Alignment(np.full((len(series.tilts_deg), 2), 0.5))
    assert grained(series.replace(alignment=moved), found["even"]).grain == 0  # neighbours share noise
    blind = series.replace(counts_per_unit=None)
    assert grained(blind, found["even"]).grain == found["even"].grain  # without statistics nothing is known


def test_members_unlike_the_data_are_left_out() -> None:
    rows = np.ones((6, 3))
    rows[0, -1] = 9.0  # core and shell exchanged
    rows[1, 0] = np.nan  # no void, which the data and most members show
    assert _like_the_data(rows, 1.0).shape == (4, 3)
    rows[1:5, 0] = np.nan  # hardly a member shows it
    assert _like_the_data(rows, 1.0).shape == (5, 3)
