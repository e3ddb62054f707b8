"""Searches beyond the method: fused methods, alignment and unmixing, judged by data that stay the same."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tifffile
from typer.testing import CliRunner

from napari_dipmtv.cli.app import app
from napari_dipmtv.data import ChannelMaps, TiltSeries, Volume
from napari_dipmtv.errors import InputError
from napari_dipmtv.io.map_folder import save_maps
from napari_dipmtv.io.project import Inputs, Project, Reconstruct, load_project, save_project
from napari_dipmtv.phantom import simulate
from napari_dipmtv.phantom.fused import FusedSimulation, simulate_fused
from napari_dipmtv.settings.align import AlignSettings
from napari_dipmtv.settings.fused import FusedPhantomSettings, FusedSettings
from napari_dipmtv.settings.phantom import PhantomSettings
from napari_dipmtv.settings.simulation import SimulationSettings
from napari_dipmtv.settings.sweep import SweepSettings
from napari_dipmtv.settings.tomo import SirtSettings
from napari_dipmtv.states import run
from napari_dipmtv.sweep.judging import pairs, thinned_pair
from napari_dipmtv.sweep.search import SweepTable, sweep
from napari_dipmtv.sweep.space import Axis
from napari_dipmtv.sweep.task import Task

QUICK = FusedSettings(iterations=40, start_iterations=20)
SIRT = SirtSettings(iterations=5)  # more follow the noise
TRUTH = SweepSettings(scoring="truth")


@pytest.fixture(scope="module")
def both() -> FusedSimulation:
    return simulate_fused(FusedPhantomSettings(field_voxels=16, haadf_tilts=15, supersampling=1))


@pytest.fixture
def drifted(counted_ball: TiltSeries) -> ChannelMaps:
    """The counted ball, every view displaced along the tilt axis by up to three pixels."""
    moved = [
        np.roll(view, (5 * t) % 7 - 3, axis=1) for t, view in enumerate(counted_ball.data.swapaxes(0, 1))
    ]
    return ChannelMaps(
        np.stack(moved, axis=1),
        counted_ball.channels,
        counted_ball.tilts_deg,
        1.0,
        counts_per_unit=counted_ball.counts_per_unit,
    )


def scores(table: SweepTable) -> list[float]:
    assert all(trial.score is not None for trial in table.trials), [t.error for t in table.trials]
    return [trial.score or 0.0 for trial in table.trials]


def test_unseen_chemistry_chooses_the_strength_of_a_fused_method_that_the_truth_wants(
    both: FusedSimulation,
) -> None:
    axes = [Axis("tv_strength", (0.0005, 0.01, 2.0))]
    ways = ((TRUTH, both.truth), (SweepSettings(), None), (SweepSettings(scoring="held-out"), None))
    for how, truth in ways:
        found = run(sweep(both.chemical, axes, how, "fused", QUICK, haadf=both.haadf, truth=truth)).value
        assert found.best().point == {"tv_strength": 0.01}, how.scoring
        assert found.best_settings() == QUICK.replace(tv_strength=0.01)


def test_unseen_chemistry_and_truth_ask_for_the_haadf(both: FusedSimulation) -> None:
    axes = [Axis("haadf_weight", (0.0, 0.2))]
    for how, truth in ((TRUTH, both.truth), (SweepSettings(), None)):
        without, with_haadf = scores(
            run(sweep(both.chemical, axes, how, "fused", QUICK, haadf=both.haadf, truth=truth)).value
        )
        assert with_haadf < 0.99 * without


def test_an_alignment_is_searched_with_and_without_the_truth(drifted: ChannelMaps, ball: Volume) -> None:
    """Views that lie where they were recorded must lose against views that were aligned."""
    axes = [Axis("align.start", ("none", "centre of mass"))]
    stages = {"align": AlignSettings(rounds=0, find_axis_angle=False)}
    for how, truth in ((SweepSettings(), None), (TRUTH, ball)):
        found = run(sweep(drifted, axes, how, "sirt", SIRT, stages=stages, truth=truth)).value
        assert scores(found)[1] < 0.8 * scores(found)[0]
        assert found.best_stages()["align"] == stages["align"].replace(start="centre of mass")
        assert found.best_settings() == SIRT


@pytest.fixture(scope="module")
def small_series() -> SimulationSettings:
    return SimulationSettings(
        phantom=PhantomSettings(field_voxels=16, voxel_nm=2.0, size_nm=18.0),
        dose_e_per_a2=1e5,
        tilt_start_deg=-40,
        tilt_stop_deg=40,
        tilt_step_deg=40,
    )


def test_the_judge_of_unmixing_is_the_same_for_every_point(small_series: SimulationSettings) -> None:
    made = simulate(small_series)
    fixed = {"align": AlignSettings(rounds=0, find_axis_angle=False)}
    task = Task(made.series, "sirt", SIRT, SweepSettings(), stages=fixed, regions=made.regions)
    drawn = []
    for value in (0.0, 300.0):
        stages = task.at({"unmix.readout_electrons": value})[1]
        ((fitted, judge, haadf),) = pairs(task, stages)
        assert haadf is None
        assert judge is not None
        assert fitted.alignment is judge.alignment
        drawn.append((fitted, judge))
    assert not np.allclose(drawn[0][0].data, drawn[1][0].data, rtol=1e-3)
    # the same electrons unmixed the same way, up to the alignment that the fitted part found
    totals = [judge.data.sum(axis=(1, 2, 3)) for _, judge in drawn]
    np.testing.assert_allclose(*totals, rtol=0.02)
    whole = made.fe_maps.data.sum(axis=(1, 2, 3))
    shares = [part.data.sum(axis=(1, 2, 3)) for part in drawn[0]]  # in the units of all electrons
    np.testing.assert_allclose(shares[0] / shares[0].sum(), shares[1] / shares[1].sum(), atol=0.1)
    np.testing.assert_allclose(shares[0] / shares[0].sum(), whole / whole.sum(), atol=0.25)
    assert shares[0].sum() == pytest.approx(shares[1].sum(), rel=0.1)


def test_electrons_are_dealt_to_parts_that_do_not_know_of_each_other(
    small_series: SimulationSettings,
) -> None:
    pair = simulate(small_series).series.tilts[0]
    counts = np.full_like(pair.core_loss.counts, 6.3)
    counts[0] = -1.25  # read-out noise
    pair = type(pair)(pair.low_loss, pair.core_loss.replace(counts=counts))
    kept, rest = (part.core_loss.counts for part in thinned_pair(pair, 0.75, np.random.default_rng(0)))
    assert kept.mean(axis=(1, 2)) == pytest.approx(0.75 * counts.mean(axis=(1, 2)), rel=0.05)
    assert (kept + rest).mean(axis=(1, 2)) == pytest.approx(counts.mean(axis=(1, 2)), rel=0.03)
    noisy = np.random.default_rng(1).poisson(6.0, counts.shape).astype(np.float32)
    pair = type(pair)(pair.low_loss, pair.core_loss.replace(counts=noisy))
    kept, rest = (
        part.core_loss.counts.ravel() for part in thinned_pair(pair, 0.75, np.random.default_rng(2))
    )
    assert abs(np.corrcoef(kept, rest)[0, 1]) < 4 / len(kept) ** 0.5
    np.testing.assert_array_equal(kept + rest, noisy.ravel())


def test_searches_that_would_choose_their_judge_or_miss_their_data_are_refused(
    drifted: ChannelMaps, counted_ball: TiltSeries, both: FusedSimulation, small_series: SimulationSettings
) -> None:
    rounds, held_out = [Axis("align.rounds", (0, 1))], SweepSettings(scoring="held-out")
    with pytest.raises(InputError, match=r"align\.rounds"):
        next(sweep(counted_ball, rounds, None, "sirt"))
    with pytest.raises(InputError, match="aligned maps"):
        next(sweep(drifted, rounds, held_out, "sirt"))
    with pytest.raises(InputError, match="changes them"):
        next(sweep(drifted, [Axis("align.exclude_views", ((), (1,)))], None, "sirt"))
    with pytest.raises(InputError, match=r"prepare\.gain"):
        next(sweep(simulate(small_series).series, [Axis("prepare.gain", (1.0, 2.0))], None, "sirt"))
    with pytest.raises(InputError, match="--haadf"):
        next(sweep(both.chemical, [Axis("gamma", (1.0, 1.2))], None, "fused"))
    with pytest.raises(InputError, match="fused method"):
        next(sweep(both.chemical, [Axis("iterations", (1, 2))], None, "sirt", haadf=both.haadf))
    raw = ChannelMaps(both.haadf.data, ("HAADF",), both.haadf.tilts_deg, 1.0)
    with pytest.raises(InputError, match="Align both"):
        next(sweep(both.chemical, [Axis("gamma", (1.0, 1.2))], None, "fused", haadf=raw))


def test_maps_and_images_are_aligned_together_for_every_point_and_the_judge_with_them(
    both: FusedSimulation,
) -> None:
    maps, images = (
        ChannelMaps(s.data, s.channels, s.tilts_deg, s.pixel_nm, counts_per_unit=s.counts_per_unit)
        for s in (both.chemical, both.haadf)
    )
    fixed = {"align": AlignSettings(find_axis_angle=False)}
    task = Task(maps, "fused", QUICK, SweepSettings(share=0.6), stages=fixed, haadf=images)
    ((fitted, judge, haadf),) = pairs(task, task.at({"align.rounds": 0})[1])
    assert judge is not None
    assert haadf is not None
    assert fitted.alignment is judge.alignment
    assert fitted.alignment is not None
    assert haadf.alignment is not None
    assert fitted.alignment.axis_offset_px == haadf.alignment.axis_offset_px
    assert fitted.counts_per_unit == pytest.approx(0.6 * both.chemical.counts_per_unit)
    assert judge.counts_per_unit == pytest.approx(0.4 * both.chemical.counts_per_unit)
    assert haadf.data.sum() == pytest.approx(images.data.sum(), rel=0.05)  # all of it, for every point


def called(*words: object) -> str:
    done = CliRunner().invoke(app, [str(word) for word in words])
    assert done.exit_code == 0, done.output
    return done.stdout


def test_the_command_searches_a_fused_method(both: FusedSimulation, tmp_path: Path) -> None:
    save_maps(both.chemical, tmp_path / "maps")
    tifffile.imwrite(tmp_path / "h.tif", both.haadf.data[0])
    np.savetxt(tmp_path / "h.txt", both.haadf.tilts_deg)
    words = ["sweep", tmp_path / "maps", "--haadf", tmp_path / "h.tif", "--haadf-angles", tmp_path / "h.txt"]
    words += [
        "--axis=haadf_weight=0,0.2",
        "--axis=gamma=1,1.5",
        "--base=iterations=4",
        "--base=start_iterations=3",
    ]
    told = json.loads(called(*words, "--out", tmp_path / "s", "--json"))
    assert told["method"] == "fused"
    assert len({trial["score"] for trial in told["trials"]}) >= 3
    assert {n: told["settings"][n] for n in ("haadf_weight", "gamma")} == {
        n: told["trials"][0][n] for n in ("haadf_weight", "gamma")
    }


def test_a_project_is_searched_from_the_first_searched_stage_and_the_best_is_a_project(
    drifted: ChannelMaps, tmp_path: Path
) -> None:
    save_maps(drifted, tmp_path / "maps")
    quick = Reconstruct(method="sirt", settings={"iterations": 5}, device="cpu")
    fixed = AlignSettings(rounds=0, find_axis_angle=False)
    project = Project(inputs=Inputs(map_folder=tmp_path / "maps"), align=fixed, reconstruct=quick)
    path = save_project(project, tmp_path / "p.dipmtv.json")
    words = ["sweep", path, "--axis=align.start=none,centre of mass", "--axis=iterations=2,5"]
    said = called(*words, "--out", tmp_path / "s")
    assert "napari-dipmtv run" in said
    best = load_project(tmp_path / "s/best.dipmtv.json")
    facts = json.loads((tmp_path / "s/best.json").read_text())
    assert best.align == fixed.replace(start="centre of mass")
    assert best.align.model_dump(mode="json") == facts["stages"]["align"]
    assert best.reconstruct.method_settings().model_dump(mode="json") == facts["settings"]
    assert best.output == tmp_path / "s/results"
    assert called("run", tmp_path / "s/best.dipmtv.json").strip().endswith("report.json")
    refused = CliRunner().invoke(app, [str(w) for w in (*words, "--method=sirt", "--out", tmp_path / "t")])
    assert refused.exit_code == 2
    assert "--method" in refused.output


def test_a_search_of_the_method_of_a_project_unmixes_and_aligns_once(
    drifted: ChannelMaps, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from napari_dipmtv.pipeline import projects

    save_maps(drifted, tmp_path / "maps")
    inputs = Inputs(map_folder=tmp_path / "maps")
    fixed = AlignSettings(rounds=0, find_axis_angle=False)
    quick = Reconstruct(method="sirt", device="cpu")
    path = save_project(Project(inputs=inputs, align=fixed, reconstruct=quick), tmp_path / "p.dipmtv.json")
    calls: list[object] = []
    real = projects.align
    monkeypatch.setattr(projects, "align", lambda *a, **k: calls.append(a) or real(*a, **k))
    told = json.loads(called("sweep", path, "--axis=iterations=1,2,3", "--out", tmp_path / "s", "--json"))
    assert len(calls) == 1
    assert len(told["trials"]) == 3
    assert "stages" not in told
