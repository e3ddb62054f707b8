"""Microscope files to dual EELS series and single spectrum images, and back to HyperSpy files."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from napari_dipmtv.data import DualSpectrumImage, SpectrumImage, SpectrumSeries
from napari_dipmtv.errors import GeometryError, ReadError, expected
from napari_dipmtv.io.angles import check_angles, tilts_from_names
from napari_dipmtv.io.atomic import output_folder, write_bytes
from napari_dipmtv.io.guard import check_size, natural_key, reading
from napari_dipmtv.io.headers import (
    SPECTRUM_SUFFIXES,
    Kind,
    SpectrumEntry,
    SpectrumImageHeader,
    probe,
    spectrum_entries,
)
from napari_dipmtv.io.hspy import Axis, hspy_bytes

_PAIR_WITHIN_DEG = 0.5


def load_spectrum_image(
    path: Path,
    *,
    tilt_deg: float | None = None,
    pixel_nm: float | None = None,
    kind: Kind | None = None,
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
            found = ", ".join(f"{e.header.kind} {e.header.shape}" for e in entries) or "none"
            raise ReadError(
                expected(
                    f"file {path}",
                    f"one {kind or 'spectrum image'}",
                    found,
                    "Give kind, or load_series for pairs",
                )
            )
        return _read(wanted[0], _tilt(wanted[0].header) if tilt_deg is None else tilt_deg, pixel_nm)


def load_series(
    folder_or_files: Path | Sequence[Path],
    tilts_deg: Sequence[float] | None = None,
    *,
    pixel_nm: float | None = None,
    core_ev: float | None = None,
    max_bytes: int | None = None,
) -> SpectrumSeries:
    """Read a dual EELS tilt series: one low-loss and one core-loss spectrum image per tilt.

    Low loss is what contains 0 eV, core loss what begins above 100 eV; the file name decides between. The
    tilt comes from ``tilts_deg``, the file name or the metadata; 0.0 everywhere is not believed.

    Parameters
    ----------
    folder_or_files : Path or sequence of Path
        A folder (images without spectra in it are passed over), one file, or files in the order of
        ``tilts_deg``.
    tilts_deg : sequence of float, optional
        One tilt per pair, in the order of the files (names in natural order within a folder).
    pixel_nm : float, optional
        Goes before the calibration of the files.
    core_ev : float, optional
        Energy that the core-loss image must contain, where files hold several core-loss ranges.
    max_bytes : int, optional
        Confirmed limit for the whole series, see `napari_dipmtv.io.guard.check_size`.

    Raises
    ------
    ReadError
        For files that cannot be read; the message names the file.
    GeometryError
        For tilts or shapes that do not fit together.
    """
    files, strict = _files(folder_or_files)
    headers = [header for path in files for header in _headers(path, strict, max_bytes)]
    low = [header for header in headers if header.kind == "low-loss"]
    core = [h for h in headers if h.kind == "core-loss" and (core_ev is None or _contains(h, core_ev))]
    _check_kinds(folder_or_files, headers, low, core)
    pairs = _pair_by_tilt(low, core) if tilts_deg is None else _pair_in_order(low, core, tilts_deg)
    total = sum(math.prod(header.shape) for pair in pairs for header in pair[:2])
    check_size(files[0].parent, (total,), np.dtype(np.float32).itemsize, max_bytes)
    return SpectrumSeries(
        tuple(
            DualSpectrumImage(*(_reread(header, tilt, pixel_nm, max_bytes) for header in (first, second)))
            for first, second, tilt in pairs
        )
    )


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


def _files(folder_or_files: Path | Sequence[Path]) -> tuple[list[Path], bool]:
    """The files, and whether each of them must hold a spectrum image."""
    if not isinstance(folder_or_files, str | Path):
        files = [Path(path) for path in folder_or_files]
        if files:
            return files, True
        raise ReadError(expected("files of the series", "at least one", "none", "Choose the files"))
    folder = Path(folder_or_files)
    if folder.is_file():
        return [folder], True
    with reading(folder):
        files = sorted((p for p in folder.iterdir() if _is_candidate(p)), key=natural_key)
    if not files:
        kinds = ", ".join(SPECTRUM_SUFFIXES)
        raise ReadError(
            expected(f"folder {folder}", f"spectrum images ({kinds})", "none", "Choose another folder")
        )
    return files, False


def _is_candidate(path: Path) -> bool:
    return path.suffix.lower() in SPECTRUM_SUFFIXES and not path.name.startswith(".") and path.is_file()


def _headers(path: Path, strict: bool, max_bytes: int | None) -> tuple[SpectrumImageHeader, ...]:
    headers = probe(path, max_bytes)
    if strict and not headers:
        raise ReadError(
            expected(
                f"file {path}", "a spectrum image (y, x, energy)", "images or spectra only", "Leave it out"
            )
        )
    return headers


def _contains(header: SpectrumImageHeader, energy_ev: float) -> bool:
    return header.energy.start_ev <= energy_ev <= header.energy.stop_ev


def _check_kinds(
    source: object,
    headers: Sequence[SpectrumImageHeader],
    low: Sequence[SpectrumImageHeader],
    core: Sequence[SpectrumImageHeader],
) -> None:
    undecided = [header.path.name for header in headers if header.kind == "EELS"]
    if undecided:
        raise ReadError(
            expected(
                "EELS files",
                "energies with 0 eV or from above 100 eV, or 'lowloss' or 'coreloss' in the name",
                ", ".join(undecided),
                "Rename these files",
            )
        )
    if not low or len(low) != len(core):
        eds = sum(header.kind == "EDS" for header in headers)
        got = f"{len(low)} low-loss, {len(core)} core-loss and {eds} EDS"
        advice = (
            "Load EDS one by one; give core_ev where a file has several core-loss ranges; add what is missing"
        )
        raise GeometryError(
            expected(f"dual EELS series {source}", "one low-loss per core-loss image", got, advice)
        )


def _pair_in_order(
    low: Sequence[SpectrumImageHeader], core: Sequence[SpectrumImageHeader], tilts_deg: Sequence[float]
) -> list[tuple[SpectrumImageHeader, SpectrumImageHeader, float]]:
    tilts = check_angles(tilts_deg, len(low), "tilts_deg of the dual EELS series")
    return list(zip(low, core, tilts, strict=True))


def _pair_by_tilt(
    low: Sequence[SpectrumImageHeader], core: Sequence[SpectrumImageHeader]
) -> list[tuple[SpectrumImageHeader, SpectrumImageHeader, float]]:
    low, core = (sorted(headers, key=_tilt) for headers in (low, core))
    check_angles([_tilt(header) for header in low], None, "tilts of the low-loss images")
    if (
        len(low) > 2
        and all(h.tilt_deg == h.name_tilt_deg for h in low)
        and not tilts_from_names([h.path for h in low])
    ):
        raise GeometryError(
            expected("tilts in the file names", "angles", "names that merely count up", "Give tilts_deg")
        )
    for first, second in zip(low, core, strict=True):
        if abs(_tilt(first) - _tilt(second)) > _PAIR_WITHIN_DEG:
            raise GeometryError(
                expected(
                    "dual EELS pairs",
                    "a low-loss and a core-loss image at each tilt",
                    f"{first.path.name} ({_tilt(first):g}) beside {second.path.name} ({_tilt(second):g} deg)",
                    "Add the missing file or leave its partner out",
                )
            )
    return [(first, second, _tilt(first)) for first, second in zip(low, core, strict=True)]


def _tilt(header: SpectrumImageHeader) -> float:
    if header.tilt_deg is not None:
        return header.tilt_deg
    got = "none in the metadata or the file name"
    if header.conflict:
        got = f"{header.stage_tilt_deg:g} in the metadata and {header.name_tilt_deg:g} in the name"
    raise ReadError(expected(f"file {header.path}", "one tilt angle", got, "Give the tilt by hand"))


def _reread(
    header: SpectrumImageHeader, tilt_deg: float, pixel_nm: float | None, max_bytes: int | None
) -> SpectrumImage:
    with spectrum_entries(header.path, max_bytes) as entries:
        entry = next((e for e in entries if e.header == header), None)
        if entry is None:
            raise ReadError(
                expected(f"file {header.path}", "to stay as it was", "a changed file", "Load again")
            )
        return _read(entry, tilt_deg, pixel_nm)


def _read(entry: SpectrumEntry, tilt_deg: float, pixel_nm: float | None) -> SpectrumImage:
    header = entry.header
    pixel_nm = header.pixel_nm if pixel_nm is None else pixel_nm
    if pixel_nm is None:
        raise ReadError(
            expected(
                f"file {header.path}", "a calibrated pixel size", "none or an unknown unit", "Give pixel_nm"
            )
        )
    return SpectrumImage(
        counts=entry.counts(),
        energy=header.energy,
        pixel_nm=pixel_nm,
        tilt_deg=tilt_deg,
        beam_kev=header.beam_kev,
        title=header.title,
        metadata=entry.metadata,
    )
