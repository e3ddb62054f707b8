"""The parts of the reconstructions against their formulas."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from napari_dipmtv.data import TiltSeries
from napari_dipmtv.errors import InputError
from napari_dipmtv.settings.tomo import DipSettings
from napari_dipmtv.tomo.data_term import data_misfit
from napari_dipmtv.tomo.network import DipNetwork
from napari_dipmtv.tomo.problem import pose
from napari_dipmtv.tomo.total_variation import gradient, gradient_adjoint, project_dual, total_variation

CPU = torch.device("cpu")


def with_covariance(series: TiltSeries) -> TiltSeries:
    """The series with anti-correlated errors, as unmixing leaves them."""
    c, t, y, x = series.data.shape
    covariance = np.broadcast_to(np.array([[1.0, -0.6], [-0.6, 0.8]])[..., None, None, None], (c, c, t, y, x))
    return series.replace(covariance=covariance.astype(np.float32), counts_per_unit=None)


def test_gradient_and_its_adjoint() -> None:
    x = torch.randn(2, 5, 6, 7, dtype=torch.float64)
    p = torch.randn(3, 2, 5, 6, 7, dtype=torch.float64)
    assert float((gradient(x) * p).sum() - (x * gradient_adjoint(p)).sum()) == pytest.approx(0, abs=1e-10)


@pytest.mark.parametrize(
    ("kind", "expected"), [("vectorial", 2**0.5), ("per-channel", 2.0), ("channel-sum", 0.0)]
)
def test_total_variation_of_opposite_steps(kind: str, expected: float) -> None:
    """Anti-correlated channels: a step up in one, down in the other; the channel sum is blind to it."""
    x = torch.zeros(2, 4, 4, 4)
    x[0, ..., 2:] = 1
    x[1, ..., :2] = 1
    assert float(total_variation(x, kind, epsilon=0)) == pytest.approx(16 * expected, rel=1e-5)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["vectorial", "per-channel"])
def test_the_dual_ball_gives_the_norm_back(kind: str) -> None:
    x = torch.randn(2, 4, 5, 6, dtype=torch.float64)
    g = gradient(x)
    p = project_dual(1e6 * g, 0.7, kind)  # type: ignore[arg-type]
    assert float((p * g).sum()) == pytest.approx(0.7 * float(total_variation(x, kind, epsilon=0)), rel=1e-6)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["poisson", "covariance", "least-squares", "l1"])
def test_prox_is_the_minimum_of_its_definition(kind: str, series: TiltSeries) -> None:
    source = with_covariance(series) if kind == "covariance" else series
    misfit = data_misfit(pose(source, CPU), kind)
    random = torch.Generator().manual_seed(0)
    u = 20 * torch.rand(series.data.shape, generator=random)
    step = 3.0 * u.numel()

    def cost(p: torch.Tensor) -> float:
        return float(misfit.loss(p).double() + (p - u).double().square().sum() / (2 * step))

    p = misfit.prox(u, step)
    for scale in (1e-2, 1e-1):
        for _ in range(4):
            assert cost((p + scale * torch.randn(p.shape, generator=random)).clamp(min=0)) > cost(p)


def test_poisson_misfit_and_its_gradient(series: TiltSeries) -> None:
    problem = pose(series, CPU)
    misfit = data_misfit(problem, "poisson")
    counts = torch.from_numpy(series.data) * series.counts_per_unit
    perfect = torch.from_numpy(series.data) / problem.unit[:, None, None, None]
    p = (perfect + 1.0).requires_grad_(True)
    misfit.loss(p).backward()
    m = p.detach() * problem.unit[:, None, None, None] * series.counts_per_unit
    noise = float((counts.sum() / counts.square().sum()).sqrt())
    wanted = noise / p.numel() * problem.unit[:, None, None, None] * series.counts_per_unit * (1 - counts / m)
    torch.testing.assert_close(p.grad, wanted, rtol=1e-3, atol=1e-9)
    assert float(misfit.loss(perfect)) == pytest.approx(0, abs=1e-3)


def test_covariance_misfit_counts_chi_square(series: TiltSeries) -> None:
    source = with_covariance(series)
    problem = pose(source, CPU)
    misfit = data_misfit(problem, "covariance")
    noise = np.linalg.cholesky(np.array([[1.0, -0.6], [-0.6, 0.8]]))
    draw = np.random.default_rng(0).standard_normal(source.data.shape)
    moved = source.data + np.einsum("cd,dtyx->ctyx", noise, draw)
    p = torch.from_numpy(moved.astype(np.float32)) / problem.unit[:, None, None, None]
    per_datum = float(misfit.loss(p)) / misfit.weight / 0.5  # type: ignore[attr-defined]
    assert per_datum == pytest.approx(1, abs=0.08)


@pytest.mark.parametrize("kind", ["poisson", "covariance"])
def test_a_data_term_without_its_statistics_is_refused(kind: str, series: TiltSeries) -> None:
    bare = series.replace(counts_per_unit=None)
    with pytest.raises(InputError, match="Choose another data term"):
        data_misfit(pose(bare, CPU), kind)


def test_published_network_has_the_published_size() -> None:
    network = DipNetwork(32, 2, (16, 32, 64, 128), (4, 8, 16, 32))
    assert sum(p.numel() for p in network.parameters()) == 1_807_486


@pytest.mark.parametrize("shape", [(16, 16, 16), (15, 18, 21)])
@pytest.mark.parametrize("skips", [(4, 4), (0, 0)])
def test_network_keeps_any_size_and_is_not_negative(
    shape: tuple[int, int, int], skips: tuple[int, ...]
) -> None:
    for output in ("softplus", "square"):
        network = DipNetwork(3, 2, (8, 16), skips, output=output)  # type: ignore[arg-type]
        x = network(torch.rand(1, 3, *shape))
        assert x.shape == (1, 2, *shape)
        assert float(x.detach().min()) >= 0


def test_the_unit_is_the_density_inside_and_the_mass_comes_from_the_maps(series: TiltSeries) -> None:
    problem = pose(series, CPU)
    assert problem.unit.numpy() == pytest.approx([1, 1], rel=0.45)
    assert problem.mass == pytest.approx(
        float((series.data.sum((2, 3)).mean(1) / problem.unit.numpy()).sum())
    )
    scaled = pose(series.replace(data=7 * series.data, counts_per_unit=2 / 7), CPU)
    assert scaled.mass == pytest.approx(problem.mass, rel=1e-4)  # no unit: dose and scale fall out


@pytest.mark.parametrize("values", [{"filters": (8, 16), "skips": (4,)}, {"filters": (), "skips": ()}])
def test_levels_must_match(values: dict[str, object]) -> None:
    with pytest.raises(InputError, match="levels"):
        DipSettings.from_mapping(values)
