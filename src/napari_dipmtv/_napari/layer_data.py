"""Maps, spectra and volumes to napari layer data tuples: array, scale, units, axis names, limits and colours.

Axes are right-aligned, (energy, tilt, z, y, x): maps are (tilt, 1, y, x) and volumes (z, y, x), all in nm and centred
on the tilt axis, so that one viewer shows every stage with one scale bar.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from napari_dipmtv.data import ChannelMaps, EnergyAxis, MapStack, Segmentation, SpectrumSeries, Volume
from napari_dipmtv.errors import InputError, expected

if TYPE_CHECKING:
    from napari.utils.colormaps import DirectLabelColormap

LayerData = tuple[Any, dict[str, Any], str]

MOST_SPECTRA_BYTES = 2**30  # shown with an energy slider up to this size
SUMS = ("Low-loss sum", "Core-loss sum")
ISO_LEVEL = 0.5  # of the typical density inside the object
# safe for colour-blind eyes; two of them add up to near white where both are strong
COLORMAPS = ("bop orange", "bop blue", "bop purple", "green", "yellow", "gray")

# colours of phases: those of the channels and safe for colour-blind eyes; the void is meant to catch the eye
PHASE_COLOURS = ("#F8AD20", "#20ADF8", "#941F94", "#009E73")
VOID_COLOUR = "#D81B60"


def sum_maps(series: SpectrumSeries) -> ChannelMaps:
    """Low-loss and core-loss totals of every pixel as maps."""
    low = np.stack([np.nansum(pair.low_loss.counts, axis=2) for pair in series.tilts])  # (t, y, x)
    core = np.stack([np.nansum(pair.core_loss.counts, axis=2) for pair in series.tilts])
    return ChannelMaps(np.stack([low, core]), SUMS, series.tilts_deg, series.pixel_nm)


def sum_layers(sums: ChannelMaps) -> list[LayerData]:
    """Totals as gray layers; the low loss is hidden behind the core loss, which shows more."""
    low, core = map_layers(sums, "sums")
    for layer in (low, core):
        layer[1].update(colormap="gray", blending="translucent_no_depth")
    low[1]["visible"] = False
    return [low, core]


def map_layers(maps: MapStack, group: str, suffix: str = "") -> list[LayerData]:
    """One layer (tilt, 1, y, x) per channel, to be added up in colour."""
    axes = map_axes(maps.tilts_deg, maps.pixel_nm, maps.data.shape[2:])
    return [
        _image(
            maps.data[i][:, None],
            group,
            name=channel + suffix,
            contrast_limits=(0.0, max(float(np.percentile(maps.data[i], 99.8)), 1e-9)),
            colormap=COLORMAPS[i % len(COLORMAPS)],
            blending="additive",
            **axes,
        )
        for i, channel in enumerate(maps.channels)
    ]


def blanks(layers: list[LayerData]) -> list[LayerData]:
    """Layers that stand for those which a run will bring: it fills them, or has them removed where it fails."""
    for _, looks, _ in layers:
        looks["metadata"]["blank"] = looks["name"]  # napari changes a name that is taken
    return layers


def spectra_layers(series: SpectrumSeries) -> list[LayerData]:
    """Both ranges as (energy, tilt, 1, y, x); raises `InputError` for different energy axes or too large a stack."""
    layers = []
    for name, images in (
        ("Low loss", [pair.low_loss for pair in series.tilts]),
        ("Core loss", [pair.core_loss for pair in series.tilts]),
    ):
        if len({image.energy for image in images}) > 1:
            raise InputError(
                expected("energy slider", "one energy axis", "several", "Prepare the spectra first")
            )
        size = sum(image.counts.nbytes for image in images)
        if size > MOST_SPECTRA_BYTES:
            most, got = f"at most {MOST_SPECTRA_BYTES / 1e6:.0f} MB", f"{size / 1e6:.0f} MB"
            raise InputError(expected("energy slider", most, got, "Bin the spectra or look at the sums"))
        stack = np.stack([np.moveaxis(image.counts, 2, 0) for image in images], axis=1)  # (e, t, y, x)
        axes = spectra_axes(images[0].energy, series.tilts_deg, series.pixel_nm, images[0].counts.shape[:2])
        limits = (0.0, max(float(np.nanpercentile(stack[::8], 99.5)), 1e-6))
        looks = {"contrast_limits": limits, "colormap": "gray", "blending": "additive"}
        layers.append(_image(stack[:, :, None], "spectra", name=name, **looks, **axes))
    return layers


def window_layer(series: SpectrumSeries, low_loss: bool, low_ev: float, high_ev: float) -> LayerData:
    """Sum over an energy window as a lazy (tilt, 1, y, x); raises `InputError` for a window beside the spectrum."""
    import dask.array as da

    images = [pair.low_loss if low_loss else pair.core_loss for pair in series.tilts]
    views = [
        da.from_array(image.counts, chunks=-1)[..., image.energy.window(low_ev, high_ev)].sum(axis=2)
        for image in images
    ]
    middle = np.asarray(views[len(views) // 2])
    limits = (0.0, max(float(np.nanpercentile(middle, 99.5)), 1e-9))
    axes = map_axes(series.tilts_deg, series.pixel_nm, images[0].counts.shape[:2])
    looks = {"contrast_limits": limits, "colormap": "inferno", "blending": "translucent_no_depth"}
    return _image(da.stack(views)[:, None], "window", name="Energy window", **looks, **axes)


def volume_layers(volume: Volume, title: str, group: str) -> list[LayerData]:
    """One layer (z, y, x) per channel, drawn in 3-D as a surface at half of the density inside the object."""
    axes = volume_axes(volume.data.shape[1:], volume.voxel_nm)
    return [
        _image(
            data,
            group,
            name=f"{channel} ({title})" if title else channel,
            contrast_limits=(0.0, 1.3 * typical(data)),
            iso_threshold=ISO_LEVEL * typical(data),
            colormap=COLORMAPS[i % len(COLORMAPS)],
            rendering="iso",
            blending="additive",
            **axes,
        )
        for i, (channel, data) in enumerate(zip(volume.channels, volume.data, strict=True))
    ]


def difference_layers(volume: Volume, title: str, groups: Sequence[str]) -> list[LayerData]:
    """One layer (z, y, x) per channel and group, in a diverging colour map that is safe for colour-blind eyes."""
    axes = volume_axes(volume.data.shape[1:], volume.voxel_nm)
    most = max(float(np.abs(volume.data).max()), 1e-9)
    looks = {"contrast_limits": (-most, most), "colormap": "PiYG", "blending": "translucent"}
    return [
        _image(data, group, name=f"{channel}: {title}", **looks, **axes)
        for channel, data, group in zip(volume.channels, volume.data, groups, strict=True)
    ]


def map_axes(tilts_deg: tuple[float, ...], pixel_nm: float, shape: tuple[int, int]) -> dict[str, Any]:
    """Layer arguments of maps (tilt, 1, y, x).

    The tilt slider reads degrees when the tilts are evenly spaced; else it only counts, and ``metadata["tilts_deg"]``
    has the angles.
    """
    first, step = _even(tilts_deg)
    ny, nx = shape
    return {
        "scale": (step, pixel_nm, pixel_nm, pixel_nm),
        "translate": (first, 0.0, _centred(ny, pixel_nm), _centred(nx, pixel_nm)),
        "units": ("deg", "nm", "nm", "nm"),
        "axis_labels": ("tilt", "z", "y", "x"),
        "metadata": {"tilts_deg": tuple(tilts_deg)},
    }


def spectra_axes(
    energy: EnergyAxis, tilts_deg: tuple[float, ...], pixel_nm: float, shape: tuple[int, int]
) -> dict[str, Any]:
    """Layer arguments of spectrum images (energy, tilt, 1, y, x)."""
    axes = map_axes(tilts_deg, pixel_nm, shape)
    return {
        "scale": (energy.step_ev, *axes["scale"]),
        "translate": (energy.start_ev, *axes["translate"]),
        "units": ("eV", *axes["units"]),
        "axis_labels": ("energy", *axes["axis_labels"]),
        "metadata": axes["metadata"],
    }


def volume_axes(shape: tuple[int, ...], voxel_nm: float) -> dict[str, Any]:
    """Layer arguments of a volume (z, y, x) whose centre is the origin."""
    return {
        "scale": (voxel_nm,) * 3,
        "translate": tuple(_centred(n, voxel_nm) for n in shape),
        "units": ("nm",) * 3,
        "axis_labels": ("z", "y", "x"),
    }


def typical(data: ArrayLike) -> float:
    """Density inside the object: the mean of a volume weighted by itself, not pulled down by the vacuum around it."""
    x = np.maximum(np.asarray(data), 0).ravel()
    total = x.sum(dtype=np.float64)
    return float(np.einsum("i,i", x, x, dtype=np.float64) / total) if total > 0 else 1.0


def phase_colours(
    phases: Mapping[int, str], channels: tuple[str, ...], shown: Sequence[str] | None = None
) -> dict[int | None, Any]:
    """Colour of each phase: that of the channel that its name begins with, paler for a skin; the void stands out.

    Only the phases in ``shown`` are seen; None shows all.
    """
    from napari.utils.colormaps.standardize_color import transform_color

    colours: dict[int | None, Any] = {None: "transparent"}
    of_channel = dict(zip(channels, PHASE_COLOURS * len(channels), strict=False))
    for value, name in sorted(phases.items()):
        channel, _, role = name.rpartition(" ")
        colours[value] = of_channel.get(channel or name, PHASE_COLOURS[0])
        if role == "skin":
            colours[value] = transform_color(colours[value])[0] * 0.45 + np.array([0.55, 0.55, 0.55, 0.55])
    colours |= {value: VOID_COLOUR for value, name in phases.items() if name == "void"}
    hidden = {
        value: "transparent" for value, name in phases.items() if shown is not None and name not in shown
    }
    return colours | hidden | {0: "transparent"}


def label_colours(
    segmentation: Segmentation, channels: tuple[str, ...], shown: Sequence[str] | None
) -> DirectLabelColormap:
    """Colour map of a labels layer, used once.

    At its first use napari compiles what maps labels, for a second; what draws their outlines reckons dashes.
    """
    from napari.utils.colormaps import DirectLabelColormap
    from vispy.visuals.line.dash_atlas import DashAtlas

    DashAtlas()
    colours = DirectLabelColormap(color_dict=phase_colours(segmentation.phases, channels, shown))
    colours.map(segmentation.labels[:1])
    return colours


def _image(data: ArrayLike, group: str, **looks: Any) -> LayerData:
    """A layer data tuple; the group in the metadata tells the plugin's own layers from others."""
    return data, looks | {"metadata": {"dipmtv": group, **looks.get("metadata", {})}}, "image"


def _centred(n: int, step: float) -> float:
    return -(n - 1) / 2 * step


def _even(tilts_deg: tuple[float, ...]) -> tuple[float, float]:
    steps = np.diff(tilts_deg)
    if len(steps) and np.allclose(steps, steps[0], atol=0.05):
        return tilts_deg[0], float(steps[0])
    return 0.0, 1.0
