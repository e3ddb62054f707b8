"""The command ``trust``: a project or a folder of maps to a report on whether its void or skin is real."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from napari_dipmtv.cli.conversation import finish, note, progress, speaks
from napari_dipmtv.cli.grouped import grouped
from napari_dipmtv.cli.jobs import JobsOn
from napari_dipmtv.cli.maps import method_settings
from napari_dipmtv.cli.options import (
    JsonOption,
    OutOption,
    SetOption,
    as_aligned,
    read_saved,
    settings_from,
    usable_folder,
)
from napari_dipmtv.data import TiltSeries, Volume
from napari_dipmtv.errors import InputError, expected
from napari_dipmtv.settings.inspect import SegmentSettings
from napari_dipmtv.settings.tomo import METHODS, Method, MethodSettings
from napari_dipmtv.settings.trust import TrustSettings
from napari_dipmtv.states import Result, State, run

if TYPE_CHECKING:
    from napari_dipmtv.inspect.register import Registered
    from napari_dipmtv.trust.study import Study

SAVE_EVERY_S = 15.0
JOBS = "trust-jobs"  # what workers have found and the study has not taken yet


@speaks
@grouped
def trust(
    source: Annotated[
        Path,
        typer.Argument(
            help="A project file, *.dipmtv.json, or a folder of maps that align or simulate wrote."
        ),
    ],
    out: OutOption,
    jobs_on: JobsOn,
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
    reference: Annotated[
        Path | None,
        typer.Option(
            "--reference",
            help="A volume of the same object: it is registered, and all methods are compared with it.",
        ),
    ] = None,
    method: Annotated[
        str | None,
        typer.Option(
            "--method",
            help=f"What made the volume, where it does not tell: {', '.join(METHODS)}.",
        ),
    ] = None,
    device: Annotated[str, typer.Option("--device", help="auto, cpu or cuda.")] = "auto",
    threads: Annotated[
        int | None, typer.Option("--threads", min=1, help="Of every job; 1 on workers where none is given.")
    ] = None,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Begin again, whatever an earlier run left.")
    ] = False,
    svg: Annotated[
        bool, typer.Option("--svg", help="Write the pictures as SVG as well, for papers.")
    ] = False,
    set_: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Ask whether a void or skin is real: null test, detection curve, resolution, uncertainty, held-out views.

    Writes measures.csv, trust.json, trust.txt, pictures, probabilities and report.html. Ctrl-C keeps what was reached;
    the same command then goes on there.
    """
    from napari_dipmtv.io.atomic import output_folder
    from napari_dipmtv.io.volumes import load_volume
    from napari_dipmtv.sweep.repeats import Shelf
    from napari_dipmtv.trust.progress import load_progress
    from napari_dipmtv.trust.saving import facts_of, save_study
    from napari_dipmtv.trust.study import study

    words = [*(set_ or ()), f"feature={feature}", *([] if repeats is None else [f"repeats={repeats}"])]
    words += [] if reference is None else ["compare=true"]
    settings = settings_from(TrustSettings, words)
    tested = None if volume is None else load_volume(volume)
    known = None if reference is None else load_volume(reference)
    halves = _given(even, odd, as_json)
    usable_folder(out)
    series, segmentation, how, how_settings = _source(source, method, tested, as_json)
    placed = None if known is None else _placed(known, tested, series, as_json)
    output_folder(out)
    if fresh:
        Shelf(out / JOBS).clear()
    with jobs_on.repeats(threads, out / JOBS) as done_by:
        states = study(
            series,
            settings,
            how,
            how_settings,
            volume=tested,
            given_halves=halves,
            segmentation=segmentation,
            truth=None if placed is None else placed.volume,
            device=device,
            resume=None if fresh else load_progress(out),
            done_by=done_by,
        )
        result = _followed(states, out, as_json)
    facts = facts_of(
        result.value,
        settings,
        [path for path in (source, volume, even, odd, reference) if path is not None],
        result.seconds,
        stopped=result.stopped,
        made_by={how: how_settings, **({} if segmentation is None else {"segment": segmentation})},
        device=device,
    )
    if placed is not None:
        facts["reference"] = {n: getattr(placed, n) for n in ("shift_nm", "turn_deg", "scale", "correlation")}
    written = save_study(
        result.value, facts, out, segmentation=segmentation, pictures=("png", "svg") if svg else ("png",)
    )
    early = ["Stopped early; the same command goes on from here.", *result.notes] if result.stopped else []
    finish(facts, "\n".join([facts["text"], *early, *map(str, written)]), as_json)


def _followed(states: Iterator[State[Study]], out: Path, as_json: bool) -> Result[Study]:
    """Run a study with a bar; keep its progress every few seconds and when it is stopped."""
    from napari_dipmtv.sweep.repeats import Shelf
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
        Shelf(out / JOBS).clear()
    return result


def _placed(known: Volume, tested: Volume | None, series: TiltSeries, as_json: bool) -> Registered:
    """The reference on the voxels of the volume under test; without one, of a quick reconstruction."""
    from napari_dipmtv import pipeline
    from napari_dipmtv.inspect.register import register

    placed = register(known, tested or pipeline.reconstruct(series, "sirt", device="cpu").volume)
    shift = ", ".join(f"{s:.3g}" for s in placed.shift_nm)
    note(
        f"Reference: moved by ({shift}) nm along z, y, x, turned by {placed.turn_deg:.2g} deg, multiplied by "
        f"{placed.scale:.3g}; correlation {placed.correlation:.3f}.",
        as_json,
    )
    return placed


def _source(
    source: Path, method: str | None, tested: Volume | None, as_json: bool
) -> tuple[TiltSeries, SegmentSettings | None, Method, MethodSettings]:
    """Series, segmentation and method of a project file or a folder of maps."""
    if source.is_dir():
        made = None if tested is None else _made_by(tested)
        if made is None or method not in (None, made[0]):
            made = method_settings(method or "dipm-tv", None, None, None)
        name, settings = made
        return as_aligned(read_saved(source), as_json), None, name, settings
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


def _made_by(volume: Volume) -> tuple[Method, MethodSettings] | None:
    """Method and settings that a volume says it was made with; None where it does not, or not in our terms."""
    told = volume.metadata.get("provenance", {}).get("settings", {})
    for name, model in METHODS.items():
        if set(told.get(name, ())) == set(model.model_fields):
            return name, model.from_mapping(told[name])
    return None


def _given(even: Path | None, odd: Path | None, as_json: bool) -> tuple[TiltSeries, TiltSeries] | None:
    if (even is None) != (odd is None):
        raise InputError(expected("--even and --odd", "both or none", "one", "Give both halves"))
    if even is None or odd is None:
        return None
    return as_aligned(read_saved(even), as_json), as_aligned(read_saved(odd), as_json)
