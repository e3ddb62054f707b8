"""Results to files, each complete or not at all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from napari_dipmtv.data import MapStack, Segmentation, Volume
from napari_dipmtv.errors import WriteError, expected
from napari_dipmtv.inspect import Measure

ExportFormat = Literal[
    "ome-tiff", "ome-zarr", "mrc", "hspy", "emd", "stl", "ply", "obj", "png", "svg", "html"
]
NAMES: Mapping[ExportFormat, tuple[str, ...]] = {  # of the files that hold a volume, or its phases
    "ome-tiff": ("volume_*.tif",),
    "ome-zarr": ("volume.ome.zarr",),
    "mrc": ("volume_*.mrc",),
    "hspy": ("volume.hspy",),
    "emd": ("volume_*.emd",),
    "stl": ("mesh_*.stl",),
    "ply": ("mesh_*.ply", "thickness_*.ply"),
    "obj": ("mesh_*.obj",),
    "png": ("figure_*.png",),
    "svg": ("figure_*.svg",),
    "html": ("report.html",),
}
MESHES = ("stl", "ply", "obj")
SHOWN = 3  # names in a message


def export(
    folder: Path | str,
    *,
    volume: Volume | None = None,
    segmentation: Segmentation | None = None,
    measures: Sequence[Measure] = (),
    maps: MapStack | None = None,
    provenance: Mapping[str, Any] | None = None,
    formats: Sequence[ExportFormat] = ("ome-tiff",),
    overwrite: bool = True,
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
    overwrite : bool
        Replace files of the same names; else nothing is written where there are some.

    Returns
    -------
    list of Path
        What was written.

    Raises
    ------
    WriteError
        For a full disk, a read-only folder, ...; older files of the same names stay as they were.
    """
    from napari_dipmtv.io import atomic, map_folder, reports, volumes

    if not overwrite:
        nothing_replaced(Path(folder), _names(volume, segmentation, measures, maps, provenance, formats))
    folder = atomic.output_folder(Path(folder))
    written: list[Path] = []
    if volume is not None:
        told = reports.with_provenance(volume, provenance)
        written += volumes.save_volume(
            told, folder, [f for f in volumes.VOLUME_FORMATS if f in formats], segmentation
        )
    if segmentation is not None:
        written += _save_phases(folder, segmentation, volume, formats)
    if measures:
        written.append(reports.save_table(measures, folder / "measures.csv"))
    if volume is not None and segmentation is not None and measures:
        written += reports.save_profiles(volume, segmentation, folder)
    if maps is not None:
        written += map_folder.save_maps(maps, folder)
    if provenance is not None:
        written.append(reports.save_report(provenance, folder / "report.json"))
    return written + _save_pictures(folder, volume, segmentation, provenance, formats)


def nothing_replaced(folder: Path, names: Sequence[str]) -> None:
    """Raise `WriteError` where files of such names (``volume_*.tif``) lie in a folder already."""
    there = sorted({path.name for name in names for path in folder.glob(name)})
    if there:
        more = f" and {len(there) - SHOWN} more" if len(there) > SHOWN else ""
        raise WriteError(
            expected(
                f"folder {folder}",
                "no results of the same name",
                ", ".join(there[:SHOWN]) + more,
                "Choose another folder, or allow that they are replaced: --overwrite, in the window Replace",
            )
        )


def _names(
    volume: Volume | None,
    segmentation: Segmentation | None,
    measures: Sequence[Measure],
    maps: MapStack | None,
    provenance: Mapping[str, Any] | None,
    formats: Sequence[ExportFormat],
) -> list[str]:
    """Patterns of all names that such an export writes."""
    of_phases = [name for f in formats if f in MESHES for name in NAMES[f]]
    of_volume = [name for f in formats if f not in MESHES and f != "html" for name in NAMES[f]]
    return [
        *(of_volume if volume is not None else ()),
        *(("labels.tif", *of_phases) if segmentation is not None else ()),
        *(("measures.csv", "profile_*.csv") if measures else ()),
        *(("maps_*.tif", "variance_*.tif") if maps is not None else ()),
        *(("report.json", *(NAMES["html"] if "html" in formats else ())) if provenance is not None else ()),
    ]


def _save_phases(
    folder: Path, segmentation: Segmentation, volume: Volume | None, formats: Sequence[ExportFormat]
) -> list[Path]:
    """Labels, and the surfaces of the phases."""
    from napari_dipmtv.io import meshes, volumes

    written = [volumes.save_labels(segmentation, folder / "labels.tif")]
    written += meshes.save_meshes(segmentation, folder, [f for f in meshes.MESH_FORMATS if f in formats])
    if "ply" in formats:
        written += meshes.save_thickness(segmentation, volume, folder)
    return written


def _save_pictures(
    folder: Path,
    volume: Volume | None,
    segmentation: Segmentation | None,
    provenance: Mapping[str, Any] | None,
    formats: Sequence[ExportFormat],
) -> list[Path]:
    """Figures, and the page that shows everything in the folder."""
    from napari_dipmtv.io import figures

    written: list[Path] = []
    pictures = [f for f in figures.FIGURE_FORMATS if f in formats]
    if pictures:
        drawn = figures.figures(volume, segmentation, (provenance or {}).get("losses"))
        written += figures.save_figures(drawn, folder, pictures)
    if "html" in formats and provenance is not None:
        from napari_dipmtv.io.html_report import html_of_folder, save_html

        written.append(save_html(html_of_folder(folder), folder / "report.html"))
    return written
