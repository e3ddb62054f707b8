"""A microscope file to what it says of its spectrum images: kind, shape, energies, pixel, tilt; no counts."""

from __future__ import annotations

import math
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

import numpy as np

from napari_dipmtv.data import F32, EnergyAxis
from napari_dipmtv.errors import ReadError, expected
from napari_dipmtv.io.angles import tilt_from_name
from napari_dipmtv.io.guard import check_size, plain, reading
from napari_dipmtv.io.hspy import hspy_signals
from napari_dipmtv.io.stacks import check_npz
from napari_dipmtv.io.units import ev_per, length_nm

Kind = Literal["low-loss", "core-loss", "EELS", "EDS"]

# The RosettaSciIO plugins that hold spectrum images and run no code from the file.
_PLUGINS = {
    ".hspy": "hspy",
    ".dm3": "digitalmicrograph",
    ".dm4": "digitalmicrograph",
    ".bcf": "bruker",
    ".emd": "emd",
    ".prz": "pantarhei",
    ".rpl": "ripple",
    ".spd": "edax",
    ".pts": "jeol",
    ".asw": "jeol",
    ".nxs": "nexus",
}
SPECTRUM_SUFFIXES = tuple(_PLUGINS)
# Decoders in C without bounds checks: a half-copied file would take the whole program down with it.
_CRASHING = {".bcf"}
_TRIAL = """
import sys, numpy
from rsciio.bruker import file_reader
for signal in file_reader(sys.argv[1], lazy=True):
    numpy.asarray(signal["data"])
"""
_TRIAL_SECONDS = 300
_CORE_LOSS_FROM_EV = 100.0
_SAME_TILT_DEG = 1.0
_TILT = "Acquisition_instrument.TEM.Stage.tilt_alpha"
_BEAM = "Acquisition_instrument.TEM.beam_energy"


@dataclass(frozen=True, slots=True)
class SpectrumImageHeader:
    """What a file says of one spectrum image, before its counts are read.

    Attributes
    ----------
    path : Path
    kind : {"low-loss", "core-loss", "EELS", "EDS"}
        "EELS" where neither the energies nor the name tell low from core loss.
    shape : tuple of int
        (y, x, e).
    energy : EnergyAxis
        In eV, ascending.
    pixel_nm : float or None
        None where the file has no usable calibration.
    stage_tilt_deg, name_tilt_deg : float or None
        Tilt from the metadata and from the file name.
    beam_kev : float or None
    title : str
    """

    path: Path
    kind: Kind
    shape: tuple[int, int, int]
    energy: EnergyAxis
    pixel_nm: float | None
    stage_tilt_deg: float | None
    name_tilt_deg: float | None
    beam_kev: float | None
    title: str

    @property
    def tilt_deg(self) -> float | None:
        """Tilt in degrees, None where nothing tells it or the two sources disagree.

        A stage tilt of exactly 0 is what programs write that do not know the stage, so the name goes before
        it.
        """
        stage, name = self.stage_tilt_deg, self.name_tilt_deg
        if not stage or name is None:
            return stage if name is None else name
        return stage if abs(stage - name) <= _SAME_TILT_DEG else None

    @property
    def conflict(self) -> bool:
        """True where metadata and file name state different tilts."""
        return self.tilt_deg is None and self.stage_tilt_deg is not None and self.name_tilt_deg is not None


@dataclass(frozen=True, slots=True, eq=False)
class SpectrumEntry:
    """A header with the way to its counts; valid only while the file is open."""

    header: SpectrumImageHeader
    source: Any  # lazy array in the order of the file
    order: tuple[int, int, int]  # axes of the file that are y, x, e
    descending: bool
    metadata: Mapping[str, Any]

    def counts(self) -> F32:
        """Read the counts as float32 (y, x, e), energies ascending."""
        if self.header.path.suffix.lower() in _CRASHING:
            _try_in_child(self.header.path)
        counts = np.asarray(self.source).transpose(self.order)
        if self.descending:
            counts = counts[..., ::-1]
        return np.ascontiguousarray(counts, dtype=np.float32)


def probe(path: Path, max_bytes: int | None = None) -> tuple[SpectrumImageHeader, ...]:
    """Read only the headers of the spectrum images in a file; empty where it holds other things.

    Raises
    ------
    ReadError
        For a file that is missing, damaged, of an unknown kind or that claims more than the memory.
    """
    with spectrum_entries(Path(path), max_bytes) as entries:
        return tuple(entry.header for entry in entries)


@contextmanager
def spectrum_entries(path: Path, max_bytes: int | None = None) -> Iterator[list[SpectrumEntry]]:
    """Open a file and find its spectrum images; sizes are checked before any memory is asked for."""
    with _signals(path, max_bytes) as signals:
        entries = [entry for signal in signals if (entry := _entry(path, signal)) is not None]
        for entry in entries:
            check_size(path, entry.header.shape, np.dtype(np.float32).itemsize, max_bytes)
        yield entries


@contextmanager
def _signals(path: Path, max_bytes: int | None) -> Iterator[list[dict[str, Any]]]:
    suffix = path.suffix.lower()
    with reading(path):
        if suffix not in _PLUGINS:
            raise ReadError(
                expected(
                    f"file {path}",
                    f"a spectrum image ({', '.join(SPECTRUM_SUFFIXES)})",
                    f"the ending '{suffix}'",
                    "Open it in HyperSpy and save it as .hspy",
                )
            )
        if suffix == ".hspy":
            with hspy_signals(path, max_bytes) as signals:
                yield signals
            return
        if suffix == ".prz":
            check_npz(path, max_bytes)  # older releases of RosettaSciIO would unpickle what is in there
        yield list(import_module(f"rsciio.{_PLUGINS[suffix]}").file_reader(str(path), lazy=True))


def _try_in_child(path: Path) -> None:
    """Decode the file once in a process that may crash; raises `ReadError` where it does."""
    trial = subprocess.run(
        [sys.executable, "-P", "-c", _TRIAL, str(path)],
        capture_output=True,
        text=True,
        timeout=_TRIAL_SECONDS,
    )
    if trial.returncode:
        reason = (trial.stderr.strip().splitlines() or [f"its decoder crashed with code {trial.returncode}"])[
            -1
        ]
        raise ReadError(
            expected(f"file {path}", "a complete file of its kind", reason, "Copy or export it again")
        )


def _entry(path: Path, signal: Mapping[str, Any]) -> SpectrumEntry | None:
    axes, data = list(signal["axes"]), signal["data"]
    spectral = [i for i, axis in enumerate(axes) if _is_energy(axis)]
    if len(axes) != 3 or len(data.shape) != 3 or len(spectral) != 1:
        return None
    e = spectral[0]
    y, x = (i for i in range(3) if i != e)
    shape = (int(data.shape[y]), int(data.shape[x]), int(data.shape[e]))
    energy, descending = _energy_axis(path, axes[e], shape[2])
    metadata = plain(signal.get("metadata", {}))
    signal_type = str(metadata.get("Signal", {}).get("signal_type", ""))
    title = str(metadata.get("General", {}).get("title", ""))
    is_eds = signal_type.startswith("EDS") or (not signal_type and str(axes[e].get("units")).lower() == "kev")
    header = SpectrumImageHeader(
        path=path,
        kind="EDS" if is_eds else _loss_kind(energy, f"{path.stem} {title}"),
        shape=shape,
        energy=energy,
        pixel_nm=_pixel_nm(path, axes[y], axes[x]),
        stage_tilt_deg=_mapped_number(signal, _TILT),
        name_tilt_deg=tilt_from_name(path.name),
        beam_kev=_mapped_number(signal, _BEAM),
        title=title,
    )
    kept = {**metadata.get("dipmtv", {}), "source": path.name, "signal_type": signal_type}
    return SpectrumEntry(header, data, (y, x, e), descending, kept)


def _is_energy(axis: Mapping[str, Any]) -> bool:
    return ev_per(axis.get("units")) is not None or "energy" in str(axis.get("name", "")).lower()


def _energy_axis(path: Path, axis: Mapping[str, Any], size: int) -> tuple[EnergyAxis, bool]:
    factor = ev_per(axis.get("units"))
    if factor is None:
        raise ReadError(
            expected(
                f"file {path}, energy axis",
                "a unit (eV, keV)",
                repr(axis.get("units")),
                "Calibrate the axis and save again",
            )
        )
    start, step = float(axis["offset"]) * factor, float(axis["scale"]) * factor
    if step < 0:
        return EnergyAxis(start + step * (size - 1), -step, size), True
    return EnergyAxis(start, step, size), False


def _loss_kind(energy: EnergyAxis, names: str) -> Kind:
    if energy.start_ev <= 0 <= energy.stop_ev:
        return "low-loss"
    if energy.start_ev > _CORE_LOSS_FROM_EV:
        return "core-loss"
    if re.search(r"low[\s_-]?loss|(?:^|[\s_-])LL(?:$|[\s_-])", names, re.IGNORECASE):
        return "low-loss"
    if re.search(r"(?:core|high)[\s_-]?loss|(?:^|[\s_-])[CH]L(?:$|[\s_-])", names, re.IGNORECASE):
        return "core-loss"
    return "EELS"


def _pixel_nm(path: Path, y_axis: Mapping[str, Any], x_axis: Mapping[str, Any]) -> float | None:
    y_nm, x_nm = (length_nm(axis.get("scale"), axis.get("units")) for axis in (y_axis, x_axis))
    if y_nm is not None and x_nm is not None and not math.isclose(y_nm, x_nm, rel_tol=0.01):
        raise ReadError(
            expected(
                f"file {path}", "square pixels", f"{y_nm:g} x {x_nm:g} nm (y, x)", "Rebin one axis to match"
            )
        )
    return x_nm if y_nm is not None else None


def _mapped_number(signal: Mapping[str, Any], name: str) -> float | None:
    """A number from the metadata or, as HyperSpy does it, from the original metadata through the mapping."""
    value = _at(signal.get("metadata", {}), name.split("."))
    for original, (target, convert) in signal.get("mapping", {}).items():
        if value is None and target == name:
            found = _at(signal.get("original_metadata", {}), original.split("."))
            value = found if found is None or convert is None else convert(found)
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def _at(tree: Any, keys: Sequence[str]) -> Any:
    for key in keys:
        if not hasattr(tree, "get"):
            return None
        tree = tree.get(key)
    return tree
