"""The verbs that the package offers are functions, whatever was imported before."""

from __future__ import annotations

import subprocess
import sys

import pytest

VERBS = ("simulate", "load", "unmix", "align", "reconstruct", "segment", "measure", "export", "run_project")


@pytest.mark.parametrize("first", ["napari_dipmtv", "napari_dipmtv.pipeline", "napari_dipmtv.demo.run"])
def test_verbs_are_functions(first: str) -> None:
    names = ", ".join(VERBS)
    code = f"import {first}; from napari_dipmtv import {names}; print(all(map(callable, [{names}])))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "True"
