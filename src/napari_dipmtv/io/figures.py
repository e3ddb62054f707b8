"""Volumes, phases, layers and loss curves to figures for papers and reports, PNG or SVG."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from napari_dipmtv.data import Segmentation, Volume
from napari_dipmtv.inspect.layers import thickness_maps
from napari_dipmtv.inspect.matter import VACUUM, VOID
from napari_dipmtv.inspect.profile import Profile, profile
from napari_dipmtv.inspect.surface import Thickness
from napari_dipmtv.io.atomic import output_folder, safe_names, write_bytes
from napari_dipmtv.io.ome_zarr import COLOURS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FigureFormat = Literal["png", "svg"]
FIGURE_FORMATS: tuple[FigureFormat, ...] = get_args(FigureFormat)
DPI = 150
# what runs across and down, and the axis (z, y, x) that the plane is perpendicular to
_PLANES = {"x across, y down": 0, "x across, z down": 1, "y across, z down": 2}
# text stays text that can be searched and edited; the same figure gives the same bytes
_SVG = {"svg.fonttype": "none", "svg.hashsalt": "napari-dipmtv"}


def figures(
    volume: Volume | None = None,
    segmentation: Segmentation | None = None,
    losses: Mapping[str, Sequence[float]] | None = None,
) -> dict[str, Figure]:
    """Draw what there is.

    Parameters
    ----------
    volume : Volume, optional
        "slices": three planes of every channel through the void, or through the middle.
    segmentation : Segmentation, optional
        "phases": the same planes of the phases; with the volume also "profile", density against depth and radius,
        and "thickness", that of skin and shell over the surface.
    losses : mapping of str to sequence of float, optional
        "losses": each curve over the iterations.

    Returns
    -------
    dict of str to matplotlib.figure.Figure
    """
    drawn: dict[str, Figure] = {}
    place = _place(volume, segmentation)
    if volume is not None:
        drawn["slices"] = _slices(volume, place)
    if segmentation is not None:
        drawn["phases"] = _phases(segmentation, place)
        if volume is not None and (segmentation.labels > 0).any():
            drawn["profile"] = _profiles(volume, segmentation)
            layers = thickness_maps(segmentation, volume)
            if layers:
                drawn["thickness"] = _thickness(layers, segmentation.voxel_nm)
    if losses and any(len(curve) > 1 for curve in losses.values()):
        drawn["losses"] = _losses(losses)
    return drawn


def figure_bytes(figure: Figure, kind: FigureFormat) -> bytes:
    """Render a figure; the same figure gives the same bytes."""
    import matplotlib

    buffer = io.BytesIO()
    with matplotlib.rc_context(_SVG):
        figure.savefig(buffer, format=kind, dpi=DPI, metadata={"Date": None} if kind == "svg" else None)
    return buffer.getvalue()


def save_figures(
    drawn: Mapping[str, Figure], folder: Path, formats: Sequence[FigureFormat] = ("png",)
) -> list[Path]:
    """Write ``figure_<name>.<format>`` of each figure; raises `WriteError`."""
    folder = output_folder(folder)
    return [
        write_bytes(folder / f"figure_{name}.{kind}", figure_bytes(figure, kind))
        for name, figure in zip(safe_names(list(drawn)), drawn.values(), strict=True)
        for kind in formats
    ]


def _place(volume: Volume | None, segmentation: Segmentation | None) -> tuple[int, ...]:
    """Voxel (z, y, x) that the planes go through: the middle of the voids, else that of the volume."""
    if segmentation is not None and segmentation.mask(VOID).any():
        return tuple(round(float(c)) for c in np.argwhere(segmentation.mask(VOID)).mean(axis=0))
    if segmentation is not None:
        return tuple(n // 2 for n in segmentation.labels.shape)
    return (0, 0, 0) if volume is None else tuple(n // 2 for n in volume.data.shape[1:])


def _plane(data: NDArray[Any], axis: int, place: tuple[int, ...]) -> NDArray[Any]:
    plane: NDArray[Any] = np.take(data, place[axis], axis=axis)
    return plane


def _grid(rows: int) -> tuple[Figure, NDArray[Any]]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.0, 2.7 * rows + 0.3), layout="compressed")
    axes = figure.subplots(rows, len(_PLANES), squeeze=False)
    for axis in axes.flat:
        axis.set(xticks=[], yticks=[])
    for axis, name in zip(axes[0], _PLANES, strict=True):
        axis.set_title(name, fontsize=9)
    return figure, axes


def _slices(volume: Volume, place: tuple[int, ...]) -> Figure:
    figure, axes = _grid(len(volume.channels))
    for row, name, channel in zip(axes, volume.channels, volume.data, strict=True):
        top = float(np.nanmax(channel))
        for axis, normal in zip(row, _PLANES.values(), strict=True):
            shown = axis.imshow(_plane(channel, normal, place), cmap="magma", vmin=0, vmax=top or 1)
        row[0].set_ylabel(name, fontsize=10)
        figure.colorbar(shown, ax=list(row), shrink=0.85, pad=0.01)
    _scale_bar(axes[-1, 0], volume.data.shape[-1], volume.voxel_nm, "white")
    return figure


def _phases(segmentation: Segmentation, place: tuple[int, ...]) -> Figure:
    from matplotlib.colors import ListedColormap
    from matplotlib.patches import Patch

    values = [v for v, name in sorted(segmentation.phases.items()) if name != VACUUM]
    colours = {v: f"#{COLOURS[i % len(COLOURS)]}" for i, v in enumerate(values)}
    table = ["#ffffff"] * (max(segmentation.phases) + 1)
    for value, colour in colours.items():
        table[value] = colour
    figure, axes = _grid(1)
    for axis, normal in zip(axes[0], _PLANES.values(), strict=True):
        plane = _plane(segmentation.labels, normal, place)
        axis.imshow(plane, ListedColormap(table), vmin=0, vmax=len(table) - 1, interpolation="nearest")
    there = [v for v in values if (segmentation.labels == v).any()]
    handles = [Patch(color=colours[v], label=segmentation.phases[v]) for v in there]
    if handles:
        figure.legend(handles=handles, loc="outside lower center", ncols=4, fontsize=8, frameon=False)
    _scale_bar(axes[0, 0], segmentation.labels.shape[-1], segmentation.voxel_nm, "black")
    return figure


def _profiles(volume: Volume, segmentation: Segmentation) -> Figure:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.0, 3.0), layout="constrained")
    by_depth, by_radius = figure.subplots(1, 2, sharey=True)
    _draw_profile(by_depth, profile(volume, segmentation, "depth"))
    _draw_profile(by_radius, profile(volume, segmentation, "radius"))
    by_depth.axvline(0, color="grey", linewidth=0.8, linestyle=":")
    by_depth.set(xlabel="depth below the surface (nm)", ylabel="density")
    by_radius.set(xlabel="distance from the centre (nm)")
    by_depth.legend(frameon=False, fontsize=8)
    return figure


def _draw_profile(axis: Any, found: Profile) -> None:
    for i, (name, mean, std) in enumerate(zip(found.channels, found.mean, found.std, strict=True)):
        colour = f"#{COLOURS[i % len(COLOURS)]}"
        axis.plot(found.position_nm, mean, color=colour, label=name)
        axis.fill_between(found.position_nm, mean - std, mean + std, color=colour, alpha=0.25, linewidth=0)


def _thickness(layers: Mapping[str, Thickness], voxel_nm: float) -> Figure:
    """The near side of the surface from three directions, one row per layer."""
    from matplotlib import colormaps
    from matplotlib.cm import ScalarMappable
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.0, 2.1 * len(layers) + 0.3), layout="compressed")
    axes = figure.subplots(len(layers), 3, squeeze=False)
    for row, (name, layer) in zip(axes, layers.items(), strict=True):
        values_nm = layer.values * voxel_nm
        shown = ScalarMappable(cmap=colormaps["viridis"].with_extremes(bad="lightgrey"))
        shown.set_clim(0, float(np.nanpercentile(values_nm, 98)))
        for axis, towards in zip(row, (0, 1, 2), strict=True):
            _draw_near_side(axis, layer, np.ma.masked_invalid(values_nm), towards, shown)
        row[0].set_ylabel(name, fontsize=9)
        figure.colorbar(shown, ax=list(row), shrink=0.85, pad=0.01, label="nm")
    for axis, seen in zip(axes[0], _PLANES, strict=True):
        axis.set_title(seen, fontsize=9)
    return figure


def _draw_near_side(axis: Any, layer: Thickness, values: Any, towards: int, shown: Any) -> None:
    """The triangles that face an observer on the low side of an axis (z, y, x), the far ones first."""
    from matplotlib.collections import PolyCollection

    facing = np.nonzero(layer.surface.normals[:, towards] > 0)[0]  # normals point inwards
    order = facing[np.argsort(-layer.surface.centres[facing, towards])]
    down, across = (n for n in range(3) if n != towards)
    corners = list(layer.surface.vertices[layer.surface.faces[order]][:, :, [across, down]])  # each (3, 2)
    colours = shown.to_rgba(values[order])
    axis.add_collection(
        PolyCollection(corners, facecolors=colours, edgecolors=colours, linewidth=0.3, rasterized=True)
    )
    axis.set(xticks=[], yticks=[], aspect="equal")
    axis.autoscale_view()
    axis.invert_yaxis()


def _losses(losses: Mapping[str, Sequence[float]]) -> Figure:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.0, 3.0), layout="constrained")
    axis = figure.subplots()
    for i, (name, curve) in enumerate(losses.items()):
        values = np.array([np.nan if v is None else v for v in curve], float)
        axis.plot(np.arange(1, len(values) + 1), values, color=f"#{COLOURS[i % len(COLOURS)]}", label=name)
    if all(np.nanmin(line.get_ydata(), initial=np.inf) > 0 for line in axis.lines):
        axis.set_yscale("log")
    axis.set(xlabel="iteration", ylabel="loss")
    axis.legend(frameon=False, fontsize=8)
    return figure


def _scale_bar(axis: Any, width_px: int, voxel_nm: float, colour: str) -> None:
    width_nm = width_px * voxel_nm
    steps = [n * 10.0**k for k in range(-3, 6) for n in (1, 2, 5)]
    length_nm = max((step for step in steps if step <= width_nm / 3), default=steps[0])
    left, length = 0.06 * width_px, length_nm / voxel_nm
    bottom = axis.get_ylim()[0] - 0.06 * width_px
    axis.plot([left, left + length], [bottom, bottom], color=colour, linewidth=3, solid_capstyle="butt")
    axis.text(left, bottom - 0.03 * width_px, f"{length_nm:g} nm", color=colour, va="bottom", fontsize=8)
