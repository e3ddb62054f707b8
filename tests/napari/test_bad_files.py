"""F01-F12 in the window: a file that cannot be used gives one clear error, no layer, no value and no new file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from napari.utils.notifications import Notification, notification_manager
from plugin_fakes import TILTS, maps, series

from napari_dipmtv._napari.bench import Bench
from napari_dipmtv._napari.load_widget import LoadWidget
from napari_dipmtv.io.spectrum_images import save_series

GOOD = maps().data[0]  # (t, y, x)
Case = Callable[[Path], tuple[list[Path], Path | None]]


def angles(folder: Path, values: tuple[object, ...] = TILTS) -> Path:
    file = folder / "tilts.txt"
    file.write_text("\n".join(map(str, values)))
    return file


def stack(folder: Path, data: np.ndarray = GOOD, name: str = "FeO") -> Path:
    np.save(folder / f"{name}.npy", data)
    return folder / f"{name}.npy"


def missing_angle_file(folder: Path) -> Any:
    return [stack(folder)], folder / "nowhere.txt"


def wrong_number_of_angles(folder: Path) -> Any:
    return [stack(folder)], angles(folder, TILTS[:-1])


def an_angle_that_is_nan(folder: Path) -> Any:
    return [stack(folder)], angles(folder, (*TILTS[:-1], "nan"))


def maps_of_nan(folder: Path) -> Any:
    return [stack(folder, np.full_like(GOOD, np.nan))], angles(folder)


def unequal_shapes(folder: Path) -> Any:
    return [stack(folder), stack(folder, GOOD[:, 1:], "Fe3O4")], angles(folder)


def unknown_units(folder: Path) -> Any:
    import h5py

    files = save_series(series(), folder)
    for file in files:
        with h5py.File(file, "r+") as opened:
            [signal] = opened["Experiments"].values()
            for axis in ("axis-0", "axis-1"):
                signal[axis].attrs["units"] = "furlong"
    return [folder], None


def empty_folder(folder: Path) -> Any:
    return [folder], None


def truncated_spectra(folder: Path) -> Any:
    file = save_series(series(), folder)[2]
    file.write_bytes(file.read_bytes()[:900])
    return [folder], None


def truncated_maps(folder: Path) -> Any:
    file = stack(folder)
    file.write_bytes(file.read_bytes()[:-400])
    return [file], angles(folder)


CASES = [
    (missing_angle_file, "nowhere.txt"),
    (wrong_number_of_angles, "4"),
    (an_angle_that_is_nan, "nan"),
    (maps_of_nan, "at least one view with content"),
    (unequal_shapes, "one shape"),
    (unknown_units, "pixel size"),
    (empty_folder, "nothing of the kind"),
    (truncated_spectra, "cut short"),
    (truncated_maps, "cut short"),
]


@pytest.mark.parametrize(("case", "words"), CASES, ids=lambda value: getattr(value, "__name__", ""))
def test_one_error_no_layer_no_file(
    bench: Bench, qtbot: Any, tmp_path: Path, case: Case, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[Notification] = []
    monkeypatch.setattr(notification_manager, "dispatch", told.append)
    paths, angle_file = case(tmp_path)
    before = {file: file.read_bytes() for file in tmp_path.rglob("*")}
    widget = LoadWidget(bench.viewer_for_test)
    qtbot.addWidget(widget)
    if angle_file is not None:
        source = widget.map_source.value()
        widget.map_source.setValue(source.replace(angles=str(angle_file), pixel_nm=0.5))

    widget.open_paths(paths)
    qtbot.waitUntil(lambda: not bench.job.running, timeout=60_000)

    [error] = told
    assert error.severity.value == "error"
    assert words in str(error.message)
    assert "expected" in str(error.message)
    assert list(bench.viewer_for_test.layers) == []
    assert not bench.session.has("series")
    assert not bench.session.has("maps")
    assert {file: file.read_bytes() for file in tmp_path.rglob("*")} == before
    assert widget.status.text() == "Nothing is loaded yet."
    assert widget.open_maps.isEnabled()


def test_a_bad_file_leaves_what_was_loaded_before(bench: Bench, qtbot: Any, tmp_path: Path) -> None:
    bench.session.load("maps", maps())
    names = [layer.name for layer in bench.viewer_for_test.layers]
    widget = LoadWidget(bench.viewer_for_test)
    qtbot.addWidget(widget)
    widget.open_paths([*truncated_maps(tmp_path)[0]])
    qtbot.waitUntil(lambda: not bench.job.running, timeout=60_000)
    assert [layer.name for layer in bench.viewer_for_test.layers] == names
    assert np.array_equal(bench.session.value("maps").data, maps().data)
