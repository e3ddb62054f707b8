"""The job: a run ends in exactly one way, whatever happens to it, and the window stays quick."""

from __future__ import annotations

import sys
import threading
import time
from typing import Any

import numpy as np
import pytest
from plugin_fakes import Steps

from napari_dipmtv._napari.iterators import mapped, once
from napari_dipmtv._napari.job import Job
from napari_dipmtv._napari.time_left import TimeLeft
from napari_dipmtv._napari.worker import SWITCH_S, USUAL_SWITCH_S, Worker
from napari_dipmtv.errors import InputError


class Ears:
    """Everything that a job says."""

    def __init__(self, job: Job) -> None:
        self.heard: list[tuple[str, Any]] = []
        for name in ("finished", "stopped", "failed"):
            getattr(job, name).connect(lambda _, what, name=name: self.heard.append((name, what)))
        self.states: list[int] = []
        self.previews: list[Any] = []
        job.stated.connect(lambda _, progress: self.states.append(progress.iteration))
        job.preview.connect(lambda _, shot: self.previews.append(shot))


def test_complete(job: Job, qtbot: Any) -> None:
    ears, steps = Ears(job), Steps(30)
    with qtbot.waitSignal(job.ended, timeout=5000):
        job.start("count", steps)
    [(how, result)] = ears.heard
    assert how == "finished"
    assert (result.value, result.iterations, result.stopped) == (30, 30, False)
    assert result.losses["loss"] == [1 / i for i in range(1, 31)]
    assert [i for i, _ in job.progress.losses["loss"]] == list(range(1, 31))  # none lost between two polls
    assert ears.states == sorted(set(ears.states))
    assert steps.closed
    assert threading.get_ident() not in steps.threads  # iterator and snapshots stay in the worker
    assert not job.running
    assert job.why_not == ""


@pytest.mark.parametrize("fails", [False, True])
def test_a_run_soon_lets_the_window_go_on_and_puts_that_back(job: Job, qtbot: Any, fails: bool) -> None:
    """Python's lock goes back and forth dozens of times before something is shown."""
    seen: list[float] = []

    def compute() -> int:
        seen.append(sys.getswitchinterval())
        return 1 // (not fails)

    with qtbot.waitSignal(job.ended, timeout=5000):
        job.start("count", lambda: once("Counting", compute))
    assert seen == pytest.approx([SWITCH_S])
    assert sys.getswitchinterval() == pytest.approx(USUAL_SWITCH_S)
    assert SWITCH_S < USUAL_SWITCH_S


def test_stop_keeps_what_was_reached(job: Job, qtbot: Any) -> None:
    ears, steps = Ears(job), Steps(10_000)
    job.start("count", steps)
    qtbot.waitUntil(lambda: steps.done > 5)
    with qtbot.waitSignal(job.ended, timeout=2000):
        job.stop()
    [(how, result)] = ears.heard
    assert how == "stopped"
    assert result.stopped
    assert result.value == result.iterations == steps.done < 10_000
    assert steps.closed


def test_cancel_drops_what_was_reached(job: Job, qtbot: Any) -> None:
    ears, steps = Ears(job), Steps(10_000)
    job.start("count", steps)
    qtbot.waitUntil(lambda: steps.done > 5)
    with qtbot.waitSignal(job.ended, timeout=2000):
        job.cancel()
    assert ears.heard == [("stopped", None)]
    assert steps.closed


def test_pause_holds_and_go_on_finishes(job: Job, qtbot: Any) -> None:
    ears, steps = Ears(job), Steps(40)
    job.start("count", steps)
    qtbot.waitUntil(lambda: steps.done > 3)
    job.pause()
    assert job.paused
    qtbot.wait(60)
    held = steps.done
    qtbot.wait(150)
    assert steps.done == held < 40
    with qtbot.waitSignal(job.ended, timeout=5000):
        job.pause(False)
    assert ears.heard[0][0] == "finished"


def test_stop_while_paused(job: Job, qtbot: Any) -> None:
    ears, steps = Ears(job), Steps(1000)
    job.start("count", steps)
    qtbot.waitUntil(lambda: steps.done > 3)
    job.pause()
    with qtbot.waitSignal(job.ended, timeout=2000):
        job.stop()
    assert ears.heard[0][0] == "stopped"


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (RuntimeError("CUDA error: device lost"), "RuntimeError: CUDA error: device lost"),
        (InputError("maps: expected signal, got none. Load others."), "maps: expected signal"),
        (MemoryError(), "out-of-memory"),
        (StopIteration("odd"), "RuntimeError"),
    ],
)
def test_f45_an_exception_becomes_one_sentence_and_the_next_run_works(
    job: Job, qtbot: Any, error: Exception, words: str
) -> None:
    ears, steps = Ears(job), Steps(20)
    steps.fail_at = (5, error)
    with qtbot.waitSignal(job.ended, timeout=3000):
        job.start("count", steps)
    [(how, sentence)] = ears.heard
    assert how == "failed"
    assert words in sentence
    assert steps.closed
    with qtbot.waitSignal(job.finished, timeout=3000):
        job.start("count", Steps(3))


def test_an_exception_before_the_first_state(job: Job, qtbot: Any) -> None:
    ears = Ears(job)

    def refuse() -> Any:
        raise InputError("tilt series: expected 3 views, got 1. Add views.")

    with qtbot.waitSignal(job.ended, timeout=3000):
        job.start("count", refuse)
    assert ears.heard == [("failed", "tilt series: expected 3 views, got 1. Add views.")]


def test_f43_one_run_in_the_process(job: Job, qtbot: Any) -> None:
    other, steps = Job(), Steps(1000)
    job.start("first", steps)
    with pytest.raises(InputError, match="'first' is running"):
        other.start("second", Steps(1))
    with pytest.raises(InputError, match="'first' is running"):
        job.start("again", Steps(1))
    with qtbot.waitSignal(job.ended, timeout=2000):
        job.cancel()
    with qtbot.waitSignal(other.finished, timeout=2000):
        other.start("second", Steps(1))


def test_one_preview_in_flight_and_a_capped_rate(job: Job, qtbot: Any) -> None:
    """F48: a window that needs 60 ms for a preview gets one in 1.2 s, not one per step."""
    ears, steps = Ears(job), Steps(300, pause_s=0.003, value=lambda i: np.full(3, i))
    job.preview.connect(lambda *_: time.sleep(0.06))
    begin = time.monotonic()
    with qtbot.waitSignal(job.ended, timeout=8000):
        job.start("count", steps, stream_s=0.0)
    seconds = time.monotonic() - begin
    assert 1 <= len(ears.previews) <= 1 + seconds * 0.05 / 0.06 + 1
    assert [int(shot[0]) for shot in ears.previews] == sorted({int(shot[0]) for shot in ears.previews})


def test_f48_a_window_that_does_not_look_is_sent_one_preview() -> None:
    """Without a window that takes them, previews are dropped before they are made: one is on its way, none waits."""
    made: list[int] = []
    steps = Steps(500, pause_s=0, value=lambda i: made.append(i) or i)  # type: ignore[func-returns-value]
    worker = Worker(steps, preview_pause_s=0.0)
    worker.start()
    worker.join(10)
    news, shot, outcome = worker.collect()
    assert made == [1, 500]  # the preview, and the result
    assert shot == 1
    assert [item.iteration for item in news] == list(range(1, 501))
    assert outcome.value == 500
    assert worker.collect()[:2] == ([], None)


def test_previews_only_where_wanted(job: Job, qtbot: Any) -> None:
    ears = Ears(job)
    with qtbot.waitSignal(job.ended, timeout=3000):
        job.start("count", Steps(30))
    assert ears.previews == []


def test_stop_streaming(job: Job, qtbot: Any) -> None:
    ears, steps = Ears(job), Steps(200)
    job.preview.connect(lambda *_: job.stream_every(None))
    with qtbot.waitSignal(job.ended, timeout=5000):
        job.start("count", steps, stream_s=0.0)
    assert len(ears.previews) == 1
    assert ears.heard[0][0] == "finished"


def test_f48_the_window_stays_quick_while_states_pour_in(job: Job, qtbot: Any) -> None:
    ears, steps = Ears(job), Steps(3000, pause_s=0.0)
    late: list[float] = []
    begin = time.monotonic()
    with qtbot.waitSignal(job.ended, timeout=8000):
        job.start("count", steps)
        while job.running:
            before = time.monotonic()
            qtbot.wait(5)
            late.append(time.monotonic() - before)
    assert len(ears.states) <= (time.monotonic() - begin) / 0.04 + 2  # coalesced, whatever the pace
    assert len(job.progress.losses["loss"]) == 3000
    assert sorted(late)[len(late) // 2] < 0.1


def test_f38_shutdown_waits_for_the_worker_and_says_nothing(job: Job, qtbot: Any) -> None:
    ears, steps = Ears(job), Steps(10_000, pause_s=0.02)
    job.start("count", steps)
    qtbot.waitUntil(lambda: steps.done > 2)
    begin = time.monotonic()
    assert job.shutdown()
    assert time.monotonic() - begin < 1
    assert steps.closed
    qtbot.wait(100)
    assert ears.heard == []
    assert not job.running


def test_once_and_mapped(job: Job, qtbot: Any) -> None:
    ears, steps = Ears(job), Steps(5)
    with qtbot.waitSignal(job.ended, timeout=2000):
        job.start("count", lambda: mapped(steps(), lambda value: value * 10))
    assert ears.heard[0][1].value == 50
    assert steps.closed
    with qtbot.waitSignal(job.ended, timeout=2000):
        job.start("once", lambda: once("Reading", lambda: "read"))
    assert ears.heard[1][1].value == "read"


def test_mapped_closes_the_inner_iterator_when_it_is_closed() -> None:
    steps = Steps(5)
    states = mapped(steps(), str)
    assert next(states).snapshot() == "1"
    states.close()
    assert steps.closed


def test_f47_time_left_survives_a_sleep(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    clock, left = TimeLeft(), None
    for i in range(1, 31):
        clock.begin()
        now[0] += 3600.0 if i == 20 else 0.1
        left = clock.step(i, 100)
    assert left == pytest.approx(7.0, rel=0.5)
    assert TimeLeft().step(1, 10) is None
