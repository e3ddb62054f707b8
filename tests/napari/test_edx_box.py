"""Maps of X-ray lines in the window: what is asked for reaches the pipeline, and the maps become new data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from plugin_fakes import Steps, maps

from napari_dipmtv import pipeline
from napari_dipmtv._napari.bench import Bench
from napari_dipmtv._napari.edx_box import EdxBox
from napari_dipmtv.settings.edx import EdxSettings


@pytest.fixture
def box(bench: Bench, qtbot: Any) -> EdxBox:
    made = EdxBox(bench)
    qtbot.addWidget(made)
    return made


def test_lines_are_asked_for_first(box: EdxBox) -> None:
    assert box.choose.toolTip() == "Name the X-ray lines first."
    assert not box.choose.isEnabled()
    box.lines.setText(" Fe_Ka,O_Ka , ")
    assert box.names == ("Fe_Ka", "O_Ka")
    assert box.choose.isEnabled()


def test_a_folder_becomes_maps(
    box: EdxBox, bench: Bench, qtbot: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []

    def states(source: Path, lines: Any, settings: EdxSettings, *, bin_pixels: int) -> Any:
        asked.append((source, lines, settings.also, bin_pixels))
        return Steps(3, value=lambda _: maps())()

    monkeypatch.setattr(pipeline, "edx_states", states)
    box.lines.setText("Fe_Ka")
    box.binning.setValue(4)
    box.form.setValue(EdxSettings(also="Cu"))
    with qtbot.waitSignal(bench.job.finished, timeout=20_000):
        box.open_folder(tmp_path)
    assert asked == [(tmp_path, ("Fe_Ka",), "Cu", 4)]
    assert bench.session.value("maps").channels == maps().channels
    assert bench.session.inputs == (tmp_path,)


def test_a_wrong_folder_is_told(
    box: EdxBox, bench: Bench, qtbot: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    monkeypatch.setattr("napari_dipmtv._napari.runs.show_error", told.append)
    box.lines.setText("Fe_Ka")
    with qtbot.waitSignal(bench.job.failed, timeout=20_000):
        box.open_folder(tmp_path)
    assert len(told) == 1
    assert not bench.session.has("maps")
