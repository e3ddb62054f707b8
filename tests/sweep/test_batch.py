"""Tables of projects: changes by column, done rows left out, failures told."""

from __future__ import annotations

from pathlib import Path

import pytest

from napari_dipmtv.errors import InputError, ReadError
from napari_dipmtv.io.project import Inputs, Project, save_project
from napari_dipmtv.states import run
from napari_dipmtv.sweep.batch import batch, read_table


@pytest.fixture
def table(tmp_path: Path) -> Path:
    for name in ("a.tif", "angles.txt"):
        (tmp_path / name).write_text("1")
    inputs = Inputs(maps={"a": tmp_path / "a.tif"}, angles=tmp_path / "angles.txt")
    save_project(Project(inputs=inputs), tmp_path / "p.dipmtv.json")
    path = tmp_path / "t.csv"
    head = "project,output,reconstruct.method,reconstruct.settings.iterations\n"
    path.write_text(head + "p.dipmtv.json,one,sirt,7\np.dipmtv.json,two,cs-tv,\n")
    return path


def test_a_batch_runs_what_is_not_done_and_tells_what_fails(table: Path, tmp_path: Path) -> None:
    seen: list[tuple[str, int]] = []

    def fake(project: Project) -> list[Path]:
        chosen = project.reconstruct
        seen.append((chosen.method, chosen.method_settings().model_dump()["iterations"]))
        if chosen.method == "cs-tv" and len(seen) < 3:
            raise InputError("no signal")
        project.output.mkdir()
        (project.output / "done").touch()
        return [project.output / "done"]

    book = tmp_path / "t.jsonl"
    first = run(batch(read_table(table), book, fake)).value
    assert [o.error for o in first] == ["", "no signal"]
    assert [(o.error, o.fresh) for o in run(batch(read_table(table), book, fake)).value] == [
        ("", False),
        ("", True),
    ]
    assert seen == [("sirt", 7), ("cs-tv", 250), ("cs-tv", 250)]
    (tmp_path / "one/done").unlink()  # a result that is gone is made again
    (tmp_path / "one").rmdir()
    assert run(batch(read_table(table), book, fake)).value[0].fresh


def test_tables_that_cannot_be_run_are_refused(table: Path) -> None:
    table.write_text("project,output\np.dipmtv.json,one\np.dipmtv.json,one\n")
    with pytest.raises(ReadError, match="lines 2 and 3"):
        read_table(table)
    table.write_text("project,reconstruct.method\np.dipmtv.json,magic\n")
    with pytest.raises(ReadError, match="line 2"):
        read_table(table)
    table.write_text("file\nx\n")
    with pytest.raises(ReadError, match="column"):
        read_table(table)
