"""Files as other programs write them, with known content."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import numcodecs
import numpy as np

from napari_dipmtv.io.hspy import Axis, hspy_bytes


def write(
    path: Path,
    *,
    start: float = -5.0,
    units: tuple[str, str] = ("nm", "eV"),
    pixel: tuple[float, float] = (0.37, 0.37),
    tilt: float | None = None,
    step: float = 0.5,
    shape: tuple[int, int, int] = (3, 4, 30),
    order: tuple[int, int, int] = (0, 1, 2),
    signal_type: str = "EELS",
) -> Path:
    """Write a foreign ``.hspy`` file with chosen axes; counts are a ramp (y, x, e)."""
    axes = [
        Axis("y", shape[0], pixel[0], 0.0, units[0], navigate=True),
        Axis("x", shape[1], pixel[1], 0.0, units[0], navigate=True),
        Axis("Energy loss", shape[2], step, start, units[1], navigate=False),
    ]
    data = np.arange(np.prod(shape), dtype=">u2").reshape(shape).transpose(order)
    stage = {} if tilt is None else {"Acquisition_instrument": {"TEM": {"Stage": {"tilt_alpha": tilt}}}}
    tree: dict[str, Any] = {"Signal": {"signal_type": signal_type}, **stage}
    path.write_bytes(hspy_bytes(data, [axes[i] for i in order], path.stem, tree))
    return path


def write_zspy(
    path: Path, data: np.ndarray, tilt: float = 10.0, *, zipped: bool = False, **array: Any
) -> Path:
    """Write a low loss (y, x, e) into the files that HyperSpy's ``.zspy`` consists of under zarr 2.

    ``array`` goes over the fields of the description of the data.
    """
    axes = [("y", "nm", 0.37, 0.0), ("x", "nm", 0.37, 0.0), ("Energy loss", "eV", 0.5, -5.0)]
    codec = numcodecs.Blosc(cname="zstd", clevel=1)
    about = {"zarr_format": 2, "shape": data.shape, "chunks": (2, *data.shape[1:]), "dtype": data.dtype.str}
    about |= {"compressor": codec.get_config(), "fill_value": 0, "order": "C", "filters": None}
    about |= {"dimension_separator": "/"}
    signal = "Experiments/low loss"
    attributes: dict[str, dict[str, Any]] = {
        "": {"file_format": "ZSpy", "file_format_version": "3.3"},
        "Experiments/": {},
        f"{signal}/": {},
        f"{signal}/original_metadata/": {},
        f"{signal}/attributes/": {"_lazy": False, "ragged": False},
        f"{signal}/metadata/": {},
        f"{signal}/metadata/General/": {"title": "low loss"},
        f"{signal}/metadata/Signal/": {"signal_type": "EELS"},
        f"{signal}/metadata/Acquisition_instrument/": {},
        f"{signal}/metadata/Acquisition_instrument/TEM/": {"beam_energy": 200.0},
        f"{signal}/metadata/Acquisition_instrument/TEM/Stage/": {"tilt_alpha": tilt},
    }
    for i, (name, units, scale, offset) in enumerate(axes):
        facts = {"name": name, "units": units, "scale": scale, "offset": offset, "size": data.shape[i]}
        attributes[f"{signal}/axis-{i}/"] = {"_type": "UniformDataAxis", "navigate": i < 2, **facts}
    files = {f"{place}.zgroup": b'{"zarr_format": 2}' for place in attributes}
    files |= {f"{place}.zattrs": json.dumps(facts).encode() for place, facts in attributes.items()}
    files[f"{signal}/data/.zarray"] = json.dumps({**about, **array}).encode()
    for row in range(0, len(data), 2):
        chunk = np.zeros((2, *data.shape[1:]), data.dtype)
        chunk[: len(data) - row] = data[row : row + 2]
        files[f"{signal}/data/{row // 2}/0/0"] = codec.encode(chunk)
    if zipped:
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in files.items():
                archive.writestr(name, content)
        return path
    for name, content in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(content)
    return path
