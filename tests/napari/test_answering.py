"""F48: the window answers while a volume grows in it: what its thread does between two turns of its event loop."""

from __future__ import annotations

import gc
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from napari.components import ViewerModel
from plugin_fakes import maps, press
from qtpy.QtCore import QTimer

from napari_dipmtv._napari.half_cut import HalfCut
from napari_dipmtv._napari.main_widget import MainWidget
from napari_dipmtv._napari.reconstruct_widget import ReconstructWidget
from napari_dipmtv._napari.turns import ALONE, BUSY_S, MOST_RESTS, Turns, aside, turns
from napari_dipmtv._napari.view_angle import look_into, turn_flat
from napari_dipmtv.errors import InputError
from napari_dipmtv.settings.tomo import SirtSettings

LONGEST_S = 0.1
QUIET = 0.15  # processors that other programs keep busy, the X server among them
BESIDE_OTHERS = 1.6  # how much longer a step takes on a core that is shared


class Watch:
    """What the thread of a window does between two ticks of a timer, in processor time and by the clock.

    Drawing with OpenGL, which a processor does here and elsewhere a graphics card, is told apart and counts nowhere.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from vispy import gloo
        from vispy.scene import SceneCanvas

        self.turns: list[Counter[str]] = []  # seconds by what they went into; "all" is everything but drawing
        self.gaps_s: list[float] = []  # the same by the clock, with what else wants the processors
        self.own_gaps_s: list[float] = []  # that without the time for which other threads had the processors
        self._begin = time.monotonic(), _others_s()
        self._parts: Counter[str] = Counter()
        self._thread = threading.get_ident()
        self._last = time.thread_time(), time.monotonic(), _waited_s()
        self.timer = QTimer(interval=10)
        self.timer.timeout.connect(self._tick)
        draw, add = SceneCanvas.on_draw, ViewerModel.add_layer

        def timed_draw(canvas: Any, event: Any) -> None:
            begin = time.thread_time(), time.monotonic(), _waited_s()
            draw(canvas, event)
            gloo.gl.glFinish()  # what was only queued would be counted later, as something else
            self._parts["draw"] += time.thread_time() - begin[0]
            self._parts["draw by the clock"] += time.monotonic() - begin[1]
            self._parts["waiting to draw"] += _waited_s() - begin[2]

        def timed_add(viewer: Any, layer: Any) -> Any:
            begin, drawn = time.thread_time(), self._parts["draw"]
            added = add(viewer, layer)
            self._parts["add_layer"] += time.thread_time() - begin - (self._parts["draw"] - drawn)
            self._parts["layers"] += 1
            return added

        monkeypatch.setattr(SceneCanvas, "on_draw", timed_draw)
        monkeypatch.setattr(ViewerModel, "add_layer", timed_add)
        gc.callbacks.append(self._on_collection)

    def close(self) -> None:
        """Look no longer."""
        self.timer.stop()
        gc.callbacks.remove(self._on_collection)

    @property
    def others(self) -> float:
        """How many processors other programs have kept busy so far."""
        return (_others_s() - self._begin[1]) / (time.monotonic() - self._begin[0])

    def _on_collection(self, phase: str, _: object) -> None:
        if threading.get_ident() == self._thread:
            self._parts["gc"] += time.thread_time() * (-1 if phase == "start" else 1)

    def _tick(self) -> None:
        now = time.thread_time(), time.monotonic(), _waited_s()
        self._parts["all"] = now[0] - self._last[0] - self._parts["draw"]
        self.turns.append(self._parts)
        self.gaps_s.append(now[1] - self._last[1] - self._parts["draw by the clock"])
        self.own_gaps_s.append(self.gaps_s[-1] - (now[2] - self._last[2] - self._parts["waiting to draw"]))
        self._last, self._parts = now, Counter()


def _waited_s() -> float:
    """Seconds for which this thread could have gone on, but had no processor; only Linux tells."""
    told = Path("/proc/thread-self/schedstat")
    return float(told.read_text().split()[1]) / 1e9 if told.exists() else 0.0


def _others_s() -> float:
    """Seconds that processors have spent on other programs since the computer was started."""
    everything, own = psutil.cpu_times(), psutil.Process().cpu_times()
    return float(everything.user + everything.nice + everything.system - own.user - own.system)


def tell(watch: Watch, with_preview: list[int]) -> None:
    """Print what somebody who reads the documentation is told."""
    busy = [parts["all"] for parts in watch.turns]
    for words, times in (
        ("busy", busy),
        ("without a new layer", [parts["all"] for parts in watch.turns if not parts["layers"]]),
        ("with a new layer", [parts["all"] for parts in watch.turns if parts["layers"]]),
        ("add_layer", [parts["add_layer"] for parts in watch.turns if parts["layers"]]),
        ("garbage", [parts["gc"] for parts in watch.turns]),
        ("with a preview", [busy[turn] for turn in with_preview] or [0.0]),
        ("by the clock", watch.gaps_s),
        ("without waiting for a processor", watch.own_gaps_s),
    ):
        print(f"{words}: 95 % {np.percentile(times, 95) * 1e3:.0f} ms, longest {max(times) * 1e3:.0f} ms")
    for turn in [*np.argsort(busy)[:-7:-1], *np.argsort(watch.gaps_s)[:-4:-1]]:
        parts = {name: round(1e3 * value) for name, value in watch.turns[turn].items() if name != "layers"}
        clock, own = 1e3 * watch.gaps_s[turn], 1e3 * watch.own_gaps_s[turn]
        print(f"turn {turn} / ms: {parts}, by the clock {clock:.0f}, without waiting {own:.0f}")
    print(f"other programs kept {watch.others:.2f} processors busy")


def check(watch: Watch) -> None:
    """No turn takes longer than a person bears, in processor time and by the clock, and none makes two layers.

    Beside other programs every step takes longer, in processor time too, and waiting for a processor is not counted.
    """
    quiet = watch.others < QUIET
    limit = LONGEST_S if quiet else BESIDE_OTHERS * LONGEST_S
    busy = [parts["all"] for parts in watch.turns]
    assert max(parts["layers"] for parts in watch.turns) == 1
    assert np.percentile(busy, 95) < LONGEST_S / 2
    assert max(busy) < limit
    assert max(watch.gaps_s if quiet else watch.own_gaps_s) < limit


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
