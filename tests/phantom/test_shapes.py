"""Sampled projections: the same convention as the projector, and displaced exactly as planted."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import center_of_mass

from napari_dipmtv.phantom import make_volume, true_measures
from napari_dipmtv.phantom.dose import project
from napari_dipmtv.phantom.shapes import CORE, SHELL, SKIN, VOID, phase_paths
from napari_dipmtv.settings.phantom import PhantomSettings

SETTINGS = PhantomSettings(field_voxels=48, supersampling=2)


def areal(tilt: float, displacement: tuple[float, float] = (0.0, 0.0), angle: float = 0.0) -> np.ndarray:
    paths = phase_paths(SETTINGS, tilt, displacement, angle)
    return np.stack([48.1 * (paths[CORE] + paths[SKIN]), 40.3 * paths[SHELL]])


@pytest.mark.parametrize("tilt", [-70.0, -20.0, 0.0, 35.0])
def test_paths_agree_with_the_projector(tilt: float) -> None:
    projected = project(make_volume(SETTINGS), (tilt,))[:, 0]
    sampled = areal(tilt)
    difference = np.linalg.norm(sampled - projected) / np.linalg.norm(projected)
    assert difference < 0.06  # voxels against particles; the opposite tilt differs by more than 0.3
    opposite = np.linalg.norm(areal(-tilt - 17) - projected) / np.linalg.norm(projected)
    assert opposite > 3 * difference


def test_every_view_holds_the_whole_volume() -> None:
    truth = true_measures(SETTINGS)
    for tilt in (-52.5, 0.0, 70.0):
        paths = phase_paths(SETTINGS, tilt, (0.7, -1.2), 0.0).sum(axis=(1, 2))  # nm x px², pixels of 1 nm
        assert paths[SHELL] == pytest.approx(truth.shell_nm3, rel=0.01)
        assert paths[CORE] == pytest.approx(truth.core_nm3, rel=0.01)
        assert paths[VOID] == pytest.approx(truth.void_nm3, rel=0.1)


@pytest.mark.parametrize(("angle", "shift"), [(0.0, (1.3, -0.8)), (5.0, (0.0, 0.0)), (-8.0, (0.5, 1.5))])
def test_displacement_and_turn_follow_the_alignment_convention(
    angle: float, shift: tuple[float, float]
) -> None:
    middle = (SETTINGS.field_voxels - 1) / 2
    void = PhantomSettings(void_x_nm=4, void_y_nm=-4, void_z_nm=0, rotation_y_deg=0, rotation_z_deg=0)
    ideal_y, ideal_x = np.array(center_of_mass(phase_paths(void, 0.0, (0.0, 0.0), 0.0)[VOID])) - middle
    raw = np.array(center_of_mass(phase_paths(void, 0.0, shift, angle)[VOID])) - middle
    c, s = np.cos(np.deg2rad(angle)), np.sin(np.deg2rad(angle))
    assert (ideal_y, ideal_x) == pytest.approx((-4, 4), abs=0.05)
    assert raw == pytest.approx(
        [shift[0] + ideal_x * s + ideal_y * c, shift[1] + ideal_x * c - ideal_y * s], abs=0.05
    )
