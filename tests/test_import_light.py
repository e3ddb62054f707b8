"""Importing the package, and starting the command, loads nothing heavy."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = ("torch", "hyperspy", "rsciio", "scipy", "skimage", "matplotlib", "astra", "napari", "qtpy", "PyQt6")


@pytest.mark.parametrize(
    "code",
    [
        "import napari_dipmtv",
        "import napari_dipmtv.data, napari_dipmtv.settings.tomo",
        "from napari_dipmtv.cli.app import app; import typer; typer.main.get_command(app)",
    ],
)
def test_nothing_heavy_is_imported(code: str) -> None:
    report = f"import sys; {code}; print(sorted(set(sys.modules) & set({HEAVY!r})))"
    done = subprocess.run([sys.executable, "-c", report], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_docks_leave_torch_to_the_first_run() -> None:
    report = "import sys, napari_dipmtv._napari.main_widget; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", report], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_public_names_are_found_when_they_are_used() -> None:
    import napari_dipmtv

    assert all(hasattr(napari_dipmtv, name) for name in napari_dipmtv.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        napari_dipmtv.nothing  # noqa: B018
