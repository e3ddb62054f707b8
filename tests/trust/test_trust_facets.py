"""Bodies with facets, what the data need of the finer displacements, and how well the noise lets a void be known."""

from __future__ import annotations

import numpy as np
import pytest
from turned_cube import CUBE

from napari_dipmtv.phantom import make_segmentation, make_volume, true_measures
from napari_dipmtv.phantom.shapes import PHASES, phase_fractions
from napari_dipmtv.trust.evidence import SCALES, prior_scale
from napari_dipmtv.trust.facets import bodies_as_facets
from napari_dipmtv.trust.holes import Hole
from napari_dipmtv.trust.planted import Shape
from napari_dipmtv.trust.refine import refine
from napari_dipmtv.trust.stars import common_centre, seen_from
from napari_dipmtv.trust.void import ball


def test_a_cube_has_six_facets_and_keeps_its_edges() -> None:
    shares = dict(zip(PHASES.values(), phase_fractions(CUBE.replace(supersampling=4)), strict=True))
    outer = 1 - shares["vacuum"]
    inner = outer - shares["FeO skin"]
    found = bodies_as_facets([outer, inner])
    assert found is not None
    (whole, within), moves = found
    assert len(moves) == 3 * 6
    assert np.clip(whole + 0.5, 0, 1).sum() == pytest.approx(outer.sum(), rel=0.02)
    assert np.clip(within + 0.5, 0, 1).sum() == pytest.approx(inner.sum(), rel=0.03)
    centre = common_centre([outer])
    assert centre is not None
    reach = seen_from(np.clip(whole + 0.5, 0, 1), centre).max()
    assert reach == pytest.approx(CUBE.size_nm / 2 * 3**0.5, abs=0.7)  # of the corners


def test_facets_that_do_not_enclose_a_body_are_none() -> None:
    pair = sum(ball((26, 26, 26), np.array([12.0, y, 12.0]), 9) for y in (7.0, 18.0))
    assert bodies_as_facets([np.asarray(pair, np.float32)]) is None  # its centre lies between them
    assert bodies_as_facets([np.zeros((8, 8, 8), np.float32)]) is None


@pytest.mark.parametrize("radius", [2.0, 3.0, 4.5])
def test_a_drawn_hole_has_the_volume_of_its_ball(radius: float) -> None:
    shape = Shape.of(make_segmentation(CUBE), ("FeO", "Fe3O4"))
    middle = np.array(shape.distances.shape[1:]) / 2 - 0.3
    solid = shape.distances[np.concatenate([[True], shape.solid])]
    drawn = shape.with_holes(np.full_like(solid, -30) + 60 * (np.arange(len(solid)) == 1)[:, None, None, None],
                             (Hole(middle, np.array([radius, 0, 0, 0])),))  # fmt: skip
    assert shape.hollow(drawn).sum() == pytest.approx(4 / 3 * np.pi * radius**3, rel=0.01)


def test_the_evidence_leaves_out_what_is_noise_and_keeps_what_is_not() -> None:
    random = np.random.default_rng(3)
    information = np.diag(random.uniform(50, 200, 120))
    std = np.full(120, 0.5)
    noise = random.standard_normal(120) * np.sqrt(np.diag(information))
    assert prior_scale(information, noise, std) < 0.01
    truth = 0.25 * random.standard_normal(120)  # a quarter of the prior variance
    assert prior_scale(information, noise + information @ truth, std) == pytest.approx(0.25, rel=0.5)
    assert prior_scale(information, noise + information @ (9 * std), std) == SCALES[-1]


def test_a_cube_is_fitted_to_the_noise_and_its_void_is_known_as_well_as_it_says(counted) -> None:
    true = true_measures(CUBE)
    volume, phases = make_volume(CUBE), make_segmentation(CUBE)
    fits = [refine(counted(volume, noise=0.12, seed=seed), phases) for seed in range(3)]
    errors = [one.particle.sizes_nm3["void"] / true.void_nm3 - 1 for one in fits]
    stated = [one.void_spread for one in fits]
    assert 0.02 < min(stated) <= max(stated) < 0.2
    assert np.sqrt(np.mean(np.square(errors))) < 2 * np.mean(stated)
    assert np.mean([one.misfit for one in fits]) < 1.15  # 1.31 where the edges are drawn by radii
    solid = CUBE.replace(void_radius_nm=0)
    assert np.isnan(refine(counted(make_volume(solid), noise=0.15), make_segmentation(solid)).void_spread)
