"""The session: what is reached, what that clears, and who is told."""

from __future__ import annotations

import pytest
from plugin_fakes import cube

from napari_dipmtv._napari.session import ADVICE, STAGES, Reconstruction, Session
from napari_dipmtv.errors import InputError


def filled() -> Session:
    session = Session()
    for stage in STAGES:
        session.put(stage, stage.upper())
    return session


@pytest.mark.parametrize("stage", STAGES)
def test_a_new_value_clears_everything_downstream_and_nothing_upstream(stage: str) -> None:
    session = filled()
    told: list[str] = []
    session.changed.connect(told.append)
    session.put(stage, "new")
    at = STAGES.index(stage)
    assert [name for name in STAGES if session.has(name)] == list(STAGES[: at + 1])
    assert told == list(STAGES[at:])
    assert session.value(stage) == "new"


def test_listeners_see_the_final_state_of_all_stages() -> None:
    session = filled()
    seen: list[bool] = []
    session.changed.connect(lambda _: seen.append(session.has("volume")))
    session.put("maps", "new")
    assert seen
    assert not any(seen)


@pytest.mark.parametrize("stage", STAGES)
def test_an_absent_value_says_what_to_do(stage: str) -> None:
    with pytest.raises(InputError) as caught:
        Session().value(stage)
    assert ADVICE[stage].rstrip(".") in str(caught.value)


def test_new_data_clears_results_too() -> None:
    session = filled()
    session.add_result(result("series"))
    session.load("maps", "other")
    assert session.results == ()
    assert [name for name in STAGES if session.has(name)] == ["maps"]


def test_results_of_an_earlier_alignment_are_kept_but_told_apart() -> None:
    session = Session()
    session.put("tilt_series", first := object())
    session.add_result(old := result(first))
    session.put("tilt_series", second := object())
    assert not session.has("volume")
    session.add_result(new := result(second))
    assert session.results == (old, new)
    assert [session.is_current(r) for r in session.results] == [False, True]
    assert session.value("volume") is new


def result(series: object) -> Reconstruction:
    return Reconstruction(cube(), "SIRT", series, "sirt", {}, "cpu", {}, 5, 1.0, False)
