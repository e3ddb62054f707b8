"""Voids as holes with a centre and a radius, and bodies as stars: their sizes survive voxels, noise and specks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from turned_cube import CUBE

from napari_dipmtv.data import Segmentation
from napari_dipmtv.phantom import make_segmentation, make_volume, true_measures
from napari_dipmtv.phantom.shapes import phase_fractions
from napari_dipmtv.settings.phantom import PhantomSettings
from napari_dipmtv.trust.holes import Hole, emptiest, holes_of
from napari_dipmtv.trust.planted import Shape
from napari_dipmtv.trust.refine import refine
from napari_dipmtv.trust.stars import bodies_as_stars
from napari_dipmtv.trust.void import ball


def test_every_separate_void_is_a_hole_of_its_size_and_a_small_one_is_a_ball() -> None:
    small, large = (
        ball((36, 36, 36), np.array(at), 2 * r) > 0.5 for at, r in (((8, 8, 8), 2.4), ((24, 23, 22), 7))
    )
    found = sorted(holes_of(small | large), key=lambda hole: float(hole.radii[0]))
    assert [hole.degree for hole in found] == [1, 4]
    assert found[0].radii[0] == pytest.approx(2.4, rel=0.05)
    assert found[1].centre_px == pytest.approx([24, 23, 22], abs=0.05)
    inside = emptiest(tuple(found), small.shape)
    assert ((inside > 0) ^ (small | large)).sum() < 0.03 * (small | large).sum()
    assert holes_of(np.zeros((4, 4, 4), bool)) == ()


def test_a_displacement_of_degree_one_moves_a_hole_and_keeps_its_shape() -> None:
    hole = Hole(np.array([8.0, 8.0, 8.0]), np.array([3.0, 0, 0, 0]))
    modes = hole.modes(np.array([[10.0, 8, 8], [8, 10, 8], [8, 8, 10]]).T)  # seen along z, y, x
    change = 0.2 * modes[:, 0]
    change[0] = 0.1
    moved = hole.moved(change)
    assert moved.centre_px == pytest.approx([8.6, 8, 8])
    assert moved.radii.tolist() == pytest.approx([3.1, 0, 0, 0])
    assert moved.distances((17, 17, 17))[8, 8, 8] == pytest.approx(2.5)


def test_a_cube_keeps_volume_and_corners_as_a_star_and_two_balls_are_none() -> None:
    fractions = phase_fractions(CUBE)
    whole = fractions[1:].sum(axis=0)
    (drawn,) = bodies_as_stars([whole])  # type: ignore[misc]
    assert (drawn > 0).sum() == pytest.approx(CUBE.size_nm**3, rel=0.02)
    assert ((drawn > 0) ^ (whole > 0.5)).sum() < 0.1 * whole.sum()
    pair = sum(ball((26, 26, 26), np.array([12.0, y, 12.0]), 9) for y in (7.0, 18.0))
    assert bodies_as_stars([np.asarray(pair, np.float32)]) is None


def test_two_particles_keep_their_layers_without_a_common_centre() -> None:
    pair = PhantomSettings(shape="two particles", field_voxels=40, size_nm=16, skin_nm=1.5, shell_nm=2.5,
                           void_radius_nm=0)  # fmt: skip
    shape = Shape.of(make_segmentation(pair), ("FeO", "Fe3O4"))
    sizes = dict(zip(shape.names, shape.shares(shape.distances).sum(axis=(1, 2, 3)), strict=True))
    true = true_measures(pair)
    assert sizes["Fe3O4 shell"] == pytest.approx(true.shell_nm3, rel=0.1)
    assert sum(sizes.values()) == pytest.approx(true.core_nm3 + true.shell_nm3 + true.skin_nm3, rel=0.1)


def test_specks_are_closed_and_a_void_of_the_wrong_size_is_mended(counted) -> None:
    true = true_measures(CUBE)
    phases = make_segmentation(CUBE)
    void = phases.mask("void")
    centre = np.argwhere(void).mean(axis=0)
    labels = np.where(ball(void.shape, centre + 0.6, 6.2) > 0.5, phases.labels.max(), phases.labels)
    for speck in ((12, 12, 6), (12, 18, 13)):
        labels[ball(void.shape, np.array(speck, float), 2.6) > 0.5] = phases.labels.max()
    start = Segmentation(labels.astype(np.uint8), phases.phases, phases.voxel_nm)
    assert start.mask("void").sum() > 2.5 * true.void_nm3
    best = refine(counted(make_volume(CUBE), noise=0.12), start).particle
    assert best.sizes_nm3["void"] == pytest.approx(true.void_nm3, rel=0.15)
    ratio = (best.sizes_nm3["FeO core"] + best.sizes_nm3["FeO skin"]) / best.sizes_nm3["Fe3O4 shell"]
    assert ratio == pytest.approx((true.core_nm3 + true.skin_nm3) / true.shell_nm3, rel=0.03)
    assert best.measures()["FeO skin thickness"][0] == pytest.approx(CUBE.skin_nm, abs=0.2)


def test_a_void_that_the_data_do_not_hold_is_closed(counted) -> None:
    solid = CUBE.replace(void_radius_nm=0)
    phases = make_segmentation(solid)
    labels = phases.labels.copy()
    labels[ball(labels.shape, np.array([12.5, 12.5, 12.5]), 3.2) > 0.5] = 4
    start = replace(phases, labels=labels)
    assert start.mask("void").any()
    found = refine(counted(make_volume(solid), noise=0.12), start)
    assert found.particle.sizes_nm3["void"] == 0
    assert found.misfit < 1.35
