"""Measures and the story of a result to CSV and JSON."""

from __future__ import annotations

import csv
import io
import json
import platform
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, is_dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from napari_dipmtv import __version__
from napari_dipmtv.data import Segmentation, Volume
from napari_dipmtv.errors import InputError, expected
from napari_dipmtv.inspect.profile import Profile, profile
from napari_dipmtv.io.atomic import write_bytes
from napari_dipmtv.io.guard import plain, sha256

_PACKAGES = ("torch", "numpy", "scipy", "scikit-image", "hyperspy", "rosettasciio", "astra-toolbox", "napari")
_NUMBER = r"(?:-?\d[\d.]*(?:[eE][-+]?\d+)?|null)"
_SPREAD_OUT = re.compile(rf"\[\n\s+({_NUMBER}(?:,\n\s+{_NUMBER})*)\n\s*\]")  # no string holds a bare line end
_CARRIED = ("created", "versions", "settings", "tilts_deg", "method", "iterations", "device")


def provenance(
    settings: Mapping[str, Any],
    *,
    tilts_deg: Sequence[float] = (),
    inputs: Sequence[Path] = (),
    device: str = "",
    seconds: float | None = None,
) -> dict[str, Any]:
    """Tell how a result came about, in plain types for `save_report`.

    Parameters
    ----------
    settings : mapping
        Settings of the stages (pydantic models or plain values) by stage.
    tilts_deg : sequence of float
    inputs : sequence of Path
        Files that went in; each is hashed.
    device : str
    seconds : float, optional

    Returns
    -------
    dict
        With the versions of the packages that matter (read from their metadata, nothing is imported).
    """
    return {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": {"napari-dipmtv": __version__, "python": platform.python_version(), **_versions()},
        "device": device,
        "seconds": seconds,
        "settings": {stage: _dump(value) for stage, value in settings.items()},
        "tilts_deg": plain(tilts_deg),
        "inputs": {str(path): sha256(path) for path in _all_files(inputs)},
    }


def with_provenance(volume: Volume, story: Mapping[str, Any] | None) -> Volume:
    """Give a volume whose metadata tell, under "provenance", how it came about; curves and hashes stay out."""
    carried = {key: plain(story[key]) for key in _CARRIED if key in story} if story else {}
    return volume.replace(metadata={**volume.metadata, "provenance": carried}) if carried else volume


def save_report(report: Mapping[str, Any], path: Path) -> Path:
    """Write a report as JSON, a row of numbers on one line, those not finite as null; raises `WriteError`."""
    text = json.dumps(plain(report), indent=2, ensure_ascii=False, allow_nan=False)
    text = _SPREAD_OUT.sub(lambda row: f"[{' '.join(row[1].split())}]", text)
    return write_bytes(Path(path), text.encode())


def save_table(rows: Sequence[Any], path: Path) -> Path:
    """Write measures, dataclasses or mappings with the same fields, as CSV (UTF-8 with mark, for Excel).

    Raises
    ------
    InputError
        For rows of different fields.
    WriteError
        An older file stays as it was.
    """
    table = [asdict(row) if is_dataclass(row) and not isinstance(row, type) else dict(row) for row in rows]
    if not table or any(row.keys() != table[0].keys() for row in table):
        got = [list(row) for row in table] or "no rows"
        raise InputError(expected("table", "rows with the same columns", got, "Measure again"))
    text = io.StringIO()
    writer = csv.DictWriter(text, list(table[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(table)
    return write_bytes(Path(path), text.getvalue().encode("utf-8-sig"))


def save_profiles(volume: Volume, segmentation: Segmentation, folder: Path) -> list[Path]:
    """Write ``profile_depth.csv`` and ``profile_radius.csv``: mean and spread of each density over thin shells.

    The radius is counted from the centre of all matter, so it means something for one particle. Raises `WriteError`,
    and `InputError` where there is no matter.
    """
    found = (profile(volume, segmentation, "depth"), profile(volume, segmentation, "radius"))
    return [save_table(_profile_rows(one), Path(folder) / f"profile_{one.coordinate}.csv") for one in found]


def _profile_rows(found: Profile) -> list[dict[str, float]]:
    rows = []
    for i, position_nm in enumerate(found.position_nm):
        row = {f"{found.coordinate}_nm": float(position_nm), "voxels": int(found.voxels[i])}
        for name, mean, std in zip(found.channels, found.mean[:, i], found.std[:, i], strict=True):
            row |= {f"{name} mean": float(mean), f"{name} std": float(std)}
        rows.append(row)
    return rows


def particle_rows(particles: Sequence[Sequence[Any]]) -> list[dict[str, Any]]:
    """Measures of several particles as rows with the number of the particle in front."""
    return [
        {"particle": number, **asdict(row)} for number, rows in enumerate(particles, start=1) for row in rows
    ]


def _versions() -> dict[str, str]:
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _all_files(inputs: Sequence[Path]) -> list[Path]:
    """Files that went in; a ``.zspy`` folder counts as one."""
    paths = [Path(path) for path in inputs]
    return [p for path in paths for p in ([path] if _is_file(path) else _inside(path)) if _is_file(p)]


def _is_file(path: Path) -> bool:
    return path.is_file() or (path.is_dir() and path.suffix.lower() == ".zspy")


def _inside(path: Path) -> list[Path]:
    return sorted(path.iterdir()) if path.is_dir() else []


def _dump(value: Any) -> Any:
    return plain(value.model_dump(mode="json") if hasattr(value, "model_dump") else value)
