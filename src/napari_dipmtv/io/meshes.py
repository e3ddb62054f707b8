"""Phases, and the thickness of layers, to surfaces in STL, PLY or OBJ, in nm from the centre of the volume."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from napari_dipmtv import __version__
from napari_dipmtv.data import F64, Segmentation, Volume
from napari_dipmtv.errors import InputError, expected
from napari_dipmtv.inspect.layers import thickness_maps
from napari_dipmtv.inspect.surface import Thickness
from napari_dipmtv.io.atomic import output_folder, safe_names, write_bytes

MeshFormat = Literal["stl", "ply", "obj"]
MESH_FORMATS: tuple[MeshFormat, ...] = get_args(MeshFormat)
_WORDS = f"napari-dipmtv {__version__}, nm from the volume centre"
_FACET = np.dtype([("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("attributes", "<u2")])


def save_meshes(
    segmentation: Segmentation, folder: Path, formats: Sequence[MeshFormat] = ("stl",)
) -> list[Path]:
    """Write ``mesh_<phase>.<format>`` for each phase that occurs (label 0 is vacuum and has none).

    Parameters
    ----------
    segmentation : Segmentation
    folder : Path
        Made where it is missing.
    formats : sequence of {"stl", "ply", "obj"}
        Binary STL, binary PLY, text OBJ; none of them knows a unit, so each says "nm" in its comment.

    Raises
    ------
    WriteError
        Each file is either the old or the new one, complete.
    """
    folder = output_folder(folder)
    phases = [
        name for value, name in segmentation.phases.items() if value and (segmentation.labels == value).any()
    ]
    written = []
    for phase, name in zip(phases, safe_names(phases), strict=True):
        mesh = surface(segmentation, phase)
        written += [write_bytes(folder / f"mesh_{name}.{kind}", _CONTENT[kind](*mesh)) for kind in formats]
    return written


def save_thickness(segmentation: Segmentation, volume: Volume | None, folder: Path) -> list[Path]:
    """Write ``thickness_<phase>.ply`` for skin and shell: the surface of the particle, coloured by their thickness.

    The corners carry ``quality``, the thickness in nm (NaN where no normal is straight), and a colour from dark blue
    (0) to yellow (98 % of the values lie below); both ends stand in the comment.

    Raises
    ------
    WriteError
        Each file is either the old or the new one, complete.
    """
    found = thickness_maps(segmentation, volume)
    written = []
    for layer, name in zip(found.values(), safe_names(list(found)), strict=True):
        content = thickness_ply(layer, segmentation.labels.shape, segmentation.voxel_nm)
        written.append(write_bytes(output_folder(folder) / f"thickness_{name}.ply", content))
    return written


def thickness_ply(layer: Thickness, shape: Sequence[int], voxel_nm: float) -> bytes:
    """Binary PLY of a surface with the thickness of a layer at its corners; ``shape`` (z, y, x) gives the centre."""
    from matplotlib import colormaps

    centre = (np.array(shape) - 1) / 2
    places = ((layer.surface.vertices - centre)[:, ::-1] * voxel_nm).astype("<f4")  # x, y, z
    quality = layer.at_vertices() * voxel_nm
    top = float(np.nanpercentile(quality, 98)) or 1.0
    colours = colormaps["viridis"].with_extremes(bad="lightgrey")(
        np.ma.masked_invalid(quality / top), bytes=True
    )
    corners = np.zeros(len(places), np.dtype([("at", "<f4", 3), ("quality", "<f4"), ("rgb", "u1", 3)]))
    corners["at"], corners["quality"], corners["rgb"] = places, quality, colours[:, :3]
    more = "property float quality\nproperty uchar red\nproperty uchar green\nproperty uchar blue\n"
    words = f"{_WORDS}\ncomment quality is the thickness in nm, colours from 0 to {top:.4g} nm"
    return _ply(corners, _outwards(layer.surface.faces, places, layer.surface.normals), words, more)


def _outwards(faces: NDArray[np.intp], places: NDArray[np.float32], inward: F64) -> NDArray[np.intp]:
    """Triangles counter-clockwise seen from outside; ``inward`` (f, 3) are normals in (z, y, x)."""
    a, b, c = (places[faces[:, i]] for i in range(3))
    wrong = (np.cross(b - a, c - a) * inward[:, ::-1]).sum(axis=1) > 0
    return np.where(wrong[:, None], faces[:, ::-1], faces)


def surface(segmentation: Segmentation, phase: str) -> tuple[F64, NDArray[np.intp]]:
    """Closed surface of one phase by marching cubes, half-way between voxel centres.

    Returns
    -------
    corners : float64 array (n, 3)
        x, y, z in nm from the volume centre ``(n - 1) / 2``.
    triangles : int array (m, 3)
        Indices of the corners, counter-clockwise seen from outside.

    Raises
    ------
    InputError
        When the phase does not occur.
    """
    from skimage.measure import marching_cubes

    mask = segmentation.mask(phase)
    if not mask.any():
        raise InputError(expected(f"phase {phase}", "at least one voxel", "none", "Choose another phase"))
    padded = np.pad(mask, 1).astype(np.float32)  # the border closes surfaces that touch the edge
    corners, triangles, _, _ = marching_cubes(padded, 0.5)  # (z, y, x): facing inwards
    centred = corners - (np.asarray(padded.shape) - 1) / 2
    # (z, y, x) -> (x, y, z) mirrors the corners and with them turns the triangles outwards
    return centred[:, ::-1] * segmentation.voxel_nm, triangles.astype(np.intp)


def signed_volume(corners: F64, triangles: NDArray[np.intp]) -> float:
    """Volume inside a closed surface in cubed units of the corners; negative when it is inside out."""
    a, b, c = (corners[triangles[:, i]] for i in range(3))
    return float(np.einsum("ij,ij->", a, np.cross(b, c)) / 6)


def stl_bytes(corners: F64, triangles: NDArray[np.intp]) -> bytes:
    """Binary STL of a triangle mesh: 80 bytes of text, the number of facets, 50 bytes for each."""
    facets = np.zeros(len(triangles), _FACET)
    facets["corners"] = corners[triangles]
    a, b, c = (corners[triangles[:, i]] for i in range(3))
    normals = np.cross(b - a, c - a)
    lengths = np.linalg.norm(normals, axis=1, keepdims=True)
    facets["normal"] = np.divide(normals, lengths, out=np.zeros_like(normals), where=lengths > 0)
    head = _WORDS.encode()[:80].ljust(80)
    return b"".join((head, len(triangles).to_bytes(4, "little"), facets.tobytes()))


def ply_bytes(corners: F64, triangles: NDArray[np.intp]) -> bytes:
    """Binary little-endian PLY with shared corners."""
    return _ply(corners.astype("<f4"), triangles, _WORDS, "")


def _ply(corners: NDArray[Any], triangles: NDArray[np.intp], words: str, more: str) -> bytes:
    head = (
        f"ply\nformat binary_little_endian 1.0\ncomment {words}\nelement vertex {len(corners)}\n"
        f"property float x\nproperty float y\nproperty float z\n{more}"
        f"element face {len(triangles)}\nproperty list uchar int vertex_indices\nend_header\n"
    )
    faces = np.zeros(len(triangles), np.dtype([("n", "u1"), ("corners", "<i4", 3)]))
    faces["n"], faces["corners"] = 3, triangles
    return b"".join((head.encode(), corners.tobytes(), faces.tobytes()))


def obj_bytes(corners: F64, triangles: NDArray[np.intp]) -> bytes:
    """Text OBJ; its corners are counted from 1."""
    lines = [f"# {_WORDS}"]
    lines += [f"v {x:.6g} {y:.6g} {z:.6g}" for x, y, z in corners]
    lines += [f"f {a} {b} {c}" for a, b, c in triangles + 1]
    return ("\n".join(lines) + "\n").encode()


_CONTENT: dict[MeshFormat, Callable[[F64, NDArray[np.intp]], bytes]] = {
    "stl": stl_bytes,
    "ply": ply_bytes,
    "obj": obj_bytes,
}
