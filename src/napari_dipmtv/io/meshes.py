"""Phases of a segmentation to closed surfaces in STL, PLY or OBJ, in nm from the centre of the volume."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from napari_dipmtv import __version__
from napari_dipmtv.data import F64, Segmentation
from napari_dipmtv.errors import InputError, expected
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
    head = (
        f"ply\nformat binary_little_endian 1.0\ncomment {_WORDS}\nelement vertex {len(corners)}\n"
        "property float x\nproperty float y\nproperty float z\n"
        f"element face {len(triangles)}\nproperty list uchar int vertex_indices\nend_header\n"
    )
    faces = np.zeros(len(triangles), np.dtype([("n", "u1"), ("corners", "<i4", 3)]))
    faces["n"], faces["corners"] = 3, triangles
    return b"".join((head.encode(), corners.astype("<f4").tobytes(), faces.tobytes()))


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
