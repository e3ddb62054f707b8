"""Code of a test to a Python of its own, with its own napari settings and cache."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def run_alone(code: str, folder: Path, timeout_s: int = 240) -> subprocess.CompletedProcess[str]:
    """Run code, in which ``{folder!r}`` is the folder of these tests; a window opens slowly on a busy machine."""
    own = {"NAPARI_CONFIG": str(folder / "settings.yaml"), "XDG_CACHE_HOME": str(folder)}
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code.format(folder=str(Path(__file__).parent))],
        capture_output=True,
        text=True,
        timeout=timeout_s,
        env={**os.environ, **own, "OMP_NUM_THREADS": "1"},
    )
