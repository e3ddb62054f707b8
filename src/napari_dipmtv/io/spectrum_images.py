"""Microscope files to dual EELS series and single spectrum images, and back to HyperSpy files."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from napari_dipmtv.data import DualSpectrumImage, SpectrumImage, SpectrumSeries
from napari_dipmtv.errors import ReadError, expected
from napari_dipmtv.io.atomic import output_folder, write_bytes
from napari_dipmtv.io.guard import check_size
from napari_dipmtv.io.headers import (
    Kind,
    SpectrumEntry,
    SpectrumImageHeader,
    probe,
    spectrum_entries,
)
from napari_dipmtv.io.hspy import Axis, hspy_bytes
from napari_dipmtv.io.pairs import eels_pairs, tilt_of
from napari_dipmtv.io.part import WHOLE, Part
from napari_dipmtv.io.tilt_table import TiltTable, load_table, spectrum_files, survey


def load_spectrum_image(
    path: Path,
    *,
    tilt_deg: float | None = None,
    pixel_nm: float | None = None,
    kind: Kind | None = None,
    keep: Part = WHOLE,
    max_bytes: int | None = None,
) -> SpectrumImage:
    """Read the one spectrum image of a file: EELS or EDS, lengths in nm, energies in eV.

    Parameters
    ----------
    path : Path
        Any of `SPECTRUM_SUFFIXES`.
    tilt_deg, pixel_nm : float, optional
        Given values go before those of the file.
    kind : {"low-loss", "core-loss", "EELS", "EDS"}, optional
        Which one, where a file holds several.
    keep : Part
        What to crop and bin while reading.
    max_bytes : int, optional
        Confirmed limit, see `napari_dipmtv.io.guard.check_size`.

    Raises
    ------
    ReadError
        For a file that is missing, damaged, too large, not calibrated, or that tells no tilt.
    """
    path = Path(path)
    with spectrum_entries(path, max_bytes) as entries:
        wanted = [entry for entry in entries if kind in (None, entry.header.kind)]
        if len(wanted) != 1:
            found = ", ".join(f"{e.header.kind} {e.header.shape}" for e in entries)
            several = "Give kind, or load_series for pairs"
            raise ReadError(
                expected(
                    f"file {path}",
                    f"one {kind or 'spectrum image'}",
                    found or "images or single spectra only",
                    several if found else "Spectra for references are read in step 2, or with --reference",
                )
            )
        header = wanted[0].header
        tilt_deg = tilt_of(header) if tilt_deg is None else tilt_deg
        return _read(wanted[0], tilt_deg, header.pixel_nm if pixel_nm is None else pixel_nm, keep, max_bytes)


def load_series(
    folder_or_files: Path | Sequence[Path] | TiltTable,
    tilts_deg: Sequence[float] | None = None,
    *,
    pixel_nm: float | None = None,
    core_ev: float | None = None,
    keep_low: Part = WHOLE,
    keep_core: Part = WHOLE,
    max_bytes: int | None = None,
) -> SpectrumSeries:
    """Read a dual EELS tilt series: one low-loss and one core-loss spectrum image per tilt.

    Low loss is what contains 0 eV, core loss what begins above 100 eV; the file name decides between. The
    tilt comes from ``tilts_deg``, the file name or the metadata; 0.0 everywhere is not believed.

    Parameters
    ----------
    folder_or_files : Path, sequence of Path or TiltTable
        A folder (images without spectra in it are passed over), one file, files in the order of
        ``tilts_deg``, or the table that `napari_dipmtv.io.tilt_table.survey` made, perhaps edited, as it is or as
        the CSV file that `save_table` wrote.
    tilts_deg : sequence of float, optional
        One tilt per pair, in the order of the files (names in natural order within a folder).
    pixel_nm : float, optional
        Goes before the calibration of the files.
    core_ev : float, optional
        Energy that the core-loss image must contain, where files hold several core-loss ranges.
    keep_low, keep_core : Part
        What to crop and bin while reading, so that a series larger than the memory fits.
    max_bytes : int, optional
        Confirmed limit for the whole series, see `napari_dipmtv.io.guard.check_size`.

    Raises
    ------
    ReadError
        For files that cannot be read; the message names the file.
    GeometryError
        For tilts or shapes that do not fit together.
    """
    table = _given_table(folder_or_files)
    if table is not None:
        headers = table.headers()
    else:
        assert not isinstance(folder_or_files, TiltTable)
        files, strict = spectrum_files(folder_or_files)
        headers = [header for path in files for header in _headers(path, strict, max_bytes)]
    pairs = eels_pairs(headers, tilts_deg, core_ev, folder_or_files)
    parts = (keep_low, keep_core)
    kept = (
        math.prod(part.shape(header.shape, header.energy))
        for pair in pairs
        for header, part in zip(pair[:2], parts, strict=True)
    )
    check_size(headers[0].path.parent, (sum(kept),), np.dtype(np.float32).itemsize, max_bytes)
    return SpectrumSeries(
        tuple(
            DualSpectrumImage(
                _reread(low, tilt, pixel_nm, keep_low, max_bytes),
                _reread(core, tilt, pixel_nm, keep_core, max_bytes),
            )
            for low, core, tilt in pairs
        )
    )


def open_images(
    source: Path | Sequence[Path] | TiltTable,
    kind: Kind = "EDS",
    *,
    pixel_nm: float | None = None,
    keep: Part = WHOLE,
    max_bytes: int | None = None,
) -> Iterator[SpectrumImage]:
    """Go through the spectrum images of one kind by ascending tilt, one of them in memory at a time.

    Parameters
    ----------
    source : Path, sequence of Path or TiltTable
        Folder, files, or the table that `napari_dipmtv.io.tilt_table.survey` made, perhaps edited.
    kind : {"EDS", "low-loss", "core-loss", "EELS"}
    pixel_nm : float, optional
        Goes before the calibration of the files.
    keep : Part
        What to crop and bin while reading.
    max_bytes : int, optional
        Confirmed limit for one image, see `napari_dipmtv.io.guard.check_size`.

    Raises
    ------
    ReadError, GeometryError
        For files that cannot be read or used; before the first image is read where the headers tell.
    """
    headers = series_table(source).headers(kind)
    return (_reread(header, tilt_of(header), pixel_nm, keep, max_bytes) for header in headers)


def series_table(source: Path | Sequence[Path] | TiltTable) -> TiltTable:
    """The table of a series: itself, the CSV file of one, or what `survey` finds in a folder or in files."""
    table = _given_table(source)
    if table is None:
        assert not isinstance(source, TiltTable)
        table = survey(source)
    return table


def save_series(series: SpectrumSeries, folder: Path) -> list[Path]:
    """Write a dual EELS series as HyperSpy files ``lowloss_+017.5.hspy`` and ``coreloss_+017.5.hspy``.

    Raises
    ------
    WriteError
        Nothing half-written is left, an older file of the same name stays.
    """
    folder = output_folder(folder)
    return [
        write_bytes(folder / f"{name}_{_tilt_text(pair.tilt_deg)}.hspy", _hspy(image, name))
        for pair in series.tilts
        for name, image in (("lowloss", pair.low_loss), ("coreloss", pair.core_loss))
    ]


def save_spectrum_image(image: SpectrumImage, path: Path) -> Path:
    """Write one spectrum image as a HyperSpy file."""
    return write_bytes(Path(path), _hspy(image, image.title or Path(path).stem))


def _tilt_text(tilt_deg: float) -> str:
    """Write +017.5, or +017.481 where one decimal does not do."""
    tilt = round(tilt_deg, 3) + 0.0  # no -0
    return f"{tilt:+06.1f}" if tilt == round(tilt, 1) else f"{tilt:+08.3f}"


def _hspy(image: SpectrumImage, title: str) -> bytes:
    ny, nx, ne = image.counts.shape
    axes = (
        Axis("y", ny, image.pixel_nm, 0.0, "nm", navigate=True),
        Axis("x", nx, image.pixel_nm, 0.0, "nm", navigate=True),
        Axis(
            "Energy loss",
            ne,
            image.energy.step_ev,
            image.energy.start_ev,
            "eV",
            navigate=False,
            is_binned=True,
        ),
    )
    known = {key: value for key, value in image.metadata.items() if key not in {"source", "signal_type"}}
    microscope: dict[str, object] = {"Stage": {"tilt_alpha": float(image.tilt_deg)}}
    if image.beam_kev is not None:
        microscope["beam_energy"] = float(image.beam_kev)
    metadata = {
        "General": {"title": image.title or title},
        "Signal": {"signal_type": image.metadata.get("signal_type", "EELS"), "quantity": "Counts"},
        "Acquisition_instrument": {"TEM": microscope},
        "dipmtv": known,
    }
    return hspy_bytes(image.counts, axes, image.title or title, metadata)


def _given_table(source: Path | Sequence[Path] | TiltTable) -> TiltTable | None:
    if isinstance(source, TiltTable):
        return source
    return load_table(source) if isinstance(source, Path) and source.suffix.lower() == ".csv" else None


def _headers(path: Path, strict: bool, max_bytes: int | None) -> tuple[SpectrumImageHeader, ...]:
    headers = probe(path, max_bytes)
    if strict and not headers:
        raise ReadError(
            expected(
                f"file {path}", "a spectrum image (y, x, energy)", "images or spectra only", "Leave it out"
            )
        )
    return headers


def _reread(
    header: SpectrumImageHeader, tilt_deg: float, pixel_nm: float | None, keep: Part, max_bytes: int | None
) -> SpectrumImage:
    with spectrum_entries(header.path, max_bytes) as entries:
        entry = next((e for e in entries if e.header.index == header.index), None)
        if entry is None or (entry.header.shape, entry.header.energy) != (header.shape, header.energy):
            raise ReadError(
                expected(f"file {header.path}", "to stay as it was", "a changed file", "Load again")
            )
        pixel_nm = header.pixel_nm if pixel_nm is None else pixel_nm
        return _read(entry, tilt_deg, pixel_nm, keep, max_bytes)


def _read(
    entry: SpectrumEntry, tilt_deg: float, pixel_nm: float | None, keep: Part, max_bytes: int | None
) -> SpectrumImage:
    header = entry.header
    if pixel_nm is None:
        raise ReadError(
            expected(
                f"file {header.path}", "a calibrated pixel size", "none or an unknown unit", "Give pixel_nm"
            )
        )
    return SpectrumImage(
        counts=entry.counts(keep, max_bytes),
        energy=keep.energy(header.energy),
        pixel_nm=pixel_nm * keep.bin_pixels,
        tilt_deg=tilt_deg,
        beam_kev=header.beam_kev,
        title=header.title,
        metadata=entry.metadata,
    )
