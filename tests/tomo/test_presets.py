"""The published settings, row by row and layer by layer, and what they mean to the engine."""

from __future__ import annotations

import importlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from particles import TILTS, counted, error

from napari_dipmtv.data import TiltSeries, Volume
from napari_dipmtv.errors import InputError
from napari_dipmtv.projection.geometry import Geometry
from napari_dipmtv.projection.sparse import SparseProjector
from napari_dipmtv.settings.presets import PRESETS, preset, preset_of
from napari_dipmtv.settings.tomo import METHODS, DipSettings
from napari_dipmtv.tomo.data_term import data_misfit
from napari_dipmtv.tomo.dip_fit import DipFit
from napari_dipmtv.tomo.network import DipNetwork
from napari_dipmtv.tomo.problem import pose
from napari_dipmtv.tomo.reconstruct import reconstruct, reconstruct_states

CPU = torch.device("cpu")
# iterations, misfit, learning rate, weight decay, input noise and scale, TV strength, filters, skips, returned
PUBLISHED = {
    "EELS simulation": (
        *(1000, "l1", 4e-4, 0.0, 0.01, 0.1, 1e-10, (16, 32, 64, 128), (4, 8, 16, 32)),
        "lowest-loss",
    ),
    "EELS experiment": (
        *(250, "l1", 5e-4, 0.01, 0.1, 1.0, 1e-9, (32, 64, 64, 128), (8, 16, 16, 32)),
        "average",
    ),
    "EDX simulation": (
        *(5000, "l2", 4e-4, 0.0, 0.04, 0.1, 1e-10, (16, 32, 64, 128, 256), (4, 8, 16, 32, 64)),
        "average",
    ),
    "EDX experiment": (
        *(1500, "l2", 5e-4, 0.0, 0.05, 0.1, 1e-11, (16, 32, 64, 128), (4, 8, 16, 32)),
        "average",
    ),
}


def published(name: str) -> DipSettings:
    """Settings of a row."""
    settings = preset("dipm-tv", f"published {name}")
    assert isinstance(settings, DipSettings)
    return settings


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_row_of_the_publications(name: str) -> None:
    s = published(name)
    row = (s.iterations, s.data_term, s.learning_rate, s.weight_decay, s.input_noise, s.input_scale)
    assert (*row, s.tv_strength, s.filters, s.skips, s.returned) == PUBLISHED[name]
    shared = {
        "tv": "channel-sum",
        "tv_measure": "sum",
        "normalise": "maximum",
        "schedule": "constant",
        "network_input": "random",
        "input_channels": 32,
        "output": "square",
        "precision": "float32",
        "crop": False,
        "cavities": False,
        "polish": 0,
        "held_out": 0,
        "average": 0,
    }
    assert {key: getattr(s, key) for key in shared} == shared


def weights(inputs: int, outputs: int, size: int) -> int:
    """Parameters of a convolution with its batch norm."""
    return outputs * (inputs * size**3 + 1) + 2 * outputs


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_network_of_a_row_layer_by_layer(name: str) -> None:
    s = published(name)
    network = DipNetwork(32, 2, s.filters, s.skips, output=s.output)
    above, below = (32, *s.filters[:-1]), (*s.filters[1:], s.filters[-1])
    for level, (a, f, k, b) in enumerate(zip(above, s.filters, s.skips, below, strict=True)):
        parts = network.encoders[level], network.skips[level], network.decoders[level]
        assert [sum(p.numel() for p in part.parameters()) for part in parts] == [
            weights(a, f, 3) + weights(f, f, 3),
            weights(a, k, 1),
            2 * (b + k) + weights(b + k, f, 3) + weights(f, f, 1),
        ]
        first, second = (block[0] for block in network.encoders[level])
        assert (first.stride, first.padding_mode, second.padding_mode) == ((2, 2, 2), "zeros", "reflect")
    head = sum(p.numel() for p in network.head.parameters())
    assert head == weights(s.filters[0], 16, 3) + 2 * (16 * 27 + 1)


def test_the_published_eels_simulation_has_1807486_parameters() -> None:
    s = published("EELS simulation")
    network = DipNetwork(s.input_channels, 2, s.filters, s.skips, output=s.output)
    assert sum(p.numel() for p in network.parameters()) == 1_807_486


def test_the_2d_recipe_of_the_benchmark_is_that_of_its_row(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One network per slice and channel: no preset, but measured beside ours."""
    monkeypatch.syspath_prepend(str(repository / "benchmarks"))
    module = importlib.import_module("slice_dip")
    network, filters, skips = module.SliceNetwork(), (16, 32, 64, 128), (4, 8, 16, 32)

    def flat(inputs: int, outputs: int, size: int) -> int:
        return outputs * (inputs * size**2 + 1) + 2 * outputs

    rows = zip((32, *filters[:-1]), filters, skips, (*filters[1:], 128), strict=True)
    wanted = sum(
        flat(a, f, 3) + flat(f, f, 3) + flat(a, k, 1) + 2 * (b + k) + flat(b + k, f, 3) + flat(f, f, 1)
        for a, f, k, b in rows
    )
    head = flat(16, 4, 3) + 4 * 9 + 1
    assert sum(p.numel() for p in network.parameters()) == wanted + head
    A = SparseProjector(Geometry.of((20, 1, 20), TILTS))
    steps = module.recipe_2d(torch.ones(2, 9, 20), lambda x: A(x[:, :, None])[:, :, 0], 20, 2)
    assert [image.shape for _, image in steps] == 2 * [(2, 20, 20)]


def test_the_optimiser_and_the_input_are_those_of_the_row(series: TiltSeries) -> None:
    s = published("EELS experiment").replace(filters=(4, 8), skips=(2, 2))
    fit = DipFit(pose(series, CPU), s, None)
    assert isinstance(fit.optimiser, torch.optim.AdamW)
    group = fit.optimiser.param_groups[0]
    assert (group["lr"], group["weight_decay"]) == (5e-4, 0.01)
    assert fit.input.shape == (1, 32, 24, 24, 24)
    assert float(fit.input.min()) >= 0
    assert 0.99 < float(fit.input.max()) <= 1
    assert float((fit._noisy_input() - fit.input).std()) == pytest.approx(0.1, rel=0.01)


@pytest.mark.parametrize(("term", "power"), [("l1", 1), ("l2", 2)])
def test_maps_are_divided_by_their_maximum_and_clipped(
    term: str, power: int, series: TiltSeries, truth: Volume
) -> None:
    data = series.data - 0.5
    problem = replace(pose(series.replace(data=data, counts_per_unit=None), CPU), normalise="maximum")
    x = torch.rand(problem.shape, generator=torch.Generator().manual_seed(0))
    p = problem.projector(x)
    largest = data.max(axis=(1, 2, 3))[:, None, None, None]
    maps = np.clip(data / largest, 0, None)
    wanted = (np.abs(p.numpy() / 24 - maps) ** power).mean()
    assert float(data_misfit(problem, term).loss(p)) == pytest.approx(float(wanted), rel=1e-4)
    # the volume is about 1, and comes back in the units of the maps
    scale = problem.volume(torch.ones(problem.shape)).data[:, 0, 0, 0]
    assert 0.5 < truth.data.max() / scale.max() < 4


def test_the_strength_is_that_of_the_sum_over_voxels(series: TiltSeries) -> None:
    settings = published("EELS simulation").replace(filters=(4, 8), skips=(2, 2), iterations=1)
    (state,) = reconstruct_states(series, "dipm-tv", settings)
    kept = state.snapshot().data / pose_unit(series, settings)
    sums = kept.sum(axis=0)
    d = [np.diff(sums, axis=a, append=sums.take([-1], axis=a)) for a in range(3)]
    wanted = np.sqrt(sum(g**2 for g in d) + 1e-9).sum()
    assert state.losses["tv"] == pytest.approx(float(wanted), rel=1e-3)


def pose_unit(series: TiltSeries, settings: DipSettings) -> np.ndarray:
    """Data units of 1 in the volume of a run; (c, 1, 1, 1)."""
    return replace(pose(series, CPU), normalise=settings.normalise).unit.numpy()[:, None, None, None]


def test_the_step_of_the_lowest_loss_is_returned(series: TiltSeries) -> None:
    """Also after going on from a checkpoint: what was reached before still counts."""
    settings = published("EELS simulation").replace(
        filters=(4, 8), skips=(2, 2), input_channels=8, iterations=24, learning_rate=0.3, precision="auto"
    )
    last = settings.replace(returned="average")
    outputs = [(s.losses["data"], s.snapshot().data) for s in reconstruct_states(series, "dipm-tv", last)]
    losses = [loss for loss, _ in outputs]
    assert losses[-1] > min(losses)  # the rate is so high that the end is not the best
    kept = list(reconstruct_states(series, "dipm-tv", settings))
    np.testing.assert_array_equal(kept[-1].snapshot().data, outputs[int(np.argmin(losses))][1])
    saved = next(s for s in reconstruct_states(series, "dipm-tv", settings) if s.iteration == 23).checkpoint
    *_, rest = reconstruct_states(series, "dipm-tv", settings, resume=saved())  # type: ignore[misc]
    np.testing.assert_array_equal(rest.snapshot().data, kept[-1].snapshot().data)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["EELS simulation", "EDX experiment"])
def test_a_published_recipe_runs_to_a_sensible_volume(name: str, truth: Volume) -> None:
    """Of maps of little noise, for which they were written; a step of lowest loss follows any other noise."""
    result = reconstruct(counted(truth, 200.0), "dipm-tv", published(name).replace(iterations=60))
    assert error(result.volume, truth) < 0.45
    assert "validation" not in result.losses


def test_the_usual_presets_are_the_defaults() -> None:
    for method, model in METHODS.items():
        assert PRESETS[method]["usual"].settings == model()
        assert all(isinstance(known.settings, model) for known in PRESETS[method].values())
        assert all(preset_of(method, known.settings) == name for name, known in PRESETS[method].items())


def test_an_unknown_preset_is_named_with_those_there_are() -> None:
    with pytest.raises(InputError, match="quick look"):
        preset("dipm-tv", "quick")
    assert preset_of("sirt", METHODS["sirt"]().replace(iterations=7)) == ""
