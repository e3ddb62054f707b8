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

from napari_dipmtv.data import F32, F64, EnergyAxis
from napari_dipmtv.errors import ReadError, expected
from napari_dipmtv.io.angles import tilt_from_name
from napari_dipmtv.io.axes import energy_axis, is_energy, pixel_nm
from napari_dipmtv.io.guard import check_claim, check_size, plain, reading
from napari_dipmtv.io.hspy import check_header, hspy_signals
from napari_dipmtv.io.part import WHOLE, Part
from napari_dipmtv.io.stacks import check_npz
from napari_dipmtv.io.uneven import rebin_uniform
from napari_dipmtv.io.zspy import zspy_signals

Kind = Literal["low-loss", "core-loss", "EELS", "EDS"]

# The RosettaSciIO plugins that hold spectrum images and run no code from the file.
_PLUGINS = {
    ".hspy": "hspy",
    ".zspy": "zspy",
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
_HDF5 = {".emd", ".nxs"}
# PantaRhei writes its metadata twice; the pickled ones are not read where there are those in JSON.
_PRZ_TWICE = {"meta_data": "meta_data_json", "data_model": "meta_data_json"}
_TRIAL = """
import sys, numpy
from rsciio.bruker import file_reader
for signal in file_reader(sys.argv[1], lazy=True):
    numpy.asarray(signal["data"])
"""
_TRIAL_SECONDS = 300
_CORE_LOSS_FROM_EV = 100.0
SAME_TILT_DEG = 1.0
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
    index : int
        Which of the spectrum images of the file.
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
    index: int = 0

    @property
    def tilt_deg(self) -> float | None:
        """Tilt in degrees, None where nothing tells it or the two sources disagree.

        A stage tilt of exactly 0 is what programs write that do not know the stage, so the name goes before
        it.
        """
        stage, name = self.stage_tilt_deg, self.name_tilt_deg
        if not stage or name is None:
            return stage if name is None else name
        return stage if abs(stage - name) <= SAME_TILT_DEG else None

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
    edges_ev: F64 | None = None  # of the channels, where they are uneven

    def counts(self, part: Part = WHOLE, max_bytes: int | None = None) -> F32:
        """Read the counts as float32 (y, x, e), energies ascending; `ReadError` where memory does not do."""
        header = self.header
        check_size(header.path, part.shape(header.shape, header.energy), 4, max_bytes)
        if header.path.suffix.lower() in _CRASHING:
            _try_in_child(header.path)
        if self.edges_ev is None:
            return part.read(self.source, self.order, header.energy, self.descending)
        check_size(header.path, header.shape, 8, max_bytes)
        counts = WHOLE.read(self.source, self.order, header.energy, self.descending)
        return part.read(rebin_uniform(counts, self.edges_ev), (0, 1, 2), header.energy, False)


def probe(path: Path, max_bytes: int | None = None) -> tuple[SpectrumImageHeader, ...]:
    """Read only the headers of the spectrum images in a file; empty where it holds other things.

    A file larger than the memory is no obstacle here.

    Raises
    ------
    ReadError
        For a file that is missing, damaged, of an unknown kind or that claims more than it can hold.
    """
    with spectrum_entries(Path(path), max_bytes) as entries:
        return tuple(entry.header for entry in entries)


@contextmanager
def spectrum_entries(path: Path, max_bytes: int | None = None) -> Iterator[list[SpectrumEntry]]:
    """Open a file and find its spectrum images; claims are checked before any memory is asked for."""
    with opened_signals(path, max_bytes) as signals:
        entries: list[SpectrumEntry] = []
        for signal in signals:
            entry = _entry(path, signal, len(entries))
            if entry is not None:
                check_claim(path, entry.header.shape, entry.source.dtype.itemsize, max_bytes)
                entries.append(entry)
        yield entries


@contextmanager
def opened_signals(path: Path, max_bytes: int | None = None) -> Iterator[list[dict[str, Any]]]:
    """Open a file as RosettaSciIO's dictionaries of its images, spectra and spectrum images, lazily."""
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
            with hspy_signals(path, max_bytes, whole=False, uneven=True) as signals:
                yield signals
            return
        if suffix == ".zspy":
            with zspy_signals(path, max_bytes) as signals:
                yield signals
            return
        if suffix in _HDF5:
            check_header(path, max_bytes, whole=False)
        if suffix == ".prz":
            check_npz(path, max_bytes, unread=_PRZ_TWICE)
        lazy = suffix != ".prz"  # RosettaSciIO maps the bytes of the archive, also of a compressed one
        yield list(import_module(f"rsciio.{_PLUGINS[suffix]}").file_reader(str(path), lazy=lazy))


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


def _entry(path: Path, signal: Mapping[str, Any], index: int) -> SpectrumEntry | None:
    axes, data = list(signal["axes"]), signal["data"]
    spectral = [i for i, axis in enumerate(axes) if is_energy(axis)]
    if len(axes) != 3 or len(data.shape) != 3 or len(spectral) != 1:
        return None
    e = spectral[0]
    y, x = (i for i in range(3) if i != e)
    shape = (int(data.shape[y]), int(data.shape[x]), int(data.shape[e]))
    energy, descending, edges_ev = energy_axis(path, axes[e], shape[2])
    metadata = plain(signal.get("metadata", {}))
    signal_type = str(metadata.get("Signal", {}).get("signal_type", ""))
    title = str(metadata.get("General", {}).get("title", ""))
    is_eds = signal_type.startswith("EDS") or (not signal_type and str(axes[e].get("units")).lower() == "kev")
    header = SpectrumImageHeader(
        path=path,
        kind="EDS" if is_eds else _loss_kind(energy, f"{path.stem} {title}"),
        shape=shape,
        energy=energy,
        pixel_nm=pixel_nm(path, axes[y], axes[x]),
        stage_tilt_deg=_mapped_number(signal, _TILT),
        name_tilt_deg=tilt_from_name(path.name),
        beam_kev=_mapped_number(signal, _BEAM),
        title=title,
        index=index,
    )
    kept = {**metadata.get("dipmtv", {}), "source": path.name, "signal_type": signal_type}
    if elements := metadata.get("Sample", {}).get("elements"):
        kept["elements"] = elements
    return SpectrumEntry(header, data, (y, x, e), descending, kept, edges_ev)


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
