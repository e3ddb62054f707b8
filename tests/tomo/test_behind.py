"""A fit that foretells unseen data worse than the volume it began with says so, and opens no cavities."""

from __future__ import annotations

import torch
from particles import counted, particle

from napari_dipmtv.data import Volume
from napari_dipmtv.settings.tomo import DipSettings
from napari_dipmtv.tomo import dip_tv
from napari_dipmtv.tomo.reconstruct import reconstruct_states


def hollow() -> Volume:
    """The particle with a large void in its middle."""
    truth = particle(24)
    z, y, x = torch.meshgrid(*[torch.arange(24) - 11.5] * 3, indexing="ij")
    truth.data[:, (z * z + y * y + x * x < 9).numpy()] = 0
    return truth


def stages(iterations: int, polish: int = 0) -> str:
    """What the last state of a run on the hollow particle says."""
    series = counted(hollow(), 4.0)
    settings = DipSettings(iterations=iterations, filters=(8, 16, 16), skips=(0, 0, 0), polish=polish)
    return list(reconstruct_states(series, "dipm-tv", settings))[-1].stage


def test_a_fit_that_is_far_off_says_so_and_opens_nothing() -> None:
    said = stages(8)
    assert dip_tv.BEHIND in said
    assert "cavity" not in said


def test_a_network_that_is_far_off_opens_nothing_even_where_polishing_catches_up() -> None:
    said = stages(8, polish=200)
    assert dip_tv.BEHIND not in said
    assert "cavity" not in said


def test_a_finished_fit_opens_the_void() -> None:
    said = stages(200)
    assert dip_tv.BEHIND not in said
    assert "cavity" in said
