"""The verbs in the order of the data: load, unmix, align, reconstruct, segment, measure, export."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from napari_dipmtv import spectra
from napari_dipmtv.alignment import apply as apply_alignment
from napari_dipmtv.alignment import assume_aligned, dose_factors, equalise, estimate
from napari_dipmtv.data import (
    Alignment,
    ChannelMaps,
    MapStack,
    ReferenceSpectrum,
    Region,
    Segmentation,
    SpectrumSeries,
    TiltSeries,
    Volume,
)
from napari_dipmtv.errors import InputError, expected
from napari_dipmtv.inspect import Measure, measure, segment
from napari_dipmtv.settings.align import AlignSettings
from napari_dipmtv.settings.spectra import PrepareSettings, ReferenceSettings, UnmixSettings
from napari_dipmtv.settings.tomo import Method, MethodSettings, SirtSettings
from napari_dipmtv.states import State, never, run

if TYPE_CHECKING:
    from napari_dipmtv.io.project import Project
    from napari_dipmtv.tomo.reconstruct import ReconResult

__all__ = [
    "ReferencePair",
    "align",
    "align_states",
    "apply_alignment",
    "assume_aligned",
    "export",
    "load",
    "measure",
    "prepare_states",
    "reconstruct",
    "reconstruct_states",
    "references",
    "run_project",
    "segment",
    "unmix",
    "unmix_states",
]

OnState = Callable[[State[Any]], None]
ExportFormat = Literal["ome-tiff", "mrc", "hspy", "stl"]
ReferenceSource = Mapping[str, Region] | Mapping[str, ReferenceSpectrum] | Literal["auto"]
ALIGNMENT_SIRT = SirtSettings(
    iterations=100
)  # nearly converged, as `napari_dipmtv.alignment.estimate` asks for


@dataclass(frozen=True, slots=True, eq=False)
class ReferencePair:
    """The references of the core loss (``l``) and, taught by them, of the low loss (``m``)."""

    l: spectra.LReferences  # noqa: E741 - named after the edge
    m: spectra.MReferences


def load(source: Path | str | Sequence[Path], tilts_deg: Sequence[float] | None = None) -> SpectrumSeries:
    """Load dual EELS spectrum images from a folder or a list of files; see `io.spectrum_images.load_series`."""
    from napari_dipmtv.io.spectrum_images import load_series

    return load_series(Path(source) if isinstance(source, str) else source, tilts_deg)


def prepare_states(
    series: SpectrumSeries, settings: PrepareSettings | None = None
) -> Iterator[State[SpectrumSeries]]:
    """Bring all spectra to one energy axis, in electrons, without spikes; one state per tilt."""
    return spectra.prepare(series, settings)


def references(
    series: SpectrumSeries, source: ReferenceSource = "auto", settings: ReferenceSettings | None = None
) -> ReferencePair:
    """Learn the L references and let them teach the M references.

    Parameters
    ----------
    series : SpectrumSeries
        Prepared.
    source : "auto", mapping of name to Region, or mapping of name to ReferenceSpectrum
        Where the pure phases are; the reduced phase first.
    settings : ReferenceSettings, optional
    """
    if isinstance(source, str):
        l_references = spectra.auto_l_references(series, settings=settings)
    elif all(isinstance(value, Region) for value in source.values()):
        l_references = spectra.l_references(series, source, settings)  # type: ignore[arg-type]
    elif all(isinstance(value, ReferenceSpectrum) for value in source.values()):
        l_references = spectra.given_l_references(series, tuple(source.values()), settings)  # type: ignore[arg-type]
    else:
        kinds = sorted({type(value).__name__ for value in source.values()})
        raise InputError(expected("references", "all regions or all spectra", kinds, "Give one kind"))
    return ReferencePair(l_references, spectra.m_references(series, l_references, settings))


def unmix_states(
    series: SpectrumSeries, pair: ReferencePair, settings: UnmixSettings | None = None
) -> Iterator[State[spectra.Unmixed]]:
    """Split every pixel of the low loss into background and M references; one state per tilt."""
    return spectra.unmix(series, pair.m, settings)


def unmix(
    series: SpectrumSeries,
    source: ReferenceSource = "auto",
    settings: UnmixSettings | None = None,
    *,
    prepare: PrepareSettings | None = None,
    learn: ReferenceSettings | None = None,
    on_state: OnState | None = None,
    should_stop: Callable[[], bool] = never,
) -> ChannelMaps:
    """Go from raw spectrum images to maps with covariance: prepare, learn the references, unmix.

    Returns
    -------
    ChannelMaps
        One channel per reference, in electrons of the M edge.

    Raises
    ------
    KeyboardInterrupt
        When stopped: maps of a part of the tilts would be mistaken for all.
    """
    prepared = run(prepare_states(series, prepare), on_state=on_state, should_stop=should_stop).whole()
    pair = references(prepared, source, learn)
    return (
        run(unmix_states(prepared, pair, settings), on_state=on_state, should_stop=should_stop).whole().maps
    )


def align_states(
    maps: ChannelMaps, settings: AlignSettings | None = None, device: str = "auto"
) -> Iterator[State[Alignment]]:
    """Estimate the alignment; one state per round of projection matching."""

    def quick(series: TiltSeries) -> Volume:
        return reconstruct(series, "sirt", ALIGNMENT_SIRT, device).volume

    return estimate(maps, settings, reconstruct=quick)


def align(
    maps: ChannelMaps,
    settings: AlignSettings | None = None,
    device: str = "auto",
    *,
    on_state: OnState | None = None,
    should_stop: Callable[[], bool] = never,
) -> TiltSeries:
    """Estimate the alignment and apply it with one interpolation; `KeyboardInterrupt` when stopped."""
    settings = settings or AlignSettings()
    found = run(align_states(maps, settings, device), on_state=on_state, should_stop=should_stop)
    return apply_found(maps, found.whole(), settings)


def apply_found(maps: ChannelMaps, alignment: Alignment, settings: AlignSettings) -> TiltSeries:
    """Apply an estimated alignment, and equalise the dose of the views where the settings ask for it."""
    if settings.equalise_dose:
        maps = equalise(maps, dose_factors(maps))
    return apply_alignment(maps, alignment, settings.interpolation)


def reconstruct(
    series: TiltSeries,
    method: Method = "dipm-tv",
    settings: MethodSettings | None = None,
    device: str = "auto",
    *,
    on_state: OnState | None = None,
    should_stop: Callable[[], bool] = never,
) -> ReconResult:
    """Reconstruct a volume; see `napari_dipmtv.tomo.reconstruct.reconstruct`."""
    from napari_dipmtv.tomo.reconstruct import reconstruct as run_method

    return run_method(series, method, settings, device, on_state=on_state, should_stop=should_stop)


def reconstruct_states(
    series: TiltSeries,
    method: Method = "dipm-tv",
    settings: MethodSettings | None = None,
    device: str = "auto",
) -> Iterator[State[Volume]]:
    """Like `reconstruct`, as an iterator of states."""
    from napari_dipmtv.tomo.reconstruct import reconstruct_states as states

    return states(series, method, settings, device)


def export(
    folder: Path | str,
    *,
    volume: Volume | None = None,
    segmentation: Segmentation | None = None,
    measures: Sequence[Measure] = (),
    maps: MapStack | None = None,
    provenance: Mapping[str, Any] | None = None,
    formats: Sequence[ExportFormat] = ("ome-tiff",),
) -> list[Path]:
    """Write results, each file complete or not at all.

    Parameters
    ----------
    folder : path
        Made when missing.
    volume : Volume, optional
        ``volume_<channel>.tif`` / ``.mrc``, ``volume.hspy``, by ``formats``.
    segmentation : Segmentation, optional
        ``labels.tif``, and with "stl" one mesh per phase in nm.
    measures : sequence of Measure, optional
        ``measures.csv``.
    maps : ChannelMaps or TiltSeries, optional
        ``maps_<channel>.tif`` and ``variance_<channel>.tif``.
    provenance : mapping, optional
        ``report.json``.

    Returns
    -------
    list of Path
        What was written.

    Raises
    ------
    WriteError
        For a full disk, a read-only folder, ...; older files of the same names stay as they were.
    """
    from napari_dipmtv.io import atomic, map_folder, meshes, reports, volumes

    folder = atomic.output_folder(Path(folder))
    written: list[Path] = []
    if volume is not None:
        written += volumes.save_volume(volume, folder, [f for f in formats if f != "stl"])
    if segmentation is not None:
        written.append(volumes.save_labels(segmentation, folder / "labels.tif"))
        if "stl" in formats:
            written += meshes.save_meshes(segmentation, folder)
    if measures:
        written.append(reports.save_table(measures, folder / "measures.csv"))
    if maps is not None:
        written += map_folder.save_maps(maps, folder)
    if provenance is not None:
        written.append(reports.save_report(provenance, folder / "report.json"))
    return written


def run_project(project: Project, *, on_state: OnState | None = None) -> list[Path]:
    """Run every stage of a project and write the results into its output folder.

    Returns
    -------
    list of Path
        What was written: maps, volume, labels, measures and the report.
    """
    from napari_dipmtv.io.reports import provenance

    maps = _maps_of(project, on_state)
    series = align(maps, project.align, project.reconstruct.device, on_state=on_state)
    chosen = project.reconstruct
    result = reconstruct(series, chosen.method, chosen.method_settings(), chosen.device, on_state=on_state)
    segmentation = segment(result.volume, project.segment)
    report = provenance(
        {name: value for name, value in project if name not in ("inputs", "output", "regions")},
        tilts_deg=series.tilts_deg,
        inputs=_input_files(project),
        device=result.device,
        seconds=result.seconds,
    )
    report |= {"method": result.method, "iterations": result.iterations, "stopped": result.stopped}
    report |= {"losses": dict(result.losses), "residual": result.residual}
    return export(
        project.output,
        volume=result.volume,
        segmentation=segmentation,
        measures=measure(segmentation, result.volume),
        maps=series if project.export.maps else None,
        provenance=report,
        formats=(*project.export.formats, *(("stl",) if project.export.meshes else ())),
    )


def _maps_of(project: Project, on_state: OnState | None) -> ChannelMaps:
    inputs = project.inputs
    if inputs.spectrum_images is None:
        from napari_dipmtv.io.maps import load_maps

        assert inputs.angles is not None  # checked by the model
        return load_maps(inputs.maps, inputs.angles, inputs.pixel_nm, counts=inputs.counts)
    series = load(inputs.spectrum_images)
    shape = series.tilts[0].low_loss.counts.shape[:2]
    regions = {name: outline.region((shape[0], shape[1])) for name, outline in project.regions.items()}
    return unmix(
        series,
        regions or "auto",
        project.unmix,
        prepare=project.prepare,
        learn=project.references,
        on_state=on_state,
    )


def _input_files(project: Project) -> list[Path]:
    inputs = project.inputs
    chosen = [inputs.spectrum_images, *inputs.maps.values(), inputs.angles]
    return [path for path in chosen if path is not None]
