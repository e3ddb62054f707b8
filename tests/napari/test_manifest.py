"""The manifest: valid, complete, and free until it is used."""

from __future__ import annotations

import fnmatch
import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from npe2 import PluginManifest

from napari_dipmtv._napari.preferences import Preferences, preferences
from napari_dipmtv.io.headers import SPECTRUM_SUFFIXES

HEAVY = ("torch", "hyperspy", "rsciio", "skimage", "matplotlib", "astra", "exspy", "etspy")


@pytest.fixture(scope="module")
def manifest(repository: Path) -> PluginManifest:
    return PluginManifest.from_file(repository / "napari.yaml")


def test_every_command_can_be_imported(manifest: PluginManifest) -> None:
    manifest.validate_imports()
    for command in manifest.contributions.commands:
        module, name = command.python_name.split(":")
        assert callable(getattr(import_module(module), name))


def test_there_is_a_dock_for_everything(manifest: PluginManifest) -> None:
    names = [widget.display_name for widget in manifest.contributions.widgets]
    assert names[0] == "DIPm-TV"
    assert names[-1] == "Spectrum"
    assert [name.split()[1] for name in names[1:-1]] == [
        "Load",
        "References",
        "Unmix",
        "Align",
        "Reconstruct",
        "Inspect",
        "Trust",
        "Export",
    ]
    used = {
        thing.command
        for things in (
            manifest.contributions.widgets,
            manifest.contributions.readers,
            manifest.contributions.writers,
            manifest.contributions.sample_data,
        )
        for thing in things
    }
    assert used == {command.id for command in manifest.contributions.commands}


@pytest.mark.parametrize(
    ("file", "mine"),
    [("a.dm4", True), ("a.hspy", True), ("a.bcf", True), ("a.mrc", True), ("a.tif", False), ("a.png", False)],
)
def test_readers_claim_only_their_files(manifest: PluginManifest, file: str, mine: bool) -> None:
    patterns = [
        pattern
        for reader in manifest.contributions.readers
        if not reader.accepts_directories
        for pattern in reader.filename_patterns
    ]
    assert any(fnmatch.fnmatch(file, pattern) for pattern in patterns) is mine


def test_the_manifest_lists_every_kind_of_spectrum_image(manifest: PluginManifest) -> None:
    reader = next(r for r in manifest.contributions.readers if r.command.endswith("read_spectra"))
    assert {pattern.removeprefix("*") for pattern in reader.filename_patterns} == set(SPECTRUM_SUFFIXES)


def test_discovery_imports_nothing_heavy(repository: Path) -> None:
    """Neither the package, nor the manifest, nor asking the readers whether a file is theirs."""
    code = (
        "import sys; from npe2 import PluginManifest; import napari_dipmtv\n"
        f"PluginManifest.from_file({str(repository / 'napari.yaml')!r})\n"
        "from napari_dipmtv._napari.readers import get_folder_reader, get_spectrum_reader, get_stack_reader\n"
        "from napari_dipmtv._napari import sample_data, writers\n"
        "assert get_spectrum_reader('a.dm4') and not get_spectrum_reader('a.tif') and get_stack_reader('a.mrc')\n"
        f"print([name for name in {(*HEAVY, 'qtpy', 'PyQt6', 'napari')!r} if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        capture_output=True,
        text=True,
        timeout=60,
        env=dict(os.environ),
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"


def test_preferences_come_from_napari(manifest: PluginManifest, plugin_settings: Any, npe2pm: Any) -> None:
    npe2pm.register(manifest)
    assert preferences() == Preferences()
    from napari.settings import get_plugin_settings

    chosen = get_plugin_settings("napari-dipmtv").compute
    chosen.device, chosen.preview, chosen.preview_interval_s = "cpu", False, 7.5
    assert preferences() == Preferences("cpu", False, 7.5)


def test_without_the_plugin_the_defaults_hold(plugin_settings: Any, npe2pm: Any) -> None:
    assert preferences() == Preferences()
