"""Command line to pipeline verbs: the stages and settings of the window, for scripts and remote machines."""

from __future__ import annotations

import os


def main() -> None:
    """Run the command ``napari-dipmtv``."""
    # Threads that wait for each other by spinning make torch many times slower wherever the cores are shared.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    from napari_dipmtv.cli.app import app

    app()
