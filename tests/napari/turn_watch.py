"""What the thread of a window does between two turns of its event loop, by parts, and how long a turn may be."""

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
from qtpy.QtCore import QTimer

LONGEST_S = 0.1
QUIET = 0.15  # processors that other programs keep busy, the X server among them
USUAL_LAYER_S = 0.06  # that napari's `add_layer` takes where every turn must stay below the limit


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
    """Seconds that processors have spent on other programs, those of other virtual machines too, since the start."""
    everything, own = psutil.cpu_times(), psutil.Process().cpu_times()
    stolen = getattr(everything, "steal", 0.0)  # only Linux tells
    return float(everything.user + everything.nice + everything.system + stolen - own.user - own.system)


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

    Where napari's own call that adds a layer takes longer than usual, the computer is as much slower. Beside other
    programs waiting for a processor is not counted.
    """
    one_layer_s = max(parts["add_layer"] for parts in watch.turns)
    limit = LONGEST_S * max(1.0, one_layer_s / USUAL_LAYER_S)
    busy = [parts["all"] for parts in watch.turns]
    assert max(parts["layers"] for parts in watch.turns) == 1
    assert np.percentile(busy, 95) < LONGEST_S / 2
    assert max(busy) < limit
    assert max(watch.gaps_s if watch.others < QUIET else watch.own_gaps_s) < limit
