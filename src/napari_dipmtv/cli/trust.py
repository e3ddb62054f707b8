"""The command ``trust``: a project or a folder of maps to a report on whether its void or skin is real."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from napari_dipmtv.cli.conversation import finish, note, progress, speaks
from napari_dipmtv.cli.maps import method_settings
from napari_dipmtv.cli.options import (
    JsonOption,
    OutOption,
    SetOption,
    read_saved,
    settings_from,
    usable_folder,
)
from napari_dipmtv.data import ChannelMaps, MapStack, TiltSeries
from napari_dipmtv.errors import InputError, expected
from napari_dipmtv.settings.inspect import SegmentSettings
from napari_dipmtv.settings.tomo import METHODS, Method, MethodSettings
from napari_dipmtv.settings.trust import TrustSettings
from napari_dipmtv.states import Result, State, run

if TYPE_CHECKING:
    from napari_dipmtv.trust.study import Study

SAVE_EVERY_S = 15.0


@speaks
def trust(
    source: Annotated[
        Path,
        typer.Argument(
            help="A project file, *.dipmtv.json, or a folder of maps that align or simulate wrote."
        ),
    ],
    out: OutOption,
    feature: Annotated[str, typer.Option("--feature", help="void or skin.")] = "void",
    repeats: Annotated[
        int | None, typer.Option("--repeats", help="Null repeats; k can show p = 1 / (k + 1) at best.")
    ] = None,
    volume: Annotated[
        Path | None,
        typer.Option("--volume", help="Folder of the volume under test; else the repeats' method makes it."),
    ] = None,
    even: Annotated[
        Path | None, typer.Option("--even", help="Maps of the even frames, aligned like the whole.")
    ] = None,
    odd: Annotated[Path | None, typer.Option("--odd", help="Maps of the odd frames.")] = None,
    method: Annotated[
        str | None,
        typer.Option("--method", help=f"What made the volume, of a folder of maps: {', '.join(METHODS)}."),
    ] = None,
    device: Annotated[str, typer.Option("--device", help="auto, cpu or cuda.")] = "auto",
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Begin again, whatever an earlier run left.")
    ] = False,
    set_: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Ask whether a void or skin is real: null test, detection curve, resolution, uncertainty, held-out views.

    Writes trust.json, trust.txt and pictures. Ctrl-C keeps what was reached; the same command then goes on there.
    """
    from napari_dipmtv.io.atomic import output_folder
    from napari_dipmtv.io.volumes import load_volume
    from napari_dipmtv.trust.progress import load_progress
    from napari_dipmtv.trust.study import study

    words = [*(set_ or ()), f"feature={feature}", *([] if repeats is None else [f"repeats={repeats}"])]
    settings = settings_from(TrustSettings, words)
    tested = None if volume is None else load_volume(volume)
    halves = _given(even, odd, as_json)
    usable_folder(out)
    series, segmentation, how, how_settings = _source(source, method, as_json)
    output_folder(out)
    states = study(
        series,
        settings,
        how,
        how_settings,
        volume=tested,
        given_halves=halves,
        segmentation=segmentation,
        device=device,
        resume=None if fresh else load_progress(out),
    )
    result = _followed(states, out, as_json)
    _write(result, out, settings, source, as_json)


def _followed(states: Iterator[State[Study]], out: Path, as_json: bool) -> Result[Study]:
    """Run a study with a bar; keep its progress every few seconds and when it is stopped."""
    from napari_dipmtv.trust.progress import PROGRESS, save_progress

    reached: list[State[Study]] = []
    saved_at = time.monotonic()
    with progress("trust", as_json) as watch:

        def on_state(state: State[Study]) -> None:
            nonlocal saved_at
            reached[:] = [state]
            watch(state)
            if state.checkpoint is not None and time.monotonic() - saved_at > SAVE_EVERY_S:
                save_progress(state.checkpoint(), out)
                saved_at = time.monotonic()

        result = run(states, on_state=on_state)
    last = reached[0].checkpoint
    if result.stopped and last is not None:
        save_progress(last(), out)
    elif not result.stopped:
        (out / PROGRESS).unlink(missing_ok=True)
    return result


def _write(result: Result[Study], out: Path, settings: TrustSettings, source: Path, as_json: bool) -> None:
    from napari_dipmtv.io.atomic import write_bytes
    from napari_dipmtv.io.reports import provenance, save_report
    from napari_dipmtv.trust.figures import save_figures
    from napari_dipmtv.trust.words import report_text

    found = result.value
    story = provenance(
        {"trust": settings}, tilts_deg=found.report.tilts_deg, inputs=[source], seconds=result.seconds
    )
    text = report_text(found.report)
    facts = {**story, "stopped": result.stopped, "text": text, **found.report.facts()}
    written = [save_report(facts, out / "trust.json"), write_bytes(out / "trust.txt", text.encode())]
    written += save_figures(found, out)
    early = ["Stopped early; the same command goes on from here.", *result.notes] if result.stopped else []
    finish(facts, "\n".join([text, *early, *map(str, written)]), as_json)


def _source(
    source: Path, method: str | None, as_json: bool
) -> tuple[TiltSeries, SegmentSettings | None, Method, MethodSettings]:
    """Series, segmentation and method of a project file or a folder of maps."""
    if source.is_dir():
        name, settings = method_settings(method or "dipm-tv", None, None, None)
        return _aligned(read_saved(source), as_json), None, name, settings
    from napari_dipmtv import pipeline
    from napari_dipmtv.io.project import load_project

    if method is not None:
        raise InputError(
            expected("--method", "none with a project, which names its own", method, "Leave it out")
        )
    project = load_project(source)
    with progress("unmixing and aligning", as_json) as watch:
        series = pipeline.project_series(project, on_state=watch)
    watch.must_be_complete()
    chosen = project.reconstruct
    return series, project.segment, chosen.method, chosen.method_settings()


def _aligned(stack: MapStack, as_json: bool) -> TiltSeries:
    if isinstance(stack, TiltSeries):
        return stack
    assert isinstance(stack, ChannelMaps)
    from napari_dipmtv import pipeline

    note("The maps are taken as aligned: tilt axis along y through the middle of x.", as_json)
    return pipeline.assume_aligned(stack)


def _given(even: Path | None, odd: Path | None, as_json: bool) -> tuple[TiltSeries, TiltSeries] | None:
    if (even is None) != (odd is None):
        raise InputError(expected("--even and --odd", "both or none", "one", "Give both halves"))
    if even is None or odd is None:
        return None
    return _aligned(read_saved(even), as_json), _aligned(read_saved(odd), as_json)
