"""The library of torch is in memory before Python imports it, and other threads run meanwhile."""

from __future__ import annotations

import subprocess
import sys

import pytest

LOAD = """
import sys, threading, time
from napari_dipmtv._napari import torch_library

turns, done = [], threading.Event()

def answer():
    while not done.is_set():
        turns.append(time.monotonic())
        time.sleep(0.001)

thread = threading.Thread(target=answer)
thread.start()
begin = len(turns)
torch_library.load()
answered = len(turns) - begin
done.set()
thread.join()
print("torch" in sys.modules, "libtorch_cpu" in open("/proc/self/maps").read(), answered > 3)
import torch
torch_library.load.cache_clear()
torch_library.load()
print(float(torch.ones(3).sum()))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_torch_comes_into_memory_while_the_window_answers() -> None:
    said = subprocess.run(
        [sys.executable, "-c", LOAD], capture_output=True, text=True, check=True, timeout=60
    )
    assert said.stdout.splitlines() == ["False True True", "3.0"]
