"""Nudges move the content as told; undo gives earlier alignments back bit for bit."""

from __future__ import annotations

import numpy as np
import pytest

from napari_dipmtv.alignment import AlignmentHistory, apply
from napari_dipmtv.data import Alignment, ChannelMaps
from napari_dipmtv.errors import InputError

TILTS = (-40.0, 0.0, 40.0)


@pytest.mark.parametrize("angle_deg", [0.0, 8.0, -30.0])
def test_a_nudge_moves_the_aligned_content_right_and_down(angle_deg):
    grid = np.stack(np.mgrid[:41, :41], axis=-1) - 20.0
    blob = np.exp(-(grid**2).sum(axis=-1) / (2 * 2.0**2))
    maps = ChannelMaps(np.tile(blob, (1, 3, 1, 1)), ("A",), TILTS, 1.0)
    before = Alignment(np.zeros((3, 2)), angle_deg)
    after = before.nudged(1, dx_px=3.0, dy_px=-2.0)
    image = apply(maps, after).data[0]
    centres = np.einsum("tyx,yxk->tk", image, grid) / image.sum(axis=(1, 2))[:, None]
    np.testing.assert_allclose(centres, [[0, 0], [-2, 3], [0, 0]], atol=0.02)
    assert not before.shifts_px.any()


def test_undo_and_redo_give_back_the_very_alignment():
    first = Alignment(np.random.default_rng(0).normal(size=(3, 2)), 1.5, 0.5, (0.3, 0.2))
    history = AlignmentHistory.begin(first, "projection matching").nudged(0, 0.1, 0.2).nudged(2, 1.0, 0.0)
    assert history.undone().undone().now is first
    assert history.undone().undone().undone().now is first
    assert history.undone().redone().redone().now is history.now
    assert (history.can_undo, history.can_redo) == (True, False)
    assert history.moves == ((0, 0.1, 0.2), (2, 1.0, 0.0))
    assert history.undone().moves == ((0, 0.1, 0.2),)


def test_a_new_step_forgets_what_was_undone():
    history = AlignmentHistory.begin(Alignment(np.zeros((3, 2))), "start").nudged(0, 1, 0).undone()
    assert history.can_redo
    other = history.nudged(1, 0, 1)
    assert other.made_by == ("start", (1, 0, 1))
    assert not other.can_redo
    np.testing.assert_array_equal(other.now.shifts_px, [[0, 0], [-1, 0], [0, 0]])


def test_a_view_that_is_not_there_cannot_be_nudged():
    with pytest.raises(InputError, match="view: expected 0 to 2, got 3"):
        Alignment(np.zeros((3, 2))).nudged(3, 1, 1)
    with pytest.raises(InputError, match="one name per alignment"):
        AlignmentHistory((Alignment(np.zeros((3, 2))),), ())


def test_a_new_alignment_can_be_undone_and_brings_its_moves_back():
    found, again = Alignment(np.ones((3, 2))), Alignment(np.zeros((3, 2)))
    history = AlignmentHistory.begin(found, "found").nudged(0, 1, 0).then(again, "found again")
    assert history.moves == ()
    assert history.undone().moves == ((0, 1, 0),)


def test_saved_moves_can_be_undone():
    found = Alignment(np.random.default_rng(1).normal(size=(3, 2)), 4.0, 0.5, (0.3,))
    worked = AlignmentHistory.begin(found, "found").nudged(0, 0.3, -0.2).nudged(2, 1.0, 0.0)
    reopened = AlignmentHistory.resumed(worked.now, worked.moves, "found")
    assert reopened.now is worked.now
    assert reopened.moves == worked.moves
    first = reopened.undone().undone().now
    np.testing.assert_allclose(first.shifts_px, found.shifts_px, atol=1e-12)
    assert (first.axis_angle_deg, first.quality) == (4.0, (0.3,))
