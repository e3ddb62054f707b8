"""Files of a tilt series to the images that were recorded beside the spectra, such as HAADF."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from napari_dipmtv.data import F32, ChannelMaps, as_float32
from napari_dipmtv.errors import ReadError, expected
from napari_dipmtv.io.angles import tilt_from_name
from napari_dipmtv.io.headers import SpectrumImageHeader, opened_signals
from napari_dipmtv.io.map_folder import INDEX, load_saved_maps
from napari_dipmtv.io.pairs import PAIR_WITHIN_DEG, tilt_of
from napari_dipmtv.io.tilt_table import TiltTable, survey

_WORDS = {"HAADF": "adf"}  # Gatan calls it ADF


def load_companions(
    table: TiltTable, name: str = "HAADF", *, bin_pixels: int = 1, max_bytes: int | None = None
) -> ChannelMaps | None:
    """Read the images called ``name`` that were recorded with the spectrum images, on the same pixels.

    They lie in the files of the spectra, or in files of their own beside them, with the tilt in the file name.

    Parameters
    ----------
    table : TiltTable
    name : str
        Part of the title of the image or of the name of its own file, upper and lower case alike; "HAADF" is also
        what is called ADF.
    bin_pixels : int
        As many pixels along y and x become one; their mean is kept.
    max_bytes : int, optional
        Confirmed limit, see `napari_dipmtv.io.guard.check_size`.

    Returns
    -------
    ChannelMaps or None
        One channel ``name``; None where there are no such images.

    Raises
    ------
    ReadError
        When only some of the tilts have one.
    """
    word = _WORDS.get(name, name).lower()
    views = _views(table.headers())
    alone = _alone(table, word)
    found = [_image(view, alone, word, name, max_bytes) for view in views]
    lacking = [view[0].path.name for view, image in zip(views, found, strict=True) if image is None]
    if len(lacking) == len(found):
        return None
    if lacking:
        raise ReadError(
            expected(
                f"{name} images", "one at each tilt", f"none for {', '.join(lacking)}", "Leave these out"
            )
        )
    images = [_binned(image, bin_pixels) for image in found if image is not None]
    first = views[0][0]
    if first.pixel_nm is None:
        raise ReadError(
            expected(f"file {first.path}", "a calibrated pixel size", "none", "Correct the table")
        )
    tilts = tuple(tilt_of(view[0]) for view in views)
    return ChannelMaps(np.stack(images)[None], (name,), tilts, first.pixel_nm * bin_pixels)


def recorded_with(source: TiltTable | Path, name: str, shape: tuple[int, int]) -> ChannelMaps | None:
    """Read the images called ``name`` that were recorded with maps.

    Parameters
    ----------
    source : TiltTable or Path
        The spectra that the maps were made of, or their folder; or a folder of saved maps, where `unmix` and `edx` put
        the images into a folder of their own.
    name : str
    shape : tuple of int
        Pixels (y, x) of the maps; larger images are binned by a whole number.

    Returns
    -------
    ChannelMaps or None
        One channel; None where there are no such images.

    Raises
    ------
    ReadError
        When only some of the tilts have one, or something cannot be read.
    """
    if isinstance(source, Path):
        if (source / name.lower() / INDEX).is_file():
            return load_saved_maps(source / name.lower())
        if not source.is_dir() or (source / INDEX).is_file():
            return None
        source = survey(source)
    bin_pixels = max(1, source.headers()[0].shape[0] // shape[0])
    return load_companions(source, name, bin_pixels=bin_pixels)


def _views(headers: Sequence[SpectrumImageHeader]) -> list[list[SpectrumImageHeader]]:
    """Spectrum images in ascending order of tilt, those of one tilt together, its low loss first."""
    views: list[list[SpectrumImageHeader]] = []
    for header in headers:
        if views and abs(tilt_of(views[-1][0]) - tilt_of(header)) <= PAIR_WITHIN_DEG:
            views[-1].append(header)
        else:
            views.append([header])
    return [sorted(view, key=lambda header: header.kind != "low-loss") for view in views]


def _alone(table: TiltTable, word: str) -> list[tuple[float, Path]]:
    """Tilts and files beside the spectra, without any themselves, whose name holds the word."""
    files = {row.path for row in table.rows if row.header is None and word in row.path.stem.lower()}
    tilts = {path: tilt_from_name(path.name) for path in files}
    return [(tilt, path) for path, tilt in tilts.items() if tilt is not None]


def _image(
    view: Sequence[SpectrumImageHeader],
    alone: Sequence[tuple[float, Path]],
    word: str,
    name: str,
    max_bytes: int | None,
) -> F32 | None:
    """The first image of one tilt with that word in its title, or in the name of its own file."""
    shape, tilt = view[0].shape[:2], tilt_of(view[0])
    inside = [(path, word) for path in dict.fromkeys(header.path for header in view)]
    beside = [(path, "") for at, path in alone if abs(at - tilt) <= PAIR_WITHIN_DEG]
    for path, wanted in [*inside, *beside]:
        with opened_signals(path, max_bytes) as signals:
            for signal in signals:
                if tuple(signal["data"].shape) == shape and wanted in _title(signal).lower():
                    return as_float32(f"{name} in {path.name}", np.asarray(signal["data"]), 2)
    return None


def _title(signal: Mapping[str, Any]) -> str:
    return str(signal.get("metadata", {}).get("General", {}).get("title", ""))


def _binned(image: F32, bin_pixels: int) -> F32:
    ny, nx = (size // bin_pixels for size in image.shape)
    blocks = image[: ny * bin_pixels, : nx * bin_pixels].reshape(ny, bin_pixels, nx, bin_pixels)
    return np.asarray(blocks.mean(axis=(1, 3)), dtype=np.float32)
