"""Repeats of a trust study on workers: the numbers of one process, nothing lost, whoever is stopped or killed."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from test_sweep_commands import PATIENCE_S, called, program

from napari_dipmtv.data import TiltSeries, Volume
from napari_dipmtv.inspect import segment
from napari_dipmtv.io.map_folder import save_maps
from napari_dipmtv.phantom import count_series, make_volume
from napari_dipmtv.settings.phantom import PhantomSettings
from napari_dipmtv.settings.tomo import SirtSettings
from napari_dipmtv.states import State, run
from napari_dipmtv.sweep import repeats
from napari_dipmtv.sweep.repeats import OnWorkers, Shelf
from napari_dipmtv.sweep.workers import threads_limited
from napari_dipmtv.trust.cavity_test import cavity_test
from napari_dipmtv.trust.ensemble import ensemble
from napari_dipmtv.trust.held_out import held_out
from napari_dipmtv.trust.null_test import FEWEST, detection, null_test
from napari_dipmtv.trust.repeats import Arrays, Maker, Repeats, here
from napari_dipmtv.trust.void import find_void

MAKER = Maker("sirt", SirtSettings(iterations=5), "cpu")


def squares(offset: int, number: int) -> Iterator[str | Arrays]:
    yield f"squaring {number}"
    yield np.array(number**2 + offset), np.full((2, 2), number, np.float32)


class Backwards:
    """Ends the last job first, and remembers which were asked for."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.done: list[str] = []
        monkeypatch.setattr(repeats, "distributed", self)
        monkeypatch.setattr(repeats, "held", lambda client, value: value)

    def __call__(
        self, work: Any, jobs: Mapping[str, tuple[Any, ...]], client: Any
    ) -> Iterator[tuple[str, Any]]:
        for key, arguments in reversed(jobs.items()):
            self.done.append(key)
            yield key, work(*arguments)


def results(found: Iterator[str | Arrays]) -> list[int]:
    return [int(one[0]) for one in found if not isinstance(one, str)]


def test_results_come_in_their_order_with_words_between(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    Backwards(monkeypatch)
    told = list(OnWorkers(None, 1, Shelf(tmp_path / "jobs"))(squares, 7, range(2, 6), "p"))
    assert [one for one in told if isinstance(one, str)] == [f"{n} of 4 on workers" for n in (1, 2, 3, 4)]
    assert results(iter(told)) == [11, 16, 23, 32] == results(here(squares, 7, range(2, 6)))


def test_what_had_ended_before_a_stop_is_not_done_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    jobs, shelf = Backwards(monkeypatch), Shelf(tmp_path / "jobs")
    stopped = OnWorkers(None, 1, shelf)(squares, 0, range(5), "p")
    assert list(islice(stopped, 2)) == ["1 of 5 on workers", "2 of 5 on workers"]
    stopped.close()  # type: ignore[attr-defined]
    (shelf.folder / "p-3.npz").write_bytes(b"half")
    assert jobs.done == ["4", "3"]
    again = results(OnWorkers(None, 1, shelf)(squares, 0, range(5), "p"))
    assert again == [0, 1, 4, 9, 16]
    assert jobs.done == ["4", "3", "3", "2", "1", "0"]  # the damaged one too
    assert results(OnWorkers(None, 1, shelf)(squares, 1, range(3, 5), "other study")) == [10, 17]
    assert results(OnWorkers(None, 1, shelf)(squares, 2, range(3, 5))) == [
        11,
        18,
    ]  # without a name: not stored
    assert results(OnWorkers(None, 1, shelf)(squares, 3, range(3, 5))) == [12, 19]
    shelf.clear()
    assert not shelf.folder.exists()


@pytest.fixture(scope="module")
def hollow() -> Volume:
    size = {"field_voxels": 22, "size_nm": 14.0, "skin_nm": 1.0, "shell_nm": 1.5}
    void = {"void_radius_nm": 2.2, "void_x_nm": 0, "void_y_nm": 0, "void_z_nm": 0}
    return make_volume(PhantomSettings.from_mapping({**size, **void}))


@pytest.fixture(scope="module")
def counted(hollow: Volume) -> TiltSeries:
    return count_series(hollow, tuple(np.linspace(-70, 70, 5).tolist()), relative_noise=0.2, seed=0)


Part = Callable[[Volume, TiltSeries, Repeats], dict[str, Any]]


def last(states: Iterator[State[Any]]) -> dict[str, Any]:
    """The last checkpoint: everything that a part of a study has found."""
    reached: list[State[Any]] = []
    run(states, on_state=lambda state: reached.append(state) if state.checkpoint else None)
    assert reached[-1].checkpoint is not None
    return reached[-1].checkpoint()


def null(volume: Volume, series: TiltSeries, done_by: Repeats) -> dict[str, Any]:
    feature, _ = find_void(volume, segment(volume))
    return last(null_test(series, feature, volume, MAKER, repeats=2, sizes_nm=(3.0,), done_by=done_by))


def planted(volume: Volume, series: TiltSeries, done_by: Repeats) -> dict[str, Any]:
    feature, _ = find_void(volume, segment(volume))
    levels = {"strengths": np.linspace(0, 1, 4 * FEWEST).reshape(FEWEST, 2, 2)}
    return last(detection(series, feature, levels, MAKER, (3.0,), repeats=2, done_by=done_by))


def refits(volume: Volume, series: TiltSeries, done_by: Repeats) -> dict[str, Any]:
    return last(cavity_test(series, volume, MAKER, repeats=19, planted=1, refits=2, done_by=done_by))


def views(volume: Volume, series: TiltSeries, done_by: Repeats) -> dict[str, Any]:
    return last(held_out(series, MAKER, done_by=done_by))


def members(volume: Volume, series: TiltSeries, done_by: Repeats) -> dict[str, Any]:
    return last(ensemble(series, volume, MAKER, members=2, done_by=done_by))


SLOW = [pytest.param(part, marks=pytest.mark.slow) for part in (planted, refits)]


@pytest.mark.parametrize("part", [null, views, members, *SLOW])
def test_a_part_of_a_study_finds_on_workers_what_it_finds_here(
    client: Any, hollow: Volume, counted: TiltSeries, tmp_path: Path, part: Part
) -> None:
    there = OnWorkers(client, 1, Shelf(tmp_path / "jobs"))
    with threads_limited(1):
        alone = part(hollow, counted, here)
        shared = part(hollow, counted, partial(there, name=part.__name__))
    count = 5 if part is views else 2
    assert len(list(there.shelf.folder.glob(f"{part.__name__}-*.npz"))) == count
    assert alone
    for name, array in alone.items():
        np.testing.assert_array_equal(array, shared[name], err_msg=name)


def waited_for(folder: Path, files: int) -> None:
    end = time.monotonic() + PATIENCE_S
    while len(list(folder.glob("*.npz"))) < files:
        assert time.monotonic() < end
        time.sleep(0.05)


def worker_of(process: psutil.Process) -> psutil.Process:
    """A process in which jobs are computed: one that has been busiest, below the command itself."""
    children = [one for one in process.children(recursive=True) if not one.children()]
    return max(children, key=lambda one: sum(one.cpu_times()[:2]))


@pytest.mark.slow
@pytest.mark.timeout(6 * PATIENCE_S)
@pytest.mark.skipif(os.name == "nt", reason="no SIGINT for one process there")
def test_a_study_on_workers_survives_a_lost_worker_and_ctrl_c_with_the_numbers_of_one_process(
    counted: TiltSeries, tmp_path: Path
) -> None:
    save_maps(counted, tmp_path / "maps")
    words = ["trust", tmp_path / "maps", "--method=sirt", "--device=cpu", "--threads=1"]
    short = {"repeats": 19, "members": 6, "planted_repeats": 2, "planted_sizes": 2, "refits": 3}
    short |= {"likelihood_repeats": 19, "likelihood_planted": 10, "repeat_method": "cs-tv"}
    words += [f"--set={name}={value}" for name, value in short.items()]
    run_there = [*words, "--out", tmp_path / "there", "--workers=2"]
    first = program(*run_there)
    jobs = tmp_path / "there/trust-jobs"
    waited_for(jobs, 4)
    worker_of(psutil.Process(first.pid)).kill()
    waited_for(jobs, 12)
    first.send_signal(signal.SIGINT)
    assert first.wait(PATIENCE_S) in (0, 130)
    finished = {path.name for path in jobs.glob("*.npz")}
    assert len(finished) >= 12
    begun = {path: path.stat().st_mtime_ns for path in jobs.glob("*.npz")}
    second = program(*run_there)
    waited_for(jobs, len(finished) + 2)
    assert all(path.stat().st_mtime_ns == then for path, then in begun.items() if path.exists())
    assert second.wait(PATIENCE_S) == 0
    assert not jobs.exists()
    called(*words, "--out", tmp_path / "here")
    there, alone = (json.loads((tmp_path / name / "trust.json").read_text()) for name in ("there", "here"))
    for part in ("null", "detection", "cavity", "intervals", "held_out"):
        assert there[part] == alone[part], part
