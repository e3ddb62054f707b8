"""Commands from spectrum images to maps: ``simulate`` and ``unmix``."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer

from napari_dipmtv.cli.conversation import finish, note, progress, speaks
from napari_dipmtv.cli.edx import SeriesArgument, surveyed
from napari_dipmtv.cli.options import (
    AnglesOption,
    BinPixelsOption,
    JsonOption,
    OutOption,
    SetOption,
    named_once,
    settings_from,
    settings_of_several,
    usable_folder,
)
from napari_dipmtv.data import Region, SpectrumSeries
from napari_dipmtv.errors import InputError, expected
from napari_dipmtv.settings.base import StageSettings
from napari_dipmtv.settings.simulation import SimulationSettings
from napari_dipmtv.settings.spectra import (
    METALS,
    PrepareSettings,
    ReferenceSettings,
    UnmixSettings,
    reference_settings,
)
from napari_dipmtv.states import run

if TYPE_CHECKING:
    from napari_dipmtv.pipeline import ReferencePair, ReferenceSource

_REGION = re.compile(r"([+-]?\d+(?:\.\d+)?):(\d+):(\d+),(\d+):(\d+)")


@speaks
def simulate(out: OutOption, set_: SetOption = None, as_json: JsonOption = False) -> None:
    """Simulate a dual EELS tilt series of an iron oxide particle; the truth about it goes into OUT/truth."""
    from napari_dipmtv import phantom

    settings = settings_from(SimulationSettings, set_)
    usable_folder(out)
    simulation = phantom.simulate(settings)
    simulation.write(out)
    ny, nx, _ = simulation.series.tilts[0].low_loss.counts.shape
    views = len(settings.tilts_deg)
    finish(simulation.facts(), f"{views} tilts of {ny} x {nx} pixels, low and core loss, in {out}", as_json)


@speaks
def unmix(
    folder: SeriesArgument,
    out: OutOption,
    reference: Annotated[
        list[str] | None,
        typer.Option(
            "--reference",
            metavar="NAME=SPEC",
            help="Repeatable, the reduced phase first. SPEC is a core-loss spectrum file without background "
            "(.csv, .msa, .dm3, .dm4, .hspy, .zspy) or a region TILT:y0:y1,x0:x1 in (binned) pixels; 'auto' finds "
            "two phases, FeO and Fe3O4 or the reduced and oxidised one of another metal, by itself.",
        ),
    ] = None,
    metal: Annotated[
        str, typer.Option("--metal", help=f"Whose edges the windows suit: {', '.join(METALS)}.")
    ] = METALS[0],
    angles: AnglesOption = None,
    bin_pixels: BinPixelsOption = 1,
    set_: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Learn low-loss references (Fe-M) from core-loss edges (Fe-L); turn every pixel into abundances.

    Writes maps_<name>.tif, variance_<name>.tif, m_references.csv and report.json; and into haadf/ the HAADF images
    in the same files, or in files of their own beside them.
    """
    from napari_dipmtv import pipeline
    from napari_dipmtv.io.companions import load_companions
    from napari_dipmtv.io.map_folder import save_maps
    from napari_dipmtv.io.reference_spectra import save_references
    from napari_dipmtv.io.reports import provenance, save_report

    models: dict[str, type[StageSettings]] = {
        "prepare": PrepareSettings,
        "references": ReferenceSettings,
        "unmix": UnmixSettings,
    }
    windows = reference_settings(metal).model_dump(exclude_unset=True)
    settings = settings_of_several(
        models, [*(f"{name}={value}" for name, value in windows.items()), *(set_ or ())]
    )
    specs = _specs(reference)
    table = surveyed(folder, angles)
    for problem in table.problems:
        note(problem, as_json)
    series = pipeline.load(table, bin_pixels=bin_pixels)
    haadf = load_companions(table, bin_pixels=bin_pixels * settings["prepare"].rebin_pixels)
    source = _source(specs, series)
    usable_folder(out)
    story = provenance(settings, tilts_deg=series.tilts_deg, inputs=[folder, *([angles] if angles else [])])
    with progress("preparing", as_json) as watch:
        series = run(pipeline.prepare_states(series, settings["prepare"]), on_state=watch).value
    watch.must_be_complete()
    names = ("FeO", "Fe3O4") if metal == "Fe" else (f"{metal}_reduced", f"{metal}_oxidised")
    with progress("learning references", as_json) as watch:
        states = pipeline.reference_states(series, source, settings["references"], names=names)
        taught = run(states, on_state=watch).value
    watch.must_be_complete()
    with progress("unmixing", as_json) as watch:
        unmixed = run(pipeline.unmix_states(series, taught, settings["unmix"]), on_state=watch).value
    watch.must_be_complete()
    report = {**story, "notes": unmixed.notes, "problems": table.problems, "references": _told(taught)}
    save_maps(unmixed.maps, out)
    if haadf is not None:
        save_maps(haadf, out / "haadf")
    save_references(taught.m.spectra, out / "m_references.csv")
    save_report(report, out / "report.json")
    for text in unmixed.notes:
        note(text, as_json)
    finish(
        report, f"Maps of {', '.join(unmixed.maps.channels)} at {len(series.tilts)} tilts in {out}", as_json
    )


def _specs(words: Sequence[str] | None) -> Mapping[str, str]:
    """Name and SPEC of each reference; empty for "auto"."""
    if not words:
        raise InputError(
            expected("--reference", "'auto' or NAME=SPEC for each phase", "none", "Say what to unmix into")
        )
    if list(words) == ["auto"]:
        return {}
    return named_once(words, "--reference", "NAME=SPEC or auto")


def _source(specs: Mapping[str, str], series: SpectrumSeries) -> ReferenceSource:
    """Regions or spectra by name, as the words of ``--reference`` say, or "auto"."""
    from napari_dipmtv.io.reference_spectra import load_reference

    if not specs:
        return "auto"
    ny, nx, _ = series.tilts[0].core_loss.counts.shape
    regions = {name: _region(spec, (ny, nx)) for name, spec in specs.items() if _REGION.fullmatch(spec)}
    if not regions:
        return {name: load_reference(Path(spec), name) for name, spec in specs.items()}
    if len(regions) < len(specs):
        got = ", ".join(f"{name}={spec}" for name, spec in specs.items())
        raise InputError(
            expected("--reference", "only regions or only spectrum files", got, "Give all in one way")
        )
    return regions


def _region(spec: str, shape: tuple[int, int]) -> Region:
    """``TILT:y0:y1,x0:x1`` to the region of those pixels, ends excluded."""
    match = _REGION.fullmatch(spec)
    assert match is not None
    y0, y1, x0, x1 = (int(text) for text in match.groups()[1:])
    if not (y0 < y1 <= shape[0] and x0 < x1 <= shape[1]):
        wanted = f"TILT:y0:y1,x0:x1 within {shape[0]} x {shape[1]} pixels"
        raise InputError(
            expected("region", wanted, spec, "Count pixels from 0 at the top left; the ends do not belong")
        )
    mask = np.zeros(shape, dtype=bool)
    mask[y0:y1, x0:x1] = True
    return Region(float(match.group(1)), mask)


def _told(taught: ReferencePair) -> dict[str, Any]:
    return {
        "sources": {spectrum.name: spectrum.source for spectrum in taught.l.spectra},
        "taken_off": dict(zip(taught.l.names, taught.l.taken_off, strict=False)),
        "ambiguity": dict(zip(taught.l.names, taught.l.ambiguity, strict=False)),
        "ranges": [asdict(mixing) for mixing in taught.l.ranges],
        "assumed": taught.m.notes,
        "condition": taught.m.condition,
        "condition_of_l_references": taught.l.condition,
    }
