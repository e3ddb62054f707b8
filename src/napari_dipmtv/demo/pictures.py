"""Volumes beside the truth to ``comparison.png``, and phases to a drawing of the particle cut in half."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_dipmtv.data import Segmentation, Volume
from napari_dipmtv.inspect.segment import VOID
from napari_dipmtv.io.atomic import atomic_write

_COLOURS = ("#e69f00", "#0072b2", "#f0e442", "#009e73", "#56b4e9")  # Okabe-Ito, told apart by all eyes
_TURN_DEG = (-25.0, 35.0)  # about x, then about y


def comparison(
    truth: Volume, volumes: Mapping[str, Volume], captions: Mapping[str, str], y: int, path: Path
) -> Path:
    """Draw the slice ``y``, perpendicular to the tilt axis: one row per channel, one column per volume.

    Parameters
    ----------
    truth : Volume
        (c, z, y, x); its maximum sets the grey scale of each row.
    volumes, captions : mapping
        What to draw beside the truth, and a line below each name.
    y : int
        Slice.
    path : Path
        PNG.

    Raises
    ------
    WriteError
    """
    from matplotlib.figure import Figure

    shown = {"truth": truth, **volumes}
    rows, columns = len(truth.channels), len(shown)
    figure = Figure(figsize=(2.6 * columns + 0.8, 2.6 * rows + 0.7), dpi=150, layout="compressed")
    axes = figure.subplots(rows, columns, squeeze=False)
    for c, channel in enumerate(truth.channels):
        top = float(truth.data[c, :, y].max()) * 1.15
        for axis, (name, volume) in zip(axes[c], shown.items(), strict=True):
            image = axis.imshow(volume.data[c, :, y], cmap="magma", vmin=0, vmax=top, origin="lower")
            axis.set(xticks=[], yticks=[])
            if c == 0:
                axis.set_title(f"{name}\n{captions.get(name, '')}", fontsize=9)
        axes[c, 0].set_ylabel(channel, fontsize=11)
        figure.colorbar(image, ax=list(axes[c]), label="Fe atoms per nm³", shrink=0.9, pad=0.01)
    _scale_bar(axes[-1, 0], truth)
    return atomic_write(path, lambda partial: figure.savefig(partial, format="png"))


def half_cut(segmentation: Segmentation, path: Path) -> Path:
    """Draw the phases with the half towards the viewer taken away, lit from the upper left.

    Raises
    ------
    WriteError
    """
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    figure = Figure(figsize=(5, 5), dpi=150, layout="compressed")
    axis = figure.subplots()
    axis.imshow(_rendered(segmentation))
    axis.set_axis_off()
    handles = [
        Patch(color=colour, label=segmentation.phases[value])
        for value, colour in _colours(segmentation).items()
    ]
    axis.legend(handles=handles, loc="lower right", fontsize=8)
    return atomic_write(path, lambda partial: figure.savefig(partial, format="png"))


def _scale_bar(axis: Any, volume: Volume) -> None:
    width_nm = volume.data.shape[-1] * volume.voxel_nm
    length_nm = max(n * 10.0**k for k in range(-2, 5) for n in (1, 2, 5) if n * 10.0**k <= width_nm / 3)
    length, left = length_nm / volume.voxel_nm, 0.06 * volume.data.shape[-1]
    axis.plot([left, left + length], [left, left], color="white", linewidth=3, solid_capstyle="butt")
    axis.text(
        left + length / 2,
        1.5 * left,
        f"{length_nm:g} nm",
        color="white",
        ha="center",
        va="bottom",
        fontsize=8,
    )


def _rendered(segmentation: Segmentation) -> NDArray[np.float64]:
    """Picture (y, x, 3): the colour of the first phase that each ray along z meets, shaded by its slope."""
    from matplotlib.colors import to_rgb
    from scipy.ndimage import gaussian_filter

    colours = _colours(segmentation)
    labels = _turned(np.where(np.isin(segmentation.labels, list(colours)), segmentation.labels, 0))
    solid = labels > 0
    first = solid.argmax(axis=0)
    hit = solid.any(axis=0)
    smooth = gaussian_filter(solid.astype(np.float32), 1.5)
    slope = np.stack([np.take_along_axis(g, first[None], axis=0)[0] for g in np.gradient(smooth)])
    light = np.array([0.75, 0.45, 0.5])  # z, y, x of the direction in which the density grows when lit fully
    shade = np.einsum(
        "i,iyx->yx", light / np.linalg.norm(light), slope / (np.linalg.norm(slope, axis=0) + 1e-6)
    )
    picture = np.ones((*hit.shape, 3))
    for value, colour in colours.items():
        where = hit & (np.take_along_axis(labels, first[None], axis=0)[0] == value)
        picture[where] = np.array(to_rgb(colour)) * (0.55 + 0.45 * np.clip(shade[where], 0, 1))[:, None]
    return picture


def _turned(labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Labels without the half z < middle, three times finer, turned so that the cut faces the viewer."""
    from scipy.ndimage import affine_transform

    kept = labels.copy()  # (z, y, x)
    kept[: labels.shape[0] // 2] = 0
    a, b = np.deg2rad(_TURN_DEG)
    about_x = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    about_y = np.array([[np.cos(b), 0, -np.sin(b)], [0, 1, 0], [np.sin(b), 0, np.cos(b)]])
    matrix = about_x @ about_y / 3
    size = np.array([int(3 * 1.35 * n) for n in labels.shape])
    offset = (np.array(labels.shape) - 1) / 2 - matrix @ ((size - 1) / 2)
    out: NDArray[np.uint8] = affine_transform(kept, matrix, offset, output_shape=tuple(size), order=0)
    return out


def _colours(segmentation: Segmentation) -> dict[int, str]:
    """A colour for each phase that is matter and occurs."""
    matter = [
        value
        for value, name in segmentation.phases.items()
        if value and name != VOID and (segmentation.labels == value).any()
    ]
    return dict(zip(matter, _COLOURS, strict=False))
