"""The command ``fuse``: chemical maps and a HAADF series to a chemical volume."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from napari_dipmtv.cli.conversation import FAILED_ON_THE_WAY, finish, note, progress, speaks, stoppable
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
from napari_dipmtv.data import ChannelMaps, MapStack, TiltSeries
from napari_dipmtv.errors import InputError, expected
from napari_dipmtv.settings.fused import FUSED_METHODS, FusedMethod

if TYPE_CHECKING:
    from napari_dipmtv.tomo.reconstruct import ReconResult


@speaks
def fuse(
    out: OutOption,
    haadf: Annotated[
        Path,
        typer.Option(
            "--haadf", help="The aligned HAADF stack (t, y, x), vacuum at 0, on the pixels of the maps."
        ),
    ],
    haadf_angles: Annotated[Path, typer.Option("--haadf-angles", help="Its tilt angles in degrees.")],
    haadf_counts: Annotated[
        bool, typer.Option("--haadf-counts", help="The HAADF images are counts (Poisson statistics).")
    ] = False,
    method: Annotated[str, typer.Option("--method", help=f"One of {', '.join(FUSED_METHODS)}.")] = "fused",
    maps: MapsOption = None,
    channel: ChannelOption = None,
    angles: AnglesOption = None,
    pixel_nm: PixelOption = None,
    map_folder: MapFolderOption = None,
    channels: ChannelsOption = None,
    counts: CountsOption = False,
    axes: AxesOption = None,
    tilt_axis: TiltAxisOption = "y",
    device: Annotated[str, typer.Option("--device", help="auto, cpu or cuda.")] = "auto",
    set_: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Fuse few chemical maps with many HAADF tilts: one volume_<channel>.tif per channel, and report.json.

    Both series are aligned to one tilt axis, along y through the middle of x. Ctrl-C keeps the volume reached so far.
    """
    from napari_dipmtv.io.maps import load_maps
    from napari_dipmtv.io.reports import provenance, save_report
    from napari_dipmtv.io.volumes import save_volume
    from napari_dipmtv.tomo.fused import fuse as run_fused

    chosen = _method(method)
    settings = settings_from(FUSED_METHODS[chosen], set_)
    stack, files = read_maps(channel, maps, map_folder, channels, angles, pixel_nm, counts, axes, tilt_axis)
    series = _aligned(stack)
    images = _aligned(
        load_maps(
            {"HAADF": haadf},
            haadf_angles,
            pixel_nm or stack.pixel_nm,
            counts=haadf_counts,
            axes=axes,
            tilt_axis="x" if tilt_axis == "x" else "y",
        )
    )
    note("Maps and HAADF are taken as aligned: tilt axis along y through the middle of x.", as_json)
    usable_folder(out)
    story = provenance({chosen: settings}, tilts_deg=series.tilts_deg, inputs=[*files, haadf, haadf_angles])
    with progress("fusing", as_json) as watch, stoppable(watch) as asked:
        result = run_fused(series, images, chosen, settings, device, on_state=watch, should_stop=asked)
    report = {
        **story,
        "haadf_tilts_deg": images.tilts_deg,
        "device": result.device,
        "seconds": result.seconds,
        "method": chosen,
        "channels": result.volume.channels,
        "voxel_nm": result.volume.voxel_nm,
        "shape_zyx": result.volume.data.shape[1:],
        "iterations": result.iterations,
        "stopped": result.stopped,
        "notes": result.notes,
        "losses": result.losses,
        "data_residual": result.residual,
    }
    paths = save_volume(result.volume, out)
    save_report(report, out / "report.json")
    finish(report, _told(result, paths), as_json)
    if result.notes:
        raise typer.Exit(FAILED_ON_THE_WAY)


def _method(name: str) -> FusedMethod:
    found = next((known for known in FUSED_METHODS if known == name), None)
    if found is None:
        raise InputError(expected("--method", ", ".join(FUSED_METHODS), name, "Choose one of them"))
    return found


def _aligned(stack: MapStack) -> TiltSeries:
    if isinstance(stack, TiltSeries):
        return stack
    assert isinstance(stack, ChannelMaps)
    from napari_dipmtv import pipeline

    return pipeline.assume_aligned(stack)


def _told(result: ReconResult, paths: list[Path]) -> str:
    nz, ny, nx = result.volume.data.shape[1:]
    how = f"Stopped early after {result.iterations} iterations" if result.stopped else "Done"
    size = f"{nz} x {ny} x {nx} voxels of {result.volume.voxel_nm:g} nm"
    contrast = {
        name: curve[-1] for name, curve in result.losses.items() if name.startswith(("weight", "gamma"))
    }
    found = [", ".join(f"{name} {value:.3g}" for name, value in contrast.items())] if contrast else []
    return "\n".join(
        [
            f"{how}: {size}, {result.seconds:.1f} s.",
            *found,
            *result.notes,
            *map(str, paths),
            str(paths[0].parent / "report.json"),
        ]
    )
