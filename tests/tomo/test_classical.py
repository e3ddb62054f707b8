"""SIRT, CS-TV and WBP: against ASTRA, against their own optimality conditions, against analytical truth."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from particles import TILTS, counted, error, particle

from napari_dipmtv.data import TiltSeries, Volume
from napari_dipmtv.errors import InputError
from napari_dipmtv.projection.backends import astra_vectors, make_projector
from napari_dipmtv.projection.geometry import Geometry
from napari_dipmtv.projection.sparse import SparseProjector, slices_fastest
from napari_dipmtv.settings.tomo import CsTvSettings, SirtSettings, TvKind, WbpSettings
from napari_dipmtv.states import State, run
from napari_dipmtv.tomo import total_variation as tv
from napari_dipmtv.tomo.cs_tv import PrimalDual, cs_tv
from napari_dipmtv.tomo.problem import pose
from napari_dipmtv.tomo.reconstruct import reconstruct
from napari_dipmtv.tomo.sirt import sirt
from napari_dipmtv.tomo.strength import cs_tv_sweep
from napari_dipmtv.tomo.thinning import thin
from napari_dipmtv.tomo.wbp import angular_weights_rad, wbp

CPU = torch.device("cpu")
KINDS: tuple[TvKind, ...] = ("vectorial", "per-channel", "channel-sum")


def last(states: object) -> State[Volume]:
    """The last state of a run."""
    *_, state = states  # type: ignore[misc]
    return state  # type: ignore[no-any-return]


# SIRT


def astra_sirt(series: TiltSeries, geometry: Geometry, iterations: int) -> np.ndarray:
    """Non-negative SIRT of ASTRA on the CPU, slice by slice; (z, y, x) of the first channel."""
    astra = pytest.importorskip("astra")
    n = series.data.shape[3]
    grid, views = (
        astra.create_vol_geom(n, n),
        astra.create_proj_geom("parallel_vec", n, astra_vectors(geometry)),
    )
    projector = astra.create_projector("linear", views, grid)
    volume, sinogram = astra.data2d.create("-vol", grid), astra.data2d.create("-sino", views)
    config = astra.astra_dict("SIRT")
    config |= {"ProjectorId": projector, "ProjectionDataId": sinogram, "ReconstructionDataId": volume}
    config["option"] = {"MinConstraint": 0}
    out = []
    for y in range(series.data.shape[2]):
        astra.data2d.store(sinogram, series.data[0, :, y])
        astra.data2d.store(volume, 0)
        algorithm = astra.algorithm.create(config)
        astra.algorithm.run(algorithm, iterations)
        astra.algorithm.delete(algorithm)
        out.append(astra.data2d.get(volume))
    return np.stack(out, axis=1)


def test_sirt_equals_astra() -> None:
    """With ASTRA's own weights the two are one iteration; with ours, the rounding of its ray positions remains.

    ASTRA adds up the positions of its rays in float32, so that its weights are wrong by some 1e-5, more in larger
    slices; a hundred steps make some 3e-5 of it. Its "parallel" and "parallel_vec" differ from each other as much.
    """
    series = disc_series(96, np.array(TILTS), 30, z0=7, x0=-6)
    noise = np.random.default_rng(0).standard_normal(series.data.shape)
    series = series.replace(data=np.abs(series.data + noise))
    geometry = Geometry.of_series(series)
    wanted = astra_sirt(series, geometry, 100)
    gaps = {}
    for backend in ("astra", "own"):
        problem = pose(series, CPU, make_projector(geometry, CPU, backend))  # type: ignore[arg-type]
        found = last(sirt(problem, SirtSettings(iterations=100))).snapshot().data[0]
        gaps[backend] = np.linalg.norm(found - wanted) / np.linalg.norm(wanted)
    assert gaps["astra"] < 1e-6
    assert gaps["own"] < 1e-4
    assert gaps["own"] > 10 * gaps["astra"]  # the reason given above


def test_sirt_goes_on_from_a_checkpoint(series: TiltSeries) -> None:
    problem = pose(series, CPU)
    saved = [s.checkpoint() for s in sirt(problem, SirtSettings(iterations=4)) if s.checkpoint][-1]
    states = list(sirt(problem, SirtSettings(iterations=9), resume=saved))
    assert [s.iteration for s in states] == [5, 6, 7, 8, 9]
    whole = last(sirt(problem, SirtSettings(iterations=9))).snapshot().data
    np.testing.assert_array_equal(states[-1].snapshot().data, whole)
    with pytest.raises(InputError, match="Give one of them"):
        next(sirt(problem, SirtSettings(), start=states[-1].snapshot(), resume=saved))
    with pytest.raises(InputError, match="same series"):
        next(sirt(problem, SirtSettings(), resume={"iteration": np.array(3), "x": np.zeros((2, 3, 3, 3))}))


# total variation


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("slab_voxels", [1, 200, 10**9])
def test_a_sweep_in_slabs_is_the_whole_step(
    kind: TvKind, slab_voxels: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tv, "SLAB_VOXELS", slab_voxels)
    shape, random = (2, 7, 5, 6), torch.Generator().manual_seed(0)

    def field(*lead: int) -> torch.Tensor:
        return torch.randn((*lead, *shape), generator=random, dtype=torch.float64)

    x, ahead, back = (slices_fastest(shape, dtype=torch.float64).copy_(field()) for _ in range(3))
    dual = tv.stacked(tv.seen_by(kind, x))
    dual.copy_(tv.project_dual(tv.gradient(tv.seen_by(kind, field())), 0.2, kind))
    steps = {"radius": 0.3, "sigma": 0.4, "tau": 0.2, "pull": 1.7}
    rise = 0.4 * 1.7 * tv.gradient(tv.seen_by(kind, ahead))
    wanted_dual = tv.project_dual(dual + rise, 0.3, kind)
    slope = back + 1.7 * tv.gradient_adjoint(wanted_dual)
    wanted = (x - 0.2 * slope).clamp(min=0)
    new = torch.empty_like(x)
    failing = tv.sweep(x, ahead, dual, back, new, kind=kind, **steps, judge=True)
    torch.testing.assert_close(dual, wanted_dual)
    torch.testing.assert_close(new, wanted)
    torch.testing.assert_close(ahead, 2 * wanted - x)
    torch.testing.assert_close(failing, -slope.clamp(max=0).sum())


@pytest.mark.parametrize(("z0", "z1"), [(0, 2), (2, 5), (5, 6), (0, 6)])
def test_planes_of_gradient_and_adjoint_are_cut_from_the_whole(z0: int, z1: int) -> None:
    x, p = torch.randn(2, 6, 5, 4), torch.randn(3, 2, 6, 5, 4)
    torch.testing.assert_close(tv.gradient(x, z0, z1), tv.gradient(x)[:, :, z0:z1])
    torch.testing.assert_close(tv.gradient_adjoint(p, z0, z1), tv.gradient_adjoint(p)[:, z0:z1])


@pytest.mark.parametrize("kind", KINDS)
def test_total_variation_by_slabs_is_the_whole_one(kind: TvKind, monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.randn(2, 7, 5, 6, dtype=torch.float64)
    monkeypatch.setattr(tv, "SLAB_VOXELS", 130)  # slabs of 2 planes, the last of 1
    assert tv.total_variation_of(x, kind) == pytest.approx(
        float(tv.total_variation(x, kind, epsilon=0)), rel=1e-9
    )


def test_without_strength_nothing_is_divided_by_zero() -> None:
    p = tv.project_dual(torch.tensor([0.0, 3.0]).expand(3, 1, 1, 1, 2).clone(), 0.0, "per-channel")
    assert torch.isfinite(p).all()
    assert float(p.abs().max()) < 1e-20


# CS-TV


@pytest.mark.parametrize("term", ["poisson", "least-squares"])
def test_the_gap_bounds_the_distance_to_the_least_cost(term: str, series: TiltSeries) -> None:
    problem = pose(series, CPU)
    settings = CsTvSettings(iterations=800, tolerance=0, data_term=term, tv_strength=0.12)  # type: ignore[arg-type]
    losses = [s.losses for s in cs_tv(problem, settings) if s.losses]
    cost = np.array([one["data"] + 0.12 * one["tv"] for one in losses])
    gap = np.array([one["gap"] for one in losses]) * cost
    least = cost[-1]
    early = slice(0, len(cost) // 2)
    assert (gap[early] > cost[early] - least - 1e-6 * least).all()
    assert gap[-1] < 1e-3 * least
    assert gap[0] > 0.1 * least


def test_cs_tv_ends_at_the_gap_it_was_asked_for(series: TiltSeries) -> None:
    problem = pose(series, CPU)
    ends = {g: last(cs_tv(problem, CsTvSettings(iterations=2000, tolerance=g))) for g in (0.1, 0.01)}
    for tolerance, state in ends.items():
        assert state.losses["gap"] < tolerance
        assert state.iteration == state.total < 2000
    assert ends[0.1].iteration < ends[0.01].iteration


@pytest.mark.parametrize("kind", KINDS)
def test_cs_tv_goes_on_from_a_checkpoint(kind: TvKind, series: TiltSeries) -> None:
    problem, settings = pose(series, CPU), CsTvSettings(iterations=12, tolerance=0, tv=kind)
    state = next(s for s in cs_tv(problem, settings) if s.iteration == 5)
    assert state.checkpoint is not None
    saved = state.checkpoint()
    assert all(isinstance(value, np.ndarray) for value in saved.values())
    rest = list(cs_tv(problem, settings, resume=saved))
    assert [s.iteration for s in rest] == list(range(6, 13))
    np.testing.assert_array_equal(rest[-1].snapshot().data, last(cs_tv(problem, settings)).snapshot().data)
    with pytest.raises(InputError, match="series and the settings of the first run"):
        next(cs_tv(problem, settings, resume={**saved, "dual": saved["dual"][:2]}))
    with pytest.raises(InputError, match="Give one of them"):
        next(cs_tv(problem, settings, resume=saved, start=state.snapshot()))


def test_cs_tv_begins_where_it_is_told(series: TiltSeries, truth: Volume) -> None:
    problem = pose(series, CPU)
    begun = PrimalDual(problem, CsTvSettings(), truth)
    np.testing.assert_allclose(problem.volume(begun.x).data, truth.data, rtol=1e-5)
    far = last(cs_tv(problem, CsTvSettings(iterations=600, tolerance=1e-3))).snapshot()
    near = last(cs_tv(problem, CsTvSettings(iterations=600, tolerance=1e-3), start=truth)).snapshot()
    assert error(near, far) < 0.02  # one minimum, wherever one begins


def test_a_state_shows_its_own_volume_after_the_next_step_has_begun(series: TiltSeries) -> None:
    states = cs_tv(pose(series, CPU), CsTvSettings(iterations=5))
    third = [next(states) for _ in range(3)][-1]
    seen = third.snapshot().data
    next(states)
    np.testing.assert_array_equal(third.snapshot().data, seen)


def test_cs_tv_without_strength_stays_finite(series: TiltSeries) -> None:
    found = last(cs_tv(pose(series, CPU), CsTvSettings(iterations=15, tv_strength=0))).snapshot()
    assert np.isfinite(found.data).all()
    assert found.data.max() > 0


# choosing the strength


def test_thinned_parts_are_independent_and_share_the_dose() -> None:
    truth = particle(16)
    whole = counted(truth, 40.0)
    fit, held = thin(whole, 0.8, np.random.default_rng(0))
    np.testing.assert_allclose(0.8 * fit.data + 0.2 * held.data, whole.data, rtol=1e-4, atol=1e-4)
    assert fit.counts_per_unit == pytest.approx(32)
    assert held.counts_per_unit == pytest.approx(8)
    clean = SparseProjector(Geometry.of_series(whole))(torch.from_numpy(truth.data)).numpy()
    noise = [(part.data - clean)[clean > 2] for part in (fit, held)]
    assert abs(np.corrcoef(noise)[0, 1]) < 0.05
    variance = [(n**2 / clean[clean > 2]).mean() for n in noise]
    assert variance == pytest.approx([1 / 32, 1 / 8], rel=0.1)


def test_parts_of_maps_with_covariance_are_independent(truth: Volume) -> None:
    clean = counted(truth, 1e6)
    pattern = np.array([[1.0, -0.9], [-0.9, 1.2]])
    covariance = np.broadcast_to(pattern[..., None, None, None], (2, *clean.data.shape)).astype(np.float32)
    random = np.random.default_rng(1)
    noise = np.einsum("cd,dtyx->ctyx", np.linalg.cholesky(pattern), random.standard_normal(clean.data.shape))
    noisy = clean.replace(data=clean.data + noise, covariance=covariance, counts_per_unit=None)
    fit, held = thin(noisy, 0.8, random)
    a, b = ((part.data - clean.data).reshape(2, -1) for part in (fit, held))
    np.testing.assert_allclose(a @ a.T / a.shape[1], pattern / 0.8, atol=0.06)
    np.testing.assert_allclose(b @ b.T / b.shape[1], pattern / 0.2, atol=0.25)
    np.testing.assert_allclose(a @ b.T / a.shape[1], 0, atol=0.08)
    np.testing.assert_allclose(fit.covariance[:, :, 0, 0, 0], pattern / 0.8, rtol=1e-5)
    with pytest.raises(InputError, match="maps without statistics"):
        thin(clean.replace(counts_per_unit=None), 0.8, random)
    with pytest.raises(InputError, match="between 0 and 1"):
        thin(clean, 1.0, random)


def test_the_sweep_finds_a_good_strength_without_the_truth(series: TiltSeries, truth: Volume) -> None:
    strengths = (0.004, 0.02, 0.1, 0.5, 2.5)
    settings = CsTvSettings(iterations=200, tolerance=0.02)
    table = run(cs_tv_sweep(pose(series, CPU), strengths, settings, truth=truth)).value
    assert [s.strength for s in table.scores] == list(strengths)
    blind = min(table.scores, key=lambda s: s.deviance or np.inf)
    assert table.best.error is not None
    assert blind.error is not None
    assert blind.error < 1.15 * table.best.error
    assert max(s.error or 0 for s in table.scores) > 1.5 * table.best.error
    assert str(table).count("\n") == len(strengths) + 1


def test_a_sweep_of_maps_without_statistics_asks_for_the_truth(series: TiltSeries, truth: Volume) -> None:
    problem = pose(series.replace(counts_per_unit=None), CPU)
    with pytest.raises(InputError, match="Give the truth"):
        next(cs_tv_sweep(problem, (0.1,)))
    score = run(cs_tv_sweep(problem, (0.1,), CsTvSettings(iterations=20), truth=truth)).value.best
    assert score.deviance is None
    assert score.error is not None
    with pytest.raises(InputError, match="at least one"):
        next(cs_tv_sweep(problem, ()))


# WBP


def disc_series(n: int, tilts: np.ndarray, radius: float, z0: float = 0.0, x0: float = 0.0) -> TiltSeries:
    """Bin-averaged analytical projections of a disc of density 1; two rows."""
    fine = 16
    bins = (np.arange(n * fine) + 0.5) / fine - n / 2
    views = []
    for tilt in np.deg2rad(tilts):
        s = bins - x0 * np.cos(tilt) - z0 * np.sin(tilt)
        views.append(2 * np.sqrt(np.maximum(radius**2 - s**2, 0)).reshape(n, fine).mean(axis=1))
    data = np.repeat(np.array(views, np.float32)[None, :, None, :], 2, axis=2)
    return TiltSeries(data, ("disc",), tuple(tilts), 1.0)


@pytest.mark.parametrize("n", [48, 49])
@pytest.mark.parametrize("filter_", ["ramp", "hann", "shepp-logan", "cosine", "hamming"])
def test_f27_wbp_gives_the_density_of_a_disc(n: int, filter_: str) -> None:
    series = disc_series(n, np.arange(-90, 90, 2.0), 12, z0=5.0, x0=-4.0)
    volume = last(wbp(pose(series, CPU), WbpSettings(filter=filter_))).snapshot().data[0, :, 1]  # type: ignore[arg-type]
    z, x = np.mgrid[:n, :n] - (n - 1) / 2
    r = np.hypot(z - 5, x + 4)
    assert volume[r < 9].mean() == pytest.approx(1, abs=0.01)
    assert volume[r < 9].std() < 0.03
    assert abs(volume[(r > 15) & (np.hypot(z, x) < 22)].mean()) < 0.01


def test_unequal_tilt_steps_weigh_by_their_angle() -> None:
    n = 48
    tilts = np.concatenate([np.arange(-90, 0, 1.0), np.arange(0, 90, 5.0)])
    z, x = np.mgrid[:n, :n] - (n - 1) / 2
    volume = last(wbp(pose(disc_series(n, tilts, 12), CPU), WbpSettings())).snapshot().data[0, :, 0]
    assert volume[np.hypot(z, x) < 9].mean() == pytest.approx(1, abs=0.02)


def test_angular_weights() -> None:
    full = angular_weights_rad(np.arange(-90.0, 90.0, 10.0))
    np.testing.assert_allclose(full, np.deg2rad(10))
    wedge = angular_weights_rad(np.arange(-70.0, 71.0, 17.5))
    np.testing.assert_allclose(wedge, np.deg2rad(17.5))  # nothing of the 40 degrees beyond
    uneven = angular_weights_rad(np.array([0.0, 10.0, 40.0, -20.0]))
    np.testing.assert_allclose(np.rad2deg(uneven), [15, 20, 30, 20])
    both_ends = angular_weights_rad(np.array([-90.0, -45.0, 0.0, 45.0, 90.0]))
    assert both_ends.sum() == pytest.approx(np.pi)


def test_f01_wbp_bridges_broken_pixels_and_leaves_views_out(series: TiltSeries) -> None:
    whole = reconstruct(series, "wbp").volume.data
    broken = series.data.copy()
    broken[:, np.random.default_rng(1).random(broken.shape[1:]) < 0.02] = np.nan
    found = reconstruct(series.replace(data=broken), "wbp").volume.data
    assert np.isfinite(found).all()
    assert np.linalg.norm(found - whole) < 0.25 * np.linalg.norm(whole)
    lost = series.data.copy()
    lost[:, 4] = np.nan
    keep = [0, 1, 2, 3, 5, 6, 7, 8]
    without = replace(series, data=series.data[:, keep], tilts_deg=tuple(TILTS[i] for i in keep))
    np.testing.assert_allclose(
        reconstruct(series.replace(data=lost), "wbp").volume.data,
        reconstruct(without, "wbp").volume.data,
        rtol=1e-4,
        atol=1e-5,
    )


def test_wbp_is_one_state_and_cannot_be_resumed(series: TiltSeries, truth: Volume) -> None:
    states = list(wbp(pose(series, CPU), WbpSettings(filter="hann", cutoff=0.7)))
    assert len(states) == 1
    assert states[0].snapshot().data.shape == truth.data.shape
    assert 0 < states[0].losses["residual"] < 1
    with pytest.raises(InputError, match="Start again"):
        reconstruct(series, "wbp", resume={"iteration": np.array(1)})
