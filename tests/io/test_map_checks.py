"""F25: matter that leaves the field of view is noticed, and what is not valid is not fitted."""

from __future__ import annotations

import numpy as np
import pytest

from napari_dipmtv import pipeline
from napari_dipmtv.data import ChannelMaps, TiltSeries
from napari_dipmtv.io.map_checks import view_mass, view_problems

TILTS = tuple(float(tilt) for tilt in range(-60, 61, 15))
CUT = 4  # the view at 0 deg


def disc_views(n: int = 40) -> tuple[np.ndarray, np.ndarray]:
    """A disc (1, z, y, x), two of four slices, beside the centre, and its views (1, t, y, x)."""
    z, x = np.mgrid[:n, :n] - (n - 1) / 2
    disc = ((z - 2) ** 2 + (x - 6) ** 2 <= 8**2).astype(np.float32)
    views = []
    for tilt in np.deg2rad(TILTS):
        place = x * np.cos(tilt) + z * np.sin(tilt) + (n - 1) / 2
        low = np.floor(place).astype(int)
        part = place - low
        view = np.zeros(n + 2)
        np.add.at(view, np.clip(low, 0, n), disc * (1 - part))
        np.add.at(view, np.clip(low + 1, 0, n), disc * part)
        views.append(view[:n])
    rows = np.array([0, 1, 1, 0], np.float32)[:, None]
    return (disc[:, None] * rows)[None], np.stack([view * rows for view in views])[None]


def test_f25_lost_matter_is_told_with_its_angle() -> None:
    _, views = disc_views()
    whole = ChannelMaps(views, ("Fe",), TILTS, 1.0)
    np.testing.assert_allclose(view_mass(whole).relative, 1, rtol=1e-5)
    assert view_problems(whole) == ()
    drifted = views.copy()
    drifted[0, CUT] = np.roll(views[0, CUT], 12, axis=-1)
    drifted[0, CUT, :, :12] = 0  # what came in again on the other side
    lost = 1 - drifted[0, CUT].sum() / views[0, CUT].sum()
    assert lost > 0.1
    (problem,) = view_problems(ChannelMaps(drifted, ("Fe",), TILTS, 1.0))
    assert f"{TILTS[CUT]:g} deg has {100 * lost:.0f} % less" in problem


def test_f25_a_lower_dose_is_not_a_loss_of_matter() -> None:
    _, views = disc_views()
    views[0, CUT] *= 0.7
    found = view_mass(ChannelMaps(views, ("Fe",), TILTS, 1.0))
    assert found.relative[CUT] == pytest.approx(0.7)
    assert found.losing == ()


def test_f25_masked_part_of_a_view_is_not_fitted() -> None:
    truth, views = disc_views()
    cut = views.copy()
    cut[0, CUT, :, 22:] = 0  # half of the disc is missing at this tilt
    valid = np.ones(views.shape[1:], bool)
    valid[CUT, :, 22:] = False
    errors = {}
    for name, mask in (("masked", valid), ("unmasked", None)):
        series = TiltSeries(cut, ("Fe",), TILTS, 1.0, valid=mask)
        volume = pipeline.reconstruct(series, "sirt", device="cpu").volume
        errors[name] = np.linalg.norm(volume.data - truth) / np.linalg.norm(truth)
    assert errors["masked"] < 0.9 * errors["unmasked"]
