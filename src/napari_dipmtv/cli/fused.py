"""The commands ``fuse``, chemical maps and a HAADF series to a chemical volume, and ``simulate-fused``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from napari_dipmtv.cli.checkpoints import (
    EVERY,
    CheckpointOption,
    EveryOption,
    MoreOption,
    ResumeOption,
    iterations_since,
    recorder_for,
    resumption,
    settings_since,
    starting_point,
    watched,
)
from napari_dipmtv.cli.conversation import finish, progress, speaks, stoppable
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
    as_aligned,
    known_method,
    read_maps,
    settings_from,
    usable_folder,
)
from napari_dipmtv.cli.outcome import deliver
from napari_dipmtv.data import ChannelMaps, MapStack, TiltSeries
from napari_dipmtv.settings.fused import FUSED_METHODS, FusedPhantomSettings

HaadfOption = Annotated[
    Path, typer.Option("--haadf", help="The HAADF stack (t, y, x), vacuum at 0, on the pixels of the maps.")
]
HaadfAnglesOption = Annotated[Path, typer.Option("--haadf-angles", help="Its tilt angles in degrees.")]
HaadfCountsOption = Annotated[
    bool, typer.Option("--haadf-counts", help="The HAADF images are counts (Poisson statistics).")
]
AlignOption = Annotated[
    bool,
    typer.Option(
        "--align",
        help="Align the HAADF series first, and the maps onto its volume; otherwise both are taken as aligned.",
    ),
]


@speaks
def simulate_fused(out: OutOption, set_: SetOption = None, as_json: JsonOption = False) -> None:
    """Simulate few chemical and many HAADF tilts of a CuO/CoO/Au particle; the truth about it goes into OUT/truth.

    Writes OUT/maps, OUT/haadf with its angles, and fused.dipmtv.json, which fuses them.
    """
    import numpy as np

    from napari_dipmtv.io.atomic import write_bytes
    from napari_dipmtv.io.map_folder import save_maps
    from napari_dipmtv.io.project import PROJECT_SUFFIX, Inputs, Project, save_project
    from napari_dipmtv.io.volumes import save_volume
    from napari_dipmtv.phantom.fused import simulate_fused as simulated

    settings = settings_from(FusedPhantomSettings, set_)
    usable_folder(out)
    made = simulated(settings)
    counts = np.rint(made.haadf.data * (made.haadf.counts_per_unit or 1.0))
    images = save_maps(made.haadf.replace(data=counts, counts_per_unit=1.0), out / "haadf")[0]
    angles = "\n".join(f"{tilt:g}" for tilt in made.haadf.tilts_deg)
    inputs = Inputs(
        map_folder=save_maps(made.chemical, out / "maps")[-1].parent,
        haadf=images,
        haadf_angles=write_bytes(out / "haadf.rawtlt", angles.encode()),
        haadf_counts=True,
    )
    truth = save_volume(made.truth, out / "truth")
    project = save_project(Project(inputs=inputs, aligned=True), out / f"fused{PROJECT_SUFFIX}")
    facts = {"maps": inputs.map_folder, "haadf": inputs.haadf, "truth": truth, "project": project}
    tilts = f"{len(made.chemical.tilts_deg)} chemical and {len(made.haadf.tilts_deg)} HAADF tilts in {out}"
    finish(facts, f"{tilts}\nFuse them: napari-dipmtv run {project}", as_json)


@speaks
def fuse(
    out: OutOption,
    haadf: HaadfOption,
    haadf_angles: HaadfAnglesOption,
    haadf_counts: HaadfCountsOption = False,
    align: AlignOption = False,
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
    checkpoint: CheckpointOption = None,
    checkpoint_every: EveryOption = EVERY,
    resume: ResumeOption = False,
    more: MoreOption = None,
    set_: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Fuse few chemical maps with many HAADF tilts: one volume_<channel>.tif per channel, and report.json.

    Ctrl-C keeps the volume reached so far; with --checkpoint a run that was stopped or killed goes on with --resume.
    """
    from napari_dipmtv import pipeline
    from napari_dipmtv.io.maps import load_maps
    from napari_dipmtv.io.reports import provenance

    since = starting_point(checkpoint, resume, more)
    chosen = known_method(method, FUSED_METHODS)
    model = FUSED_METHODS[chosen]
    words = [*(set_ or ()), *iterations_since(since, more, None)]
    settings = settings_from(model, words, settings_since(since, chosen, model))
    stack, files = read_maps(channel, maps, map_folder, channels, angles, pixel_nm, counts, axes, tilt_axis)
    images = load_maps(
        {"HAADF": haadf},
        haadf_angles,
        pixel_nm or stack.pixel_nm,
        counts=haadf_counts,
        axes=axes,
        tilt_axis="x" if tilt_axis == "x" else "y",
    )
    series, haadf_series = _both(stack, images, align, device, as_json)
    recorder = recorder_for(checkpoint, checkpoint_every, since, [series, haadf_series], chosen, settings)
    usable_folder(out)
    story = provenance({chosen: settings}, tilts_deg=series.tilts_deg, inputs=[*files, haadf, haadf_angles])
    with progress(f"fusing, {chosen}", as_json) as watch, stoppable(watch) as asked:
        on_state, should_stop = watched(recorder, watch, asked)
        start = None if since is None else since.state
        result = pipeline.fuse(
            series,
            haadf_series,
            chosen,
            settings,
            device,
            resume=start,
            on_state=on_state,
            should_stop=should_stop,
        )
    facts = {**story, "haadf_tilts_deg": haadf_series.tilts_deg, "resumed": resumption(since)}
    deliver(result, out, facts, recorder, checkpoint, as_json)


def _both(
    maps: MapStack, images: ChannelMaps, align: bool, device: str, as_json: bool
) -> tuple[TiltSeries, TiltSeries]:
    """Align the images and the maps onto them, or take both as aligned."""
    if not align:
        return as_aligned(maps, as_json), as_aligned(images, as_json)
    from napari_dipmtv import pipeline

    with progress("aligning", as_json) as watch:
        return pipeline.align_both(maps, images, device=device, on_state=watch)
