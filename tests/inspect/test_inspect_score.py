"""Scores against numbers worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from napari_dipmtv.data import Segmentation, Volume
from napari_dipmtv.errors import GeometryError, InputError
from napari_dipmtv.inspect import match_voids, score

NAMES = ("A", "B")


@pytest.fixture
def truth() -> Volume:
    """A fills z < 4 of a block, B the rest; vacuum around it in x."""
    data = np.zeros((2, 8, 8, 12), np.float32)
    data[0, :4, :, :8] = 2.0
    data[1, 4:, :, :8] = 1.0
    return Volume(data, NAMES, 1.0)


def test_truth_scores_perfectly(truth):
    found = score(truth, truth)
    assert (found.nrmse, found.ssim, found.scale) == (0, pytest.approx(1), 1)
    assert found.iou == {"A": 1, "B": 1}


def test_a_phase_is_a_share_of_its_own_pure_density(truth):
    """B has half the density of A and still fills its voxels; without matter in both there is no IoU."""
    gone = truth.data.copy()
    gone[1] *= 0.4
    assert score(truth.replace(data=gone), truth).iou == {"A": 1, "B": 0}
    only_a = truth.replace(data=truth.data * np.array([1, 0], np.float32)[:, None, None, None])
    assert np.isnan(score(only_a, only_a).iou["B"])


def test_voxels_that_are_half_filled_decide_nothing(truth):
    """A surface layer of half voxels, over- or underestimated by a hair, leaves the IoU at 1."""
    data = truth.data.copy()
    data[:, :, 0] *= 0.5
    half = truth.replace(data=data)
    rng = np.random.default_rng(0)
    noisy = half.replace(data=data * rng.normal(1, 0.01, data.shape).astype(np.float32))
    assert score(noisy, half).iou == {"A": 1, "B": 1}


def test_hand_computed_nrmse_and_iou(truth):
    data = truth.data.copy()
    data[:, :1] = 0  # a quarter of A is missing
    found = score(truth.replace(data=data), truth)
    assert found.nrmse == pytest.approx(np.sqrt(64 * 4 / (256 * 4 + 256 * 1)))
    assert found.iou == {"A": pytest.approx(0.75), "B": 1}
    assert found.ssim < 1


def test_scale_is_fitted_only_when_asked(truth):
    half = truth.replace(data=truth.data / 2)
    assert score(half, truth).nrmse == pytest.approx(0.5)
    fitted = score(half, truth, fit_scale=True)
    assert (fitted.nrmse, fitted.scale) == (pytest.approx(0, abs=1e-6), pytest.approx(2))


def test_wrong_comparisons_are_refused(truth):
    with pytest.raises(GeometryError, match="one grid"):
        score(truth.replace(channels=("B", "A")), truth)
    with pytest.raises(InputError, match="some density"):
        score(truth, truth.replace(data=np.zeros_like(truth.data)))


def test_voids_are_compared():
    def labels(start: int, stop: int) -> Segmentation:
        array = np.ones((4, 4, 10), np.uint8)
        array[:, :, start:stop] = 2
        return Segmentation(array, {1: "material", 2: "void"}, 0.5)

    match = match_voids(labels(2, 6), labels(4, 10))
    assert (match.iou, match.recall, match.precision) == (pytest.approx(2 / 8), pytest.approx(2 / 6), 0.5)
    assert match.distance_nm == pytest.approx(3 * 0.5)
    nothing = match_voids(labels(0, 0), labels(0, 3))
    assert (nothing.iou, nothing.recall) == (0, 0)
    assert np.isnan(nothing.precision)
    assert np.isnan(nothing.distance_nm)


@pytest.mark.real_data
def test_reference_cube_scores_as_documented(data_folder):
    """NRMSE and IoU of a noisy copy, worked out from their definitions; the truth is zero or one."""
    with np.load(data_folder / "reference_cube64" / "cube64.npz") as saved:
        truth = saved["truth"].astype(np.float32)
    noisy = truth + np.random.default_rng(0).normal(0, 0.1, truth.shape).astype(np.float32)
    found = score(Volume(noisy, NAMES, 0.5), Volume(truth, NAMES, 0.5))
    assert found.nrmse == pytest.approx(np.sqrt(((noisy - truth) ** 2).sum() / (truth**2).sum()), rel=1e-4)
    pure = truth.max(axis=(1, 2, 3))[:, None, None, None]
    shares = truth / pure
    clear = np.maximum(shares.max(axis=0), 1 - shares.sum(axis=0)) > 0.6
    masks = [(v[0] >= v[1]) & (v.sum(axis=0) > 0.5) & clear for v in (noisy / pure, shares)]
    assert found.iou["A"] == pytest.approx(
        (masks[0] & masks[1]).sum() / (masks[0] | masks[1]).sum(), rel=1e-3
    )
