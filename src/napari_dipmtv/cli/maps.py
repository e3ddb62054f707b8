"""Commands from maps to volumes: ``align`` and ``reconstruct``."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from napari_dipmtv.cli.checkpoints import Survival, iterations_since, settings_since
from napari_dipmtv.cli.conversation import duration, finish, note, progress, speaks
from napari_dipmtv.cli.grouped import grouped
from napari_dipmtv.cli.map_source import MapsFrom
from napari_dipmtv.cli.options import (
    JsonOption,
    OutOption,
    SetOption,
    as_aligned,
    known_method,
    read_saved,
    settings_from,
    usable_folder,
)
from napari_dipmtv.cli.running import Order
from napari_dipmtv.data import ChannelMaps, TiltSeries
from napari_dipmtv.errors import InputError, expected
from napari_dipmtv.settings.align import AlignSettings
from napari_dipmtv.settings.presets import preset
from napari_dipmtv.settings.tomo import METHODS, Method, MethodSettings
from napari_dipmtv.states import run

if TYPE_CHECKING:
    from napari_dipmtv.io.checkpoints import Checkpoint
    from napari_dipmtv.tomo.estimate import Estimate

GuideOption = Annotated[
    Path | None,
    typer.Option(
        "--guide",
        help="Find the alignment on these images of the same views and apply it to the maps: a folder such as the "
        "haadf that unmix and edx write. The darkest 2 % of each image count as vacuum.",
    ),
]
WORTH_TELLING_S = 10.0  # an estimate of less is told to machines only


@speaks
@grouped
def align(
    out: OutOption,
    source: MapsFrom,
    guide: GuideOption = None,
    set_: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Find shifts and tilt axis of maps, and write the aligned maps and alignment.json."""
    from napari_dipmtv import pipeline
    from napari_dipmtv.alignment import guided
    from napari_dipmtv.io.map_checks import view_problems
    from napari_dipmtv.io.map_folder import alignment_facts, save_maps
    from napari_dipmtv.io.reports import provenance, save_report

    settings = settings_from(AlignSettings, set_)
    stack, files = source.read()
    if not isinstance(stack, ChannelMaps):
        raise InputError(
            expected("maps", "maps that are not aligned yet", "an aligned series", "Reconstruct it")
        )
    images = None if guide is None else _not_aligned(guide)
    seen = stack if images is None else guided(stack, images)[1]
    usable_folder(out)
    for text in view_problems(stack):
        note(text, as_json)
    files = (*files, *([] if guide is None else [guide]))
    story = provenance({"align": settings}, tilts_deg=stack.tilts_deg, inputs=files)
    with progress("aligning", as_json) as watch:
        series = pipeline.align(stack, settings, guide=images, on_state=watch)
    watch.must_be_complete()
    alignment = series.alignment
    assert alignment is not None
    judged = pipeline.report_alignment(seen, alignment, settings)
    report = {
        **story,
        **alignment_facts(alignment),
        **{name: getattr(judged, name) for name in ("error", "view_errors", "dose", "cut_share", "notes")},
    }
    save_maps(series, out)
    save_report(report, out / "alignment.json")
    for text in judged.notes:
        note(text, as_json)
    finish(report, f"{alignment}. Re-projection error {judged.error:.3f}.\nAligned maps in {out}", as_json)


def _not_aligned(folder: Path) -> ChannelMaps:
    images = read_saved(folder)
    if isinstance(images, ChannelMaps):
        return images
    advice = "Give the images as they were recorded"
    raise InputError(expected("--guide", "images that are not aligned yet", "an aligned series", advice))


@speaks
@grouped
def reconstruct(
    out: OutOption,
    source: MapsFrom,
    survival: Survival,
    method: Annotated[str, typer.Option("--method", help=f"One of {', '.join(METHODS)}.")] = "dipm-tv",
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
    device: Annotated[str, typer.Option("--device", help="auto, cpu, cuda or mps.")] = "auto",
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

    since = survival.start()
    chosen, settings = method_settings(method, iterations, seed, set_, since, survival.more, preset_)
    stack, files = source.read()
    series = as_aligned(stack, as_json)
    foreseen = _foreseen(series, chosen, settings, device, as_json)
    if estimate:
        return finish({"estimate": asdict(foreseen)}, _in_words(foreseen), as_json)
    foreseen.must_fit()
    order = Order([series], chosen, settings, survival, since, out, files)
    facts = {"estimate": asdict(foreseen), "seed": getattr(settings, "seed", seed)}
    order.carry_out(
        "reconstructing", partial(pipeline.reconstruct, series, chosen, settings, device), facts, as_json
    )


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
    name = known_method(method, METHODS)
    model = METHODS[name]
    words = [*(assignments or ()), *iterations_since(since, more, iterations)]
    if seed is not None and "seed" in model.model_fields:  # SIRT and CS-TV draw no random numbers
        words.append(f"seed={seed}")
    kept = settings_since(since, name, model)
    if preset_name is not None:
        if kept is not None:
            raise InputError(expected("--preset", "none with --resume", preset_name, "Leave it out"))
        kept = preset(name, preset_name).model_dump(mode="json")
    return name, settings_from(model, words, kept)


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
