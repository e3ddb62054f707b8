"""F46-F50: a process that sleeps, has no Qt or bad preferences, or opens and closes a window twenty times."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from npe2 import PluginManifest
from own_process import run_alone

from napari_dipmtv._napari.preferences import Preferences, preferences

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
    done = run_alone(WITHOUT_QT, tmp_path)
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
    done = run_alone(OPEN_RUN_CLOSE, tmp_path, 1400)
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
