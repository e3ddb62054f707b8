"""The demonstration to the pictures of the README."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from napari_dipmtv.demo import run_demo

ROOT = Path(__file__).resolve().parents[1]

if __name__ == "__main__":
    report = run_demo(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "build/demo")
    images = ROOT / "docs/images"
    images.mkdir(parents=True, exist_ok=True)
    for picture in report.pictures:
        print(shutil.copyfile(picture, images / picture.name))
