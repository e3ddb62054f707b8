"""Shifts of the views that are learnt with the volume."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from particles import TILTS, counted, error

from napari_dipmtv.data import TiltSeries, Volume
from napari_dipmtv.errors import InputError
from napari_dipmtv.projection.shifted import shift_views
from napari_dipmtv.settings.tomo import DipSettings
from napari_dipmtv.tomo.reconstruct import reconstruct, reconstruct_states
from napari_dipmtv.tomo.view_shifts import SCALE_PX, ViewShifts

SETTINGS = DipSettings(iterations=120, filters=(8, 16), skips=(0, 0), cavities=False, polish=0, seed=1)


def planted_px() -> torch.Tensor:
    """Shifts of about a pixel (rms), free of what a movement of the object explains."""
    shifts = ViewShifts(TILTS)
    draw = np.random.default_rng(3).normal(0, 0.6, (len(TILTS), 2))
    shifts.raw.data = torch.from_numpy(draw).float() / SCALE_PX
    return shifts().detach()


def displaced(series: TiltSeries) -> TiltSeries:
    """The series with its views shifted by whole-pixel-free cubic interpolation."""
    moved = shift_views(torch.from_numpy(series.data), planted_px()).clamp(min=0).numpy()
    return series.replace(data=moved)


def test_movements_of_the_object_are_no_shifts() -> None:
    shifts, angles = ViewShifts(TILTS), torch.deg2rad(torch.tensor(TILTS))
    along = torch.full_like(angles, 2.0)
    shifts.raw.data = torch.stack([along, 3 * angles.cos() - angles.sin()], dim=1)
    assert float(shifts().detach().abs().max()) < 1e-5
    shifts.raw.data = torch.stack([0 * along, along], dim=1)  # an offset of the axis is one
    assert float(shifts().detach().abs().max()) > 0.1


def test_planted_shifts_are_learnt_and_the_volume_is_the_better_for_it(truth: Volume) -> None:
    series = displaced(counted(truth, 20.0))
    left = reconstruct(series, "dipm-tv", SETTINGS)
    states = list(reconstruct_states(series, "dipm-tv", SETTINGS.replace(refine_shifts=True)))
    last, kept = states[-1], states[-1].checkpoint
    assert kept is not None
    shifts = ViewShifts(TILTS)
    shifts.raw.data = torch.from_numpy(kept()["0/network/shifts.raw"])
    off = (shifts().detach() - planted_px()).square().sum(dim=1).mean().sqrt()
    assert float(planted_px().square().sum(dim=1).mean().sqrt()) > 0.9
    assert float(off) < 0.25
    assert last.losses["shift_px"] == pytest.approx(
        float(shifts().detach().square().sum(dim=1).mean().sqrt()), abs=0.05
    )
    assert error(last.snapshot(), truth) < 0.95 * error(left.volume, truth)


def test_networks_of_their_own_cannot_share_shifts(truth: Volume) -> None:
    with pytest.raises(InputError, match="Choose DIPm-TV"):
        reconstruct(counted(truth, 20.0), "dip-tv", SETTINGS.replace(refine_shifts=True))
