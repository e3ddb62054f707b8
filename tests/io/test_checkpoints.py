"""Checkpoints: whole or not at all, the one before where the last is damaged, never another run's."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

from napari_dipmtv.data import TiltSeries
from napari_dipmtv.errors import InputError, ReadError, WriteError
from napari_dipmtv.io import checkpoints
from napari_dipmtv.io.checkpoints import (
    Checkpoint,
    Task,
    checkpoint_files,
    fingerprint,
    load_checkpoint,
    must_continue,
    peek_checkpoint,
    save_checkpoint,
)
from napari_dipmtv.io.guard import ReadWarning
from napari_dipmtv.io.recorder import CheckpointWarning, Every, Recorder
from napari_dipmtv.settings.tomo import DipSettings
from napari_dipmtv.states import State

SETTINGS = DipSettings(iterations=10)


@pytest.fixture
def series() -> TiltSeries:
    data = np.random.default_rng(0).random((2, 5, 6, 6)).astype(np.float32)
    return TiltSeries(data, ("a", "b"), (-40.0, -20.0, 0.0, 20.0, 40.0), 0.5)


@pytest.fixture
def task(series: TiltSeries) -> Task:
    return Task.of(series, "dipm-tv", SETTINGS)


def after(task: Task, iteration: int) -> Checkpoint:
    """A checkpoint with arrays of every kind that a run has."""
    random = np.random.default_rng(iteration)
    state = {
        "iteration": np.array(iteration),
        "0/network/encoders.0.0.weight": random.standard_normal((3, 4)).astype(np.float32),
        "0/random": random.integers(0, 255, 5056, dtype=np.uint8),
        "0/weight": np.array(0.123456789),
    }
    return Checkpoint(task, iteration, 1.5 * iteration, {"data": [0.1] * iteration}, state)


def test_everything_comes_back_bit_for_bit(task: Task, tmp_path: Path) -> None:
    saved = after(task, 3)
    path = save_checkpoint(saved, tmp_path / "made/here")
    found = load_checkpoint(tmp_path / "made/here")
    assert (found.task, found.iteration, found.seconds, found.path) == (task, 3, 4.5, path)
    assert found.losses == {"data": [0.1, 0.1, 0.1]}
    assert found.state.keys() == saved.state.keys()
    for name, array in saved.state.items():
        assert found.state[name].dtype == array.dtype
        np.testing.assert_array_equal(found.state[name], array)


def test_the_two_newest_stay_and_orphans_go(task: Task, tmp_path: Path) -> None:
    orphan = tmp_path / ".iteration_00000002.partial-1-ab.npz"
    orphan.write_bytes(b"half")
    for iteration in (2, 4, 12):
        save_checkpoint(after(task, iteration), tmp_path)
    names = [path.name for path in checkpoint_files(tmp_path)]
    assert names == ["iteration_00000012.npz", "iteration_00000004.npz"]
    assert not orphan.exists()


def test_a_run_that_went_back_removes_what_it_gave_up(task: Task, tmp_path: Path) -> None:
    for iteration in (2, 4, 3):
        save_checkpoint(after(task, iteration), tmp_path)
    assert load_checkpoint(tmp_path).iteration == 3
    assert len(checkpoint_files(tmp_path)) == 2


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-200])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def empty(path: Path) -> None:
    path.write_bytes(b"")


def pickle_inside(path: Path) -> None:
    np.savez(path, **{"header.json": np.array([{"run": "me"}], dtype=object)})


def packed(path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("header.json", json.dumps({"format": checkpoints.FORMAT, "version": 1}))
        archive.writestr("state/x.npy", b"\0" * 10**6)


DAMAGES = [cut, flip, empty, pickle_inside, packed]


@pytest.mark.parametrize("damage", DAMAGES)
def test_f52_a_damaged_checkpoint_gives_way_to_the_one_before(damage, task: Task, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    save_checkpoint(after(task, 3), tmp_path)
    damage(save_checkpoint(after(task, 6), tmp_path))
    with pytest.warns(ReadWarning, match=r"iteration_00000006.*of iteration 3, is used"):
        found = load_checkpoint(tmp_path)
    assert found.iteration == 3
    np.testing.assert_array_equal(found.state["0/random"], after(task, 3).state["0/random"])


@pytest.mark.parametrize("damage", DAMAGES)
def test_f52_without_one_before_it_is_said(damage, task: Task, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    damage(save_checkpoint(after(task, 6), tmp_path))
    with pytest.raises(ReadError, match="iteration_00000006"):
        load_checkpoint(tmp_path)


def test_a_folder_without_checkpoints_is_said(tmp_path: Path) -> None:
    with pytest.raises(ReadError, match="expected a checkpoint of a run, got none"):
        load_checkpoint(tmp_path)


def test_a_newer_format_is_refused(task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoints, "VERSION", 2)
    save_checkpoint(after(task, 1), tmp_path)
    monkeypatch.undo()
    with pytest.raises(ReadError, match=r"version 2\. Update napari-dipmtv"):
        load_checkpoint(tmp_path)


def test_f51_a_full_disk_leaves_the_older_ones(
    task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_checkpoint(after(task, 1), tmp_path)

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np.lib.format, "write_array", full)
    with pytest.raises(WriteError, match="No space left"):
        save_checkpoint(after(task, 2), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["iteration_00000001.npz"]
    assert load_checkpoint(tmp_path).iteration == 1


CHANGES = {
    "a count": lambda s: s.replace(data=np.where(s.data == s.data.max(), s.data * 1.0001, s.data)),
    "a tilt": lambda s: s.replace(tilts_deg=(-40.0, -20.0, 0.0, 20.0, 40.1)),
    "a mask": lambda s: s.replace(valid=np.arange(180).reshape(5, 6, 6) > 0),
    "statistics": lambda s: s.replace(counts_per_unit=2.0),
    "a name": lambda s: s.replace(channels=("a", "c")),
    "pixels": lambda s: s.replace(pixel_nm=0.6),
    "covariance": lambda s: s.replace(covariance=np.ones((2, 2, 5, 6, 6), np.float32)),
}


@pytest.mark.parametrize("change", CHANGES)
def test_f56_other_data_are_refused(change: str, series: TiltSeries, task: Task) -> None:
    other = CHANGES[change](series)
    assert fingerprint(other) != fingerprint(series)
    with pytest.raises(InputError, match=r"the maps of the first run.*start a new one"):
        must_continue(after(task, 3), Task.of(other, "dipm-tv", SETTINGS))


def test_f56_other_settings_are_refused_by_name(series: TiltSeries, task: Task) -> None:
    other = Task.of(series, "dipm-tv", SETTINGS.replace(tv_strength=0.5, seed=3))
    with pytest.raises(InputError, match=r"seed=0, tv_strength=0.002.* got seed=3, tv_strength=0.5"):
        must_continue(after(task, 3), other)
    with pytest.raises(InputError, match=r"method dipm-tv, as in the first run, got dip-tv"):
        must_continue(after(task, 3), Task.of(series, "dip-tv", SETTINGS))


def test_more_or_as_many_iterations_are_welcome_but_not_fewer(series: TiltSeries, task: Task) -> None:
    for iterations in (4, 10, 50):
        must_continue(after(task, 3), Task.of(series, "dipm-tv", SETTINGS.replace(iterations=iterations)))
    with pytest.raises(InputError, match="more than 3 iterations"):
        must_continue(after(task, 3), Task.of(series, "dipm-tv", SETTINGS.replace(iterations=3)))


def test_f56_the_device_may_be_another(series: TiltSeries, task: Task) -> None:
    assert "device" not in task.settings
    must_continue(after(task, 3), Task.of(series, "dipm-tv", SETTINGS))


@pytest.mark.parametrize(
    ("text", "every"),
    [
        ("50", Every(iterations=50)),
        ("90s", Every(seconds=90)),
        ("2.5 min", Every(seconds=150)),
        ("1h", Every(seconds=3600)),
    ],
)
def test_intervals_are_iterations_or_times(text: str, every: Every) -> None:
    assert Every.parse(text) == every


@pytest.mark.parametrize("text", ["", "0", "0s", "2.5", "-3", "5 days", "often"])
def test_other_intervals_are_refused(text: str) -> None:
    with pytest.raises(InputError, match="50 or 10min"):
        Every.parse(text)


def states(total: int, first: int = 1) -> list[State[None]]:
    """The states of a run that prepares itself in one step."""
    prepared = State(0, total, {}, lambda: None)
    steps = [
        State(n, total, {"data": 1 / n}, lambda: None, lambda n=n: {"iteration": np.array(n)})
        for n in range(first, total + 1)
    ]
    return [prepared, *steps]


def test_a_recorder_counts_iterations(task: Task, tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, task, Every(iterations=3))
    seen = []
    for state in states(7):
        recorder(state)
        seen.append([int(path.stem[-2:]) for path in checkpoint_files(tmp_path)])
    assert seen == [[], [], [], [3], [3], [3], [6, 3], [6, 3]]  # the last state waits for the volume
    recorder.keep()
    found = load_checkpoint(tmp_path)
    assert found.iteration == 7
    assert found.losses == {"data": [1 / n for n in range(1, 8)]}


def test_a_recorder_watches_the_clock_and_adds_up_time_and_curves(task: Task, tmp_path: Path) -> None:
    now = [100.0]
    recorder = Recorder(tmp_path, task, Every(seconds=25), since=after(task, 2), clock=lambda: now[0])
    for state in states(9, first=3)[:-1]:
        now[0] += 10
        recorder(state)
    found = load_checkpoint(tmp_path)
    assert found.iteration == 7  # 70 s since the start, 30 s since the first one
    assert found.seconds == 3.0 + 60.0
    assert found.losses["data"] == [0.1, 0.1, *(1 / n for n in range(3, 8))]


def test_keeping_twice_writes_once(task: Task, tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, task, Every(iterations=100))
    recorder.keep()
    assert checkpoint_files(tmp_path) == []
    recorder(states(3)[1])
    recorder.keep()
    (path,) = checkpoint_files(tmp_path)
    path.unlink()
    recorder.keep()
    assert checkpoint_files(tmp_path) == []


def test_a_checkpoint_that_cannot_be_written_does_not_end_the_run(task: Task, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    recorder = Recorder(tmp_path / "file", task, Every(iterations=1))
    with pytest.warns(CheckpointWarning, match="goes on without this checkpoint"):
        recorder(states(3)[1])


def test_a_run_that_ended_itself_goes_on_to_another_number_only(series: TiltSeries, task: Task) -> None:
    """A deep image prior ends early when it has seen enough; asked for the same again it would give no state."""
    done = after(task, 4)
    ended = Checkpoint(task, 4, 1.0, {}, {**done.state, "ends": np.array(4)})
    with pytest.raises(InputError, match="ended itself at 4"):
        must_continue(ended, task)
    must_continue(ended, Task.of(series, "dipm-tv", DipSettings(iterations=12)))
    must_continue(Checkpoint(task, 4, 1.0, {}, {**done.state, "ends": np.array(6)}), task)


def test_a_look_at_a_checkpoint_reads_no_volume(task: Task, tmp_path: Path) -> None:
    assert peek_checkpoint(tmp_path) is None
    saved = after(task, 3)
    save_checkpoint(Checkpoint(task, 3, 4.5, saved.losses, {**saved.state, "ends": np.array(7)}), tmp_path)
    found = peek_checkpoint(tmp_path)
    assert found is not None
    assert (found.task, found.iteration, found.losses) == (task, 3, saved.losses)
    assert list(found.state) == ["ends"]
    save_checkpoint(after(task, 5), tmp_path)
    checkpoint_files(tmp_path)[0].write_bytes(b"cut short")
    assert peek_checkpoint(tmp_path).iteration == 3  # type: ignore[union-attr]
