"""Projects: every knob survives, folders may move, and a bad file is told apart from a newer one."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from napari_dipmtv.errors import InputError, ReadError
from napari_dipmtv.io.project import Inputs, Project, Reconstruct, RegionOutline, load_project, save_project
from napari_dipmtv.settings.tomo import CsTvSettings, DipSettings


def project(folder: Path) -> Project:
    outline = RegionOutline(tilt_deg=10, outline_px=((1, 1), (1, 4), (3, 4), (3, 1)))
    return Project(
        inputs=Inputs(
            maps={"Fe": folder / "data" / "fe.tif"},
            angles=folder / "data" / "a.tlt",
            pixel_nm=0.37,
            counts=True,
        ),
        output=folder / "results",
        regions={"FeO": outline},
        reconstruct=Reconstruct(method="cs-tv", settings={"iterations": 7}),
    )


def test_f55_project_round_trip(tmp_path: Path) -> None:
    one = project(tmp_path)
    path = save_project(one, tmp_path / "run.dipmtv.json")
    assert load_project(path) == one
    assert str(tmp_path) not in path.read_text()


def test_project_folder_can_move(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    save_project(project(tmp_path / "old"), tmp_path / "old" / "run.dipmtv.json")
    shutil.move(tmp_path / "old", tmp_path / "new")
    moved = load_project(tmp_path / "new" / "run.dipmtv.json")
    assert moved.inputs.maps == {"Fe": tmp_path / "new" / "data" / "fe.tif"}
    assert moved.inputs.angles == tmp_path / "new" / "data" / "a.tlt"
    assert moved.output == tmp_path / "new" / "results"


def test_settings_belong_to_their_method() -> None:
    chosen = Reconstruct(method="cs-tv", settings={"iterations": 7}).method_settings()
    assert chosen == CsTvSettings(iterations=7)
    assert Reconstruct().method_settings() == DipSettings()
    with pytest.raises(InputError, match="there is no setting 'filters'"):
        Reconstruct.from_mapping({"method": "sirt", "settings": {"filters": [1]}})


def test_regions_become_masks() -> None:
    region = RegionOutline(tilt_deg=10, outline_px=((1, 1), (1, 4), (3, 4), (3, 1))).region((6, 7))
    rows, columns = np.nonzero(region.mask)
    assert (region.tilt_deg, region.mask.shape) == (10, (6, 7))
    assert {1, 2} <= set(rows.tolist()) <= {1, 2, 3}
    assert {1, 2, 3} <= set(columns.tolist()) <= {1, 2, 3, 4}


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ({}, "either"),
        ({"spectrum_images": "si", "maps": {"Fe": "fe.tif"}, "angles": "a.tlt"}, "either"),
        ({"maps": {"Fe": "fe.tif"}}, "angles"),
        ({"spectrum_images": "si", "pixel_nm": 0}, "greater than 0"),
    ],
)
def test_inputs_that_cannot_be(inputs: dict[str, object], words: str) -> None:
    with pytest.raises(InputError, match=words):
        Inputs.from_mapping(inputs)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"version": 2}, r"version 1 to 1, got 2.*Update napari-dipmtv"),
        ({"version": "1"}, "version 1 to 1"),
        ({"format": "else"}, "Choose a project"),
        ({"colour": "red"}, "no setting 'colour'"),
        ({"reconstruct": {"method": "magic"}}, "reconstruct.method"),
        ({"align": {"pickle": 1}}, "align.pickle"),
        ({"output": 3}, "Choose|TypeError|damaged"),
    ],
)
def test_f50_project_that_cannot_be_used(tmp_path: Path, change: dict[str, object], words: str) -> None:
    path = save_project(project(tmp_path), tmp_path / "run.dipmtv.json")
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(ReadError, match=words) as caught:
        load_project(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"\xff\xfe", b"null", b"[" * 100_000])
def test_f50_corrupt_project(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "run.dipmtv.json"
    path.write_bytes(content)
    with pytest.raises(ReadError, match=r"run\.dipmtv\.json"):
        load_project(path)
    assert path.read_bytes() == content
    with pytest.raises(ReadError, match="nothing there"):
        load_project(tmp_path / "absent.json")
