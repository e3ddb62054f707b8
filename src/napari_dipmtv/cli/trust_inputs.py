"""Words of the command ``trust`` to what is asked, and to the data, volumes and methods that it is asked of."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from napari_dipmtv.cli.conversation import note, progress
from napari_dipmtv.cli.maps import method_settings
from napari_dipmtv.cli.options import SetOption, as_aligned, read_saved, settings_from
from napari_dipmtv.data import TiltSeries, Volume
from napari_dipmtv.errors import InputError, expected
from napari_dipmtv.settings.inspect import SegmentSettings
from napari_dipmtv.settings.tomo import METHODS, Method, MethodSettings
from napari_dipmtv.settings.trust import TrustSettings

if TYPE_CHECKING:
    from napari_dipmtv.inspect.register import Registered


@dataclass(frozen=True, slots=True)
class Asked:
    """The question."""

    feature: Annotated[str, typer.Option("--feature", help="void or skin.")] = "void"
    repeats: Annotated[
        int | None, typer.Option("--repeats", help="Null repeats; k can show p = 1 / (k + 1) at best.")
    ] = None
    set_: SetOption = None

    def settings(self, compare: bool) -> TrustSettings:
        """Settings of the study; raises `InputError` for a value out of bounds."""
        words = [*(self.set_ or ()), f"feature={self.feature}"]
        words += [] if self.repeats is None else [f"repeats={self.repeats}"]
        return settings_from(TrustSettings, [*words, *(["compare=true"] if compare else [])])


@dataclass(frozen=True, slots=True, eq=False)
class Inputs:
    """What the files hold."""

    series: TiltSeries
    segmentation: SegmentSettings | None
    method: Method
    method_settings: MethodSettings
    tested: Volume | None
    halves: tuple[TiltSeries, TiltSeries] | None
    placed: Registered | None


@dataclass(frozen=True, slots=True)
class Given:
    """What goes in beside the source."""

    volume: Annotated[
        Path | None,
        typer.Option("--volume", help="Folder of the volume under test; else the repeats' method makes it."),
    ] = None
    even: Annotated[
        Path | None, typer.Option("--even", help="Maps of the even frames, aligned like the whole.")
    ] = None
    odd: Annotated[Path | None, typer.Option("--odd", help="Maps of the odd frames.")] = None
    reference: Annotated[
        Path | None,
        typer.Option(
            "--reference",
            help="A volume of the same object: it is registered, and all methods are compared with it.",
        ),
    ] = None
    method: Annotated[
        str | None,
        typer.Option("--method", help=f"What made the volume, where it does not tell: {', '.join(METHODS)}."),
    ] = None

    @property
    def files(self) -> list[Path]:
        """All that are given."""
        return [path for path in (self.volume, self.even, self.odd, self.reference) if path is not None]

    def read(self, source: Path, as_json: bool) -> Inputs:
        """Read everything; raises `InputError` or `ReadError`."""
        from napari_dipmtv.io.volumes import load_volume

        tested = None if self.volume is None else load_volume(self.volume)
        known = None if self.reference is None else load_volume(self.reference)
        halves = _halves(self.even, self.odd, as_json)
        series, segmentation, method, settings = _source(source, self.method, tested, as_json)
        placed = None if known is None else _placed(known, tested, series, as_json)
        return Inputs(series, segmentation, method, settings, tested, halves, placed)


def _placed(known: Volume, tested: Volume | None, series: TiltSeries, as_json: bool) -> Registered:
    """The reference on the voxels of the volume under test; without one, of a quick reconstruction."""
    from napari_dipmtv import pipeline
    from napari_dipmtv.inspect.register import register

    placed = register(known, tested or pipeline.reconstruct(series, "sirt", device="cpu").whole())
    shift = ", ".join(f"{s:.3g}" for s in placed.shift_nm)
    note(
        f"Reference: moved by ({shift}) nm along z, y, x, turned by {placed.turn_deg:.2g} deg, multiplied by "
        f"{placed.scale:.3g}; correlation {placed.correlation:.3f}.",
        as_json,
    )
    return placed


def _source(
    source: Path, method: str | None, tested: Volume | None, as_json: bool
) -> tuple[TiltSeries, SegmentSettings | None, Method, MethodSettings]:
    """Series, segmentation and method of a project file or a folder of maps."""
    if source.is_dir():
        made = None if tested is None else _made_by(tested)
        if made is None or method not in (None, made[0]):
            made = method_settings(method or "dipm-tv", None, None, None)
        name, settings = made
        return as_aligned(read_saved(source), as_json), None, name, settings
    from napari_dipmtv import pipeline
    from napari_dipmtv.io.project import load_project

    if method is not None:
        raise InputError(
            expected("--method", "none with a project, which names its own", method, "Leave it out")
        )
    project = load_project(source)
    with progress("unmixing and aligning", as_json) as watch:
        series = pipeline.project_series(project, on_state=watch)
    watch.must_be_complete()
    chosen = project.reconstruct
    return series, project.segment, chosen.method, chosen.method_settings()


def _made_by(volume: Volume) -> tuple[Method, MethodSettings] | None:
    """Method and settings that a volume says it was made with; None where it does not, or not in our terms."""
    told = volume.metadata.get("provenance", {}).get("settings", {})
    for name, model in METHODS.items():
        if set(told.get(name, ())) == set(model.model_fields):
            return name, model.from_mapping(told[name])
    return None


def _halves(even: Path | None, odd: Path | None, as_json: bool) -> tuple[TiltSeries, TiltSeries] | None:
    if (even is None) != (odd is None):
        raise InputError(expected("--even and --odd", "both or none", "one", "Give both halves"))
    if even is None or odd is None:
        return None
    return as_aligned(read_saved(even), as_json), as_aligned(read_saved(odd), as_json)
