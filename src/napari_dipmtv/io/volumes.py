"""Volumes and phase labels to OME-TIFF, OME-Zarr, MRC, EMD and HyperSpy files, and back."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from napari_dipmtv import __version__
from napari_dipmtv.data import F32, Segmentation, Volume
from napari_dipmtv.errors import GeometryError, ReadError, WriteError, expected
from napari_dipmtv.io.atomic import atomic_write, output_folder, safe_names, write_bytes
from napari_dipmtv.io.emd import emd_bytes, read_emd
from napari_dipmtv.io.guard import natural_key, plain, reading
from napari_dipmtv.io.hspy import Axis, hspy_bytes, hspy_signals
from napari_dipmtv.io.ome import digest, read_ome, write_ome
from napari_dipmtv.io.ome_zarr import load_ome_zarr, save_ome_zarr
from napari_dipmtv.io.stacks import read_stack

VolumeFormat = Literal["ome-tiff", "mrc", "hspy", "emd", "ome-zarr"]
VOLUME_FORMATS: tuple[VolumeFormat, ...] = get_args(VolumeFormat)
OME_ZARR = "volume.ome.zarr"
_MRC_LABEL = "napari-dipmtv channel "
_MRC_SOFTWARE = "written by napari-dipmtv "


def save_volume(
    volume: Volume,
    folder: Path,
    formats: Sequence[VolumeFormat] = ("ome-tiff",),
    segmentation: Segmentation | None = None,
) -> list[Path]:
    """Write a volume for other programs and for `load_volume`.

    Parameters
    ----------
    volume : Volume
        (c, z, y, x).
    folder : Path
        Made where it is missing.
    formats : sequence of {"ome-tiff", "mrc", "hspy", "emd", "ome-zarr"}
        ``volume_<channel>.tif`` (z, y, x) float32 OME-TIFF in nm; ``volume_<channel>.mrc`` with voxels in Å;
        ``volume.hspy`` with the channels as navigation axis; ``volume_<channel>.emd`` (Berkeley) in nm;
        ``volume.ome.zarr``, a folder.
    segmentation : Segmentation, optional
        Becomes the label image of the OME-Zarr; the other formats hold densities only.

    Returns
    -------
    list of Path

    Raises
    ------
    WriteError
        Each file is either the old or the new one, complete.
    """
    folder = output_folder(folder)
    names = safe_names(volume.channels)
    token = digest(
        volume.data, {"voxel_nm": volume.voxel_nm}
    )  # files of two saves are never taken for one volume
    paths = []
    for kind in formats:
        if kind == "hspy":
            paths.append(write_bytes(folder / "volume.hspy", _hspy(volume)))
        elif kind == "ome-zarr":
            paths.append(save_ome_zarr(volume, folder / OME_ZARR, segmentation))
        for c, (channel, name) in enumerate(zip(volume.channels, names, strict=True)):
            data, path = volume.data[c], folder / f"volume_{name}"
            facts = {"volume": token, "channel": c, "of": len(names), "metadata": volume.metadata}
            if kind == "ome-tiff":
                paths.append(
                    write_ome(
                        path.with_name(f"{path.name}.tif"), data, "ZYX", volume.voxel_nm, channel, facts
                    )
                )
            elif kind == "mrc":
                paths.append(_save_mrc(path.with_name(f"{path.name}.mrc"), data, volume.voxel_nm, channel))
            elif kind == "emd":
                content = emd_bytes(data, volume.voxel_nm, channel, facts)
                paths.append(write_bytes(path.with_name(f"{path.name}.emd"), content))
    return paths


def load_volume(paths: Path | Sequence[Path], max_bytes: int | None = None) -> Volume:
    """Read a volume that `save_volume` wrote.

    Parameters
    ----------
    paths : Path or sequence of Path
        The folder (its ``volume_*.tif``, else ``volume.ome.zarr``, ``volume.hspy``, ``volume_*.mrc`` or
        ``volume_*.emd``), one file, or one per channel.
    max_bytes : int, optional
        Confirmed limit, see `napari_dipmtv.io.guard.check_size`.

    Raises
    ------
    ReadError
        For damaged files and for files of different volumes.
    """
    files = _volume_files(paths)
    if files[0].suffix == ".hspy":
        return _load_hspy(files[0], max_bytes)
    if files[0].suffix == ".zarr":
        return load_ome_zarr(files[0], max_bytes)[0]
    if files[0].suffix == ".mrc":
        return _joined([(*_load_mrc(path, max_bytes), {}) for path in files], files)
    parts = [_part(path, max_bytes) for path in files]
    _check_set(files, [part[3] for part in parts])
    parts.sort(key=lambda part: part[3]["channel"])
    return _joined(parts, files)


def save_labels(segmentation: Segmentation, path: Path) -> Path:
    """Write phase labels (z, y, x) as uint8 OME-TIFF; the names of the phases stand in its description."""
    facts = {"phases": {str(value): name for value, name in segmentation.phases.items()}}
    return write_ome(Path(path), segmentation.labels, "ZYX", segmentation.voxel_nm, "labels", facts)


def load_labels(path: Path, max_bytes: int | None = None) -> Segmentation:
    """Read phase labels that `save_labels` wrote; raises `ReadError` for anything else."""
    path = Path(path)
    labels, note = read_ome(path, max_bytes)
    with reading(path):
        phases = {int(value): str(name) for value, name in note["phases"].items()}
        return Segmentation(labels, phases, note["pixel_nm"])


def _volume_files(paths: Path | Sequence[Path]) -> list[Path]:
    if not isinstance(paths, str | Path):
        files = [Path(path) for path in paths]
    elif Path(paths).is_dir() and Path(paths).suffix != ".zarr":
        patterns = ("volume_*.tif", OME_ZARR, "volume.hspy", "volume_*.mrc", "volume_*.emd")
        found = (sorted(Path(paths).glob(pattern), key=natural_key) for pattern in patterns)
        files = next((some for some in found if some), [])
    else:
        files = [Path(paths)]
    if (
        not files
        or len({path.suffix for path in files}) > 1
        or files[0].suffix not in {".tif", ".hspy", ".mrc", ".emd", ".zarr"}
    ):
        got = [path.name for path in files] or "none"
        raise ReadError(
            expected(
                f"volume {paths}",
                "volume_*.tif, .mrc, .emd, volume.hspy or .ome.zarr",
                got,
                "Choose one kind",
            )
        )
    return files


def _check_set(files: Sequence[Path], notes: Sequence[dict[str, Any]]) -> None:
    if len({note["volume"] for note in notes}) > 1 or sorted(n["channel"] for n in notes) != list(
        range(notes[0]["of"])
    ):
        got = ", ".join(path.name for path in files)
        advice = "Files are missing, or saving was interrupted between them; export the volume again"
        raise ReadError(expected("volume", f"the {notes[0]['of']} channels of one volume", got, advice))


def _joined(
    parts: Sequence[tuple[NDArray[Any], str, float, dict[str, Any]]], files: Sequence[Path]
) -> Volume:
    shapes, voxels = {part[0].shape for part in parts}, [part[2] for part in parts]
    if len(shapes) > 1 or not all(math.isclose(voxel, voxels[0], rel_tol=1e-6) for voxel in voxels):
        raise GeometryError(
            expected(f"volume {files}", "one shape and voxel", (shapes, voxels), "Choose its channels")
        )
    with reading(files[0]):
        return Volume(
            np.stack([part[0] for part in parts]),
            tuple(part[1] for part in parts),
            voxels[0],
            parts[0][3].get("metadata", {}),
        )


def _part(path: Path, max_bytes: int | None) -> tuple[NDArray[Any], str, float, dict[str, Any]]:
    """One channel with its name, voxel size and facts."""
    if path.suffix == ".emd":
        return read_emd(path, max_bytes)
    data, note = read_ome(path, max_bytes)
    if note["axes"] != "ZYX" or "volume" not in note:
        raise ReadError(
            expected(f"file {path}", "a channel of a volume", note["axes"], "Choose volume_*.tif")
        )
    return data, note["name"], note["pixel_nm"], note


def _save_mrc(path: Path, data: F32, voxel_nm: float, channel: str) -> Path:
    import mrcfile

    def write(partial: Path) -> None:
        with mrcfile.new(partial, data=data, overwrite=True) as file:  # (z, y, x): sections of rows
            file.set_volume()
            file.voxel_size = 10 * voxel_nm  # MRC counts in Å
            file.add_label(f"{_MRC_LABEL}{channel.encode('ascii', 'replace').decode()[:40]}")
            file.add_label(f"{_MRC_SOFTWARE}{__version__}")

    def verify(partial: Path) -> None:
        if not np.array_equal(read_stack(partial).data, data, equal_nan=True):
            raise WriteError(expected(f"file {path}", "what was written", "something else", "Check the disk"))

    return atomic_write(path, write, verify=verify, size_bytes=data.nbytes)


def _load_mrc(path: Path, max_bytes: int | None) -> tuple[NDArray[Any], str, float]:
    import mrcfile

    stack = read_stack(path, max_bytes=max_bytes)
    with reading(path):
        with mrcfile.open(path, header_only=True) as file:
            labels = [label for label in file.get_labels() if label.startswith(_MRC_LABEL)]
        if stack.pixel_nm is None:
            raise ReadError(
                expected(f"file {path}", "a voxel size in Å", "none", "Calibrate it and save it again")
            )
        name = labels[0].removeprefix(_MRC_LABEL).split("  ")[0].strip() if labels else path.stem
        return stack.data, name, stack.pixel_nm


def _hspy(volume: Volume) -> bytes:
    axes = [Axis("channel", volume.data.shape[0], 1.0, 0.0, "", navigate=True)]
    for name, size in zip("zyx", volume.data.shape[1:], strict=True):
        axes.append(Axis(name, size, volume.voxel_nm, 0.0, "nm", navigate=name == "z"))
    metadata = {
        "Signal": {"signal_type": ""},
        "dipmtv": {"channels": json.dumps(volume.channels), "metadata": json.dumps(plain(volume.metadata))},
    }
    return hspy_bytes(volume.data, axes, "volume", metadata)


def _load_hspy(path: Path, max_bytes: int | None) -> Volume:
    with hspy_signals(path, max_bytes) as signals:
        signal = signals[0]
        note = signal["metadata"]["dipmtv"]
        channels, metadata = json.loads(note["channels"]), json.loads(note["metadata"])
        return Volume(
            np.asarray(signal["data"]), tuple(channels), float(signal["axes"][-1]["scale"]), metadata
        )
