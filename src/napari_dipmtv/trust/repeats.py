"""A method and a series to a volume, again and again: what every repeat of a study does, here or on workers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from numpy.typing import NDArray

from napari_dipmtv.data import TiltSeries, Volume
from napari_dipmtv.settings.tomo import DipSettings, Method, MethodSettings
from napari_dipmtv.states import State

S = TypeVar("S")
T = TypeVar("T")

Arrays = tuple[NDArray[Any], ...]
Work = Callable[[S, int], Iterator[str | Arrays]]
"""One repeat by what all share and its number: words between its steps, and last what it found. It draws its own random
numbers, so that it finds the same wherever and whenever it is done."""


class Repeats(Protocol):
    """Does repeats, gives their words, and what they found in the order of the numbers."""

    def __call__(
        self, work: Work[S], shared: S, numbers: Sequence[int], name: str = ""
    ) -> Iterator[str | Arrays]:
        """Do the repeats of a part of a study, which has a ``name`` of its own."""
        ...


def here(work: Work[S], shared: S, numbers: Sequence[int], name: str = "") -> Iterator[str | Arrays]:
    """Do repeats one after the other in this process."""
    for number in numbers:
        yield from work(shared, number)


@dataclass(frozen=True, slots=True)
class Maker:
    """A method with its settings on a device: what turns a series into a volume in every repeat."""

    method: Method
    settings: MethodSettings
    device: str = "auto"

    @property
    def words(self) -> str:
        """What the numbers hold for, e.g. "cs-tv, 120 iterations, TV strength 0.05"."""
        values = self.settings.model_dump()
        said = {"iterations": "{} iterations", "tv_strength": "TV strength {:g}"}
        return ", ".join([self.method, *(text.format(values[k]) for k, text in said.items() if k in values)])

    def states(self, series: TiltSeries, repeat: int = 0) -> Iterator[State[Volume]]:
        """Reconstruct; the deep image priors start from another seed in each repeat."""
        from napari_dipmtv.tomo.reconstruct import reconstruct_states

        settings = self.settings
        if isinstance(settings, DipSettings):
            settings = settings.replace(seed=(settings.seed + repeat) % 2**31)
        return reconstruct_states(series, self.method, settings, self.device)


def within(inner: Iterator[State[Volume]], around: Callable[[str], T]) -> Iterator[T | tuple[Volume]]:
    """Run one reconstruction inside a study: what ``around`` gives between its steps, and last the volume, in a tuple.

    Parameters
    ----------
    inner : iterator of State of Volume
        Closed in every case.
    around : callable
        Gives the state of the study, told what the reconstruction is doing; ``str`` gives the words themselves.
    """
    last: State[Volume] | None = None
    try:
        for last in inner:
            yield around(f"{last.stage} {last.iteration}/{last.total}")
    finally:
        close: Any = getattr(inner, "close", None)
        if close is not None:
            close()
    assert last is not None  # a method gives at least one state
    yield (last.snapshot(),)
