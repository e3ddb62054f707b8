"""F48: the window answers while a volume grows in it: what its thread does between two turns of its event loop."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
import time
from typing import Any

import numpy as np
import pytest
from plugin_fakes import maps, press
from qtpy.QtCore import QTimer
from turn_watch import Watch, check, tell

from napari_dipmtv._napari.half_cut import HalfCut
from napari_dipmtv._napari.main_widget import MainWidget
from napari_dipmtv._napari.reconstruct_widget import ReconstructWidget
from napari_dipmtv._napari.turns import ALONE, BUSY_S, MOST_RESTS, Turns, aside, turns
from napari_dipmtv._napari.view_angle import look_into, turn_flat
from napari_dipmtv.errors import InputError
from napari_dipmtv.settings.tomo import SirtSettings


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_f48_the_window_answers_while_64_cubed_voxels_of_two_channels_stream(
    make_napari_viewer: Any, qtbot: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From Start to the finished volume no turn is busy for 0.1 s but for drawing, whatever else is done in it."""
    # ten times as many previews as a person gets
    monkeypatch.setattr("napari_dipmtv._napari.worker.PREVIEW_SHARE", 0.5)
    viewer = make_napari_viewer(show=True)
    dock = ReconstructWidget(viewer)
    viewer.window.add_dock_widget(dock)
    bench = dock.bench
    bench.session.load("maps", maps(n=64))
    bench.assume_aligned()
    dock.method.setCurrentIndex(dock.method.findData("sirt"))
    dock.form.setValue(SirtSettings(iterations=10_000))
    dock.stream.pace.setValue(0.1)
    qtbot.wait(1500)  # the window paints itself for the first time
    qtbot.waitUntil(lambda: not turns().busy)
    watch = Watch(monkeypatch)
    shown: list[tuple[int, int]] = []  # iteration, turn
    bench.job.preview.connect(lambda *_: shown.append((bench.job.progress.iteration, len(watch.turns))))
    watch.timer.start()
    press(dock.job_bar.start, qtbot)
    qtbot.waitUntil(lambda: len(shown) >= 9, timeout=800_000)
    with qtbot.waitSignal(bench.job.ended, timeout=60_000):
        press(dock.job_bar.stop, qtbot)
    ended = len(watch.turns)
    qtbot.waitUntil(lambda: len(watch.turns) > ended + 3 and not bench.layers.busy, timeout=100_000)
    watch.close()
    tell(watch, [turn for _, turn in shown])
    iterations = [iteration for iteration, _ in shown]
    assert iterations == sorted(set(iterations))  # the newest only, each once
    assert bench.session.has("volume")
    assert sum(parts["layers"] for parts in watch.turns) == 2
    check(watch)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_f48_the_window_answers_from_the_sample_to_the_phases(
    make_napari_viewer: Any, qtbot: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What every stage of the sample shows, its layers and plots, comes in turns of less than 0.1 s."""
    viewer = make_napari_viewer(show=True)
    main = MainWidget(viewer)
    viewer.window.add_dock_widget(main, name="DIPm-TV")
    bench = main.bench
    load, references, unmix, align, reconstruct, inspect, *_ = main.panels
    align.form.setValue(align.form.value().replace(rounds=1))
    reconstruct.method.setCurrentIndex(reconstruct.method.findData("sirt"))
    reconstruct.form.setValue(SirtSettings(iterations=30))
    qtbot.wait(1500)  # the window paints itself for the first time
    watch, stages = Watch(monkeypatch), []
    watch.timer.start()
    for step, control in (
        (0, load.open_demo),
        (0, load.prepare_bar.start),
        (1, references.draw_demo),
        (1, references.job_bar.start),
        (2, unmix.job_bar.start),
        (2, unmix.quality),
        (3, align.job_bar.start),
        (4, reconstruct.job_bar.start),
        (5, inspect.phases.job_bar.start),
        (5, inspect.cut.open_up),
        (3, align.job_bar.start),
    ):
        main.show_step(step)
        qtbot.wait(200)
        stages.append((len(watch.turns), control.text()))
        press(control, qtbot)
        qtbot.waitUntil(lambda: not bench.job.running and not turns().busy, timeout=300_000)
        qtbot.wait(200)
    watch.close()
    tell(watch, [])
    for (first, words), (last, _) in zip(stages, [*stages[1:], (len(watch.turns), "")], strict=True):
        parts = max(watch.turns[first:last], key=lambda each: each["all"] - each["gc"])
        told = {name: round(1e3 * value) for name, value in parts.items() if name != "layers"}
        garbage = max(each["gc"] for each in watch.turns[first:last])
        print(f"{words}: longest turn / ms {told}; longest for garbage {1e3 * garbage:.0f} ms")
    assert not bench.session.has("volume")  # aligned anew
    assert sum(parts["layers"] for parts in watch.turns) == 13
    check(watch)


def test_f48_a_preview_is_dropped_never_queued(make_napari_viewer: Any, qtbot: Any) -> None:
    """A real reconstruction in a real window: of thousands of steps some are shown, in order, each at most once."""
    viewer = make_napari_viewer()
    main = MainWidget(viewer)
    viewer.window.add_dock_widget(main)
    bench = main.bench
    bench.session.load("maps", maps(n=16))
    bench.assume_aligned()
    shown: list[int] = []
    bench.job.preview.connect(lambda *_: shown.append(bench.job.progress.iteration))
    with qtbot.waitSignal(bench.job.ended, timeout=60_000):
        bench.reconstruct("sirt", SirtSettings(iterations=600), "cpu", 0.05)
    assert shown == sorted(set(shown))
    assert len(shown) < 300


def test_a_window_that_is_not_painted_for_a_turn_is_painted_again_also_where_the_work_is_dropped(
    make_napari_viewer: Any,
) -> None:
    viewer = make_napari_viewer()
    viewer.add_image(np.zeros((4, 4, 4), np.float32))
    window = viewer.window._qt_window
    assert [window.updatesEnabled() for _ in look_into(viewer, HalfCut())] == [True, False]
    assert viewer.dims.ndisplay == 3
    assert window.updatesEnabled()
    dropped = turn_flat(viewer)
    next(dropped)
    assert not window.updatesEnabled()
    dropped.close()
    assert window.updatesEnabled()


QUIT = """
from qtpy.QtCore import QCoreApplication, QTimer
from napari_dipmtv._napari.turns import turns

application, ended = QCoreApplication([]), []

def work():
    try:
        while True:
            yield
    finally:
        ended.append("ended")

turns().take(application, "endless", work(), lambda: True)
QTimer.singleShot(50, application.quit)
application.exec()
print(ended, turns().busy)
"""


def test_what_waits_ends_before_the_program_does() -> None:
    """Python would take it apart when half of the program is gone."""
    said = subprocess.run(
        [sys.executable, "-c", QUIT], capture_output=True, text=True, check=True, timeout=60
    )
    assert said.stdout.split("\n")[0] == "['ended'] False"


def test_work_in_pieces_is_finished_or_dropped_at_will(qtbot: Any) -> None:
    done: list[int] = []
    wanted = True

    def work(count: int = 10_000) -> Any:
        for i in range(count):
            done.append(i)
            yield ALONE

    queue = Turns()
    queue.take(done, "count", work(), lambda: wanted)
    assert done == []
    qtbot.waitUntil(lambda: bool(done))
    assert queue.has(done, "count")
    queue.finish(done)
    assert (done, queue.busy) == (list(range(10_000)), False)
    queue.take(done, "count", work(), lambda: wanted)
    assert queue.drop(done, "count")
    assert not queue.busy
    wanted = False  # the window has been closed
    queue.take(done, "count", work(), lambda: wanted)
    qtbot.waitUntil(lambda: not queue.busy)
    assert len(done) == 10_000


def test_work_of_one_name_is_replaced_and_that_of_one_owner_keeps_its_order(qtbot: Any) -> None:
    done: list[str] = []

    def work(word: str) -> Any:
        value = yield from aside(lambda: word)
        done.append(value)
        yield
        done.append(value.upper())

    queue = Turns()
    for name, word in (("a", "old"), ("b", "second"), ("a", "third")):
        queue.take(done, name, work(word), lambda: True)
    other: list[str] = []
    queue.take(other, "a", iter([None]), lambda: True)
    with qtbot.waitSignals([queue.emptied] * 2):
        pass
    assert done == ["second", "SECOND", "third", "THIRD"]


def test_work_that_fails_is_told_and_the_next_is_done(qtbot: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    monkeypatch.setattr("napari_dipmtv._napari.turns.show_error", told.append)

    def refuse() -> None:
        raise InputError("maps: expected one pixel size, got two. Bin them.")

    queue, done = Turns(), []
    queue.take(done, "refused", aside(refuse), lambda: True)
    queue.take(done, "good", iter([done.append(1)]), lambda: True)
    queue.finish(done)
    assert told == ["maps: expected one pixel size, got two. Bin them."]
    assert (done, queue.busy) == ([1], False)


def test_small_pieces_share_a_turn(qtbot: Any) -> None:
    """So that a window that draws slowly draws once; what asks for a turn of its own gets it."""
    queue, turn, done = Turns(), [0], []
    clock = QTimer(interval=0)
    clock.timeout.connect(lambda: turn.append(turn.pop() + 1))
    clock.start()

    def work(between: Any) -> Any:
        for _ in range(4):
            done.append(turn[0])
            yield between

    for between, turns_taken in ((None, 1), (ALONE, 4)):
        done.clear()
        queue.take(done, "count", work(between), lambda: True)
        qtbot.waitUntil(lambda: not queue.busy)
        assert len(done) == 4
        assert len(set(done)) == turns_taken


def test_a_turn_that_is_busy_with_something_else_is_left_to_it(qtbot: Any) -> None:
    """A piece follows on work of others one turn later, but not after every one of those who never rest."""
    queue, pieces, loads = Turns(), [0], []

    def load() -> None:
        begin = time.thread_time()
        while time.thread_time() - begin < 2 * BUSY_S:
            pass
        loads.append(pieces[0])

    def work() -> Any:
        for _ in range(3):
            pieces[0] += 1
            yield ALONE

    busy = QTimer(interval=0)
    busy.timeout.connect(load)
    busy.start()
    queue.take(loads, "count", work(), lambda: True)
    qtbot.waitUntil(lambda: not queue.busy)
    busy.stop()
    assert pieces == [3]
    assert len(loads) >= 3 * MOST_RESTS


def test_garbage_is_left_alone_while_a_thread_computes_also_where_nobody_waits_for_it(qtbot: Any) -> None:
    """Python takes garbage apart in any thread, Qt in one only: docks that were closed must not go meanwhile."""
    go, found = threading.Event(), []

    def compute() -> int:
        go.wait(10)
        found.append(gc.get_freeze_count())
        return 1

    before = gc.get_freeze_count()
    for end in ("wait", "drop"):
        go.clear()
        queue = Turns()
        queue.take(found, "compute", aside(compute), lambda: True)
        qtbot.waitUntil(lambda: gc.get_freeze_count() > before)
        if end == "drop":
            queue.drop(found)
        go.set()
        qtbot.waitUntil(lambda: gc.get_freeze_count() == before)
    assert min(found) > before + 10_000
