"""How a DIP run begins, ends early, goes on and what it returns."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from particles import counted, error, particle

from napari_dipmtv.data import TiltSeries, Volume
from napari_dipmtv.settings.presets import preset
from napari_dipmtv.settings.tomo import DipSettings
from napari_dipmtv.states import run
from napari_dipmtv.tomo.data_term import data_misfit
from napari_dipmtv.tomo.dip_fit import DipFit
from napari_dipmtv.tomo.dip_watch import Clock
from napari_dipmtv.tomo.network import DipNetwork
from napari_dipmtv.tomo.problem import pose
from napari_dipmtv.tomo.reconstruct import reconstruct_states

CPU = torch.device("cpu")
TINY = DipSettings(
    iterations=6, filters=(4, 8), skips=(0, 0), network_input="random", crop=False, input_channels=4
)
# everything that keeps a network from following the noise is taken away
FREE = DipSettings(
    iterations=150,
    filters=(32,),
    skips=(16,),
    network_input="random",
    input_scale=1.0,
    input_noise=0,
    output="softplus",
    tv_strength=0,
    learning_rate=2e-2,
    average=0.8,
    crop=False,
    cavities=False,
)


def test_f35_a_run_that_follows_the_noise_is_ended_at_its_best(truth: Volume) -> None:
    series = counted(truth, 0.4)
    states = [
        (state.iteration, error(state.snapshot(), truth), state.losses)
        for state in reconstruct_states(series, "dipm-tv", FREE)
    ]
    errors = [e for _, e, _ in states]
    assert states[-1][0] < FREE.iterations
    assert errors[-1] <= 1.03 * min(errors)
    validation = [losses["validation"] for _, _, losses in states if "validation" in losses]
    assert validation[-1] > min(validation)
    let_run = [
        error(s.snapshot(), truth) for s in reconstruct_states(series, "dipm-tv", FREE.replace(held_out=0))
    ]
    assert let_run[-1] > 1.03 * errors[-1]


def test_what_is_held_out_is_told_and_the_last_steps_see_all(series: TiltSeries) -> None:
    settings = TINY.replace(iterations=16)
    watched = list(reconstruct_states(series, "dipm-tv", settings))
    assert ["validation" in state.losses for state in watched] == [True] * 14 + [False] * 2
    unwatched = list(reconstruct_states(series, "dipm-tv", settings.replace(held_out=0)))
    bare = list(reconstruct_states(series.replace(counts_per_unit=None), "dipm-tv", settings))
    assert not any("validation" in state.losses for state in (*unwatched, *bare))


def test_a_run_that_ended_early_is_resumed_as_it_was(truth: Volume) -> None:
    """Bit for bit: also from a checkpoint on the way, with the watch, and from one in the last steps."""
    settings = FREE.replace(iterations=90, filters=(16,), skips=(16,))
    series = counted(truth, 0.2)
    states = list(reconstruct_states(series, "dipm-tv", settings))
    whole, ends = states[-1].snapshot().data, states[-1].iteration
    assert ends < 90
    for number in (ends - 12, ends - 3):
        begun = reconstruct_states(series, "dipm-tv", settings)
        saved = next(s for s in begun if s.iteration == number).checkpoint()  # type: ignore[misc]
        rest = run(reconstruct_states(series, "dipm-tv", settings, resume=saved))
        assert rest.iterations == ends
        np.testing.assert_array_equal(rest.value.data, whole)


def test_progress_runs_from_nothing_to_one() -> None:
    clock = Clock(asked=16, total=16)
    reached = []
    while clock.iteration < clock.total:
        clock.tick()
        reached.append(clock.progress)
    np.testing.assert_allclose(reached, np.arange(1, 17) / 16)


def test_an_early_end_hurries_through_what_is_left() -> None:
    clock = Clock(asked=80, total=80)
    for _ in range(30):
        clock.tick()
    clock.end_soon()
    assert (clock.total, clock.last_steps_begin) == (40, True)
    steps = []
    while clock.iteration < clock.total:
        before = clock.progress
        clock.tick()
        steps.append(clock.progress - before)
    assert clock.progress == pytest.approx(1)
    assert steps == pytest.approx([5 / 80] * 10)


def test_a_longer_run_goes_on_at_a_higher_rate() -> None:
    clock = Clock(asked=16, total=16)
    for _ in range(16):
        clock.tick()
    more = Clock.of(DipSettings(iterations=64), clock.checkpoint())
    assert (more.iteration, more.total, more.progress) == (16, 64, 0.25)
    same = Clock.of(DipSettings(iterations=16), clock.checkpoint())
    assert (same.iteration, same.progress) == (16, 1.0)


def test_fractions_are_shares_of_learnt_densities() -> None:
    network = DipNetwork(3, 2, (4, 8), (0, 0), output="fractions")
    densities = network.log_density.exp()
    x = network(10 * torch.randn(1, 3, 16, 16, 16))[0]
    share = (x / densities[:, None, None, None]).sum(dim=0)
    assert float(x.min()) >= 0
    assert float(share.max()) < 1
    x.sum().backward()
    assert float(network.log_density.grad.abs().min()) > 0


def test_fractions_learn_the_density_of_each_phase(truth: Volume) -> None:
    dense = truth.replace(data=truth.data * np.array([3.0, 1.0], np.float32)[:, None, None, None])
    *_, last = reconstruct_states(
        counted(dense, 20.0), "dipm-tv", DipSettings(iterations=100, filters=(8, 16, 16), cavities=False)
    )
    found = last.snapshot().data
    core, shell = truth.data[0] == 1, truth.data[1] == 1
    assert float(np.median(found[0][core])) == pytest.approx(3, rel=0.15)
    assert float(np.median(found[1][shell])) == pytest.approx(1, rel=0.2)


def test_the_learning_rate_rises_and_fades_or_stays(series: TiltSeries) -> None:
    problem = pose(series, CPU)
    rates = {}
    for schedule in ("fading", "constant"):
        fit = DipFit(problem, TINY.replace(schedule=schedule), None)
        fit.show(data_misfit(problem, "poisson"))
        rates[schedule] = []
        for step in range(1, 41):
            fit.step(step / 40)
            rates[schedule].append(fit.optimiser.param_groups[0]["lr"])
    assert rates["constant"] == [TINY.learning_rate] * 40
    rise, fall = rates["fading"][:12], rates["fading"][25:]
    assert all(a < b for a, b in pairwise(rise))
    assert all(a > b for a, b in pairwise(fall))
    assert fall[-1] == pytest.approx(0.02 * TINY.learning_rate)


@pytest.mark.parametrize("counts_per_unit", [0.4, pytest.param(4.0, marks=pytest.mark.slow)])
def test_f35_maps_of_unknown_noise_end_a_run_when_the_output_moves_again(counts_per_unit: float) -> None:
    """A network with skips at a constant rate, as published, follows the noise; how much it moves tells when."""
    truth = particle(16)
    series = counted(truth, counts_per_unit).replace(counts_per_unit=None)
    published = preset("dipm-tv", "published EELS simulation").replace(
        iterations=140,
        filters=(16, 32),
        skips=(8, 8),
        learning_rate=1e-3,
        precision="float32",
        returned="average",
    )
    errors = [error(s.snapshot(), truth) for s in reconstruct_states(series, "dipm-tv", published)]
    watched = list(reconstruct_states(series, "dipm-tv", published.replace(held_out=0.1)))
    found = error(watched[-1].snapshot(), truth)
    assert "unrest" in watched[0].losses
    assert watched[-1].iteration < 140
    assert found < 1.1 * min(errors)
    assert errors[-1] > 1.1 * found


def test_a_watch_on_the_output_is_resumed_as_it_was() -> None:
    series = counted(particle(16), 4.0).replace(counts_per_unit=None)
    settings = TINY.replace(iterations=70, schedule="constant")
    states = list(reconstruct_states(series, "dipm-tv", settings))
    halfway = next(
        s for s in reconstruct_states(series, "dipm-tv", settings) if s.iteration == len(states) // 2
    )
    assert halfway.checkpoint is not None
    rest = list(reconstruct_states(series, "dipm-tv", settings, resume=halfway.checkpoint()))
    assert rest[-1].iteration == states[-1].iteration
    np.testing.assert_array_equal(rest[-1].snapshot().data, states[-1].snapshot().data)
