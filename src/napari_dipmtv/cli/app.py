"""The commands of ``napari-dipmtv`` in the order of the work."""

from __future__ import annotations

from typing import Annotated

import typer

from napari_dipmtv import __version__
from napari_dipmtv.cli import edx, maps, spectra, volumes, whole
from napari_dipmtv.cli.fused import fuse, simulate_fused
from napari_dipmtv.cli.sweep import batch, sweep
from napari_dipmtv.cli.trust import trust

app = typer.Typer(
    name="napari-dipmtv",
    help="From dual EELS spectrum images to a trusted chemical 3-D volume, without a window. Ctrl-C during a "
    "reconstruction keeps the volume reached so far.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

for command in (
    whole.demo,
    spectra.simulate,
    edx.tilts,
    spectra.unmix,
    edx.edx,
    maps.align,
    maps.reconstruct,
    simulate_fused,
    fuse,
    sweep,
    volumes.segment,
    edx.quantify,
    volumes.export,
    volumes.report,
    trust,
    whole.run,
    batch,
    whole.gui,
    whole.settings,
):
    app.command()(command)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option("--version", help="Print the version and end.", callback=_show_version, is_eager=True),
    ] = False,
) -> None:
    pass
