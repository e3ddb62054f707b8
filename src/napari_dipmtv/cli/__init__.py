"""Command line to pipeline verbs: the stages and settings of the window, for scripts and remote machines."""

from __future__ import annotations


def main() -> None:
    """Run the command ``napari-dipmtv``."""
    from napari_dipmtv.cli.app import app

    app()
