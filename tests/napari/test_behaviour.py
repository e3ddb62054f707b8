"""F38-F50 in the window: what a person may do to layers, theme and view while a run goes on, and what may befall it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from npe2 import PluginManifest
from plugin_fakes import CHANNELS, TILTS, Steps, cube, maps, press, series
from qtpy.QtCore import Qt

from napari_dipmtv import pipeline
from napari_dipmtv._napari.bench import Bench
from napari_dipmtv._napari.preferences import Preferences, preferences
from napari_dipmtv._napari.reconstruct_widget import ReconstructWidget
from napari_dipmtv.data import Alignment, TiltSeries
from napari_dipmtv.settings.align import AlignSettings
from napari_dipmtv.settings.inspect import SegmentSettings
from napari_dipmtv.settings.spectra import PrepareSettings, ReferenceSettings, UnmixSettings
from napari_dipmtv.settings.tomo import SirtSettings


@pytest.fixture(autouse=True)
def errors(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is shown to the person as an error."""
    shown: list[str] = []
    monkeypatch.setattr("napari_dipmtv._napari.runs.show_error", shown.append)
    return shown


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> Steps:
    """A reconstruction that the test holds, and whose previews may take half of the time."""
    monkeypatch.setattr("napari_dipmtv._napari.worker.PREVIEW_SHARE", 0.5)
    made = Steps(100_000, value=lambda i: cube(level=i))
    monkeypatch.setattr(pipeline, "reconstruct_states", lambda *_: made())
    return made


@pytest.fixture
def streaming(bench: Bench, steps: Steps, qtbot: Any) -> Bench:
    """A workplace in which a volume grows."""
    bench.session.load("maps", maps())
    bench.assume_aligned()
    bench.reconstruct("dipm-tv", SirtSettings(), "cpu", 0.0)
    qtbot.waitUntil(
        lambda: bench.layers.viewer.dims.ndisplay == 3
    )  # the last that is done for the first preview
    assert len(volumes(bench)) == 2
    return bench


def volumes(bench: Bench) -> list[Any]:
    return [layer for layer in bench.layers.viewer.layers if layer.ndim == 3]


def wait_for_previews(bench: Bench, qtbot: Any, count: int = 2) -> None:
    for _ in range(count):
        with qtbot.waitSignal(bench.job.preview, timeout=60_000):  # a processor draws 3-D in seconds
            pass


def test_f41_what_somebody_does_to_streamed_layers_stays(streaming: Bench, qtbot: Any, errors: Any) -> None:
    layers = streaming.layers.viewer.layers
    first, second = volumes(streaming)
    first.name = "my favourite"
    first.contrast_limits = (0.5, 1.5)
    second.visible = False
    layers.reverse()
    order = list(layers)
    streaming.layers.viewer.dims.ndisplay = 2
    wait_for_previews(streaming, qtbot)
    assert (first.name, tuple(first.contrast_limits)) == ("my favourite", (0.5, 1.5))
    assert not second.visible
    assert list(layers) == order
    assert streaming.layers.viewer.dims.ndisplay == 2
    assert first.data.max() > 2  # and it still grows
    with qtbot.waitSignal(streaming.results_changed, timeout=3000):
        streaming.job.stop()
    assert len(volumes(streaming)) == 2
    assert first.name == "my favourite"
    assert second.name.startswith("Fe3O4 (DIPm-TV, stopped at")
    assert errors == []


def test_f40_one_of_two_streamed_layers_is_deleted(streaming: Bench, qtbot: Any, errors: Any) -> None:
    first, second = volumes(streaming)
    streaming.layers.viewer.layers.remove(first)
    wait_for_previews(streaming, qtbot)
    assert volumes(streaming) == [second]
    with qtbot.waitSignal(streaming.results_changed, timeout=3000):
        streaming.job.stop()
    assert volumes(streaming) == [second]
    assert streaming.session.value("volume").volume.channels == CHANNELS
    assert errors == []


def test_the_theme_and_the_dimensions_may_change_while_a_volume_grows(
    make_napari_viewer: Any, steps: Steps, qtbot: Any, errors: Any
) -> None:
    viewer = make_napari_viewer()
    dock = ReconstructWidget(viewer)
    viewer.window.add_dock_widget(dock)
    bench = dock.bench
    bench.session.load("maps", maps())
    bench.assume_aligned()
    dock.stream.pace.setValue(0.1)
    press(dock.job_bar.start, qtbot)
    qtbot.waitUntil(lambda: viewer.dims.ndisplay == 3, timeout=60_000)
    for theme, ndisplay in (("light", 2), ("dark", 3)):
        viewer.theme, viewer.dims.ndisplay = theme, ndisplay
        wait_for_previews(bench, qtbot, 1)
    assert {layer.blending for layer in volumes(bench)} == {"translucent"}
    with qtbot.waitSignal(bench.job.ended, timeout=60_000):
        press(dock.job_bar.cancel, qtbot)
    assert volumes(bench) == []
    assert errors == []


def run_prepare(bench: Bench) -> None:
    bench.session.put("series", series())
    bench.prepare(PrepareSettings())


def run_references(bench: Bench) -> None:
    bench.session.put("prepared", series())
    bench.make_references("auto", ReferenceSettings())


def run_unmix(bench: Bench) -> None:
    bench.session.put("prepared", series())
    bench.session.put("references", "any")
    bench.unmix(UnmixSettings())


def run_align(bench: Bench) -> None:
    bench.session.put("maps", maps())
    bench.align(AlignSettings())


def run_reconstruct(bench: Bench) -> None:
    bench.session.put("tilt_series", maps(kind=TiltSeries))
    bench.reconstruct("sirt", SirtSettings(), "cpu", 0.0)


STAGES: list[tuple[str, Callable[[Bench], None], str]] = [
    ("prepare_states", run_prepare, "prepared"),
    ("unmix_states", run_unmix, "unmixed"),
    ("align_states", run_align, "tilt_series"),
    ("reconstruct_states", run_reconstruct, "volume"),
]
AT_ONCE: list[tuple[str, Callable[[Bench], None], str]] = [
    ("load", lambda bench: bench.load_spectra(Path("anywhere")), "series"),
    ("references", run_references, "references"),
]


@pytest.mark.parametrize(("verb", "begin", "stage"), STAGES, ids=[verb for verb, _, _ in STAGES])
def test_f44_cancel_at_any_stage(
    bench: Bench, qtbot: Any, monkeypatch: pytest.MonkeyPatch, verb: str, begin: Any, stage: Any
) -> None:
    aligning = verb == "align_states"
    steps = Steps(
        100_000, value=lambda i: Alignment(np.zeros((len(TILTS), 2))) if aligning else cube(level=i)
    )
    monkeypatch.setattr(pipeline, verb, lambda *_: steps())
    begin(bench)
    qtbot.waitUntil(lambda: steps.done > 2)
    with qtbot.waitSignal(bench.job.ended, timeout=5000):
        bench.job.cancel()
    assert steps.closed
    assert not bench.session.has(stage)
    assert volumes(bench) == []
    assert bench.job.why_not == ""


def run_segment(bench: Bench) -> None:
    bench.session.put("volume", SimpleNamespace(volume=cube()))
    bench.segment(SegmentSettings())


IN_ONE_STEP: list[tuple[str, Callable[[Bench], None], str]] = [
    ("references", run_references, "references"),
    ("segment", run_segment, "segmentation"),
]


@pytest.mark.parametrize(("verb", "begin", "stage"), IN_ONE_STEP, ids=["references", "segment"])
def test_f44_cancel_of_work_in_one_step(
    bench: Bench, qtbot: Any, monkeypatch: pytest.MonkeyPatch, verb: str, begin: Any, stage: Any
) -> None:
    """It cannot be cut short, but what it gives is dropped, and the window does not wait for it."""
    begun, may_end = threading.Event(), threading.Event()

    def work(*_: object) -> Any:
        begun.set()
        may_end.wait(20)
        return series()

    monkeypatch.setattr(pipeline, verb, work)
    begin(bench)
    qtbot.waitUntil(begun.is_set)
    bench.job.cancel()
    may_end.set()
    qtbot.waitUntil(lambda: not bench.job.running)
    assert not bench.session.has(stage)
    assert bench.session.history[-1].outcome == "cancelled"
    assert bench.job.why_not == ""


def test_the_stream_is_switched_off_and_on(bench: Bench, steps: Steps, qtbot: Any) -> None:
    """F48: the person decides how often a volume is sent, also while it grows."""
    widget = ReconstructWidget(bench.viewer_for_test)
    qtbot.addWidget(widget)
    bench.session.put("tilt_series", maps(kind=TiltSeries))
    widget.stream.pace.setValue(0.1)
    press(widget.job_bar.start, qtbot)
    wait_for_previews(bench, qtbot, 1)
    press(widget.stream.live, qtbot)
    assert not widget.stream.pace.isEnabled()
    qtbot.wait(200)  # one may have been on its way
    sent: list[int] = []
    bench.job.preview.connect(lambda *_: sent.append(1))
    done = steps.done
    qtbot.waitUntil(lambda: steps.done > done + 50, timeout=60_000)
    assert sent == []
    press(widget.stream.live, qtbot)
    wait_for_previews(bench, qtbot, 1)
    bench.job.cancel()
    qtbot.waitUntil(lambda: not bench.job.running)


@pytest.mark.parametrize(("verb", "begin", "stage"), [*STAGES, *AT_ONCE], ids=lambda value: str(value)[:16])
@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("CUDA out of memory"), KeyError("odd")])
def test_f45_any_stage_may_fail_and_the_next_run_works(
    bench: Bench,
    qtbot: Any,
    monkeypatch: pytest.MonkeyPatch,
    errors: list[str],
    verb: str,
    begin: Any,
    stage: Any,
    error: Exception,
) -> None:
    def fail(*_: object) -> Any:
        raise error

    monkeypatch.setattr(pipeline, verb, fail)
    with qtbot.waitSignal(bench.job.failed, timeout=3000):
        begin(bench)
    [sentence] = errors
    assert "expected" in sentence
    assert sentence.rstrip().endswith(".")
    assert not bench.session.has(stage)
    assert bench.job.why_not == ""
    with qtbot.waitSignal(bench.job.finished, timeout=3000):
        bench.job.start("count", Steps(2))


def test_two_starts_are_one_run_and_the_button_says_why(bench: Bench, steps: Steps, qtbot: Any) -> None:
    """F43 with the mouse: the second click finds the button disabled."""
    widget = ReconstructWidget(bench.viewer_for_test)
    qtbot.addWidget(widget)
    bench.session.put("tilt_series", maps(kind=TiltSeries))
    for _ in range(2):
        qtbot.mouseClick(widget.job_bar.start, Qt.MouseButton.LeftButton)
    assert bench.job.run_id == 1
    assert "'reconstruct' is running" in widget.job_bar.start.toolTip()
    bench.job.cancel()
    qtbot.waitUntil(lambda: not bench.job.running)
    assert widget.job_bar.start.isEnabled()


SLEEPER = """
import sys, time
sys.path.insert(0, {folder!r})
from plugin_fakes import Steps
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QApplication
from napari_dipmtv._napari.job import Job

app = QApplication([])
job, steps = Job(), Steps(60, pause_s=0.03)
lefts = []
job.stated.connect(lambda _, progress: lefts.append(progress.left_s))
job.finished.connect(lambda _, result: (print("finished", result.iterations), app.quit()))
job.start("count", steps)
QTimer.singleShot(400, lambda: print("awake", flush=True))
app.exec()
print("longest guess", max(left for left in lefts if left is not None))
"""


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="this system has no SIGSTOP")
def test_f47_a_laptop_that_slept_goes_on(qapp: Any) -> None:
    code = SLEEPER.format(folder=str(Path(__file__).parent))
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "awake\n"
        os.kill(process.pid, signal.SIGSTOP)
        time.sleep(3)
        os.kill(process.pid, signal.SIGCONT)
        said, _ = process.communicate(timeout=30)
    assert "finished 60" in said
    # 3 s of sleep in one step of 0.03 s would foretell minutes; a step counts at most ten times the usual one
    assert float(said.split("longest guess")[1]) < 20


@pytest.mark.parametrize(
    "content",
    [
        b"\x00\xff not yaml: [",
        b"compute: 7\n",
        b"compute:\n  device: abacus\n",
        b"compute:\n  threads: many\n  a_knob_of_later: 3\n",  # as a newer version may have left it
    ],
)
def test_f50_corrupt_preferences_give_the_defaults(
    plugin_settings: Any, npe2pm: Any, repository: Path, tmp_path: Path, content: bytes
) -> None:
    from napari import settings

    npe2pm.register(PluginManifest.from_file(repository / "napari.yaml"))
    (tmp_path / "napari-dipmtv.yaml").write_bytes(content)
    settings._clear_plugin_settings_cache()
    settings.get_plugin_settings(path_dir=tmp_path)
    assert preferences() == Preferences()


def quiet(folder: Path) -> dict[str, str]:
    """The environment of a process that leaves settings and cache of the person alone."""
    return {**os.environ, "NAPARI_CONFIG": str(folder / "settings.yaml"), "XDG_CACHE_HOME": str(folder)}


WITHOUT_QT = """
import sys

class NoQt:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("qtpy", "PyQt6", "PySide6", "napari", "magicgui", "superqt", "vispy"):
            raise ImportError(name + " is not here")

sys.meta_path.insert(0, NoQt())
sys.path.insert(0, {folder!r})
from plugin_fakes import maps
from napari_dipmtv import pipeline
from napari_dipmtv.cli.app import app
from napari_dipmtv.settings.tomo import SirtSettings
series = pipeline.assume_aligned(maps())
result = pipeline.reconstruct(series, "sirt", SirtSettings(iterations=2), "cpu")
print(result.volume.data.shape)
"""


def test_f49_without_qt_the_library_works(tmp_path: Path) -> None:
    code = WITHOUT_QT.format(folder=str(Path(__file__).parent))
    command = [sys.executable, "-W", "ignore", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, env=quiet(tmp_path))
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "(2, 12, 12, 12)"


OPEN_RUN_CLOSE = """
import gc, os, sys, threading
sys.path.insert(0, {folder!r})
import napari
import psutil
from plugin_fakes import maps
from qtpy.QtCore import QEventLoop
from qtpy.QtWidgets import QApplication
from napari_dipmtv._napari.main_widget import MainWidget
from napari_dipmtv.settings.tomo import SirtSettings

app = QApplication.instance() or QApplication([])
process = psutil.Process()

def cycle():
    viewer = napari.Viewer(show=False)
    main = MainWidget(viewer)
    viewer.window.add_dock_widget(main, name="DIPm-TV")
    bench = main.bench
    bench.session.load("maps", maps())
    bench.assume_aligned()
    loop = QEventLoop()
    bench.job.ended.connect(lambda _: loop.quit())
    bench.reconstruct("sirt", SirtSettings(iterations=4), "cpu", 0.0)
    loop.exec()
    assert bench.session.has("volume")
    viewer.close()
    del viewer, main, bench, loop
    for _ in range(5):
        gc.collect()
        app.processEvents()

def mine():
    kinds = (str(type(thing).__module__) for thing in gc.get_objects())
    return sum(kind.startswith("napari_dipmtv._napari") for kind in kinds)

counts = []
for _ in range(22):
    cycle()
    memory = process.memory_info().rss / 1e6
    counts.append((len(QApplication.allWidgets()), threading.active_count(), mine(), memory))
(widgets, threads, things, megabytes), after = counts[1], counts[-1]
print("grown by", after[3] - megabytes, "MB", flush=True)
assert after[0] <= widgets, counts
assert after[1] == threads, counts
assert after[2] == things, counts
assert after[3] < megabytes + 50, counts
"""


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_f46_twenty_windows_leave_nothing_behind(qapp: Any, tmp_path: Path) -> None:
    """Widgets, threads and things of this plugin return to what the second window left; the first warms up caches."""
    code = OPEN_RUN_CLOSE.format(folder=str(Path(__file__).parent))
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        capture_output=True,
        text=True,
        timeout=1400,
        env={**quiet(tmp_path), "OMP_NUM_THREADS": "1"},
    )
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
