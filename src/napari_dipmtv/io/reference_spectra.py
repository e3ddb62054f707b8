"""Spectrum files to reference spectra, and learnt references to a CSV table and back."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from napari_dipmtv.data import F64, EnergyAxis, ReferenceSpectrum
from napari_dipmtv.errors import InputError, ReadError, expected
from napari_dipmtv.io.atomic import write_bytes
from napari_dipmtv.io.guard import check_size, reading
from napari_dipmtv.io.hspy import hspy_signals
from napari_dipmtv.io.units import ev_per
from napari_dipmtv.io.zspy import zspy_signals

_PLUGINS = {".msa": "msa", ".dm3": "digitalmicrograph", ".dm4": "digitalmicrograph"}
REFERENCE_SUFFIXES = (".csv", ".hspy", ".zspy", *_PLUGINS)
_ENERGY = "energy_ev"
_LARGEST_TABLE = 10_000_000  # bytes
_UNEVEN = 1e-3  # of a step: how far the energies of a table may stray from a uniform axis


def load_reference(path: Path, name: str) -> ReferenceSpectrum:
    """Read one spectrum.

    Parameters
    ----------
    path : Path
        ``.csv`` with a column ``energy_ev`` and one named ``name`` (or only one other); ``.msa``, ``.dm3``,
        ``.dm4``, ``.hspy`` or ``.zspy`` with one spectrum in it.
    name : str
        Name of the reference, which becomes the channel of its map.

    Raises
    ------
    ReadError
        For a missing, damaged or unknown file, more than one spectrum, or energies that are not uniform.
    """
    path = Path(path)
    with reading(path):
        suffix = path.suffix.lower()
        if suffix not in REFERENCE_SUFFIXES:
            wanted = f"a spectrum ({', '.join(REFERENCE_SUFFIXES)})"
            raise ReadError(
                expected(f"file {path}", wanted, f"the ending '{path.suffix}'", "Export it as .msa or .csv")
            )
        if suffix == ".csv":
            intensity, energy = _from_table(path, name)
        else:
            with _signals(path, suffix) as signals:
                intensity, energy = _from_signals(path, signals)
        return ReferenceSpectrum(name, intensity, energy, source=path.name)


def save_references(spectra: Sequence[ReferenceSpectrum], path: Path) -> Path:
    """Write references on one energy axis as a CSV that `load_reference` reads.

    Raises
    ------
    InputError
        When they lie on different axes.
    WriteError
        An older file stays as it was.
    """
    if len({spectrum.energy for spectrum in spectra}) != 1:
        axes = ", ".join(f"{spectrum.name} {spectrum.energy}" for spectrum in spectra)
        raise InputError(expected("references", "one energy axis", axes or "none", "Learn them together"))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([_ENERGY, *(spectrum.name for spectrum in spectra)])
    writer.writerows(
        zip(spectra[0].energy.values, *(spectrum.intensity for spectrum in spectra), strict=True)
    )
    return write_bytes(Path(path), text.getvalue().encode())


@contextmanager
def _signals(path: Path, suffix: str) -> Iterator[list[dict[str, Any]]]:
    if suffix == ".hspy":
        with hspy_signals(path) as signals:
            yield signals
    elif suffix == ".zspy":
        with zspy_signals(path) as signals:
            yield signals
    else:
        yield import_module(f"rsciio.{_PLUGINS[suffix]}").file_reader(str(path))


def _from_signals(path: Path, signals: Sequence[Mapping[str, Any]]) -> tuple[F64, EnergyAxis]:
    spectra = [s for s in signals if np.squeeze(s["data"]).ndim == 1]
    if len(spectra) != 1:
        raise ReadError(
            expected(f"file {path}", "one spectrum", f"{len(spectra)} of them", "Export the one spectrum")
        )
    signal = spectra[0]
    axis = next(axis for axis in signal["axes"] if axis["size"] > 1)
    factor = ev_per(axis.get("units"))
    if factor is None:
        got = f"the unit {axis.get('units')!r}"
        raise ReadError(
            expected(f"file {path}", "energies in eV, keV or meV", got, "Calibrate the energy axis")
        )
    check_size(path, (axis["size"],), 8)
    told = signal.get("original_metadata", {}).get("NPOINTS")  # of an .msa, which may be cut anywhere
    if told is not None and int(float(told)) != axis["size"]:
        advice = "The file is cut short; copy or export it again"
        raise ReadError(expected(f"file {path}", f"{told} values", axis["size"], advice))
    intensity = np.asarray(signal["data"], dtype=np.float64).squeeze()
    return intensity, EnergyAxis(float(axis["offset"]) * factor, float(axis["scale"]) * factor, axis["size"])


def _from_table(path: Path, name: str) -> tuple[F64, EnergyAxis]:
    if path.stat().st_size > _LARGEST_TABLE:
        raise ReadError(
            expected(f"file {path}", "a table of one spectrum", "over 10 MB", "Choose the spectrum")
        )
    rows = list(csv.reader(path.read_text(encoding="utf-8-sig").splitlines()))
    head = [cell.strip() for cell in rows[0]]
    others = [cell for cell in head if cell != _ENERGY]
    column = name if name in others else others[0] if len(others) == 1 else None
    if _ENERGY not in head or column is None:
        wanted = f"a column '{_ENERGY}' and a column '{name}'"
        raise ReadError(expected(f"file {path}", wanted, ", ".join(head), "Name the columns"))
    table = np.array([[float(cell) for cell in row] for row in rows[1:] if row])
    energies = table[:, head.index(_ENERGY)]
    steps = np.diff(energies)
    if len(energies) < 2 or not np.allclose(steps, steps.mean(), rtol=_UNEVEN) or steps.mean() <= 0:
        raise ReadError(
            expected(f"file {path}", "ascending energies at one step", "others", "Resample the spectrum")
        )
    axis = EnergyAxis(float(energies[0]), float(steps.mean()), len(energies))
    return table[:, head.index(column)], axis
