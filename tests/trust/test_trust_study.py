"""The whole study: from Python, from the command line, interrupted and resumed, in words and pictures."""

from __future__ import annotations

import dataclasses
import json
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from napari_dipmtv.cli.app import app
from napari_dipmtv.cli.conversation import Watch
from napari_dipmtv.data import ChannelMaps
from napari_dipmtv.errors import InputError, ReadError
from napari_dipmtv.io.guard import plain
from napari_dipmtv.io.map_folder import save_maps
from napari_dipmtv.settings.tomo import CsTvSettings, SirtSettings
from napari_dipmtv.settings.trust import TrustSettings
from napari_dipmtv.states import State, run
from napari_dipmtv.trust.compare import compare
from napari_dipmtv.trust.figures import save_figures
from napari_dipmtv.trust.progress import PROGRESS, load_progress, save_progress
from napari_dipmtv.trust.repeats import Maker
from napari_dipmtv.trust.result import NullTest
from napari_dipmtv.trust.study import study
from napari_dipmtv.trust.words import CAVEAT, report_text, verdict

QUICK = TrustSettings(
    repeats=19,
    likelihood_repeats=50,
    likelihood_planted=10,
    refits=3,
    planted_repeats=2,
    planted_sizes=2,
    members=2,
    repeat_method="same",
)
SIRT = SirtSettings(iterations=15)


@pytest.fixture(scope="module")
def series(hollow, counted):
    return counted(hollow, noise=0.15)


@pytest.fixture(scope="module")
def states(series):
    return list(study(series, QUICK, "sirt", SIRT, device="cpu"))


def test_every_part_is_there_and_the_steps_count_up(states) -> None:
    report = states[-1].snapshot().report
    assert report.null.repeats == 19
    assert report.null.p_anywhere == pytest.approx(0.05)
    assert report.detection.tried.sum() == 4
    assert report.resolution.fsc
    assert report.held_out[0].error.shape == (9,)
    assert report.members == 2
    assert report.coverage.largest_gap_deg == pytest.approx(40)
    assert report.repeat_method.startswith("sirt")
    steps = [state.iteration for state in states]
    assert steps == sorted(steps)
    assert steps[-1] == states[-1].total


def test_facts_are_plain_json(states) -> None:
    facts = json.loads(json.dumps(plain(states[-1].snapshot().report.facts()), allow_nan=False))
    assert facts["null"]["p_anywhere"] == pytest.approx(0.05)
    assert len(facts["null"]["anywhere"]) == 19
    assert facts["held_out"][0]["mean_error"] > 0


def test_text_says_what_the_numbers_hold_for(states) -> None:
    text = report_text(states[-1].snapshot().report)
    assert "every number below holds for these" in text
    assert "p = 0.05 (the least that so many repeats can show)" in text
    assert "smoothness, not signal to noise" in text
    assert CAVEAT in text
    assert max(len(line) for line in text.splitlines()) < 400


def test_verdict_does_not_claim_what_the_test_denies() -> None:
    weak = NullTest("void", 3.0, 0.1, "", np.zeros(19), np.linspace(0, 0.2, 19), 3, "sirt")
    assert "cannot be told from" in verdict(weak)
    assert "is more than" in verdict(dataclasses.replace(weak, observed=0.5))
    assert "not begun" in verdict(dataclasses.replace(weak, anywhere=np.zeros(0)))


def test_pictures(states, tmp_path: Path) -> None:
    names = [path.name for path in save_figures(states[-1].snapshot(), tmp_path)]
    assert names == [f"trust_{n}.png" for n in ("null", "cavity", "resolution", "uncertainty")]
    assert all((tmp_path / name).stat().st_size > 5000 for name in names)


@pytest.mark.parametrize(
    "at", [pytest.param(5, marks=pytest.mark.slow), 18, pytest.param(35, marks=pytest.mark.slow)]
)
def test_f52_a_study_goes_on_from_its_saved_progress(states, series, tmp_path: Path, at: int) -> None:
    middle = next(state for state in states if state.iteration == at)
    save_progress(middle.checkpoint(), tmp_path)
    *_, last = study(series, QUICK, "sirt", SIRT, device="cpu", resume=load_progress(tmp_path))
    ours, whole = last.snapshot().report, states[-1].snapshot().report
    assert np.array_equal(ours.null.anywhere, whole.null.anywhere)
    assert np.array_equal(ours.detection.found, whole.detection.found)
    assert ours.intervals == whole.intervals
    assert ours.resolution.fsc[0].resolution_nm == whole.resolution.fsc[0].resolution_nm


def test_f56_progress_of_other_data_or_settings_is_refused(states, series, tmp_path: Path) -> None:
    middle = next(state for state in states if state.iteration == 9).checkpoint()
    with pytest.raises(InputError, match="same data and settings"):
        next(study(series.replace(data=series.data * 2), QUICK, "sirt", SIRT, device="cpu", resume=middle))
    with pytest.raises(InputError, match="same data and settings"):
        next(study(series, QUICK.replace(seed=1), "sirt", SIRT, device="cpu", resume=middle))
    assert load_progress(tmp_path) is None
    (tmp_path / PROGRESS).write_bytes(b"no archive")
    with pytest.raises(ReadError):
        load_progress(tmp_path)


def test_stopping_inside_the_first_reconstruction_gives_an_empty_report(series) -> None:
    result = run(study(series, QUICK, "sirt", SIRT, device="cpu"), should_stop=lambda: True)
    assert result.stopped
    assert result.value.report.null is None


def test_maps_without_statistics_leave_the_resolution_out(series) -> None:
    bare = series.replace(counts_per_unit=None)
    short = QUICK.replace(members=0, held_out=False)
    report = run(study(bare, short, "sirt", SIRT, device="cpu")).value.report
    assert report.noise == "residual"
    assert report.resolution is None
    assert report.null.repeats == 19
    skin = short.replace(feature="skin")  # no likelihood to wait for
    given = run(study(bare, skin, "sirt", SIRT, given_halves=(series, series), device="cpu")).value.report
    assert given.resolution.split == "given halves"
    assert given.resolution.fsc[0].resolution_nm["0.143"] == pytest.approx(2.0)


def test_methods_on_the_same_data_are_compared_with_the_truth(series, hollow) -> None:
    makers = [Maker("sirt", SIRT, "cpu"), Maker("cs-tv", CsTvSettings(iterations=30), "cpu")]
    found = run(compare(series, makers, truth=hollow, held_out_of=("sirt",))).value
    assert [row.method for row in found.rows] == ["sirt", "cs-tv"]
    assert set(found.volumes) == {"sirt", "cs-tv"}
    assert np.isfinite(found.rows[0].held_out)
    assert np.isnan(found.rows[1].held_out)
    assert all(0 < row.nrmse < 1 and row.fsc_nm >= 2 for row in found.rows)


def invoke(*words: str):
    return CliRunner().invoke(app, ["trust", *words])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--feature", "hole"], "void"),
        (["--repeats", "3"], "greater than or equal to 19"),
        (["--even", "x"], "both"),
        (["--method", "magic"], "sirt"),
    ],
)
def test_command_says_what_is_wrong(series, tmp_path: Path, words: list[str], said: str) -> None:
    save_maps(series, tmp_path / "maps")
    done = invoke(str(tmp_path / "maps"), "--out", str(tmp_path / "out"), *words)
    assert done.exit_code == 2
    assert said in done.output
    assert not (tmp_path / "out").exists()


SHORT = [
    f"--set={name}"
    for name in (
        "repeat_method=same",
        "members=0",
        "planted_repeats=2",
        "planted_sizes=2",
        "refits=3",
        "held_out=false",
        "likelihood_repeats=50",
        "likelihood_planted=10",
    )
]


def test_the_likelihood_of_a_void_comes_first_and_goes_into_the_html_report(series, tmp_path: Path) -> None:
    save_maps(series, tmp_path / "maps")
    out = tmp_path / "out"
    words = ["--method", "sirt", "--device", "cpu", "--out", str(out)]
    reconstructed = CliRunner().invoke(app, ["reconstruct", "--maps", str(tmp_path / "maps"), *words])
    assert reconstructed.exit_code == 0, reconstructed.output
    done = invoke(str(tmp_path / "maps"), *words, "--volume", str(out), "--repeats", "19", *SHORT)
    assert done.exit_code == 0, done.output
    text = (out / "trust.txt").read_text(encoding="utf-8")
    assert text.index("Likelihood of a void") < text.index("Null test")
    facts = json.loads((out / "trust.json").read_text(encoding="utf-8"))
    assert facts["cavity"]["evidence"] > 12
    assert facts["cavity"]["p_plug_in"] == pytest.approx(1 / 51)
    told = CliRunner().invoke(app, ["report", str(out)])
    assert told.exit_code == 0, told.output
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "<h2>Trust</h2>" in page
    assert "The data demand a void" in page
    assert "strength of the feature in repeats without it" in page  # the picture, with its caption


@pytest.fixture
def at_a_terminal() -> Iterator[None]:
    """Ctrl-C is listened to, as it is not where a shell has started the tests in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.slow
@pytest.mark.usefixtures("at_a_terminal")
def test_ctrl_c_keeps_the_study_and_the_same_command_goes_on(
    series, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_maps(series, tmp_path / "maps")
    record = Watch.__call__

    def interrupted(watch: Watch, state: State[object]) -> None:
        record(watch, state)
        if state.stage == "null test, repeat 7 of 19":
            signal.raise_signal(signal.SIGINT)

    words = [str(tmp_path / "maps"), "--method", "sirt", "--device", "cpu", "--repeats", "19", *SHORT]
    with monkeypatch.context() as patch:
        patch.setattr(Watch, "__call__", interrupted)
        stopped = invoke(*words, "--out", str(tmp_path / "a"))
    assert stopped.exit_code == 0, stopped.output
    assert "the same command goes on from here" in stopped.output
    assert json.loads((tmp_path / "a/trust.json").read_text(encoding="utf-8"))["stopped"] is True
    assert (tmp_path / "a" / PROGRESS).is_file()
    assert invoke(*words, "--out", str(tmp_path / "a")).exit_code == 0
    assert invoke(*words, "--out", str(tmp_path / "b")).exit_code == 0
    assert not (tmp_path / "a" / PROGRESS).exists()
    ours, whole = (json.loads((tmp_path / f / "trust.json").read_text(encoding="utf-8")) for f in "ab")
    assert ours["stopped"] is False
    for part in ("cavity", "null", "detection", "resolution"):
        assert ours[part] == whole[part]


@pytest.mark.slow
def test_a_project_is_studied(series, tmp_path: Path) -> None:
    names = ("data", "channels", "tilts_deg", "pixel_nm", "counts_per_unit")
    save_maps(ChannelMaps(**{name: getattr(series, name) for name in names}), tmp_path / "maps")
    project = {
        "format": "napari-dipmtv project",
        "version": 1,
        "inputs": {"map_folder": "maps"},
        "output": "out",
        "aligned": True,
        "reconstruct": {"method": "sirt", "settings": {"iterations": 12}, "device": "cpu"},
    }
    (tmp_path / "cube.dipmtv.json").write_text(json.dumps(project), encoding="utf-8")
    words = [str(tmp_path / "cube.dipmtv.json"), "--out", str(tmp_path / "trust"), "--device", "cpu"]
    done = invoke(*words, "--repeats", "19", *SHORT)
    assert done.exit_code == 0, done.output
    facts = json.loads((tmp_path / "trust/trust.json").read_text(encoding="utf-8"))
    assert facts["null"]["repeats"] == 19
    assert facts["repeat_method"] == "sirt, 12 iterations"
    assert invoke(*words, "--method", "sirt").exit_code == 2
