"""The simulated schedule behind the page on scale, and the numbers on that page."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest


@pytest.fixture(scope="module")
def schedule(repository: Path) -> Any:
    spec = importlib.util.spec_from_file_location("schedule", repository / "benchmarks/schedule.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # its dataclass asks for it
    spec.loader.exec_module(module)
    return module


def test_equal_jobs_without_losses_take_whole_rounds(schedule: Any) -> None:
    for gpus, rounds in ((1, 100), (8, 13), (64, 2), (200, 1)):
        went = schedule.simulated(np.full(100, 36.0), gpus, 1e12)
        assert went.hours == pytest.approx(rounds * 0.01)
        assert went.busy == pytest.approx(100 / (rounds * gpus))
        assert went.redone == 0


@pytest.mark.parametrize("gpus", [1, 8, 64])
def test_no_schedule_beats_the_work_or_the_longest_job(schedule: Any, gpus: int) -> None:
    jobs = np.random.default_rng(0).lognormal(3, 1, 300)
    went = schedule.simulated(jobs, gpus, 1e12)
    least = max(jobs.sum() / gpus, jobs.max())
    assert least <= 3600 * went.hours * (1 + 1e-12) <= least + jobs.max()  # Graham's bound for lists
    assert went.busy == pytest.approx(jobs.sum() / gpus / (3600 * went.hours))


def test_lost_gpus_cost_their_jobs_and_ten_minutes_and_lose_no_particle(schedule: Any) -> None:
    jobs = np.full(400, 600.0)
    quiet, rough = (schedule.simulated(jobs, 4, hours) for hours in (1e12, 2.0))
    # a job of ten minutes ends before a loss with probability exp(-1/12): 35 of 400 are expected to be begun again
    assert rough.redone == pytest.approx(400 * (np.exp(1 / 12) - 1), abs=4 * 35**0.5)
    begun_again = 3600 * (rough.hours - quiet.hours) * 4
    assert 600 * rough.redone < begun_again < 1200 * rough.redone + 4 * 1200
    assert rough.busy * rough.hours == pytest.approx(quiet.busy * quiet.hours)  # all particles, each once


@pytest.mark.slow
def test_the_page_says_what_the_simulation_gives(repository: Path) -> None:
    """Run with the step on a processor that the page was computed with; the GPU is arithmetic."""
    code = "import bench_campaign as b; print(list(b.campaigns(0.548 / 64**3)), b.gpu_step_s(128), b.gpu_step_s(512))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=repository / "benchmarks",
        capture_output=True,
        text=True,
        check=True,
    )
    page = (repository / "docs/scale.md").read_text(encoding="utf-8")
    rows = re.findall(r"\['([^']+)', '([\d.]+ h)', '(\d+ %)', '\d+'\]", done.stdout)
    assert len(rows) == 4
    for name, hours, busy in rows:
        line = next(line for line in page.splitlines() if line.startswith(f"| {name}"))
        assert hours in line, line
        assert busy in line, line
    small, large = (float(word) for word in done.stdout.split("]")[-1].split())
    assert f"{1e3 * small:.1f} ms at 128³ x 2 and {large:.2f} s at 512³ x 2" in page
