"""The commands ``sweep`` and ``batch``: files, the best put to use, stop and resume, a scheduler by address."""

from __future__ import annotations

import csv
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tifffile
from typer.testing import CliRunner, Result

from napari_dipmtv.cli.app import app
from napari_dipmtv.data import TiltSeries
from napari_dipmtv.io.map_folder import save_maps
from napari_dipmtv.io.project import Inputs, Project, Reconstruct, save_project

PATIENCE_S = 600.0  # several processes must import torch, on a machine that may be busy
SWEEP = [
    "--method=cs-tv",
    "--base=iterations=15",
    "--axis=tv_strength=0.05,0.2",
    "--axis=tv=vectorial,per-channel",
]


@pytest.fixture
def maps(counted_ball: TiltSeries, tmp_path: Path) -> Path:
    save_maps(counted_ball, tmp_path / "aligned")
    return tmp_path / "aligned"


def called(*words: object) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


def scores(folder: Path) -> dict[str, float]:
    """Score of every finished trial by its point."""
    lines = (folder / "sweep.jsonl").read_text().splitlines()
    return {json.dumps(r["point"], sort_keys=True): r["score"] for r in map(json.loads, lines)}


def test_a_grid_leaves_table_heat_map_and_the_best_to_use(maps: Path, tmp_path: Path) -> None:
    out = tmp_path / "search"
    done = called("sweep", maps, "--out", out, *SWEEP)
    assert done.exit_code == 0, done.output
    with (out / "sweep.csv").open(encoding="utf-8-sig") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 4
    assert float(rows[0]["score"]) == min(scores(out).values())
    best = json.loads((out / "best.json").read_text())
    assert {name: str(value) for name, value in best["searched"].items()} == {
        name: rows[0][name] for name in ("tv_strength", "tv")
    }
    assert any(out.glob("*sweep*.png"))
    words = done.output.replace("\n", " ").split("Use the best: ")[1].split()[:6]
    assert words[:2] == ["--method", "cs-tv"]
    used = called("reconstruct", "--maps", maps, "--out", tmp_path / "used", *words, "--set=iterations=3")
    assert used.exit_code == 0, used.output
    settings = json.loads((tmp_path / "used/report.json").read_text())["settings"]["cs-tv"]
    assert settings["tv_strength"] == best["settings"]["tv_strength"]


@pytest.mark.parametrize("search", ["random", "bayesian"])
def test_other_searches_run_and_are_not_computed_twice(maps: Path, tmp_path: Path, search: str) -> None:
    pytest.importorskip("optuna")
    words = ["sweep", maps, "--out", tmp_path / "s", "--method=sirt", "--axis=iterations=1:30:log"]
    words += [f"--set=search={search}", "--set=trials=4", "--json"]
    first = json.loads(called(*words).stdout)
    before = scores(tmp_path / "s")
    assert json.loads(called(*words).stdout)["trials"] == first["trials"]
    assert scores(tmp_path / "s") == before
    assert first["score"] == min(before.values())


def test_a_table_of_projects_is_run_and_what_fails_is_told(counted_ball: TiltSeries, tmp_path: Path) -> None:
    for name, stack in zip(counted_ball.channels, counted_ball.data, strict=True):
        tifffile.imwrite(tmp_path / f"{name}.tif", stack)
    np.savetxt(tmp_path / "angles.txt", counted_ball.tilts_deg)
    inputs = Inputs(
        maps={n: tmp_path / f"{n}.tif" for n in ("a", "b")}, angles=tmp_path / "angles.txt", pixel_nm=1.0
    )
    quick = Reconstruct(method="sirt", settings={"iterations": 3}, device="cpu")
    save_project(Project(inputs=inputs, aligned=True, reconstruct=quick), tmp_path / "p.dipmtv.json")
    table = tmp_path / "t.csv"
    head = "project,output,reconstruct.settings.iterations,inputs.pixel_nm\n"
    table.write_text(f"{head}p.dipmtv.json,one,2,\np.dipmtv.json,two,,2.5\n")
    done = called("batch", table)
    assert done.exit_code == 0, done.output
    reports = [json.loads((tmp_path / name / "report.json").read_text()) for name in ("one", "two")]
    assert [report["iterations"] for report in reports] == [2, 3]
    assert "done before" in called("batch", table).output
    (tmp_path / "a.tif").write_bytes(b"no image")
    failed = called("batch", table, "--json")
    assert failed.exit_code == 3
    assert all("a.tif" in one["error"] for one in json.loads(failed.stdout)["projects"])


def program(*words: object) -> subprocess.Popen[bytes]:
    """The command in a process of its own, so that it can be killed or interrupted."""
    line = [sys.executable, "-m", "napari_dipmtv", *map(str, words)]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    # behind a shell that runs the tests in the background Ctrl-C is ignored, and children inherit that
    return subprocess.Popen(line, preexec_fn=_hears_ctrl_c, **quiet)  # type: ignore[call-overload]


def _hears_ctrl_c() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def waited(path: Path, lines: int, seconds: float = PATIENCE_S) -> None:
    """Wait until a file has so many lines."""
    end = time.monotonic() + seconds
    while not path.exists() or len(path.read_bytes().splitlines()) < lines:
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.timeout(3 * PATIENCE_S)
@pytest.mark.skipif(os.name == "nt", reason="no SIGINT for one process there")
def test_an_interrupted_search_loses_nothing_finished(maps: Path, tmp_path: Path) -> None:
    words = ["sweep", maps, "--out", tmp_path / "s", "--method=cs-tv", "--axis=tv_strength=0.01:1:log:12"]
    words += ["--base=iterations=3000", "--base=tolerance=0"]
    run = program(*words)
    waited(tmp_path / "s/sweep.jsonl", 2)
    run.send_signal(signal.SIGINT)
    assert run.wait(PATIENCE_S) == 130
    finished = (tmp_path / "s/sweep.jsonl").read_text()
    assert 2 <= len(finished.splitlines()) < 12
    assert program(*words).wait(PATIENCE_S) == 0
    assert (tmp_path / "s/sweep.jsonl").read_text().startswith(finished)
    assert len(scores(tmp_path / "s")) == 12


@pytest.fixture
def scheduler() -> Iterator[tuple[str, list[subprocess.Popen[bytes]]]]:
    """A Dask scheduler and two workers as processes of their own, as on other machines."""
    pytest.importorskip("distributed")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{free.getsockname()[1]}"
    dask = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--no-dashboard", "--host", address]
    one = [sys.executable, "-m", "distributed.cli.dask_worker", address, "--no-dashboard", "--no-nanny"]
    one += ["--nthreads", "1"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    processes = [subprocess.Popen(line, **quiet) for line in (dask, one, one)]  # type: ignore[call-overload]
    try:
        yield address, processes[1:]
    finally:
        for process in processes:
            process.kill()
            process.wait()


@pytest.mark.slow
@pytest.mark.timeout(3 * PATIENCE_S)
def test_workers_at_an_address_give_the_bits_of_one_process_though_one_is_killed(
    scheduler: tuple[str, list[subprocess.Popen[bytes]]], maps: Path, tmp_path: Path
) -> None:
    address, workers = scheduler
    words = ["sweep", maps, "--method=cs-tv", "--axis=tv_strength=0.01:1:log:10", "--base=iterations=1500"]
    words += ["--base=tolerance=0"]
    run = program(*words, "--out", tmp_path / "there", "--scheduler", address)
    waited(tmp_path / "there/sweep.jsonl", 3)
    workers[0].kill()
    assert run.wait(PATIENCE_S) == 0
    assert called(*words, "--out", tmp_path / "here").exit_code == 0
    assert scores(tmp_path / "there") == scores(tmp_path / "here")
    assert len(scores(tmp_path / "here")) == 10
