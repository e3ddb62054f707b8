"""The commands ``fuse``, chemical maps and a HAADF series to a chemical volume, and ``simulate-fused``."""

from __future__ import annotations

from functools import partial
from typing import Annotated

import typer

from napari_dipmtv.cli.checkpoints import Survival, iterations_since, settings_since
from napari_dipmtv.cli.conversation import finish, progress, speaks
from napari_dipmtv.cli.grouped import grouped
from napari_dipmtv.cli.map_source import HaadfFrom, MapsFrom
from napari_dipmtv.cli.options import (
    JsonOption,
    OutOption,
    SetOption,
    as_aligned,
    known_method,
    settings_from,
    usable_folder,
)
from napari_dipmtv.cli.running import Order
from napari_dipmtv.data import ChannelMaps, MapStack, TiltSeries
from napari_dipmtv.errors import InputError, expected
from napari_dipmtv.settings.fused import FUSED_METHODS, FusedPhantomSettings

AlignOption = Annotated[
    bool,
    typer.Option(
        "--align",
        help="Align the HAADF series first, and the maps onto its volume; otherwise both are taken as aligned.",
    ),
]


@speaks
def simulate_fused(out: OutOption, set_: SetOption = None, as_json: JsonOption = False) -> None:
    """Simulate few chemical and many HAADF tilts of a CuO/CoO/Au particle; the truth about it goes into OUT/truth.

    Writes OUT/maps, OUT/haadf with its angles, and fused.dipmtv.json, which fuses them.
    """
    import numpy as np

    from napari_dipmtv.io.atomic import write_bytes
    from napari_dipmtv.io.map_folder import save_maps
    from napari_dipmtv.io.project import PROJECT_SUFFIX, Inputs, Project, save_project
    from napari_dipmtv.io.volumes import save_volume
    from napari_dipmtv.phantom.fused import simulate_fused as simulated

    settings = settings_from(FusedPhantomSettings, set_)
    usable_folder(out)
    made = simulated(settings)
    counts = np.rint(made.haadf.data * made.haadf.gain)
    images = save_maps(made.haadf.replace(data=counts, counts_per_unit=1.0), out / "haadf")[0]
    angles = "\n".join(f"{tilt:g}" for tilt in made.haadf.tilts_deg)
    inputs = Inputs(
        map_folder=save_maps(made.chemical, out / "maps")[-1].parent,
        haadf=images,
        haadf_angles=write_bytes(out / "haadf.rawtlt", angles.encode()),
        haadf_counts=True,
    )
    truth = save_volume(made.truth, out / "truth")
    project = save_project(
        Project(inputs=inputs, aligned=True, output=out / "results"), out / f"fused{PROJECT_SUFFIX}"
    )
    facts = {"maps": inputs.map_folder, "haadf": inputs.haadf, "truth": truth, "project": project}
    tilts = f"{len(made.chemical.tilts_deg)} chemical and {len(made.haadf.tilts_deg)} HAADF tilts in {out}"
    finish(facts, f"{tilts}\nFuse them: napari-dipmtv run {project}", as_json)


@speaks
@grouped
def fuse(
    out: OutOption,
    haadf_from: HaadfFrom,
    source: MapsFrom,
    survival: Survival,
    align: AlignOption = False,
    method: Annotated[str, typer.Option("--method", help=f"One of {', '.join(FUSED_METHODS)}.")] = "fused",
    device: Annotated[str, typer.Option("--device", help="auto, cpu, cuda or mps.")] = "auto",
    set_: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Fuse few chemical maps with many HAADF tilts: one volume_<channel>.tif per channel, and report.json.

    Ctrl-C keeps the volume reached so far; with --checkpoint a run that was stopped or killed goes on with --resume.
    """
    from napari_dipmtv import pipeline

    since = survival.start()
    chosen = known_method(method, FUSED_METHODS)
    model = FUSED_METHODS[chosen]
    words = [*(set_ or ()), *iterations_since(since, survival.more, None)]
    settings = settings_from(model, words, settings_since(since, chosen, model))
    stack, files = source.read()
    images = haadf_from.read(source.pixel_nm or stack.pixel_nm, source.axes, source.axis)
    if images is None:
        advice = "Name the images, or use 'reconstruct'"
        raise InputError(expected("fuse", "--haadf and --haadf-angles", "none", advice))
    both = _both(stack, images, align, device, as_json)
    order = Order(both, chosen, settings, survival, since, out, [*files, *haadf_from.files])
    work = partial(pipeline.fuse, *both, chosen, settings, device)
    order.carry_out("fusing", work, {"haadf_tilts_deg": both[1].tilts_deg}, as_json)


def _both(
    maps: MapStack, images: MapStack, align: bool, device: str, as_json: bool
) -> tuple[TiltSeries, TiltSeries]:
    """Align the images and the maps onto them, or take both as aligned."""
    if not align:
        return as_aligned(maps, as_json), as_aligned(images, as_json)
    if not isinstance(images, ChannelMaps):
        advice = "Leave --align out, or give the images as they were before"
        raise InputError(expected("--align", "HAADF images that are not aligned yet", "aligned ones", advice))
    from napari_dipmtv import pipeline

    with progress("aligning", as_json) as watch:
        return pipeline.align_both(maps, images, device=device, on_state=watch)
