"""A project to its results: what it begins with, its aligned series, its volume, its files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from napari_dipmtv.alignment import assume_aligned
from napari_dipmtv.data import ChannelMaps, Region, SpectrumSeries, TiltSeries
from napari_dipmtv.errors import InputError, expected
from napari_dipmtv.inspect import measure, segment
from napari_dipmtv.pipeline.aligned import align, align_both, guide_of, nudge
from napari_dipmtv.pipeline.maps import OnState, edx, load, unmix
from napari_dipmtv.pipeline.results import export
from napari_dipmtv.states import must_be_whole

if TYPE_CHECKING:
    from napari_dipmtv.io.project import Project
    from napari_dipmtv.tomo.reconstruct import ReconResult


def run_project(project: Project, *, on_state: OnState | None = None) -> list[Path]:
    """Run every stage of a project and write the results into its output folder.

    Returns
    -------
    list of Path
        What was written: maps, volume, labels, measures and the report.

    Raises
    ------
    DeviceError, ComputeError, KeyboardInterrupt
        Before anything else for a device that is not there. After the results of the volume reached so far are written,
        for a reconstruction that failed or was stopped on the way.
    """
    from napari_dipmtv.io.reports import provenance
    from napari_dipmtv.tomo.devices import pick_device

    pick_device(project.reconstruct.device)
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
    report |= {"losses": dict(result.losses), "residual": result.residual, "notes": result.notes}
    written = export(
        project.output,
        volume=result.volume,
        segmentation=segmentation,
        measures=measure(segmentation, result.volume),
        maps=series if project.export.maps else None,
        provenance=report,
        formats=(*project.export.formats, *(("stl",) if project.export.meshes else ())),
    )
    must_be_whole(result)
    return written


def _reconstructed(project: Project, on_state: OnState | None) -> tuple[TiltSeries, ReconResult]:
    """The aligned maps of a project and their volume, from both modalities where it names HAADF images."""
    from napari_dipmtv.tomo.fused import fuse
    from napari_dipmtv.tomo.reconstruct import reconstruct

    chosen, device = project.reconstruct, project.reconstruct.device
    series, haadf = project_both(project, on_state=on_state)
    if haadf is None:
        return series, reconstruct(series, chosen.method, chosen.method_settings(), device, on_state=on_state)
    settings = project.fuse.method_settings()
    return series, fuse(series, haadf, project.fuse.method, settings, device, on_state=on_state)


def project_both(
    project: Project, *, on_state: OnState | None = None
) -> tuple[TiltSeries, TiltSeries | None]:
    """Go from the inputs of a project to its aligned series, and to that of its HAADF images where it names some."""
    if project.inputs.haadf is None:
        return project_series(project, on_state=on_state), None
    maps = project_maps(project, on_state=on_state)
    images = project_haadf(project, maps.pixel_nm)
    assert images is not None
    if project.aligned or isinstance(maps, TiltSeries):
        return _aligned(project, maps, on_state), assume_aligned(images)
    return align_both(maps, images, project.align, project.reconstruct.device, on_state=on_state)


def project_haadf(project: Project, pixel_nm: float) -> ChannelMaps | None:
    """The HAADF images of a project, on the pixels of its maps where it names no others; None without any."""
    from napari_dipmtv.io.maps import load_maps

    inputs = project.inputs
    if inputs.haadf is None:
        return None
    assert inputs.haadf_angles is not None  # checked by the model
    return load_maps(
        {"HAADF": inputs.haadf},
        inputs.haadf_angles,
        inputs.pixel_nm or pixel_nm,
        counts=inputs.haadf_counts,
        tilt_axis=inputs.tilt_axis,
    )


def project_series(project: Project, *, on_state: OnState | None = None) -> TiltSeries:
    """Go from the inputs of a project to its aligned series: what its reconstruction starts from."""
    return _aligned(project, project_maps(project, on_state=on_state), on_state)


def _aligned(project: Project, maps: ChannelMaps | TiltSeries, on_state: OnState | None) -> TiltSeries:
    if isinstance(maps, TiltSeries):
        if project.nudges:
            got = "a series that is aligned already"
            raise InputError(expected("moves by hand", "maps to be aligned", got, "Give the maps before it"))
        return maps
    if project.aligned:
        series = assume_aligned(maps)
    else:
        guide = guide_of(maps, project.align, project.inputs.folder)
        series = align(maps, project.align, project.reconstruct.device, guide=guide, on_state=on_state)
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
    if inputs.edx is not None:
        chosen = inputs.edx
        return edx(chosen.folder, chosen.lines, chosen.settings, bin_pixels=chosen.bin_pixels)
    assert inputs.angles is not None  # checked by the model
    return load_maps(
        inputs.maps, inputs.angles, inputs.pixel_nm, counts=inputs.counts, tilt_axis=inputs.tilt_axis
    )


def regions_of(project: Project, series: SpectrumSeries) -> dict[str, Region]:
    """Fill the outlines of a project's regions on the pixels of its spectrum images once these are prepared."""
    binning = project.prepare.rebin_pixels
    ny, nx, _ = series.tilts[0].low_loss.counts.shape
    return {name: outline.region((ny // binning, nx // binning)) for name, outline in project.regions.items()}


def project_maps(project: Project, *, on_state: OnState | None = None) -> ChannelMaps | TiltSeries:
    """Go from the inputs of a project to its maps, unmixed where it begins with spectrum images."""
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
