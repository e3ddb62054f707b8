"""The verbs in the order of the data: load, unmix, align, reconstruct, segment, measure, export."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from napari_dipmtv import spectra
from napari_dipmtv.alignment import (
    AlignmentReport,
    alignment_report,
    assume_aligned,
    chosen_views,
    dose_factors,
    equalise,
    estimate,
    onto,
)
from napari_dipmtv.alignment import apply as apply_alignment
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
from napari_dipmtv.settings.edx import EdxSettings
from napari_dipmtv.settings.fused import FusedMethod, FusedMethodSettings
from napari_dipmtv.settings.spectra import PrepareSettings, ReferenceSettings, UnmixSettings
from napari_dipmtv.settings.tomo import Method, MethodSettings
from napari_dipmtv.states import State, never, run

if TYPE_CHECKING:
    from napari_dipmtv.io.project import Project
    from napari_dipmtv.io.tilt_table import TiltTable
    from napari_dipmtv.tomo.estimate import Estimate
    from napari_dipmtv.tomo.reconstruct import ReconResult

__all__ = [
    "ReferencePair",
    "align",
    "align_both",
    "align_states",
    "apply_alignment",
    "assume_aligned",
    "edx",
    "export",
    "fuse",
    "load",
    "measure",
    "prepare_states",
    "project_series",
    "reconstruct",
    "reconstruct_states",
    "references",
    "report_alignment",
    "run_project",
    "segment",
    "unmix",
    "unmix_states",
]

OnState = Callable[[State[Any]], None]
ExportFormat = Literal[
    "ome-tiff", "ome-zarr", "mrc", "hspy", "emd", "stl", "ply", "obj", "png", "svg", "html"
]
ReferenceSource = Mapping[str, Region] | Mapping[str, ReferenceSpectrum] | Literal["auto"]


@dataclass(frozen=True, slots=True, eq=False)
class ReferencePair:
    """The references of the core loss (``l``) and, taught by them, of the low loss (``m``)."""

    l: spectra.LReferences  # noqa: E741 - named after the edge
    m: spectra.MReferences


def load(
    source: Path | str | Sequence[Path] | TiltTable,
    tilts_deg: Sequence[float] | None = None,
    *,
    bin_pixels: int = 1,
) -> SpectrumSeries:
    """Load dual EELS spectrum images from a folder, files or their table; see `io.spectrum_images.load_series`.

    ``bin_pixels`` along y and x are added up while reading, for series larger than the memory.
    """
    from napari_dipmtv.io.part import Part
    from napari_dipmtv.io.spectrum_images import load_series

    part = Part(bin_pixels)
    path = Path(source) if isinstance(source, str) else source
    return load_series(path, tilts_deg, keep_low=part, keep_core=part)


def prepare_states(
    series: SpectrumSeries, settings: PrepareSettings | None = None
) -> Iterator[State[SpectrumSeries]]:
    """Bring all spectra to one energy axis, in electrons, without spikes; one state per tilt."""
    return spectra.prepare(series, settings)


def references(
    series: SpectrumSeries,
    source: ReferenceSource = "auto",
    settings: ReferenceSettings | None = None,
    *,
    names: tuple[str, ...] = ("FeO", "Fe3O4"),
) -> ReferencePair:
    """Learn the L references and let them teach the M references.

    Parameters
    ----------
    series : SpectrumSeries
        Prepared.
    source : "auto", mapping of name to Region, or mapping of name to ReferenceSpectrum
        Where the pure phases are; the reduced phase first.
    settings : ReferenceSettings, optional
    names : tuple of str
        What "auto" calls the phases it finds, the reduced one first.
    """
    if isinstance(source, str):
        blind = settings is not None and settings.automatic == "blind"
        l_references = (
            spectra.blind_l_references(series, settings, names)[0]
            if blind
            else spectra.auto_l_references(series, settings, names)
        )
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


def edx(
    source: Path | str | Sequence[Path] | TiltTable,
    lines: Sequence[str],
    settings: EdxSettings | None = None,
    *,
    bin_pixels: int = 1,
    on_state: OnState | None = None,
    should_stop: Callable[[], bool] = never,
) -> ChannelMaps:
    """Go from EDX spectrum images to maps of X-ray line intensities, one tilt in memory at a time.

    Parameters
    ----------
    source : path, sequence of Path or TiltTable
        Folder, files, the table of `io.tilt_table.survey` or the CSV file of it.
    lines : sequence of str
        X-ray lines such as "Fe_Ka", which become the channels.
    settings : EdxSettings, optional
    bin_pixels : int
        So many pixels along y and x are added up while reading.

    Returns
    -------
    ChannelMaps
        Counts of each line, with covariance; counted events with the method "sum".

    Raises
    ------
    KeyboardInterrupt
        When stopped: maps of a part of the tilts would be mistaken for all.
    """
    states = edx_states(source, lines, settings, bin_pixels=bin_pixels)
    return run(states, on_state=on_state, should_stop=should_stop).whole()


def edx_states(
    source: Path | str | Sequence[Path] | TiltTable,
    lines: Sequence[str],
    settings: EdxSettings | None = None,
    *,
    bin_pixels: int = 1,
) -> Iterator[State[ChannelMaps]]:
    """Like `edx`, as an iterator of states, one per tilt."""
    from napari_dipmtv.io.part import Part
    from napari_dipmtv.io.spectrum_images import open_images, series_table
    from napari_dipmtv.spectra.edx import edx_maps

    table = series_table(Path(source) if isinstance(source, str) else source)
    images = open_images(table, "EDS", keep=Part(bin_pixels))
    yield from edx_maps(images, lines, settings, total=len(table.headers("EDS")))


def report_alignment(
    maps: ChannelMaps,
    alignment: Alignment,
    settings: AlignSettings | None = None,
    device: str = "auto",
    *,
    scale: int = 1,
) -> AlignmentReport:
    """Judge an alignment view by view; see `napari_dipmtv.alignment.alignment_report`."""
    return alignment_report(maps, alignment, settings, reconstruct=_quick(device), scale=scale)


def _quick(device: str) -> Callable[[TiltSeries], Volume]:
    from napari_dipmtv.alignment.most_likely import MostLikely
    from napari_dipmtv.tomo.problem import pick_device

    return MostLikely(pick_device(device))


def align_states(
    maps: ChannelMaps, settings: AlignSettings | None = None, device: str = "auto"
) -> Iterator[State[Alignment]]:
    """Estimate the alignment; one state per round of projection matching."""
    return estimate(maps, settings, reconstruct=_quick(device))


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
    """Apply an alignment to the views that count, and equalise their dose where the settings ask for it."""
    series = apply_alignment(chosen_views(maps, settings), alignment, settings.interpolation)
    return equalise(series, dose_factors(series)) if settings.equalise_dose else series


def align_both(
    maps: MapStack,
    images: ChannelMaps,
    settings: AlignSettings | None = None,
    device: str = "auto",
    *,
    on_state: OnState | None = None,
    should_stop: Callable[[], bool] = never,
) -> tuple[TiltSeries, TiltSeries]:
    """Align a HAADF series, and chemical maps onto the volume that it shows.

    The HAADF has the views and the counts to find tilt axis, offset and shifts; its axis and offset hold for the maps,
    whose views are then moved onto the projections of its volume at their own tilts (`napari_dipmtv.alignment.onto`).

    Returns
    -------
    maps, images : TiltSeries

    Raises
    ------
    InputError
        For maps that are aligned already: their frame is another.
    KeyboardInterrupt
        When stopped.
    """
    if not isinstance(maps, ChannelMaps):
        advice = "Give the maps as they were before their alignment"
        raise InputError(expected("maps", "maps that are not aligned yet", "an aligned series", advice))
    settings = settings or AlignSettings()
    haadf = align(images, settings, device, on_state=on_state, should_stop=should_stop)
    assert haadf.alignment is not None
    guide = _quick(device)(haadf)
    states = onto(maps, guide, haadf.alignment, settings)
    found = run(states, on_state=on_state, should_stop=should_stop).whole()
    return apply_found(maps, found, settings.replace(exclude_views=())), haadf


def nudge(
    maps: ChannelMaps, series: TiltSeries, moves: Sequence[tuple[int, float, float]], settings: AlignSettings
) -> TiltSeries:
    """Move single views of an aligned series by hand, (view, dx_px, dy_px), with one interpolation of the raw maps."""
    if series.alignment is None:
        raise InputError(expected("tilt series", "its alignment", "none", "Align the maps first"))
    alignment = series.alignment
    for view, dx_px, dy_px in moves:
        alignment = alignment.nudged(view, dx_px, dy_px)
    return apply_found(maps, alignment, settings)


def reconstruct(
    series: TiltSeries,
    method: Method = "dipm-tv",
    settings: MethodSettings | None = None,
    device: str = "auto",
    *,
    resume: Mapping[str, Any] | None = None,
    on_state: OnState | None = None,
    should_stop: Callable[[], bool] = never,
) -> ReconResult:
    """Reconstruct a volume; see `napari_dipmtv.tomo.reconstruct.reconstruct`."""
    from napari_dipmtv.tomo.reconstruct import reconstruct as run_method

    return run_method(
        series, method, settings, device, resume=resume, on_state=on_state, should_stop=should_stop
    )


def reconstruct_states(
    series: TiltSeries,
    method: Method = "dipm-tv",
    settings: MethodSettings | None = None,
    device: str = "auto",
    *,
    resume: Mapping[str, Any] | None = None,
) -> Iterator[State[Volume]]:
    """Like `reconstruct`, as an iterator of states."""
    from napari_dipmtv.tomo.reconstruct import reconstruct_states as states

    return states(series, method, settings, device, resume=resume)


def fuse(
    chemical: TiltSeries,
    haadf: TiltSeries,
    method: FusedMethod = "fused",
    settings: FusedMethodSettings | None = None,
    device: str = "auto",
    *,
    resume: Mapping[str, Any] | None = None,
    on_state: OnState | None = None,
    should_stop: Callable[[], bool] = never,
) -> ReconResult:
    """Reconstruct from few chemical and many HAADF tilts; see `napari_dipmtv.tomo.fused.fuse`."""
    from napari_dipmtv.tomo.fused import fuse as run_method

    return run_method(
        chemical, haadf, method, settings, device, resume=resume, on_state=on_state, should_stop=should_stop
    )


def estimate_states(
    series: TiltSeries,
    method: Method = "dipm-tv",
    settings: MethodSettings | None = None,
    device: str = "auto",
) -> Iterator[State[Estimate]]:
    """Say what `reconstruct` will take before it starts; see `napari_dipmtv.tomo.estimate.estimate_states`."""
    from napari_dipmtv.tomo.estimate import estimate_states as states

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
        ``volume_<channel>.tif`` / ``.mrc`` / ``.emd``, ``volume.hspy``, ``volume.ome.zarr``, by ``formats``. With a
        provenance they carry settings, tilts and versions.
    segmentation : Segmentation, optional
        ``labels.tif``, labels in the OME-Zarr, and with "stl", "ply" or "obj" one mesh per phase in nm; with "ply" also
        ``thickness_<phase>.ply``, the surface coloured by the thickness of skin and shell.
    measures : sequence of Measure, optional
        ``measures.csv``; with volume and segmentation also ``profile_depth.csv`` and ``profile_radius.csv``.
    maps : ChannelMaps or TiltSeries, optional
        ``maps_<channel>.tif`` and ``variance_<channel>.tif``.
    provenance : mapping, optional
        ``report.json``, and with "html" ``report.html``.
    formats : sequence of str
        "png" and "svg" write figures of volume, phases, profile and losses.

    Returns
    -------
    list of Path
        What was written.

    Raises
    ------
    WriteError
        For a full disk, a read-only folder, ...; older files of the same names stay as they were.
    """
    from napari_dipmtv.io import atomic, figures, map_folder, meshes, reports, volumes

    folder = atomic.output_folder(Path(folder))
    written: list[Path] = []
    if volume is not None:
        told = reports.with_provenance(volume, provenance)
        written += volumes.save_volume(
            told, folder, [f for f in volumes.VOLUME_FORMATS if f in formats], segmentation
        )
    if segmentation is not None:
        written.append(volumes.save_labels(segmentation, folder / "labels.tif"))
        written += meshes.save_meshes(segmentation, folder, [f for f in meshes.MESH_FORMATS if f in formats])
        if "ply" in formats:
            written += meshes.save_thickness(segmentation, volume, folder)
    if measures:
        written.append(reports.save_table(measures, folder / "measures.csv"))
    if volume is not None and segmentation is not None and measures:
        written += reports.save_profiles(volume, segmentation, folder)
    if maps is not None:
        written += map_folder.save_maps(maps, folder)
    if provenance is not None:
        written.append(reports.save_report(provenance, folder / "report.json"))
    pictures = [f for f in figures.FIGURE_FORMATS if f in formats]
    if pictures:
        drawn = figures.figures(volume, segmentation, (provenance or {}).get("losses"))
        written += figures.save_figures(drawn, folder, pictures)
    if "html" in formats and provenance is not None:
        from napari_dipmtv.io.html_report import html_of_folder, save_html

        written.append(save_html(html_of_folder(folder), folder / "report.html"))
    return written


def run_project(project: Project, *, on_state: OnState | None = None) -> list[Path]:
    """Run every stage of a project and write the results into its output folder.

    Returns
    -------
    list of Path
        What was written: maps, volume, labels, measures and the report.
    """
    from napari_dipmtv.io.reports import provenance

    series, result = _reconstructed(project, on_state)
    segmentation = segment(result.volume, project.segment)
    report = provenance(
        {name: value for name, value in project if name not in ("inputs", "output", "regions")},
        tilts_deg=series.tilts_deg,
        inputs=project.inputs.files,
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


def _reconstructed(project: Project, on_state: OnState | None) -> tuple[TiltSeries, ReconResult]:
    """The aligned maps of a project and their volume, from both modalities where it names HAADF images."""
    chosen, device = project.reconstruct, project.reconstruct.device
    if project.inputs.haadf is None:
        series = project_series(project, on_state=on_state)
        return series, reconstruct(series, chosen.method, chosen.method_settings(), device, on_state=on_state)
    maps = _maps_of(project, on_state)
    images = _haadf_of(project, maps.pixel_nm)
    if project.aligned or isinstance(maps, TiltSeries):
        series, haadf = project_series(project, on_state=on_state), assume_aligned(images)
    else:
        series, haadf = align_both(maps, images, project.align, device, on_state=on_state)
    settings = project.fuse.method_settings()
    return series, fuse(series, haadf, project.fuse.method, settings, device, on_state=on_state)


def _haadf_of(project: Project, pixel_nm: float) -> ChannelMaps:
    """The HAADF images of a project, on the pixels of its maps where it names no others."""
    from napari_dipmtv.io.maps import load_maps

    inputs = project.inputs
    assert inputs.haadf is not None  # checked by the model
    assert inputs.haadf_angles is not None
    return load_maps(
        {"HAADF": inputs.haadf},
        inputs.haadf_angles,
        inputs.pixel_nm or pixel_nm,
        counts=inputs.haadf_counts,
        tilt_axis=inputs.tilt_axis,
    )


def project_series(project: Project, *, on_state: OnState | None = None) -> TiltSeries:
    """Go from the inputs of a project to its aligned series: what its reconstruction starts from."""
    maps = _maps_of(project, on_state)
    if isinstance(maps, TiltSeries):
        if project.nudges:
            got = "a series that is aligned already"
            raise InputError(expected("moves by hand", "maps to be aligned", got, "Give the maps before it"))
        return maps
    if project.aligned:
        series = assume_aligned(maps)
    else:
        series = align(maps, project.align, project.reconstruct.device, on_state=on_state)
    return nudge(maps, series, project.nudges, project.align) if project.nudges else series


def load_inputs(project: Project) -> SpectrumSeries | ChannelMaps | TiltSeries:
    """Load what a project begins with; an aligned series where that is what a folder of saved maps holds."""
    from napari_dipmtv.io.map_folder import load_saved
    from napari_dipmtv.io.maps import load_maps

    inputs = project.inputs
    if inputs.spectrum_images is not None:
        return load(inputs.spectrum_images)
    if inputs.map_folder is not None:
        return load_saved(inputs.map_folder)
    assert inputs.angles is not None  # checked by the model
    return load_maps(
        inputs.maps, inputs.angles, inputs.pixel_nm, counts=inputs.counts, tilt_axis=inputs.tilt_axis
    )


def regions_of(project: Project, series: SpectrumSeries) -> dict[str, Region]:
    """Fill the outlines of a project's regions on the pixels of its spectrum images once these are prepared."""
    binning = project.prepare.rebin_pixels
    ny, nx, _ = series.tilts[0].low_loss.counts.shape
    return {name: outline.region((ny // binning, nx // binning)) for name, outline in project.regions.items()}


def _maps_of(project: Project, on_state: OnState | None) -> ChannelMaps | TiltSeries:
    data = load_inputs(project)
    if not isinstance(data, SpectrumSeries):
        return data
    return unmix(
        data,
        regions_of(project, data) or "auto",
        project.unmix,
        prepare=project.prepare,
        learn=project.references,
        on_state=on_state,
    )
