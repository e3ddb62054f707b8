"""Jobs on Dask workers: the same bits as here, lost workers replaced, errors told."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from napari_dipmtv.data import TiltSeries
from napari_dipmtv.errors import InputError
from napari_dipmtv.settings.tomo import CsTvSettings
from napari_dipmtv.states import run
from napari_dipmtv.sweep import workers
from napari_dipmtv.sweep.search import sweep
from napari_dipmtv.sweep.space import parse_axis
from napari_dipmtv.sweep.workers import cluster, distributed, held, own_gpu, serial, threads_limited

pytest.importorskip("distributed")
AXES = [parse_axis("tv_strength=0.05,0.1,0.3", CsTvSettings)]


def dies_once(mark: str, number: int) -> int:
    """Kill the own process the first time, so that only a second worker can answer."""
    flag = Path(mark)
    if number == 1 and not flag.exists():
        flag.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return number * number


def refuses(number: int) -> int:
    if number == 1:
        raise InputError("no ones")
    time.sleep(0.01)
    return number


@pytest.mark.skipif(os.name == "nt", reason="no SIGKILL there")
def test_a_cluster_gives_the_bits_of_one_process_and_survives_a_lost_worker(
    client: Any, counted_ball: TiltSeries, tmp_path: Path
) -> None:
    base = CsTvSettings(iterations=20)
    here = run(sweep(counted_ball, AXES, None, "cs-tv", base)).value
    there = run(
        sweep(counted_ball, AXES, None, "cs-tv", base, client=client, ledger=tmp_path / "s.jsonl")
    ).value
    mark = held(client, str(tmp_path / "died"))
    squares = dict(distributed(dies_once, {str(n): (mark, n) for n in range(4)}, client))
    with pytest.raises(InputError, match="no ones"):
        dict(distributed(refuses, {str(n): (n,) for n in range(3)}, client))
    assert [t.score for t in there.trials] == [t.score for t in here.trials]
    assert squares == {"0": 0, "1": 1, "2": 4, "3": 9}
    assert (tmp_path / "died").exists()


def test_local_workers_inherit_the_threads_of_a_job_and_this_process_gets_its_own_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    seen: list[tuple[str, str]] = []

    @contextmanager
    def begun(*_: Any, **__: Any) -> Iterator[str]:
        seen.append((os.environ["OMP_NUM_THREADS"], os.environ["MKL_NUM_THREADS"]))
        yield "it"

    monkeypatch.setattr(workers, "_package", lambda: SimpleNamespace(LocalCluster=begun, Client=begun))
    with cluster(None, 2, 3):
        pass
    assert seen == [("3", "3")] * 2
    assert os.environ["OMP_NUM_THREADS"] == "5"
    assert "MKL_NUM_THREADS" not in os.environ


def test_workers_with_a_number_share_the_gpus_out() -> None:
    assert [own_gpu(worker, 2) for worker in range(4)] == [0, 1, 0, 1]
    assert [own_gpu(f"node-7-{number}", 4) for number in range(5)] == [0, 1, 2, 3, 0]
    assert own_gpu(None, 4) is None
    assert own_gpu("tcp://node-7:40000", 4) is None
    assert own_gpu(0, 1) is None
    assert own_gpu("tcp://10.0.0.5:40000", 4) is None


def test_a_job_computes_on_the_gpu_of_its_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[int] = []
    monkeypatch.setattr("torch.cuda.device_count", lambda: 4)
    monkeypatch.setattr("torch.cuda.set_device", taken.append)
    monkeypatch.setattr("distributed.get_worker", lambda: SimpleNamespace(name=6))
    with threads_limited(1):
        assert taken == [2]


def test_serial_jobs_keep_their_order() -> None:
    assert list(serial(pow, {"b": (2, 3), "a": (3, 2)})) == [("b", 8), ("a", 9)]


def test_an_address_where_nobody_answers_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="scheduler"), cluster("nonsense-address", 0, 1):
        pass


def test_local_workers_spend_their_time_on_jobs(client: Any) -> None:
    """What Dask does beside is turned down before they begin; they are told so by their parent."""
    assert client.run(_profiled) == dict.fromkeys(client.run(os.getpid), False)


def _profiled() -> bool:
    import dask

    return bool(dask.config.get("distributed.worker.profile.enabled"))
