"""Commands from maps to volumes: ``align`` and ``reconstruct``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from napari_dipmtv.cli.conversation import finish, note, progress, speaks
from napari_dipmtv.cli.options import (
    AnglesOption,
    AxesOption,
    ChannelOption,
    ChannelsOption,
    CountsOption,
    JsonOption,
    MapFolderOption,
    MapsOption,
    OutOption,
    PixelOption,
    SetOption,
    TiltAxisOption,
    read_maps,
    settings_from,
    usable_folder,
)
from napari_dipmtv.data import ChannelMaps, MapStack, TiltSeries, Volume
from napari_dipmtv.errors import InputError, expected
from napari_dipmtv.settings.align import AlignSettings
from napari_dipmtv.settings.tomo import METHODS, Method, MethodSettings


@speaks
def align(
    out: OutOption,
    maps: MapsOption = None,
    channel: ChannelOption = None,
    angles: AnglesOption = None,
    pixel_nm: PixelOption = None,
    map_folder: MapFolderOption = None,
    channels: ChannelsOption = None,
    counts: CountsOption = False,
    axes: AxesOption = None,
    tilt_axis: TiltAxisOption = "y",
    set_: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Find shifts and tilt axis of maps, and write the aligned maps and alignment.json."""
    from napari_dipmtv import pipeline
    from napari_dipmtv.io.map_folder import save_maps
    from napari_dipmtv.io.reports import provenance, save_report

    settings = settings_from(AlignSettings, set_)
    stack, files = read_maps(channel, maps, map_folder, channels, angles, pixel_nm, counts, axes, tilt_axis)
    if not isinstance(stack, ChannelMaps):
        raise InputError(
            expected("maps", "maps that are not aligned yet", "an aligned series", "Reconstruct it")
        )
    usable_folder(out)
    story = provenance({"align": settings}, tilts_deg=stack.tilts_deg, inputs=files)
    with progress("aligning", as_json) as watch:
        series = pipeline.align(stack, settings, on_state=watch)
    watch.must_be_complete()
    alignment = series.alignment
    assert alignment is not None
    report = {
        **story,
        "shifts_px": alignment.shifts_px,
        "axis_angle_deg": alignment.axis_angle_deg,
        "axis_offset_px": alignment.axis_offset_px,
        "reprojection_error": alignment.quality,
    }
    save_maps(series, out)
    save_report(report, out / "alignment.json")
    lines = (
        f"Tilt axis at {alignment.axis_angle_deg:.2f} deg, {alignment.axis_offset_px:+.2f} px from the "
        f"centre; largest shift {abs(alignment.shifts_px).max():.2f} px.\nAligned maps in {out}"
    )
    finish(report, lines, as_json)


@speaks
def reconstruct(
    out: OutOption,
    method: Annotated[str, typer.Option("--method", help=f"One of {', '.join(METHODS)}.")] = "dipm-tv",
    maps: MapsOption = None,
    channel: ChannelOption = None,
    angles: AnglesOption = None,
    pixel_nm: PixelOption = None,
    map_folder: MapFolderOption = None,
    channels: ChannelsOption = None,
    counts: CountsOption = False,
    axes: AxesOption = None,
    tilt_axis: TiltAxisOption = "y",
    iterations: Annotated[
        int | None, typer.Option("--iterations", help="Passes over the data or fitting steps.")
    ] = None,
    seed: Annotated[
        int | None, typer.Option("--seed", help="Start of the random numbers of the deep image priors.")
    ] = None,
    device: Annotated[str, typer.Option("--device", help="auto, cpu or cuda.")] = "auto",
    set_: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Reconstruct aligned maps in 3-D: one volume_<channel>.tif per channel, and report.json.

    The tilt axis runs along y through the middle of x. Ctrl-C ends early and keeps the volume reached so far.
    """
    from napari_dipmtv import pipeline
    from napari_dipmtv.io.reports import provenance, save_report
    from napari_dipmtv.io.volumes import save_volume

    chosen, settings = method_settings(method, iterations, seed, set_)
    stack, files = read_maps(channel, maps, map_folder, channels, angles, pixel_nm, counts, axes, tilt_axis)
    series = _as_aligned(stack, as_json)
    usable_folder(out)
    story = provenance({chosen: settings}, tilts_deg=series.tilts_deg, inputs=files)
    with progress(f"reconstructing, {chosen}", as_json) as watch:
        result = pipeline.reconstruct(series, chosen, settings, device, on_state=watch)
    report = {
        **story,
        "device": result.device,
        "seconds": result.seconds,
        "method": chosen,
        "seed": seed if seed is not None else getattr(settings, "seed", None),
        "channels": result.volume.channels,
        "voxel_nm": result.volume.voxel_nm,
        "shape_zyx": result.volume.data.shape[1:],
        "iterations": result.iterations,
        "stopped": result.stopped,
        "losses": result.losses,
        "data_residual": result.residual,
    }
    paths = save_volume(result.volume, out)
    save_report(report, out / "report.json")
    finish(report, _told(result.volume, paths, result.iterations, result.seconds, result.stopped), as_json)


def method_settings(
    method: str, iterations: int | None, seed: int | None, assignments: list[str] | None
) -> tuple[Method, MethodSettings]:
    """Build the settings of a method from its name, the two short options and ``--set``."""
    name = next((known for known in METHODS if known == method), None)
    if name is None:
        raise InputError(expected("--method", ", ".join(METHODS), method, "Choose one of them"))
    model = METHODS[name]
    words = list(assignments or ())
    if iterations is not None:
        words.append(f"iterations={iterations}")
    if seed is not None and "seed" in model.model_fields:  # SIRT and CS-TV draw no random numbers
        words.append(f"seed={seed}")
    return name, settings_from(model, words)


def _as_aligned(stack: MapStack, as_json: bool) -> TiltSeries:
    if isinstance(stack, TiltSeries):
        return stack
    assert isinstance(stack, ChannelMaps)
    from napari_dipmtv import pipeline

    note("The maps are taken as aligned: tilt axis along y through the middle of x.", as_json)
    return pipeline.assume_aligned(stack)


def _told(volume: Volume, paths: list[Path], iterations: int, seconds: float, stopped: bool) -> str:
    nz, ny, nx = volume.data.shape[1:]
    how = (
        f"Stopped early after {iterations} iterations; the volume reached so far is kept"
        if stopped
        else "Done"
    )
    size = f"{nz} x {ny} x {nx} voxels of {volume.voxel_nm:g} nm"
    return "\n".join(
        [f"{how}: {size}, {seconds:.1f} s.", *map(str, paths), str(paths[0].parent / "report.json")]
    )
