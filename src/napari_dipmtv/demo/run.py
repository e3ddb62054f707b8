"""A simulated measurement on disk to maps, three reconstructions, phases and measures beside the truth."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from napari_dipmtv import phantom, pipeline
from napari_dipmtv.data import ChannelMaps, TiltSeries, Volume
from napari_dipmtv.demo import truth
from napari_dipmtv.demo.pictures import comparison, half_cut
from napari_dipmtv.demo.snapshot import photograph
from napari_dipmtv.inspect import score
from napari_dipmtv.inspect.score import overlap
from napari_dipmtv.io.reference_spectra import save_references
from napari_dipmtv.io.reports import provenance, save_report
from napari_dipmtv.io.volumes import load_labels, load_volume
from napari_dipmtv.phantom import Simulation
from napari_dipmtv.settings.demo import DemoSettings
from napari_dipmtv.settings.tomo import Method, MethodSettings
from napari_dipmtv.states import State, must_be_whole, run

OnState = Callable[[State[Any]], None]
Begin = Callable[[str], AbstractContextManager[OnState]]
NAMES: dict[Method, str] = {"sirt": "SIRT", "cs-tv": "CS-TV", "dipm-tv": "DIPm-TV"}


@dataclass(frozen=True, slots=True)
class DemoReport:
    """What the demonstration found.

    Attributes
    ----------
    facts : mapping
        Everything in numbers; what ``report.json`` holds.
    table : tuple of mappings
        The truth and one row per method, as text with the same columns.
    pictures : tuple of Path
    notes : tuple of str
        Plain sentences for the person who reads the table.
    """

    facts: Mapping[str, Any]
    table: tuple[Mapping[str, str], ...]
    pictures: tuple[Path, ...]
    notes: tuple[str, ...]


@contextmanager
def _silent(title: str) -> Iterator[OnState]:
    yield lambda state: None


def run_demo(out: Path, settings: DemoSettings | None = None, begin: Begin = _silent) -> DemoReport:
    """Go the whole way and write everything into a folder.

    Parameters
    ----------
    out : Path
        ``spectra/`` (.hspy files and truth), ``maps/``, ``aligned/``, ``<method>/`` (volume, labels, meshes,
        measures), ``comparison.png``, ``half_cut.png`` and ``report.json``.
    settings : DemoSettings, optional
    begin : callable, optional
        Given the title of a stage, opens what shows its progress.

    Raises
    ------
    WriteError
        When the folder cannot be written.
    KeyboardInterrupt
        Ctrl-C ends the demonstration; what was written stays.
    """
    settings = settings or DemoSettings()
    with begin("simulating"):
        simulation = phantom.simulate(settings.simulation)
        simulation.write(out / "spectra")
    maps, notes = _iron_maps(out, simulation, begin)
    series, said = _aligned(maps, simulation, settings, begin)
    pipeline.export(out / "aligned", maps=series)
    chosen: dict[Method, MethodSettings] = {
        "sirt": settings.sirt,
        "cs-tv": settings.cs_tv,
        "dipm-tv": settings.dipm_tv,
    }
    methods = {
        method: _reconstructed(series, method, options, out / method, simulation, begin)
        for method, options in chosen.items()
    }
    pictures, how = _pictures(out, simulation, methods)
    told = (*notes, *said, *how)
    facts = {
        "settings": settings.model_dump(mode="json"),
        "truth": asdict(phantom.true_measures(settings.simulation.phantom)),
        "methods": methods,
        "notes": told,
    }
    save_report(facts, out / "report.json")
    rows = (_true_row(simulation), *(_row(NAMES[method], found) for method, found in methods.items()))
    return DemoReport(facts, rows, pictures, told)


def _iron_maps(out: Path, simulation: Simulation, begin: Begin) -> tuple[ChannelMaps, tuple[str, ...]]:
    """Spectra on disk to maps of Fe atoms, on the scale of the true volume."""
    series = pipeline.load(out / "spectra")
    with begin("preparing") as watch:
        series = run(pipeline.prepare_states(series), on_state=watch).whole()
    with begin("learning references") as watch:
        pair = pipeline.references(series, simulation.regions, on_state=watch)
    with begin("unmixing") as watch:
        unmixed = run(pipeline.unmix_states(series, pair), on_state=watch).whole()
    pipeline.export(out / "maps", maps=unmixed.maps)
    save_references(pair.m.spectra, out / "maps" / "m_references.csv")
    iron = truth.iron_maps(unmixed.maps, pair.m.spectra, simulation)
    share = truth.iron_found(iron, simulation)
    note = f"By the true cross-section the maps hold {share:.0%} of the Fe atoms; they are scaled to 100%."
    return truth.scaled(iron, 1 / share), (*unmixed.notes, note)


def _aligned(
    maps: ChannelMaps, simulation: Simulation, settings: DemoSettings, begin: Begin
) -> tuple[TiltSeries, tuple[str, ...]]:
    with begin("aligning") as watch:
        found = run(pipeline.align_states(maps, settings.align), on_state=watch).whole()
    error = truth.alignment_error_px(found, simulation.alignment, maps.tilts_deg)
    placed = truth.in_place_of_truth(found, simulation.alignment, maps.tilts_deg)
    note = (
        f"Alignment: {error:.2f} px rms from the planted drift. Where the particle as a whole sits no tilt "
        "series can tell; it was put where the truth lies."
    )
    return pipeline.apply_found(maps, placed, settings.align), (note,)


def _reconstructed(
    series: TiltSeries,
    method: Method,
    settings: MethodSettings,
    out: Path,
    simulation: Simulation,
    begin: Begin,
) -> dict[str, Any]:
    """Reconstruct, segment, measure, export; give back the numbers."""
    with begin(NAMES[method]) as watch:
        result = pipeline.reconstruct(series, method, settings, on_state=watch)
    must_be_whole(result)
    segmentation = pipeline.segment(result.volume)
    measures = pipeline.measure(segmentation, result.volume)
    story = provenance(
        {method: settings}, tilts_deg=series.tilts_deg, device=result.device, seconds=result.seconds
    )
    report = {
        **story,
        "losses": result.losses,
        "data_residual": result.residual,
        "iterations": result.iterations,
    }
    pipeline.export(
        out,
        volume=result.volume,
        segmentation=segmentation,
        measures=measures,
        provenance=report,
        formats=("ome-tiff", "mrc", "hspy", "stl"),
    )
    scores, true = score(result.volume, simulation.truth), simulation.segmentation
    return {
        "nrmse": scores.nrmse,
        "ssim": scores.ssim,
        "iou": {p: overlap(segmentation.mask(p), true.mask(p)) for value, p in true.phases.items() if value},
        "measures": {measure.name: measure.value for measure in measures},
        "iterations": result.iterations,
        "seconds": result.seconds,
        "data_residual": result.residual,
    }


def _pictures(
    out: Path, simulation: Simulation, methods: Mapping[Method, Mapping[str, Any]]
) -> tuple[tuple[Path, ...], tuple[str, ...]]:
    volumes: dict[str, Volume] = {NAMES[method]: load_volume(out / method) for method in methods}
    captions = {
        NAMES[m]: f"NRMSE {found['nrmse']:.2f}, SSIM {found['ssim']:.2f}" for m, found in methods.items()
    }
    void = np.argwhere(simulation.segmentation.mask("void"))  # (n, 3): z, y, x
    y = round(float(void[:, 1].mean())) if len(void) else simulation.truth.data.shape[2] // 2
    slices = comparison(simulation.truth, volumes, captions, y, out / "comparison.png")
    cut = out / "half_cut.png"
    reason = photograph(out / "dipm-tv", cut)
    if not reason:
        return (slices, cut), ()
    half_cut(load_labels(out / "dipm-tv" / "labels.tif"), cut)
    return (slices, cut), (f"half_cut.png is a plain drawing, not a photograph of napari: {reason}",)


def _row(name: str, found: Mapping[str, Any]) -> dict[str, str]:
    """One line of the table, as text."""
    skin, void = found["measures"].get("FeO skin thickness"), found["measures"].get("void volume")
    return {
        "method": name,
        "NRMSE": f"{found['nrmse']:.3f}",
        "SSIM": f"{found['ssim']:.3f}",
        **{_heading(phase): f"{value:.2f}" for phase, value in found["iou"].items()},
        "skin nm": f"{skin:.2f}" if skin is not None else "none",
        "void nm³": f"{void:.0f}" if void else "none",
        "s": f"{found['seconds']:.1f}",
    }


def _heading(phase: str) -> str:
    """Short enough for a table of 80 characters: "FeO core" is "IoU core"."""
    return f"IoU {phase.rsplit(' ', 1)[-1]}"


def _true_row(simulation: Simulation) -> dict[str, str]:
    true = phantom.true_measures(simulation.settings.phantom)
    phases = [phase for value, phase in simulation.segmentation.phases.items() if value]
    row = {"method": "truth", "NRMSE": "0", "SSIM": "1", **{_heading(phase): "1" for phase in phases}}
    return {**row, "skin nm": f"{true.skin_nm:.2f}", "void nm³": f"{true.void_nm3:.0f}", "s": ""}
