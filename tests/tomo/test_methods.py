"""Reconstructions against known truth, and what every method owes to its user."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise

import numpy as np
import pytest
import torch
from particles import TILTS, counted, error, particle

from napari_dipmtv import tomo
from napari_dipmtv.data import TiltSeries, Volume
from napari_dipmtv.errors import DeviceError, InputError
from napari_dipmtv.settings.tomo import CsTvSettings, DipSettings, Method, SirtSettings
from napari_dipmtv.states import State, run
from napari_dipmtv.tomo.cs_tv import cs_tv
from napari_dipmtv.tomo.dip_fit import DipFit
from napari_dipmtv.tomo.problem import pose
from napari_dipmtv.tomo.reconstruct import reconstruct, reconstruct_states
from napari_dipmtv.tomo.sirt import sirt

CPU = torch.device("cpu")
SMALL = DipSettings(iterations=12, filters=(8, 16, 16), skips=(0, 0, 0), average=0.9, polish=0)
RANDOM = SMALL.replace(network_input="random", crop=False, output="softplus", skips=(4, 4, 4))
QUICK = {
    "sirt": SirtSettings(iterations=5),
    "cs-tv": CsTvSettings(iterations=5),
    "dip-tv": SMALL,
    "dipm-tv": SMALL,
}


def at_iteration(number: int, states: Iterator[State[Volume]]) -> dict[str, np.ndarray]:
    """The checkpoint of one iteration."""
    state = next(state for state in states if state.iteration == number)
    assert state.checkpoint is not None
    return state.checkpoint()


def test_sirt_ten_and_ten_more_are_twenty(series: TiltSeries) -> None:
    problem = pose(series, CPU)
    ten = run(sirt(problem, SirtSettings(iterations=10))).value
    more = run(sirt(problem, SirtSettings(iterations=10), start=ten)).value
    twenty = run(sirt(problem, SirtSettings(iterations=20))).value
    np.testing.assert_array_equal(more.data, twenty.data)


def test_sirt_finds_a_noise_free_particle(truth: Volume) -> None:
    result = reconstruct(counted(truth, 1e5), "sirt", SirtSettings(iterations=200))
    assert error(result.volume, truth) < 0.3  # the missing wedge remains
    assert result.residual < 0.02
    assert all(a >= b * 0.999 for a, b in pairwise(result.losses["residual"]))


def test_cs_tv_beats_sirt_and_tells_when_it_is_done(series: TiltSeries, truth: Volume) -> None:
    best_sirt = min(
        error(state.snapshot(), truth)
        for state in reconstruct_states(series, "sirt", SirtSettings(iterations=40))
    )
    result = reconstruct(series, "cs-tv")
    assert error(result.volume, truth) < 0.8 * best_sirt
    assert result.losses["gap"][-1] < CsTvSettings().tolerance
    assert result.iterations < CsTvSettings().iterations


@pytest.mark.parametrize("kind", ["vectorial", "per-channel", "channel-sum"])
@pytest.mark.parametrize("term", ["poisson", "least-squares"])
def test_cs_tv_reaches_the_minimum_of_its_own_cost(series: TiltSeries, kind: str, term: str) -> None:
    from napari_dipmtv.tomo.data_term import data_misfit
    from napari_dipmtv.tomo.total_variation import total_variation

    problem = pose(series, CPU)
    settings = CsTvSettings(iterations=1500, tolerance=0, tv=kind, data_term=term, tv_strength=0.2)
    misfit = data_misfit(problem, term)

    def cost(x: torch.Tensor) -> float:
        tv = total_variation(x, settings.tv, epsilon=0)
        return float(misfit.loss(problem.projector(x)) + settings.tv_strength * tv / problem.mass)

    x = torch.from_numpy(run(cs_tv(problem, settings)).value.data) / problem.unit[:, None, None, None]
    reached = cost(x)
    random = torch.Generator().manual_seed(0)
    smooth = torch.nn.functional.avg_pool3d
    for scale in (3e-3, 3e-2):
        for _ in range(5):
            noise = smooth(torch.randn(x.shape, generator=random)[None], 3, 1, 1)[0]
            assert cost((x + scale * noise).clamp(min=0)) > reached
    assert cost(0.99 * x) > reached
    assert cost(1.01 * x) > reached


def test_dipm_tv_beats_cs_tv_on_a_noisy_particle() -> None:
    truth = particle()
    series = counted(truth, 1.0)
    settings = DipSettings(iterations=100, filters=(8, 16, 32))
    dip = reconstruct(series, "dipm-tv", settings)
    assert error(dip.volume, truth) < error(reconstruct(series, "cs-tv").volume, truth)


@pytest.mark.parametrize("method", QUICK)
def test_volume_has_the_units_and_the_mass_of_the_maps(
    method: Method, series: TiltSeries, truth: Volume
) -> None:
    settings = SirtSettings(iterations=30) if method == "sirt" else None
    settings = SMALL.replace(iterations=80) if "dip" in method else settings
    volume = reconstruct(series, method, settings).volume
    assert volume.data.dtype == np.float32
    assert volume.data.shape == truth.data.shape
    assert (volume.data >= 0).all()
    assert volume.channels == series.channels
    assert volume.voxel_nm == series.pixel_nm
    # total variation takes a few per cent off small phases
    assert volume.data.sum((1, 2, 3)) == pytest.approx(truth.data.sum((1, 2, 3)), rel=0.12)


@pytest.mark.parametrize("method", ["sirt", "cs-tv", "dip-tv", "dipm-tv"])
def test_f34_same_seed_same_volume(method: Method, series: TiltSeries) -> None:
    first, second = (reconstruct(series, method, QUICK[method]).volume.data for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_another_seed_gives_another_volume(series: TiltSeries) -> None:
    first = reconstruct(series, "dipm-tv", SMALL).volume.data
    assert not np.array_equal(first, reconstruct(series, "dipm-tv", SMALL.replace(seed=1)).volume.data)


def test_global_random_numbers_are_left_alone(series: TiltSeries) -> None:
    torch.manual_seed(3)
    wanted = torch.rand(4)
    torch.manual_seed(3)
    states = reconstruct_states(series, "dipm-tv", SMALL)
    next(states)
    torch.testing.assert_close(torch.rand(4), wanted)


@pytest.mark.parametrize("method", ["sirt", "cs-tv", "dipm-tv"])
def test_f01_broken_pixels_do_not_spread(method: Method, series: TiltSeries, truth: Volume) -> None:
    broken = series.data.copy()
    holes = np.random.default_rng(1).random(broken.shape[1:]) < 0.05
    broken[:, holes] = np.nan
    settings = {"sirt": SirtSettings(), "cs-tv": CsTvSettings(), "dipm-tv": SMALL.replace(iterations=80)}[
        method
    ]
    clean = error(reconstruct(series, method, settings).volume, truth)
    found = reconstruct(series.replace(data=broken), method, settings).volume
    assert np.isfinite(found.data).all()
    assert error(found, truth) < 1.1 * clean + 0.02


@pytest.mark.parametrize("method", ["sirt", "cs-tv"])
def test_f02_a_masked_view_counts_as_left_out(method: Method, series: TiltSeries) -> None:
    masked = series.data.copy()
    masked[:, 3] = np.nan
    keep = [i for i in range(9) if i != 3]
    without = TiltSeries(
        series.data[:, keep], series.channels, tuple(TILTS[i] for i in keep), 0.5, counts_per_unit=2.0
    )
    with_hole = reconstruct(series.replace(data=masked), method, QUICK[method]).volume.data
    expected = reconstruct(without, method, QUICK[method]).volume.data
    # CS-TV averages its misfit over all pixels, so the masked view shifts the balance by one part in nine
    assert np.linalg.norm(with_hole - expected) < (1e-4 if method == "sirt" else 0.05) * np.linalg.norm(
        expected
    )


def test_f07_one_channel_equals_one_of_two_equal_ones(series: TiltSeries) -> None:
    one = series.replace(data=series.data[:1], channels=("core",))
    two = series.replace(data=series.data[[0, 0]], channels=("core", "again"))
    settings = CsTvSettings(iterations=60, tv="per-channel", tolerance=0)
    pair = reconstruct(two, "cs-tv", settings).volume.data
    np.testing.assert_allclose(pair[0], pair[1], rtol=1e-4, atol=1e-6)
    sirt_one = reconstruct(one, "sirt").volume.data
    np.testing.assert_allclose(sirt_one[0], reconstruct(two, "sirt").volume.data[1], rtol=1e-4, atol=1e-6)
    assert reconstruct(one, "dipm-tv", SMALL).volume.data.shape[0] == 1


def test_f08_two_views_are_refused(series: TiltSeries) -> None:
    two = TiltSeries(series.data[:, :2], series.channels, TILTS[:2], 0.5)
    with pytest.raises(InputError, match="at least 3 usable views"):
        reconstruct(two, "sirt")


def test_f06_an_empty_channel_is_named(series: TiltSeries) -> None:
    data = series.data.copy()
    data[1] = 0
    with pytest.raises(InputError, match="channel shell"):
        reconstruct(series.replace(data=data), "cs-tv")


def test_f22_the_order_of_the_views_does_not_matter(series: TiltSeries) -> None:
    order = np.random.default_rng(0).permutation(9)
    mixed = TiltSeries(
        series.data[:, order], series.channels, tuple(TILTS[i] for i in order), 0.5, counts_per_unit=2.0
    )
    for method in ("sirt", "cs-tv"):
        found = reconstruct(mixed, method, QUICK[method]).volume.data  # type: ignore[arg-type]
        np.testing.assert_array_equal(found, reconstruct(series, method, QUICK[method]).volume.data)  # type: ignore[arg-type]


def test_settings_of_another_method_are_refused(series: TiltSeries) -> None:
    with pytest.raises(InputError, match="settings of sirt"):
        reconstruct(series, "sirt", DipSettings())
    with pytest.raises(InputError, match="method"):
        reconstruct(series, "fbp")  # type: ignore[arg-type]


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is here")
def test_f28_an_absent_gpu_is_said_in_words(series: TiltSeries) -> None:
    with pytest.raises(DeviceError, match="Choose cpu"):
        reconstruct(series, "sirt", device="cuda")
    assert reconstruct(series, "sirt", QUICK["sirt"], device="auto").device == "cpu"


def test_stopping_keeps_what_was_reached(series: TiltSeries) -> None:
    reached: list[int] = []
    result = reconstruct(
        series,
        "dipm-tv",
        SMALL,
        on_state=lambda state: reached.append(state.iteration),
        should_stop=lambda: reached[-1] == 5,
    )
    assert result.stopped
    assert result.iterations == 5
    assert len(result.losses["data"]) == 5
    assert result.volume.data.max() > 0


def test_ctrl_c_keeps_what_was_reached(series: TiltSeries) -> None:
    def interrupt(state: object) -> None:
        if state.iteration == 3:  # type: ignore[attr-defined]
            raise KeyboardInterrupt

    result = reconstruct(series, "dipm-tv", SMALL, on_state=interrupt)
    assert result.stopped
    assert result.iterations == 3
    assert np.isfinite(result.volume.data).all()


@pytest.mark.parametrize("method", ["dipm-tv", "dip-tv"])
@pytest.mark.parametrize("settings", [SMALL, RANDOM], ids=["guided", "random"])
def test_a_resumed_run_equals_one_that_was_never_stopped(
    method: Method, settings: DipSettings, series: TiltSeries
) -> None:
    whole = reconstruct(series, method, settings.replace(iterations=8)).volume.data
    saved = at_iteration(5, reconstruct_states(series, method, settings.replace(iterations=8)))
    rest = run(reconstruct_states(series, method, settings.replace(iterations=8), resume=saved))
    assert rest.iterations == 8
    np.testing.assert_array_equal(rest.value.data, whole)


def test_a_checkpoint_of_another_network_is_refused(series: TiltSeries) -> None:
    saved = at_iteration(1, reconstruct_states(series, "dipm-tv", SMALL))
    other = SMALL.replace(filters=(8, 16, 32))
    with pytest.raises(InputError, match="checkpoint"):
        next(reconstruct_states(series, "dipm-tv", other, resume=saved))


def test_the_first_thing_to_see_is_a_cs_tv_volume(series: TiltSeries) -> None:
    first = next(reconstruct_states(series, "dipm-tv", SMALL))
    assert first.iteration == 0
    assert "CS-TV" in first.stage
    assert first.snapshot().data.shape == (2, 24, 24, 24)


@pytest.fixture
def broken_gradient(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, int], None]:
    """Make the gradient infinite in ``count`` tries from try ``first`` on."""

    def arm(first: int, count: int) -> None:
        descend, tries = DipFit._descend, iter(range(10**6))

        def faulty(fit: DipFit, z: torch.Tensor) -> tuple[torch.Tensor, dict[str, float]]:
            done = descend(fit, z)
            if first <= next(tries) < first + count:
                next(p.grad for p in fit.network.parameters() if p.grad is not None).fill_(float("nan"))
            return done

        monkeypatch.setattr(DipFit, "_descend", faulty)

    return arm


def test_f33_bfloat16_that_fails_falls_back_and_says_so(
    series: TiltSeries, broken_gradient: Callable[[int, int], None]
) -> None:
    broken_gradient(3, 1)
    states = list(reconstruct_states(series, "dipm-tv", RANDOM.replace(precision="bfloat16", iterations=6)))
    assert "float32" in states[-1].stage
    assert "float32" not in states[-4].stage
    assert np.isfinite(states[-1].snapshot().data).all()


def test_f32_a_lost_gradient_halves_the_learning_rate(
    series: TiltSeries, broken_gradient: Callable[[int, int], None]
) -> None:
    broken_gradient(3, 2)
    states = list(reconstruct_states(series, "dipm-tv", RANDOM.replace(precision="float32", iterations=6)))
    assert states[-1].iteration == 6
    assert "halved 2 times" in states[-1].stage
    assert np.isfinite(states[-1].snapshot().data).all()


def test_f32_a_hopeless_run_keeps_the_last_good_volume(
    series: TiltSeries, broken_gradient: Callable[[int, int], None]
) -> None:
    broken_gradient(3, 100)
    result = reconstruct(series, "dipm-tv", RANDOM.replace(precision="float32"))
    assert result.stopped
    assert result.iterations == 3
    assert "learning rate" in result.notes[0]
    assert np.isfinite(result.volume.data).all()


def test_tied_channels_come_apart_early(truth: Volume, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the errors of unmixing (correlation -0.95) the rehearsal and the slack keep the fit from one common blob."""
    clean = counted(truth, 1e6)
    pattern = np.array([[1.0, -0.95], [-0.95, 1.0]]) * (0.2 * clean.data.mean()) ** 2
    covariance = np.broadcast_to(pattern[..., None, None, None], (2, *clean.data.shape)).astype(np.float32)
    draw = np.random.default_rng(0).standard_normal(clean.data.shape)
    noisy = clean.data + np.einsum("cd,dtyx->ctyx", np.linalg.cholesky(pattern), draw).astype(np.float32)
    tied = clean.replace(data=noisy, covariance=covariance, counts_per_unit=None)
    settings = DipSettings(iterations=40, held_out=0, cavities=False)
    usual = error(reconstruct(tied, "dipm-tv", settings).volume, truth)
    assert usual < 0.8 * error(
        reconstruct(tied, "dipm-tv", settings.replace(network_input="random")).volume, truth
    )
    monkeypatch.setattr(tomo.dip_networks, "MODEL_ERROR", 0.02)  # as CS-TV takes the covariance
    assert usual < 0.85 * error(reconstruct(tied, "dipm-tv", settings).volume, truth)
