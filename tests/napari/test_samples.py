"""Samples: blank layers at once, what fills them from a thread, and all of it at once without a window."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Layer
from plugin_fakes import CHANNELS, TILTS, series

from napari_dipmtv._napari import sample_data
from napari_dipmtv._napari.bench import Bench, bench_of
from napari_dipmtv._napari.layer_data import SUMS
from napari_dipmtv.data import DualSpectrumImage, SpectrumSeries
from napari_dipmtv.errors import InputError
from napari_dipmtv.phantom import simulate
from napari_dipmtv.settings.phantom import PhantomSettings
from napari_dipmtv.settings.simulation import SimulationSettings


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> SimulationSettings:
    """Settings of a nanocube that takes no time, instead of the sample's own."""
    settings = SimulationSettings(
        phantom=PhantomSettings(field_voxels=20, size_nm=12, shell_nm=2.5, void_radius_nm=1, void_x_nm=0),
        tilt_step_deg=70,
        core_binning=8,
        dispersion_ev=0.5,
    )
    monkeypatch.setattr(sample_data, "demo_settings", lambda: settings)
    return settings


def opened(viewer: ViewerModel) -> list[Layer]:
    """Layers of the nanocube, added as napari does it."""
    return [viewer.add_layer(Layer.create(*datum)) for datum in sample_data.nanocube()]


def shown(bench: Bench, qtbot: Any) -> None:
    """Wait for the layers of the spectra."""
    ready = lambda: not (bench.job.running or bench.layers.busy)  # noqa: E731
    qtbot.waitUntil(ready, timeout=60_000)


def test_the_nanocube_fills_the_session_of_the_viewer(
    make_napari_viewer: Any, qtbot: Any, small: SimulationSettings
) -> None:
    viewer = make_napari_viewer()
    [layer], bench = opened(viewer), bench_of(viewer)
    assert not bench.session.has("series")  # napari has its layer, and the window is free
    assert layer.name == "Core-loss sum"
    assert not layer.data.any()
    scale = layer.scale
    shown(bench, qtbot)
    assert viewer.layers[0] is layer
    assert {each.name for each in viewer.layers} == set(SUMS)
    assert "blank" not in layer.metadata
    assert np.array_equal(scale, layer.scale)
    assert bench.session.value("series").tilts_deg == (-70, 0, 70)
    assert set(bench.session.demo_regions) == set(CHANNELS)
    truth = simulate(small).series
    assert np.array_equal(layer.data[1, 0], truth.tilts[1].core_loss.counts.sum(axis=2))
    assert layer.contrast_limits[1] > 1
    assert [each.name for each in viewer.layers if each.visible] == ["Core-loss sum"]


@pytest.fixture
def loaded(make_napari_viewer: Any, qtbot: Any) -> Bench:
    """The workplace of a window with other spectra in it."""
    bench = bench_of(make_napari_viewer())
    bench.session.load("series", series())
    shown(bench, qtbot)
    return bench


def test_the_nanocube_takes_the_place_of_other_data(
    loaded: Bench, qtbot: Any, small: SimulationSettings
) -> None:
    bench, viewer = loaded, loaded.layers.viewer
    before = viewer.layers["Core-loss sum"]
    [layer] = opened(viewer)
    assert [each.name for each in viewer.layers] == [*SUMS, "Core-loss sum [1]"]
    with pytest.raises(InputError, match="'load' is running"):
        sample_data.nanocube()
    assert bench.session.value("series").tilts_deg == TILTS  # until the others are there
    shown(bench, qtbot)
    assert {each.name for each in viewer.layers} == set(SUMS)
    assert layer.name == "Core-loss sum"
    assert before not in viewer.layers


def test_a_nanocube_that_is_given_up_leaves_no_blank_layers(
    loaded: Bench, qtbot: Any, small: SimulationSettings
) -> None:
    bench, viewer = loaded, loaded.layers.viewer
    before = list(viewer.layers)
    opened(viewer)
    bench.job.cancel()
    shown(bench, qtbot)
    assert list(viewer.layers) == before
    assert bench.session.value("series").tilts_deg == TILTS


def test_without_a_window_the_nanocube_comes_full(small: SimulationSettings) -> None:
    _, (data, looks, _) = sample_data.nanocube()
    assert data.max() > 1
    assert looks["name"] == SUMS[1]
    assert "blank" not in looks["metadata"]


def halved(pair: DualSpectrumImage) -> DualSpectrumImage:
    """The same spectra at half the tilt."""
    low, core = (replace(image, tilt_deg=image.tilt_deg / 2) for image in (pair.low_loss, pair.core_loss))
    return DualSpectrumImage(low, core)


def test_layers_that_are_filled_anew_have_the_tilts_of_the_new_data(bench: Bench) -> None:
    bench.session.load("series", series())
    [_, layer] = bench.viewer_for_test.layers
    turned = SpectrumSeries(tuple(halved(pair) for pair in series().tilts))
    bench.session.load("series", turned)
    assert list(bench.viewer_for_test.layers)[1] is layer
    assert layer.metadata["tilts_deg"] == turned.tilts_deg


def test_the_needle_fills_its_layer(make_napari_viewer: Any, qtbot: Any) -> None:
    pytest.importorskip("etspy", reason="the needle comes with ETSpy")
    viewer = make_napari_viewer()
    [datum] = sample_data.needle()
    layer, bench = viewer.add_layer(Layer.create(*datum)), bench_of(viewer)
    shape, scale, tilts_deg = layer.data.shape, layer.scale, layer.metadata["tilts_deg"]
    shown(bench, qtbot)
    assert list(viewer.layers) == [layer]
    assert layer.data.any()
    assert layer.data.shape == shape
    assert layer.scale == pytest.approx(scale)
    assert layer.metadata["tilts_deg"] == tilts_deg
    assert bench.session.has("maps")


def test_the_needle_comes_with_its_angles() -> None:
    pytest.importorskip("etspy", reason="the needle comes with ETSpy")
    [(data, looks, _)] = sample_data.needle()
    assert data.shape == (77, 1, 256, 256)
    assert looks["metadata"]["tilts_deg"][0] == -76
    assert looks["scale"][1:] == pytest.approx((3.36,) * 3)
    mass = data[:, 0].sum(axis=1, dtype=float)  # across the tilt axis the mass of an aligned series stays put
    centre = (mass * np.arange(256)).sum(axis=1) / mass.sum(axis=1)
    assert centre.std() < 0.5


def test_without_etspy_the_needle_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sample_data, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install 'napari-dipmtv\[etspy\]'"):
        sample_data.needle()
