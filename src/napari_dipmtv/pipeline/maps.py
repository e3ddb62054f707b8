"""Spectrum images to maps with covariance: load, prepare, references, unmix; and X-ray lines."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from napari_dipmtv import spectra
from napari_dipmtv.data import ChannelMaps, ReferenceSpectrum, Region, SpectrumSeries
from napari_dipmtv.errors import InputError, expected
from napari_dipmtv.settings.edx import EdxSettings
from napari_dipmtv.settings.spectra import PrepareSettings, ReferenceSettings, UnmixSettings
from napari_dipmtv.states import State, never, run

if TYPE_CHECKING:
    from napari_dipmtv.io.tilt_table import TiltTable

OnState = Callable[[State[Any]], None]
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
    on_state: OnState | None = None,
) -> ReferencePair:
    """Learn the L references and let them teach the M references.

    Parameters
    ----------
    series : SpectrumSeries
        Prepared.
    source : "auto", mapping of name to Region, or mapping of name to ReferenceSpectrum
        Where the pure phases are; the reduced phase first.
    settings : ReferenceSettings, optional
        With ``purify="volume"``, and with ``"auto"`` where it can be done, the maps of the references are aligned and
        reconstructed on the way, which takes about a minute. Given spectra count as pure.
    names : tuple of str
        What "auto" calls the phases it finds, the reduced one first.
    """
    return run(reference_states(series, source, settings, names=names), on_state=on_state).whole()


def reference_states(
    series: SpectrumSeries,
    source: ReferenceSource = "auto",
    settings: ReferenceSettings | None = None,
    *,
    names: tuple[str, ...] = ("FeO", "Fe3O4"),
) -> Iterator[State[ReferencePair]]:
    """Like `references`, as states: the references of pixels at once, those of voxels step by step.

    Stopped early, it leaves the references of the purest pixels.
    """
    settings = settings or ReferenceSettings()
    given = not isinstance(source, str) and any(isinstance(s, ReferenceSpectrum) for s in source.values())
    if settings.purify == "volume" or (settings.purify == "auto" and not given):
        from napari_dipmtv.pipeline.purified import purified_states

        mixed = _of_pixels(series, source, settings.replace(purify="extreme"), names)
        yield from purified_states(series, mixed, settings)
        return
    pair = _of_pixels(series, source, settings, names)
    yield State(1, 1, {}, lambda: pair, stage="references")


def _of_pixels(
    series: SpectrumSeries, source: ReferenceSource, settings: ReferenceSettings, names: tuple[str, ...]
) -> ReferencePair:
    if isinstance(source, str):
        l_references = (
            spectra.blind_l_references(series, settings, names)[0]
            if settings.automatic == "blind"
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
