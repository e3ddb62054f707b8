"""A segmentation finds its way to the true boundaries, from the projections alone."""

from __future__ import annotations

import numpy as np
import pytest

from napari_dipmtv.data import Segmentation
from napari_dipmtv.errors import GeometryError, InputError
from napari_dipmtv.inspect import segment
from napari_dipmtv.phantom import make_segmentation, make_volume, true_measures
from napari_dipmtv.settings.phantom import PhantomSettings
from napari_dipmtv.trust.planted import Shape
from napari_dipmtv.trust.refine import refine
from napari_dipmtv.trust.resample import generator

BALL = PhantomSettings(
    shape="sphere",
    field_voxels=24,
    size_nm=16,
    skin_nm=1.6,
    shell_nm=2.6,
    void_radius_nm=2.2,
    void_x_nm=0.3,
    void_y_nm=0,
    void_z_nm=-0.4,
)
TRUE = true_measures(BALL)
SIZES = {
    "FeO core": TRUE.core_nm3,
    "Fe3O4 shell": TRUE.shell_nm3,
    "FeO skin": TRUE.skin_nm3,
    "void": TRUE.void_nm3,
}


@pytest.fixture(scope="module")
def truth():
    return make_volume(BALL)


@pytest.fixture(scope="module")
def phases() -> Segmentation:
    return make_segmentation(BALL)


def thickened(phases: Segmentation) -> Segmentation:
    """With a skin that reaches too far inwards, as a blurred volume gives it."""
    grown = Shape.of(phases, ("FeO", "Fe3O4"))
    distances = grown.distances.copy()
    distances[1 + grown.names.index("FeO skin")] += 0.6
    shares = grown.shares(distances)
    return grown.planted(shares, np.ones((2, 2))).phases


def test_sizes_and_densities_come_from_the_projections_not_from_the_start(truth, phases, counted) -> None:
    start = thickened(phases)
    assert start.mask("FeO skin").sum() > 1.15 * TRUE.skin_nm3
    found = refine(counted(truth, noise=0.12), start)
    sizes = found.particle.sizes_nm3
    assert sizes["FeO core"] == pytest.approx(TRUE.core_nm3, rel=0.1)
    assert sizes["Fe3O4 shell"] == pytest.approx(TRUE.shell_nm3, rel=0.04)
    assert sizes["FeO skin"] == pytest.approx(TRUE.skin_nm3, rel=0.04)
    assert sizes["void"] == pytest.approx(TRUE.void_nm3, rel=0.35)
    assert np.diag(found.densities) == pytest.approx([48.1, 40.3], rel=0.05)
    assert np.abs(found.densities - np.diag(np.diag(found.densities))).max() < 2
    assert 0.8 < found.misfit < 1.4


def test_misfit_tells_a_particle_that_is_not_what_the_phases_say(truth, phases, counted) -> None:
    uneven = truth.data * (1 + 0.5 * np.sign(np.linspace(-1, 1, 24))[None, None, :, None])
    good, bad = counted(truth, noise=0.12), counted(truth.replace(data=uneven.astype(np.float32)), noise=0.12)
    assert refine(bad, phases).misfit > 2 * refine(good, phases).misfit


def test_maps_with_a_covariance_and_masked_pixels_are_weighted(truth, phases, counted) -> None:
    series = counted(truth, noise=0.05)
    spread = np.zeros((2, 2, *series.data.shape[1:]), np.float32)
    spread[0, 0] = spread[1, 1] = 100.0
    spread[0, 1] = spread[1, 0] = -50.0
    wrong = series.data.copy()
    wrong[:, 4] *= 3
    valid = np.ones(series.data.shape[1:], bool)
    valid[4] = False
    blind = series.replace(data=wrong, counts_per_unit=None, covariance=spread, valid=valid)
    sizes = refine(blind, thickened(phases)).particle.sizes_nm3
    assert sizes["FeO skin"] == pytest.approx(TRUE.skin_nm3, rel=0.05)
    bare = refine(series.replace(counts_per_unit=None), thickened(phases)).particle.sizes_nm3
    assert bare["FeO skin"] == pytest.approx(TRUE.skin_nm3, rel=0.08)


def test_a_shape_keeps_its_volumes_and_takes_new_ones(phases) -> None:
    shape = Shape.of(phases, ("FeO", "Fe3O4"))
    for shares in (shape.shares(shape.distances), shape.counted(shape.distances)):
        sizes = dict(zip(shape.names, shares.sum(axis=(1, 2, 3)), strict=True))
        assert sum(sizes.values()) == pytest.approx(sum(SIZES.values()), rel=0.06)
        assert sizes["FeO skin"] == pytest.approx(TRUE.skin_nm3, rel=0.08)  # less than a voxel of blur in all
        assert shares.sum(axis=0).max() < 1 + 1e-5
    ball = Shape.of(
        Segmentation((phases.labels > 0).astype(np.uint8), {0: "vacuum", 1: "material"}, 1.0), ("HAADF",)
    )
    more = (
        ball.distances + np.array([0.0, 1.0], np.float32)[:, None, None, None]
    )  # against the vacuum: half a voxel
    before, after = (float(ball.shares(one).sum()) for one in (ball.distances, more))
    assert (after ** (1 / 3) - before ** (1 / 3)) / (4 * np.pi / 3) ** (1 / 3) == pytest.approx(0.5, abs=0.08)


def test_a_deformed_particle_is_another_of_nearly_the_same_size(phases) -> None:
    shape = Shape.of(phases, ("FeO", "Fe3O4"))
    draws = [shape.planted(shape.counted(shape.deformed(generator(0, i))), np.eye(2)) for i in range(4)]
    whole = [sum(one.sizes_nm3.values()) for one in draws]
    assert 0.003 < np.std(whole) / np.mean(whole) < 0.12
    assert draws[0].volume.data.shape == (2, 24, 24, 24)
    assert draws[0].measures()["FeO core volume"][0] == pytest.approx(draws[0].sizes_nm3["FeO core"])
    ratio = draws[0].measures()["(FeO core + FeO skin) : Fe3O4 shell"][0]
    sizes = draws[0].sizes_nm3
    assert ratio == pytest.approx((sizes["FeO core"] + sizes["FeO skin"]) / sizes["Fe3O4 shell"])


def test_errors_are_read_in_the_box_of_the_first_shape(phases) -> None:
    shape = Shape.of(phases, ("FeO", "Fe3O4"))
    moved = Segmentation(np.roll(phases.labels, 1, axis=2), phases.phases, phases.voxel_nm)
    other = Shape.of(moved, ("FeO", "Fe3O4"))
    assert not shape.apart(shape.distances, shape).any()
    apart = shape.apart(shape.distances, other)
    vacuum = apart[0][:, :, [2, -3]].mean(axis=(0, 1))
    assert vacuum[0] < -0.5 < 0.5 < vacuum[1]  # the other lies further in x


def test_nothing_to_refine_is_said(truth, phases, counted) -> None:
    series = counted(truth)
    empty = Segmentation(np.zeros_like(phases.labels), phases.phases, 1.0)
    with pytest.raises(InputError, match="some matter"):
        refine(series, empty)
    with pytest.raises(GeometryError, match="Segment a reconstruction of these data"):
        refine(series, Segmentation(phases.labels[:, :-2], phases.phases, 1.0))


def test_one_grey_channel_works_too(truth, counted) -> None:
    grey = truth.replace(data=truth.data.sum(axis=0, keepdims=True), channels=("HAADF",))
    series = counted(grey, noise=0.1)
    found = refine(series, segment(grey))
    whole = TRUE.core_nm3 + TRUE.shell_nm3 + TRUE.skin_nm3
    assert found.particle.sizes_nm3["material"] == pytest.approx(whole, rel=0.05)
