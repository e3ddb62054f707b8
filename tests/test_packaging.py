"""The manifest is found in every kind of install, and what is promised in pyproject is there."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib import import_module
from importlib.metadata import distribution
from pathlib import Path

import pytest
from npe2 import PluginManifest


def test_editable_install_finds_the_manifest_of_the_repository(repository: Path) -> None:
    installed = PluginManifest.from_distribution("napari-dipmtv")
    assert installed == PluginManifest.from_file(repository / "napari.yaml")


def test_every_command_of_the_manifest_can_be_imported(repository: Path) -> None:
    commands = PluginManifest.from_file(repository / "napari.yaml").contributions.commands or []
    places = [str(command.python_name).split(":") for command in commands]
    assert places
    assert all(callable(getattr(import_module(module), name)) for module, name in places)


def test_the_console_script_starts_the_command() -> None:
    scripts = distribution("napari-dipmtv").entry_points.select(group="console_scripts")
    from napari_dipmtv.cli import main

    assert [script.load() for script in scripts] == [main]


def test_constraints_and_dependencies_agree(repository: Path) -> None:
    project = tomllib.loads((repository / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    pins = (repository / "constraints.txt").read_text(encoding="utf-8").splitlines()
    names = {pin.split("==")[0] for pin in pins if pin and not pin.startswith("#")}
    assert names == {"torch"}
    assert any(dependency.startswith("torch") for dependency in project["dependencies"])
    assert "GNU GENERAL PUBLIC LICENSE" in (repository / "LICENSE").read_text(encoding="utf-8")


def test_makefile_lists_its_targets(repository: Path) -> None:
    done = subprocess.run(["make", "help"], cwd=repository, capture_output=True, text=True, check=True)
    listed = {line.split()[0] for line in done.stdout.splitlines()}
    assert listed >= {
        "demo",
        "test",
        "test-slow",
        "test-gpu",
        "check",
        "bench",
        "docs",
        "screenshots",
        "clean",
    }


@pytest.mark.slow
def test_a_wheel_holds_the_manifest_and_works_elsewhere(repository: Path, tmp_path: Path) -> None:
    build = [sys.executable, "-m", "build", "--wheel", "--outdir", str(tmp_path), str(repository)]
    subprocess.run(build, check=True, capture_output=True)
    wheel = next(tmp_path.glob("napari_dipmtv-*.whl"))
    with zipfile.ZipFile(wheel) as archive:
        packed = archive.read("napari_dipmtv/napari.yaml")
        archive.extractall(tmp_path / "site")
    assert packed == (repository / "napari.yaml").read_bytes()
    code = (
        "from npe2 import PluginManifest; import napari_dipmtv;"
        "print(napari_dipmtv.__file__); print(PluginManifest.from_distribution('napari-dipmtv').name)"
    )
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "site")}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == [str(tmp_path / "site/napari_dipmtv/__init__.py"), "napari-dipmtv"]


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_nothing_that_is_built_is_tracked(repository: Path) -> None:
    done = subprocess.run(["git", "ls-files"], cwd=repository, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip("not a git checkout")
    assert not [
        name
        for name in done.stdout.splitlines()
        if name.endswith((".pyc", ".whl", "src/napari_dipmtv/napari.yaml"))
    ]
