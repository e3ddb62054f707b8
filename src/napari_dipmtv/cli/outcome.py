"""A reconstructed volume to its files, its report and the lines that a person reads."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from napari_dipmtv.cli.conversation import FAILED_ON_THE_WAY, finish

if TYPE_CHECKING:
    from napari_dipmtv.io.recorder import Recorder
    from napari_dipmtv.tomo.reconstruct import ReconResult


def deliver(
    result: ReconResult,
    out: Path,
    facts: Mapping[str, Any],
    recorder: Recorder | None,
    checkpoint: Path | None,
    as_json: bool,
) -> None:
    """Write volume and report.json, then the last checkpoint, and say how it went.

    Raises
    ------
    Exit
        When something failed on the way; what had been reached is written.
    """
    from napari_dipmtv.io.reports import save_report, with_provenance
    from napari_dipmtv.io.volumes import save_volume

    report = {
        **facts,
        "device": result.device,
        "seconds": result.seconds,
        "method": result.method,
        "channels": result.volume.channels,
        "voxel_nm": result.volume.voxel_nm,
        "shape_zyx": result.volume.data.shape[1:],
        "iterations": result.iterations,
        "stopped": result.stopped,
        "notes": result.notes,
        "losses": result.losses if recorder is None else recorder.losses,
        "data_residual": result.residual,
    }
    paths = save_volume(with_provenance(result.volume, report), out)
    save_report(report, out / "report.json")
    if recorder is not None and not result.stopped:
        recorder.keep()
    finish(report, _told(result, paths, checkpoint), as_json)
    if result.notes:
        raise typer.Exit(FAILED_ON_THE_WAY)


def _told(result: ReconResult, paths: list[Path], checkpoint: Path | None) -> str:
    nz, ny, nx = result.volume.data.shape[1:]
    how = "Done"
    if result.stopped:
        how = f"Stopped early after {result.iterations} iterations; the volume reached so far is kept"
    size = f"{nz} x {ny} x {nx} voxels of {result.volume.voxel_nm:g} nm"
    lines = [f"{how}: {size}, {result.seconds:.1f} s."]
    contrast = {n: curve[-1] for n, curve in result.losses.items() if n.startswith(("weight ", "gamma"))}
    if contrast:
        lines.append("HAADF: " + ", ".join(f"{name} {value:.3g}" for name, value in contrast.items()))
    lines += [*result.notes, *map(str, paths), str(paths[0].parent / "report.json")]
    if checkpoint is not None:
        lines.append(f"{'--resume' if result.stopped else '--resume --more N'} goes on from {checkpoint}")
    return "\n".join(lines)
