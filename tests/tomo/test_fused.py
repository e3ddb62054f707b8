"""Fused reconstruction: each step against its formula, both procedures against the truth, refusals, the command."""

from __future__ import annotations

import importlib.util
import json
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from scipy import ndimage
from typer.testing import CliRunner

from napari_dipmtv.data import TiltSeries
from napari_dipmtv.errors import GeometryError, InputError
from napari_dipmtv.phantom.fused import FusedSimulation, haadf_density, simulate_fused
from napari_dipmtv.projection.geometry import Geometry
from napari_dipmtv.projection.sparse import SparseProjector
from napari_dipmtv.settings.fused import FusedPhantomSettings, FusedSettings, PublishedFusedSettings
from napari_dipmtv.tomo.fused import fuse, fuse_states
from napari_dipmtv.tomo.fused_contrast import non_negative, slice_equations
from napari_dipmtv.tomo.fused_joint import Joint
from napari_dipmtv.tomo.fused_problem import (
    atomic_numbers,
    pose_fused,
    relative_weights,
    weighted,
    weighted_slope,
)
from napari_dipmtv.tomo.fused_published import (
    haadf_update,
    lipschitz,
    matched,
    poisson_cost,
    poisson_gradient,
    tv_denoised,
)
from napari_dipmtv.tomo.problem import Problem, sirt_steps

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def measured() -> FusedSimulation:
    """A small particle at low dose."""
    return simulate_fused(FusedPhantomSettings(field_voxels=24, haadf_tilts=24, supersampling=2))


def error(found: np.ndarray, truth: np.ndarray) -> float:
    return float(np.linalg.norm(found - truth) / np.linalg.norm(truth))


def random_volume(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_the_poisson_step_is_the_gradient_of_the_poisson_cost() -> None:
    A = SparseProjector(Geometry.of((6, 5, 6), (-50.0, 10.0, 40.0)), dtype=torch.float64)
    x, way = random_volume(2, 6, 5, 6), random_volume(2, 6, 5, 6, seed=1)
    b, eps, h = A(random_volume(2, 6, 5, 6, seed=2)), 0.1, 1e-6
    slope = float((poisson_gradient(A, x, b, eps) * way).sum())
    ahead, behind = (poisson_cost(A(x + s * h * way), b, eps) for s in (1, -1))
    assert slope == pytest.approx(float(ahead - behind) / (2 * h), rel=1e-6)
    assert float(poisson_gradient(A, x, A(x), eps).abs().max()) == 0


def test_the_published_step_scale_bounds_the_normal_operator() -> None:
    A = SparseProjector(Geometry.of((6, 5, 6), (-50.0, 10.0, 40.0)), dtype=torch.float64)
    x = random_volume(1, 6, 5, 6)
    for _ in range(50):
        x = A.T(A(x / x.norm()))
    assert (
        float(x.norm()) <= lipschitz(A, x) + 1e-9
    )  # row sums bound the largest eigenvalue of a positive matrix


@pytest.mark.parametrize("gamma", [1.0, 1.6])
def test_the_haadf_derivative_is_the_adjoint_of_the_difference(gamma: float) -> None:
    x, way, back = (random_volume(3, 4, 4, 4, seed=s) + 0.1 for s in range(3))
    weights = torch.tensor([0.2, 0.3, 0.5], dtype=torch.float64)
    h = 1e-6
    change = (weighted(x + h * way, weights, gamma) - weighted(x - h * way, weights, gamma)) / (2 * h)
    one = back[:1]
    assert float((change * one).sum()) == pytest.approx(
        float((weighted_slope(x, weights, gamma, one) * way).sum()), rel=1e-6
    )


def test_the_haadf_step_is_its_formula(measured: FusedSimulation) -> None:
    problem = pose_fused(measured.chemical, measured.haadf, CPU).haadf
    x = random_volume(3, 24, 24, 24).float()
    weights = torch.tensor([0.2, 0.3, 0.5], dtype=torch.float64)
    m = 0.2 * x[0] ** 1.6 + 0.3 * x[1] ** 1.6 + 0.5 * x[2] ** 1.6
    v = list(islice(sirt_steps(problem, start=m[None]), 5))[-1][0][0]
    wanted = torch.stack([1.6 * w * x[c] ** 0.6 * (v - m) for c, w in enumerate((0.2, 0.3, 0.5))])
    torch.testing.assert_close(haadf_update(problem, x, weights, 1.6, 5), wanted, rtol=1e-4, atol=1e-3)


def test_many_tv_iterations_give_the_denoised_volume_of_scikit_image() -> None:
    from skimage.restoration import denoise_tv_chambolle

    x = random_volume(1, 6, 6, 6) + 1
    reference = denoise_tv_chambolle(x[0].numpy(), weight=0.05, eps=1e-9, max_num_iter=2000)
    assert error(tv_denoised(x, 0.05, 1500)[0].numpy(), reference) < 1e-3
    assert error(tv_denoised(x, 0.05, 5)[0].numpy(), reference) > 1e-3  # five only approach it


def test_every_haadf_view_is_scaled_to_the_model() -> None:
    haadf, model = random_volume(1, 3, 4, 4), 7 * random_volume(1, 3, 4, 4, seed=1)
    torch.testing.assert_close(matched(haadf, model).amax(dim=(2, 3)), model.amax(dim=(2, 3)))


def test_the_published_stages_and_damping(measured: FusedSimulation) -> None:
    """100 chemical and 50 fused steps by default; the cost of the first stage falls in every step."""
    defaults = PublishedFusedSettings()
    assert (defaults.chemical_iterations, defaults.iterations) == (100, 150)
    assert (defaults.gamma, defaults.epsilon) == (1.6, 0.1)
    settings = PublishedFusedSettings(chemical_iterations=12, iterations=20)
    states = list(fuse_states(measured.chemical, measured.haadf, "fused-published", settings))
    first = [s.losses["chemical"] for s in states[:12]]
    assert all(b < a for a, b in pairwise(first))
    assert ["haadf" in s.losses for s in states] == [False] * 12 + [True] * 8
    assert states[-1].losses["haadf"] < 0.7 * states[12].losses["haadf"]


def test_the_chemical_step_is_shortened_by_the_damping_after_a_rise_and_only_then(
    measured: FusedSimulation,
) -> None:
    """A HAADF step ten times too long makes the fit oscillate: the rises are there to be answered."""
    settings = PublishedFusedSettings(
        chemical_iterations=5, iterations=17, haadf_strength=100, damping=0.8, tv_strength=1e-5
    )
    states = list(fuse_states(measured.chemical, measured.haadf, "fused-published", settings))[5:]
    misfits = [s.losses["haadf"] for s in states]
    ratios = [b.losses["step"] / a.losses["step"] for a, b in pairwise(states)]
    wanted = [0.8 if b > a else 1.0 for a, b in pairwise(misfits)]
    assert ratios == pytest.approx(wanted)
    assert {0.8, 1.0} == set(wanted)


def test_two_steps_of_each_stage_are_the_released_ones_written_out(measured: FusedSimulation) -> None:
    """Normalised maps, Poisson steps, the volume times ten, HAADF matched once, then both steps and the denoising."""
    settings = PublishedFusedSettings(chemical_iterations=2, iterations=4)
    states = list(fuse_states(measured.chemical, measured.haadf, "fused-published", settings))
    problem = pose_fused(measured.chemical, measured.haadf, CPU)
    A, S = problem.chemical.projector, problem.haadf.projector
    counts = torch.from_numpy(measured.chemical.data)
    b = counts / counts.amax(dim=(1, 2, 3), keepdim=True)
    z = torch.tensor([29.0, 27.0, 79.0]) / (29 + 27 + 79)
    x = torch.zeros(3, 24, 24, 24)
    step = 0.05 / float(A.T(A(torch.ones(1, 24, 24, 24))).max())

    def gradient(x: torch.Tensor) -> torch.Tensor:
        return A.T((A(x) - b) / (A(x) + 0.1))

    def signal(x: torch.Tensor) -> torch.Tensor:
        return (z[:, None, None, None] * x**1.6).sum(dim=0, keepdim=True)

    def in_units_of_the_maps(x: torch.Tensor) -> np.ndarray:
        return (x * (counts.sum(dim=(1, 2, 3)) / A(x).sum(dim=(1, 2, 3)))[:, None, None, None]).numpy()

    for state in states[:2]:
        x = (x - step * gradient(x)).clamp(min=0)
        np.testing.assert_allclose(state.snapshot().data, in_units_of_the_maps(x), rtol=1e-4, atol=1e-3)
    x = 10 * x
    model, seen = S(signal(x)), torch.from_numpy(measured.haadf.data)
    seen = seen * (model.amax(dim=(2, 3), keepdim=True) / seen.amax(dim=(2, 3), keepdim=True))
    haadf = Problem(measured.haadf.replace(data=seen.numpy()), S, CPU)
    before = float("inf")
    for state in states[2:]:
        m = signal(x)
        misfit = float((S(m) - seen).norm())
        *_, (v, _) = islice(sirt_steps(haadf, start=m), 5)
        pull = 1.6 * z[:, None, None, None] * x**0.6 * (v - m)
        x = tv_denoised((x - step * gradient(x) + 10 * pull).clamp(min=0), 1e-4, 5)
        step, before = step * (0.95 if misfit > before else 1), misfit
        assert state.losses["haadf"] == pytest.approx(misfit, rel=1e-4)
        np.testing.assert_allclose(state.snapshot().data, in_units_of_the_maps(x), rtol=1e-3, atol=1e-2)


def test_weights_are_atomic_numbers_or_given() -> None:
    assert atomic_numbers(("Cu", "Fe_Ka", "O", "CoO")) == (29, 26, 8, 27)
    assert relative_weights(("Cu", "Au"), (), 1.0).tolist() == pytest.approx([29 / 108, 79 / 108])
    assert relative_weights(("a", "b"), (1.0, 3.0), 1.7).tolist() == [0.25, 0.75]
    with pytest.raises(InputError, match="channel shell"):
        atomic_numbers(("shell",))
    with pytest.raises(InputError, match="2 numbers"):
        relative_weights(("a", "b"), (1.0,), 1.0)


def test_slice_totals_give_the_weights_without_a_volume() -> None:
    """Noise-free but for counting a great dose: the weights are those of the simulated scattering, oxygen included."""
    rich = FusedPhantomSettings(
        field_voxels=24, haadf_tilts=12, chemical_counts=1e5, haadf_counts=1e6, supersampling=2
    )
    simulation = simulate_fused(rich)
    problem = pose_fused(simulation.chemical, simulation.haadf, CPU)
    found = (
        non_negative(*slice_equations(problem)) / problem.chemical.unit.numpy() * float(problem.haadf.unit)
    )
    true = [
        haadf_density(
            simulation.truth.replace(
                data=np.eye(3, dtype=np.float32)[:, c, None, None, None] * np.ones((3, 1, 1, 1), np.float32)
            ),
            rich.z_power,
        ).data.item()
        for c in range(3)
    ]
    assert found == pytest.approx(true, rel=0.03)


def test_non_negative_least_squares_clamps() -> None:
    a = np.random.default_rng(0).normal(size=(20, 3))
    y = a @ np.array([1.0, -2.0, 0.5])
    from scipy.optimize import nnls

    assert non_negative(a.T @ a, a.T @ y) == pytest.approx(nnls(a, y)[0], abs=1e-6)


def test_fusion_beats_the_chemical_maps_alone(measured: FusedSimulation) -> None:
    truth = measured.truth.data
    states = fuse_states(
        measured.chemical, measured.haadf, "fused-published", PublishedFusedSettings(iterations=100)
    )
    chemical = error(list(states)[-1].snapshot().data, truth)
    alone = fuse(measured.chemical, measured.haadf, settings=FusedSettings(haadf_weight=0, iterations=100))
    both = fuse(measured.chemical, measured.haadf, settings=FusedSettings(iterations=200))
    assert error(both.volume.data, truth) < 0.62 * chemical
    assert error(both.volume.data, truth) < error(alone.volume.data, truth)
    assert both.volume.data.min() >= 0
    least = list(both.losses["least"])
    assert least == sorted(least, reverse=True)
    assert both.losses["cost"][-1] < 1.5 * least[-1]


def test_an_exponent_is_fitted_only_downhill(measured: FusedSimulation) -> None:
    joint = Joint(
        pose_fused(measured.chemical, measured.haadf, CPU),
        FusedSettings(gamma=1.8, learn_gamma=True, start_iterations=30),
    )
    for _ in range(3):
        joint.step()
        before = joint.haadf_cost(joint.contrast)
        joint.refit()
        assert joint.haadf_cost(joint.contrast) <= before
    assert 1 <= joint.contrast.gamma < 1.8  # the scattering of the phantom is linear


def test_single_views_are_fused_in_two_dimensions() -> None:
    random = np.random.default_rng(0)
    y, x = np.mgrid[:40, :40]
    truth = np.stack([((y - 20) ** 2 + (x - 14) ** 2 < 60), ((y - 20) ** 2 + (x - 27) ** 2 < 50)]).astype(
        np.float32
    )
    counts = random.poisson(truth * 4).astype(np.float32)
    haadf = random.poisson(200 * np.einsum("c,cyx->yx", [1.0, 2.0], truth)).astype(np.float32)
    maps = TiltSeries(counts[:, None] / 4, ("Co", "Mn"), (0.0,), 1.0, counts_per_unit=4.0)
    image = TiltSeries(haadf[None, None], ("HAADF",), (0.0,), 1.0, counts_per_unit=1.0)
    found = fuse(maps, image, settings=FusedSettings(iterations=150)).volume
    assert found.data.shape == (2, 1, 40, 40)
    assert error(found.data[:, 0], truth) < 0.55 * error(counts / 4, truth)


def test_f09_series_that_do_not_fit_are_refused(measured: FusedSimulation) -> None:
    chemical, haadf = measured.chemical, measured.haadf
    with pytest.raises(InputError, match="one channel"):
        fuse(chemical, chemical)
    with pytest.raises(GeometryError, match="field of view"):
        fuse(chemical, haadf.replace(data=haadf.data[..., :-2]))
    with pytest.raises(GeometryError, match="pixels of"):
        fuse(chemical, haadf.replace(pixel_nm=2.0))
    with pytest.raises(InputError, match="FusedSettings"):
        fuse(chemical, haadf, settings=PublishedFusedSettings())


@pytest.fixture(scope="module")
def files(measured: FusedSimulation, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both series as files."""
    folder = tmp_path_factory.mktemp("fused")
    for name, one in zip(measured.chemical.channels, measured.chemical.data, strict=True):
        tifffile.imwrite(folder / f"{name}.tif", one)
    tifffile.imwrite(folder / "haadf.tif", measured.haadf.data[0])
    for name, tilts in (("c", measured.chemical.tilts_deg), ("h", measured.haadf.tilts_deg)):
        (folder / f"{name}.rawtlt").write_text("\n".join(map(str, tilts)))
    return folder


def command(files: Path, out: Path, *more: str) -> dict[str, Any]:
    """Run ``fuse`` on the files and give its report."""
    from napari_dipmtv.cli.app import app

    words = [f"--channel={name}={files / name}.tif" for name in ("Cu", "Co", "Au")]
    words += [f"--angles={files}/c.rawtlt", f"--haadf={files}/haadf.tif", f"--haadf-angles={files}/h.rawtlt"]
    words += ["--pixel-nm=1", f"--out={out}", "--set=start_iterations=10", *more, "--json"]
    done = CliRunner().invoke(app, ["fuse", *words])
    assert done.exit_code == 0, done.output
    report: dict[str, Any] = json.loads((out / "report.json").read_text())
    return report


def test_the_command_stops_and_goes_on_as_if_it_had_not(files: Path, tmp_path: Path) -> None:
    whole = command(files, tmp_path / "whole", "--set=iterations=9")
    assert whole["channels"] == ["Cu", "Co", "Au"]
    assert whole["settings"]["fused"]["iterations"] == 9
    first = command(files, tmp_path / "out", "--set=iterations=5", f"--checkpoint={tmp_path / 'run'}")
    assert first["iterations"] == 5
    rest = [f"--checkpoint={tmp_path / 'run'}", "--resume", "--more=4"]
    second = command(files, tmp_path / "out", *rest)
    assert second["resumed"]["from_iteration"] == 5
    for name in ("Cu", "Co", "Au"):
        one, two = (tifffile.imread(tmp_path / folder / f"volume_{name}.tif") for folder in ("whole", "out"))
        np.testing.assert_array_equal(one, two)


def test_a_project_names_the_haadf_and_the_method(files: Path, tmp_path: Path) -> None:
    from napari_dipmtv.io.project import Fuse, Inputs, Project, load_project, save_project
    from napari_dipmtv.pipeline import run_project

    inputs = Inputs(
        maps={name: files / f"{name}.tif" for name in ("Cu", "Co", "Au")},
        angles=files / "c.rawtlt",
        pixel_nm=1.0,
        haadf=files / "haadf.tif",
        haadf_angles=files / "h.rawtlt",
    )
    short = {"iterations": 3, "start_iterations": 5}
    project = Project(inputs=inputs, aligned=True, fuse=Fuse(settings=short), output=tmp_path / "results")
    read = load_project(save_project(project, tmp_path / "p.dipmtv.json"))
    assert read.inputs.haadf == files / "haadf.tif"
    run_project(read)
    report = json.loads((tmp_path / "results/report.json").read_text())
    assert report["method"] == "fused"
    assert report["iterations"] == 3
    assert any("haadf.tif" in str(name) for name in report["inputs"])
    with pytest.raises(InputError, match="angles"):
        Inputs.from_mapping({"map_folder": "x", "haadf": "y"})


def test_the_simulated_particle_comes_with_a_project_that_fuses_it(tmp_path: Path) -> None:
    from napari_dipmtv.cli.app import app
    from napari_dipmtv.io.project import Fuse, load_project
    from napari_dipmtv.pipeline import run_project

    words = ["field_voxels=16", "chemical_tilts=5", "haadf_tilts=7", "supersampling=1"]
    done = CliRunner().invoke(app, ["simulate-fused", f"--out={tmp_path}", *(f"--set={w}" for w in words)])
    assert done.exit_code == 0, done.output
    project = load_project(tmp_path / "fused.dipmtv.json")
    run_project(project.replace(output=tmp_path / "out", fuse=Fuse(settings={"iterations": 100})))
    truth, found = (
        np.stack([tifffile.imread(tmp_path / name / f"volume_{c}.tif") for c in ("Cu", "Co", "Au")])
        for name in ("truth", "out")
    )
    assert error(found, truth) < 0.45
    assert json.loads((tmp_path / "out/report.json").read_text())["losses"]["haadf"]


@pytest.mark.real_data
def test_real_maps_of_nanocubes_lose_noise_and_keep_edges(data_folder: Path, repository: Path) -> None:
    """The noise falls to a ninth; steps at edges of the HAADF stay as wide, within the error; a strong blur fails."""
    script = docs_script(repository)
    maps, found, haadf = script.nanocubes(slice(150, 278), iterations=120)
    blurred = ndimage.gaussian_filter(maps, (0, 3, 3))
    before, after, blur = (script.step_and_noise(x, haadf) for x in (maps, found, blurred))
    assert after.noise < 0.15 * before.noise
    widest = before.width_px + 2 * before.width_error_px
    assert after.width_px < widest < blur.width_px


def docs_script(repository: Path) -> Any:
    """The script that makes the figures and numbers of the page on fusing."""
    spec = importlib.util.spec_from_file_location(
        "make_docs_fused", repository / "scripts/make_docs_fused.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
