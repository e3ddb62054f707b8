"""What a reconstruction will take: memory beside the measured peak, time by a trial on a slab."""

from __future__ import annotations

import itertools
import json
import math
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from napari_dipmtv.data import TiltSeries
from napari_dipmtv.errors import DeviceError, InputError
from napari_dipmtv.settings.tomo import METHODS, DipSettings, Method
from napari_dipmtv.tomo import devices, memory
from napari_dipmtv.tomo import estimate as module
from napari_dipmtv.tomo.estimate import estimate, estimate_states
from napari_dipmtv.tomo.memory import memory_bytes, smaller

CPU = torch.device("cpu")
FLOAT = DipSettings(
    precision="float32",
    filters=(8, 16, 32, 64),
    skips=(4, 4, 4, 4),
    network_input="random",
    input_channels=16,
)
linux = pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="peaks are read from Linux")
QUICK = DipSettings(filters=(4, 4), skips=(2, 2), precision="float32", iterations=7)


def maps(ny: int, nx: int, channels: int = 2) -> TiltSeries:
    data = np.random.default_rng(0).poisson(5, (channels, 9, ny, nx)).astype(np.float32)
    names = tuple("abcd"[:channels])
    return TiltSeries(data, names, tuple(np.linspace(-70, 70, 9)), 0.5, counts_per_unit=1.0)


def peak_and_estimate(repository: Path, n: int, method: str, precision: str) -> tuple[float, float]:
    """Measured in a fresh process, which nothing else has filled."""
    script = repository / "benchmarks/bench_scaling.py"
    command = [sys.executable, str(script), "--one", str(n), method, precision]
    row = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return row["peak"], row["estimate"]


@linux
@pytest.mark.parametrize(("n", "method"), [(32, "dipm-tv"), (64, "cs-tv")])
def test_f29_memory_is_right_within_a_factor_of_one_and_a_half(repository: Path, n: int, method: str) -> None:
    peak, said = peak_and_estimate(repository, n, method, "float32")
    assert peak / 1.5 < said < 1.5 * peak


@linux
@pytest.mark.slow
@pytest.mark.parametrize(
    ("n", "method", "precision"),
    [
        (96, "sirt", "float32"),
        (128, "cs-tv", "float32"),
        (48, "dipm-tv", "bfloat16"),
        (64, "dipm-tv", "float32"),
        (64, "dip-tv", "float32"),
        (96, "dipm-tv", "float32"),
    ],
)
def test_f29_memory_of_larger_runs(repository: Path, n: int, method: str, precision: str) -> None:
    peak, said = peak_and_estimate(repository, n, method, precision)
    assert peak / 1.5 < said < 1.5 * peak


def test_the_usual_run_fits_a_laptop() -> None:
    assert 2.0e9 < memory_bytes(maps(128, 128), "dipm-tv", FLOAT, CPU) < 6e9


def test_memory_grows_with_what_is_asked() -> None:
    small, large = maps(32, 32), maps(64, 64)
    for method, model in METHODS.items():
        assert memory_bytes(small, method, model(), CPU) < memory_bytes(large, method, model(), CPU)
    base = memory_bytes(large, "dipm-tv", FLOAT, CPU)
    assert memory_bytes(large, "dipm-tv", FLOAT.replace(precision="bfloat16"), CPU) < base
    assert memory_bytes(large, "dipm-tv", FLOAT.replace(filters=(16, 32, 64, 128)), CPU) > base
    assert memory_bytes(large, "dipm-tv", FLOAT.replace(iterations=1), CPU) == base


def test_counting_allocates_nothing_and_leaves_random_numbers_alone() -> None:
    torch.manual_seed(5)
    wanted = torch.rand(3)
    torch.manual_seed(5)
    huge = memory_bytes(maps(40, 1024, channels=1), "dipm-tv", FLOAT, CPU)
    torch.testing.assert_close(torch.rand(3), wanted)
    assert huge > 30e9  # more than the machine of most who run this test has


def test_f29_the_ladder_gets_smaller_at_each_rung() -> None:
    series = maps(64, 64)
    ways = list(smaller(series, "dipm-tv", FLOAT, CPU))
    assert [way.words.split("=")[0] for way in ways] == [
        "precision",
        "filters",
        "filters",
        "maps cropped to 32 rows, one half at a time",
    ]
    sizes = [memory_bytes(series, "dipm-tv", FLOAT, CPU), *(way.memory_bytes for way in ways)]
    assert all(after < before for before, after in itertools.pairwise(sizes))
    assert ways[1].settings == FLOAT.replace(precision="bfloat16", filters=(4, 8, 16, 32))


def test_f29_a_gpu_too_small_is_offered_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = torch.device("cuda")
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (3 * 10**8, 10**9))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda _: 10**8)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda _: 4 * 10**7)
    assert devices.available_bytes(gpu) == 36 * 10**7
    assert "cpu" in [way.device for way in smaller(maps(64, 64), "cs-tv", METHODS["cs-tv"](), gpu)]
    assert "device cpu" in memory.advice(maps(64, 64), "dipm-tv", FLOAT, gpu)


def test_f29_too_little_memory_is_said_before_any_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "available_bytes", lambda _: 10**8)
    monkeypatch.setattr(module, "reconstruct_states", lambda *_: pytest.fail("a step was taken"))
    found = estimate(maps(64, 64), "dipm-tv", FLOAT, "cpu")
    assert not found.fits
    assert math.isnan(found.seconds)
    with pytest.raises(DeviceError, match=r"about 5\d\d MB .* about 100 MB free\. .*precision=bfloat16"):
        found.must_fit()


def test_scarce_memory_is_noted_but_not_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    series = maps(20, 20)
    needed = memory_bytes(series, "dipm-tv", QUICK, CPU)
    monkeypatch.setattr(devices, "available_bytes", lambda _: int(0.9 * needed))
    found = estimate(series, "dipm-tv", QUICK, "cpu")
    assert found.fits
    assert "try in this order" in found.note
    found.must_fit()


@pytest.mark.parametrize("method", METHODS)
def test_time_comes_from_a_trial_on_a_slab(method: Method, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a clock that ticks once per look: each step takes one second on 32 of 48 rows."""
    ticks = itertools.count()
    monkeypatch.setattr(module, "time", SimpleNamespace(perf_counter=lambda: float(next(ticks))))
    settings = QUICK if method.startswith("dip") else METHODS[method]()
    wanted = getattr(settings, "iterations", 1)
    states = list(estimate_states(maps(48, 20), method, settings, "cpu"))
    first, last = states[0].snapshot(), states[-1].snapshot()
    assert math.isnan(first.seconds)
    assert first.memory_bytes == memory_bytes(maps(48, 20), method, settings, CPU)
    assert last.seconds_per_iteration == pytest.approx(1.5)
    assert last.seconds == pytest.approx(1.5 * wanted)
    assert last.available_bytes > 0
    assert [state.iteration for state in states] == list(range(len(states)))
    assert states[-1].iteration == states[-1].total == min(3, wanted)


def test_a_channel_that_lives_in_other_rows_does_not_upset_the_trial() -> None:
    series = maps(40, 20)
    data = series.data.copy()
    data[0, :, 20:] *= 100
    data[0, :, :8] = 0
    data[1, :, 6:] = 0  # nothing of it in the slab around the brightest row
    found = estimate(series.replace(data=data), "sirt", None, "cpu")
    assert found.seconds > 0


def test_what_the_run_would_refuse_the_estimate_refuses() -> None:
    with pytest.raises(InputError, match="settings of sirt"):
        estimate(maps(20, 20), "sirt", DipSettings())
    with pytest.raises(InputError, match="levels of filters"):
        estimate(maps(16, 20), "dipm-tv", FLOAT, "cpu")
