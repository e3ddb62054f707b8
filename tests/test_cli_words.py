"""The command line about itself: settings, help, version, and the window that is not installed."""

from __future__ import annotations

import json
import sys

import pytest
from typer.testing import CliRunner, Result

from napari_dipmtv.cli.app import app
from napari_dipmtv.cli.whole import STAGES
from napari_dipmtv.settings.base import knobs


def call(*words: object) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


@pytest.mark.parametrize("stage", STAGES)
def test_settings_lists_every_knob(stage: str) -> None:
    table = call("settings", stage)
    facts = json.loads(call("settings", stage, "--json").stdout)
    assert table.exit_code == 0, table.output
    wanted = [knob.name for knob in knobs(STAGES[stage])]
    assert list(facts) == wanted
    assert all(facts[name]["description"] for name in wanted)


def test_settings_refuses_an_unknown_stage() -> None:
    done = call("settings", "fourier")
    assert done.exit_code == 2
    assert "dipm-tv" in done.stderr


def test_gui_without_napari_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "napari_dipmtv._napari.app", None)
    done = call("gui")
    assert done.exit_code == 2
    assert "napari-dipmtv[all]" in done.stderr


def test_version_and_help() -> None:
    from napari_dipmtv import __version__

    assert call("--version").stdout.strip() == __version__
    help_text = call("--help").stdout
    for command in (
        "demo",
        "simulate",
        "unmix",
        "align",
        "reconstruct",
        "segment",
        "export",
        "run",
        "gui",
        "settings",
    ):
        assert command in help_text
