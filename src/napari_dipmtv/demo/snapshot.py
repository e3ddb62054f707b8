"""A volume folder to a photograph of the half cut in napari, taken by another process."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

_PATIENCE_S = 180


def photograph(volume_folder: Path, picture: Path) -> str:
    """Let napari draw the volume cut in half, in a window of its own or a hidden one.

    Returns
    -------
    str
        Empty when ``picture`` was made, else why not.
    """
    if find_spec("napari") is None:
        return "napari is not installed."
    hidden: list[str] = []
    if sys.platform.startswith("linux") and not (
        os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    ):
        if shutil.which("xvfb-run") is None:
            return "there is neither a display nor xvfb-run."
        hidden = ["xvfb-run", "-a", "-s", "-screen 0 1280x1024x24"]
    module = "napari_dipmtv._napari.snapshot"
    command = [*hidden, sys.executable, "-m", module, str(volume_folder), str(picture)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_PATIENCE_S, check=False)
    except subprocess.TimeoutExpired:
        return f"napari took longer than {_PATIENCE_S} s."
    if done.returncode or not picture.is_file():
        return (done.stderr.strip().splitlines() or ["napari ended without a word"])[-1]
    return ""
