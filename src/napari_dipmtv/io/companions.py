"""Files of a tilt series to the images that were recorded beside the spectra, such as HAADF."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from napari_dipmtv.data import F32, ChannelMaps, as_float32
from napari_dipmtv.errors import ReadError, expected
from napari_dipmtv.io.headers import SpectrumImageHeader, opened_signals
from napari_dipmtv.io.pairs import tilt_of
from napari_dipmtv.io.tilt_table import TiltTable


def load_companions(
    table: TiltTable, name: str = "HAADF", *, bin_pixels: int = 1, max_bytes: int | None = None
) -> ChannelMaps | None:
    """Read the images called ``name`` that lie in the files of the spectrum images, on the same pixels.

    Parameters
    ----------
    table : TiltTable
    name : str
        Part of the title of the image, upper and lower case alike.
    bin_pixels : int
        As many pixels along y and x become one; their mean is kept.
    max_bytes : int, optional
        Confirmed limit, see `napari_dipmtv.io.guard.check_size`.

    Returns
    -------
    ChannelMaps or None
        One channel ``name``; None where no file has such an image.

    Raises
    ------
    ReadError
        When only some of the files have it.
    """
    headers = {header.path: header for header in table.headers()}
    found = {path: _image(header, name, max_bytes) for path, header in headers.items()}
    lacking = [path.name for path, image in found.items() if image is None]
    if len(lacking) == len(found):
        return None
    if lacking:
        raise ReadError(
            expected(f"{name} images", "one in each file", f"none in {', '.join(lacking)}", "Leave these out")
        )
    images = [_binned(image, bin_pixels) for image in found.values() if image is not None]
    first = next(iter(headers.values()))
    if first.pixel_nm is None:
        raise ReadError(
            expected(f"file {first.path}", "a calibrated pixel size", "none", "Correct the table")
        )
    tilts = tuple(tilt_of(header) for header in headers.values())
    return ChannelMaps(np.stack(images)[None], (name,), tilts, first.pixel_nm * bin_pixels)


def _image(header: SpectrumImageHeader, name: str, max_bytes: int | None) -> F32 | None:
    """The first image of that name with the pixels of the spectrum image."""
    with opened_signals(header.path, max_bytes) as signals:
        for signal in signals:
            if tuple(signal["data"].shape) == header.shape[:2] and name.lower() in _title(signal).lower():
                return as_float32(f"{name} in {header.path.name}", np.asarray(signal["data"]), 2)
    return None


def _title(signal: Mapping[str, Any]) -> str:
    return str(signal.get("metadata", {}).get("General", {}).get("title", ""))


def _binned(image: F32, bin_pixels: int) -> F32:
    ny, nx = (size // bin_pixels for size in image.shape)
    blocks = image[: ny * bin_pixels, : nx * bin_pixels].reshape(ny, bin_pixels, nx, bin_pixels)
    return np.asarray(blocks.mean(axis=(1, 3)), dtype=np.float32)
