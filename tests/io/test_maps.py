"""Channel maps from every kind of file, axis order, angles, pixels, bad views, and the exact round trip."""

from __future__ import annotations

import json
import warnings
import zipfile
from pathlib import Path

import mrcfile
import numpy as np
import pytest
import scipy.io
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from napari_dipmtv.data import Alignment, ChannelMaps, TiltSeries
from napari_dipmtv.errors import GeometryError, InputError, ReadError
from napari_dipmtv.io.guard import ReadWarning
from napari_dipmtv.io.hspy import Axis, hspy_bytes
from napari_dipmtv.io.maps import load_map_folder, load_maps, load_saved_maps, load_saved_series, save_maps
from napari_dipmtv.io.stacks import read_stack

TILTS = (-40.0, 0.0, 17.5)
DATA = np.arange(1, 91, dtype=np.float32).reshape(3, 6, 5)  # (t, y, x)


def save(path: Path, data: np.ndarray) -> Path:
    """Write a stack with a pixel of 0.5 nm where the format can say so."""
    if path.suffix == ".tif":
        meta = {"axes": "ZYX", "PhysicalSizeX": 5e-4, "PhysicalSizeY": 5e-4, "PhysicalSizeXUnit": "µm"}
        tifffile.imwrite(path, data, ome=True, metadata=meta, photometric="minisblack")
    elif path.suffix == ".mrc":
        with mrcfile.new(path, data.astype(np.float32)) as file:
            file.voxel_size = 5.0
    elif path.suffix == ".hspy":
        axes = [Axis("tilt", data.shape[0], 1.0, 0.0, "", navigate=True)]
        axes += [
            Axis(name, n, 5.0, 0.0, "Å", navigate=False) for name, n in zip("yx", data.shape[1:], strict=True)
        ]
        path.write_bytes(hspy_bytes(data, axes, "maps", {}))
    elif path.suffix == ".npy":
        np.save(path, data)
    elif path.suffix == ".npz":
        np.savez_compressed(path, other=data[0, 0], Fe=data)
    elif path.suffix == ".mat":
        scipy.io.savemat(path, {"input": data}, do_compression=True)
    return path


@pytest.mark.parametrize("suffix", [".tif", ".mrc", ".hspy", ".npy", ".npz", ".mat"])
def test_f10_every_kind_of_file(tmp_path: Path, suffix: str) -> None:
    path = save(tmp_path / f"a{suffix}", DATA)
    calibrated = suffix in {".tif", ".mrc", ".hspy"}
    maps = load_maps({"Fe": path}, TILTS, None if calibrated else 0.5)
    np.testing.assert_array_equal(maps.data[0], DATA)
    assert (maps.channels, maps.tilts_deg, maps.valid) == (("Fe",), TILTS, None)
    assert maps.pixel_nm == pytest.approx(0.5)
    if not calibrated:
        with pytest.raises(ReadError, match="Give pixel_nm"):
            load_maps({"Fe": path}, TILTS)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(kind=st.sampled_from(["<u2", ">u2", ">f4", "<f8", ">i4", "u1", "f2"]), fortran=st.booleans())
def test_f05_any_number_type_and_layout(tmp_path: Path, kind: str, fortran: bool) -> None:
    data = np.asarray(DATA, dtype=kind, order="F" if fortran else "C")
    np.save(tmp_path / "a.npy", data)
    maps = load_maps({"Fe": tmp_path / "a.npy"}, TILTS, 1.0)
    np.testing.assert_array_equal(maps.data[0], DATA)
    assert maps.data.dtype == np.dtype("=f4")


@pytest.mark.parametrize("order", ["tyx", "ytx", "yxt", "txy", "xty", "xyt"])
def test_f11_axis_orders(tmp_path: Path, order: str) -> None:
    path = tmp_path / "a.npy"
    np.save(path, DATA.transpose(["tyx".index(letter) for letter in order]))
    np.testing.assert_array_equal(load_maps({"Fe": path}, TILTS, 1.0, axes=order).data[0], DATA)
    found = load_maps({"Fe": path}, TILTS, 1.0).data[0]
    expected = DATA if order.index("y") < order.index("x") else DATA.swapaxes(1, 2)
    np.testing.assert_array_equal(found, expected)


def test_f11_ambiguous_order_is_asked_for(tmp_path: Path) -> None:
    cube = np.arange(27, dtype=np.float32).reshape(3, 3, 3)
    np.save(tmp_path / "a.npy", cube)
    with pytest.raises(GeometryError, match="axes='tyx' or another"):
        load_maps({"Fe": tmp_path / "a.npy"}, TILTS, 1.0)
    np.testing.assert_array_equal(load_maps({"Fe": tmp_path / "a.npy"}, TILTS, 1.0, axes="tyx").data[0], cube)
    np.testing.assert_array_equal(load_maps({"Fe": save(tmp_path / "b.mrc", cube)}, TILTS).data[0], cube)
    with pytest.raises(GeometryError, match="letters tyx"):
        load_maps({"Fe": tmp_path / "a.npy"}, TILTS, 1.0, axes="tyy")


def test_f11_horizontal_tilt_axis_is_turned_not_mirrored(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", DATA)
    turned = load_maps({"Fe": tmp_path / "a.npy"}, TILTS, 1.0, tilt_axis="x").data[0]
    np.testing.assert_array_equal(np.rot90(turned, 3, axes=(1, 2)), DATA)


def test_f22_order_of_the_views_does_not_matter(tmp_path: Path) -> None:
    (tmp_path / "a.tlt").write_text("17.5\n-40\n0\n")
    np.save(tmp_path / "a.npy", DATA[[2, 0, 1]])
    maps = load_maps({"Fe": tmp_path / "a.npy"}, tmp_path / "a.tlt", 1.0)
    np.testing.assert_array_equal(maps.data[0], DATA)
    assert maps.tilts_deg == TILTS


@pytest.mark.parametrize("angles", [(-40.0, 0.0), (-40.0, 0.0, 20.0, 40.0)])
def test_f22_wrong_number_of_angles(tmp_path: Path, angles: tuple[float, ...]) -> None:
    with pytest.raises(GeometryError, match=rf"{len(angles)} along t, got shape \(3, 6, 5\)"):
        load_maps({"Fe": save(tmp_path / "a.tif", DATA)}, angles)


def test_f21_radians_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.ones((5, 6, 7)))
    with pytest.raises(GeometryError, match="radians"):
        load_maps({"Fe": tmp_path / "a.npy"}, np.deg2rad([-60, -30, 0, 30, 60]).tolist(), 1.0)


def test_f02_whole_bad_views_are_left_out_and_named(tmp_path: Path) -> None:
    data = np.stack([DATA, DATA])
    data[0, 0] = np.nan
    data[1, 2, 3, 4] = np.inf
    np.save(tmp_path / "a.npy", data)
    with pytest.warns(ReadWarning) as caught:
        maps = load_maps(dict.fromkeys(("Fe", "O"), tmp_path / "a.npy"), TILTS, 1.0)
    words = " ".join(str(warning.message) for warning in caught)
    assert "2 of 3 tilts are used; empty or not finite at -40 deg" in words
    assert "1 pixels are not finite" in words
    assert maps.tilts_deg == (0.0, 17.5)
    assert maps.valid is not None
    assert np.argwhere(~maps.valid).tolist() == [[1, 3, 4]]
    np.save(tmp_path / "a.npy", np.where(np.isfinite(data), 0, data))
    with pytest.raises(GeometryError, match="at least one view"):
        load_maps({"Fe": tmp_path / "a.npy", "O": tmp_path / "a.npy"}, TILTS, 1.0)


def test_f09_channels_that_do_not_fit(tmp_path: Path) -> None:
    one = save(tmp_path / "a.mrc", DATA)
    with mrcfile.new(tmp_path / "b.mrc", DATA) as file:
        file.voxel_size = 10.0
    with pytest.raises(GeometryError, match=r"Fe 0\.5 nm, O 1 nm"):
        load_maps({"Fe": one, "O": tmp_path / "b.mrc"}, TILTS)
    with pytest.raises(GeometryError, match="one shape"):
        load_maps({"Fe": one, "O": save(tmp_path / "c.mrc", DATA[:, :-1])}, TILTS)


def test_f10_given_pixel_goes_first_and_says_so(tmp_path: Path) -> None:
    path = save(tmp_path / "a.mrc", DATA)
    with pytest.warns(
        ReadWarning, match=r"pixel of 0\.7 nm that was given is used; the files say Fe 0\.5 nm"
    ):
        assert load_maps({"Fe": path}, TILTS, 0.7).pixel_nm == 0.7
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_maps({"Fe": path}, TILTS, 0.501)


def test_f10_imagej_calibration_counts_and_bare_resolution_does_not(tmp_path: Path) -> None:
    options = {"resolution": (2.0, 2.0), "photometric": "minisblack"}
    tifffile.imwrite(tmp_path / "a.tif", DATA, imagej=True, metadata={"axes": "ZYX", "unit": "nm"}, **options)
    assert read_stack(tmp_path / "a.tif").pixel_nm == pytest.approx(0.5)
    tifffile.imwrite(tmp_path / "b.tif", DATA, **options)
    assert read_stack(tmp_path / "b.tif").pixel_nm is None


def test_counts_are_marked_and_checked(tmp_path: Path) -> None:
    path = save(tmp_path / "a.tif", DATA)
    assert load_maps({"Fe": path}, TILTS, counts=True).counts_per_unit == 1.0
    assert load_maps({"Fe": path}, TILTS).counts_per_unit is None
    with pytest.raises(InputError, match="90 of them"):
        load_maps({"Fe": save(tmp_path / "b.tif", -DATA)}, TILTS, counts=True)


def test_folder_with_one_image_per_view(tmp_path: Path) -> None:
    for i, view in enumerate(DATA):
        tifffile.imwrite(tmp_path / f"view_{i + 9}.tif", view)  # 9, 10, 11: natural order
    np.testing.assert_array_equal(load_maps({"Fe": tmp_path}, TILTS, 1.0).data[0], DATA)
    (tmp_path / "extra.mrc").write_bytes(b"")
    with pytest.raises(ReadError, match="one kind"):
        load_maps({"Fe": tmp_path}, TILTS, 1.0)


@pytest.mark.parametrize("last", [True, False])
def test_folder_with_all_channels_per_view(tmp_path: Path, last: bool) -> None:
    data = np.stack([DATA, DATA + 100])  # (c, t, y, x)
    for t, tilt in enumerate(TILTS):
        view = data[:, t].transpose(1, 2, 0) if last else data[:, t]
        np.save(tmp_path / f"tilt_{tilt:+g}.npy", view)
    maps = load_map_folder(tmp_path, ("Fe", "O"), None, 0.5)
    np.testing.assert_array_equal(maps.data, data)
    assert maps.tilts_deg == TILTS
    with pytest.raises(GeometryError, match="3 along c"):
        load_map_folder(tmp_path, ("Fe", "O", "Co"), None, 0.5)
    with pytest.raises(GeometryError, match=r"expected 2 .*got 3|expected 3 .*got 2"):
        load_map_folder(tmp_path, ("Fe", "O"), (0.0, 10.0), 0.5)


def test_f14_claims_are_refused_before_allocation(tmp_path: Path) -> None:
    header = tmp_path / "a.npy"
    with header.open("wb") as stream:
        np.lib.format.write_array_header_1_0(
            stream, {"descr": "<f4", "fortran_order": False, "shape": (10**5, 10**5)}
        )
    with pytest.raises(ReadError, match=r"37\.3 GiB"):
        read_stack(header)
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("Fe.npy", header.read_bytes())
    with pytest.raises(ReadError, match=r"37\.3 GiB"):
        read_stack(tmp_path / "a.npz", "Fe")
    path = save(tmp_path / "a.mrc", DATA)
    raw = bytearray(path.read_bytes())
    raw[:12] = np.array([10**4, 10**4, 100], "<i4").tobytes()
    path.write_bytes(raw)
    with pytest.raises(ReadError, match=r"37\.3 GiB"):
        read_stack(path)
    with pytest.raises(ReadError, match="give max_bytes"):
        read_stack(save(tmp_path / "b.tif", DATA), max_bytes=100)


def test_f15_objects_are_refused(tmp_path: Path) -> None:
    harmless = np.array([{"a": 1}], dtype=object)
    np.save(tmp_path / "a.npy", harmless, allow_pickle=True)
    np.savez(tmp_path / "a.npz", Fe=harmless)
    scipy.io.savemat(tmp_path / "a.mat", {"Fe": {"b": np.ones((3, 3))}})
    for suffix in (".npy", ".npz", ".mat"):
        with pytest.raises(ReadError):
            read_stack(tmp_path / f"a{suffix}", "Fe")


def test_f13_file_without_the_channel(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", Co=DATA, Mn=DATA)
    with pytest.raises(ReadError, match="'Fe', got Co, Mn"):
        load_maps({"Fe": tmp_path / "a.npz"}, TILTS, 1.0)
    maps = load_maps(dict.fromkeys(("Mn", "Co"), tmp_path / "a.npz"), TILTS, 1.0)
    assert maps.data.shape == (2, 3, 6, 5)


def test_f55_saved_maps_come_back_exactly(tmp_path: Path, maps: ChannelMaps) -> None:
    names = [path.name for path in save_maps(maps, tmp_path)]
    assert names[:2] == ["maps_FeO.tif", "variance_FeO.tif"]
    assert names[-1] == "maps.json"
    back = load_saved_maps(tmp_path)
    for field in ("data", "covariance", "valid"):
        np.testing.assert_array_equal(getattr(back, field), getattr(maps, field))
    for field in ("channels", "tilts_deg", "pixel_nm", "counts_per_unit"):
        assert getattr(back, field) == getattr(maps, field)
    variance = tifffile.imread(tmp_path / "variance_Fe3O4.tif")
    np.testing.assert_array_equal(variance, maps.covariance[1, 1])
    with pytest.raises(ReadError, match="aligned series"):
        load_saved_series(tmp_path)


def test_f55_a_single_view_comes_back_as_one(tmp_path: Path) -> None:
    """A TIFF of one image forgets that it was a stack."""
    values = np.arange(12, dtype=np.float32).reshape(1, 1, 3, 4)
    save_maps(ChannelMaps(values, ("FeO",), (10.0,), 0.5), tmp_path)
    np.testing.assert_array_equal(load_saved_maps(tmp_path).data, values)


def test_f55_aligned_series_keeps_its_alignment(tmp_path: Path, maps: ChannelMaps) -> None:
    alignment = Alignment(np.array([[0.1, -2.0], [0, 0], [3, 4]]), 0.3, -1.5, (0.2, 0.1))
    series = TiltSeries(maps.data, maps.channels, maps.tilts_deg, maps.pixel_nm, alignment=alignment)
    save_maps(series, tmp_path)
    back = load_saved_series(tmp_path)
    assert back.alignment is not None
    np.testing.assert_array_equal(back.alignment.shifts_px, alignment.shifts_px)
    assert (back.alignment.axis_angle_deg, back.alignment.axis_offset_px) == (0.3, -1.5)
    assert (back.covariance, back.valid) == (None, None)


def test_f52_interrupted_folder_is_recognised(tmp_path: Path, maps: ChannelMaps) -> None:
    save_maps(maps, tmp_path / "old")
    save_maps(maps.replace(data=maps.data + 1), tmp_path / "new")
    (tmp_path / "new" / "maps_FeO.tif").replace(tmp_path / "old" / "maps_FeO.tif")
    with pytest.raises(ReadError, match=r"maps_FeO\.tif.*interrupted"):
        load_saved_maps(tmp_path / "old")


def test_f54_index_cannot_lead_out_of_the_folder(tmp_path: Path, maps: ChannelMaps) -> None:
    save_maps(maps, tmp_path)
    index = json.loads((tmp_path / "maps.json").read_text())
    index["sha256"] = {"../../secret.tif": "0"}
    (tmp_path / "maps.json").write_text(json.dumps(index))
    with pytest.raises(ReadError, match=r"_\.\._secret\.tif"):
        load_saved_maps(tmp_path)


@pytest.mark.real_data
def test_quantum_dot_series(data_folder: Path) -> None:
    folder = data_folder / "quantum_dot_edx" / "QD1"
    maps = load_map_folder(folder, ("Se", "S", "Zn"), range(-60, 61, 10), 0.2, counts=True)
    assert maps.data.shape == (3, 13, 256, 256)
    assert maps.counts_per_unit == 1.0
    np.testing.assert_array_equal(maps.data, np.round(maps.data))
    first = scipy.io.loadmat(folder / "input_0091.mat")["input"]
    np.testing.assert_array_equal(maps.data[:, 0], first.transpose(2, 0, 1))
    with pytest.raises(GeometryError, match="angle in each file name"):
        load_map_folder(folder, ("Se", "S", "Zn"), None, 0.2)
