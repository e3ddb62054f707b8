"""Commands from maps to volumes: ``align`` and ``reconstruct``."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from napari_dipmtv.cli.checkpoints import (
    EVERY,
    CheckpointOption,
    EveryOption,
    MoreOption,
    ResumeOption,
    recorder_for,
    resumption,
    starting_point,
    watched,
)
from napari_dipmtv.cli.conversation import (
    FAILED_ON_THE_WAY,
    duration,
    finish,
    note,
    progress,
    speaks,
    stoppable,
)
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
from napari_dipmtv.settings.align import AlignSettings
from napari_dipmtv.settings.presets import preset
from napari_dipmtv.settings.tomo import METHODS, Method, MethodSettings
from napari_dipmtv.states import run

if TYPE_CHECKING:
    from napari_dipmtv.io.checkpoints import Checkpoint
    from napari_dipmtv.tomo.estimate import Estimate
    from napari_dipmtv.tomo.reconstruct import ReconResult

WORTH_TELLING_S = 10.0  # an estimate of less is told to machines only


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
    from napari_dipmtv.io.map_checks import view_problems
    from napari_dipmtv.io.map_folder import save_maps
    from napari_dipmtv.io.reports import provenance, save_report

    settings = settings_from(AlignSettings, set_)
    stack, files = read_maps(channel, maps, map_folder, channels, angles, pixel_nm, counts, axes, tilt_axis)
    if not isinstance(stack, ChannelMaps):
        raise InputError(
            expected("maps", "maps that are not aligned yet", "an aligned series", "Reconstruct it")
        )
    usable_folder(out)
    for text in view_problems(stack):
        note(text, as_json)
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
    preset_: Annotated[
        str | None,
        typer.Option("--preset", help="Named settings of the method; a wrong name lists them all."),
    ] = None,
    iterations: Annotated[
        int | None, typer.Option("--iterations", help="Passes over the data or fitting steps.")
    ] = None,
    seed: Annotated[
        int | None, typer.Option("--seed", help="Start of the random numbers of the deep image priors.")
    ] = None,
    device: Annotated[str, typer.Option("--device", help="auto, cpu or cuda.")] = "auto",
    checkpoint: CheckpointOption = None,
    checkpoint_every: EveryOption = EVERY,
    resume: ResumeOption = False,
    more: MoreOption = None,
    estimate: Annotated[
        bool, typer.Option("--estimate", help="Say what time and memory it will take, and end.")
    ] = False,
    set_: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Reconstruct aligned maps in 3-D: one volume_<channel>.tif per channel, and report.json.

    The tilt axis runs along y through the middle of x. Ctrl-C ends behind the current step and keeps the volume
    reached so far; with --checkpoint a run that was stopped or killed goes on with --resume.
    """
    from napari_dipmtv import pipeline
    from napari_dipmtv.io.reports import provenance, save_report
    from napari_dipmtv.io.volumes import save_volume

    since = starting_point(checkpoint, resume, more)
    chosen, settings = method_settings(method, iterations, seed, set_, since, more, preset_)
    stack, files = read_maps(channel, maps, map_folder, channels, angles, pixel_nm, counts, axes, tilt_axis)
    series = _as_aligned(stack, as_json)
    foreseen = _foreseen(series, chosen, settings, device, as_json)
    if estimate:
        return finish({"estimate": asdict(foreseen)}, _in_words(foreseen), as_json)
    foreseen.must_fit()
    recorder = recorder_for(checkpoint, checkpoint_every, since, series, chosen, settings)
    usable_folder(out)
    story = provenance({chosen: settings}, tilts_deg=series.tilts_deg, inputs=files)
    with progress(f"reconstructing, {chosen}", as_json) as watch, stoppable(watch) as asked:
        on_state, should_stop = watched(recorder, watch, asked)
        start = None if since is None else since.state
        result = pipeline.reconstruct(
            series, chosen, settings, device, resume=start, on_state=on_state, should_stop=should_stop
        )
    report = {
        **story,
        "device": result.device,
        "seconds": result.seconds,
        "estimate": asdict(foreseen),
        "method": chosen,
        "seed": getattr(settings, "seed", seed),
        "channels": result.volume.channels,
        "voxel_nm": result.volume.voxel_nm,
        "shape_zyx": result.volume.data.shape[1:],
        "iterations": result.iterations,
        "stopped": result.stopped,
        "notes": result.notes,
        "resumed": resumption(since),
        "losses": result.losses if recorder is None else recorder.losses,
        "data_residual": result.residual,
    }
    paths = save_volume(result.volume, out)
    save_report(report, out / "report.json")
    if recorder is not None and not result.stopped:
        recorder.keep()
    finish(report, _told(result, paths, checkpoint), as_json)
    if result.notes:
        raise typer.Exit(FAILED_ON_THE_WAY)


def method_settings(
    method: str,
    iterations: int | None,
    seed: int | None,
    assignments: list[str] | None,
    since: Checkpoint | None = None,
    more: int | None = None,
    preset_name: str | None = None,
) -> tuple[Method, MethodSettings]:
    """Build the settings of a method from its name, a preset, the short options and ``--set``; a resumed run keeps its
    own."""
    name = next((known for known in METHODS if known == method), None)
    if name is None:
        raise InputError(expected("--method", ", ".join(METHODS), method, "Choose one of them"))
    model = METHODS[name]
    words = list(assignments or ())
    if iterations is not None and more is not None:
        raise InputError(expected("--more", "no --iterations beside it", iterations, "Leave one of them out"))
    if since is not None and more is not None:
        iterations = since.iteration + more
    if iterations is not None:
        words.append(f"iterations={iterations}")
    if seed is not None and "seed" in model.model_fields:  # SIRT and CS-TV draw no random numbers
        words.append(f"seed={seed}")
    kept = since.task.settings if since is not None and since.task.method == name else None
    if since is not None and kept is not None and kept.keys() != model.model_fields.keys():
        advice = "Go on with the version that wrote it, or start a new run"
        raise InputError(
            expected(f"checkpoint {since.path}", "the settings of this version", "those of another", advice)
        )
    if preset_name is not None:
        if kept is not None:
            raise InputError(expected("--preset", "none with --resume", preset_name, "Leave it out"))
        kept = preset(name, preset_name).model_dump(mode="json")
    return name, settings_from(model, words, kept)


def _as_aligned(stack: MapStack, as_json: bool) -> TiltSeries:
    if isinstance(stack, TiltSeries):
        return stack
    assert isinstance(stack, ChannelMaps)
    from napari_dipmtv import pipeline

    note("The maps are taken as aligned: tilt axis along y through the middle of x.", as_json)
    return pipeline.assume_aligned(stack)


def _foreseen(
    series: TiltSeries, method: Method, settings: MethodSettings, device: str, as_json: bool
) -> Estimate:
    """Estimate time and memory, and tell a person where it is worth knowing."""
    from napari_dipmtv import pipeline

    with progress("estimating", as_json) as watch:
        found = run(pipeline.estimate_states(series, method, settings, device), on_state=watch).whole()
    if found.note or found.seconds > WORTH_TELLING_S:
        note(_in_words(found), as_json)
    return found


def _in_words(found: Estimate) -> str:
    memory = f"{found.memory_bytes / 1e9:.1f} GB of memory, {found.available_bytes / 1e9:.1f} GB are free"
    times = (
        f"about {duration(found.seconds)} ({found.seconds_per_iteration:.2g} s for each step) and "
        if found.fits
        else ""
    )
    return f"This will take {times}{memory}." + (f" {found.note}." if found.note else "")


def _told(result: ReconResult, paths: list[Path], checkpoint: Path | None) -> str:
    nz, ny, nx = result.volume.data.shape[1:]
    how = "Done"
    if result.stopped:
        how = f"Stopped early after {result.iterations} iterations; the volume reached so far is kept"
    size = f"{nz} x {ny} x {nx} voxels of {result.volume.voxel_nm:g} nm"
    lines = [f"{how}: {size}, {result.seconds:.1f} s.", *result.notes, *map(str, paths)]
    lines.append(str(paths[0].parent / "report.json"))
    if checkpoint is not None:
        lines.append(f"{'--resume' if result.stopped else '--resume --more N'} goes on from {checkpoint}")
    return "\n".join(lines)
