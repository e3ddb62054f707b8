"""What the tests of the plugin share: a job and a workplace without a window."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from napari.components import ViewerModel
from plugin_fakes import maps

from napari_dipmtv._napari.bench import Bench, bench_of
from napari_dipmtv._napari.job import Job
from napari_dipmtv._napari.seen import Seen
from napari_dipmtv._napari.turns import Pieces
from napari_dipmtv.data import TiltSeries


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where runs leave their checkpoints: not in the cache of whoever runs the tests."""
    folder: Path = tmp_path_factory.mktemp("cache")
    monkeypatch.setattr("napari_dipmtv._napari.preferences.usual_cache", lambda: folder)
    return folder


@pytest.fixture
def job(qtbot: Any) -> Iterator[Job]:
    """A job that is shut down afterwards."""
    made = Job()
    yield made
    made.shutdown()


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Layers do not wait for turns of an event loop, of which a viewer without a window has none."""
    take = Seen.take

    def take_and_settle(layers: Seen, name: str, pieces: Pieces) -> None:
        take(layers, name, pieces)
        layers.settle()

    monkeypatch.setattr(Seen, "take", take_and_settle)


@pytest.fixture
def bench(qtbot: Any, at_once: None) -> Iterator[Bench]:
    """The workplace of a viewer without a window."""
    viewer = ViewerModel()
    made = bench_of(viewer)
    made.viewer_for_test = viewer  # the bench holds it weakly
    yield made
    made.job.shutdown()


@pytest.fixture
def aligned() -> TiltSeries:
    """A tiny aligned series."""
    return maps(kind=TiltSeries)
