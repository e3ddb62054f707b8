"""A series to two independent reconstructions and from them to its resolution."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from napari_dipmtv.data import TiltSeries, Volume
from napari_dipmtv.states import State
from napari_dipmtv.trust.edges import edge_spread, spectrum_resolution
from napari_dipmtv.trust.filling import matter_of
from napari_dipmtv.trust.fsc import fsc, soft_mask
from napari_dipmtv.trust.repeats import Maker, within
from napari_dipmtv.trust.resample import generator, halves, noise_kind
from napari_dipmtv.trust.result import Resolution

SPLIT = {
    "poisson": "counts thinned 50/50",
    "covariance": "noise of the known covariance added and subtracted",
}
_HALVES = 4  # place in the random numbers of a study


def resolution(
    series: TiltSeries,
    volume: Volume,
    maker: Maker,
    *,
    given: tuple[TiltSeries, TiltSeries] | None = None,
    cone_deg: float = 35.0,
    masked: bool = True,
    seed: int = 0,
    resume: Mapping[str, Any] | None = None,
) -> Iterator[State[Resolution]]:
    """Reconstruct two independent halves and correlate them; measure the edges and the power spectrum of the whole.

    Parameters
    ----------
    series : TiltSeries
    volume : Volume
        The whole, reconstructed by ``maker``; its outline makes the mask.
    maker : Maker
    given : pair of TiltSeries, optional
        Independent halves that were measured as such (even and odd frames), aligned like ``series``.
    cone_deg : float
        See `napari_dipmtv.trust.fsc.fsc`.
    masked : bool
        Look inside a soft mask around the object only.
    seed : int
    resume : mapping, optional
        A checkpoint: the halves that were reconstructed already.

    Yields
    ------
    State of Resolution
        Without curves until both halves are there. Both halves have half the dose: the whole resolves finer.

    Raises
    ------
    InputError
        For maps without statistics when no halves are given.
    """
    parts = given or halves(series, generator(seed, _HALVES))
    split = "given halves" if given is not None else SPLIT[noise_kind(series)]
    done: list[Volume] = [volume.replace(data=resume[name]) for name in sorted(resume)] if resume else []
    edges, spectra = edge_spread(volume), spectrum_resolution(volume)

    def state(stage: str) -> State[Resolution]:
        ready = tuple(done)

        def snapshot() -> Resolution:
            if len(ready) < 2:
                return Resolution(split, maker.words, (), edges, spectra)
            mask = soft_mask(matter_of(volume)) if masked else None
            curves = fsc(ready[0], ready[1], mask=mask, cone_deg=cone_deg)
            return Resolution(split, maker.words, curves, edges, spectra)

        def checkpoint() -> dict[str, Any]:
            return {f"half_{i}": half.data for i, half in enumerate(ready)}

        return State(len(ready), 2, {}, snapshot, checkpoint, f"resolution, {stage}")

    yield state("splitting")
    for i in range(len(done), 2):
        for step in within(maker.states(parts[i], i), state):
            if isinstance(step, State):
                yield step
            else:
                done.append(step[0])
        yield state(f"half {len(done)} of 2")
